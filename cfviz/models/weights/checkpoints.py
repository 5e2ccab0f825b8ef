"""The single entry point for weights: from the package, the authors, a file, an upload or a hub.

The steps are the same for every source: open it safely (`containers`), strip the wrappers around the
parameters (`state_dict`), recognise the variant from their shapes (`recognise`), and read the numbers last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from threading import Event
from types import MappingProxyType
from typing import Any

import safetensors
import safetensors.torch
import torch

from cfviz.bundled import bundled
from cfviz.geometry import LDA, PATCH, Lda, map_sizes
from cfviz.models.dense.variants import DENSE
from cfviz.models.variants import OFFICIAL, SHIPPED, VARIANTS
from cfviz.options import MEAN, STD
from cfviz.provenance import Note, Provenance, Training, fitting

from .containers import open_weights
from .download import Progress, fetch_hub, fetch_official, sha256_of
from .errors import CheckpointError, printable, readable_size, some
from .facts import class_list, notes_of, of_hub, per_channel, per_stage, read_facts, training_of
from .pickles import StandIn
from .recognise import HEADLESS, Structure, check_shapes, find_variant, read_structure, told_variant
from .state_dict import Weights, find_weights, strip
from .timm_families import is_name

__all__ = ["Checkpoint", "CheckpointError", "load_checkpoint", "model_card", "strip", "write_checkpoint"]

HUB_PREFIX = re.compile(r"hf[-_]hub:")
MOST_PIXELS = 1024  # side of an input
ROUNDED = 0.002  # of a mean or a deviation: as others write ImageNet's
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Weights that have been opened, recognised and checked.

    Attributes:
        state_dict: Parameters under the model's names, float32 on the CPU; `load_state_dict(strict=True)`
            accepts them.
        variant: Name of the registered variant.
        num_classes: Classes of the head; 0 for a backbone without one.
        in_chans: Channels of the input image.
        position_bias: "dpb", "rpb" or "none".
        group_size: G per stage if the file records it, else None for the variant's own.
        interval: I per stage or "adaptive" if the file records it, else None for the variant's own.
        lda: "regions" or "whole" if the file records it; "whole" for a detector or segmenter that records
            nothing; else None for the variant's own.
        img_size: Input size in training, in pixels, if the file records one that the model takes, else None.
        source: "bundled", "official", a file name or a repository id.
        sha256: SHA-256 of the file.
        trained: Short English description of the training; None if the weights were never trained.
        training: The facts behind `trained`; None if the file describes the training in its own words.
        dataset: Data set whose class names the outputs stand for, or None.
        classes: Class names in output order, if the file records them.
        model_args: Widths and depths that differ from the variant's, if the file records them.
        trained_group: Side of the largest groups used in training, per stage, if the file records it.
        missing: Parameters that a backbone without a head lacks; a missing final norm is added, untrained.
        notes: Remarks for the reader on how the weights were extracted from the file.
        meta: Other known facts: epoch, accuracy, the wrapper's settings, notes.
    """

    state_dict: dict[str, torch.Tensor]
    variant: str
    num_classes: int
    in_chans: int
    position_bias: str
    group_size: tuple[int, ...] | None
    interval: tuple[int, ...] | str | None
    img_size: int | None
    source: str
    sha256: str
    trained: str | None
    dataset: str | None
    training: Training | None = None
    classes: tuple[str, ...] | None = None
    model_args: Mapping[str, Any] = field(default_factory=dict)
    trained_group: tuple[int, ...] | None = None
    lda: Lda | None = None
    missing: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        """Arguments of `CrossFormer` that build the model, in addition to the variant's own."""
        return {
            "num_classes": self.num_classes,
            "in_chans": self.in_chans,
            "position_bias": self.position_bias,
            **({"group_size": self.group_size} if self.group_size else {}),
            **({"interval": self.interval} if self.interval else {}),
            **({"lda": self.lda} if self.lda else {}),
            **({"img_size": self.img_size} if self.img_size else {}),
            **self.model_args,
        }

    @property
    def facts(self) -> dict[str, Any]:
        """What a file with these weights has to record besides their numbers; see `write_checkpoint`."""
        names = (
            "variant",
            "dataset",
            "classes",
            "group_size",
            "interval",
            "lda",
            "img_size",
            "trained_group",
        )
        facts = {name: value for name in names if (value := getattr(self, name)) is not None}
        facts |= {"trained": self.trained}  # also if None, which means never trained
        facts |= {"training": self.training.as_json()} if self.training else {}
        facts |= {"model_args": dict(self.model_args)} if self.model_args else {}
        told = [content for note in self.notes if (content := note.as_json())]
        return {**facts, **({"weights_notes": told} if told else {})}

    @property
    def provenance(self) -> Provenance:
        """The origin of these weights, for a model that uses them."""
        known = (self.source, self.sha256, self.trained, self.dataset, self.training)
        return Provenance(*known, self.classes, self.notes)

    def __repr__(self) -> str:
        return f"Checkpoint({self.variant}, {self.num_classes} classes, {self.source}, {self.sha256[:12]})"


@dataclass(frozen=True)
class Found:
    """A source resolved to bytes: their location, a name for messages, and other known facts."""

    content: Path | bytes
    name: str
    sha256: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


def load_checkpoint(
    source: str | PathLike[str] | bytes,
    *,
    name: str | None = None,
    allow_pickle: bool = True,
    progress: Progress | None = None,
    cancel: Event | None = None,
) -> Checkpoint:
    """Open weights from any source, safely.

    Args:
        source: One of
            `"bundled:crossformer_nano"`, shipped with cfviz;
            `"official:crossformer_small"`, the authors', downloaded once;
            `"crossformer_small"`, bundled if it comes with cfviz, else official;
            `"hf-hub:owner/name"`, optionally with `@revision`;
            a .pth, .pt, .bin or .safetensors file; or the bytes of one.
        name: Name for bytes in messages, such as that of an uploaded file.
        allow_pickle: False accepts .safetensors only; for uploads from strangers.
        progress: Called during a download with the bytes so far and the total (None if unknown).
        cancel: Set it to stop a download.

    Raises:
        CheckpointError: A ValueError whose one sentence explains what is wrong; its `code` and `fields` serve
            to translate the sentence.
        FileNotFoundError: If a bundled file is missing from this installation.

    Example:
        >>> checkpoint = load_checkpoint("bundled:crossformer_nano")
        >>> checkpoint.variant, checkpoint.num_classes
        ('crossformer_nano', 20)
    """
    return recognised(*read_weights(source, name, allow_pickle, progress, cancel))


def read_weights(
    source: str | PathLike[str] | bytes,
    name: str | None = None,
    allow_pickle: bool = True,
    progress: Progress | None = None,
    cancel: Event | None = None,
) -> tuple[Weights, dict[str, Any], Found]:
    """Open a source; find the weights in it, and the facts beside them. Arguments as in `load_checkpoint`."""
    found = _find(source, name, progress, cancel)
    opened = open_weights(found.content, found.name, allow_pickle)
    weights = find_weights(opened.content, found.name)
    facts = {
        **of_hub(found.facts.get("config")),
        **read_facts(opened, weights.path),
        "source": found.name,
        **found.facts,
    }  # no file may state its source
    return weights, facts, found


def _find(source: str | PathLike[str] | bytes, name: str | None, progress: Any, cancel: Any) -> Found:
    if isinstance(source, bytes | bytearray | memoryview):
        return Found(bytes(source), printable(name or "") or "the upload", sha256_of(bytes(source)))
    text = str(source)
    if (text in VARIANTS or text in DENSE) and not Path(text).exists():
        text = f"bundled:{text}" if text in SHIPPED else f"official:{text}"
    if HUB_PREFIX.match(text):
        repo = HUB_PREFIX.sub("", text, count=1)
        path, config = fetch_hub(repo)
        return Found(path, text, sha256_of(path), {"source": repo, "config": config})
    if text.startswith("bundled:"):
        return _find_bundled(text.removeprefix("bundled:"))
    if text.startswith("official:"):
        return _find_official(text.removeprefix("official:"), progress, cancel)
    path = Path(text).expanduser()
    if path.is_dir():
        raise CheckpointError("folder", source=text)
    if not path.exists():
        raise CheckpointError("timm_name" if is_name(text) else "not_found", source=text)
    if not path.is_file():  # a device or a pipe, which may never end
        raise CheckpointError("unreadable", source=text, detail="it is no regular file")
    try:
        return Found(path, path.name, sha256_of(path))
    except OSError as error:
        raise CheckpointError("unreadable", source=text, detail=error.strerror or error) from None


def _find_bundled(variant: str) -> Found:
    if variant not in SHIPPED:
        raise CheckpointError("no_bundled", variant=variant, available=", ".join(SHIPPED))
    path = bundled(f"weights/{variant}.safetensors")
    digest, card = sha256_of(path), model_card(variant)
    recorded = card.get("sha256")
    if recorded not in (None, digest):
        detail = f"its SHA-256 is {digest[:12]}, its card says {str(recorded)[:12]}"
        raise CheckpointError("damaged", source=path.name, detail=detail)
    told: dict[str, Any] = {key: card[key] for key in ("trained_group", "training") if key in card}
    content = _with_backbone(path, DENSE[variant].backbone, card) if variant in DENSE else path
    return Found(content, path.name, digest, {"source": "bundled", **told})


def _with_backbone(heads: Path, backbone: str, card: Mapping[str, Any]) -> bytes:
    """Join a file of neck and heads with the bundled backbone that they were trained on.

    Raises:
        CheckpointError: "damaged", if the bundled backbone is another one.
    """
    path = bundled(f"weights/{backbone}.safetensors")
    wanted, digest = str(card.get("backbone_sha256")), sha256_of(path)
    if digest != wanted:
        detail = f"it was trained on {backbone} {wanted[:12]}, and the bundled one is {digest[:12]}"
        raise CheckpointError("damaged", source=heads.name, detail=detail)
    state = {f"backbone.{key}": value for key, value in safetensors.torch.load_file(path).items()}
    state = {key: value for key, value in state.items() if key.removeprefix("backbone.") not in HEADLESS}
    with safetensors.safe_open(heads, "pt") as file:
        facts = file.metadata()
        state |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no mapping)
    return safetensors.torch.save(state, facts)


def model_card(variant: str) -> dict[str, Any]:
    """Return the card of bundled weights (training, data, accuracy, licence), or an empty dict."""
    if variant not in SHIPPED:
        return {}
    return json.loads(bundled(f"weights/{variant}.json").read_text("utf-8"))


def _find_official(variant: str, progress: Progress | None, cancel: Event | None) -> Found:
    fetched = fetch_official(variant, progress, cancel)
    facts: dict[str, Any] = {"source": "official", **_published(variant)}
    if fetched.repaired:
        facts["notes"] = ("cache_repaired",)
    return Found(fetched.path, f"official {variant} weights", fetched.sha256, facts)


def _published(variant: str) -> dict[str, Any]:
    """Return what the authors say about their weights of a variant."""
    if variant in DENSE:
        dense = DENSE[variant]
        data = {"coco": "COCO 2017", "ade20k": "ADE20K"}[dense.dataset]
        box_ap, miou = dense.published.get("box_ap"), dense.published.get("miou")
        told = Training("authors", data, box_ap=box_ap, miou=miou)
        return {"training": told.as_json(), "dataset": dense.dataset}
    told = Training("authors", "ImageNet-1K", top1=OFFICIAL[variant][1])
    return {"training": told.as_json(), "dataset": "imagenet-1k"}


def recognised(weights: Weights, facts: dict[str, Any], found: Found) -> Checkpoint:
    """Make a checkpoint from stripped parameters: shapes first, numbers last.

    Raises:
        CheckpointError: If they are no variant's, or no plain finite numbers.
    """
    name, state = found.name, weights.state
    check_tensors(state, found.size, name)
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    structure = read_structure(shapes, name)
    told = told_variant(structure, facts.get("variant"), facts.get("model_args"))
    variant, args = told or (find_variant(structure, name), {})
    missing = check_shapes(shapes, structure, variant, name, args)
    tensors = as_float32(state, name)
    for key in ("norm.weight", "norm.bias"):
        if key in missing:
            C = structure.embed_dim * 2 ** (len(structure.depths) - 1)
            tensors[key] = torch.full((C,), float(key == "norm.weight"))
    stages = len(structure.depths)
    classes = class_list(facts.get("classes"))
    fields = {"source", "trained", "training", "dataset", "classes", "img_size", "variant", "model_args"}
    fields |= {"group_size", "interval", "lda", "trained_group", "weights_notes"}
    interval, training = facts.get("interval"), training_of(facts, structure.num_classes)
    dataset = _text(facts.get("dataset"))
    if training and training.by == "run":
        dataset = fitting(dataset, structure.num_classes)
    unknown = structure.num_classes == 1000 and not classes and not dataset
    assumed: tuple[Note, ...] = (Note.of("assumed_classes"),) if unknown else ()
    assumed += miscounted(classes, structure.num_classes)
    group_size, notes = _groups(structure, weights, facts, variant, name)
    lda, whole = _lda(weights, facts, variant)
    side = facts.get("img_size")
    return Checkpoint(
        state_dict=tensors,
        variant=variant,
        num_classes=structure.num_classes,
        in_chans=structure.in_chans,
        position_bias=structure.position_bias,
        group_size=group_size,
        interval=interval if interval == "adaptive" else per_stage(interval, stages),
        img_size=side if type(side) is int and 0 < side <= MOST_PIXELS and side % PATCH == 0 else None,
        source=facts["source"],
        sha256=found.sha256,
        trained=training.sentence() if training else _text(facts["trained"]),
        training=training,
        dataset=dataset if structure.num_classes else None,
        classes=classes if classes and len(classes) == structure.num_classes else None,
        model_args=MappingProxyType(args),
        trained_group=per_stage(facts.get("trained_group"), stages),
        lda=lda,
        missing=missing,
        notes=(*notes_of(facts), *_notes(weights), *whole, *assumed, *_normalised(facts), *notes),
        meta=MappingProxyType({key: value for key, value in facts.items() if key not in fields}),
    )


def miscounted(classes: Sequence[str] | None, count: int) -> tuple[Note, ...]:
    """Return the remark that a file's names of classes are left out, being not as many as its classes.

    Args:
        classes: The names that the file holds, if any.
        count: Number of classes of its classifier; 0 without one, which needs no names.
    """
    if not classes or not count or len(classes) == count:
        return ()
    return (Note.of("miscounted_classes", given=f"{len(classes):,}", count=f"{count:,}"),)


def _notes(weights: Weights) -> Iterator[Note]:
    """Yield remarks for the reader on how the weights were extracted from the file."""
    if weights.others:
        code = "averaged" if weights.averaged else "one_of_several"
        yield Note.of(code, name=printable(weights.name), others=printable(", ".join(weights.others)))
    if weights.left_out:
        yield Note.of("left_out", names=printable(some(weights.left_out)))


def _groups(
    structure: Structure, weights: Weights, facts: Mapping[str, Any], variant: str, name: str
) -> tuple[tuple[int, ...] | None, tuple[Note, ...]]:
    """Return the G of each stage from all the evidence: settings, bias tables, index tables of older code.

    An index table is no wider than the map its model was made for, so its G may be smaller than the stage's.

    Raises:
        CheckpointError: "conflict" if two of them disagree.
    """
    stages = len(structure.depths)
    recorded, tables = per_stage(facts.get("group_size"), stages), structure.group_size
    if recorded and tables and recorded != tables:
        said, stored = _listed(recorded), _listed(tables)
        detail = f"its settings say G = {said}, its tables of biases are those of G = {stored}"
        raise CheckpointError("conflict", source=name, detail=detail)
    known = tables or recorded
    own = tuple(VARIANTS[variant]["group_size"])
    size = facts.get("img_size")
    side = size if isinstance(size, int) and size >= 32 else 224
    maps = [height for height, _ in map_sizes(side // 32 * 32, side // 32 * 32)]
    found = list(known or own)
    for s, G in weights.index_groups.items():
        if s >= stages or G in (found[s], min(found[s], maps[s])):
            continue
        if known:
            detail = f"stage {s + 1} has G = {known[s]} by its settings and {G} by its index tables"
            raise CheckpointError("conflict", source=name, detail=detail)
        found[s] = G
    if tuple(found) == (known or own):
        told = known or weights.index_groups or facts.get("source") == "official"
        return known, () if told else (Note.of("usual_groups", groups=_listed(own)),)
    return tuple(found), (Note.of("index_groups", groups=_listed(found)),)


def _lda(weights: Weights, facts: Mapping[str, Any], variant: str) -> tuple[Lda | None, tuple[Note, ...]]:
    """Return the form of long distance attention, and a note if the layers beside the backbone imply it.

    The authors' published detectors and segmenters belong to their code of 2022, whose long distance
    attention reaches over the whole map; their weights do not say so. CrossFormer++ came later, with code
    whose groups are of G x G everywhere.
    """
    recorded = facts.get("lda")
    for form in LDA:
        if recorded == form:
            return form, ()
    older = weights.dense and not variant.startswith("crossformer_pp_")
    return ("whole", (Note.of("whole_map"),)) if older else (None, ())


def _normalised(facts: Mapping[str, Any]) -> Iterator[Note]:
    """Yield a note if the file says that pixels in training were scaled otherwise than they are here."""
    told = [per_channel(facts.get(name)) for name in ("mean", "std")]
    here = (MEAN, STD)
    if any(one and max(abs(a - b) for a, b in zip(one, usual, strict=True)) > ROUNDED
           for one, usual in zip(told, here, strict=True)):  # fmt: skip
        mean, std = (
            ", ".join(f"{v:.3g}" for v in one or usual) for one, usual in zip(told, here, strict=True)
        )
        yield Note.of("normalised", mean=mean, std=std)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _text(value: Any, limit: int = 200) -> str | None:
    return str(value)[:limit] if value else None


def check_tensors(state: dict[str, Any], size: int, name: str) -> None:
    """Refuse anything but plain tensors, and tensors that claim more bytes than the file holds."""
    claimed = 0
    for key, value in state.items():
        if isinstance(value, StandIn):
            raise CheckpointError("unsafe_class", source=name, classes=value.kind)
        if type(value) not in (torch.Tensor, torch.nn.Parameter) or value.layout != torch.strided:
            detail = f"{key} is a {type(value).__name__}, expected a plain tensor"
            raise CheckpointError("no_tensors", source=name, detail=detail)
        claimed += value.numel() * value.element_size()
    if claimed > size:
        sizes = {"unpacked": readable_size(claimed), "packed": readable_size(size)}
        raise CheckpointError("too_large", source=name, **sizes)


def as_float32(state: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """Copy the tensors, so that they no longer depend on the file they were read from."""
    tensors, broken = {}, {}
    for key, value in state.items():
        if value.dtype not in _FLOATS:
            dtype = str(value.dtype).removeprefix("torch.")
            raise CheckpointError("dtype", source=name, key=key, dtype=dtype)
        copied = torch.empty(value.shape, dtype=torch.float32, device="cpu").copy_(value.detach())
        tensors[key] = copied
        if not torch.isfinite(copied.sum()) and (count := int((~torch.isfinite(copied)).sum())):
            broken[key] = count
    if broken:
        key, count = next(iter(broken.items()))
        raise CheckpointError("not_finite", source=name, key=key, count=count, tensors=len(broken))
    return tensors


def write_checkpoint(
    path: str | PathLike[str],
    state_dict: Mapping[str, torch.Tensor],
    dtype: torch.dtype = torch.float32,
    **facts: Any,
) -> str:
    """Write weights to a file that `load_checkpoint` reads back with all it needs to know.

    Args:
        path: A .safetensors file.
        state_dict: Parameters under the model's names.
        dtype: Precision of the stored numbers; float16 halves the file.
        **facts: Facts to record in the file: `trained`, `training`, `dataset`, `classes`, `group_size`,
            `interval`, `lda`, `img_size`, `trained_group`, `variant`, `model_args`, `weights_notes`, and
            anything else that JSON can hold.

    Returns:
        The SHA-256 of the file, for its card.
    """
    tensors = {key: value.detach().to("cpu", dtype).contiguous() for key, value in state_dict.items()}
    metadata = {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}
    safetensors.torch.save_file(tensors, Path(path), metadata={"format": "pt", **metadata})
    return sha256_of(Path(path))
