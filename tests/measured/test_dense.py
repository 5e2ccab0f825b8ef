"""A detector's or segmenter's answer in Python and in notebooks, on models small enough for a quick test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cfviz.measured.dense import explain
from cfviz.models.dense.model import RetinaNet, SemanticFPN
from cfviz.provenance import Provenance
from cfviz.words import unbroken

Make = Callable[..., Any]
PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 90, 3), np.uint8))


@pytest.fixture
def model(tiny_model: Make) -> Make:
    """A function that makes a small random model of a kind that passes for a trained one."""

    def made(kind: type, **sizes: int) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = kind(tiny_model(), num_classes=3, channels=8, **sizes).eval()
        if kind is RetinaNet:
            net.bbox_head.threshold, net.bbox_head.most = 0.0, 5
        net.sides, net.pretrained_cfg = (96, 64), {"architecture": "small"}
        net.provenance = Provenance("a file", trained="a test", classes=("a", "b", "c"))
        return net

    return made


@pytest.mark.slow
def test_what_a_box_rests_on(model: Make) -> None:
    net = model(RetinaNet)
    told = explain(PHOTO, net)
    view = told.seen.answer.views[0]
    why = told.why(box=1)
    logit = float(torch.logit(torch.tensor(float(view.scores[1]))))
    assert why.logit == pytest.approx(logit, abs=1e-4)
    assert [one.shape for one in why.maps] == [(g[0].H, g[0].W) for g in told.subject.groupings]
    for bad in ({"box": 99}, {"box": -1}, {}, {"box": 0, "pixel": (1, 1)}, {"pixel": (1, 1)}):
        with pytest.raises(ValueError, match="expected box=N, from 0 and below 5"):
            told.why(**bad)


@pytest.mark.slow
def test_what_a_pixel_rests_on(model: Make) -> None:
    net = model(SemanticFPN, hidden=8)
    told = explain(PHOTO, net)
    label = told.seen.answer.views[0].labels[10, 20]
    with torch.no_grad():
        logit = net(told.subject.fitted.tensor)[0, label, 10, 20]
    assert told.why(pixel=(10, 20)).logit == pytest.approx(float(logit), abs=1e-4)
    for bad in ({"pixel": (64, 0)}, {"pixel": (1,)}, {}, {"box": 0}):
        with pytest.raises(ValueError, match=r"expected pixel=\(row, column\), inside 64 x 96"):
            told.why(**bad)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [RetinaNet, SemanticFPN])
def test_a_notebook_shows_the_figure_and_all_that_it_explains(kind: type, model: Make) -> None:
    told = explain(PHOTO, model(kind, **({"hidden": 8} if kind is SemanticFPN else {})))
    cell = told._repr_html_()
    assert cell.isascii()
    assert cell.startswith('<iframe title="cfviz: small" srcdoc=')
    assert 'sandbox="allow-scripts allow-downloads"' in cell
    page = told.page("zh-Hant")
    assert unbroken(f"{64 if kind is SemanticFPN else 53} × 96 像素") in page
    assert "a test" in page


def test_what_cannot_be_explained_gets_one_sentence(model: Make) -> None:
    with pytest.raises(
        ValueError, match="'vit' is no detector or segmenter that comes with weights: retinanet"
    ):
        explain(PHOTO, "vit")
    with pytest.raises(ValueError, match="got a list, expected a detector"):
        explain(PHOTO, [])  # type: ignore[arg-type]  # the point
    net = model(RetinaNet)
    with pytest.raises(ValueError, match=r"training mode; call model\.eval"):
        explain(PHOTO, net.train())
    with pytest.raises(ValueError, match=r"move it with model\.to"):
        explain(PHOTO, net.eval(), device="cpu")
    net.provenance = Provenance()
    with pytest.raises(ValueError, match="random weights, which have learned nothing"):
        explain(PHOTO, net)
