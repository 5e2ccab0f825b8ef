"""The page on position bias: its message holds the bias itself, its code runs, its verdict is computed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from cfviz.run import load
from cfviz.ui import position_bias, position_bias_sizes

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def page() -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=180)
    app.switch_page("pages/position_bias.py")
    app.query_params["lang"], app.query_params["size"] = "en", "160"
    return app.run()


def test_it_runs_and_says_what_padding_costs(page: AppTest) -> None:
    assert not page.exception
    page.segmented_control(key="position_bias.window").set_value("fixed").run()
    assert not page.exception
    assert any("from 64 to 112 tokens a side" in text.value for text in page.markdown)


def test_every_code_shown_runs(page: AppTest) -> None:
    codes = [code.value for code in page.code if code.language == "python"]
    assert len(codes) >= 6
    for code in codes:
        if not code.startswith("python -m"):
            exec(compile(code, "shown", "exec"), {})


def test_messages_hold_the_bias_bit_for_bit() -> None:
    model = load("crossformer_nano")
    for s, stage in enumerate(model.stages):
        for b, block in enumerate(stage.each):
            its = position_bias.block_bias(model, s, b, "sda")
            direct = block.attn.pos.bias(7).detach().numpy()
            assert np.array_equal(its.table[:, 6, 6], direct[:, 0, 0])
            assert np.array_equal(its.table[:, 0, 0], direct[:, 0, 48])


def test_results_are_the_newest_of_this_form(tmp_path: Path) -> None:
    assert position_bias_sizes.results(tmp_path) is None
    for name, schema, date in (("a", 2, "2026-01-01"), ("b", 2, "2026-01-02"), ("c", 1, "2026-01-03")):
        made = {"schema": schema, "date": date, "rows": [{}], "name": name}
        (tmp_path / f"sizes-{name}.json").write_text(json.dumps(made))
    found = position_bias_sizes.results(tmp_path)
    assert found is not None
    assert found["name"] == "b"
