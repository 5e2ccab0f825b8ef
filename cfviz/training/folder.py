"""A folder of photos, by class or flat. Every file is accounted for: used, or skipped with a reason.

`cfviz.data` decides what counts as a photo, as it does everywhere. Anything that cannot be one (hidden files,
empty files, pipes, broken links) is skipped without being opened.
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
from cfviz.data.left_out import reason

# Files with these suffixes are taken for photos; any others are recognised by their first bytes.
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
UNCOMPRESSED = frozenset([".bmp", ".dib", ".tif", ".tiff"])  # as large as their pixels are many, mostly
FOREIGN = frozenset({"__MACOSX", "@eaDir"})  # folders that operating systems leave beside the photos
SPLITS = frozenset({"train", "training", "val", "valid", "validation", "dev", "test", "testing"})
START = 4096  # bytes read to recognise a format


def shown(name: str) -> str:
    """A file's name in printable form: bytes that are not UTF-8 are escaped, as in `\\xe9`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


class PhotoFolder:
    """The photos of a folder, read on demand: `folder[i]` is photo i, upright RGB, (H, W, 3) uint8.

    Photos in subfolders of a class folder belong to that class.

    Args:
        folder: The folder.
        flat: Take every photo in it and its subfolders, of no class.

    Attributes:
        root: The folder.
        classes: The class folders' names, sorted; none of a flat folder.
        names: Each photo's path relative to the folder, in a fixed order.
        labels: Each photo's class, (n,) int64; 0 in a flat folder.
        sizes: Each file's size in bytes, (n,) int64.
        times: When each file was last modified, in nanoseconds since 1970, (n,) int64.
        skipped: Maps each file that is not used to the reason.

    Raises:
        ValueError: If there is no such folder, no class folder, or no photo in any of them.
    """

    def __init__(self, folder: str | os.PathLike[str], flat: bool = False):
        self.root = Path(folder)
        if not self.root.is_dir():
            raise ValueError(f"there is no folder {shown(str(folder))}")
        self.skipped: dict[str, str] = {}
        self.classes: list[str] = []
        found = self._loose() if flat else self._by_class()
        self.names = [name for name, _, _ in found]
        self.labels = np.asarray([label for _, label, _ in found], dtype=np.int64)
        self.sizes = np.asarray([about.st_size for _, _, about in found], dtype=np.int64)
        self.times = np.asarray([about.st_mtime_ns for _, _, about in found], dtype=np.int64)

    def _loose(self) -> list[tuple[str, int, os.stat_result]]:
        """All photos in the folder and below it, as (path relative to the root, 0, result of `stat`)."""
        found = sorted(self._photos(str(self.root), "", ()), key=lambda photo: photo[0])
        if not found:
            raise ValueError(f"{shown(str(self.root))} holds no photos")
        return [(name, 0, about) for name, about in found]

    def _by_class(self) -> list[tuple[str, int, os.stat_result]]:
        """The photos in the class folders, as (path relative to the root, class, result of `stat`)."""
        found: list[tuple[str, int, os.stat_result]] = []
        own = os.stat(self.root)
        for entry in _entries(self.root):
            if self._passed_over(entry, entry.name):
                continue
            if not entry.is_dir():
                self.skipped[shown(entry.name)] = reason("no_class")
                continue
            inside = sorted(
                self._photos(entry.path, entry.name, ((own.st_dev, own.st_ino),)), key=lambda photo: photo[0]
            )
            found += [(name, len(self.classes), about) for name, about in inside]
            self.classes.append(shown(entry.name))
        self._check_splits([name for name, _, _ in found])
        if not found:
            raise ValueError(
                f"{shown(str(self.root))} holds no photos in subfolders; expected one subfolder per class, "
                "with photos in it"
            )
        return found

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> np.ndarray:
        return np.asarray(load_pixels(self.root / self.names[i]))

    def why(self, i: int) -> str:
        """Why photo i cannot be used, as a sentence; empty if it can."""
        try:
            load_pixels(self.root / self.names[i])
        except ImageError as error:
            return str(error)
        return ""

    def _check_splits(self, names: list[str]) -> None:
        """Refuse a folder of `train` and `val` that hold the class folders: it would have two classes."""
        splits = sorted({name.split("/")[0] for name in names})
        nested = all(name.count("/") > 1 for name in names)
        if splits and nested and all(name.lower() in SPLITS for name in splits):
            inner = shown(str(self.root / splits[0]))
            raise ValueError(
                f"{shown(str(self.root))} holds {' and '.join(splits)}, which hold folders themselves; name "
                f"one of them, such as {inner}: the subfolders of the folder that you name are the classes"
            )

    def _photos(
        self, folder: str, name: str, above: tuple[tuple[int, int], ...]
    ) -> Iterator[tuple[str, os.stat_result]]:
        """The photos in a folder and its subfolders, as (path relative to the root, result of `stat`)."""
        own = os.stat(folder)
        above = (*above, (own.st_dev, own.st_ino))
        try:
            entries = _entries(folder)
        except OSError as error:
            self.skipped[shown(name or folder)] = reason("closed_folder", why=error.strerror)
            return
        for entry in entries:
            inner = f"{name}/{entry.name}" if name else entry.name
            if self._passed_over(entry, inner):
                continue
            about = entry.stat()
            if stat.S_ISDIR(about.st_mode):
                if (about.st_dev, about.st_ino) in above:
                    self.skipped[shown(inner)] = reason("circle")
                else:
                    yield from self._photos(entry.path, inner, above)
            elif not about.st_size:
                self.skipped[shown(inner)] = reason("empty")
            elif Path(entry.name).suffix.lower() in SUFFIXES or self._recognised(entry.path, inner):
                yield inner, about

    def _passed_over(self, entry: os.DirEntry[str], name: str) -> bool:
        """Whether to skip an entry unopened; if so, record the reason."""
        code = None
        try:
            mode = entry.stat().st_mode
        except OSError:
            code = "nowhere" if entry.is_symlink() else "closed"
        else:
            if entry.name.startswith(".") or entry.name in FOREIGN:
                code = "hidden_folder" if stat.S_ISDIR(mode) else "hidden_file"
            elif not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
                code = "neither"
        if code:
            self.skipped[shown(name)] = reason(code)
        return code is not None

    def _recognised(self, path: str, name: str) -> bool:
        """Whether a file without a known suffix starts like a photo; if not, record the reason."""
        try:
            with open(path, "rb") as file:
                format_of(file.read(START))
        except ImageError as error:
            self.skipped[shown(name)] = str(error)
        except OSError as error:
            self.skipped[shown(name)] = reason("closed_why", why=error.strerror)
        return shown(name) not in self.skipped


def _entries(folder: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def identity(
    photos: Any, chosen: Iterable[int] | None = None, times: bool = False, contents: bool = False
) -> str:
    """SHA-256 of the files' names and sizes: identifies a set of photos without reading them.

    Args:
        photos: A folder or a cache.
        chosen: Indices of the photos to include, in order; None includes all.
        times: Also include modification times, which a copy of the folder may not preserve.
        contents: Also include what is in files whose size does not depend on it, and read those.
    """
    whole = hashlib.sha256()
    for i in range(len(photos)) if chosen is None else chosen:
        line = f"{photos.names[i]}\0{photos.sizes[i]}"
        line += f"\0{photos.times[i]}" if times else ""
        if contents and isinstance(photos, PhotoFolder):
            line += _content(photos.root / photos.names[i])
        whole.update(f"{line}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()


def _content(path: Path) -> str:
    """SHA-256 of a file that is not compressed; empty for others, and for one that cannot be read."""
    if path.suffix.lower() not in UNCOMPRESSED:
        return ""
    try:
        with path.open("rb") as file:
            return f"\0{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError:
        return ""


def account(
    photos: Any, chosen: Sequence[int] | np.ndarray, unreadable: Sequence[int] | np.ndarray
) -> dict[str, Any]:
    """Account for every file of a folder.

    Args:
        photos: A folder or a cache.
        chosen: Indices of the photos that were asked for.
        unreadable: Indices of those that could not be read.

    Returns:
        The numbers of `files` found, `used` and `not_chosen` (because of a limit); `skipped` maps each other
        file to the reason.
    """
    skipped = dict(photos.skipped)
    skipped |= {shown(photos.names[i]): photos.why(i) for i in unreadable}
    return {
        "files": len(photos) + len(photos.skipped),
        "used": len(chosen) - len(unreadable),
        "not_chosen": len(photos) - len(chosen),
        "skipped": skipped,
    }
