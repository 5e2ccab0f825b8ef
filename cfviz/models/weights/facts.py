"""Facts that a weights file states about itself, in a safetensors header or beside the weights.

Everything here is a hint from a foreign file: it is used if it has the expected form, ignored otherwise, and
limited to numbers, names and the fields of `Training`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from cfviz.geometry import LDA, lsda, map_sizes
from cfviz.models.variants import VARIANTS
from cfviz.provenance import DATASETS, Note, Training, fitting

from .containers import Opened
from .errors import printable
from .pickles import StandIn

MOST_G = 112  # side of the first map at 448 pixels, in tokens
MOST_CLASSES = 100_000
MOST_NOTES = 20
UNNAMED = "own photos"  # training data without a name

_IMAGENET = re.compile(r"(.*/)?(imagenet|imnet|imagenet[-_]?1k|imagenet[-_]?2012)", re.IGNORECASE)
_WORDNET = re.compile(r"n\d{8}(_|$)")
_SETTINGS = ("args", "hyper_parameters", "hparams", "cfg", "config", "opt")  # names used by trainers
_CLASS_LISTS = ("classes", "class_names", "label_names", "labels", "categories")
_CLASS_NUMBERS = ("class_to_idx", "class_to_index", "label2id", "label_to_idx")  # name -> number
_CLASS_BY_NUMBER = ("idx_to_class", "index_to_class", "id2label", "idx_to_label")  # number -> name
_MODEL_ARGS = ("embed_dim", "depths", "num_heads", "mlp_ratio", "cooling")


def read_facts(opened: Opened, path: Sequence[str] = ()) -> dict[str, Any]:
    """Read the facts that a file states about its weights.

    Args:
        opened: The file.
        path: Keys that lead to the weights; the entries beside each of these keys are read.
    """
    facts: dict[str, Any] = {}
    for key, value in opened.metadata.items():
        try:
            facts[key] = json.loads(value)
        except (ValueError, RecursionError):  # brackets nested thousands deep
            facts[key] = value
    if names := class_names(facts):
        facts["classes"] = names
    for beside in _beside(opened.content, path):
        if names := class_names(beside):
            facts["classes"] = names
        facts |= {key: beside[key] for key in ("epoch", "max_accuracy") if is_number(beside.get(key))}
        for key in _SETTINGS:
            settings = _dict_of(beside.get(key))
            facts |= _of_settings(settings) | _known({"classes": class_names(settings)})
        facts |= _of_authors(beside.get("config")) | _of_meta(_dict_of(beside.get("meta")))
        if isinstance(beside.get("recipe"), dict):
            facts |= _of_run(beside, beside["recipe"])
    return facts


def _beside(content: Any, path: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the dicts along the path to the weights, outermost first."""
    for key in (*path, None):
        if not isinstance(content, dict):
            return
        yield {name: value for name, value in dict.items(content) if isinstance(name, str)}
        if key is None:
            return
        content = dict.get(content, key)


def _dict_of(node: Any) -> dict[str, Any]:
    """Return settings as a dict, whether they are a dict or an object with attributes."""
    if isinstance(node, StandIn):
        return {**node, **node.attributes}
    return node if isinstance(node, dict) else {}


def training_of(facts: Mapping[str, Any], num_classes: int = 0) -> Training | None:
    """Return how the weights were trained, as fields; None if a file describes it in its own words.

    Args:
        facts: What the file states.
        num_classes: Classes of the model; a run on a data set with another number of classes loses its name.
    """
    training = Training.from_json(facts.get("training"))
    if training is None and "trained" in facts:
        training = Training.from_sentence(str(facts["trained"]))
        if training is None:
            return None
    if training is not None:
        known = training.by != "run" or not num_classes or fitting(training.data, num_classes)
        return training if known else replace(training, data=UNNAMED)
    recorded = {"by": "file", "epochs": [facts.get("epoch")]}
    best = {**recorded, "top1": facts.get("max_accuracy")}
    return Training.from_json(best) or Training.from_json(recorded) or Training("file")


def notes_of(facts: Mapping[str, Any]) -> tuple[Note, ...]:
    """Return what was done to the weights before they were written to this file, if the file records it."""
    told = facts.get("weights_notes")
    read = map(Note.from_json, told[:MOST_NOTES] if isinstance(told, list) else ())
    plain = (Note(n.code, tuple((key, printable(text)) for key, text in n.fields)) for n in read if n)
    return tuple(dict.fromkeys(plain))


# ---------------------------------------------------------------- formats of several trainers


def _of_authors(config: Any) -> dict[str, Any]:
    """Read the settings in the authors' files, a tree of `CfgNode`s."""

    def at(*keys: str) -> Any:
        node = config
        for key in keys:
            node = dict.get(node, key) if isinstance(node, dict) else None
        return node

    interval = "adaptive" if at("MODEL", "CROS", "ADAPT_INTER") is True else at("MODEL", "CROS", "INTERVAL")
    facts = {
        "group_size": at("MODEL", "CROS", "GROUP_SIZE"),
        "interval": interval,
        "img_size": at("DATA", "IMG_SIZE"),
        "dataset": _imagenet(at("DATA", "DATASET")),
        "config_name": at("MODEL", "NAME"),
    }
    return _known(facts)


def _of_meta(meta: dict[str, Any]) -> dict[str, Any]:
    """Read what OpenMMLab's trainers write: class names, and the settings as the text of a Python file."""
    text = meta.get("config") or meta.get("cfg")
    facts: dict[str, Any] = {"classes": class_list(meta.get("CLASSES"))}
    if isinstance(text, str):
        for key, pattern in (("group_size", r"\bgroup_size\s*="), ("interval", r"\bcrs_interval\s*=")):
            if found := re.search(pattern + r"\s*\[([\d,\s]{1,40})\]", text):
                facts[key] = [int(number) for number in found[1].split(",") if number.strip()]
        if re.search(r"\badaptive_interval\s*=\s*True", text):
            facts["interval"] = "adaptive"
    return _known(facts)


def _of_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Read the command line of timm's trainer, and the flat settings of others."""
    inner = _dict_of(settings.get("model_kwargs") or settings.get("model_args"))
    every = {**settings, **inner}
    adaptive = every.get("adaptive_interval") is True
    shape: Any = every.get("input_size")  # timm's, channels first
    crop: Any = every.get("crop_pct")
    square = isinstance(shape, list | tuple) and len(shape) == 3 and shape[1] == shape[2]
    sides = [every.get("img_size"), shape[1] if square else shape]
    return _known(
        {
            "group_size": every.get("group_size"),
            "interval": "adaptive" if adaptive else every.get("interval") or every.get("crs_interval"),
            "lda": every.get("lda"),
            "img_size": next((side for side in sides if type(side) is int), None),
            "dataset": _imagenet(settings.get("dataset")),
            "mean": per_channel(every.get("mean")),
            "std": per_channel(every.get("std")),
            "crop_pct": crop if is_number(crop) and 0 < crop <= 1 else None,
        }
    )


def of_hub(config: Any) -> dict[str, Any]:
    """Read the `config.json` of a repository: class names, and what timm writes of a model and its photos."""
    told = config if isinstance(config, dict) else {}
    inner = _dict_of(told.get("pretrained_cfg"))
    return _of_settings({**told, **inner}) | _known({"classes": class_names(told) or class_names(inner)})


def _of_run(state: dict[str, Any], recipe: dict[str, Any]) -> dict[str, Any]:
    """Read the `last.pt` of our own trainer: the recipe, and how far training got."""
    phases = [phase for phase in recipe.get("phases") or [] if isinstance(phase, dict)]
    done, step = state.get("epoch"), state.get("step_in_epoch", 0)
    if not phases or not isinstance(done, int):
        return {}
    shown = begun(phases, done + bool(step))
    phase = shown[-1]
    args = recipe.get("model_args") if isinstance(recipe.get("model_args"), dict) else {}
    own = {**VARIANTS.get(str(recipe.get("model")), {}), **(args or {})}
    planned = sum(p["epochs"] for p in phases if isinstance(p.get("epochs"), int))
    classes = class_list(state.get("classes"))
    named = fitting(recipe.get("dataset"), recipe.get("num_classes"))
    if classes and not all(map(_WORDNET.match, classes)) and named in DATASETS:
        named = None  # the recipe's default from before recipes recorded classes
    data = data_name(named, recipe.get("data"))
    training = Training.from_json(
        {"by": "run", "data": data, "epochs": [done], "planned": None if done >= planned else planned}
        | {"distilled": bool(recipe.get("teacher")), "onward": bool(recipe.get("start_weights"))}
    )
    last = phases[-1] if recipe.get("position_bias") == "rpb" else phase  # a table is made for the last phase
    return _known(
        {
            "variant": recipe.get("model"),
            "model_args": args,
            "group_size": last.get("group_size"),
            "interval": phase.get("interval") or (args or {}).get("interval"),
            "lda": phase.get("lda") or (args or {}).get("lda"),
            "img_size": phase.get("size"),
            "dataset": None if classes else named,
            "classes": classes,
            "trained_group": largest_groups(
                (
                    p.get("size"),
                    p.get("group_size"),
                    p.get("interval") or own.get("interval"),
                    p.get("lda") or own.get("lda") or "regions",
                )
                for p in shown
            ),
            "training": training.as_json() if training else None,
        }
    )


def data_name(named: Any, folder: Any) -> str:
    """Name the training data: as in the recipe, else after the folder ("pets" for pets/train)."""
    parts = [p for p in Path(str(folder or "")).parts[-2:] if p not in ("train", "training", "/")]
    return (str(named or "") or printable(parts[-1] if parts else "") or UNNAMED)[:60]


def begun(phases: list[dict[str, Any]], epochs: int) -> list[dict[str, Any]]:
    """Return the phases that had begun after this many epochs, at least the first."""
    found = [phases[0]]
    for phase, following in pairwise(phases):
        epochs -= phase["epochs"] if isinstance(phase.get("epochs"), int) else 0
        if epochs > 0:
            found.append(following)
    return found


def largest_groups(
    shown: Iterable[tuple[Any, Any, Any, Any]], before: Sequence[int] | None = None
) -> list[int] | None:
    """Return the side of the largest groups used in training, per stage; no group is wider than its map.

    Args:
        shown: For each training phase, the side of the input in pixels, G and I (one number or one per stage;
            I may be "adaptive"), and the form of long distance attention.
        before: The result for the weights that training started from, as far as it still applies.
    """
    largest = [0] * len(map_sizes(32, 32)) if before is None else list(before)
    for size, G, I, lda in shown:  # noqa: E741
        sides = per_stage(G, len(largest))
        apart: Any = ("adaptive",) * len(largest) if I == "adaptive" else per_stage(I, len(largest))
        if sides is None or type(size) is not int or size <= 0 or size % 32:
            return None
        if lda not in LDA or (lda == "whole" and apart is None):
            return None
        for s, (side, _) in enumerate(map_sizes(size, size)):
            every = (lsda(side, side, b, sides[s], apart[s] if lda == "whole" else 1, lda) for b in range(2))
            largest[s] = max(largest[s], *(min(g.Gh, side) for g in every))
    return largest


# ---------------------------------------------------------------- checking values


def _known(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if value is not None}


def _imagenet(name: Any) -> str | None:
    return "imagenet-1k" if isinstance(name, str) and _IMAGENET.fullmatch(name) else None


def is_number(value: Any) -> bool:
    """Whether a value is a plain number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def per_stage(value: Any, stages: int, most: int = MOST_G) -> tuple[int, ...] | None:
    """Return one number per stage from one for all or one for each; None for anything else.

    Each number must be from 1 to `most`.
    """
    if type(value) is int:
        value = [value] * stages
    if not isinstance(value, list | tuple) or len(value) != stages:
        return None
    return tuple(value) if all(type(v) is int and 1 <= v <= most for v in value) else None


def per_channel(value: Any) -> tuple[float, float, float] | None:
    """Return one number for each colour on a scale of 0 to 1, also from numbers up to 255; None otherwise."""
    if not isinstance(value, list | tuple) or len(value) != 3 or not all(map(is_number, value)):
        return None
    r, g, b = (float(v) / (255 if max(value) > 1 else 1) for v in value)
    return (r, g, b) if min(r, g, b) >= 0 and max(r, g, b) <= 1 else None


def class_list(value: Any) -> tuple[str, ...] | None:
    """Return class names in output order, made printable; None for anything else."""
    if not isinstance(value, list | tuple) or not 0 < len(value) <= MOST_CLASSES:
        return None
    if not all(isinstance(name, str) and name.strip() for name in value):
        return None
    return tuple(printable(name, 100) for name in value)


def class_names(found: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the class names in output order under one of the names that trainers give them."""
    for key in _CLASS_LISTS:
        if names := class_list(found.get(key)):
            return names
    tables = [found.get(key) for key in _CLASS_NUMBERS]
    turned = [
        {n: name for name, n in dict.items(t) if isinstance(n, int | str)}
        for t in tables
        if isinstance(t, dict)
    ]
    for table in (*turned, *(found.get(key) for key in _CLASS_BY_NUMBER)):
        if isinstance(table, dict) and (names := class_list(_in_order(table))):
            return names
    return None


def _in_order(table: Mapping[Any, Any]) -> list[Any] | None:
    """Return the values of a table whose keys are the numbers from 0, perhaps written as text."""
    by_number = {str(key): name for key, name in dict.items(dict(table)) if isinstance(key, int | str)}
    numbers = [str(number) for number in range(min(len(table), MOST_CLASSES))]
    return [by_number[number] for number in numbers] if set(numbers) == set(by_number) else None


def model_args(value: Any, found: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the widths and depths that a file states if its shapes are consistent with them, else None.

    Args:
        value: The file's statement.
        found: Read from the shapes: `embed_dim`, `depths`, `num_heads` (None if no shape depends on it).
    """
    if not isinstance(value, dict):
        return None
    args = {key: value[key] for key in _MODEL_ARGS if key in value}
    for key in args:
        told: Any = tuple(args[key]) if isinstance(args[key], list) else args[key]
        if key in found and found[key] is not None and told != found[key]:
            return None
        if key == "num_heads" and per_stage(told, len(found["depths"])) is None:
            return None
        if key == "mlp_ratio" and not (is_number(told) and 0 < told <= 16):
            return None
        if key == "cooling" and not isinstance(told, bool):
            return None
        args[key] = told
    return args
