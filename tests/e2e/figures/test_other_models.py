"""The attention figure of timm's models in a browser: its numbers are the model's, masks included."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cfviz.notebook import pack, page
from cfviz.run import inspect
from cfviz.trace import Trace
from tests.models.others.conftest import MODELS

pytestmark = pytest.mark.browser
READ = """([to, key]) => new Promise((done) => {
  const figure = document.querySelector('.cf').figure;
  figure.stopTour();
  figure.set({ ...to, locked: true });
  figure.draw(); // pointing asks for the group that is drawn
  if (key) figure.hover(key);
  requestAnimationFrame(() => requestAnimationFrame(() => {
    const { groups, group, probs, shown } = figure.frame;
    const map = new Float64Array(groups.H * groups.W);
    let [padding, extra, hidden] = [0, 0, 0];
    for (let k = 0; k < groups.N; k++) {
      const p = probs[to.head * groups.N + k];
      if (!shown[k]) hidden += 1;
      if (groups.pads(group, k)) padding += p;
      else if (!groups.valid(group, k)) extra += p;
      else
        for (let r = 0; r < groups.side; r++)
          for (let c = 0; c < groups.side; c++)
            map[(groups.row(group, k) + r) * groups.W + groups.col(group, k) + c] += p / groups.side ** 2;
    }
    done({ map: [...map], padding, extra, hidden, where: figure.ui.where.textContent,
      rank: figure.ui.rank.textContent });
  }));
})"""


@pytest.fixture
def figure(opened_file: Callable[..., Any]) -> Callable[[Trace], Any]:
    """A function that opens a trace's offline page and returns the page."""
    return lambda trace: opened_file(page(trace))


def traced(name: str) -> Trace:
    torch.manual_seed(0)
    make, size = MODELS[name]
    photo = np.random.default_rng(0).integers(0, 256, (120, 180, 3), np.uint8)
    return inspect(photo, make().eval(), size)


@pytest.mark.parametrize("name", ["swin, padded", "swin v2", "twins", "pvt v2", "maxvit", "vit"])
def test_shown_numbers_are_the_models(figure: Any, name: str) -> None:
    trace = traced(name)
    opened, error = figure(trace), pack(trace).error
    for s, stage in enumerate(trace.schemes):
        for b, scheme in enumerate(stage):
            for row, col in [(0, 0), (scheme.H - 1, scheme.W - 1), (scheme.H // 2, scheme.W // 3)]:
                own = trace.attention(s, b, row, col)
                head = len(own.heads) - 1
                to = {"stage": s, "block": b, "head": head, "row": row, "col": col}
                seen = opened.evaluate(READ, [to, None])
                shown = np.array(seen["map"]).reshape(scheme.H, scheme.W)
                np.testing.assert_allclose(shown, own.heads[head], atol=error + 1e-7)
                assert seen["padding"] == pytest.approx(own.padding[head], abs=1e-4)
                assert seen["extra"] == pytest.approx(own.extra[head].sum(), abs=1e-4)
                assert ("padding" in seen["where"]) == (own.padding[head] > 1e-30)
                assert ("class" in seen["where"]) == bool(scheme.prefix)


def test_what_the_mask_hides_is_said_and_drawn_dashed(figure: Any) -> None:
    """In the last window of a shifted block four parts of the map meet; a token sees its own part only."""
    trace = traced("swin, window per side")  # of 3 x 5 tokens, shifted by 1 and 2
    scheme, opened = trace.scheme(0, 1), figure(trace)
    to = {"stage": 0, "block": 1, "head": 0, "row": 23, "col": 39}
    hidden = np.argwhere(scheme.masked(23, 39))[0].tolist()
    seen = opened.evaluate(READ, [to, {"row": hidden[0], "col": hidden[1]}])
    assert seen["hidden"] == scheme.masked(23, 39).sum() == 3 * 5 - 2 * 3
    assert "9 more in this window are hidden by the mask" in seen["where"]
    assert seen["rank"] == "hidden by the mask"
    with opened.expect_download() as saved:
        opened.get_by_role("button", name="SVG").click()
    svg = Path(saved.value.path()).read_text("utf-8")
    assert svg.count('class="member"') == 2 * 3
    assert 'class="hidden"' in svg
    assert 'stroke-dasharray="5 4"' in svg
