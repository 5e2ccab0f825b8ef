"""The attention page's section on other vision transformers: choice, place, code, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cfviz.models.others.opening import OFFERED, open_other
from cfviz.ui.pages.attention import others
from cfviz.words import translator
from tests.pages.test_pages import run

LINK = {"photo": "cat", "size": "96", "lang": "en"}


def test_nothing_is_computed_before_a_model_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(others, "open_other", None)
    app = run("attention", **LINK, open="others")
    assert not app.exception
    chosen = app.selectbox(key="w.attention.timm")
    assert chosen.value is None
    assert [option.split(" · ")[0] for option in chosen.options] == list(OFFERED.values())
    assert all("random weights" in option for option in chosen.options)


@pytest.mark.slow
def test_a_link_opens_a_model_at_a_place() -> None:
    at = {"t_stage": "2", "t_block": "1", "t_head": "2", "t_row": "99", "t_col": "4"}
    app = run("attention", **LINK, timm="pvt_v2_b0", **at)
    assert not app.exception
    assert any("PVT v2-B0 has random weights here" in one.value for one in app.warning)
    code = next(one.value for one in app.code if "open_other" in one.value)
    assert "stage=1, block=0, row=11, col=4" in code  # clipped to the map of 12 x 12
    seen: dict[str, Any] = {}
    exec(code, seen)
    assert seen["attention"].shape == (12, 12)
    np.testing.assert_allclose(seen["attention"].sum(), 1, atol=1e-5)


@pytest.mark.slow
def test_too_much_attention_is_refused_before_it_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(others, "MOST", 1000)
    monkeypatch.setattr(others, "inspect", None)
    app = run("attention", **LINK, timm="pvt_v2_b0")
    assert [one.value for one in app.error] == [
        translator("en")("attention.others_large", model="PVT v2-B0", size="96 × 96")
    ]


def test_an_unknown_model_in_a_link_is_ignored() -> None:
    app = run("attention", **LINK, timm="resnet50")
    assert not app.exception
    assert app.selectbox(key="w.attention.timm").value is None


@pytest.mark.slow
@pytest.mark.parametrize("name", OFFERED)
def test_every_model_on_offer_can_be_read_at_any_size(name: str) -> None:
    from cfviz.run import inspect

    photo = np.zeros((96, 160, 3), np.uint8)
    trace = inspect(photo, open_other(name, (96, 160)), (96, 160))
    assert trace.weights.trained is None
    assert trace.settings["error"] < 1e-5
    for s, stage in enumerate(trace.schemes):
        seen = trace.attention(s, 0, stage[0].H - 1, stage[0].W - 1)
        total = seen.heads.sum((1, 2)) + seen.padding + seen.extra.sum(1)
        np.testing.assert_allclose(total, 1, atol=1e-5)


def test_only_models_on_offer_open_by_name() -> None:
    with pytest.raises(ValueError, match="there is no model 'resnet50'; there are: swin_tiny"):
        open_other("resnet50")
