"""Apply interventions to a shared model in one thread of execution, without writing to the model.

Everything goes through `cfviz.hooks`: activations through `edit`, settings through `override`. Sixteen
threads can therefore intervene in one model in sixteen ways at the same time.

Meaning of the fills, for the tokens of one photo:

- zero: the part contributes nothing.
- mean: every token gets the mean over many photos and all their tokens (`cfviz.models.interventions.means`).
- shuffle: tokens are permuted, identically for every photo: contents are kept, positions lost.
- replace: every number becomes `value`, or the part outputs its activation on another photo (`donor`).

A block stands for what it adds to its input, any cooling layer included: without the block, the input passes
unchanged. A cooling layer has no shortcut, and zeros would end the stream: without it, what it got passes
unchanged. The mean of a position bias is a constant, which softmax ignores: the same as no bias. In the mask,
only the entries of padded keys change, and their mean still masks them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from cfviz import point_names
from cfviz.geometry import Grouping
from cfviz.hooks import Informed, Setting, edit, override
from cfviz.models.crossformer import CrossFormer
from cfviz.models.probes.position_bias import by_offset

from .language import STRUCTURAL, Intervention, cooled_blocks, places

Arrays = Mapping[str, np.ndarray]
WHOLE_BATCH = (*STRUCTURAL, "bias", "mask")  # parts that all photos of a batch share
Place = tuple[int, int]  # stage and block, from 0
_taken_out: ContextVar[tuple[tuple[CrossFormer, frozenset[Place]], ...]] = ContextVar(
    "cfviz_cooling_taken_out", default=()
)


def cooling_at_work(model: CrossFormer) -> list[Place]:
    """Return the blocks whose cooling layer is at work in this thread now, as (stage, block) from 0.

    Those of `cooled_blocks`, but for what an `apply` around the call takes out, alone or with its block.
    """
    out = {at for changed, places in _taken_out.get() if changed is model for at in places}
    return [at for at in cooled_blocks(model) if at not in out]


def point_of(intervention: Intervention) -> str:
    """Return the point whose tokens an intervention on one place changes (see `places`)."""
    s, b = intervention.stage or 0, intervention.block or 0
    if intervention.part == "kernel":
        return point_names.embedding(s, f"kernels.{intervention.index}")
    ends = {"head": "attn.heads", "bias": "attn.bias", "attn": "attn_branch", "mlp": "mlp_branch"}
    return point_names.block(s, b, ends.get(intervention.part, "out"))


def input_of(stage: int, block: int) -> str:
    """Return the point whose output is a block's input."""
    if block:
        return point_names.block(stage, block - 1)
    return point_names.embedding(stage, "concat" if stage else "out")


def needed(model: CrossFormer, interventions: Iterable[Intervention], how: str = "mean") -> tuple[str, ...]:
    """Return the points whose means (for `how="replace"`, whose activations on another photo) are needed.

    Raises:
        ValueError: If an intervention names a place that the model does not have.
    """
    names: dict[str, None] = {}
    for intervention in interventions:
        if (
            not intervention.on
            or intervention.how != how
            or intervention.part in WHOLE_BATCH
            or intervention.value is not None
        ):
            continue
        for one in places(model, intervention):
            names[point_of(one)] = None
            if one.part == "block":
                names[input_of(one.stage or 0, one.block or 0)] = None
    return tuple(names)


@contextmanager
def apply(
    model: CrossFormer,
    interventions: Iterable[Intervention],
    means: Arrays | None = None,
    donor: Arrays | None = None,
) -> Iterator[None]:
    """Apply interventions to the forwards inside the `with` block, in this thread only.

    Args:
        model: In eval mode; not written to.
        interventions: In order; if two change the same setting, the later one wins.
        means: Maps a point name to the mean over tokens: (nH, d) for heads, (C,) for everything else.
        donor: Maps a point name to another photo's activation, in the layout of a `Trace`.

    Raises:
        ValueError: If an intervention names a place that the model does not have, or a mean or a donor is
            missing.

    Example:
        >>> with apply(model, parse('{"part": "head", "stage": 2, "block": 1, "index": 4}')):
        ...     logits = model(x)
    """
    plan = _Plan(model, means or {}, donor or {})
    for intervention in interventions:
        plan.add(intervention)
    token = _taken_out.set((*_taken_out.get(), (model, plan.without_cooling())))
    try:
        with override(plan.settings()), edit(model, plan.edits()):
            yield
    finally:
        _taken_out.reset(token)


@contextmanager
def apply_each(
    model: CrossFormer,
    rows: Sequence[Sequence[Intervention]],
    means: Arrays | None = None,
    donor: Arrays | None = None,
) -> Iterator[None]:
    """Apply a different set of interventions to each photo of a batch, whose size must be `len(rows)`.

    Args:
        model: In eval mode; not written to.
        rows: The interventions for each photo; none that applies to a whole batch (`WHOLE_BATCH`).
        means: As for `apply`.
        donor: As for `apply`.

    Raises:
        ValueError: As `apply`, and for an intervention that applies to a whole batch.
    """
    plan = _Plan(model, means or {}, donor or {})
    for row, several in enumerate(rows):
        for intervention in several:
            if intervention.on and intervention.part in WHOLE_BATCH:
                raise ValueError(
                    f"{intervention.part} is the same for a whole batch; use apply, not apply_each"
                )
            plan.add(intervention, row)
    with override(plan.settings()), edit(model, plan.edits()):
        yield


Change = Callable[[torch.Tensor, Grouping | None], torch.Tensor]  # groups: at points inside attention
Step = tuple[int | None, Intervention, Change]  # row of the batch (None: all), intervention, change


@dataclass
class _Plan:
    """The changes planned for each point and setting; made for, and used by, one `with` block only."""

    model: CrossFormer
    means: Arrays
    donor: Arrays
    steps: dict[str, list[Step]] = field(default_factory=dict)
    cuts: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    masks: dict[tuple[int, int], list[Intervention]] = field(default_factory=dict)
    inputs: dict[str, torch.Tensor] = field(default_factory=dict)

    def add(self, intervention: Intervention, row: int | None = None) -> None:
        """Plan one intervention; if it is off, only check it."""
        for one in places(self.model, intervention):
            at = (one.stage or 0, one.block or 0)
            if not intervention.on:
                continue
            if one.structural:
                self.cuts.setdefault(at, {})[one.part] = one.how if one.part == "kind" else one.value
            elif one.part == "mask":
                self.masks.setdefault(at, []).append(one)
            else:
                self.steps.setdefault(point_of(one), []).append((row, one, self._change(one)))

    def without_cooling(self) -> frozenset[Place]:
        """Return the blocks whose output is not that of their cooling layer."""
        planned = [one for steps in self.steps.values() for _, one, _ in steps]
        return frozenset(
            (one.stage or 0, one.block or 0) for one in planned if one.part in ("cooling", "block")
        )

    # ------------------------------------------------------------ settings

    def settings(self) -> dict[Setting, Callable[[Any], Any]]:
        """Return changes of partitions and masks."""
        found: dict[Setting, Callable[[Any], Any]] = {}
        for at, wanted in self.cuts.items():
            found[self._block(at).partition] = _cutter(wanted)
        for at, several in self.masks.items():
            found[self._block(at).attn.mask] = _masker(several)
        return found

    def _block(self, at: tuple[int, int]) -> Any:
        return self.model.stages[at[0]].block_list[at[1]]

    # ------------------------------------------------------------ activations

    def edits(self) -> dict[str, Informed]:
        """Return one edit per point, in list order; the inputs of changed blocks are recorded last."""
        found = {point: self._edit(steps) for point, steps in self.steps.items()}
        noted = {name: None for steps in self.steps.values() for _, one, _ in steps for name in _inputs(one)}
        for point in noted:
            found[point] = self._noting(point, found.get(point))
        return found

    def _noting(self, point: str, first: Informed | None) -> Informed:
        def note(x: torch.Tensor, groups: Grouping | None) -> torch.Tensor:
            self.inputs[point] = x if first is None else first.function(x, groups)
            return self.inputs[point]

        return Informed(note)

    def _edit(self, steps: list[Step]) -> Informed:
        def change(x: torch.Tensor, groups: Grouping | None) -> torch.Tensor:
            for row, intervention, make in steps:
                x = self._with(x.clone(), groups, row, intervention, make)
            return x

        return Informed(change)

    def _with(
        self,
        x: torch.Tensor,
        groups: Grouping | None,
        row: int | None,
        intervention: Intervention,
        make: Change,
    ) -> torch.Tensor:
        """Change one part of a point's tensor, in place, for one photo or for all."""
        at = (intervention.stage or 0, intervention.block or 0)
        rows = slice(None) if row is None else slice(row, row + 1)
        if intervention.part == "bias":  # nH, N, N
            heads = (
                slice(None)
                if intervention.index is None
                else slice(intervention.index, intervention.index + 1)
            )
            x[heads] = make(x[heads], groups)
        elif intervention.part == "head":  # B*nG, nH, N, d
            assert groups is not None
            view = x.unflatten(0, (-1, groups.nG))[rows, :, intervention.index]  # B, nG, N, d
            view.copy_(self._real(make, view, groups))
        elif intervention.part == "kernel":  # B, D_i, H, W
            view = x[rows].permute(0, 2, 3, 1)  # B, H, W, D_i
            view.copy_(make(view, groups))
        elif intervention.part == "cooling":  # B, H, W, C
            before, *branches = (self.inputs[point][rows] for point in _inputs(intervention))
            x[rows] = sum(branches, before)
        elif intervention.part == "block":  # B, H, W, C
            before = self.inputs[input_of(*at)][rows]
            x[rows] = before if intervention.how == "zero" else before + make(x[rows] - before, groups)
        else:
            x[rows] = make(x[rows], groups)
        return x

    @staticmethod
    def _real(make: Change, x: torch.Tensor, groups: Grouping) -> torch.Tensor:
        """Change the tokens in groups, but not the padding: (B, nG, N, d)."""
        if not groups.padded:
            return make(x, groups)
        flat = x.flatten(1, 2).clone()
        real = torch.from_numpy(np.flatnonzero(groups.valid)).to(x.device)
        changed = make(flat[:, real, None], groups)  # B, T, 1, d: a map of one column
        flat[:, real] = changed[:, :, 0]
        return flat.view_as(x)

    def _change(self, intervention: Intervention) -> Change:
        """Return the function that changes the tokens of one part, channels last."""
        if intervention.part == "bias":
            return _bias_change(intervention)
        if intervention.how == "zero":
            return lambda x, _: torch.zeros_like(x)
        if intervention.how == "shuffle":
            return lambda x, _: _shuffled(x, intervention.seed)
        if intervention.value is not None:
            value = float(intervention.value)
            return lambda x, _: torch.full_like(x, value)
        source, name = (self.means, "mean") if intervention.how == "mean" else (self.donor, "donor")
        array = torch.from_numpy(np.array(self._of(source, intervention, name), np.float32))
        if intervention.how == "replace" and intervention.part == "head":
            return lambda x, groups: _from_donor(array, x, groups, intervention)
        return lambda x, _: _fitted(array, x, intervention)

    def _of(self, source: Arrays, intervention: Intervention, name: str) -> np.ndarray:
        """Return a part's mean, or its activation on another photo, channels last."""
        array = _taken(source, point_of(intervention), name)
        if intervention.part == "block":
            return array - _taken(source, input_of(intervention.stage or 0, intervention.block or 0), name)
        if intervention.part == "head":  # nH, d or nG, nH, N, d
            return array[intervention.index] if array.ndim == 2 else array[:, intervention.index]
        if intervention.part == "kernel" and array.ndim == 3:  # D_i, H, W
            return np.moveaxis(array, 0, -1)
        return array


def _inputs(intervention: Intervention) -> tuple[str, ...]:
    """The points whose tensors a change of one place is made from: a block's input, what it added to it."""
    s, b = intervention.stage or 0, intervention.block or 0
    if intervention.part == "block":
        return (input_of(s, b),)
    if intervention.part == "cooling":
        branches = (point_names.block(s, b, name) for name in ("attn_branch", "mlp_branch"))
        return (input_of(s, b), *branches)
    return ()


def _taken(source: Arrays, point: str, name: str) -> np.ndarray:
    if point not in source:
        there = ", ".join(list(source)[:6]) or "none"
        raise ValueError(f"no {name} of {point!r}; see needed(); there are: {there}")
    return source[point]


def _fitted(array: torch.Tensor, x: torch.Tensor, intervention: Intervention) -> torch.Tensor:
    array = array.to(x)
    if array.ndim > 1 and array.shape != x.shape[1:]:
        raise ValueError(
            f"{point_of(intervention)} of the other photo is {tuple(array.shape)}; expected "
            f"{tuple(x.shape[1:])}: same model, same size"
        )
    return array.expand_as(x)


def _from_donor(
    array: torch.Tensor, x: torch.Tensor, groups: Grouping | None, intervention: Intervention
) -> torch.Tensor:
    """Fit another photo's head output, (nG, N, d), to x: (B, nG, N, d), or its real tokens (B, T, 1, d)."""
    assert groups is not None
    if array.shape[:2] != (groups.nG, groups.N):
        raise ValueError(
            f"{point_of(intervention)} of the other photo has groups {tuple(array.shape[:2])}; expected "
            f"{(groups.nG, groups.N)}: same model, same size, same grouping"
        )
    if groups.padded:
        array = array.flatten(0, 1)[torch.from_numpy(np.flatnonzero(groups.valid))][:, None]
    return array.to(x).expand_as(x)


def _shuffled(x: torch.Tensor, seed: int) -> torch.Tensor:
    """Permute tokens, identically for every photo: (B, h, w, c)."""
    flat = x.flatten(1, 2)
    return flat[:, _deal(flat.shape[1], seed, x.device)].view_as(x)


def _deal(count: int, seed: int, device: torch.device) -> torch.Tensor:
    """Return a permutation that depends only on the seed, not on the device or on earlier draws."""
    return torch.from_numpy(np.random.default_rng(seed).permutation(count)).to(device)


def _bias_change(intervention: Intervention) -> Change:
    """Return the function that changes a position bias, (n, N, N)."""

    def change(x: torch.Tensor, groups: Grouping | None) -> torch.Tensor:
        if intervention.how == "replace":
            return torch.full_like(x, float(intervention.value or 0.0))
        if intervention.how == "zero":
            return torch.zeros_like(x)
        assert groups is not None
        table, pairs = by_offset(x, groups)
        if intervention.how == "mean":
            return table.mean(-1)[:, None, None].expand_as(x)
        dealt = table[:, _deal(table.shape[1], intervention.seed, x.device)]
        return dealt[:, pairs]

    return change


def _cutter(wanted: Mapping[str, Any]) -> Callable[[Any], Any]:
    def cut(setting: tuple) -> tuple:
        H, W, index, G, I, lda = setting  # noqa: E741
        if "kind" in wanted:
            index = int(wanted["kind"] == "lda")
        return H, W, index, wanted.get("G", G), wanted.get("I", I), lda

    return cut


def _masker(several: Sequence[Intervention]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the function that changes the masks of padded keys, (P, 1, 1, N), 0 or very negative numbers."""

    def mask(x: torch.Tensor) -> torch.Tensor:
        for intervention in several:
            if intervention.how == "shuffle":
                x = x[..., _deal(x.shape[-1], intervention.seed, x.device)]
            else:
                mean = x.mean(-1, keepdim=True).expand_as(x)
                fill = (
                    mean
                    if intervention.how == "mean"
                    else torch.full_like(x, float(intervention.value or 0.0))
                )
                x = torch.where(x < 0, fill, x)
        return x

    return mask
