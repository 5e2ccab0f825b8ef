"""What the page on detectors and segmenters computes, on models small enough for a quick test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cfviz.measured import dense as measured
from cfviz.measured.dense import DenseSubject
from cfviz.models.dense import pipeline
from cfviz.models.dense.model import MaskRCNN, RetinaNet, SemanticFPN
from cfviz.models.dense.pipeline import fit
from cfviz.ui.figures import dense as answer

Make = Callable[..., Any]
SMALL: dict[type, dict[str, int]] = {
    RetinaNet: {"channels": 8},
    MaskRCNN: {"channels": 8, "hidden": 8},
    SemanticFPN: {"channels": 8, "hidden": 8},
}


@pytest.fixture
def subject(tiny_model: Make) -> Make:
    """A function that asks a small random model of a kind about noise."""

    def made(kind: type, classes: int = 3) -> DenseSubject:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = kind(tiny_model(), num_classes=classes, **SMALL[kind]).eval()
        if kind is not SemanticFPN:
            head = model.bbox_head if kind is RetinaNet else model.roi_head.bbox_head
            head.threshold, head.most = 0.0, 5
        pixels = np.random.default_rng(0).integers(0, 256, (50, 90, 3), np.uint8)
        photo = Image.fromarray(pixels)
        names = [*"abc"][:classes]
        return DenseSubject(
            model, photo, fit(photo, model.task, (90, 50)), names, f"{kind.__name__} of {classes} on noise"
        )

    return made


@pytest.mark.slow
@pytest.mark.parametrize("kind", [RetinaNet, MaskRCNN])
def test_a_detector_is_asked_with_and_without_each_stage(subject: Make, kind: type) -> None:
    asked = subject(kind)
    found = answer.seen.compute(asked.source, asked)
    views = found.answer.views
    assert [view.without for view in views] == [None, *range(1 if kind is RetinaNet else 0, 4)]
    assert (views[0].masks is not None) == (kind is MaskRCNN)
    assert views[0].partners.tolist() == list(range(5))
    names = [level for level, _ in found.answer.levels]
    assert names == (["P3", "P4", "P5", "P6", "P7"] if kind is RetinaNet else ["P2", "P3", "P4", "P5"])
    assert max(view.levels.max() for view in views) < len(names)
    with torch.no_grad():
        (plain,) = asked.model.detect(asked.fitted.tensor, [asked.fitted.size])
    assert views[0].boxes == pytest.approx(plain["boxes"].numpy())


@pytest.mark.parametrize("kind", [RetinaNet, SemanticFPN])
def test_the_first_answer_waits_for_no_other_and_nothing_is_computed_twice(
    subject: Make, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another photo waited for the answers without each stage, too: 0.46 s."""
    asked = replace(subject(kind), source=f"{kind.__name__}, counted")
    passes: Counter[str] = Counter()

    def counted(name: str) -> None:
        real = getattr(asked.model, name)
        monkeypatch.setattr(
            asked.model, name, lambda *given: (passes.update([name]), real(*given))[1], raising=False
        )

    for name in ("features", "from_maps"):
        counted(name)
    first = answer.in_use(asked.source, asked, 0)
    assert passes == {"features": 1, "from_maps": 1}
    left = tuple(range(1 if kind is RetinaNet else 0, 4))
    assert (len(first.answer.views), first.answer.pending) == (1, left)
    seen = answer.in_use(asked.source, asked, 1)
    assert passes == {"features": 1, "from_maps": 1 + len(left)}
    assert seen.answer.pending == ()
    whole = measured.answer_of(asked)
    for one, other in zip(seen.answer.views, whole.answer.views, strict=True):
        assert one.without == other.without
        assert np.array_equal(one.labels, other.labels)
    assert seen.answer.views[0] is first.answer.views[0]
    assert answer.in_use(asked.source, asked, 2) is seen


@pytest.mark.slow
def test_reasons_of_boxes_and_pixels_have_a_map_per_stage_and_a_number_per_head(subject: Make) -> None:
    for kind, names in (
        (RetinaNet, ["box.4", "box.0"]),
        (SemanticFPN, ["pixel.3.80"]),
        (SemanticFPN, ["region.0"]),
    ):
        asked = subject(kind)
        found = answer.seen.compute(asked.source, asked)
        told = answer.reasons_for(asked, found, names)
        assert [one.of for one in told] == names
        H, W = asked.input
        assert [one.shape for one in told[0].maps] == [(H // s, W // s) for s in (4, 8, 16, 32)]
        assert [[len(h) for h in blocks] for blocks in told[0].heads] == [[1, 1], [2, 2], [4, 4], [8, 8]]
        assert told[0].field.shape == (H // 4, W // 4)
        for maps, blocks in zip(told[0].maps, told[0].heads, strict=True):
            assert maps.sum() == pytest.approx(sum(heads.sum() for heads in blocks), rel=1e-3, abs=1e-5)
    assert answer.reasons_for(asked, found, []) == ()


@pytest.mark.parametrize("classes", [3, 2])
def test_a_segmenters_answer_is_that_of_its_forward(subject: Make, classes: int) -> None:
    asked = subject(SemanticFPN, classes)
    found = answer.seen.compute(asked.source, asked)
    h, w = asked.fitted.size
    with torch.no_grad():
        logits = asked.model(asked.fitted.tensor)[0, :, :h, :w]
    labels, probs = found.answer.likely
    assert np.array_equal(labels[0], logits.argmax(0).numpy())
    assert probs.sum(0) == pytest.approx(np.ones((h, w)), abs=1e-5), "these classes are all there are"
    assert len(labels) == classes, "none is told twice"
    told = answer.reasons_for(asked, found, ["pixel.3.80"])
    assert told[0].logit == pytest.approx(float(logits[labels[0][3, 80], 3, 80]), abs=1e-4)


def test_the_regions_of_each_view_are_those_of_its_own_label_map(subject: Make) -> None:
    asked = subject(SemanticFPN)
    views = answer.seen.compute(asked.source, asked).answer.views
    assert len(views) == 5
    assert len({str(view.regions.shares) for view in views}) > 1, "a stage that is left out changes the map"
    for view in views:
        found, middles = view.regions, view.labels[2::4, 2::4]
        for n, (label, share) in enumerate(zip(found.labels, found.shares, strict=True)):
            assert share == pytest.approx((found.which == n).mean())
            assert (middles[found.which == n] == label).mean() > 0.6


def test_the_attention_message_shows_the_backbones_own_groups(subject: Make) -> None:
    asked = subject(RetinaNet)
    packed = answer.attention_message.compute(asked.source, asked, "figure")
    H, W = asked.input
    assert packed.header["input"] == {"h": H, "w": W}
    assert packed.error < 1e-3
    assert not packed.left


def test_the_input_is_shown_as_the_model_gets_it(subject: Make) -> None:
    asked = subject(SemanticFPN)
    picture = pipeline.picture(asked.fitted)
    assert picture.size == asked.input[::-1]
    again = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() - torch.tensor(pipeline.MEAN).view(
        3, 1, 1
    )
    assert torch.allclose(again / torch.tensor(pipeline.STD).view(3, 1, 1), asked.fitted.tensor[0], atol=1e-4)
