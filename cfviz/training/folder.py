"""A folder of photos, one subfolder per class, where every file is accounted for: used, or skipped and why.

What is a photo is decided by `cfviz.data`, as everywhere; what cannot be one (hidden, empty, a pipe, a link
to nothing) is skipped without being opened.
"""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cfviz.data.decode import load_pixels
from cfviz.data.header import ImageError, format_of

# Names that need no look inside; files called otherwise are recognised by their first bytes.
SUFFIXES = frozenset(
    [
        ".avif",
        ".bmp",
        ".dib",
        ".gif",
        ".heic",
        ".heif",
        ".jfif",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".png",
        ".tif",
        ".tiff",
        ".webp",
    ]
)
FOREIGN = frozenset({"__MACOSX", "@eaDir"})  # folders that systems leave beside the photos
START = 4096  # bytes that tell a format
SHOWN = 20  # skipped files named in a text


def shown(name: str) -> str:
    """A file's name fit to print and to store: bytes that are no UTF-8 become `\\xe9`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


class PhotoFolder:
    """The photos of a folder, read when asked for: `folder[i]` is photo i, upright RGB, (H, W, 3) uint8.

    Photos in subfolders of a class belong to the class.

    Attributes:
        root: The folder.
        classes: The class folders' names, sorted.
        names: Each photo's path relative to the folder, in a fixed order.
        labels: Each photo's class (n,) int64.
        sizes: Each file's bytes (n,) int64.
        times: When each file was last changed (n,) int64, nanoseconds since 1970.
        skipped: From each file that is not used to the reason.

    Raises:
        ValueError: If there is no such folder, no class folder, or no photo in any of them.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.root = Path(folder)
        if not self.root.is_dir():
            raise ValueError(f"there is no folder {shown(str(folder))}")
        self.skipped: dict[str, str] = {}
        self.classes: list[str] = []
        found: list[tuple[str, int, os.stat_result]] = []
        own = os.stat(self.root)
        for entry in _entries(self.root):
            if self._passed_over(entry, entry.name):
                continue
            if not entry.is_dir():
                self.skipped[shown(entry.name)] = "not in a class folder"
                continue
            inside = sorted(
                self._photos(entry.path, entry.name, ((own.st_dev, own.st_ino),)), key=lambda photo: photo[0]
            )
            found += [(name, len(self.classes), about) for name, about in inside]
            self.classes.append(shown(entry.name))
        if not found:
            raise ValueError(
                f"{shown(str(folder))} holds no photos; expected one folder a class, each with photos in it"
            )
        self.names = [name for name, _, _ in found]
        self.labels = np.asarray([label for _, label, _ in found], dtype=np.int64)
        self.sizes = np.asarray([about.st_size for _, _, about in found], dtype=np.int64)
        self.times = np.asarray([about.st_mtime_ns for _, _, about in found], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> np.ndarray:
        return np.asarray(load_pixels(self.root / self.names[i]))

    def why(self, i: int) -> str:
        """The sentence that says why photo i cannot be used; empty where it can."""
        try:
            load_pixels(self.root / self.names[i])
        except ImageError as error:
            return str(error)
        return ""

    def _photos(
        self, folder: str, name: str, above: tuple[tuple[int, int], ...]
    ) -> Iterator[tuple[str, os.stat_result]]:
        """The photos in a folder and its subfolders: (path relative to the root, what the system knows)."""
        own = os.stat(folder)
        above = (*above, (own.st_dev, own.st_ino))
        try:
            entries = _entries(folder)
        except OSError as error:
            self.skipped[shown(name)] = f"a folder that cannot be opened ({error.strerror})"
            return
        for entry in entries:
            inner = f"{name}/{entry.name}"
            if self._passed_over(entry, inner):
                continue
            about = entry.stat()
            if stat.S_ISDIR(about.st_mode):
                if (about.st_dev, about.st_ino) in above:
                    self.skipped[shown(inner)] = "a link to a folder that it lies in"
                else:
                    yield from self._photos(entry.path, inner, above)
            elif not about.st_size:
                self.skipped[shown(inner)] = "an empty file"
            elif Path(entry.name).suffix.lower() in SUFFIXES or self._recognised(entry.path, inner):
                yield inner, about

    def _passed_over(self, entry: os.DirEntry[str], name: str) -> bool:
        """Whether an entry needs no look inside, noting why."""
        reason = None
        try:
            mode = entry.stat().st_mode
        except OSError:
            reason = "a link that leads nowhere" if entry.is_symlink() else "cannot be opened"
        else:
            if entry.name.startswith(".") or entry.name in FOREIGN:
                reason = "hidden folder" if stat.S_ISDIR(mode) else "hidden file"
            elif not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
                reason = "neither a file nor a folder"
        if reason:
            self.skipped[shown(name)] = reason
        return reason is not None

    def _recognised(self, path: str, name: str) -> bool:
        """Whether a file with an unusual name starts like a photo, noting what it is instead."""
        try:
            with open(path, "rb") as file:
                format_of(file.read(START))
        except ImageError as error:
            self.skipped[shown(name)] = str(error)
        except OSError as error:
            self.skipped[shown(name)] = f"cannot be opened ({error.strerror})"
        return shown(name) not in self.skipped


def _entries(folder: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def identity(photos: Any, chosen: Iterable[int] | None = None, times: bool = False) -> str:
    """SHA-256 of the names and lengths of the files: it tells photos from others without reading them.

    Args:
        photos: A folder or a cache.
        chosen: Photos that count, in order; None takes all.
        times: Also take in when each file was last changed, which a copy of the folder need not keep.
    """
    whole = hashlib.sha256()
    for i in range(len(photos)) if chosen is None else chosen:
        line = f"{photos.names[i]}\0{photos.sizes[i]}"
        line += f"\0{photos.times[i]}" if times else ""
        whole.update(f"{line}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()


def account(
    photos: Any, chosen: Sequence[int] | np.ndarray, unreadable: Sequence[int] | np.ndarray
) -> dict[str, Any]:
    """What became of every file of a folder.

    Args:
        photos: A folder or a cache.
        chosen: The photos that were asked for.
        unreadable: Those of them that could not be read.

    Returns:
        `files` found, of them `used`, `not_chosen` (by a limit), and `skipped`: from file to reason.
    """
    skipped = dict(photos.skipped)
    skipped |= {shown(photos.names[i]): photos.why(i) for i in unreadable}
    return {
        "files": len(photos) + len(photos.skipped),
        "used": len(chosen) - len(unreadable),
        "not_chosen": len(photos) - len(chosen),
        "skipped": skipped,
    }


def told(files: dict[str, Any]) -> str:
    """What `account` returned, as text; one line where nothing was skipped."""
    left, skipped = files["not_chosen"], files["skipped"]
    first = f"{files['used']} of {files['files']} files used"
    first += f", {left} left out by the limit" if left else ""
    if not skipped:
        return first
    lines = [f"  {name}: {reason}" for name, reason in list(skipped.items())[:SHOWN]]
    if len(skipped) > SHOWN:
        lines.append(f"  and {len(skipped) - SHOWN} more")
    return "\n".join([f"{first}, {len(skipped)} skipped:", *lines])
