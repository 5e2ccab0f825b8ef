"""A cache of scenes: the backbone's maps of each and the labels, computed once.

The backbone does not learn, so its maps of a scene never change; from the cache an epoch costs the heads
alone. The cache consists of parts of a few hundred scenes, each written when it is whole, so that a stopped
run goes on at the next part.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cfviz.data.labels import dataset_of_folders
from cfviz.data.scenes import SIDE, Scene, compose, draw
from cfviz.jobs import replacing, write
from cfviz.models.dense.model import DenseModel
from cfviz.models.dense.pipeline import MEAN, STD
from cfviz.training.data import Photos

PART = 500  # scenes in one part
AT_ONCE = 20  # scenes in one forward pass
FORMAT = 1


def check_classes(photos: Photos) -> None:
    """Refuse photos of other classes: a scene's labels are the positions of the class folders.

    Raises:
        ValueError: If the class folders are not imagenette20's.
    """
    if dataset_of_folders(photos.classes) != "imagenette20":
        told = ", ".join(photos.classes[:3]) + (", ..." if len(photos.classes) > 3 else "")
        raise ValueError(
            f"the photos are in {len(photos.classes)} class folders ({told}); expected imagenette20's 20, "
            "whose names begin with n01440764 to n03888257"
        )


def scene_of(photos: Photos, indices: np.ndarray, seed: int, side: int = SIDE) -> Scene:
    """Compose a scene of photos of a folder.

    Args:
        photos: A folder or a cache.
        indices: The photos that may be used.
        seed: Chooses photos, shapes and places.
        side: Height and width in pixels.
    """
    chosen = indices[draw(photos.labels[indices], seed)]
    return compose([(np.asarray(photos[int(i)]), int(photos.labels[i])) for i in chosen], seed, side)


def batch_of(images: Sequence[np.ndarray]) -> torch.Tensor:
    """Normalise images as the pipeline of detectors and segmenters does: (B, 3, H, W) float32."""
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


@dataclass(frozen=True, eq=False)
class SceneCache:
    """Scenes with their maps.

    Attributes:
        folder: Where the parts are.
        shapes: (C, H, W) of each map.
        features: Per part, (n, all values of the maps) float16, read from the disk when needed.
        label_maps: Per part, (n, side, side) uint8.
        boxes, labels: Per scene, (n, 4) float32 and (n,) int64.
    """

    folder: Path
    shapes: list[tuple[int, int, int]]
    features: list[np.ndarray]
    label_maps: list[np.ndarray]
    boxes: list[np.ndarray]
    labels: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def side(self) -> int:
        """Height and width of a scene in pixels."""
        return int(self.label_maps[0].shape[-1])

    def maps(self, chosen: Sequence[int]) -> list[torch.Tensor]:
        """Return the backbone's maps of scenes, each (B, C, H, W) float32."""
        flat = np.stack([self.features[i // PART][i % PART] for i in chosen])
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        parts = torch.from_numpy(flat).float().split(sizes, 1)
        return [part.reshape(-1, *shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def label_map(self, chosen: Sequence[int]) -> torch.Tensor:
        """Return the classes of all pixels of scenes, (B, side, side) int64."""
        return torch.from_numpy(np.stack([self.label_maps[i // PART][i % PART] for i in chosen])).long()

    def targets(self, chosen: Sequence[int]) -> list[dict[str, torch.Tensor]]:
        """Return boxes and labels of scenes, in the form of torchvision's detectors."""
        return [
            {"boxes": torch.from_numpy(self.boxes[i]), "labels": torch.from_numpy(self.labels[i])}
            for i in chosen
        ]


def cached(
    folder: Path,
    model: DenseModel,
    photos: Photos,
    indices: np.ndarray,
    seeds: range,
    side: int,
    about: dict[str, Any],
    tell: Callable[[str], None] = lambda line: None,
) -> SceneCache:
    """Compute what is missing of a cache, and open it.

    Args:
        folder: Where the cache is, or is to be.
        model: Its backbone makes the maps.
        photos: A folder or a cache.
        indices: The photos that may be used.
        seeds: One for each scene; the last part is filled with the seeds that follow.
        side: Height and width of a scene in pixels.
        about: What the maps depend on besides; a cache with another record is refused.
        tell: Called with a line of progress now and then.

    Raises:
        ValueError: If the cache in the folder is of other photos, scenes or weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = {"format": FORMAT, "first": seeds.start, "side": side, **about}
    record = folder / "about.json"
    if record.exists() and json.loads(record.read_text("utf-8")) != json.loads(json.dumps(key)):
        raise ValueError(f"{folder} holds other scenes, or those of another backbone; name another cache")
    write(record, key)
    total = len(seeds)
    for part, first in enumerate(range(0, total, PART)):
        if not _file(folder, part, "boxes.npz").exists():
            begin = seeds.start + first
            _compute(folder, part, model, photos, indices, range(begin, begin + PART), side)
            tell(f"{min(first + PART, total)} of {total} scenes")
    return _opened(folder, model, -(-total // PART), total, side)


def _file(folder: Path, part: int, name: str) -> Path:
    return folder / f"{part:03}-{name}"


@torch.inference_mode()
def _compute(
    folder: Path, part: int, model: DenseModel, photos: Photos, indices: np.ndarray, seeds: range, side: int
) -> None:
    """Write one part; the boxes come last, and say that it is whole."""
    maps, labelled, boxes, labels = [], [], [], []
    for scenes in _batches(photos, indices, seeds, side):
        x = batch_of([scene.image for scene in scenes])
        with torch.autocast("cpu", torch.bfloat16):
            found = model.features(x)
        maps.append(torch.cat([one.float().flatten(1) for one in found], 1).half().numpy())
        for scene in scenes:
            labelled.append(scene.label_map(len(np.unique(photos.labels))).astype(np.uint8))
            boxes.append(scene.boxes)
            labels.append(scene.labels)
    counts = np.array([len(one) for one in labels])
    every = np.concatenate(boxes), np.concatenate(labels)
    for name, array in (("maps.npy", np.concatenate(maps)), ("labels.npy", np.stack(labelled))):
        with replacing(_file(folder, part, name)) as path, path.open("wb") as file:
            np.save(file, array)
    with replacing(_file(folder, part, "boxes.npz")) as path, path.open("wb") as file:
        np.savez(file, boxes=every[0], labels=every[1], counts=counts)


def _batches(photos: Photos, indices: np.ndarray, seeds: range, side: int) -> Iterator[list[Scene]]:
    for start in range(0, len(seeds), AT_ONCE):
        yield [scene_of(photos, indices, seed, side) for seed in seeds[start : start + AT_ONCE]]


@torch.inference_mode()
def _opened(folder: Path, model: DenseModel, parts: int, total: int, side: int) -> SceneCache:
    shapes = [(x.shape[1], x.shape[2], x.shape[3]) for x in model.features(torch.zeros(1, 3, side, side))]
    boxes: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for part in range(parts):
        with np.load(_file(folder, part, "boxes.npz")) as held:
            ends = np.cumsum(held["counts"])[:-1]
            boxes += np.split(held["boxes"], ends)
            labels += np.split(held["labels"], ends)
    features, maps = (
        [np.load(_file(folder, part, name), mmap_mode="r") for part in range(parts)]
        for name in ("maps.npy", "labels.npy")
    )
    return SceneCache(folder, shapes, features, maps, boxes[:total], labels[:total])
