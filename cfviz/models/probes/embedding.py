"""Cross-scale embedding layers of a model: weights as arrays, responses, and forwards with kernels replaced.

A cross-scale embedding layer (CEL; CrossFormer, section 3.1) runs several kernels with one stride and
concatenates their outputs. CEL 0 reads the photo, CEL 1 to 3 read the tokens of the previous stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from cfviz.geometry import CEL_KERNELS
from cfviz.hooks import Edit, capture, edit
from cfviz.models.crossformer import CrossFormer
from cfviz.models.inputs import input_for

BATCH = 6


@dataclass(frozen=True)
class Layer:
    """One CEL as arrays.

    Attributes:
        stage: 0 to 3, the stage it leads into.
        kernels: Sides of its kernels, in pixels for stage 0, else in tokens.
        points: The point that each kernel's output passes, where it can be watched and edited.
        weights: Weights of each kernel, float32 (D_i, C_in, k, k).
        gain: Gain of the LayerNorm that mixes the kernels' channels, float32 (D,): the layer's own for stage
            0, else norm1 of the stage's first block, the first to read them.
        offset: Shift of the same LayerNorm, float32 (D,).
        eps: Epsilon of the same LayerNorm.
        qkv: Weight of the qkv layer in each block of the stage, float32 (3D, D).
        norm1: Gain of the LayerNorm before each qkv layer, float32 (D,).
    """

    stage: int
    kernels: tuple[int, ...]
    points: tuple[str, ...]
    weights: tuple[np.ndarray, ...]
    gain: np.ndarray
    offset: np.ndarray
    eps: float
    qkv: tuple[np.ndarray, ...]
    norm1: tuple[np.ndarray, ...]

    @property
    def channels(self) -> tuple[int, ...]:
        """Output channels of each kernel."""
        return tuple(len(w) for w in self.weights)

    @property
    def macs_a_token(self) -> tuple[int, ...]:
        """Multiply-adds of each kernel for one token of its output."""
        return tuple(int(w.size) for w in self.weights)


def points(stage: int) -> tuple[str, ...]:
    """Return the points that the outputs of the kernels pass in the CEL before a stage."""
    at = "patch_embed" if stage == 0 else f"layers.{stage - 1}.downsample"
    return tuple(f"{at}.kernels.{i}" for i in range(len(CEL_KERNELS[stage])))


def layer(model: CrossFormer, stage: int) -> Layer:
    """Return one CEL of a model as arrays.

    Raises:
        ValueError: If the model has no such stage.
    """
    if not 0 <= stage < len(model.stages):
        raise ValueError(f"stage is {stage}; the model has stages 0 to {len(model.stages) - 1}")
    blocks = model.stages[stage].block_list
    if stage == 0:
        convs, norm = model.patch_embed.projs, model.patch_embed.norm
    else:
        merging = model.stages[stage - 1].downsample
        assert merging is not None
        convs, norm = merging.reductions, blocks[0].norm1
    return Layer(
        stage,
        CEL_KERNELS[stage],
        points(stage),
        tuple(_numpy(cast(nn.Conv2d, conv).weight) for conv in convs),
        _numpy(norm.weight),
        _numpy(norm.bias),
        norm.eps,
        tuple(_numpy(block.attn.qkv.weight) for block in blocks),
        tuple(_numpy(block.norm1.weight) for block in blocks),
    )


def normalise(model: CrossFormer, pixels: np.ndarray) -> list[torch.Tensor]:
    """Normalise generated images for a model.

    Args:
        model: Its mean and standard deviation are used.
        pixels: uint8 (n, H, W, 3).

    Returns:
        n tensors (3, H, W).
    """
    cfg = cast(dict[str, Any], model.pretrained_cfg)
    mean, std = (torch.tensor(cfg[name]).view(3, 1, 1) for name in ("mean", "std"))
    return [(torch.from_numpy(p).permute(2, 0, 1) / 255 - mean) / std for p in pixels]


@torch.inference_mode()
def responses(
    model: CrossFormer,
    images: Sequence[torch.Tensor],
    stages: Sequence[int] = (0, 1, 2, 3),
    batch: int = BATCH,
) -> dict[str, np.ndarray]:
    """Compute the responses of the kernels of some CELs to many images.

    Args:
        model: In eval mode.
        images: Each (3, H, W), normalised, all of one size.
        stages: The stages that the CELs lead into; CEL 0 alone needs no forward through the blocks.
        batch: Images at a time.

    Returns:
        Responses by point name, float32 (n, H', W', D_i).
    """
    names = [name for stage in stages for name in points(stage)]
    run = model.patch_embed if tuple(stages) == (0,) else model
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for start in range(0, len(images), batch):
        with capture(model, *names) as seen:
            run(input_for(model, torch.stack(list(images[start : start + batch]))))
        for name in names:
            parts[name].append(_numpy(seen[name].permute(0, 2, 3, 1)))  # n, H', W', D_i
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


@torch.inference_mode()
def knock_outs(
    model: CrossFormer,
    image: torch.Tensor,
    changes: Sequence[Mapping[str, np.ndarray | float]],
    watch: Sequence[str] = (),
    batch: int = BATCH,
) -> dict[str, np.ndarray]:
    """Run one image several times, each time with the output of some kernels replaced.

    Outputs are replaced at the kernels' own points, before concatenation and LayerNorm, so zero is the same
    as zero weights and zero bias in that convolution. An empty change gives the plain forward.

    Args:
        model: In eval mode; it is not changed.
        image: (3, H, W), normalised.
        changes: For each forward, replacements by point name: a number, or an array that broadcasts to
            (H', W', D_i), such as a mean (D_i,) or another photo's activations (H', W', D_i).
        watch: Points to keep besides the logits, but none inside attention.
        batch: Forwards at a time.

    Returns:
        Arrays by point name, float32 (len(changes), ...); `logits` is always included.
    """
    names = tuple(dict.fromkeys((*watch, "logits")))
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for start in range(0, len(changes), batch):
        some = changes[start : start + batch]
        x = input_for(model, image)[None].expand(len(some), -1, -1, -1)
        with edit(model, _edits(some)), capture(model, *names) as seen:
            model(x)
        for name in names:
            parts[name].append(_numpy(seen[name]))
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def _edits(changes: Sequence[Mapping[str, np.ndarray | float]]) -> dict[str, Edit]:
    """Make one edit per point, which replaces its tensor in the batch members that change it."""

    def one(point: str) -> Edit:
        def change(x: torch.Tensor) -> torch.Tensor:  # B, D_i, H', W'
            x = x.clone()
            for b, wanted in enumerate(changes):
                if point in wanted:
                    value = torch.as_tensor(np.asarray(wanted[point]), dtype=x.dtype, device=x.device)
                    x[b] = value.expand(*x.shape[2:], x.shape[1]).permute(2, 0, 1)
            return x

        return change

    return {point: one(point) for point in dict.fromkeys(p for wanted in changes for p in wanted)}


def _numpy(x: Any) -> np.ndarray:
    return x.detach().float().cpu().numpy()
