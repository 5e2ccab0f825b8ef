"""A reader's own weights of a model of timm, such as a fine-tune: opened, compared with the model, built.

The file is opened as safely as any other (`weights.containers`). Which model it belongs to is said by timm's
name for it; how many classes it has, by the shape of its classifier. Names and shapes are compared on a copy
of the model without numbers, so that a wrong file costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from math import isqrt
from os import PathLike
from typing import Any

import timm
import torch

from cfviz.framing import SMALLEST, Size, as_pair, as_size
from cfviz.models.seeded import seeded
from cfviz.models.weights.checkpoints import (
    MOST_PIXELS,
    as_float32,
    check_tensors,
    miscounted,
    read_weights,
)
from cfviz.models.weights.errors import CheckpointError, printable, some
from cfviz.models.weights.facts import class_list, training_of
from cfviz.models.weights.state_dict import FIRST_KEY
from cfviz.models.weights.timm_families import family_in
from cfviz.provenance import Note, Provenance, Training

from .reading import family_of, input_size

PIXELS = ("mean", "std", "crop_pct")
ANY_SIZE = "pvt_"  # begins the names of models that are not made for one size of input
OWN_NAMES = re.compile(  # models whose attention can be read, and whose weights fit into an upload
    r"swin_(tiny|small|base|large)_patch4_window(7_224|12_384)|swinv2_(tiny|small|base|large)_window\w+"
    r"|twins_(svt|pcpvt)_(small|base|large)|pvt_v2_b[0-5]|maxvit_(tiny|small|base|large)_tf_(224|384|512)"
    r"|deit3?_(tiny|small|medium|base|large)_patch16_(224|384)"
    r"|vit_(tiny|small|base|large)_patch(8|16|32)_(224|384)"
)
_COUNTERS = re.compile(
    r"(.+\.)?num_batches_tracked|.+\.(relative_position_index|relative_coords_table|attn_mask)"
)


@dataclass(frozen=True, eq=False)
class OwnWeights:
    """Weights that were compared with the model they are for.

    Attributes:
        name: timm's name of the model.
        state: Parameters as the file names them, float32.
        num_classes: Classes of the classifier; 0 if there is none.
        size: Height and width of the input that they were trained at, as far as it can be told from them.
        provenance: Where they come from, and the names of the classes if they are known.
        pixels: What the file says of the photos in training, by timm's names (`PIXELS`); timm's own values
            hold for the rest.
    """

    name: str
    state: dict[str, torch.Tensor]
    num_classes: int
    size: tuple[int, int]
    provenance: Provenance
    pixels: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of the parameters."""
        return sum(value.nbytes for value in self.state.values())

    def build(self, size: Size | None = None) -> Any:
        """Make the model in eval mode.

        Args:
            size: Side of the input in pixels, or its height and width; None for the size of the training.

        Returns:
            The model. Tables of positions that belong to another size are resized as timm does it, and
            `model.provenance` says so.

        Raises:
            CheckpointError: If the weights do not fit.
        """
        made = self.size if size is None else as_pair(size)
        with seeded():
            model = make(self.name, self.num_classes, as_size(*made))
        state = _as_of(model, self.state)
        _compare(model, state, self.name, self.provenance.source)
        model.load_state_dict(state, strict=False)  # but for counters, compared just now
        model.pretrained_cfg = {**model.pretrained_cfg, **self.pixels, "input_size": (3, *made)}
        model.provenance = replace(
            self.provenance, notes=(*self.provenance.notes, *_resized(self.state, state))
        )
        return model.eval()


def make(name: str, num_classes: int | None = None, size: Size | None = None) -> Any:
    """Make a model of timm for a number of classes and a size of the input, each its own by default."""
    more: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if size is not None and not name.startswith(ANY_SIZE):
        more["img_size"] = size
    return timm.create_model(name, **more)


@cache
def own_names() -> tuple[str, ...]:
    """timm's names of the models that a reader's own weights can be for."""
    return tuple(name for name in timm.list_models() if OWN_NAMES.fullmatch(name))


def load_own(
    source: str | PathLike[str] | bytes,
    name: str,
    classes: Sequence[str] | None = None,
    file: str | None = None,
    allow_pickle: bool = True,
    size: Size | None = None,
) -> OwnWeights:
    """Open weights of one of timm's models and compare them with it.

    Args:
        source: A file, a repository (`hf-hub:OWNER/NAME`), or the bytes of a file.
        name: timm's name of the model that was trained, such as "swin_tiny_patch4_window7_224".
        classes: Names of the classes in the order of the outputs; by default those in the file, if any.
        file: Name for bytes in messages.
        allow_pickle: False accepts .safetensors only; for uploads from strangers.
        size: Side of the input in training, or its height and width; None takes what the file tells.

    Raises:
        CheckpointError: If the file cannot be opened or is none of this model.
        ValueError: If timm has no such model, its attention cannot be read, or the names of the classes are
            not as many as the classes.
    """
    if not timm.is_model(name):
        raise ValueError(f"timm has no model {printable(name)!r}; `timm.list_models()` lists them")
    with torch.device("meta"):
        model = make(name)
    family_of(model)
    weights, facts, found = read_weights(source, file, allow_pickle)
    state, left = _bare(weights.state, next(iter(model.state_dict())))
    check_tensors(state, found.size, found.name)
    fitted = _as_of(model, state)
    num_classes = _classes_in(model, fitted)
    trained = _trained_at(model, state, facts) if size is None else as_pair(size)
    if num_classes != model.num_classes or trained != input_size(model):
        with torch.device("meta"):
            model = make(name, num_classes, as_size(*trained))
        fitted = _as_of(model, state)
    _compare(model, fitted, name, found.name)
    _check_windows(model, weights.state, name, found.name)
    named = class_list(list(classes)) if classes else class_list(facts.get("classes"))
    if classes and (named is None or len(named) != num_classes):
        raise CheckpointError("class_names", source=found.name, given=len(classes), classes=num_classes)
    miscount = miscounted(named, num_classes)
    training = training_of(facts, num_classes) or Training("file")
    code, others = "averaged" if weights.averaged else "one_of_several", printable(", ".join(weights.others))
    notes = [Note.of(code, name=printable(weights.name), others=others)] if others else []
    notes += [Note.of("unused", names=printable(some(left)))] if left else []
    notes += miscount
    return OwnWeights(
        name,
        as_float32(state, found.name),
        num_classes,
        trained,
        Provenance(
            source=facts["source"],
            sha256=found.sha256,
            trained=training.sentence(),
            training=training,
            classes=None if miscount else named,
            notes=tuple(notes),
        ),
        {key: facts[key] for key in PIXELS if facts.get(key) is not None},
    )


def _bare(state: Mapping[str, Any], first: str) -> tuple[dict[str, Any], list[str]]:
    """Parameters without counters, buffers and what wrappers put before their names; and what lies beside."""
    plain = {name.replace("_orig_mod.", ""): value for name, value in state.items()}
    ends = sorted((name for name in plain if name == first or name.endswith(f".{first}")), key=len)
    prefix = ends[0].removesuffix(first) if ends else ""
    inside = {name.removeprefix(prefix): value for name, value in plain.items() if name.startswith(prefix)}
    kept = {name: value for name, value in inside.items() if not _COUNTERS.fullmatch(name)}
    return kept, [name for name in plain if not name.startswith(prefix)]


def _as_of(model: Any, state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Parameters under the model's names and in its sizes, by timm's own rules for files of this family."""
    home = import_module(type(model).__module__)
    filtered = getattr(home, "checkpoint_filter_fn", lambda given, of: given)
    try:
        return dict(filtered(dict(state), model))
    except Exception:  # timm's rules expect a file of this family; what is wrong with it is said afterwards
        return dict(state)


def _classes_in(model: Any, state: Mapping[str, torch.Tensor]) -> int:
    """The rows of the classifier; 0 if there is none."""
    weight = state.get(f"{_classifier(model)}.weight")
    return 0 if weight is None or weight.ndim != 2 else len(weight)


def _classifier(model: Any) -> str:
    named = model.pretrained_cfg["classifier"]
    return str(named if isinstance(named, str) else named[0])


def _compare(model: Any, state: Mapping[str, torch.Tensor], name: str, source: str) -> None:
    """Compare names and shapes with the model's.

    Raises:
        CheckpointError: If they differ: how many, and which.
    """
    own = {key: value.shape for key, value in model.state_dict().items() if not _COUNTERS.fullmatch(key)}
    missing, unexpected = [k for k in own if k not in state], sorted(state.keys() - own.keys())
    if missing or unexpected:
        counts = {"missing": len(missing), "all": len(own), "unexpected": len(unexpected)}
        names = {"first_missing": some(missing, 2), "first_unexpected": some(unexpected, 2)}
        if FIRST_KEY in state:
            raise CheckpointError("timm_crossformer", source=source, model=name)
        found = family_in(state)
        code = "timm_family" if found and found != family_of(model).name else "timm_keys"
        raise CheckpointError(code, source=source, model=name, found=found, **counts, **names)
    wrong = [key for key, shape in own.items() if state[key].shape != shape]
    if wrong:
        got, expected = (_written(shape) for shape in (state[wrong[0]].shape, own[wrong[0]]))
        raise CheckpointError(
            "timm_shape",
            source=source,
            model=name,
            key=wrong[0],
            got=got,
            expected=expected,
            count=len(wrong),
        )


def _resized(before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> tuple[Note, ...]:
    """A note on the tables that were resized to another size of input; no note if none was."""
    changed = [key for key in after if key in before and before[key].numel() != after[key].numel()]
    if not changed:
        return ()
    got, now = (_written(state[changed[0]].shape) for state in (before, after))
    return (Note.of("resized", count=str(len(changed)), key=changed[0], got=got, now=now),)


def _check_windows(model: Any, state: Mapping[str, Any], name: str, source: str) -> None:
    """Compare the windows that a file's index tables are of with the model's, where no parameter has them.

    Swin V2 computes its position bias for windows of any size: weights learned in others fit without a word.

    Raises:
        CheckpointError: If they differ.
    """
    end = "layers.0.blocks.0.attn.relative_position_index"  # no map is smaller than a window there
    own = dict(model.named_buffers()).get(end)
    told = next((value for key, value in state.items() if key == end or key.endswith(f".{end}")), None)
    if own is None or told is None or hasattr(model.layers[0].blocks[0].attn, "relative_position_bias_table"):
        return
    if tuple(told.shape) != tuple(own.shape):
        got, expected = _written(told.shape), _written(own.shape)
        known = {"source": source, "model": name, "key": end, "got": got, "expected": expected}
        raise CheckpointError("timm_shape", **known, count=1)


def _trained_at(model: Any, state: Mapping[str, Any], facts: Mapping[str, Any]) -> tuple[int, int]:
    """The size of the input in training: by a ViT's positions, by the file's word, else the model's usual."""
    made, table, told = input_size(model), state.get("pos_embed"), facts.get("img_size")
    embed = getattr(model, "patch_embed", None)
    if table is None or table.ndim != 3 or embed is None or not hasattr(model, "num_prefix_tokens"):
        return (told, told) if type(told) is int and SMALLEST <= told <= MOST_PIXELS else made
    count = table.shape[1] - (0 if model.no_embed_class else model.num_prefix_tokens)
    side, usual = isqrt(max(count, 0)), tuple(made[n] // embed.patch_size[n] for n in range(2))
    if side * side != count or usual == (side, side):
        return made
    return side * embed.patch_size[0], side * embed.patch_size[1]


def _written(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "()"
