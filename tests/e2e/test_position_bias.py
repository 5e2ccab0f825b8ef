"""The figures of the page on position bias in a browser: their numbers are the model's and the analysis's."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cfviz.analysis import position_bias as measure
from cfviz.figures import position_bias as message
from cfviz.models import bias_ways
from cfviz.ui import position_bias
from cfviz.ui.components.position_bias import script, style

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("part", message.PARTS)
def test_surfaces_in_the_browser(browser: Any, tiny_model: Any, tmp_path: Path, part: str) -> None:
    model = tiny_model(embed_dim=64, group_size=3)
    its = [position_bias.block_bias(model, 1, b, "sda") for b in range(2)]
    data = message.pack(its, part, strings=position_bias.words("en"), start={"block": 0, "head": 1})
    start = f"""const raw = atob("{base64.b64encode(data).decode()}");
      streamlit({{ parentElement: document.querySelector("main"), setStateValue() {{}},
                  data: Uint8Array.from(raw, (c) => c.charCodeAt(0)) }});"""
    code = script().replace("export default streamlit;", start).replace("</", "<\\/")
    file = tmp_path / "figure.html"
    file.write_text(
        f'<!doctype html><meta charset="utf-8"><style>{style()}</style><main></main>'
        f'<script type="module">{code}</script>',
        "utf-8",
    )
    page, errors = browser.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(file.as_uri())
    page.wait_for_selector(".pb[data-ready]")
    read = "(a) => Array.from(document.querySelector('.pb').figure.block.surface(1, a[0], a[1], a[2]))"
    trained = np.array(page.evaluate(read, [3, 3, "own"]), np.float32)
    assert np.array_equal(trained, its[0].table[1].reshape(-1))
    pos = model.stages[1].each[0].attn.pos
    for G in (2, 5, 9):
        for way in ("own", "rescaled"):
            wanted = bias_ways.bias_table(pos, way, 3, G).detach().numpy()[:, 1]
            assert page.evaluate(read, [G, G, way]) == pytest.approx(wanted, abs=2e-5)
    for Gh, Gw in ((2, 6), (5, 5)):
        for way in measure.TABLE_WAYS:
            wanted = measure.resized(its[0].table.astype(float), Gh, Gw, way)[1].reshape(-1)
            assert page.evaluate(read, [Gh, Gw, way]) == pytest.approx(wanted, abs=1e-6)
    pace = "() => { const f = document.querySelector('.pb').figure, s = performance.now(); "
    pace += "for (let i = 0; i < 50; i++) f.set({ down: i % 3, right: i % 2 }); "
    pace += "return (performance.now() - s) / 50; }"
    assert page.evaluate(pace) < 16
    page.close()
    assert not errors, json.dumps(errors)
