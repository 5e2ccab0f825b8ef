"""Photos decoded once: a folder of classes becomes one memory-mapped array of uint8 pixels.

Decoding a WebP takes longer than a training step spends on it, so an epoch from files is bound by the
decoder. The cache holds every photo at its own shape in one flat file, outside the repository, and a small
index beside it.
"""

import hashlib
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

SUFFIXES = {".webp", ".jpg", ".jpeg", ".png", ".bmp"}


def list_photos(folder: str | Path) -> tuple[list[str], list[str], np.ndarray]:
    """Lists an ImageFolder in a fixed order.

    Returns:
        The class folders' names, the photos' paths relative to ``folder``, and each photo's class (n,) int64.

    Raises:
        ValueError: if there is no class folder, or no photo in any of them.
    """
    root = Path(folder)
    classes = sorted(entry.name for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else []
    names, labels = [], []
    for label, name in enumerate(classes):
        for path in sorted((root / name).iterdir()):
            if path.suffix.lower() in SUFFIXES:
                names.append(f"{name}/{path.name}")
                labels.append(label)
    if not names:
        raise ValueError(f"{root} holds no photos; expected one folder a class, each with photos in it")
    return classes, names, np.asarray(labels, dtype=np.int64)


def held_out(names: list[str], share: float, salt: str = "cfviz") -> np.ndarray:
    """Which photos are kept from training, decided by their names alone, so that no seed can move one.

    Args:
        names: paths relative to the data folder.
        share: between 0 and 1, the share to keep out.

    Returns:
        (n,) bool, True for a photo that is not trained on.
    """
    if not 0 <= share < 1:
        raise ValueError(f"got a held-out share of {share}, expected 0 <= share < 1")
    digests = [hashlib.sha256(f"{salt}/{name}".encode()).digest() for name in names]
    return np.asarray([int.from_bytes(digest[:4], "big") / 2**32 < share for digest in digests])


def _decode(root: str, short_side: int, name: str) -> np.ndarray:
    with Image.open(Path(root) / name) as file:
        photo = file.convert("RGB")
        scale = short_side / min(photo.size)
        if scale < 1:
            W, H = (max(round(side * scale), short_side) for side in photo.size)
            photo = photo.resize((W, H), Image.Resampling.BICUBIC)
        return np.asarray(photo)


def build(folder: str | Path, out: str | Path, short_side: int = 192, workers: int = 2) -> "PhotoCache":
    """Decodes a folder into ``out``.bin and ``out``.json and opens it; an existing cache is only opened.

    Args:
        folder: an ImageFolder.
        out: path without suffix.
        short_side: larger photos are reduced to it, smaller ones stay as they are.
        workers: processes that decode.
    """
    out = Path(out)
    index = out.with_suffix(".json")
    if index.exists():
        return PhotoCache.open(out)
    classes, names, labels = list_photos(folder)
    shapes = []
    out.parent.mkdir(parents=True, exist_ok=True)
    partial_file = out.with_suffix(".bin.part")
    with partial_file.open("wb") as file, ProcessPoolExecutor(workers) as pool:
        for photo in pool.map(partial(_decode, str(folder), short_side), names, chunksize=64):
            file.write(photo.tobytes())
            shapes.append(photo.shape[:2])
    partial_file.replace(out.with_suffix(".bin"))
    index.write_text(
        json.dumps({"classes": classes, "names": names, "labels": labels.tolist(), "shapes": shapes})
    )
    return PhotoCache.open(out)


@dataclass(frozen=True)
class PhotoCache:
    """Decoded photos: ``cache[i]`` is a read-only (H, W, 3) uint8 view of photo i.

    Attributes:
        classes: class folders' names, sorted.
        names: each photo's path relative to the folder it came from.
        labels: (n,) int64.
        shapes: (n, 2) height and width in pixels.
    """

    classes: list[str]
    names: list[str]
    labels: np.ndarray
    shapes: np.ndarray
    offsets: np.ndarray
    pixels: np.ndarray

    @classmethod
    def open(cls, path: str | Path) -> "PhotoCache":
        """Opens what ``build`` wrote.

        Raises:
            ValueError: if the two files do not belong together.
        """
        path = Path(path)
        index = json.loads(path.with_suffix(".json").read_text())
        shapes = np.asarray(index["shapes"], dtype=np.int64)
        ends = np.cumsum(shapes.prod(axis=1) * 3)
        pixels = np.memmap(path.with_suffix(".bin"), dtype=np.uint8, mode="r")
        if len(pixels) != ends[-1]:
            raise ValueError(
                f"{path}.bin holds {len(pixels)} bytes, its index expects {ends[-1]}; rebuild it"
            )
        labels = np.asarray(index["labels"], dtype=np.int64)
        offsets = np.concatenate([[0], ends])
        return cls(index["classes"], index["names"], labels, shapes, offsets, pixels)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> np.ndarray:
        H, W = self.shapes[i]
        return self.pixels[self.offsets[i] : self.offsets[i + 1]].reshape(H, W, 3)
