"""Detectors and segmenters agree with what the authors' code returned, as far as numbers were recorded."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cfviz.models.dense.checkpoints import head_shapes
from cfviz.models.dense.factory import make_dense
from cfviz.models.dense.parts.boxes import UNIT, best, decode, encode
from cfviz.models.dense.parts.layers import resized
from cfviz.models.dense.parts.masks import MaskHead, paste
from cfviz.models.dense.parts.pyramid import FeaturePyramid
from cfviz.models.dense.parts.retina import RetinaHead
from cfviz.models.dense.parts.roi import STDS, BoxHead, levels_of, roi_features
from cfviz.models.dense.parts.rpn import ProposalHead
from cfviz.models.dense.parts.semantic_fpn import SemanticFPNHead
from cfviz.models.dense.parts.upernet import AuxiliaryHead, UPerHead

GOLDEN = Path(__file__).parents[2] / "golden"
CASES = json.loads((GOLDEN / "dense" / "index.json").read_text())
HEADS = json.loads((GOLDEN / "dense" / "parameters.json").read_text())
BACKBONE = json.loads((GOLDEN / "parameters.json").read_text())["crossformer_small"]
NAMES = {"retinanet": "retinanet", "maskrcnn": "mask_rcnn", "semfpn": "semantic_fpn", "upernet": "upernet"}
TOLERANCE = 1e-4  # of the largest absolute value; 4e-6 was measured

Weight = Callable[[str, tuple[int, ...]], np.ndarray]


@pytest.fixture(autouse=True)
def _no_gradients() -> Any:
    with torch.inference_mode():
        yield


@pytest.fixture
def fill(golden_weights: Weight) -> Callable[..., Any]:
    """A function that gives a module, whose names begin with `prefix`, the weights of a case."""

    def weights(module: nn.Module, case: dict[str, Any], prefix: str = "") -> Any:
        if any(p.is_meta for p in module.parameters()):
            assert {name for name, _ in module.named_buffers()} <= set(module.state_dict())
            module.to_empty(device="cpu")
        state = {}
        for name, old in module.state_dict().items():
            key = prefix + name
            if name.endswith("num_batches_tracked"):
                state[name] = old
                continue
            value = np.array(golden_weights(key.removeprefix("backbone."), tuple(old.shape)), np.float32)
            for change in case.get("overrides", ()):
                if change["name"] == key:
                    value *= np.float32(change.get("scale", 1))
                    value[change.get("at", slice(None))] += np.float32(change.get("add", 0))
            state[name] = torch.from_numpy(value)
        module.load_state_dict(state, strict=True)
        return module.eval()

    return weights


def unfilled(name: str) -> Any:
    """A model that has no numbers yet: drawing them at random takes longer than a forward."""
    with torch.device("meta"):
        return make_dense(name)


def given(case: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The maps that a case begins with."""
    maps = {}
    for name, (seed, shape, *factor) in case["inputs"].items():
        numbers = np.random.RandomState(zlib.crc32(seed.encode())).standard_normal(shape)
        maps[name] = torch.from_numpy(np.float32(factor[0] if factor else 1) * numbers.astype(np.float32))
    return maps


def image(case: dict[str, Any]) -> torch.Tensor:
    x = np.random.RandomState(0).rand(1, 3, case["H"], case["W"]).astype(np.float32)
    mean = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
    std = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]
    x = torch.from_numpy((x - mean) / std)
    if "valid" in case:
        x[:, :, case["valid"][0] :], x[:, :, :, case["valid"][1] :] = 0, 0
    return x


class Recorded:
    """The numbers of one case."""

    def __init__(self, tag: str) -> None:
        self.case = CASES[tag]
        self.arrays = np.load(GOLDEN / "dense" / f"{tag}.npz")

    def check(self, name: str, out: torch.Tensor, within: float | None = None) -> None:
        """Compare an output without its batch axis, to a fraction of the largest value or within a number."""
        fact, wanted = self.case["arrays"][name], self.arrays[name].reshape(-1)
        assert list(out.shape) == fact["shape"], name
        found = out.numpy().reshape(-1)[:: fact["step"]][: wanted.size]
        allowed = TOLERANCE * fact["max_abs"] if within is None else within
        assert np.abs(found - wanted).max() <= allowed, name

    def match(self, found: dict[str, torch.Tensor], dets: str = "dets", labels: str = "labels") -> list[int]:
        """Find a detection for each recorded one, by label and position; scores may swap ranks."""
        wanted, classes = self.arrays[dets], self.arrays[labels]
        assert len(found["boxes"]) == len(wanted)
        pairs = []
        for (*box, score), label in zip(wanted.tolist(), classes.tolist(), strict=True):
            near = (found["boxes"] - torch.tensor(box)).abs().amax(1) <= 0.05
            fits = near & ((found["scores"] - score).abs() <= 1e-3) & (found["labels"] == label)
            assert fits.any(), (box, score, label)
            pairs.append(int(fits.nonzero()[0]))
        assert len(set(pairs)) == len(pairs)
        return pairs


def rescaled(case: dict[str, Any], boxes: torch.Tensor) -> torch.Tensor:
    """Boxes in pixels of the original image."""
    factors = [case["valid"][axis] / case["ori"][axis] for axis in (1, 0, 1, 0)]
    return boxes / torch.tensor(factors)


def test_boxes_are_moved_and_selected_as_recorded() -> None:
    told = Recorded("boxes")
    stored = {name: torch.from_numpy(told.arrays[name]) for name in told.arrays.files}
    rois, deltas = stored["rois"], stored["deltas"]
    for name, stds in (("unit", UNIT), ("rcnn", STDS)):
        told.check(f"decoded_{name}", decode(rois, deltas, stds), 1e-3)
        told.check(f"decoded_{name}_clipped", decode(rois, deltas, stds, (240, 320)), 1e-3)
        told.check(f"encoded_{name}", encode(rois, rois.flip(0), stds), 1e-3)
    boxes, scores = stored["nms_boxes"], stored["nms_scores"][:, :-1]
    for end, most in (("", 100), ("_all", None)):
        kept, labels = best(boxes, scores, 0.05, 0.5, most)
        found = {"boxes": boxes[kept], "scores": scores[kept, labels], "labels": labels}
        told.match(found, f"nms_dets{end}", f"nms_labels{end}")


def test_the_pyramid_of_odd_maps(fill: Callable[..., Any]) -> None:
    told = Recorded("head_fpn_retina_odd")
    maps = given(told.case)
    neck = fill(FeaturePyramid([192, 384, 768], extra="convs"), told.case, "neck.")
    for i, level in enumerate(neck([maps[f"C{i}"] for i in (3, 4, 5)])):
        told.check(f"P{i + 3}", level[0])


@pytest.mark.slow
def test_the_heads_for_given_regions(fill: Callable[..., Any]) -> None:
    told = Recorded("head_roi_given")
    maps = given(told.case)
    logits, deltas = fill(BoxHead(80), told.case, "roi_head.bbox_head.")(maps["x7"])
    told.check("cls_score", logits)
    told.check("bbox_pred", deltas)
    told.check("mask_logits", fill(MaskHead(80), told.case, "roi_head.mask_head.")(maps["x14"]))


def test_the_head_of_semantic_fpn(fill: Callable[..., Any]) -> None:
    told = Recorded("head_semfpn")
    maps = given(told.case)
    head = fill(SemanticFPNHead(150), told.case, "decode_head.")
    told.check("logits", head([maps[f"P{i}"] for i in range(2, 6)])[0])


@pytest.mark.slow
def test_the_heads_of_upernet(fill: Callable[..., Any]) -> None:
    told = Recorded("head_upernet")
    maps = [given(told.case)[f"C{i}"] for i in range(2, 6)]
    head = fill(UPerHead(150, [96, 192, 384, 768]), told.case, "decode_head.")
    told.check("logits", head(maps)[0])
    told.check("aux_logits", fill(AuxiliaryHead(150, 384), told.case, "auxiliary_head.")(maps[2])[0])


@pytest.mark.slow
def test_the_head_of_retinanet(fill: Callable[..., Any]) -> None:
    told = Recorded("head_retina")
    maps = given(told.case)
    head = fill(RetinaHead(80), told.case, "bbox_head.")
    logits, deltas = head([maps[f"P{i}"] for i in range(3, 8)])
    for i, (cls, reg) in enumerate(zip(logits, deltas, strict=True)):
        told.check(f"cls{i + 3}", cls[0])
        told.check(f"reg{i + 3}", reg[0])
        told.check(f"base_anchors{i + 3}", head.anchors.base(i), 1e-3)
        told.check(f"anchors{i + 3}", head.anchors.on(i, cls.shape[2:], cls.device), 1e-3)
    told.match(head.select([x[0] for x in logits], [x[0] for x in deltas], tuple(told.case["valid"])))


@pytest.mark.slow
def test_the_heads_of_mask_rcnn(fill: Callable[..., Any]) -> None:
    told = Recorded("head_rcnn")
    maps = given(told.case)
    levels = [maps[f"P{i}"] for i in range(2, 7)]
    head = fill(ProposalHead(), told.case, "rpn_head.")
    for i, (cls, reg) in enumerate(zip(*head(levels), strict=True)):
        told.check(f"rpn_cls{i + 2}", cls[0])
        told.check(f"rpn_reg{i + 2}", reg[0])
        told.check(f"base_anchors{i + 2}", head.anchors.base(i), 1e-3)
        told.check(f"anchors{i + 2}", head.anchors.on(i, cls.shape[2:], cls.device), 1e-3)
    rois = torch.from_numpy(told.arrays["rois"])
    assert levels_of(rois[:, 1:]).tolist() == told.arrays["roi_levels"].tolist()
    features = roi_features(levels, rois, 7)
    told.check("roi_feats7", features)
    logits, deltas = fill(BoxHead(80), told.case, "roi_head.bbox_head.")(features)
    told.check("cls_score", logits)
    told.check("bbox_pred", deltas)
    moved = decode(rois[:, 1:], deltas.view(len(rois), -1, 4), STDS, tuple(told.case["valid"]))
    told.check("decoded_boxes", moved.flatten(1))
    features = roi_features(levels, rois, 14)
    told.check("roi_feats14", features)
    told.check("mask_logits", fill(MaskHead(80), told.case, "roi_head.mask_head.")(features[:8]))


@pytest.mark.slow
def test_retinanets_detections(fill: Callable[..., Any]) -> None:
    told = Recorded("retinanet_few_320x448")
    model = fill(unfilled("retinanet_crossformer_small"), told.case)
    found = model(image(told.case), [tuple(told.case["valid"])])[0]
    told.match(found)
    there = {**found, "boxes": rescaled(told.case, found["boxes"])}
    told.match(there, "dets_rescaled", "labels_rescaled")


@pytest.mark.slow
def test_mask_rcnns_detections(fill: Callable[..., Any]) -> None:
    told = Recorded("maskrcnn_few_320x448")
    model = fill(unfilled("mask_rcnn_crossformer_small"), told.case)
    found = model.detect(image(told.case), [tuple(told.case["valid"])])[0]
    told.match(found)
    there = {**found, "boxes": rescaled(told.case, found["boxes"])}
    pairs = told.match(there, "dets_rescaled", "labels_rescaled")
    H, W = told.case["ori"]
    masks = paste(there["mask_logits"], there["boxes"], (H, W))[:, 0] >= 0.5
    for i, j in enumerate(pairs):
        area = int(told.arrays["mask_area_rescaled"][i])
        assert abs(int(masks[j].sum()) - area) <= max(3, 0.005 * area)
    for i, bits in enumerate(told.arrays["mask_bits_rescaled"]):
        wanted = torch.from_numpy(np.unpackbits(bits)[: H * W].reshape(H, W)).bool()
        assert (masks[pairs[i]] ^ wanted).sum() <= 0.005 * wanted.sum()


@pytest.mark.slow
@pytest.mark.parametrize("tag", ["semfpn_320x448", "upernet_256x320"])
def test_the_segmenters_logits_and_labels(tag: str, fill: Callable[..., Any]) -> None:
    told = Recorded(tag)
    model = fill(unfilled(f"{NAMES[told.case['model']]}_crossformer_small"), told.case)
    x = image(told.case)
    told.check("logits", model.logits(x)[0])
    logits = model(x)
    told.check("logits_input_size", logits[0])
    probs = resized(logits, tuple(told.case["ori"])).softmax(1)[0]
    told.check("probs_ori_size", probs)
    if tag.startswith("upernet"):
        told.check("aux_logits", model.auxiliary_head(model.features(x)[2])[0])
    labels = probs.argmax(0).flatten()[:: told.case["arrays"]["labels_ori_size"]["step"]].numpy()
    wanted = told.arrays["labels_ori_size"]
    assert (labels[: wanted.size] != wanted).mean() <= 0.002


@pytest.mark.slow
@pytest.mark.parametrize("kind", HEADS)
def test_names_and_shapes_are_the_authors(kind: str) -> None:
    with torch.device("meta"):
        model = make_dense(f"{NAMES[kind]}_crossformer_small")
    backbone = {f"backbone.{k}": s for k, s in BACKBONE.items() if k.split(".")[0] not in ("norm", "head")}
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == backbone | HEADS[kind]


@pytest.mark.parametrize("kind", HEADS)
def test_names_and_shapes_of_the_heads_are_the_authors(kind: str) -> None:
    shapes = head_shapes(f"{NAMES[kind]}_crossformer_small", 80 if kind in ("retinanet", "maskrcnn") else 150)
    assert {key: list(shape) for key, shape in shapes.items()} == HEADS[kind]
