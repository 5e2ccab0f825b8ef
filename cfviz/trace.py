"""The record of one forward: named, read-only arrays with named axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from cfviz import point_names
from cfviz.deferred import plotted, rendered
from cfviz.geometry import Grouping
from cfviz.geometry.schemes import Scheme, TokenAttention, crossformer
from cfviz.provenance import Provenance
from cfviz.stats import softmax

# axes of one photo's arrays, by the last parts of the point's name
AXES: dict[str, tuple[str, ...]] = {
    "kernels": ("channel", "row", "col"),
    "concat": ("row", "col", "channel"),
    "q": ("group", "head", "token", "channel"),
    "k": ("group", "head", "token", "channel"),
    "v": ("group", "head", "token", "channel"),
    "bias": ("head", "query", "key"),
    "content": ("group", "head", "query", "key"),
    "probs": ("group", "head", "query", "key"),
    "heads": ("group", "head", "token", "channel"),
    "attn.out": ("group", "token", "channel"),
    "out": ("row", "col", "channel"),
    "attn_branch": ("row", "col", "channel"),
    "mlp_branch": ("row", "col", "channel"),
    "features": ("row", "col", "channel"),
    "pooled": ("channel",),
    "logits": ("class",),
    "projs.weight": ("channel", "colour", "row", "col"),
    "reductions.weight": ("channel", "input", "row", "col"),
    "ex_conv.weight": ("channel", "input", "row", "col"),
}


def axes_of(point: str) -> tuple[str, ...]:
    """Return the names of the axes of the array at a point, for one photo.

    Args:
        point: For example `layers.0.blocks.1.attn.probs`.

    Returns:
        For example `("group", "head", "query", "key")`.
    """
    parts = [part for part in point.split(".") if not part.isdigit()]
    for key in (".".join(parts[-2:]), parts[-1]):
        if key in AXES:
            return AXES[key]
    raise ValueError(f"no axes are known for the point {point!r}; known endings: {', '.join(AXES)}")


@dataclass(frozen=True)
class Trace:
    """A prediction and the tensors that made it. Arrays are read-only float32.

    Attributes:
        arrays: Arrays by point name; `logits` is always included.
        axes: Names of the axes, by point name.
        labels: Class names, in the order of the logits.
        crop: Exactly the pixels that the model saw; None if the trace was made from a tensor.
        box: The crop's position in the photo: (left, top, right, bottom) in pixels of the photo.
        photo: Name of the photo.
        shown: Indices of the classes that the photo is known to show: empty if it is known to
            show none of the model's classes, None if nothing is known about it.
        model: Name of the variant.
        size: (height, width) of the input in pixels.
        groupings: Each block's partition of its map, by stage; empty for a model of timm.
        device: "cpu", "cuda", ...
        dtype: Number format of the forward: "float32", "bfloat16", ...
        seconds: Duration of the forward.
        weights: Origin of the weights.
        settings: Anything else needed to reproduce the trace.
        schemes: For a model of timm, which query attends to which keys in each block, by stage.
        strides: For a model of timm, the side of a token of each stage in pixels.
    """

    arrays: Mapping[str, np.ndarray]
    labels: tuple[str, ...]
    model: str
    size: tuple[int, int]
    groupings: tuple[tuple[Grouping, ...], ...]
    device: str = "cpu"
    dtype: str = "float32"
    seconds: float = 0.0
    weights: Provenance = field(default_factory=Provenance)
    crop: Image.Image | None = None
    box: tuple[float, float, float, float] | None = None
    photo: str = ""
    shown: tuple[int, ...] | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    schemes: tuple[tuple[Scheme, ...], ...] = ()
    strides: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for array in self.arrays.values():
            array.flags.writeable = False
        object.__setattr__(self, "arrays", MappingProxyType(dict(self.arrays)))
        object.__setattr__(self, "settings", MappingProxyType(dict(self.settings)))

    def __getitem__(self, point: str) -> np.ndarray:
        """Return the array of a point.

        Raises:
            ValueError: If the point was not watched; the message lists those that were.
        """
        if point not in self.arrays:
            raise ValueError(f"{point!r} was not watched; this trace holds: {', '.join(self.arrays)}")
        return self.arrays[point]

    @property
    def axes(self) -> dict[str, tuple[str, ...]]:
        """Names of the axes, by point name."""
        return {name: axes_of(name) for name in self.arrays}

    @property
    def logits(self) -> np.ndarray:
        """The logits, (classes,)."""
        return self["logits"]

    @property
    def probs(self) -> np.ndarray:
        """Softmax of the logits, in float64: (classes,).

        Raises:
            ValueError: If the model has no classifier.
        """
        if not self.labels:
            raise ValueError("the model has no classifier, so there are no classes and no probabilities")
        return softmax(self.logits)

    def top(self, k: int = 5) -> list[tuple[int, str, float]]:
        """Return the k most probable classes as (index, name, probability), most probable first.

        Without a classifier, the list is empty.
        """
        if not self.labels:
            return []
        probs = self.probs
        order = np.argsort(-probs, kind="stable")[: max(0, k)]
        return [(int(i), self.labels[i], float(probs[i])) for i in order]

    def grouping(self, stage: int, block: int) -> Grouping:
        """Return a block's partition of its map.

        Raises:
            ValueError: If the trace is of a model of timm.
        """
        if self.schemes:
            raise ValueError(
                f"{self.model} is no CrossFormer, whose groups this would return; use `trace.scheme` and "
                "`trace.attention`"
            )
        return self.groupings[stage][block]

    def scheme(self, stage: int, block: int) -> Scheme:
        """Return which query attends to which keys in a block, for a CrossFormer or a model of timm.

        Raises:
            ValueError: If the model has no such block.
        """
        stages: Sequence[Sequence[Any]] = self.schemes or self.groupings
        blocks = [len(one) for one in stages]
        if not (0 <= stage < len(blocks) and 0 <= block < blocks[stage]):
            raise ValueError(
                f"there is no block ({stage}, {block}); counted from 0, the stages have {blocks} blocks"
            )
        found = stages[stage][block]
        return found if self.schemes else crossformer(found)

    def attention(self, stage: int, block: int, row: int, col: int) -> TokenAttention:
        """Return what one token attends to in a block whose `probs` were watched, as maps over the tokens.

        Args:
            stage: From 0.
            block: From 0.
            row: The token's row in the stage's map, from 0.
            col: The token's column, from 0.

        Raises:
            ValueError: If there is no such block or token, or its attention was not watched.

        Example:
            >>> model = timm.create_model("swin_tiny_patch4_window7_224", pretrained=True).eval()
            >>> trace = cfviz.inspect("cat.jpg", model)
            >>> trace.attention(stage=1, block=1, row=10, col=12).mean  # (28, 28)
        """
        scheme = self.scheme(stage, block)
        return scheme.attention(self[point_names.attention(stage, block)], row, col)

    def save(self, path: str) -> None:
        """Write the arrays to an .npz file, one entry per point."""
        np.savez_compressed(path, allow_pickle=False, **dict(self.arrays))

    def show(self) -> Shown:
        """Return the output of a notebook cell: top classes, origin of the weights, living figure."""
        html = rendered(self)
        if html is None:
            raise ValueError("no renderer of traces is set; call `render_traces_with` first")
        return Shown(html)

    def plot(self, kind: str, width: str | float = "one", **place: int) -> Any:
        """Return a figure for a paper, in matplotlib, as wide as a column.

        Text stays text in PDF and SVG: `figure.savefig("heads.pdf")`.

        Args:
            kind: "grouping", "heads", "bias", "shares", "reach", "distance", "rollout" or "filters". "heads"
                needs a block's `probs` watched, "bias" a block's `bias`, "shares" the `concat` of the
                embedding before the stage, "distance" and "rollout" the `probs` of all blocks, "filters"
                `patch_embed.projs.*.weight` by their full names, "rollout" of a CrossFormer also the weights
                that `cfviz.paper.kinds.watched` lists. A model of timm has "grouping", "heads", "bias" where
                it has one, "reach", "distance" and, where attention and merging alone move tokens,
                "rollout".
            width: "one" column (84 mm), "two" (174 mm), or a number of millimetres.
            **place: `stage` and `block`, from 0; `row` and `col` of the token, by default the middle one.

        Raises:
            ValueError: If the kind is unknown, the model has no such place, or the points were not watched.

        Example:
            >>> trace = cfviz.inspect("cat.jpg", watch="layers.2.blocks.1.attn.probs")
            >>> trace.plot("heads", stage=2, block=1, row=7, col=7)
        """
        return plotted(self, kind, width=width, **place)

    def _repr_html_(self) -> str | None:
        return rendered(self)

    def __repr__(self) -> str:
        best = self.top(1)
        answer = f"{best[0][1]} {best[0][2]:.1%}" if best else "no classes"
        height, width = self.size
        return (
            f"Trace({self.model}, {self.photo or 'tensor'}, {height}x{width}: {answer}, "
            f"{len(self.arrays)} arrays)"
        )


class Shown(str):
    """HTML that a notebook renders; being a string, it can also be written to a file."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(self)
