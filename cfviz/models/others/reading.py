"""Read the attention of timm's models: which families can be read, and one forward with its attention.

Nothing is changed in a model and nothing stays in it: hooks are set for one forward, keep what each attention
module gets and returns in the thread that set them, and are removed. The forward itself, fused attention
included, is the one that the model always runs, so the logits are its own.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn

from cfviz.geometry.schemes import SizeError

from .families.layer import Family, Layer, Terms
from .families.maxvit import Maxvit
from .families.pvt import Pvt
from .families.swin import Swin, SwinV2
from .families.twins import Twins
from .families.vit import Vit

FAMILIES: tuple[Family, ...] = (Swin(), SwinV2(), Twins(), Pvt(), Maxvit(), Vit())
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4}  # of the largest output; other formats: HALF
HALF = 5e-2
_hooking = threading.RLock()  # threads that share a model set and remove hooks in turn

_changing: ContextVar[bool] = ContextVar("cfviz_others_changing", default=False)

Place = tuple[int, int]  # stage and block, from 0


@dataclass(frozen=True)
class Attended:
    """The attention of one layer for one photo.

    Attributes:
        content: float32 (nG, nH, Nq, Nk).
        bias: Position bias, float32 (nH, Nq, Nk); None if the layer has none.
        probs: float32 (nG, nH, Nq, Nk).
        error: The largest difference between what the module returned and what its values give with these
            probabilities, relative to the module's largest output.
    """

    content: np.ndarray
    bias: np.ndarray | None
    probs: np.ndarray
    error: float


@dataclass(frozen=True)
class Reading:
    """One forward of one photo.

    Attributes:
        logits: float32 (classes,).
        attended: By stage and block, in the order of the layer's `Scheme`.
        seconds: Duration of the forward, reading included.
    """

    logits: np.ndarray
    attended: dict[Place, Attended]
    seconds: float


def family_of(model: Any) -> Family:
    """Return the family that a model belongs to.

    Raises:
        ValueError: If it belongs to none of them.
    """
    for family in FAMILIES:
        if family.has(model):
            return family
    known = ", ".join(family.name for family in FAMILIES)
    raise ValueError(
        f"got a {type(model).__name__}, expected a CrossFormer; `cfviz.create_model(VARIANT, weights=FILE)` "
        f"makes one of a file of weights. Of timm's models, these families can be read: {known}"
    )


def layers_of(model: Any, height: int, width: int) -> list[list[Layer]]:
    """Return the attention layers of each stage of a model, for an input of height x width pixels.

    Raises:
        ValueError: If the model cannot be read, or takes no input of this size.
    """
    family = family_of(model)
    try:
        found = family.layers(model, height, width)
        family.strides(model, len(found))  # raises if tokens are not square
        for stage in found:
            for layer in stage:
                _ = layer.scheme  # raises if windows do not fit
    except SizeError as error:
        near = " x ".join(map(str, family.nearest(model, height, width)))
        raise ValueError(
            f"this {type(model).__name__} takes no input of {height} x {width} pixels ({error}); the nearest "
            f"size that it takes is {near}"
        ) from error
    return found


def attention_weights(layers: Iterable[Layer]) -> int:
    """Count the attention weights of some layers for one photo."""
    return sum(
        layer.scheme.queries.size * layer.scheme.keys.shape[1] * layer.module.num_heads for layer in layers
    )


def input_size(model: Any) -> tuple[int, int]:
    """Return the height and width of the input that a model was made for, in pixels."""
    made = getattr(getattr(model, "patch_embed", None), "img_size", None)
    if made is None:
        cfg = getattr(model, "pretrained_cfg", None) or {}
        made = cfg.get("input_size", (3, 224, 224))[-2:]
    return int(made[0]), int(made[1])


@contextmanager
def watching(layers: dict[Place, Layer]) -> Iterator[dict[Place, Attended]]:
    """Keep the attention of some layers during the forward of one photo in the `with` block.

    Yields:
        The attention by place, complete after the forward.
    """
    found: dict[Place, Attended] = {}
    here = threading.get_ident()

    def keep(place: Place, layer: Layer) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any, out: torch.Tensor) -> None:
            if threading.get_ident() == here:  # another thread may run the same model now
                found[place] = _attended(layer, layer.terms(args, kwargs), args, out)

        return hook

    with _hooking, ExitStack() as stack:
        for place, layer in layers.items():
            handle = layer.module.register_forward_hook(keep(place, layer), with_kwargs=True)
            stack.callback(handle.remove)
        yield found


@contextmanager
def maps_after(layers: Sequence[Layer]) -> Iterator[dict[Layer, torch.Tensor]]:
    """Keep the maps after the blocks of some layers during the forward of one photo in the `with` block.

    Yields:
        The map (H, W, C) by layer, complete after the forward.
    """
    found: dict[Layer, torch.Tensor] = {}
    here = threading.get_ident()

    def keep(layer: Layer) -> Any:
        def hook(module: nn.Module, args: Any, out: torch.Tensor) -> None:
            if threading.get_ident() == here:
                found[layer] = layer.tokens(out)

        return hook

    with _hooking, ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.block.register_forward_hook(keep(layer)).remove)
        yield found


def tolerance_of(dtype: torch.dtype) -> float:
    """How far attention times values may be from a module's output, as a share of the largest number."""
    return TOLERANCE.get(dtype, HALF)


@contextmanager
def changing() -> Iterator[None]:
    """Mark the forwards of this thread in the `with` block as those of a changed model (`ablation`)."""
    token = _changing.set(True)
    try:
        yield
    finally:
        _changing.reset(token)


@torch.inference_mode()
def read(model: Any, x: torch.Tensor, wanted: Collection[Place], layers: list[list[Layer]]) -> Reading:
    """Run one photo through a model and keep the attention of some blocks.

    Args:
        model: In eval mode.
        x: (1, 3, H, W), on the model's device and in its number format.
        wanted: (stage, block) of the layers whose attention to keep.
        layers: From `layers_of`.

    Raises:
        ValueError: If a layer's attention does not reproduce what its module returned, or parts of the model
            are switched off.
    """
    if wanted and _changing.get():
        raise ValueError(
            'parts of this model are switched off here, so its attention is not read; watch="logits" '
            "classifies a photo without them"
        )
    watched = {(s, b): layers[s][b] for s, b in wanted}
    with watching(watched) as found:
        start = perf_counter()
        logits = model(x)
        if x.device.type == "cuda":
            torch.cuda.synchronize(x.device)
        seconds = perf_counter() - start
    most = tolerance_of(x.dtype)
    for s, b in watched:
        if (s, b) not in found or not found[s, b].error <= most:
            off = "the module was not called" if (s, b) not in found else f"off by {found[s, b].error:.1g}"
            raise ValueError(
                f"the attention read from block {b + 1} of stage {s + 1} does not give what the module "
                f"({type(watched[s, b].module).__name__}) returned ({off} of the largest output, expected at "
                f"most {most:g}): this model does not compute attention as timm's do"
            )
    return Reading(_array(logits[0]), found, seconds)


def receptive_field(model: Any, x: torch.Tensor, layer: Layer, row: int, col: int) -> np.ndarray:
    """How strongly each pixel changes a token after a block: absolute gradient of half its squared norm.

    Nothing is left out: convolutions, MLPs and shortcuts are part of it.

    Args:
        model: In eval mode.
        x: (1, 3, H, W), on the model's device and in its number format.
        layer: One of `layers_of` the model at this size; the token is taken after the layer's block.
        row: The token's row, from 0.
        col: The token's column, from 0.

    Returns:
        float32 (H, W), summed over the colour channels.

    Raises:
        ValueError: If the map has no such token.
    """
    if not (0 <= row < layer.H and 0 <= col < layer.W):
        raise ValueError(f"there is no token ({row}, {col}) in a map of {layer.H} x {layer.W}")
    pixels = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        with maps_after([layer]) as maps:
            model(pixels)
        target = maps[layer][row, col].float().square().sum() / 2
        (gradient,) = torch.autograd.grad(target, pixels)
    return _array(gradient[0].abs().sum(0))


def _attended(layer: Layer, terms: Terms, args: Any, out: torch.Tensor) -> Attended:
    probs = terms.probs
    mixed = (probs @ terms.values).transpose(2, 3).flatten(3)  # B, nG, Nq, nH*d
    again = layer.output(mixed, args).float()
    largest = out.float().abs().max().clamp_min(1e-12)
    error = float((again.reshape(-1) - out.float().reshape(-1)).abs().max() / largest)
    bias = None if terms.bias is None else _array(terms.bias)
    return Attended(_array(terms.content[0]), bias, _array(probs[0]), error)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
