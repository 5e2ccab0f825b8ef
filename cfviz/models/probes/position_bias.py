"""Position biases for groups of another size: evaluate the MLP at new offsets, resize its table, or use none.

A dynamic position bias (DPB, section 3.3) is an MLP of the offset and can be evaluated at any offset. A
learned table (RPB, as in Swin) covers only the offsets of training; for larger groups it must be stretched,
clamped or cut off. A DPB sampled at the offsets of training is such a table, so one model can show both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isqrt
from typing import Any

import numpy as np
import torch
from einops import rearrange

from cfviz import point_names
from cfviz.geometry import Grouping, Kind, Lda, offsets, relative_index
from cfviz.hooks import Edit, Informed, Setting, override
from cfviz.models.crossformer import AnyPosBias, CrossFormer, DynamicPosBias, RelativePosBias, stretched
from cfviz.options import BIAS_METHODS, TABLE_METHODS

CHANGES = ("zero", "shuffle", "swap", "only")
Sides = int | tuple[int, int]  # of a group: G, or (Gh, Gw)


def _sides(G: Sides) -> tuple[int, int]:
    return (G, G) if isinstance(G, int) else G


@torch.no_grad()
def table_of(pos: AnyPosBias, G: Sides) -> torch.Tensor:
    """Return the bias at every offset of a group, ordered like `geometry.offsets`.

    Args:
        pos: A block's position bias.
        G: Side of a group, or (Gh, Gw).

    Returns:
        ((2Gh-1) * (2Gw-1), nH).
    """
    pairs = offsets(*_sides(G))
    if isinstance(pos, DynamicPosBias):
        return pos(torch.from_numpy(pairs).to(pos.pos_proj.weight))
    if isinstance(pos, RelativePosBias):
        return resized(pos.table, G, "bicubic")
    return torch.zeros(len(pairs), pos.num_heads)


@torch.no_grad()
def rescaled(pos: DynamicPosBias, trained: int, G: Sides) -> torch.Tensor:
    """Evaluate a DPB at the offsets of a group, each axis scaled to the trained range; as `table_of`."""
    Gh, Gw = _sides(G)
    shrink = np.array([(trained - 1) / max(1, side - 1) for side in (Gh, Gw)])
    return pos(torch.from_numpy(offsets(Gh, Gw) * shrink).to(pos.pos_proj.weight))


def mlp_of(pos: AnyPosBias) -> dict[str, Any] | None:
    """Return the weights of a DPB as float32 arrays, to evaluate it elsewhere; None for other kinds.

    Returns:
        `proj`: weight (D, 2) and bias (D,); `layers`: for each of the three, the LayerNorm's gain and shift
        and the Linear's weight and bias; `eps`: of the LayerNorms.
    """
    if not isinstance(pos, DynamicPosBias):
        return None
    layers = [[norm.weight, norm.bias, linear.weight, linear.bias] for norm, _, linear in _layers(pos)]
    arrays = [[x.detach().float().cpu().numpy() for x in layer] for layer in layers]
    proj = [x.detach().float().cpu().numpy() for x in (pos.pos_proj.weight, pos.pos_proj.bias)]
    return {"proj": proj, "layers": arrays, "eps": _layers(pos)[0][0].eps}


def _layers(pos: DynamicPosBias) -> list[Any]:
    return [pos.pos1, pos.pos2, pos.pos3]


def resized(table: torch.Tensor, G: Sides, method: str) -> torch.Tensor:
    """Resize a table for groups of another size.

    Args:
        table: ((2T-1)^2, nH), trained at T x T.
        G: The new side of a group, or (Gh, Gw).
        method: "bicubic" stretches the table; "clamp" keeps its offsets and gives farther ones the value of
            the nearest known offset; "cut" keeps its offsets and gives farther ones 0. If groups are T x T,
            the table is returned unchanged.

    Returns:
        ((2Gh-1) * (2Gw-1), nH).
    """
    side, (Gh, Gw) = isqrt(len(table)), _sides(G)
    if side * side != len(table) or side % 2 == 0:
        raise ValueError(f"the table has {len(table)} rows; expected (2G-1)^2, such as 169 for G = 7")
    if method not in TABLE_METHODS:
        raise ValueError(f"method is {method!r}; expected one of {', '.join(TABLE_METHODS)}")
    if (2 * Gh - 1, 2 * Gw - 1) == (side, side):
        return table
    if method == "bicubic":
        return stretched(table, Gh, Gw)
    far = (side - 1) // 2
    pairs = offsets(Gh, Gw)
    near = np.clip(pairs, -far, far) + far
    out = table[torch.from_numpy(near[:, 0] * side + near[:, 1]).to(table.device)]
    if method == "cut":
        known = torch.from_numpy((np.abs(pairs) <= far).all(1)).to(table.device)
        out = torch.where(known[:, None], out, 0)
    return out


def stretched_records(tables: np.ndarray, G: Sides) -> np.ndarray:
    """Stretch a table at several moments as the model does, (n, (2T-1)^2, nH), and keep its number format."""
    made = [resized(torch.from_numpy(table).float(), G, "bicubic").numpy() for table in tables]
    return np.stack(made).astype(tables.dtype)


def trained_side(model: CrossFormer, stage: int, kind: Kind) -> int | None:
    """Return the side of the largest groups with which a kind of attention was trained in a stage.

    None if it is not known: LDA over the whole map was trained with groups as large as the maps of training,
    which the authors' detectors and segmenters do not record.
    """
    return None if kind == "lda" and model.trained_on_maps else model.trained_group[stage]


def bias_table(pos: AnyPosBias, method: str, trained: int, G: Sides) -> torch.Tensor:
    """Return the bias of one block at every offset of a group, by one method: ((2Gh-1) * (2Gw-1), nH).

    Args:
        pos: The block's position bias.
        method: One of `BIAS_METHODS`.
        trained: Side of the groups in training.
        G: Side of the groups now, or (Gh, Gw).
    """
    if method not in BIAS_METHODS:
        raise ValueError(f"method is {method!r}; expected one of {', '.join(BIAS_METHODS)}")
    if method == "none":
        return torch.zeros_like(table_of(pos, G))
    if method == "own":
        return table_of(pos, G)
    if method == "rescaled":
        if not isinstance(pos, DynamicPosBias):
            raise ValueError("only a dynamic position bias can be asked about offsets between tokens")
        return rescaled(pos, trained, G)
    return resized(table_of(pos, trained), G, method)


def methods_of(kind: str) -> tuple[str, ...]:
    """Return the methods that a `position_bias` allows; for a table, "own" means bicubic."""
    return {"dpb": BIAS_METHODS, "rpb": ("own", "clamp", "cut", "none"), "none": ("own",)}[kind]


def simplest_method(kind: str, trained: int, method: str, sides: set[int]) -> str:
    """Return the simplest method that gives the same bias in groups with these sides.

    At the trained G every method equals the model's own; in smaller groups the table covers all offsets, so
    cutting or clamping it leaves the values that a DPB gives there.

    Args:
        kind: The model's `position_bias`.
        trained: Side of the groups in training.
        method: One of `BIAS_METHODS`.
        sides: Sides of the groups in all blocks, heights and widths.
    """
    if method == "none":
        return method
    if sides == {trained}:
        return "own"
    if max(sides) <= trained and method in ("clamp", "cut"):
        return "own" if kind == "dpb" else "clamp"
    return method


def sides_of(groups: Iterable[Iterable[Grouping]]) -> set[int]:
    """Return the sides of the groups in all blocks, heights and widths, from `model.groupings`."""
    return {side for stage in groups for g in stage for side in (g.Gh, g.Gw)}


def edits(model: CrossFormer, method: str, trained: Sequence[int] | None = None) -> dict[str, Edit]:
    """Make edits for `cfviz.edit` that give every block a position bias by one method.

    Args:
        model: Any; its groups may have any size when it runs.
        method: One of `BIAS_METHODS`; "own" edits nothing.
        trained: Side of the groups in training, per stage; by default the model's present ones.

    Example:
        >>> table = edits(model, "bicubic")
        >>> model.set_grouping(14)
        >>> with cfviz.edit(model, table):
        ...     logits = model(x)
    """
    if method == "own":
        return {}
    return {
        point_names.attention(s, b, "bias"): _edit(block.attn.pos, method, (trained or model.group_size)[s])
        for s, stage in enumerate(model.stages)
        for b, block in enumerate(stage.block_list)
    }


def _edit(pos: AnyPosBias, method: str, trained: int) -> Edit:
    def replace(bias: torch.Tensor, groups: Grouping) -> torch.Tensor:
        table = bias_table(pos, method, trained, (groups.Gh, groups.Gw)).to(bias)
        index = torch.from_numpy(relative_index(groups.Gh, groups.Gw)).to(bias.device)
        return rearrange(table[index], "q k h -> h q k")

    return Informed(replace)


@contextmanager
def regrouped(
    model: CrossFormer,
    group_size: int | Sequence[int],
    interval: int | Sequence[int] | str,
    lda: Lda | None = None,
) -> Iterator[None]:
    """Partition maps into other groups during the forwards inside the `with` block, in this thread only.

    Args:
        model: Not written to; `model.groupings` follows too.
        group_size: G, one number or one per stage.
        interval: I, one number, one per stage, or "adaptive".
        lda: Form of long distance attention, "regions" or "whole"; None keeps the model's own.
    """

    def cut(s: int) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
        G = group_size if isinstance(group_size, int) else group_size[s]
        I = interval if isinstance(interval, (int, str)) else interval[s]  # noqa: E741
        return lambda now: (*now[:3], G, I, lda or now[5])

    overrides: Mapping[Setting, Any] = {
        block.partition: cut(s) for s, stage in enumerate(model.stages) for block in stage.block_list
    }
    with override(overrides):
        yield


def changes(
    model: CrossFormer, how: str, blocks: Sequence[tuple[int, int]], seed: int = 0
) -> dict[str, Edit]:
    """Make edits for `cfviz.edit` that show the role of the position bias in some blocks.

    Args:
        model: Any.
        how: "zero" removes the bias; "shuffle" permutes its values over offsets, each head differently;
            "swap" gives every head its neighbour's; "only" removes the content instead, so that keys are
            chosen by position alone.
        blocks: (stage, block) of each block.
        seed: Seed of the shuffle.
    """
    if how not in CHANGES:
        raise ValueError(f"how is {how!r}; expected one of {', '.join(CHANGES)}")
    functions: dict[str, Edit] = {
        "zero": torch.zeros_like,
        "shuffle": Informed(lambda bias, groups: _shuffled(bias, groups, seed)),
        "swap": lambda bias: bias.roll(1, 0),
        "only": torch.zeros_like,
    }
    point = "q" if how == "only" else "bias"
    return {point_names.attention(s, b, point): functions[how] for s, b in blocks}


def _shuffled(bias: torch.Tensor, groups: Grouping, seed: int) -> torch.Tensor:
    """Permute a bias, (nH, N, N), over offsets; pairs with the same offset still share a value."""
    table, index = by_offset(bias, groups)
    rng = np.random.default_rng(seed)
    order = np.stack([rng.permutation(table.shape[1]) for _ in range(len(table))])
    table = table.gather(1, torch.from_numpy(order).to(bias.device))
    return table[:, index]


def by_offset(bias: torch.Tensor, groups: Grouping) -> tuple[torch.Tensor, torch.Tensor]:
    """Convert a bias over pairs, (nH, N, N), to one over offsets, (nH, (2Gh-1) * (2Gw-1)).

    Also returns the index of each pair's offset, (N, N).
    """
    index = relative_index(groups.Gh, groups.Gw)
    first = np.unique(index, return_index=True)[1]  # one pair for each offset
    table = bias.flatten(1)[:, torch.from_numpy(first).to(bias.device)]
    return table, torch.from_numpy(index).to(bias.device)
