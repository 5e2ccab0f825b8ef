"""Named points inside a model, watched or edited in one thread of execution without touching the model.

A `HookPoint` is an identity with a name; a `Setting` is a value that a forward reads. `capture`, `edit` and
`override` put their requests into a `ContextVar`, so two users of a shared model never see each other's
tensors, and nothing is registered on the model or left behind in it: leaving the `with` block, even by an
exception, cleans up everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import torch
from torch import nn

T = TypeVar("T")


@dataclass(frozen=True)
class Informed:
    """An edit that also receives what the model knows about the point: inside attention, the groups.

    A tensor alone does not say it: a position bias of 36 x 36 pairs belongs to groups of 6 x 6, or of 4 x 9.

    Attributes:
        function: Takes the tensor and the information (None at a point that has none); returns a tensor of
            the same shape.
    """

    function: Callable[[torch.Tensor, Any], torch.Tensor]


Edit = Callable[[torch.Tensor], torch.Tensor] | Informed


@dataclass(frozen=True, eq=False)
class _Session:
    """The requests of one `capture`, `edit` or `override` block, by point."""

    watched: Mapping[HookPoint, str] = field(default_factory=dict)
    edits: Mapping[HookPoint, Edit] = field(default_factory=dict)
    overrides: Mapping[Setting, Callable[[Any], Any]] = field(default_factory=dict)
    seen: dict[str, torch.Tensor] = field(default_factory=dict)
    graph: bool = False


_sessions: ContextVar[tuple[_Session, ...]] = ContextVar("cfviz_sessions", default=())


class HookPoint(nn.Module):
    """An identity that can be watched and edited; it has no parameters and does not appear in state dicts.

    Ordinary module hooks work on it as on any module.
    """

    def forward(self, x: torch.Tensor, about: Any = None) -> torch.Tensor:
        """Args: x: passed on; about: what `Informed` edits of the point receive."""
        sessions = _sessions.get()
        return self.visit(x, sessions, about) if sessions else x

    def visit(self, x: torch.Tensor, sessions: tuple[_Session, ...], about: Any = None) -> torch.Tensor:
        """Run the open blocks, outermost first: an inner block sees the edits of the outer ones."""
        for session in sessions:
            if self in session.edits:
                x = _edited(_call(session.edits[self], x, about), x)
            if self in session.watched:
                session.seen[session.watched[self]] = x if session.graph else x.detach().clone()
        return x

    @property
    def watched(self) -> bool:
        """Whether an open block of this thread watches or edits this point, or a module hook sees it."""
        sessions = _sessions.get()
        return self._hooked or (
            sessions != () and any(self in s.watched or self in s.edits for s in sessions)
        )

    @property
    def decides(self) -> bool:
        """Whether the rest of the forward must be computed from this point's output.

        True under an edit, under `capture(..., graph=True)`, whose tensors are meant for gradients, and if a
        module hook may do either.
        """
        return self._hooked or any(
            self in s.edits or (s.graph and self in s.watched) for s in _sessions.get()
        )

    @property
    def _hooked(self) -> bool:
        return bool(
            self._forward_hooks or self._forward_pre_hooks or self._backward_hooks or self._backward_pre_hooks
        )


class Setting:
    """A setting read by a forward, which an `override` block of the same thread may replace.

    It serves settings that are not activations: a block's partition of its map, the mask of padded keys.
    Calling it costs one lookup of a `ContextVar`.
    """

    def __call__(self, value: T) -> T:
        for session in _sessions.get():
            if self in session.overrides:
                value = session.overrides[self](value)
        return value

    @property
    def overridden(self) -> bool:
        """Whether an open `override` block of this thread replaces this setting."""
        return any(self in s.overrides for s in _sessions.get())


def _call(edit: Edit, x: torch.Tensor, about: Any) -> torch.Tensor:
    return edit.function(x, about) if isinstance(edit, Informed) else edit(x)


def _edited(new: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
    if not isinstance(new, torch.Tensor) or new.shape != old.shape:
        came = tuple(new.shape) if isinstance(new, torch.Tensor) else type(new).__name__
        raise ValueError(f"an edit returned {came}; expected a tensor of shape {tuple(old.shape)}")
    return new


def points(model: nn.Module) -> list[str]:
    """List the names of all points of a model, in module order."""
    return list(_points(model))


def _points(model: nn.Module) -> dict[str, HookPoint]:
    return {name: module for name, module in model.named_modules() if isinstance(module, HookPoint)}


def select(model: nn.Module, pattern: str) -> dict[str, HookPoint]:
    """Return the points whose names match a pattern.

    Args:
        model: A model with `HookPoint`s.
        pattern: A name, or a shell pattern: `layers.*.blocks.*.attn.probs`.

    Raises:
        ValueError: If the pattern matches no point; the message lists the points there are.
    """
    return _matching(_points(model), pattern)


def _matching(there: Mapping[str, HookPoint], pattern: str) -> dict[str, HookPoint]:
    found = {name: point for name, point in there.items() if fnmatchcase(name, pattern)}
    if not found:
        raise ValueError(f"no point matches {pattern!r}; there are: {_summary(there)}")
    return found


def _summary(names: Mapping[str, HookPoint]) -> str:
    """List all names, with stars for numbers and without duplicates, to keep the list readable."""
    folded: dict[str, None] = {}
    for name in names:
        folded[".".join("*" if part.isdigit() else part for part in name.split("."))] = None
    return ", ".join(folded) or "none (this model has no points)"


@contextmanager
def _open(session: _Session) -> Iterator[_Session]:
    token = _sessions.set((*_sessions.get(), session))
    try:
        yield session
    finally:
        _sessions.reset(token)


@contextmanager
def capture(model: nn.Module, *patterns: str, graph: bool = False) -> Iterator[dict[str, torch.Tensor]]:
    """Watch named points of a model during the forwards inside the `with` block.

    Watching does not change the logits and does not affect other threads. A later forward in the same block
    overwrites the tensors of an earlier one.

    Args:
        model: A model with `HookPoint`s.
        *patterns: Names or shell patterns, for example `"layers.*.blocks.*.attn.probs"`.
        graph: Keep the tensors themselves, with their graph, for gradients; attention then uses the watched
            probabilities. By default, detached copies are kept.

    Yields:
        A dict of tensors by point name, filled by the forward.

    Raises:
        ValueError: If a pattern matches no point; the message lists the points there are.

    Example:
        >>> with capture(model, "layers.0.blocks.*.attn.probs") as seen:
        ...     logits = model(x)
        >>> seen["layers.0.blocks.1.attn.probs"].shape  # B*nG, nH, N, N
    """
    there = _points(model)  # once: walking all modules takes a millisecond or more
    watched = {point: name for pattern in patterns for name, point in _matching(there, pattern).items()}
    with _open(_Session(watched=watched, graph=graph)) as session:
        yield session.seen


@contextmanager
def edit(model: nn.Module, edits: Mapping[str, Edit]) -> Iterator[None]:
    """Replace tensors at named points during the forwards inside the `with` block, in this thread only.

    Args:
        model: A model with `HookPoint`s.
        edits: Functions by name or shell pattern; each takes a tensor (`Informed` ones also what the model
            knows about the point) and returns one of the same shape.

    Raises:
        ValueError: If a pattern matches no point, or a function returns another shape.

    Example:
        >>> with edit(model, {"layers.2.blocks.0.attn.heads": lambda z: z * keep[:, None, None]}):
        ...     logits = model(x)
    """
    chosen: dict[HookPoint, Edit] = {}
    there = _points(model)
    for pattern, function in edits.items():
        for point in _matching(there, pattern).values():
            before = chosen.get(point)
            chosen[point] = function if before is None else _chain(before, function)
    with _open(_Session(edits=chosen)):
        yield


@contextmanager
def override(overrides: Mapping[Setting, Callable[[Any], Any]]) -> Iterator[None]:
    """Replace settings during the forwards inside the `with` block, in this thread only.

    Args:
        overrides: Maps a `Setting` to a function that takes the setting and returns the one to use; an inner
            block receives the result of the outer ones.
    """
    with _open(_Session(overrides=dict(overrides))):
        yield


def _chain(first: Edit, second: Edit) -> Edit:
    return Informed(lambda x, about: _call(second, _call(first, x, about), about))
