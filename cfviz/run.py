"""Run a photo through a model and return a trace."""

from __future__ import annotations

import fnmatch
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from cfviz import point_names
from cfviz.data import answers
from cfviz.data.brush import to_url
from cfviz.data.images import Photo, Prepared, load_image, normalisation, prepare
from cfviz.data.labels import DATASETS, all_imagenets, folder_label, labels, numbered, wordnet_id, wordnet_ids
from cfviz.data.samples import recognised
from cfviz.framing import CENTRE, KEEP, STEP, Centre, Frame, Size, as_size, frame
from cfviz.geometry import Lda
from cfviz.hooks import capture
from cfviz.models.crossformer import CrossFormer
from cfviz.models.dense.variants import CLASSES
from cfviz.models.factory import DTYPES, create_model
from cfviz.models.inputs import check_eval, input_for
from cfviz.models.interventions.apply import cooling_at_work
from cfviz.models.probes.position_bias import regrouped
from cfviz.models.room import KEPT
from cfviz.models.weights.checkpoints import model_card
from cfviz.models.weights.errors import CheckpointError
from cfviz.provenance import Provenance
from cfviz.trace import Trace
from cfviz.words import Translator, named, together

if TYPE_CHECKING:
    from cfviz.models.dense.model import DenseModel
    from cfviz.models.others.families.layer import Layer
    from cfviz.models.others.reading import Reading

LOAD = Path("/proc/loadavg")  # the fourth field begins with the number of threads that run or could run
SCENES = "scenes"  # 20 classes of objects and the ground
PHOTOS_OF_SCENES = "imagenette20"  # whose classes the objects are of
_loading = threading.RLock()
_on_cpu: WeakKeyDictionary[CrossFormer, CrossFormer] = WeakKeyDictionary()  # copies used if the GPU is full
_most = torch.get_num_threads()
_log = logging.getLogger(__name__)


def inspect(
    image: Any,
    model: str | nn.Module = "crossformer_nano",
    size: Size | None = None,
    watch: str | Sequence[str] = (),
    device: str | None = None,
    dtype: str | None = None,
    mode: str = "crop",
    lda: Lda | None = None,
    centre: Centre = CENTRE,
) -> Trace:
    """Classify a photo and keep the tensors behind the answer.

    Args:
        image: A path, bytes, a file, a PIL image, an (H, W, 3) uint8 array, or a `Photo`.
        model: A variant, which gets its bundled weights, or a model of your own in eval mode: a CrossFormer,
            or one of timm's Swin, Swin V2, Twins, PVT v2, MaxViT or ViT models.
        size: Side of the input in pixels, or (height, width); multiples of 32, for a model of timm whatever
            it takes. By default, the size that the weights were trained at.
        watch: Points to keep, as names or shell patterns: `"layers.*.blocks.*.attn.probs"`. Parameters are
            kept by their full names: `"patch_embed.projs.0.weight"`. By default none of a CrossFormer; of a
            model of timm, `content`, `bias` and `probs` of every block.
        device: "cpu", "cuda", ...; by default, a variant runs on CUDA if available, and a model of your own
            on its present device.
        dtype: "float32", "bfloat16" or "float16"; by default, float32 for a variant, and the model's own
            format for a model of your own.
        mode: How to fit the photo to the input size: "crop", "resize" or "pad".
        lda: Form of long distance attention for this photo, "regions" or "whole"; None keeps the model's own.
        centre: Where mode "crop" crops: shares of the photo's width from the left and of its height from the
            top.

    Returns:
        The trace: the prediction, the watched arrays and everything needed to draw them. If the GPU runs out
        of memory, the trace is computed on the CPU, as `trace.device` shows.

    Raises:
        ValueError: If the image, the model, the size, a pattern or the device cannot be used, or the model
            returns another number of logits than it has classes.

    Example:
        >>> trace = inspect("cat.jpg", watch="layers.0.blocks.*.attn.probs")
        >>> trace.top(3)
    """
    wanted = (watch,) if isinstance(watch, str) else watch
    if not isinstance(whole := getattr(model, "_orig_mod", model), str | CrossFormer):  # or compiled from one
        return _inspect_other(image, whole, size, wanted, device, dtype, mode, lda, centre)
    ours = cast(CrossFormer, model)
    photo = image if isinstance(image, Photo) else load_image(image)
    net = load(model, device, dtype or "float32") if isinstance(model, str) else placed(ours, device, dtype)
    seen = prepare(photo, net.img_size if size is None else size, mode, centre=centre)
    return inspect_prepared(photo, seen, net, wanted, centre, lda)


def inspect_prepared(
    photo: Photo,
    seen: Prepared,
    net: CrossFormer,
    watch: Sequence[str] = (),
    centre: Centre = CENTRE,
    lda: Lda | None = None,
) -> Trace:
    """Classify a photo that is prepared already; see `inspect`.

    Args:
        photo: The photo.
        seen: The photo as `prepare` made it for this model.
        net: The model, where and in the number format in which it is to run.
        watch: Points to keep.
        centre: What `prepare` was told.
        lda: Form of long distance attention for this photo; None keeps the model's own.

    Raises:
        ValueError: If the model takes no colour photos, or has no classifier and nothing is watched.
    """
    if net.in_chans != 3:
        raise CheckpointError("channels", source=net.provenance.source, channels=net.in_chans)
    if net.num_classes == 0 and not watch:
        raise CheckpointError("no_classes", source=net.provenance.source)
    height, width = seen.tensor.shape[-2:]
    net, arrays, seconds = _forward(net, seen.tensor, watch, lda)
    with _in_groups(net, lda):
        groupings = tuple(tuple(stage) for stage in net.groupings(height, width))
    groups: dict[str, Any] = {"group_size": net.group_size, "interval": net.interval, "lda": lda or net.lda}
    groups |= {"cooled": tuple(cooled)} if (cooled := cooling_at_work(net)) else {}
    return _traced(
        net, net.provenance, photo, seen,
        arrays=arrays, seconds=seconds, groupings=groupings,
        settings=_framing(photo, seen.mode, centre) | groups,
    )  # fmt: skip


def _traced(net: Any, known: Provenance, photo: Photo, seen: Prepared, **rest: Any) -> Trace:
    """The trace of one photo through a model, a CrossFormer or one of timm's.

    Args:
        net: The model.
        known: Origin of its weights.
        photo: The photo.
        seen: What the model saw of it.
        **rest: The other fields of `Trace`.
    """
    height, width = seen.tensor.shape[-2:]
    parameter = next(net.parameters())
    labels, logits = tuple(class_names(net, known=known)), rest["arrays"]["logits"]
    if labels and logits.shape != (len(labels),):
        raise ValueError(
            f"the model says that it has {len(labels)} classes and returned logits of shape {logits.shape}; "
            f"expected ({len(labels)},). If its classifier was replaced, set `model.num_classes`; if it does "
            "not pool its tokens, reset it with a pooling"
        )
    return Trace(
        labels=labels,
        model=name_of(net),
        size=(height, width),
        device=parameter.device.type,
        dtype=str(parameter.dtype).removeprefix("torch."),
        weights=known,
        crop=seen.crop,
        box=seen.box,
        photo=photo.name,
        shown=shown_classes(photo.sha256, known, net.num_classes),
        **rest,
    )


def _framing(photo: Photo, mode: str, centre: Centre) -> dict[str, Any]:
    """How a photo was fitted to the input, for `Trace.settings` and `frame_of`."""
    strokes = {"strokes": to_url(photo.strokes)} if photo.strokes else {}
    return {"mode": mode, "centre": tuple(map(float, centre)), "photo_size": photo.size, **strokes}


def _inspect_other(
    image: Any, model: Any, size: Size | None, watch: Sequence[str], device: str | None, dtype: str | None,
    mode: str, lda: Lda | None, centre: Centre,
) -> Trace:  # fmt: skip
    """Inspect a photo with one of timm's models, see `inspect`."""
    from cfviz.models.others.reading import family_of, input_size, layers_of, read  # deferred: timm

    family = family_of(model)
    if lda is not None:
        raise ValueError(
            f"lda is {lda!r}: a form of CrossFormer's long distance attention, which {family.name} has not"
        )
    photo = image if isinstance(image, Photo) else load_image(image)
    net = placed(model, device, dtype)
    if net.in_chans != 3:
        raise ValueError(
            f"this {type(net).__name__} takes {net.in_chans} channels; expected 3, as photos have"
        )
    wanted_size = as_size(*input_size(net)) if size is None else size
    seen = prepared_for(net, photo, wanted_size, mode, centre)
    height, width = seen.tensor.shape[-2:]
    layers = layers_of(net, height, width)
    points = _watched(layers, watch)
    places = list(dict.fromkeys(map(_place, points)))
    found = read(net, input_for(net, seen.tensor[None]), places, layers)
    arrays = {name: array for name in points if (array := _of(found, name)) is not None}
    known = getattr(net, "provenance", None)
    known = known if isinstance(known, Provenance) else Provenance.unknown()
    reading = {
        "keep": _config(net)["crop_pct"],
        "family": family.name,
        "merging": () if family.mixes else tuple(map(_rows, family.merging(net))),
        "mixes": family.mixes,
        "error": max((one.error for one in found.attended.values()), default=0.0),
    }
    return _traced(
        net, known, photo, seen,
        arrays=arrays | {"logits": found.logits},
        seconds=found.seconds,
        groupings=(),
        settings=_framing(photo, mode, centre) | reading,
        schemes=tuple(tuple(layer.scheme for layer in stage) for stage in layers),
        strides=family.strides(net, len(layers)),
    )  # fmt: skip


def _rows(taps: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """A small table as plain numbers."""
    return tuple(tuple(map(float, row)) for row in taps)


def prepared_for(
    model: nn.Module, photo: Photo, size: Size, mode: str = "crop", centre: Centre = CENTRE
) -> Prepared:
    """Prepare a photo as one of timm's models expects it: the crop, the mean and the deviation of its own."""
    return prepare(photo, size, mode, _config(model), centre, step=1)  # the model says which sizes it takes


def _config(model: nn.Module) -> dict[str, Any]:
    own: Any = getattr(model, "pretrained_cfg", None) or {}  # none where a class of timm was called itself
    return normalisation(own)


OTHER_POINTS = ("content", "bias", "probs")  # what can be watched in an attention layer of timm's


def _watched(layers: Sequence[Sequence[Layer]], watch: Sequence[str]) -> list[str]:
    """The points of timm's model that are watched, within the limit on what is kept."""
    from cfviz.models.others.reading import attention_weights  # deferred: timm

    names = {
        point_names.attention(s, b, point): layer
        for s, stage in enumerate(layers)
        for b, layer in enumerate(stage)
        for point in OTHER_POINTS
    }
    patterns = watch or ("*",)
    for pattern in patterns:
        if pattern != "logits" and not fnmatch.filter(names, pattern):
            raise ValueError(
                f"no point matches {pattern!r}; of this model, {', '.join(OTHER_POINTS)} can be watched, "
                f"as in {point_names.attention(0, 0)!r}"
            )
    points = [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    blocks = {_place(name): names[name] for name in points}
    if (weights := attention_weights(blocks.values())) > KEPT:
        raise ValueError(
            f"the attention of {len(blocks)} blocks has {weights:,} weights at this size; expected no more "
            f"than {KEPT:,}: choose a smaller input or watch fewer blocks, as in "
            f"watch={point_names.attention(len(layers) - 1, 0, '*')!r}"
        )
    return points


def _of(found: Reading, name: str) -> np.ndarray | None:
    """The array of a watched point; None for the position bias of a layer that has none."""
    array: np.ndarray | None = getattr(found.attended[_place(name)], name.rpartition(".")[2])
    return array


def _place(name: str) -> tuple[int, int]:
    """The stage and the block of a point of attention."""
    stage, block, _ = point_names.parse(name)
    assert block is not None  # an embedding has no attention
    return stage, block


def frame_of(trace: Trace) -> Frame:
    """What the model saw of the photo of a trace from `inspect`."""
    s: Mapping[str, Any] = trace.settings
    step = 1 if trace.schemes else STEP
    return frame(s["photo_size"], trace.size, s["mode"], s["centre"], s.get("keep", KEEP), step)


def prepared_as(trace: Trace, photo: Photo, size: Size | None = None) -> Prepared:
    """Prepare a photo as for a trace, at the trace's size or another."""
    s: Mapping[str, Any] = trace.settings
    return prepare(photo, trace.size if size is None else size, s["mode"], centre=s["centre"])


def _forward(
    net: CrossFormer, image: torch.Tensor, watch: Sequence[str], lda: Lda | None
) -> tuple[CrossFormer, dict[str, np.ndarray], float]:
    """Like `forward`, but on the CPU if the GPU runs out of memory; also returns the model used."""
    try:
        with _in_groups(net, lda):
            return net, *forward(net, image, watch)
    except torch.cuda.OutOfMemoryError:
        _log.warning("the GPU has no memory left; computing on the CPU")
    torch.cuda.empty_cache()  # after the except block, whose traceback kept the tensors of the forward alive
    with _loading:
        if (copied := _on_cpu.get(net)) is None:
            copied = _on_cpu[net] = placed(net, "cpu")
    with _in_groups(copied, lda):
        return copied, *forward(copied, image, watch)


def _in_groups(net: CrossFormer, lda: Lda | None) -> AbstractContextManager[None]:
    """Use a form of long distance attention in the forwards inside the `with` block, in this thread only."""
    return nullcontext() if lda is None else regrouped(net, net.group_size, net.interval, lda)


@torch.inference_mode()
def forward(
    model: CrossFormer, image: torch.Tensor, watch: Sequence[str] = ()
) -> tuple[dict[str, np.ndarray], float]:
    """Run one photo through a model and keep the tensors at the watched points.

    Args:
        model: In eval mode.
        image: (3, H, W), normalised.
        watch: Points, as names or shell patterns, and parameters by their full names; the logits are always
            kept.

    Returns:
        Arrays by point name, float32, without the batch axis; and the duration of the forward in seconds.
    """
    x = input_for(model, image[None])
    kept = _parameters(model, watch)
    points = (name for name in watch if name not in kept)
    with capture(model, *dict.fromkeys((*points, "logits"))) as seen:
        start = perf_counter()
        model(x)
        if x.device.type == "cuda":
            torch.cuda.synchronize(x.device)
        seconds = perf_counter() - start
    _log.debug("forward of %d x %d px in %.3f s", *x.shape[-2:], seconds)
    return {name: _array(name, tensor) for name, tensor in seen.items()} | kept, seconds


def _parameters(model: nn.Module, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The parameters among the names, as copies; only the modules named are looked at, not all of them."""
    found = {}
    for name in names:
        with suppress(AttributeError):
            found[name] = model.get_parameter(name).detach().float().cpu().numpy().copy()
    return found


def _array(name: str, tensor: torch.Tensor) -> np.ndarray:
    """Convert a watched tensor of one photo to an array without the batch axis.

    Inside attention, the first axis is the groups and is kept.
    """
    array = tensor.float().cpu().numpy()
    inside = name.split(".")[-2] == "attn" if "." in name else False
    return array if inside else array[0]


def share_cores() -> int:
    """Limit PyTorch to the cores that are free now, at least one; returns their number.

    PyTorch's threads synchronise after every operation and wait for each other without sleeping. If another
    process holds a core, all of them wait for it: on two cores at a load of four, a forward of nano took
    166 to 383 ms with two threads (up to 2.9 s in the slowest tenth) and 52 to 55 ms with one.
    """
    try:
        others = int(LOAD.read_text().split()[3].split("/")[0]) - 1  # this thread runs, too
    except (OSError, ValueError, IndexError):
        return torch.get_num_threads()  # not Linux: the load is unknown
    free = max(1, min(_most, (os.cpu_count() or 1) - others))
    torch.set_num_threads(free)
    return free


def load(name: str, device: str | None = None, dtype: str = "float32") -> CrossFormer:
    """Return a variant with its bundled weights on a device, made once per process and shared.

    Args:
        name: A variant, see `list_models()`.
        device: "cpu", "cuda", ...; by default CUDA if available.
        dtype: "float32", "bfloat16" or "float16".
    """
    with _loading:
        return _load(name, pick_device(device), dtype)


@lru_cache(maxsize=6)
def _load(name: str, device: str, dtype: str) -> CrossFormer:
    return placed(create_model(name), device, dtype)


def placed(model: CrossFormer, device: str | None = None, dtype: str | None = None) -> CrossFormer:
    """Return a model on a device in a number format: a copy, or the model itself if nothing has to change.

    Args:
        model: In eval mode.
        device: "cpu", "cuda", ...; None keeps the model where it is. If the GPU runs out of memory, the copy
            is on the CPU.
        dtype: "float32", "bfloat16" or "float16"; None keeps the model's own.

    Raises:
        ValueError: If the model is in training mode, or the device or the format cannot be used.
    """
    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}; expected one of {', '.join(DTYPES)}")
    check_eval(model)
    first = next(model.parameters())
    wanted = torch.device(pick_device(device) if device else first.device)
    kind = DTYPES[dtype] if dtype else first.dtype
    if (_numbered(first.device), first.dtype) == (_numbered(wanted), kind):
        return model
    try:
        return deepcopy(model).to(wanted, kind)  # the caller's own model stays where it is
    except torch.cuda.OutOfMemoryError:
        _log.warning("the GPU has no memory for the model; it stays on the CPU")
    return deepcopy(model).to("cpu", kind)


def _numbered(device: torch.device) -> torch.device:
    """Return a device with its number: "cuda" alone is the current one of several."""
    if device.type in ("cpu", "meta"):
        return torch.device(device.type)
    if device.index is not None:
        return device
    return torch.device(device.type, torch.get_device_module(device.type).current_device())


def pick_device(device: str | None = None) -> str:
    """Return the device to compute on: the requested one, else CUDA if available, else the CPU.

    Raises:
        ValueError: If PyTorch does not know the device or cannot use it on this machine.
    """
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        there = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        raise ValueError(f"device {device!r} cannot be used here; there are: {', '.join(there)}") from error
    return device


def name_of(model: CrossFormer) -> str:
    """Return the name of a model's variant."""
    cfg = getattr(model, "pretrained_cfg", None) or {}
    return cfg.get("architecture") or type(model).__name__


def class_names(model: CrossFormer, lang: str = "en", known: Provenance | None = None) -> list[str]:
    """Return the names of a model's classes: those in its file, else those of its data set, else numbers.

    If nothing is known about a thousand classes, they are probably ImageNet's: each label is the number,
    followed by ImageNet's name with a question mark.

    Args:
        model: The model.
        lang: "en" or "zh-Hant".
        known: The origin of the weights, for callers that know it; by default the model's, which takes the
            checksums of all weights.
    """
    known, count = known or model.provenance, model.num_classes
    if known.classes and len(known.classes) == count:
        return named(folder_label(name, lang) for name in known.classes)
    names = labels(known.dataset, lang) if known.dataset in DATASETS else []  # a file may name any data set
    if len(names) == count:
        return names
    numbers = numbered(count, lang)
    if count != 1000 or known.dataset is not None:
        return numbers
    left, right = {"en": (" (", "?)"), "zh-Hant": ("（", "？）")}[lang]
    guesses = labels("imagenet-1k", lang)
    return [f"{number}{left}{guess}{right}" for number, guess in zip(numbers, guesses, strict=True)]


def dense_class_names(model: DenseModel, lang: str = "en") -> list[str]:
    """Return the names of the classes of a detector or segmenter: those in its file, its data set's, numbers.

    Args:
        model: The model.
        lang: "en" or "zh-Hant".
    """
    known = model.provenance
    if known.classes and lang == "en":
        return named(known.classes)
    names = labels(known.dataset, lang) if known.dataset in CLASSES else []
    if len(names) == model.num_classes:
        return names
    return named(known.classes) if known.classes else numbered(model.num_classes, lang)


def on_scenes(model: DenseModel) -> bool:
    """Return whether a detector or segmenter learned on composed scenes alone, as the bundled ones did."""
    return model.provenance.source == "bundled" and model.provenance.dataset in (*DATASETS, SCENES)


def about_findings(model: DenseModel, sha256: str, t: Translator) -> str:
    """Return what an answer on a natural photo is worth if the model learned on scenes alone; else nothing.

    Args:
        model: A detector or segmenter.
        sha256: SHA-256 of the photo's file.
        t: The reader's language.
    """
    if not on_scenes(model):
        return ""
    known = model.provenance
    objects = model.num_classes - (known.dataset == SCENES)  # without the ground
    shown = shown_classes(sha256, replace(known, dataset=PHOTOS_OF_SCENES, classes=None), objects)
    return t("dense.on_photo_none" if shown == () else "dense.on_photo", n=objects)


def shown_classes(sha256: str, known: Provenance, count: int) -> tuple[int, ...] | None:
    """Return which of a model's classes a photo is known to show, by index.

    Only the gallery's photos are known, and only in classes of ImageNet-1K. A class of another kind, such as
    a user's own, may well be on the photo: then "none" is not known.

    Args:
        sha256: SHA-256 of the photo's file.
        known: The origin of the model's weights.
        count: The model's number of classes.

    Returns:
        The indices; empty if the photo shows none of the classes, None if that is not known.
    """
    if (photo := recognised(sha256)) is None or not (ids := class_ids(known, count)):
        return None
    found = tuple(index for index, id in enumerate(ids) if id in photo.shows)
    return found if found or all_imagenets(ids) else None


def class_ids(known: Provenance, count: int) -> list[str | None]:
    """Return the WordNet ids of a model's classes, None where a class has none; empty if none is known.

    Args:
        known: The origin of the model's weights.
        count: The model's number of classes.
    """
    if known.classes and len(known.classes) == count:
        return [wordnet_id(name) for name in known.classes]
    if known.dataset in DATASETS and DATASETS[known.dataset] == count:
        return list(wordnet_ids(known.dataset))
    return []


def calibration_of(trace: Trace) -> dict[str, Any] | None:
    """Return what was measured of the probabilities of a trace's model, or None.

    It holds for the bundled weights at the size, the crop and the number format of the measurement, on photos
    that nobody painted over.
    """
    if trace.weights.source != "bundled" or trace.dtype != "float32" or "strokes" in trace.settings:
        return None
    found: dict[str, Any] | None = model_card(trace.model).get("calibration")
    made = (trace.size, trace.settings.get("mode"), trace.settings.get("centre"))
    return found if found and made == ((found["size"],) * 2, "crop", CENTRE) else None


def about_answer(trace: Trace, names: Sequence[str], t: Translator) -> str:
    """Return what is known about a trace's answer; empty for random weights and without a classifier.

    Args:
        trace: The prediction.
        names: Names of the model's classes in the reader's language.
        t: The reader's language.
    """
    if not trace.labels or not trace.weights.predicts:
        return ""
    index, _, p = trace.top(1)[0]
    line, known = answers.sentence(t, names, index, p, trace.shown), answers.verdict(index, trace.shown)
    return together(line, answers.confidence(t, calibration_of(trace), p, known))
