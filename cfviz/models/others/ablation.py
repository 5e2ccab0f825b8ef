"""Switch parts of timm's models off: heads, position biases, the shift of Swin's windows.

What a layer returns is replaced by what it would return without the part, computed from what the layer was
called with. Nothing is written to the model: hooks are set for the `with` block, act in the thread that set
them, and are removed. Each time a layer is changed, what it returns unchanged is computed in the same way and
compared with what its module returned, so that a layer of another kind is refused, not changed wrongly.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from cfviz.models.inputs import input_for

from .families.layer import Layer, Off
from .reading import Place, changing, family_of, tolerance_of

BATCH = 16
KINDS = ("head", "bias", "shift")
Progress = Callable[[float], None]
_WORD = re.compile(r"(x|\d{1,4})\.(x|\d{1,4})\.(h|bias|shift)(\d{0,4})", re.ASCII)


@dataclass(frozen=True)
class Part:
    """A part of a model that can be switched off.

    Attributes:
        kind: "head" (its output, before the projection), "bias" (the layer's position bias) or "shift" (the
            windows of a shifted block lie where those of the block before lie, without a mask).
        stage: From 0; None means every stage.
        block: From 0; None means every block.
        index: The head, from 0; None for other kinds.

    Raises:
        ValueError: If the kind is unknown, or a head has no place.
    """

    kind: str
    stage: int | None = None
    block: int | None = None
    index: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"the part is {self.kind!r}; expected one of {', '.join(KINDS)}")
        if (self.kind == "head") != (self.index is not None):
            raise ValueError(f"index is {self.index} for a {self.kind}; a head has one, nothing else has")
        if (self.stage is None) != (self.block is None) or (self.kind == "head" and self.stage is None):
            raise ValueError(f"stage is {self.stage}, block is {self.block}; name both, or neither for all")

    def to_url(self) -> str:
        """Write it as a word of a link, counted from 1: `1.2.h3`, `1.2.shift`, `x.x.bias`."""
        at = ("x", "x") if self.stage is None or self.block is None else (self.stage + 1, self.block + 1)
        end = self.kind if self.index is None else f"h{self.index + 1}"
        return f"{at[0]}.{at[1]}.{end}"


def from_url(text: str) -> tuple[Part, ...]:
    """Read parts from a link's value, `1.2.h3_x.x.shift`.

    Raises:
        ValueError: If a word is none of a part.
    """
    return tuple(_from_word(word) for word in text.split("_")) if text else ()


def _from_word(word: str) -> Part:
    found = _WORD.fullmatch(word)
    if not found or "0" in found.groups()[:2] or (found[3] == "h") != bool(found[4]) or found[4] == "0":
        raise ValueError(f"{word[:40]!r} is no part; expected for example 1.2.h3, 1.2.bias or x.x.shift")
    stage, block = (None if one == "x" else int(one) - 1 for one in found.groups()[:2])
    return Part("head" if found[4] else found[3], stage, block, int(found[4]) - 1 if found[4] else None)


def parts(layers: Sequence[Sequence[Layer]]) -> list[Part]:
    """List every head, position bias and shift of a model, in the order of its layers (from `layers_of`)."""
    found = []
    for s, stage in enumerate(layers):
        for b, layer in enumerate(stage):
            found += [Part("head", s, b, h) for h in range(layer.module.num_heads)]
            found += [Part("bias", s, b)] if layer.has_bias else []
            found += [Part("shift", s, b)] if layer.shifted else []
    return found


@contextmanager
def switched_off(model: nn.Module, off: Iterable[Part], layers: Sequence[Sequence[Layer]]) -> Iterator[None]:
    """Switch parts off during the forwards inside the `with` block, in this thread only.

    Args:
        model: One of timm's models, in eval mode; not written to.
        off: The parts.
        layers: `layers_of(model, height, width)` for the inputs of these forwards.

    Raises:
        ValueError: If the model has no such part, or a layer attends in a way of its own.

    Example:
        >>> layers = layers_of(swin, 224, 224)
        >>> with switched_off(swin, [Part("shift"), Part("head", 1, 0, 2)], layers):
        ...     logits = swin(x)  # or cfviz.inspect(photo, swin, watch="logits")
    """
    with ExitStack() as stack:
        for place, one in _planned(off, layers).items():
            layer = layers[place[0]][place[1]]
            stack.enter_context(_changed(layer, _alike(layer, one)))
        stack.enter_context(changing())
        yield


@torch.inference_mode()
def effects(
    model: Any,
    image: torch.Tensor,
    changes: Sequence[Sequence[Part]],
    layers: Sequence[Sequence[Layer]],
    batch: int = BATCH,
    progress: Progress | None = None,
) -> np.ndarray:
    """Compute the logits of one image with each of several sets of parts switched off.

    What comes before the first changed block is the same for all changes that begin there and runs once.

    Args:
        model: In eval mode; not written to.
        image: (3, H, W), normalised.
        changes: The parts to switch off together, for each row of the result; none gives the plain logits.
        layers: `layers_of(model, H, W)`.
        batch: Changes computed together.
        progress: Called with the share that is done, 0 to 1; an exception it raises stops the work.

    Returns:
        float32 (len(changes), classes).

    Raises:
        ValueError: As `switched_off`.
    """
    x = input_for(model, image[None])
    plans = [_planned(off, layers) for off in changes]
    last = (len(layers) - 1, len(layers[-1]) - 1)
    begins = [min(plan, default=last) for plan in plans]
    found: dict[int, np.ndarray] = {}
    for begin in sorted(set(begins)):
        same = [n for n, one in enumerate(begins) if one == begin]
        for some in (same[i : i + batch] for i in range(0, len(same), batch)):
            logits = _together(model, x, [plans[n] for n in some], begin, layers)
            found.update(zip(some, logits.float().cpu().numpy(), strict=True))
            if progress is not None:
                progress(len(found) / len(changes))
    return np.stack([found[n] for n in range(len(changes))])


def _planned(off: Iterable[Part], layers: Sequence[Sequence[Layer]]) -> dict[Place, Off]:
    """What is switched off in each layer.

    Raises:
        ValueError: If the model has no such part.
    """
    off, there, found = tuple(off), parts(layers), dict[Place, list[Part]]()
    for part in off:
        meant = [one for one in there if one.kind == part.kind and part.stage is None] or [part]
        if meant == [part] and part not in there:
            raise ValueError(f"this model has no {part.to_url()} (counted from 1); {_have(there, part.kind)}")
        for one in meant:
            found.setdefault((one.stage or 0, one.block or 0), []).append(one)
    return {
        place: Off(
            frozenset(one.index for one in some if one.index is not None),
            any(one.kind == "bias" for one in some),
            any(one.kind == "shift" for one in some),
        )
        for place, some in found.items()
    }


def _have(there: Sequence[Part], kind: str) -> str:
    words = [one.to_url() for one in there if one.kind == kind]
    if not words:
        return f"none of its layers has a {'position bias' if kind == 'bias' else kind}"
    return f"it has {words[0]} to {words[-1]}"


def _together(
    model: Any, x: torch.Tensor, plans: Sequence[dict[Place, Off]], begin: Place, layers: Any
) -> torch.Tensor:
    """The logits with each plan in a row of its own; up to the block at `begin`, one row stands for all."""
    rows = len(plans)
    here = threading.get_ident()

    def spread(module: nn.Module, args: Any, kwargs: Any) -> Any:
        if threading.get_ident() != here:
            return None
        return (args[0].repeat_interleave(rows, 0), *args[1:]), kwargs

    with ExitStack() as stack:
        entry = family_of(model).entry(model, begin[0], layers[begin[0]][begin[1]])
        if entry is None:
            x = x.repeat_interleave(rows, 0)
        else:
            stack.callback(entry.register_forward_pre_hook(spread, with_kwargs=True).remove)
        for place in sorted({place for plan in plans for place in plan}):
            layer = layers[place[0]][place[1]]
            own = {row: plan[place] for row, plan in enumerate(plans) if place in plan}
            stack.enter_context(_changed(layer, _by_row(layer, own, rows)))
        stack.enter_context(changing())
        return model(x)


def _alike(layer: Layer, one: Off) -> Callable[[Any, torch.Tensor], torch.Tensor]:
    """A change of all photos of a batch in the same way."""
    return lambda given, out: layer.without(given[0], given[1], one)


def _by_row(layer: Layer, own: dict[int, Off], rows: int) -> Callable[[Any, torch.Tensor], torch.Tensor]:
    """A change of some rows of a batch, each in a way of its own."""

    def change(given: Any, out: torch.Tensor) -> torch.Tensor:
        args, kwargs = given
        each, result = args[0].unflatten(0, (rows, -1)), out.unflatten(0, (rows, -1)).clone()
        for row, one in own.items():
            result[row] = layer.without((each[row], *args[1:]), kwargs, one)
        return result.flatten(0, 1)

    return change


@contextmanager
def _changed(layer: Layer, change: Callable[[Any, torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Replace what a layer's module returns to this thread."""
    here = threading.get_ident()

    def hook(module: nn.Module, args: Any, kwargs: Any, out: torch.Tensor) -> torch.Tensor | None:
        if threading.get_ident() != here:  # another thread may run the same model now
            return None
        again = layer.without(args, kwargs, Off())
        apart = float((again - out).abs().max() / out.abs().max().clamp_min(1e-12))
        if not apart <= tolerance_of(out.dtype):
            raise ValueError(
                f"{type(module).__name__} attends in a way of its own (off by {apart:.1g} of the largest "
                "output): nothing in it can be switched off"
            )
        return change((args, kwargs), out)

    handle = layer.module.register_forward_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
