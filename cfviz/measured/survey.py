"""What a folder of photos shows of a model: channels, receptive fields, heads, similar places.

    found = survey("photos")                    # every photo in it and in its subfolders
    found.strongest(0, 3, 5)                    # where channel 6 of the first layer's 32 x 32 kernel responds
    found.offsets[2, 1].agreement               # does each head do what its position bias says?
    found.nearest(token, 2)                     # the place of each photo that is most like a token of stage 3
    found.save("survey.safetensors")

One forward of each photo is kept as a survey of one photo; `joined` makes one of many. So a stopped survey of
a folder goes on where it was, and the order of the photos changes nothing but which of two equal responses is
named first.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from cfviz import point_names
from cfviz.analysis.by_offset import ByOffset
from cfviz.analysis.receptive_field import smallest_area, summed_over_squares
from cfviz.analysis.similarity import Place, nearest
from cfviz.data import left_out
from cfviz.data.decode import Photo
from cfviz.data.header import ImageError
from cfviz.data.images import load_image, prepare
from cfviz.figures.live.many import survey as live
from cfviz.figures.live.message import Cell
from cfviz.framing import Size, as_pair, size_text
from cfviz.geometry import CEL_KERNELS, cel_box, map_sizes
from cfviz.jobs import replacing
from cfviz.models.crossformer import CrossFormer
from cfviz.models.crossformer.origin import weights_id
from cfviz.models.inputs import check_eval
from cfviz.models.probes.embedding import points
from cfviz.models.room import KEPT as ROOM
from cfviz.models.room import attention_weights
from cfviz.provenance import Provenance
from cfviz.run import inspect, load, name_of
from cfviz.training.folder import PhotoFolder, account, identity, shown
from cfviz.words import figure_words, quantity, together, translator, unbroken

from .fields import stage_fields

__all__ = ["Patch", "Survey", "figure", "joined", "look_into", "open_survey", "survey", "survey_of"]

FORMAT, ABOUT = 1, "cfviz.survey"
MARK, DIGITS = "about.json", 6  # of a survey under way: what it is of, and the numbers that name its parts
LIMIT = 200  # photos of a folder, evenly spread over its names
KEPT = 10  # photos for each channel
CELL = 4  # pixels of the input per cell of a receptive field: a token of the first stage
PART = 8  # photos between two saves
MOST = 96 * 2**20  # bytes of one stage's tokens on all photos; a stage with more keeps none
QUALITY = 92  # of the JPEGs, whose colours are as sharp as their light

Kernel = tuple[int, int]  # stage and number, from 0
Block = tuple[int, int]  # stage and number, from 0


@dataclass(frozen=True)
class Patch:
    """The place of a photo where a channel responds most strongly.

    Attributes:
        photo: Number of the photo.
        row, col: The token.
        value: The response.
        box: What the kernel reads there, in pixels of the input: top, left, bottom, right; it may reach
            beyond the photo, where there is padding.
    """

    photo: int
    row: int
    col: int
    value: float
    box: tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Survey(Cell):
    """What some photos show of a model; in a notebook, a living figure.

    Attributes:
        names: Of the photos.
        pictures: A JPEG of each photo as the model saw it.
        about: The `model`'s name, the `sha256` and the `source` of its weights, `weights`, which tells them
            from all others, `size` (height, width), `mode`, `lda`, the form of long distance attention,
            `group_size` and `interval`.
        files: Every file of the folder: how many were found, used and left out by the limit, and the reason
            for each that was skipped; of photos that came one by one, only those.
        fields: Effective receptive field of the central token of each stage, shares, float64
            (stages, H/4, W/4).
        offsets: By stage and block, the mean attention over offsets; empty without a position bias.
        kinds: By stage and block, "sda" or "lda".
        best: By stage and kernel, the strongest responses of each channel: `value` (C, K), and `photo`, `row`
            and `col` of the same shape; each photo counts once.
        tokens: By stage, the tokens of all photos, float16 (n, H, W, C); only of stages where they are few
            enough to keep.
    """

    title: ClassVar[str] = live.TITLE
    names: tuple[str, ...]
    pictures: tuple[bytes, ...]
    about: Mapping[str, Any]
    files: Mapping[str, Any]
    fields: np.ndarray
    offsets: Mapping[Block, ByOffset]
    kinds: Mapping[Block, str]
    best: Mapping[Kernel, Mapping[str, np.ndarray]]
    tokens: Mapping[int, np.ndarray]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def areas(self) -> list[float]:
        """The smallest share of the input that holds half of each stage's receptive field."""
        return [smallest_area(one) for one in self.fields]

    def is_of(self, model: CrossFormer) -> bool:
        """Whether this shows what the model does: the same variant, weights and groups."""
        return _shown_of(model).items() <= self.about.items()

    def strongest(self, stage: int, kernel: int, channel: int) -> list[Patch]:
        """The photos in which a channel of a CEL responds most strongly, strongest first.

        Args:
            stage: From 0: the stage that the CEL leads into.
            kernel: Which of its kernels, from 0.
            channel: Which of the kernel's channels, from 0.

        Raises:
            ValueError: If there is no such channel.
        """
        found = self.best.get((stage, kernel))
        if found is None or not 0 <= channel < len(found["value"]):
            known = ", ".join(f"{s}.{k} ({len(one['value'])})" for (s, k), one in self.best.items())
            raise ValueError(
                f"there is no channel {channel} of kernel {kernel} before stage {stage}; the kernels by "
                f"stage and number, and how many channels they have, are {known}"
            )
        rows = zip(*(found[name][channel].tolist() for name in ("photo", "row", "col", "value")), strict=True)
        side = CEL_KERNELS[stage][kernel]
        return [Patch(p, r, c, v, cel_box(stage, side, r, c)) for p, r, c, v in rows]

    def nearest(self, token: np.ndarray, stage: int) -> list[Place]:
        """The token of each photo that is most like a token of the same stage, the most similar photo first.

        Args:
            token: (C,).
            stage: From 0.

        Raises:
            ValueError: If the tokens of this stage were not kept, or have another number of channels.
        """
        if stage not in self.tokens:
            known = ", ".join(map(str, self.tokens)) or "none"
            raise ValueError(
                f"the tokens of stage {stage} were not kept; those of these stages were: {known}"
            )
        return nearest(token, list(self.tokens[stage]))

    def save(self, path: str | PathLike[str]) -> None:
        """Write everything as one .safetensors file, which holds numbers only; `open_survey` reads it."""
        arrays: dict[str, np.ndarray] = {"fields": self.fields}
        for (s, b), one in self.offsets.items():
            arrays[f"offsets.{s}.{b}.sums"], arrays[f"offsets.{s}.{b}.pairs"] = one.sums, one.pairs
        for (s, k), found in self.best.items():
            arrays |= {f"best.{s}.{k}.{name}": array for name, array in found.items()}
        arrays |= {f"tokens.{s}": array for s, array in self.tokens.items()}
        arrays["pictures"] = np.frombuffer(b"".join(self.pictures), np.uint8)
        facts = {
            "format": FORMAT, "names": self.names, "about": dict(self.about), "files": dict(self.files),
            "kinds": {f"{s}.{b}": kind for (s, b), kind in self.kinds.items()},
            "lengths": [len(one) for one in self.pictures],
        }  # fmt: skip
        plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        with replacing(path) as part:
            save_file(plain, part, metadata={ABOUT: json.dumps(facts)})

    def page(self, lang: str = "en") -> str:
        return live.html(figure(self, lang), lang, facts_of(self, lang))


def facts_of(found: Survey, lang: str) -> str:
    """Say of what a survey is, and which files it leaves out."""
    t = translator(lang)
    size = quantity(size_text(tuple(found.about["size"])), "px")
    lines = [unbroken(t("survey.facts", model=found.about["model"], n=len(found))) + f" {size}."]
    if left := found.files.get("not_chosen"):
        counts = {name: f"{found.files[name]:,}" for name in ("used", "files")}
        lines.append(t("survey.folder_left", **counts, left=f"{left:,}"))
    return together(*lines, left_out.sentence(found.files.get("skipped", {}), lang, left_out.LISTED))


def figure(found: Survey, lang: str, start: Mapping[str, Any] | None = None, name: str = "survey") -> bytes:
    """Return the message of the living figure of a survey.

    Args:
        found: The survey.
        lang: "en" or "zh-Hant".
        start: Where the figure begins, see `cfviz.figures.live.many.survey`.
        name: The figure's own name.
    """
    heads = [
        live.Heads(s, b, found.kinds[s, b], one.agreement, one.mean, one.alone)
        for (s, b), one in found.offsets.items()
    ]
    kernels = []
    for (s, k), best in found.best.items():
        side = CEL_KERNELS[s][k]
        top, left, bottom, _ = cel_box(s, side, 0, 0)
        step = cel_box(s, side, 1, 0)[0] - top
        kernels.append(live.Kernel(s, side, (step, top, left, bottom - top), best))
    return live.pack(
        list(zip(found.names, found.pictures, strict=True)), tuple(found.about["size"]), list(found.fields),
        found.areas, heads, kernels, strings=figure_words("survey", lang), start=start, name=name,
    )  # fmt: skip


# ---------------------------------------------------------------- measuring


def stages_to_keep(model: CrossFormer, size: Size, photos: int) -> tuple[int, ...]:
    """The stages whose tokens on so many photos are few enough to keep."""
    dims = model.embed_dim, *(model.embed_dim * 2**s for s in range(1, len(model.depths)))
    maps = map_sizes(*as_pair(size))
    return tuple(
        s for s, ((H, W), C) in enumerate(zip(maps, dims, strict=True)) if 2 * H * W * C * photos <= MOST
    )


def check_room(model: CrossFormer, size: Size) -> None:
    """Check that the attention of all blocks at this size is little enough to look into.

    Raises:
        ValueError: If it is not.
    """
    if attention_weights(model, *as_pair(size)) > ROOM:
        raise ValueError(
            f"at {size_text(size)} the attention of all blocks takes too much memory; choose a smaller size"
        )


def look_into(
    photo: Photo, name: str, model: CrossFormer, size: Size, mode: str = "crop", keep: Sequence[int] = ()
) -> Survey:
    """Measure one photo: a survey of one.

    Args:
        photo: The photo.
        name: What to call it.
        model: In eval mode.
        size: Side of the input in pixels, or (height, width).
        mode: How the photo is fitted to the input.
        keep: Stages whose tokens to keep.
    """
    biased = model.position_bias != "none"
    kernels = {(s, k): at for s in range(len(model.depths)) for k, at in enumerate(points(s))}
    outputs = point_names.stage_outputs(model.depths)
    heads = [point_names.attention(point=one) for one in ("probs", "bias")] if biased else []
    trace = inspect(photo, model, size, (*kernels.values(), *heads, *(outputs[s] for s in keep)), mode=mode)
    seen = prepare(photo, size, mode).tensor
    offsets, kinds = dict[Block, ByOffset](), dict[Block, str]()
    for s, blocks in enumerate(trace.groupings):
        for b, g in enumerate(blocks):
            kinds[s, b] = g.kind
            if biased:
                probs, bias = (trace[point_names.attention(s, b, one)] for one in ("probs", "bias"))
                offsets[s, b] = ByOffset(len(bias), g.Gh, g.Gw)
                offsets[s, b].add(probs, bias, g)
    assert trace.crop is not None  # `inspect` always keeps it
    return Survey(
        (name,), (_jpeg(trace.crop),),
        {
            **_shown_of(model, trace.weights), "sha256": trace.weights.sha256,
            "source": trace.weights.source, "size": list(trace.size), "mode": mode,
        },
        {"files": 1, "used": 1, "not_chosen": 0, "skipped": {}},
        np.stack([summed_over_squares(one, CELL) for one in stage_fields(model, seen)]),
        offsets, kinds, {at: _peaks(trace[point]) for at, point in kernels.items()},
        {s: trace[outputs[s]][None].astype(np.float16) for s in keep},
    )  # fmt: skip


def _shown_of(model: CrossFormer, told: Provenance | None = None) -> dict[str, Any]:
    """What must be the same in all that is put together: the variant, its weights and groups."""
    return {"model": name_of(model), "weights": weights_id(model, told), **model.group_settings}


def _jpeg(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.convert("RGB").save(out, "JPEG", quality=QUALITY, subsampling=0)
    return out.getvalue()


def _peaks(maps: np.ndarray) -> dict[str, np.ndarray]:
    """The largest response of each channel: maps (C, H, W) -> arrays (C, 1)."""
    flat = maps.reshape(len(maps), -1)
    at = flat.argmax(1)
    row, col = np.divmod(at, maps.shape[2])
    found = {"value": flat[np.arange(len(flat)), at], "photo": np.zeros(len(flat), np.int32)}
    found |= {"row": row.astype(np.int32), "col": col.astype(np.int32)}
    return {name: array[:, None] for name, array in found.items()}


def joined(several: Sequence[Survey]) -> Survey:
    """Make one survey of several, of one model at one size; each photo counts the same.

    Raises:
        ValueError: If there are none, or they are of different models, groups or sizes.
    """
    if not several:
        raise ValueError("there are no photos to look into")
    first = several[0]
    for one in several:
        if one.about != first.about:
            raise ValueError(f"surveys of {one.about} and of {first.about} cannot be joined")
    counts = [len(one) for one in several]
    begins = np.cumsum([0, *counts[:-1]])
    offsets = {at: one.copy() for at, one in first.offsets.items()}
    for other in several[1:]:
        for at, more in other.offsets.items():
            offsets[at].join(more)
    files: dict[str, Any] = {
        name: sum(one.files[name] for one in several) for name in ("files", "used", "not_chosen")
    }
    files["skipped"] = {name: why for one in several for name, why in one.files["skipped"].items()}
    return Survey(
        tuple(name for one in several for name in one.names),
        tuple(picture for one in several for picture in one.pictures),
        first.about, files,
        np.average([one.fields for one in several], 0, counts),
        offsets, first.kinds,
        {at: _best([one.best[at] for one in several], begins) for at in first.best},
        {s: np.concatenate([one.tokens[s] for one in several]) for s in first.tokens},
    )  # fmt: skip


def _best(several: Sequence[Mapping[str, np.ndarray]], begins: np.ndarray) -> dict[str, np.ndarray]:
    """The strongest responses of each channel among those of several surveys."""
    all_of = {name: np.concatenate([one[name] for one in several], 1) for name in ("value", "row", "col")}
    all_of["photo"] = np.concatenate(
        [one["photo"] + np.int32(begin) for one, begin in zip(several, begins, strict=True)], 1
    )
    order = np.argsort(-all_of["value"], 1, kind="stable")[:, :KEPT]
    return {name: np.take_along_axis(array, order, 1) for name, array in all_of.items()}


def survey_of(
    photos: Sequence[Any],
    model: str | CrossFormer = "crossformer_nano",
    size: Size | None = None,
    mode: str = "crop",
) -> Survey:
    """Look into photos that are at hand.

    Args:
        photos: Each as in `cfviz.inspect`.
        model: A variant whose weights come with cfviz, or a CrossFormer in eval mode.
        size: Side of the input in pixels, or (height, width); by default the model's own.
        mode: How the photos are fitted to the input.

    Raises:
        ValueError: If there are none, or a photo or the model cannot be used.
    """
    net, size = _ready(model, size)
    keep = stages_to_keep(net, size, len(photos))
    opened = (one if isinstance(one, Photo) else load_image(one) for one in photos)
    return joined(
        [look_into(one, one.name or f"{n}", net, size, mode, keep) for n, one in enumerate(opened, 1)]
    )


def survey(
    folder: str | PathLike[str],
    model: str | CrossFormer = "crossformer_nano",
    size: Size | None = None,
    mode: str = "crop",
    limit: int | None = LIMIT,
    run: str | PathLike[str] | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Survey:
    """Look into every photo of a folder, or into some of them, spread evenly over their names.

    Args:
        folder: Photos in it and in its subfolders.
        model: A variant whose weights come with cfviz, or a CrossFormer in eval mode.
        size: Side of the input in pixels, or (height, width); by default the model's own.
        mode: How the photos are fitted to the input.
        limit: At most so many photos; None for all.
        run: A new folder for what is done, so that a stopped survey can go on; it is removed at the end.
        tell: Called with how many of how many photos are done.

    Returns:
        The survey; `files` accounts for every file.

    Raises:
        ValueError: If the folder holds no photo that can be read, the model cannot be used, or `run` holds
            other files.

    Example:
        >>> found = survey("photos")
        >>> [f"{area:.1%}" for area in found.areas], found.files["skipped"]
    """
    net, size = _ready(model, size)
    photos = PhotoFolder(folder, flat=True)
    count = len(photos) if limit is None else min(limit, len(photos))
    chosen = np.linspace(0, len(photos) - 1, count).round().astype(int)
    keep = stages_to_keep(net, size, count)
    kept = None
    if run is not None:
        these = {"photos": identity(photos, chosen, times=True), "size": list(as_pair(size)), "mode": mode}
        kept = _kept_for(Path(run), _shown_of(net) | these)
    parts, bad = list[Survey](), list[int]()
    for first in range(0, count, PART):
        mine = chosen[first : first + PART]
        file = None if kept is None else kept / f"{first:0{DIGITS}}.safetensors"
        if file is not None and file.exists():
            part, left = _reopened(file)
        else:
            part, left = _part(photos, mine, net, size, mode, keep)
            if file is not None and part is not None:
                replace(part, files={**part.files, "left": left}).save(file)
        parts += [] if part is None else [part]
        bad += left
        tell(min(first + PART, count), count)
    files = account(photos, chosen, bad)
    if not parts:
        name, why = next(iter(files["skipped"].items()))
        raise ValueError(f"none of the photos of {shown(str(folder))} can be read; {name}: {why}")
    found = replace(joined(parts), files=files)
    if kept is not None:
        _remove(kept)
    return found


def _ready(model: str | CrossFormer, size: Size | None) -> tuple[CrossFormer, Size]:
    net = load(model) if isinstance(model, str) else model
    if not isinstance(net, CrossFormer):
        raise ValueError(f"the model is a {type(net).__name__}; expected a CrossFormer")
    check_eval(net)
    size = net.img_size if size is None else size
    check_room(net, size)
    return net, size


def _kept_for(run: Path, of: Mapping[str, Any]) -> Path:
    """The folder of what is done of one survey; what is left of another is removed, and nothing else.

    Raises:
        ValueError: If the folder holds other files.
    """
    mark, told = run / MARK, {ABOUT: of}
    before: Any = None
    with suppress(OSError, ValueError):
        before = json.loads(mark.read_text("utf-8"))
    ours = isinstance(before, dict) and ABOUT in before
    if not ours and run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise ValueError(f"{shown(str(run))} holds other files; name a new or an empty folder")
    if ours and before != told:
        _remove(run)
    run.mkdir(parents=True, exist_ok=True)
    mark.write_text(json.dumps(told), "utf-8")
    return run


def _remove(run: Path) -> None:
    """Remove what a survey wrote into a folder, and the folder if nothing else is in it."""
    for mine in (*run.glob(f"{'[0-9]' * DIGITS}.safetensors"), run / MARK):
        mine.unlink(missing_ok=True)
    with suppress(OSError):
        run.rmdir()


def _reopened(file: Path) -> tuple[Survey | None, list[int]]:
    part = open_survey(file)
    return replace(part, files={**part.files, "skipped": {}}), list(part.files["left"])


def _part(
    photos: PhotoFolder,
    chosen: Sequence[int] | np.ndarray,
    model: CrossFormer,
    size: Size,
    mode: str,
    keep: Sequence[int],
) -> tuple[Survey | None, list[int]]:
    """A survey of some photos of a folder, None if none can be read; and those that cannot."""
    found, left = list[Survey](), list[int]()
    for i in map(int, chosen):
        try:
            photo = load_image(photos.root / photos.names[i])
        except ImageError:
            left.append(i)
            continue
        found.append(look_into(photo, shown(photos.names[i]), model, size, mode, keep))
    return (joined(found) if found else None), left


# ---------------------------------------------------------------- files


def open_survey(path: str | PathLike[str]) -> Survey:
    """Open a file that `Survey.save` or `cfviz survey` wrote.

    Raises:
        ValueError: If it is no such file, or is damaged.
    """
    try:
        with safe_open(path, "numpy") as file:
            facts = json.loads((file.metadata() or {}).get(ABOUT, "null"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"{path} cannot be opened as a survey ({error})") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise ValueError(f"{path} holds no survey; `cfviz survey` makes a file of one")
    try:
        return _opened(facts, arrays)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _opened(facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Survey:
    names = tuple(map(str, facts["names"]))
    ends = np.cumsum([int(n) for n in facts["lengths"]])
    if len(ends) != len(names) or not len(names) or ends[-1] != len(arrays["pictures"]):
        raise ValueError("names and pictures do not belong together")
    raw = arrays["pictures"].tobytes()
    pictures = tuple(raw[begin:end] for begin, end in zip((0, *ends[:-1]), ends, strict=True))
    kinds = {_pair(at): str(kind) for at, kind in facts["kinds"].items()}
    offsets = {
        (s, b): ByOffset.of(arrays[f"offsets.{s}.{b}.sums"], arrays[f"offsets.{s}.{b}.pairs"])
        for s, b in kinds
        if f"offsets.{s}.{b}.sums" in arrays
    }
    best: dict[Kernel, dict[str, np.ndarray]] = {}
    for s, kernels in enumerate(CEL_KERNELS):
        for k in range(len(kernels)):
            best[s, k] = {name: arrays[f"best.{s}.{k}.{name}"] for name in ("value", "photo", "row", "col")}
            shapes = {one.shape for one in best[s, k].values()}
            photo = best[s, k]["photo"]
            if len(shapes) > 1 or photo.ndim != 2 or not ((photo >= 0) & (photo < len(names))).all():
                raise ValueError(f"the patches of kernel {k} before stage {s} do not fit")
    about, fields = dict(facts["about"]), arrays["fields"]
    H, W = as_pair(tuple(about["size"]))
    if fields.shape[1:] != (H // CELL, W // CELL):
        raise ValueError(f"the receptive fields are {fields.shape}")
    tokens = {s: arrays[f"tokens.{s}"] for s in range(len(CEL_KERNELS)) if f"tokens.{s}" in arrays}
    if any(one.ndim != 4 or len(one) != len(names) for one in tokens.values()):
        raise ValueError("the tokens do not fit")
    return Survey(names, pictures, about, dict(facts["files"]), fields, offsets, kinds, best, tokens)


def _pair(text: str) -> Block:
    stage, block = text.split(".")
    return int(stage), int(block)
