"""Recognise the variant of a checkpoint from its names and shapes.

Nothing here reads a number inside a tensor, so a crafted file (a tensor of a million rows that all share one
value, say) is refused before any memory is spent on it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import isqrt
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from cfviz.models.crossformer import CrossFormer
from cfviz.models.variants import VARIANTS

from .errors import CheckpointError, some
from .facts import model_args
from .state_dict import FIRST_KEY
from .timm_families import family_in

Shapes = Mapping[str, tuple[int, ...]]

HEADLESS = frozenset(("norm.weight", "norm.bias", "head.weight", "head.bias"))  # a dense-prediction backbone

_BLOCK = re.compile(r"layers\.(\d{1,3})\.blocks\.(\d{1,3})\.(.+)")


@dataclass(frozen=True)
class Structure:
    """The structure of a model, as far as the shapes in its checkpoint show it.

    Attributes:
        num_heads: Heads per stage; None without a position bias, since no other shape depends on it.
        group_size: G per stage; None unless the position bias is "rpb", whose shapes depend on it.
        cooling: Which blocks have an amplitude cooling layer, as (stage, block).
    """

    embed_dim: int
    depths: tuple[int, ...]
    num_heads: tuple[int, ...] | None
    in_chans: int
    num_classes: int
    position_bias: str
    group_size: tuple[int, ...] | None
    cooling: tuple[tuple[int, int], ...]


def read_structure(shapes: Shapes, source: str) -> Structure:
    """Read the model's structure from the shapes of its parameters.

    Raises:
        CheckpointError: "architecture" if the shapes are not those of a CrossFormer; "timm_weights" if their
            names are those of another family that can be opened.
    """
    blocks = _blocks(shapes)
    try:
        stem, qkv = shapes[FIRST_KEY], shapes["layers.0.blocks.0.attn.qkv.weight"]
        depths = tuple(1 + max(b for s, b in blocks if s == stage) for stage in range(1 + max(blocks)[0]))
        if len(stem) != 4 or len(qkv) != 2:
            raise ValueError
    except (KeyError, ValueError):
        raise _not_a_crossformer(shapes, source) from None
    last = tuple(blocks[s, 0] for s in range(len(depths)))
    heads = [_rows(block.get("attn.pos.pos3.2.weight")) for block in last]
    tables = [block.get("attn.pos.table", ()) for block in last]
    group_size = None
    if all(heads):
        bias = "dpb"
    elif all(len(table) == 2 and min(table) > 0 for table in tables):
        bias, heads = "rpb", [table[1] for table in tables]
        group_size = tuple((isqrt(table[0]) + 1) // 2 for table in tables)
    else:
        bias, heads = "none", []
    return Structure(
        embed_dim=2 * stem[0],
        depths=depths,
        num_heads=tuple(heads) or None,
        in_chans=stem[1],
        num_classes=_rows(shapes.get("head.weight")),
        position_bias=bias,
        group_size=group_size,
        cooling=tuple(sorted(place for place, block in blocks.items() if "ex_conv.weight" in block)),
    )


def _rows(shape: tuple[int, ...] | None) -> int:
    """Return the outputs of a linear layer; 0 for any other shape, which `check_shapes` then names."""
    return shape[0] if shape and len(shape) == 2 else 0


def _blocks(shapes: Shapes) -> dict[tuple[int, int], dict[str, tuple[int, ...]]]:
    """Return the shapes of each block by (stage, block), without the block's prefix in the names."""
    blocks: dict[tuple[int, int], dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        if found := _BLOCK.fullmatch(name):
            blocks.setdefault((int(found[1]), int(found[2])), {})[found[3]] = shape
    return blocks if all((s, 0) in blocks for s, _ in blocks) else {}


def _not_a_crossformer(shapes: Shapes, source: str) -> CheckpointError:
    if FIRST_KEY not in shapes and (family := family_in(shapes)):
        return CheckpointError("timm_weights", source=source, family=family)
    known = expected_shapes("crossformer_tiny", 1000, 3, "dpb", None)
    unexpected = [name for name in shapes if name not in known]
    missing = [name for name in known if name not in shapes]
    return CheckpointError("architecture", source=source, unexpected=some(unexpected), missing=some(missing))


def told_variant(structure: Structure, told: Any, told_args: Any) -> tuple[str, dict[str, Any]] | None:
    """Return the variant, widths and depths that a file states if its shapes confirm them, else None.

    Args:
        structure: Read from the shapes.
        told: The variant that the file names.
        told_args: How the file's model differs from that variant, as arguments of `CrossFormer`.
    """
    if not told_args or not isinstance(told, str) or told not in VARIANTS:
        return None
    shapes = {key: getattr(structure, key) for key in ("embed_dim", "depths", "num_heads")}
    args = model_args(told_args, shapes)
    config = {**VARIANTS[told], **(args or {})}
    plan = _registered_plan(config)
    if args is None or any(plan[key] != value for key, value in _plan(structure).items()):
        return None
    return told, {key: value for key, value in args.items() if value != VARIANTS[told].get(key)}


def find_variant(structure: Structure, source: str) -> str:
    """Return the registered variant with this structure.

    Raises:
        CheckpointError: "unknown_variant", with the nearest variant and the differences.
    """
    found = _plan(structure)
    differences: dict[str, list[str]] = {}
    for name, config in VARIANTS.items():
        plan = _registered_plan(config)
        if structure.num_heads is None:
            plan.pop("heads")
        differences[name] = [
            f"{key} {_written(found[key])} instead of {_written(value)}"
            for key, value in plan.items()
            if found[key] != value
        ]
    same = [name for name in VARIANTS if not differences[name]]
    if same:  # such variants differ only in their position bias
        bias = {name: VARIANTS[name].get("position_bias", "dpb") for name in same}
        return next((name for name in same if bias[name] == structure.position_bias), same[0])
    nearest = min(differences, key=lambda name: len(differences[name]))
    raise CheckpointError(
        "unknown_variant",
        source=source,
        found=", ".join(f"{key} {_written(value)}" for key, value in found.items()),
        nearest=nearest,
        differs=", ".join(differences[nearest]),
    )


def _plan(structure: Structure) -> dict[str, Any]:
    plan = {"embed dim": structure.embed_dim, "depths": structure.depths, "heads": structure.num_heads}
    if plan["heads"] is None:
        plan.pop("heads")
    return {**plan, "cooling layers": len(structure.cooling)}


def _registered_plan(config: Mapping[str, Any]) -> dict[str, Any]:
    """Like `_plan`, for a variant; a cooling layer follows every third block except the last of a stage."""
    depths = tuple(config["depths"])
    cooling = sum((depth - 1) // 3 for depth in depths) if config.get("cooling") else 0
    heads = tuple(config["num_heads"])
    return {"embed dim": config["embed_dim"], "depths": depths, "heads": heads, "cooling layers": cooling}


def _written(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)


class _NoFilling(TorchFunctionMode):
    """Skip in-place operations: on weights without memory, random initialisation only costs time."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if name.endswith("_") and not name.endswith("__"):
            return (*args, *(kwargs or {}).values())[0]
        return func(*args, **(kwargs or {}))


@lru_cache(maxsize=32)
def expected_shapes(
    variant: str,
    num_classes: int,
    in_chans: int,
    position_bias: str,
    group_size: tuple[int, ...] | None,
    args: tuple[tuple[str, Any], ...] = (),
) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of a variant's parameters, from a model built without memory for weights."""
    config = {**VARIANTS[variant], **({"group_size": group_size} if group_size else {})}
    config |= dict(args)
    config |= dict(num_classes=num_classes, in_chans=in_chans, position_bias=position_bias)
    with torch.device("meta"), _NoFilling():
        model = CrossFormer(**config)
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def check_shapes(
    shapes: Shapes, structure: Structure, variant: str, source: str, args: Mapping[str, Any] | None = None
) -> tuple[str, ...]:
    """Compare every name and shape with those of the variant, changed by `args` if given.

    Returns:
        The names that are missing because the checkpoint is a backbone without a head.

    Raises:
        CheckpointError: "keys" or "shape".
    """
    kind, G = structure.position_bias, structure.group_size
    more = tuple((args or {}).items())
    expected = expected_shapes(variant, structure.num_classes, structure.in_chans, kind, G, more)
    missing = [name for name in expected if name not in shapes]
    unexpected = [name for name in shapes if name not in expected]
    headless = structure.num_classes == 0 and set(missing) <= HEADLESS
    if unexpected or (missing and not headless):
        raise CheckpointError(
            "keys", source=source, variant=variant, missing=some(missing), unexpected=some(unexpected)
        )
    for name, shape in shapes.items():
        if shape != expected[name]:
            got, wanted = _times(shape), _times(expected[name])
            raise CheckpointError("shape", source=source, key=name, got=got, variant=variant, expected=wanted)
    return tuple(missing)


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "()"
