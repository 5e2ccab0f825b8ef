"""The four models: a CrossFormer, a neck and heads, under the names of the authors' files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch

from cfviz.geometry import map_sizes
from cfviz.models.crossformer import CrossFormer
from cfviz.models.crossformer.origin import WithProvenance
from cfviz.provenance import Provenance

from .parts.layers import resized
from .parts.losses import Target, check_labels, check_targets, pixel_loss, retina_losses
from .parts.masks import MaskHead, paste
from .parts.pyramid import FeaturePyramid
from .parts.retina import SCALE, RetinaHead
from .parts.roi import BoxHead, roi_features
from .parts.rpn import ProposalHead
from .parts.semantic_fpn import SemanticFPNHead
from .parts.two_stage_losses import numbered, proposal_losses, region_losses
from .parts.upernet import AuxiliaryHead, UPerHead
from .timm_maps import TimmMaps
from .variants import SIDES, TASKS, Kind, Task

Sizes = Sequence[tuple[int, int]]
Detections = dict[str, torch.Tensor]


class DenseModel(WithProvenance, ABC):
    """A CrossFormer with heads for boxes or pixels.

    Attributes:
        kind: Which of the four models.
        backbone: A CrossFormer without norm and classifier at its end; where `TimmMaps` was given, that.
        num_classes: Classes, without a background.
        sides: Most pixels of a photo's long and short side in the model's input.
    """

    kind: ClassVar[Kind]
    pretrained_cfg: dict[str, Any]
    default_cfg: dict[str, Any]
    _model_args: dict[str, Any]

    def __init__(self, backbone: CrossFormer | TimmMaps, num_classes: int) -> None:
        super().__init__()
        if type(num_classes) is not int or num_classes < 1:
            raise ValueError(f"num_classes is {num_classes!r}; expected a whole number from 1")
        if isinstance(backbone, CrossFormer):
            backbone.prune_intermediate_layers(len(backbone.depths), prune_norm=True)
        self.num_classes = num_classes
        self.backbone = cast(CrossFormer, backbone)  # heads use no more of it than `TimmMaps` has
        self.sides = SIDES[self.task]

    @property
    def task(self) -> Task:
        """Whether it finds boxes ("detect") or labels pixels ("segment")."""
        return TASKS[self.kind]

    @property
    def channels(self) -> list[int]:
        """Channels of the backbone's maps, finest first."""
        return [info["num_chs"] for info in self.backbone.feature_info]

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the backbone's maps at strides 4, 8, 16, 32: (B, 3, H, W) -> (B, C_i, H_i, W_i)."""
        return cast(list[torch.Tensor], self.backbone.forward_intermediates(x, intermediates_only=True))

    @abstractmethod
    def from_maps(self, maps: Sequence[torch.Tensor]) -> Any:
        """Return what neck and heads make of the backbone's maps."""

    def _begin(self) -> None:
        """Record that the weights are random; called when all layers are there."""
        self.provenance = Provenance()

    def _check(self, x: torch.Tensor, sizes: Sizes | None) -> list[tuple[int, int]]:
        """Return the part of each input that is photo.

        Raises:
            ValueError: If the batch or a size is none.
        """
        channels = self.backbone.in_chans
        if not isinstance(x, torch.Tensor) or x.dim() != 4 or x.shape[1] != channels or not len(x):
            found = " x ".join(map(str, x.shape)) if isinstance(x, torch.Tensor) else type(x).__name__
            raise ValueError(f"the input is {found}; expected a batch of images, B x {channels} x H x W")
        if not x.is_floating_point():
            raise ValueError(
                f"the input is {str(x.dtype).removeprefix('torch.')}; expected pixels that were normalised, "
                "in a floating point format"
            )
        B, _, H, W = x.shape
        map_sizes(int(H), int(W))  # raises if the size does not fit
        if sizes is None:
            return [(H, W)] * B
        told = list(sizes)
        if len(told) != B:
            raise ValueError(f"there are {len(told)} sizes for {B} images; expected one (height, width) each")
        for size in told:
            if not _fits(size, H, W):
                raise ValueError(
                    f"{size!r} is not the size of a photo in an input of {H} x {W}; expected (height, width) "
                    "in whole pixels, neither larger than the input"
                )
        return [(size[0], size[1]) for size in told]

    def extra_repr(self) -> str:
        """Return what the heads are for."""
        return f"{self.kind}, {self.num_classes} classes"


def _fits(size: Any, H: int, W: int) -> bool:
    """Whether something is a height and width in whole pixels, inside H x W."""
    pair = size if isinstance(size, tuple | list) and len(size) == 2 else (0, 0)
    return all(type(side) is int and 0 < side <= most for side, most in zip(pair, (H, W), strict=True))


def _finite(*outputs: torch.Tensor) -> None:
    """Refuse outputs that would end in no detections, or in any: NaN is above and below no threshold.

    Raises:
        ValueError: If a number is NaN or infinite.
    """
    if not all(bool(torch.isfinite(x.detach().sum(dtype=torch.float32))) for x in outputs):
        raise ValueError(
            "the outputs are NaN or infinite: the input holds such values, or the number format is too "
            "narrow for these weights (bfloat16 and float32 reach further than float16)"
        )


class Detector(DenseModel):
    """What the detectors have in common: in eval mode a batch goes in and lists of boxes come out."""

    def detect(self, x: torch.Tensor, sizes: Sizes | None = None) -> list[Detections]:
        """Find boxes, without putting masks into the image.

        Args:
            x: (B, 3, H, W), normalised pixels, H and W multiples of 32.
            sizes: Height and width of the part of each input that is photo, if the rest is padding; boxes are
                clipped to it.

        Returns:
            For each image a dict of `boxes` (n, 4), `scores` (n,), `labels` (n,) and what is known of where
            each box came from; Mask R-CNN adds `mask_logits` (n, 28, 28).

        Raises:
            ValueError: If the input or a size is none, or the outputs are not finite.
        """
        told = self._check(x, sizes)
        return self.select(self.outputs(x), told)

    def outputs(self, x: torch.Tensor) -> dict[str, list[torch.Tensor]]:
        """Return what the layers before the selection return."""
        return self.from_maps(self.features(x))

    @abstractmethod
    def from_maps(self, maps: Sequence[torch.Tensor]) -> dict[str, list[torch.Tensor]]:
        """Return `outputs` from the backbone's maps."""

    @abstractmethod
    def losses(self, x: torch.Tensor, targets: Sequence[Target]) -> dict[str, torch.Tensor]:
        """Return what training makes small; the sum of the values is the loss."""

    @abstractmethod
    def select(self, outputs: dict[str, list[torch.Tensor]], sizes: Sizes) -> list[Detections]:
        """Turn `outputs` into detections, see `detect`."""

    @abstractmethod
    def class_logits(
        self, outputs: dict[str, list[torch.Tensor]], found: Detections, image: int = 0
    ) -> torch.Tensor:
        """Return the logit behind each detection's score: (n,).

        Args:
            outputs: What the detections were selected from.
            found: The detections of one image.
            image: The image's place in the batch.
        """

    def forward(self, x: torch.Tensor, sizes: Sizes | None = None) -> list[Detections]:
        """Find boxes; in the form of torchvision's detectors, but with labels from 0 and no background.

        Args:
            x: (B, 3, H, W), normalised pixels, H and W multiples of 32.
            sizes: Height and width of the part of each input that is photo, if the rest is padding; boxes are
                clipped to it.

        Returns:
            For each image a dict of `boxes` (n, 4), as x1, y1, x2, y2 in pixels of the input, `scores` (n,)
            and `labels` (n,), best first; Mask R-CNN adds `masks` (n, 1, H, W), probabilities of which 0.5
            and more belong to the object.

        Raises:
            ValueError: If the input or a size is none, the outputs are not finite, or the model is in
                training mode.
        """
        if self.training:
            raise ValueError(
                f"{type(self).__name__} is in training mode (losses(x, targets)): call eval() first, or "
                "outputs(x) for what the heads return"
            )
        H, W = x.shape[-2:] if isinstance(x, torch.Tensor) and x.dim() > 1 else (0, 0)
        results = []
        for found in self.detect(x, sizes):
            result = {name: found[name] for name in ("boxes", "scores", "labels")}
            if "mask_logits" in found:
                result["masks"] = paste(found["mask_logits"], found["boxes"], (H, W))
            results.append(result)
        return results


class RetinaNet(Detector):
    """RetinaNet: classes and boxes from five levels, from stride 8 on."""

    kind = "retinanet"

    def __init__(
        self,
        backbone: CrossFormer | TimmMaps,
        num_classes: int = 80,
        channels: int = 256,
        anchor_scale: float = SCALE,
    ) -> None:
        super().__init__(backbone, num_classes)
        self.neck = FeaturePyramid(self.channels[1:], channels, extra="convs")
        self.bbox_head = RetinaHead(num_classes, channels, anchor_scale)
        self._begin()

    def from_maps(self, maps: Sequence[torch.Tensor]) -> dict[str, list[torch.Tensor]]:
        """Return what the layers return: the pyramid's `levels`, and the head's `logits` and `deltas`."""
        levels = self.neck(maps[1:])
        logits, deltas = self.bbox_head(levels)
        return {"levels": levels, "logits": logits, "deltas": deltas}

    def losses(self, x: torch.Tensor, targets: Sequence[Target]) -> dict[str, torch.Tensor]:
        """Return what training makes small; the sum of the values is the loss.

        Args:
            x: (B, 3, H, W), normalised pixels, H and W multiples of 32.
            targets: For each image `boxes` (n, 4), as x1, y1, x2, y2 in pixels of the input, and `labels`
                (n,) from 0, in the form of torchvision's detectors.

        Raises:
            ValueError: If the input is none, or the targets do not fit it.
        """
        self._check(x, None)
        return self.losses_of(self.neck(self.features(x)[1:]), targets)

    def losses_of(self, levels: Sequence[torch.Tensor], targets: Sequence[Target]) -> dict[str, torch.Tensor]:
        """Return the losses from the pyramid's levels; see `losses`."""
        check_targets(targets, len(levels[0]), self.num_classes)
        logits, deltas = self.bbox_head(levels)
        return retina_losses(logits, deltas, targets, self.bbox_head.anchors, self.num_classes)

    def select(self, outputs: dict[str, list[torch.Tensor]], sizes: Sizes) -> list[Detections]:
        """Turn `outputs` into detections.

        `levels` says at which level of the pyramid (0 for stride 8) each was found, `anchors` by which of the
        level's anchors.
        """
        logits, deltas = outputs["logits"], outputs["deltas"]
        _finite(*logits, *deltas)
        return [
            self.bbox_head.select([c[b] for c in logits], [d[b] for d in deltas], size)
            for b, size in enumerate(sizes)
        ]

    def class_logits(
        self, outputs: dict[str, list[torch.Tensor]], found: Detections, image: int = 0
    ) -> torch.Tensor:
        """Return the logit behind each detection's score, see `Detector.class_logits`."""
        K = self.num_classes
        rows = [c[image].permute(1, 2, 0).reshape(-1, K) for c in outputs["logits"]]  # H*W*A, K
        each = zip(*(found[name].tolist() for name in ("levels", "anchors", "labels")), strict=True)
        picked = [rows[level][anchor, label] for level, anchor, label in each]
        return torch.stack(picked) if picked else rows[0].new_zeros(0)


class RoIHead(torch.nn.Module):
    """The second stage of Mask R-CNN: a head for classes and boxes, and one for masks."""

    def __init__(self, num_classes: int, channels: int, hidden: int = 1024) -> None:
        super().__init__()
        self.bbox_head = BoxHead(num_classes, channels, hidden)
        self.mask_head = MaskHead(num_classes, channels)

    def boxes(self, levels: Sequence[torch.Tensor], rois: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return class logits (n, K + 1) and deltas (n, K*4) of regions (n, 5)."""
        return self.bbox_head(roi_features(levels, rois, self.bbox_head.side))

    def masks(self, levels: Sequence[torch.Tensor], rois: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mask logits (n, 28, 28) of regions (n, 5), each for the class it has."""
        logits = self.mask_head(roi_features(levels, rois, self.mask_head.side))
        return logits[torch.arange(len(labels), device=labels.device), labels]


class MaskRCNN(Detector):
    """Mask R-CNN: proposals from five levels, then a class, a box and a mask for each."""

    kind = "mask_rcnn"

    def __init__(
        self, backbone: CrossFormer | TimmMaps, num_classes: int = 80, channels: int = 256, hidden: int = 1024
    ) -> None:
        super().__init__(backbone, num_classes)
        self.neck = FeaturePyramid(self.channels, channels, extra="pool")
        self.rpn_head = ProposalHead(channels)
        self.roi_head = RoIHead(num_classes, channels, hidden)
        self._begin()

    def from_maps(self, maps: Sequence[torch.Tensor]) -> dict[str, list[torch.Tensor]]:
        """Return what the first stage returns: the pyramid's `levels`, `logits` and `deltas` of anchors."""
        levels = self.neck(maps)
        logits, deltas = self.rpn_head(levels)
        return {"levels": levels, "logits": logits, "deltas": deltas}

    def select(self, outputs: dict[str, list[torch.Tensor]], sizes: Sizes) -> list[Detections]:
        """Turn `outputs` into detections with masks; `proposals` are what the second stage began with."""
        _finite(*outputs["logits"], *outputs["deltas"])
        return [
            self.second_stage(
                [x[b : b + 1] for x in outputs["levels"]], self.proposals(outputs, b, size), size
            )
            for b, size in enumerate(sizes)
        ]

    def proposals(
        self, outputs: dict[str, list[torch.Tensor]], image: int, size: tuple[int, int]
    ) -> torch.Tensor:
        """Return the boxes of one image that may hold something, best first: (n, 4)."""
        logits, deltas = ([maps[image] for maps in outputs[name]] for name in ("logits", "deltas"))
        return self.rpn_head.select(logits, deltas, size)[0]

    def losses(self, x: torch.Tensor, targets: Sequence[Target]) -> dict[str, torch.Tensor]:
        """Return what training makes small; the sum of the values is the loss.

        Args:
            x: (B, 3, H, W), normalised pixels, H and W multiples of 32.
            targets: For each image `boxes` (n, 4), as x1, y1, x2, y2 in pixels of the input, `labels` (n,)
                from 0, and `masks` (n, H, W), 1 where the object is, in the form of torchvision's detectors.

        Returns:
            The five losses of torchvision's Mask R-CNN. Anchors and proposals to learn from are drawn with
            PyTorch's random numbers.

        Raises:
            ValueError: If the input is none, or the targets do not fit it.
        """
        self._check(x, None)
        H, W = (int(side) for side in x.shape[2:])
        check_targets(targets, len(x), self.num_classes, (H, W))
        outputs = self.outputs(x)
        losses = proposal_losses(outputs["logits"], outputs["deltas"], targets, self.rpn_head.anchors)
        with torch.no_grad():
            found = [self.proposals(outputs, b, (H, W)) for b in range(len(x))]
        levels = outputs["levels"]
        return losses | region_losses(
            lambda rois: self.roi_head.boxes(levels, rois),
            lambda rois, labels: self.roi_head.masks(levels, rois, labels),
            found,
            targets,
        )

    def class_logits(
        self, outputs: dict[str, list[torch.Tensor]], found: Detections, image: int = 0
    ) -> torch.Tensor:
        """Return the logit behind each score, its proposal taken as given; see `Detector.class_logits`."""
        levels = [x[image : image + 1] for x in outputs["levels"]]
        proposals, labels = (
            found[name].detach().clone() for name in ("proposals", "labels")
        )  # for gradients
        logits, _ = self.roi_head.boxes(levels, numbered([proposals]))
        return logits.gather(1, labels[:, None])[:, 0]

    def second_stage(
        self, levels: Sequence[torch.Tensor], proposals: torch.Tensor, size: tuple[int, int]
    ) -> Detections:
        """Turn the proposals for one image into detections.

        Args:
            levels: The pyramid's of this image, (1, C, H_i, W_i).
            proposals: (n, 4).
            size: Height and width of the image without padding.
        """
        logits, deltas = self.roi_head.boxes(levels, numbered([proposals]))
        _finite(logits, deltas)
        found = self.roi_head.bbox_head.select(proposals, logits, deltas, size)
        masks = self.roi_head.masks(levels, numbered([found["boxes"]]), found["labels"])
        return {**found, "mask_logits": masks}


AUXILIARY = 0.4  # weight of UPerNet's auxiliary head in the loss
MOST_LOGITS = 1_100_000_000  # of one image: 4.4 GB, 255 classes at 2,048 x 2,048


def check_logits(num_classes: int, height: int, width: int) -> None:
    """Refuse logits that a machine's memory may not hold, before they are computed.

    Raises:
        ValueError: If they are too many.
    """
    n = num_classes * height * width
    if n > MOST_LOGITS:
        raise ValueError(
            f"{num_classes:,} classes on a map of {height} x {width} are {n:,} logits at once, more than "
            f"{MOST_LOGITS:,}; use a smaller input"
        )


class Segmenter(DenseModel):
    """What the segmenters have in common: a class for every pixel."""

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Return the head's logits at stride 4: (B, 3, H, W) -> (B, K, H/4, W/4)."""
        return self.from_maps(self.features(x))

    @abstractmethod
    def from_maps(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return `logits` from the backbone's maps."""

    def losses(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return what training makes small; the sum of the values is the loss.

        Args:
            x: (B, 3, H, W), normalised pixels, H and W multiples of 32.
            labels: (B, H, W) int64, the class of each pixel, `UNLABELLED` where it is not known.

        Returns:
            `segmentation`, the mean cross-entropy of the pixels with a class; UPerNet adds `auxiliary`.

        Raises:
            ValueError: If the input is none, or the labels do not fit it.
        """
        self._check(x, None)
        check_labels(labels, x, self.num_classes)
        return self.losses_of(self.features(x), labels)

    def losses_of(self, maps: Sequence[torch.Tensor], labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the losses from the backbone's maps; see `losses`."""
        return {"segmentation": pixel_loss(self.from_maps(maps), labels)}

    def cells(self, x: torch.Tensor, sizes: Sizes | None = None) -> torch.Tensor:
        """Return `logits` of an input that was checked.

        Raises:
            ValueError: If the input or a size is none, the logits would be too many, or are not finite.
        """
        self._check(x, sizes)
        check_logits(self.num_classes, int(x.shape[2]) // 4, int(x.shape[3]) // 4)
        logits = self.logits(x)
        _finite(logits)
        return logits

    def forward(self, x: torch.Tensor, sizes: Sizes | None = None) -> torch.Tensor:
        """Label pixels.

        Args:
            x: (B, 3, H, W), normalised pixels, H and W multiples of 32.
            sizes: Height and width of the part of each input that is photo; checked, but of no effect: crop
                the result.

        Returns:
            (B, K, H, W) logits, resized from stride 4.

        Raises:
            ValueError: If the input or a size is none, the logits would be too many, or are not finite.
        """
        self._check(x, sizes)
        check_logits(self.num_classes, *map(int, x.shape[2:]))
        return resized(self.cells(x), x.shape[2:])


class SemanticFPN(Segmenter):
    """Semantic FPN: a feature pyramid whose levels are brought to stride 4 and added."""

    kind = "semantic_fpn"

    def __init__(
        self, backbone: CrossFormer | TimmMaps, num_classes: int = 150, channels: int = 256, hidden: int = 128
    ) -> None:
        super().__init__(backbone, num_classes)
        self.neck = FeaturePyramid(self.channels, channels)
        self.decode_head = SemanticFPNHead(num_classes, channels, hidden)
        self._begin()

    def from_maps(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the head's logits at stride 4 from the backbone's maps: (B, K, H/4, W/4)."""
        return self.decode_head(self.neck(maps))


class UPerNet(Segmenter):
    """UPerNet: pyramid pooling on the coarsest map, then a feature pyramid whose levels are joined."""

    kind = "upernet"

    def __init__(
        self,
        backbone: CrossFormer | TimmMaps,
        num_classes: int = 150,
        hidden: int = 512,
        auxiliary: int = 256,
    ) -> None:
        super().__init__(backbone, num_classes)
        self.decode_head = UPerHead(num_classes, self.channels, hidden)
        self.auxiliary_head = AuxiliaryHead(num_classes, self.channels[2], auxiliary)
        self._begin()

    def from_maps(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the head's logits at stride 4 from the backbone's maps: (B, K, H/4, W/4)."""
        return self.decode_head(maps)

    def losses_of(self, maps: Sequence[torch.Tensor], labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the losses from the backbone's maps, the auxiliary head's with the authors' weight."""
        auxiliary = AUXILIARY * pixel_loss(self.auxiliary_head(maps[2]), labels)
        return super().losses_of(maps, labels) | {"auxiliary": auxiliary}


MODELS: dict[str, type[DenseModel]] = {
    model.kind: model for model in (RetinaNet, MaskRCNN, SemanticFPN, UPerNet)
}
