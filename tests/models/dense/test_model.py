"""What goes into detectors and segmenters and what comes out, on models small enough for a quick test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
import timm
import torch
from PIL import Image

import cfviz
from cfviz.hooks import capture
from cfviz.models.dense.factory import make_dense
from cfviz.models.dense.model import MaskRCNN, RetinaNet, SemanticFPN, UPerNet
from cfviz.models.dense.parts.masks import paste
from cfviz.models.dense.parts.roi import roi_features
from cfviz.models.dense.pipeline import fit
from cfviz.models.dense.variants import DENSE, DenseName, list_dense
from cfviz.models.variants import SHIPPED, WEIGHTS
from cfviz.training.dense import ship

Make = Callable[..., Any]
SMALL: dict[type, dict[str, int]] = {
    RetinaNet: {"channels": 16},
    MaskRCNN: {"channels": 16, "hidden": 32},
    SemanticFPN: {"channels": 16, "hidden": 8},
    UPerNet: {"hidden": 16, "auxiliary": 8},
}


@pytest.fixture
def make(tiny_model: Make) -> Make:
    """A function that makes a small model of a kind, with five classes and random weights."""

    def made(kind: type, **kwargs: Any) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return kind(tiny_model(lda="whole", **kwargs), num_classes=5, **SMALL[kind]).eval()

    return made


def batch(B: int = 2, H: int = 64, W: int = 96) -> torch.Tensor:
    return torch.randn((B, 3, H, W), generator=torch.Generator().manual_seed(0))


def lowered(model: Any) -> Any:
    """The model with a threshold below every score, so that something is found."""
    head = model.bbox_head if isinstance(model, RetinaNet) else model.roi_head.bbox_head
    head.threshold = 0.0
    return model


@pytest.mark.slow
@torch.inference_mode()
def test_detections_have_torchvisions_form(make: Make) -> None:
    model = lowered(make(MaskRCNN))
    found = model(batch(), sizes=[(64, 96), (50, 70)])
    assert len(found) == 2
    for one, (h, w) in zip(found, [(64, 96), (50, 70)], strict=True):
        n = len(one["boxes"])
        assert set(one) == {"boxes", "scores", "labels", "masks"}
        assert 0 < n <= 100
        assert [tuple(one[name].shape) for name in ("boxes", "scores", "labels")] == [(n, 4), (n,), (n,)]
        assert one["masks"].shape == (n, 1, 64, 96)
        assert one["masks"].min() >= 0
        assert one["masks"].max() <= 1
        x1, y1, x2, y2 = one["boxes"].unbind(1)
        assert min(x1.min(), y1.min()) >= 0
        assert x2.max() <= w
        assert y2.max() <= h
        assert (one["scores"].diff() <= 0).all()
        assert set(one["labels"].tolist()) <= set(range(5))
    assert set(lowered(make(RetinaNet))(batch())[0]) == {"boxes", "scores", "labels"}


@torch.inference_mode()
@pytest.mark.parametrize("kind", [RetinaNet, MaskRCNN])
def test_an_image_is_found_the_same_things_alone_and_in_a_batch(make: Make, kind: type) -> None:
    model, x = lowered(make(kind)), batch()
    together, alone = model(x, [(64, 96), (50, 70)])[1], model(x[1:], [(50, 70)])[0]
    assert together.keys() == alone.keys()
    for name in alone:
        torch.testing.assert_close(together[name], alone[name], rtol=1e-3, atol=1e-3)


@torch.inference_mode()
@pytest.mark.parametrize("kind", [RetinaNet, MaskRCNN])
def test_where_nothing_passes_the_results_are_empty(make: Make, kind: type) -> None:
    model = make(kind)
    (model.bbox_head if kind is RetinaNet else model.roi_head.bbox_head).threshold = 1.0
    found = model(batch(1))[0]
    assert found["boxes"].shape == (0, 4)
    assert found["scores"].shape == found["labels"].shape == (0,)
    if kind is MaskRCNN:
        assert found["masks"].shape == (0, 1, 64, 96)


@torch.inference_mode()
@pytest.mark.parametrize("kind", [SemanticFPN, UPerNet])
def test_segmenters_return_logits_at_the_inputs_size(make: Make, kind: type) -> None:
    model, x = make(kind), batch()
    logits = model(x)
    assert logits.shape == (2, 5, 64, 96)
    assert torch.equal(logits, model(x, [(64, 96), (40, 30)])), "padding is cut off by the caller"
    torch.testing.assert_close(logits[1:], model(x[1:]), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SMALL)
def test_wrong_inputs_get_one_sentence(make: Make, kind: type) -> None:
    model = make(kind)
    for x, said in (
        (batch()[0], r"the input is 3 x 64 x 96; expected a batch of images, B x 3 x H x W"),
        (batch()[:, :1], "the input is 2 x 1 x 64 x 96"),
        (batch()[:0], "the input is 0 x 3 x 64 x 96"),
        ([1], "the input is list"),
        (batch().byte(), "the input is uint8; expected pixels that were normalised"),
        (batch(1, 60, 96), r"the input is 60 x 96 pixels; .*multiples of 32"),
    ):
        with pytest.raises(ValueError, match=said) as caught:
            model(x)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="there are 1 sizes for 2 images"):
        model(batch(), [(64, 96)])
    for size in ((65, 96), (64, 97), (0, 5), (64.0, 96), (64,), 64, "ab", (True, 5)):
        with pytest.raises(ValueError, match=r"is not the size of a photo in an input of 64 x 96"):
            model(batch(), [(64, 96), size])
    x = batch()
    x[0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="the outputs are NaN or infinite: the input holds such values"):
        model(x)


@pytest.mark.slow
def test_numbers_of_classes_that_cannot_be(tiny_model: Make) -> None:
    for number in (0, -1, 2.0, True, None):
        with pytest.raises(ValueError, match=r"num_classes is .*; expected a whole number from 1"):
            RetinaNet(tiny_model(), number)


def test_detectors_have_no_losses_and_say_so(make: Make) -> None:
    model = make(RetinaNet).train()
    with pytest.raises(ValueError, match=r"RetinaNet is in training mode \(losses\(x, targets\)\)"):
        model(batch())
    out = model.outputs(batch())
    sum(x.square().mean() for x in (*out["logits"], *out["deltas"])).backward()
    assert all(p.grad is not None for p in model.bbox_head.parameters())


@torch.inference_mode()
def test_points_inside_the_backbone_are_watched(make: Make) -> None:
    model = make(UPerNet)
    with capture(model, "backbone.layers.0.blocks.1.attn.probs", "decode_head.fpn_bottleneck.out") as seen:
        model(batch(1))
    assert len(seen) == 2


def test_regions_are_read_exactly_in_16_bits_too() -> None:
    x = torch.arange(400.0).expand(1, 1, 4, 400)  # a map at stride 4 that rises by 1 per cell
    rois = torch.tensor([[0.0, 1300.5, 0.0, 1310.5, 8.0]])
    levels = [x] * 4
    exact = roi_features(levels, rois, 2)
    found = roi_features([level.bfloat16() for level in levels], rois, 2)
    assert found.dtype == torch.bfloat16
    assert (found.float() - roi_features([x.bfloat16().float()] * 4, rois, 2)).abs().max() <= 1
    assert exact[0, 0, 0, 0].item() == pytest.approx((1300.5 + 2.5) / 4 - 0.5)


# ---------------------------------------------------------------- masks


def test_a_mask_fills_its_box_and_nothing_else() -> None:
    box = torch.tensor([[10.3, 5.0, 40.0, 25.6]])
    mask = paste(torch.full((1, 28, 28), 20.0), box, (40, 60))[0, 0] >= 0.5
    rows, columns = (mask.any(axis).nonzero().flatten().tolist() for axis in (1, 0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (5, 25, 10, 39)
    assert mask.sum() >= 21 * 30 - 4, "all but, perhaps, the corners"


@pytest.mark.parametrize(
    "box", [(5, 5, 5, 20), (5, 5, 3, 20), (-30, 4, -2, 20), (70, 2, 90, 8), (0, 0, 0.0, 0.0)]
)
def test_boxes_of_no_area_or_outside_have_empty_masks(box: tuple[float, ...]) -> None:
    mask = paste(torch.full((1, 28, 28), 20.0), torch.tensor([box], dtype=torch.float32), (40, 60))
    assert mask.shape == (1, 1, 40, 60)
    assert not (mask >= 0.5).any()


def test_a_mask_is_the_same_whether_or_not_its_box_reaches_beyond_the_image() -> None:
    logits = torch.randn((1, 28, 28), generator=torch.Generator().manual_seed(0))
    box = torch.tensor([[-20.0, -13.0, 45.0, 37.0]])
    large = paste(logits, box + 30, (90, 90))[0, 0, 30:60, 30:70]
    torch.testing.assert_close(paste(logits, box, (30, 40))[0, 0], large, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- names


def test_the_models_are_listed_by_task() -> None:
    assert list(DENSE) == list(get_args(DenseName)) == list_dense()
    assert [*cfviz.list_models("detect"), *cfviz.list_models("segment")] == list(DENSE)
    assert not set(cfviz.list_models()) & set(DENSE)
    with pytest.raises(ValueError, match="task is 'boxes'; expected 'classify', 'detect' or 'segment'"):
        cfviz.list_models("boxes")
    assert set(timm.list_models("*_crossformer_*")) >= set(DENSE)


@pytest.mark.slow
@pytest.mark.parametrize("name", DENSE)
def test_parameters_are_as_many_as_published(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(DENSE[name].parameters, abs=0.06)
    assert model.pretrained_cfg["architecture"] == name
    ours = DENSE[name].drive is None
    assert model.backbone.lda == ("regions" if ours else "whole")
    counts = {"detect": 20, "segment": 21} if ours else {"detect": 80, "segment": 150}
    assert model.num_classes == counts[model.task]


@pytest.mark.slow
def test_our_models_see_photos_at_the_size_their_backbone_learned_at() -> None:
    photo = Image.new("RGB", (800, 400))
    for name in (name for name, variant in DENSE.items() if variant.drive is None):
        model = cfviz.create_model(name, None)
        assert fit(photo, model.task, model.sides).size == (224, 448)


@pytest.mark.slow
def test_our_detectors_anchors_are_half_as_large_as_the_authors() -> None:
    with torch.device("meta"):
        ours, theirs = (make_dense(f"retinanet_crossformer_{size}") for size in ("nano", "small"))
    for level in range(5):
        small, large = (model.bbox_head.anchors.base(level) for model in (ours, theirs))
        assert torch.equal(2 * small, large)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in DENSE if name in SHIPPED])
def test_bundled_heads_open_by_name_and_their_card_is_written_from_its_facts(name: str) -> None:
    model = cfviz.create_model(name)
    assert (model.provenance.source, model.provenance.predicts, model.training) == ("bundled", True, False)
    path = WEIGHTS / f"{name}.safetensors"
    assert path.stat().st_size <= 4_000_000
    assert path.with_suffix(".md").read_text("utf-8") == ship.text(ship.read(path))


@pytest.mark.slow
def test_random_weights_must_be_asked_for_and_are_called_random() -> None:
    name = "retinanet_crossformer_small"
    with pytest.raises(ValueError, match=rf"{name} ships no weights: .*official.*weights=None"):
        cfviz.create_model(name)
    small = dict(embed_dim=16, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8), num_classes=3)
    model = cfviz.create_model(name, None, **small)
    assert (model.provenance.source, model.training, model.num_classes) == ("random", False, 3)
    again = cfviz.create_model(name, None, **small)
    assert torch.equal(model.bbox_head.retina_cls.weight, again.bbox_head.retina_cls.weight)


def test_feature_maps_are_the_backbones() -> None:
    with pytest.raises(ValueError, match=r'make its backbone: timm.create_model\("crossformer_base"'):
        timm.create_model("mask_rcnn_crossformer_base", features_only=True)


def test_unknown_names_are_told_all_names() -> None:
    with pytest.raises(ValueError, match=r"there is no model 'fcos'; there are: .*upernet_crossformer_large"):
        cfviz.create_model("fcos")


@pytest.mark.slow
def test_settings_of_the_backbone_can_be_chosen() -> None:
    with torch.device("meta"):
        model = make_dense("semantic_fpn_crossformer_small")
        other = make_dense("semantic_fpn_crossformer_small", group_size=7, lda="regions")
    assert model.backbone.group_size == (14, 14, 7, 7)
    assert (other.backbone.group_size, other.backbone.lda) == ((7, 7, 7, 7), "regions")
