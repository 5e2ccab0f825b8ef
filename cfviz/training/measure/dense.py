"""Measure detectors on folders in COCO's format and segmenters on folders in ADE20K's, photo by photo.

What was found in each photo is kept in a file of JSON lines, so a stopped measurement goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.utils import gather_object
from PIL import Image
from torch.utils.data import Dataset

from cfviz.data.coco import as_results
from cfviz.data.decode import load_image
from cfviz.data.labels import coco_ids, labels
from cfviz.models.crossformer.origin import weights_id
from cfviz.models.dense.model import DenseModel, Detector, Segmenter
from cfviz.models.dense.pipeline import Fitted, find_in, fit, fit_scales, label_in
from cfviz.models.dense.variants import DENSE, ONE_SCALE, SIX_SCALES
from cfviz.training.data import loader

IGNORED = -1  # a pixel that no class of ADE20K holds
PHOTOS = (".jpg", ".jpeg", ".png")
MEASURES = {
    "detect": ("box_ap", "mask_ap"),
    "segment": ("miou",),
}
OBJECT = {"id", "image_id", "category_id", "bbox", "area", "iscrowd"}  # what pycocotools reads of an object
TITLES = {"box_ap": "box AP", "mask_ap": "mask AP", "miou": "mIoU"}


@dataclass(frozen=True)
class Item:
    """A photo to measure on.

    Attributes:
        key: What it is called in the record.
        photo: Its file.
        truth: The image's number in COCO's annotations, or the file of its label map.
    """

    key: str
    photo: Path
    truth: Any


# ---------------------------------------------------------------- what is in a folder


def coco_folder(folder: str) -> tuple[Path, list[Item]]:
    """Return the annotations and the photos of a folder in COCO's format.

    It holds `annotations/instances_NAME.json` and the photos in `NAME/`; `instances_val2017.json` is used if
    there are several.

    Raises:
        ValueError: If something is missing, or it is unclear which annotations are meant.
    """
    there = sorted(Path(folder, "annotations").glob("instances_*.json"))
    usual = [path for path in there if path.stem == "instances_val2017"]
    if not there:
        raise ValueError(f"{folder} is not in COCO's format: it has no annotations/instances_*.json")
    if len(there) > 1 and not usual:
        names = ", ".join(path.name for path in there)
        raise ValueError(f"{folder} has several annotations ({names}); leave one of them in the folder")
    path = (usual or there)[0]
    photos = Path(folder, path.stem.removeprefix("instances_"))
    try:
        images = json.loads(path.read_text("utf-8"))["images"]
        items = [Item(str(i["id"]), photos / i["file_name"], int(i["id"])) for i in images]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(
            f"{path} is not in COCO's format: it lists no images with id and file_name"
        ) from None
    return path, _each_once(_present(items, folder), f"{path} gives one id to")


def ade_folder(folder: str) -> list[Item]:
    """Return the photos and label maps of a folder in ADE20K's format.

    It holds `images/validation/NAME.jpg` and `annotations/validation/NAME.png`; a value of a label map is the
    number of a class from 1, and 0 is none.

    Raises:
        ValueError: If something is missing.
    """
    photos, maps = (Path(folder, kind, "validation") for kind in ("images", "annotations"))
    found = sorted(path for path in photos.glob("*") if path.suffix.lower() in PHOTOS)
    if not found:
        raise ValueError(f"{folder} is not in ADE20K's format: there are no photos in {photos}")
    items = [Item(path.stem, path, maps / f"{path.stem}.png") for path in found]
    lacking = [item.truth for item in items if not item.truth.is_file()]
    if lacking:
        raise ValueError(f"{len(lacking)} of {len(items)} photos have no label map: {lacking[0]} is missing")
    return _each_once(items, "one label map would count for")


def _present(items: list[Item], folder: str) -> list[Item]:
    lacking = [item.photo for item in items if not item.photo.is_file()]
    if lacking or not items:
        missing = (
            f"{len(lacking)} of {len(items)} photos are missing, such as {lacking[0]}" if lacking else ""
        )
        raise ValueError(missing or f"{folder} has annotations of no photos")
    return items


def _each_once(items: list[Item], why: str) -> list[Item]:
    """Refuse two photos with one key: the second would count as the first."""
    seen: dict[str, Path] = {}
    for item in items:
        if item.key in seen:
            raise ValueError(f"{why} {seen[item.key]} and {item.photo}; leave one of them")
        seen[item.key] = item.photo
    return items


def opened(photo: Path) -> Image.Image:
    """Open a photo.

    Raises:
        ValueError: If it cannot be opened, with its name.
    """
    try:
        return load_image(str(photo)).image
    except (ValueError, OSError) as error:
        raise ValueError(f"{photo}: {error}") from error


# ---------------------------------------------------------------- one photo after the other


@dataclass(frozen=True)
class Run:
    """How photos are measured.

    Attributes:
        record: A file of JSON lines that keeps what was found in each photo; the first line tells what was
            measured. None keeps nothing.
        processes: Shares the photos among processes; each of them gets all results.
        workers: Extra processes, for each of these, that read and prepare photos.
    """

    record: Path | None = None
    processes: Accelerator = field(default_factory=lambda: Accelerator(cpu=True))
    workers: int = 0

    @property
    def speaks(self) -> bool:
        """Whether this process prints progress and the result."""
        return bool(self.processes.is_main_process)


class _Prepared(Dataset):
    """Photos ready for a model; a sentence in place of one that cannot be opened, so that it stays one."""

    def __init__(self, items: Sequence[Item], prepare: Callable[[Image.Image], Any]) -> None:
        self.items, self.prepare = items, prepare

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, n: int) -> Any:
        try:
            return self.prepare(opened(self.items[n].photo))
        except ValueError as error:
            return str(error)


def _as_it_is(one: Any) -> Any:
    return one


def recorded(
    run: Run,
    about: dict[str, Any],
    items: Sequence[Item],
    prepare: Callable[[Image.Image], Any],
    measure: Callable[[Item, Any], Any],
) -> dict[str, Any]:
    """Measure each photo, or take what the record knows of it; processes share the photos.

    Args:
        run: The record, the processes, and the workers.
        about: What is measured: model, weights, data, sides.
        items: The photos.
        prepare: Takes a photo and returns the model's input.
        measure: Takes an item and the input; returns what JSON can hold.

    Returns:
        The results by key, in every process.

    Raises:
        ValueError: If the record is one of something else, or a photo cannot be opened.
    """
    known = _read(run, about) if run.record else {}
    todo = [item for item in items if item.key not in known]
    world, rank = run.processes.num_processes, run.processes.process_index
    mine, results = todo[rank::world], {}
    inputs = loader(_Prepared(mine, prepare), run.workers, batch_size=None, collate_fn=_as_it_is)
    for done, (item, given) in enumerate(zip(mine, inputs, strict=True)):
        if isinstance(given, str):
            raise ValueError(given)
        results[item.key] = measure(item, given)
        if run.record:
            line = json.dumps({"key": item.key, "result": results[item.key]}) + "\n"
            with run.record.open(
                "ab", buffering=0
            ) as file:  # one write: lines of several processes stay whole
                file.write(line.encode())
        if run.speaks and (done % 50 == 0 or done == len(mine) - 1):
            seen = len(items) - len(todo) + min(len(todo), (done + 1) * world)
            print(f"{seen} of {len(items)} photos", file=sys.stderr, flush=True)
    for part in gather_object([results]) if world > 1 else [results]:
        known |= part
    return {item.key: known[item.key] for item in items}


def _read(run: Run, about: dict[str, Any]) -> dict[str, Any]:
    """Return the results in a record; begin one if there is none. A line cut off at the end is dropped.

    All processes read before one of them writes, so that all know the same photos.
    """
    record, first = run.record, json.dumps(about) + "\n"
    assert record is not None  # asked by the caller
    text = record.read_text("utf-8", "replace") if record.exists() else ""
    whole = text[: text.rfind("\n") + 1] if text else first
    lines = [_parsed(line) for line in whole.splitlines()]
    if not lines or lines[0] != json.loads(first):
        raise ValueError(
            f"{record} is the record of another measurement, or of files that have changed since; "
            "name another file"
        )
    run.processes.wait_for_everyone()
    if whole != text and run.speaks:
        record.write_text(whole, "utf-8")
    run.processes.wait_for_everyone()
    return {line["key"]: line["result"] for line in lines[1:] if isinstance(line, dict) and "key" in line}


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


# ---------------------------------------------------------------- detectors


def measure_detector(
    model: Detector, folder: str, run: Run, limit: int | None = None
) -> dict[str, Any] | None:
    """Measure the average precision of boxes, and of masks if the model draws some, with pycocotools.

    Returns:
        The result in the process that prints it, None in all others.

    Raises:
        ValueError: If pycocotools is not installed, or the folder or its categories do not fit.
    """
    masks = model.kind == "mask_rcnn"
    if find_spec("pycocotools") is None:
        raise ValueError("pycocotools is not installed: pip install pycocotools")
    path, items = coco_folder(folder)
    annotations = json.loads(path.read_text("utf-8"))
    categories = _categories(path, annotations, model)
    _check_objects(path, annotations, masks)
    told = about(model, path, fingerprint(items, path))
    items = items[:limit]
    sizes = {int(i["id"]): (i.get("height"), i.get("width")) for i in annotations["images"]}

    def one(item: Item, fitted: Fitted) -> list[dict[str, Any]]:
        _check_size(item, fitted.photo, sizes[item.truth], path)
        found = find_in(model, fitted)
        mask = None if found.mask_logits is None else found.mask
        return as_results(item.truth, found.boxes, found.scores, found.labels, mask, categories)

    prepare = partial(fit, task="detect", sides=model.sides)
    results = recorded(run, told, items, prepare, one)
    if not run.speaks:
        return None
    found = [detection for part in results.values() for detection in part]
    measured = average_precision(path, [item.truth for item in items], found, masks)
    return result_of(model, path, len(items), measured)


def _check_size(item: Item, photo: tuple[int, int], said: tuple[Any, Any], path: Path) -> None:
    """Refuse a photo of another size than its annotations are for: no box would be where the thing is.

    Raises:
        ValueError: If it is; annotations that state no size are taken as they are.
    """
    if None not in said and tuple(said) != photo:
        raise ValueError(
            f"{item.photo} has {photo[0]} x {photo[1]} pixels (height x width), and {path.name} is for "
            f"{said[0]} x {said[1]}; expected the photos that were annotated"
        )


def _categories(path: Path, annotations: dict[str, Any], model: DenseModel) -> list[int]:
    """Return the category id of each of a model's classes: COCO's own if the names are COCO's, or by name.

    Raises:
        ValueError: If the categories are not listed, or one is listed twice or unknown to the model.
    """
    listed = annotations.get("categories")
    if not isinstance(listed, list) or not listed or not all(map(_is_category, listed)):
        raise ValueError(f"{path} is not in COCO's format: it lists no categories with id and name")
    named = {one["name"]: one["id"] for one in listed}
    if len(named) < len(listed) or len(set(named.values())) < len(listed):
        raise ValueError(f"{path} lists two categories with one name or one id")
    names, official = model.provenance.classes, {}
    if model.provenance.dataset == "coco":
        names, official = names or tuple(labels("coco")), dict(zip(coco_ids(), labels("coco"), strict=True))
    if all(official.get(number) == name for name, number in named.items()):
        return coco_ids()
    if strange := [name for name in named if name not in (names or ())]:
        more = ", ..." if len(strange) > 5 else ""
        raise ValueError(
            f"{path} has categories that the model does not know: {', '.join(strange[:5])}{more}"
        )
    spare = max(named.values()) + 1
    return [named.get(name, spare + i) for i, name in enumerate(names or ())]


def _is_category(one: Any) -> bool:
    return isinstance(one, dict) and type(one.get("id")) is int and isinstance(one.get("name"), str)


def _check_objects(path: Path, annotations: dict[str, Any], masks: bool) -> None:
    """Refuse objects that pycocotools would stumble over, or leave out without a word.

    Raises:
        ValueError: If there is no list of objects, or one lacks something or is of no listed category.
    """
    listed = {one["id"] for one in annotations["categories"]}
    needed = OBJECT | ({"segmentation"} if masks else set())
    objects = annotations.get("annotations")
    if not isinstance(objects, list) or not all(isinstance(one, dict) for one in objects):
        raise ValueError(f"{path} is not in COCO's format: it lists no annotations")
    for number, one in enumerate(objects, 1):
        if lacking := sorted(needed - one.keys()):
            raise ValueError(f"{path}: annotation {number} of {len(objects)} has no {lacking[0]}")
        if type(one["category_id"]) is not int or one["category_id"] not in listed:
            raise ValueError(
                f"{path}: annotation {number} of {len(objects)} is of category {one['category_id']!r}, "
                "which is not listed"
            )


def average_precision(
    path: Path, images: list[int], found: list[dict[str, Any]], masks: bool
) -> dict[str, float | None]:
    """Return COCO's average precision in per cent, by `box_ap`, `box_ap50`, ... and `mask_ap`, ...

    A figure is None if no object has the size that it is of.

    Args:
        path: The annotations.
        images: Numbers of the images that were looked at.
        found: Detections of all of them, in COCO's result format.
        masks: Whether to evaluate masks, too.
    """
    from contextlib import redirect_stdout
    from io import StringIO

    from pycocotools.coco import COCO  # an optional package
    from pycocotools.cocoeval import COCOeval

    measured: dict[str, float | None] = {}
    with redirect_stdout(StringIO()):  # it prints as it goes
        truth = COCO(str(path))
        told = detections(truth, found)
        for kind, name in (("bbox", "box"), ("segm", "mask")) if masks else (("bbox", "box"),):
            names = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
            run = COCOeval(truth, told, kind)
            run.params.imgIds = images
            run.evaluate()
            run.accumulate()
            run.summarize()
            figures = (None if np.isnan(value) else value for value in per_cent(run.stats[: len(names)]))
            measured |= {f"{name}_{key}": value for key, value in zip(names, figures, strict=True)}
    return measured


def detections(truth: Any, found: list[dict[str, Any]]) -> Any:
    """Return detections as pycocotools wants them; its own `loadRes` cannot take an empty list."""
    if found:
        return truth.loadRes(found)
    none = type(truth)()
    none.dataset = {**truth.dataset, "annotations": []}
    none.createIndex()
    return none


def per_cent(stats: Iterable[float]) -> list[float]:
    """Return figures of pycocotools in per cent; NaN in place of its -1, "there is no such object"."""
    return [100 * float(value) if value >= 0 else float("nan") for value in stats]


# ---------------------------------------------------------------- segmenters


def measure_segmenter(
    model: Segmenter, folder: str, run: Run, limit: int | None = None, scales: Sequence[float] = ONE_SCALE
) -> dict[str, Any] | None:
    """Measure the mean intersection over union, over all pixels of all photos.

    Args:
        model: The segmenter.
        folder: In ADE20K's format.
        run: The record, the processes, and the workers.
        limit: Use at most so many photos.
        scales: As in `label`.

    Returns:
        The result in the process that prints it, None in all others.

    Raises:
        ValueError: If the folder or a label map does not fit.
    """
    items = ade_folder(folder)
    told = {**about(model, Path(folder), fingerprint(items)), "scales": list(scales)}
    items = items[:limit]

    def one(item: Item, fitted: list[Fitted]) -> list[list[int]]:
        found = label_in(model, fitted)
        return areas(found, read_labels(item.truth, found.shape, model.num_classes), model.num_classes)

    prepare = partial(fit_scales, sides=model.sides, scales=scales)
    results = recorded(run, told, items, prepare, one)
    if not run.speaks:
        return None
    measured = mean_iou(results.values(), model.num_classes)
    return result_of(model, Path(folder), len(items), measured, scales)


def read_labels(path: Path, shape: tuple[int, ...], num_classes: int) -> np.ndarray:
    """Read a label map of ADE20K: (H, W) int64, classes from 0, `IGNORED` where there is none.

    Raises:
        ValueError: If it cannot be read, has another size than the photo, or classes that the model lacks.
    """
    try:
        with Image.open(path) as image:
            labels = np.array(image).astype(np.int64)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} could not be read: {error}") from None
    if labels.shape != shape:
        raise ValueError(f"{path} is {labels.shape}, its photo {shape}; expected a label for each pixel")
    if labels.max(initial=0) > num_classes:
        raise ValueError(f"{path} has class {labels.max()}, but the model has {num_classes}")
    return labels - 1


def areas(found: np.ndarray, truth: np.ndarray, num_classes: int) -> list[list[int]]:
    """Return, for each class that occurs, its number and the pixels right, found and true."""
    counted = truth != IGNORED
    found, truth = found[counted], truth[counted]
    counts = [np.bincount(part, minlength=num_classes) for part in (found[found == truth], found, truth)]
    rows = np.stack([np.arange(num_classes), *counts], 1)
    return rows[(rows[:, 2] > 0) | (rows[:, 3] > 0)].tolist()


def mean_iou(photos: Iterable[list[list[int]]], num_classes: int) -> dict[str, Any]:
    """Return `miou` and `pixel_accuracy` in per cent, and `iou` of each class.

    A class that never occurs has None; the other two are None if no pixel has a class.
    """
    total = np.zeros((num_classes, 3), np.int64)
    for rows in photos:
        for k, *counts in rows:
            total[k] += counts
    right, found, true = total.T
    union = found + true - right
    iou = [100 * float(r / u) if u else None for r, u in zip(right, union, strict=True)]
    there = [value for value in iou if value is not None]
    if not true.sum():
        return {"miou": None, "pixel_accuracy": None, "iou": iou}
    accuracy = 100 * float(right.sum() / true.sum())
    return {"miou": float(np.mean(there)), "pixel_accuracy": accuracy, "iou": iou}


# ---------------------------------------------------------------- the result


def fingerprint(items: Sequence[Item], annotations: Path | None = None) -> str:
    """Return a SHA-256 that changes with the annotations, a photo or a label map.

    The annotations are read; of the other files, name, size and time of the last change are taken.
    """
    whole = hashlib.sha256(annotations.read_bytes() if annotations else b"")
    for item in items:
        for file in (item.photo, item.truth) if isinstance(item.truth, Path) else (item.photo,):
            told = file.stat()
            line = f"{item.key}\0{file.name}\0{told.st_size}\0{told.st_mtime_ns}\n"
            whole.update(line.encode(errors="surrogateescape"))
    return whole.hexdigest()


def about(model: DenseModel, data: Path, files: str) -> dict[str, Any]:
    """Return what a record is of; `files` is their `fingerprint`."""
    return {
        "model": model.pretrained_cfg["architecture"],
        "weights": weights_id(model),
        **getattr(model.backbone, "group_settings", {}),
        "data": str(data.resolve()),
        "files": files,
        "sides": list(model.sides),
    }


def result_of(
    model: DenseModel,
    data: Path,
    photos: int,
    measured: dict[str, Any],
    scales: Sequence[float] = ONE_SCALE,
) -> dict[str, Any]:
    """Return what was measured, with the figures that were published for the same scales beside it."""
    name = model.pretrained_cfg["architecture"]
    known = DENSE[name].published
    names = {key: key if tuple(scales) == ONE_SCALE else f"{key}_multi_scale" for key in MEASURES[model.task]}
    if tuple(scales) not in (ONE_SCALE, SIX_SCALES):
        names = {}
    return {
        "model": name,
        "weights": model.provenance.source,
        "data": str(data),
        "photos": photos,
        "measured": measured,
        "published": {key: known[name] for key, name in names.items() if name in known},
        "scales": list(scales),
    }


def table(result: dict[str, Any]) -> str:
    """Return the measured and the published figures as text."""
    return "\n".join(_lines(result))


def _lines(result: dict[str, Any]) -> Iterator[str]:
    told = f"weights from {result['weights']}, {result['photos']} photos of {result['data']}"
    scales = result["scales"]
    at = "" if len(scales) == 1 else f", at the scales {', '.join(f'{scale:g}' for scale in scales)}"
    yield f"{result['model']}, {told}{at}"
    yield f"{'':16}{'measured':>10}{'published':>11}"
    for key, value in result["measured"].items():
        if not isinstance(value, list):
            title = TITLES.get(key, key.replace("_", " ").replace(" ap", " AP"))
            published = f"{result['published'][key]:.1f}" if key in result["published"] else ""
            figure = "–" if value is None else f"{value:.1f}"
            yield f"{title:16}{figure:>10}{published:>11}".rstrip()
    data = (
        "COCO val2017 (5,000 photos)"
        if "box_ap" in result["measured"]
        else "ADE20K's 2,000 validation photos"
    )
    if result["published"]:
        count = "one scale" if len(scales) == 1 else f"{len(scales)} scales"
        yield f"Published: by the authors, for their own weights, on {data}, at {count}."
