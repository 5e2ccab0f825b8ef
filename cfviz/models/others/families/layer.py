"""What every family's adapter provides: the attention layers of a model, and how each is read.

A layer is read from what its module was called with and what it returned. The logits are computed anew from
the module's own weights, beside the forward, which runs as it always does, fused or not. Whether they are
right is measured each time: attention times values, through the rest of the layer, must give what the module
returned.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from cfviz.geometry.schemes import Scheme


@dataclass(frozen=True)
class Terms:
    """The attention of one layer, taken apart: probabilities are the softmax of the sum.

    Attributes:
        content: What query and key say, (B, nG, nH, Nq, Nk).
        values: (B, nG, nH, Nk, d).
        bias: Position bias, (nH, Nq, Nk), if the layer has one.
        mask: What is added to the logits of separated pairs, (nG, Nq, Nk), if anything is.
    """

    content: torch.Tensor
    values: torch.Tensor
    bias: torch.Tensor | None = None
    mask: torch.Tensor | None = None

    @property
    def probs(self) -> torch.Tensor:
        """The attention, (B, nG, nH, Nq, Nk)."""
        logits = self.content
        if self.bias is not None:
            logits = logits + self.bias
        if self.mask is not None:
            logits = logits + self.mask[:, None]
        return logits.softmax(-1)


@dataclass(frozen=True)
class Off:
    """What is switched off in one layer.

    Attributes:
        heads: Heads whose output is zero, from 0.
        bias: Whether the position bias is.
        shift: Whether windows are not shifted, and nothing is masked.
    """

    heads: Collection[int] = ()
    bias: bool = False
    shift: bool = False


@dataclass(frozen=True)
class Layer(ABC):
    """One attention layer of a model.

    Attributes:
        module: The module that computes the attention.
        block: The module around it, whose output is the map after the layer.
        H: Height of the map, in tokens.
        W: Width of the map, in tokens.
    """

    module: Any
    block: Any
    H: int
    W: int

    @property
    @abstractmethod
    def scheme(self) -> Scheme:
        """Which query attends to which keys."""

    @abstractmethod
    def terms(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Terms:
        """Take the attention apart, from what the module was called with."""

    @property
    def has_bias(self) -> bool:
        """Whether the layer has a position bias."""
        return False

    @property
    def shifted(self) -> bool:
        """Whether the layer's windows are shifted."""
        return False

    def without(self, args: Sequence[Any], kwargs: Mapping[str, Any], off: Off) -> torch.Tensor:
        """What the module would return without some of its parts, from what it was called with."""
        terms = self.terms(args, kwargs)
        if off.bias:
            terms = replace(terms, bias=None)
        heads = terms.probs @ terms.values  # B, nG, nH, Nq, d
        if off.heads:
            heads[:, :, sorted(off.heads)] = 0
        return self.output(heads.transpose(2, 3).flatten(3), args)

    @abstractmethod
    def output(self, mixed: torch.Tensor, args: Sequence[Any]) -> torch.Tensor:
        """What the module returns for what its heads give, (B, nG, Nq, nH*d)."""

    def tokens(self, out: torch.Tensor) -> torch.Tensor:
        """The map in what the block returns for one photo: (H, W, C)."""
        x = out[0]
        return x if x.ndim == 3 else x[-self.H * self.W :].unflatten(0, (self.H, self.W))  # prefix first


class Family(ABC):
    """One family of models.

    Attributes:
        name: For messages: "Swin".
        mixes: What else moves tokens between the blocks' attention, so that rollout is not defined; empty if
            nothing does.
    """

    name: str
    mixes: str = ""

    @abstractmethod
    def has(self, model: nn.Module) -> bool:
        """Whether a model belongs to this family."""

    @abstractmethod
    def layers(self, model: Any, height: int, width: int) -> list[list[Layer]]:
        """The attention layers of each stage, in the order of the forward, for an input of height x width.

        Raises:
            ValueError: If the model takes no input of this size, or a layer is of an unknown kind.
        """

    @abstractmethod
    def strides(self, model: Any, stages: int) -> tuple[int, ...]:
        """The side of a token of each stage, in pixels; the first token is at the corner of the input.

        Raises:
            ValueError: If tokens are not square.
        """

    def grain(self, model: Any) -> tuple[int, int]:
        """What the height and the width of an input must be multiples of, where the model takes several."""
        return 1, 1

    def smallest(self, model: Any) -> int:
        """The shortest side of an input, in pixels."""
        return 1

    def nearest(self, model: Any, height: int, width: int) -> tuple[int, int]:
        """The size of an input that the model takes, nearest to one that it does not take."""
        least, sides = self.smallest(model), zip((height, width), self.grain(model), strict=True)
        return tuple(max(round(side / step), -(-least // step), 1) * step for side, step in sides)  # type: ignore[return-value]

    def entry(self, model: Any, stage: int, layer: Layer) -> nn.Module | None:
        """The module from whose input on a batch may be larger than the model's own, before a layer.

        None where the model counts its photos once, at its own input.
        """
        return layer.block

    def merging(self, model: Any) -> list[np.ndarray]:
        """What each layer between two stages takes of the tokens it joins: sums of |w|, (k, k), stride k.

        Raises:
            ValueError: If tokens are moved by more than attention and these layers, so that rollout would
                leave something out.
        """
        if self.mixes:
            raise ValueError(
                f"rollout follows tokens through attention; in {self.name}, {self.mixes} mix them, too. "
                "`cfviz.models.others.reading.receptive_field` leaves nothing out"
            )
        return []


def heads_of(x: torch.Tensor, heads: int, parts: int) -> tuple[torch.Tensor, ...]:
    """A projection (..., N, parts*nH*d) as its parts, (..., nH, N, d) each."""
    split = x.unflatten(-1, (parts, heads, -1))  # ..., N, parts, nH, d
    return tuple(part.transpose(-2, -3) for part in split.unbind(-3))


def patch_side(embed: Any) -> int:
    """The side of a model's patches, in pixels.

    Raises:
        ValueError: If they are not square: a token of a stage would have no one side.
    """
    height, width = embed.patch_size
    if height != width:
        raise ValueError(f"this model's patches are {height} x {width} pixels; expected square ones")
    return int(height)


def refuse_size(model: Any, height: int, width: int, made: Sequence[int]) -> None:
    """Refuse an input of another size than the one that a model was made for.

    Raises:
        ValueError: If the sizes differ.
    """
    if (height, width) != tuple(made):
        raise ValueError(
            f"this {type(model).__name__} was made for inputs of {made[0]} x {made[1]} pixels, got "
            f"{height} x {width}; `timm.create_model(NAME, img_size=({height}, {width}))` makes one for that "
            "size"
        )
