"""Find the parameters in a checkpoint: choose between several sets and remove the wrappers around them.

One rule holds for all files: a set of weights is a dict whose names end like a CrossFormer's, wherever it is
in the file and whatever prefix the names have. Of several sets, the averaged one is preferred, and the user
is told so. All remaining names are the authors'.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isqrt
from typing import Any

import torch

from .errors import CheckpointError, some
from .pickles import StandIn

FIRST_KEY = "patch_embed.projs.0.weight"
DEEPEST = 6  # levels of wrappers to search
MOST_DICTS = 10_000  # dicts to search

_TOP = ("patch_embed", "layers", "norm", "head")
_AVERAGED = re.compile(r"(^|[_.-])(ema|swa|avg|averaged?|shadow|polyak)\d*($|[_.-])", re.IGNORECASE)
_RAW = frozenset(("model", "state_dict", "model_state_dict", "module", "net", "network", "weights", "params"))
# inserted into names by torch.compile, FSDP, activation checkpointing and the like
_INSIDE = re.compile(
    r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\."
)
_OLD_BUFFERS = re.compile(
    r"layers\.(\d{1,3})\.blocks\.\d{1,3}\.(attn\.biases|attn\.relative_position_index|attn_mask)"
)
# layers beside the backbone in OpenMMLab's detectors and segmenters
_DENSE = re.compile(r"(neck|rpn_head|roi_head|bbox_head|mask_head|decode_head|auxiliary_head)\..+")
# counters and losses that some trainers store among the weights, and the counters thop adds to every module
_NO_WEIGHTS = re.compile(r"n_averaged|(criterion|loss\w*)\..+|(.+\.)?total_(ops|params)")


@dataclass(frozen=True)
class Weights:
    """One set of weights from a checkpoint.

    Attributes:
        state: Parameters under the authors' names.
        path: Keys that lead to the set, outermost first.
        name: Name of the set, such as "ema" or "model"; "" if the file contains nothing else.
        averaged: Whether it is a moving or stochastic average, judging by its name.
        others: Names of the sets that were not chosen.
        left_out: Names found beside the parameters that have no place in a CrossFormer.
        index_groups: Maps a stage to the G of its index tables (`relative_position_index`, `biases`,
            `attn_mask`), which older code stored with the weights.
        prefix: What was removed from the front of the names.
        heads: Layers beside the backbone of a detector or segmenter, under the names they have beside
            `backbone`; empty for anything else.
    """

    state: dict[str, Any]
    path: tuple[str, ...] = ()
    name: str = ""
    averaged: bool = False
    others: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    index_groups: Mapping[int, int] = field(default_factory=dict)
    prefix: str = ""
    heads: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dense(self) -> bool:
        """Whether the set is the backbone of a detector or segmenter, judging by the layers beside it."""
        return bool(self.heads)


def strip(content: Any, source: str = "the checkpoint") -> dict[str, Any]:
    """Return the bare parameters of a checkpoint; see `find_weights`."""
    return find_weights(content, source).state


def find_weights(content: Any, source: str = "the checkpoint") -> Weights:
    """Return the set of weights to use, without wrappers, prefixes or the buffers of older code.

    Args:
        content: A state dict, or a dict that contains some at any depth.
        source: Name for the file in messages.

    Raises:
        CheckpointError: If there is no CrossFormer inside, or there are several and the choice is unclear.
    """
    if not isinstance(content, dict):
        detail = f"its content is one {type(content).__name__}, expected names and tensors"
        raise CheckpointError("no_tensors", source=source, detail=detail)
    dicts, all_seen = _dicts(content)
    sets = _distinct([found for path, items in dicts for found in _sets(path, items)])
    if sets:
        chosen = _choose(sets, source)
        return _bare(chosen, [other for other in sets if other is not chosen], source)
    others = [_Set(path, "", items) for path, items in dicts if _holds_tensors(items)]
    if others:  # of another model: the check of names reports what is missing
        return _largest(others)
    names = some([key for key in content if isinstance(key, str)])
    detail = f"it has {names}, none of them a tensor" if all_seen else "its wrappers are nested too deep"
    raise CheckpointError("no_tensors", source=source, detail=detail)


# ---------------------------------------------------------------- finding the sets


@dataclass(frozen=True, eq=False)
class _Set:
    path: tuple[str, ...]
    prefix: str
    items: dict[str, Any]

    @property
    def words(self) -> tuple[str, ...]:
        return (*self.path, *filter(None, self.prefix.split(".")))

    @property
    def name(self) -> str:
        return ".".join(self.words)

    @property
    def averaged(self) -> bool:
        return any(_AVERAGED.search(word) for word in self.words)


def _dicts(content: dict[Any, Any]) -> tuple[list[tuple[tuple[str, ...], dict[str, Any]]], bool]:
    """List every dict and the keys that lead to it, outermost first, and whether the search was complete."""
    found: list[tuple[tuple[str, ...], dict[str, Any]]] = []
    level: list[tuple[tuple[str, ...], dict[Any, Any]]] = [((), content)]
    seen = {id(content)}
    for _ in range(DEEPEST):
        inner: list[tuple[tuple[str, ...], dict[Any, Any]]] = []
        for path, node in level:
            items = _named(node)
            found.append((path, items))
            for key, value in items.items():
                if isinstance(value, dict) and id(value) not in seen and len(seen) < MOST_DICTS:
                    seen.add(id(value))
                    inner.append(((*path, key), value))
        level = inner
    return found, not level


def _named(node: dict[Any, Any]) -> dict[str, Any]:
    """Return a dict's entries whose keys are strings; for a pickled module, its parameters."""
    if isinstance(node, StandIn) and "_modules" in node.attributes:
        return dict(_parameters(node))
    return {name: value for name, value in dict.items(node) if isinstance(name, str)}


def _parameters(module: StandIn, depth: int = 12) -> Iterator[tuple[str, Any]]:
    for kind in ("_parameters", "_buffers"):
        held = module.attributes.get(kind)
        if isinstance(held, dict):
            yield from ((key, v) for key, v in held.items() if isinstance(key, str) and v is not None)
    inner = module.attributes.get("_modules")
    for key, child in inner.items() if isinstance(inner, dict) and depth else ():
        if isinstance(key, str) and isinstance(child, StandIn):
            yield from ((f"{key}.{name}", value) for name, value in _parameters(child, depth - 1))


def _sets(path: tuple[str, ...], items: dict[str, Any]) -> Iterator[_Set]:
    """Yield the sets of weights in one dict: usually one, in some trainers' files one per prefix."""
    plain = _without_wrappers_inside(items)
    for name in plain:
        prefix = name.removesuffix(FIRST_KEY)
        if prefix != name and (not prefix or prefix.endswith(".")):
            yield _Set(path, prefix, plain)


def _without_wrappers_inside(items: dict[str, Any]) -> dict[str, Any]:
    plain = {_INSIDE.sub("", name): value for name, value in items.items()}
    return plain if len(plain) == len(items) else items


def _distinct(sets: list[_Set]) -> list[_Set]:
    """Drop sets that are another set under a second name."""
    firsts: dict[int, _Set] = {}
    for found in sets:
        firsts.setdefault(id(found.items[found.prefix + FIRST_KEY]), found)
    return list(firsts.values())


# ---------------------------------------------------------------- choosing a set


def _holds_tensors(items: dict[str, Any]) -> bool:
    return any(isinstance(value, torch.Tensor) for value in items.values())


def _largest(sets: list[_Set]) -> Weights:
    """The set with the most entries; of several of one size, the averaged one, else the first."""
    most = max(len(found.items) for found in sets)
    same = [found for found in sets if len(found.items) == most]
    chosen = next((found for found in same if found.averaged), same[0])
    names = tuple(found.name for found in same if found is not chosen)
    return Weights(chosen.items, chosen.path, chosen.name, chosen.averaged, names)


def _choose(sets: list[_Set], source: str) -> _Set:
    averaged = [found for found in sets if found.averaged]
    usual = [found for found in sets if set(found.words) <= _RAW]
    for among in (averaged,) if averaged else (sets, usual):
        if len(among) == 1:
            return among[0]
    names = [found.name for found in averaged or sets]
    raise CheckpointError("several_sets", source=source, sets=some(names, 6))


# ---------------------------------------------------------------- stripping the wrappers


def _bare(chosen: _Set, others: list[_Set], source: str) -> Weights:
    state: dict[str, Any] = {}
    groups: dict[int, int] = {}
    left: list[str] = []
    inside, beside = _with_classifier(chosen)
    for name, value in inside.items():
        if old := _OLD_BUFFERS.fullmatch(name):
            _note_group(groups, int(old[1]), old[2], value, source)
        elif _NO_WEIGHTS.fullmatch(name):
            left.append(name)
        elif name.partition(".")[0] in _TOP or isinstance(value, torch.Tensor):
            state[name] = value
    beside = {n: v for n, v in beside.items() if not any(n.startswith(o.prefix) for o in others if o.prefix)}
    left += [name for name, value in beside.items() if isinstance(value, torch.Tensor)]
    names = tuple(other.name for other in others)
    told = (chosen.path, chosen.name, chosen.averaged, names, tuple(left), groups)
    return Weights(state, *told, chosen.prefix, _heads(chosen.prefix, beside))


def _heads(prefix: str, beside: Mapping[str, Any]) -> dict[str, Any]:
    """Return the layers of a detector or segmenter that are neighbours of a set named `backbone`."""
    if prefix.split(".")[-2:] != ["backbone", ""]:
        return {}
    parent = prefix.removesuffix("backbone.")
    bare = {name.removeprefix(parent): value for name, value in beside.items() if name.startswith(parent)}
    return {name: value for name, value in bare.items() if _DENSE.fullmatch(name)}


def _with_classifier(chosen: _Set) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the entries under the set's prefix, with the classifier as `head`, and all other entries.

    timm (inside the model) and mmcls (beside its `backbone`) call the classifier `head.fc`. For mmcls it is
    used only if the norm in front of it, which mmcls may call `norm3`, is also there.
    """
    prefix, items = chosen.prefix, chosen.items
    inside = {name.removeprefix(prefix): value for name, value in items.items() if name.startswith(prefix)}
    beside = {name: value for name, value in items.items() if not name.startswith(prefix)}
    if "head.weight" in inside:
        return inside, beside
    if "head.fc.weight" in inside:
        return {re.sub(r"^head\.fc\.", "head.", name): value for name, value in inside.items()}, beside
    parent = prefix[: prefix.rstrip(".").rfind(".") + 1]
    if prefix and f"{parent}head.fc.weight" in beside:
        if "norm.weight" not in inside:
            inside = {re.sub(r"^norm3\.", "norm.", name): value for name, value in inside.items()}
        if "norm.weight" in inside:
            for kind in ("weight", "bias"):
                if (name := f"{parent}head.fc.{kind}") in beside:
                    inside[f"head.{kind}"] = beside.pop(name)
    return inside, beside


def _note_group(groups: dict[int, int], stage: int, kind: str, value: Any, source: str) -> None:
    """Record the G of an index table from its shape: G squared tokens per side, or one row per offset."""
    shape = tuple(value.shape) if isinstance(value, torch.Tensor) else ()
    if kind == "attn.biases" and len(shape) == 2:  # (2 G - 1) squared offsets, 2
        G = (isqrt(shape[0]) + 1) // 2
        fits = shape[0] == (2 * G - 1) ** 2
    elif len(shape) >= 2:  # ..., G squared, G squared
        G = isqrt(shape[-1])
        fits = G * G == shape[-1] == shape[-2]
    else:
        return
    if fits and groups.setdefault(stage, G) != G:
        detail = f"its index tables of stage {stage + 1} are those of G = {groups[stage]} and of G = {G}"
        raise CheckpointError("conflict", source=source, detail=detail)
