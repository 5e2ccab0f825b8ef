"""A cache of decoded photos: a folder of classes becomes one memory-mapped array of uint8 pixels.

Decoding a WebP takes longer than training on it, so an epoch read from files is limited by the decoder.
The cache holds every photo, at its own shape, in one flat file outside the repository; an index beside it
records which photos it was built from, and how.
"""

import hashlib
import json
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from cfviz.data.decode import load_pixels
from cfviz.data.header import ImageError
from cfviz.jobs import replacing

from .folder import PhotoFolder, identity, shown

EVERY = 15  # seconds between lines of progress
FORMAT = 2  # of the index; 1 did not record what the cache was built from


def held_out(names: list[str], share: float, salt: str = "cfviz") -> np.ndarray:
    """Mark the photos held out of training. Only their names decide, so no seed can change the split.

    Args:
        names: Paths relative to the data folder.
        share: The share to hold out: at least 0, less than 1.
        salt: Part of what is hashed; another salt gives another split.

    Returns:
        (n,) bool, True for a photo that is held out.
    """
    if not 0 <= share < 1:
        raise ValueError(f"got a held-out share of {share}, expected 0 <= share < 1")
    digests = [hashlib.sha256(f"{salt}/{name}".encode(errors="surrogateescape")).digest() for name in names]
    return np.asarray([int.from_bytes(digest[:4], "big") / 2**32 < share for digest in digests], dtype=bool)


def _decode(root: str, short_side: int, name: str) -> np.ndarray | str:
    """Decode a photo, reduced to `short_side`, or return the reason it cannot be used."""
    try:
        photo = load_pixels(Path(root) / name)
    except ImageError as error:
        return str(error)
    scale = short_side / min(photo.size)
    if scale < 1:
        W, H = (max(round(side * scale), short_side) for side in photo.size)
        photo = photo.resize((W, H), Image.Resampling.BICUBIC)
    return np.asarray(photo)


def _files(out: str | Path) -> tuple[Path, Path]:
    """A cache's pixels and index. Suffixes are appended, so `data-v1.0` and `data-v1.1` do not clash."""
    out = Path(out)
    return out.with_name(f"{out.name}.bin"), out.with_name(f"{out.name}.json")


def build(
    folder: str | Path,
    out: str | Path,
    short_side: int = 192,
    workers: int = 2,
    tell: Callable[[str], None] = lambda line: None,
) -> "PhotoCache":
    """Decode a folder into `out`.bin and `out`.json and open it. An existing cache of the photos is reused.

    Args:
        folder: An ImageFolder.
        out: Path of the cache, without the suffixes.
        short_side: Photos with a longer short side are reduced to this; smaller ones stay as they are.
        workers: Number of decoding processes.
        tell: Called with a line of progress now and then.

    Raises:
        ValueError: If the cache at `out` was built from other photos or with other settings.
    """
    photos = PhotoFolder(folder)
    key = {"format": FORMAT, "photos": identity(photos, times=True), "short_side": short_side}
    pixels, index = _files(out)
    if index.exists():
        if _index(index).get("key") != key:
            raise ValueError(
                f"the cache {pixels} was built from other photos than those now in {folder}, or at another "
                f"size; name another cache, or remove {pixels.name} and {index.name} to rebuild it"
            )
        return PhotoCache.open(out)
    kept, shapes, skipped = [], [], dict(photos.skipped)
    tell(f"decoding {len(photos)} photos into {pixels}")
    spoken = time.monotonic()
    pixels.parent.mkdir(parents=True, exist_ok=True)
    with replacing(pixels) as part:
        with part.open("wb", buffering=0) as file, ProcessPoolExecutor(workers) as pool:
            decode = partial(_decode, str(folder), short_side)
            for i, photo in enumerate(pool.map(decode, photos.names, chunksize=64)):
                if time.monotonic() - spoken > EVERY:
                    spoken = time.monotonic()
                    tell(f"decoded {i} of {len(photos)} photos")
                if isinstance(photo, str):
                    skipped[shown(photos.names[i])] = photo
                    continue
                _append(file, photo, pixels, len(photos) / (i + 1))
                shapes.append(photo.shape[:2])
                kept.append(i)
        if not kept:
            name, reason = next((name, reason) for name, reason in skipped.items())
            raise ValueError(f"none of the photos in {folder} can be used; {name}: {reason}")
    content = {
        "key": key,
        "classes": photos.classes,
        "names": [photos.names[i] for i in kept],
        "labels": photos.labels[kept].tolist(),
        "sizes": photos.sizes[kept].tolist(),
        "shapes": shapes,
        "skipped": skipped,
    }
    with replacing(index) as part:
        part.write_text(json.dumps(content))
    return PhotoCache.open(out)


def _append(file: BinaryIO, photo: np.ndarray, pixels: Path, times: float) -> None:
    """Write a photo's pixels; an error says how large the whole cache would become, `times` what is there."""
    rest = memoryview(photo.tobytes())
    try:
        while rest:  # a disk that is nearly full takes a part
            rest = rest[file.write(rest) :]
    except OSError as error:
        megabytes = (file.tell() + len(rest)) * times / 2**20
        raise ValueError(
            f"the cache {pixels} could not be written ({error.strerror}): it would need about "
            f"{megabytes:,.0f} MB; make room, name another place with --set cache=PATH, or do without a "
            "cache with --set cache=null"
        ) from error


def _index(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not the index of a cache; name another cache, or remove that file")
    return content


@dataclass(frozen=True)
class PhotoCache:
    """Decoded photos: `cache[i]` is a read-only (H, W, 3) uint8 view of photo i.

    Attributes:
        classes: Class folders' names, sorted.
        names: Each photo's path relative to the folder it came from.
        labels: (n,) int64.
        sizes: Size of each photo's file in bytes, (n,) int64.
        shapes: Height and width in pixels, (n, 2) int64.
        skipped: Maps each file of the folder that is not in the cache to the reason.
    """

    classes: list[str]
    names: list[str]
    labels: np.ndarray
    sizes: np.ndarray
    shapes: np.ndarray
    offsets: np.ndarray
    pixels: np.ndarray
    skipped: dict[str, str]

    @classmethod
    def open(cls, path: str | Path) -> "PhotoCache":
        """Open a cache written by `build`.

        Raises:
            ValueError: If there is no such cache, or its two files do not belong together.
        """
        file, about = _files(path)
        if not (file.exists() and about.exists()):
            raise ValueError(f"there is no cache {path}; expected {about.name} and {file.name}")
        index = _index(about)
        if index.get("key", {}).get("format") != FORMAT:
            raise ValueError(f"{about} was written by an earlier version; remove it and {file.name}")
        shapes = np.asarray(index["shapes"], dtype=np.int64)
        ends = np.cumsum(shapes.prod(axis=1) * 3)
        pixels = np.memmap(file, dtype=np.uint8, mode="r")
        if len(pixels) != ends[-1]:
            raise ValueError(
                f"{file} holds {len(pixels)} bytes, its index expects {ends[-1]}; remove both to rebuild it"
            )
        labels, sizes = (np.asarray(index[name], dtype=np.int64) for name in ("labels", "sizes"))
        offsets = np.concatenate([[0], ends])
        return cls(index["classes"], index["names"], labels, sizes, shapes, offsets, pixels, index["skipped"])

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> np.ndarray:
        H, W = self.shapes[i]
        return self.pixels[self.offsets[i] : self.offsets[i + 1]].reshape(H, W, 3)

    def why(self, _: int) -> str:
        """Always empty: a cache contains only photos that can be used. `PhotoFolder.why` gives reasons."""
        return ""
