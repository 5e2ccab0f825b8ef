"""Strokes of a brush: parts of an input erased, blurred or covered with a copy of another part.

A stroke is plain data, and what it does to pixels is integer arithmetic: the same strokes on the same input
give the same pixels everywhere. Places are thousandths of the input's width from the left and of its height
from the top, so that strokes keep their place at another size. NumPy only.

Example:
    >>> read([{"how": "blur", "size": 80, "path": [[400, 500], [600, 500]]}])
    (Stroke(how='blur', path=((400, 500), (600, 500)), size=80, source=None),)
    >>> to_url(read('{"how": "mean", "rect": [100, 100, 300, 200]}'))
    'mean-rect-100.100-300.200'
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

__all__ = ["DATASET", "HOWS", "Stroke", "covered", "from_url", "paint", "read", "to_url"]

HOWS = ("mean", "dataset", "blur", "copy")
WHOLE = 1000  # parts of a side
THINNEST, THICKEST = 10, 500  # thousandths of the shorter side
MOST, MOST_POINTS = 32, 400  # strokes, and the points of all of them together
PASSES = 3  # box blurs, one after the other: close to a Gaussian
DATASET = (124, 116, 104)  # ImageNet's mean colour, which the usual normalisation turns into zero
_HALF = 2 * WHOLE  # units of a pixel's side: places and centres of pixels are whole numbers of them
_WORD = re.compile(rf"({'|'.join(HOWS)})-(rect|\d{{1,4}})((?:-\d{{1,4}}\.\d{{1,4}})+)", re.ASCII)

Point = tuple[int, int]


@dataclass(frozen=True)
class Stroke:
    """One stroke of a round brush, or a rectangle.

    A pixel belongs to it if the pixel's centre does.

    Attributes:
        how: "mean" erases to the mean colour of the whole input, "dataset" to the mean colour that the
            model's normalisation subtracts; "blur" takes the mean of each pixel's surroundings, about a third
            of the brush wide; "copy" covers with another part.
        path: The points that the brush passes, or the left upper and the right lower corner of a rectangle.
        size: Diameter of the brush in thousandths of the input's shorter side; None for a rectangle.
        source: For "copy", the point that is copied to the first of `path`.

    Raises:
        ValueError: If the fields make no sense together; the message names the value and what is allowed.
    """

    how: str
    path: tuple[Point, ...]
    size: int | None = None
    source: Point | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.how, str) or self.how not in HOWS:
            raise ValueError(f"how is {_short(self.how)}; expected one of {', '.join(HOWS)}")
        object.__setattr__(self, "path", tuple(_point(one, "path") for one in _listed(self.path, "path")))
        if not self.path:
            raise ValueError("the path has no points; expected at least one [x, y]")
        if (self.source is not None) != (self.how == "copy"):
            need = "needs the source, the point [x, y] copied from" if self.how == "copy" else "has no source"
            raise ValueError(f"source is {_short(self.source)}; {self.how} {need}")
        if self.source is not None:
            object.__setattr__(self, "source", _point(self.source, "source"))
        if self.size is None:
            (left, top), (right, bottom) = self.path if len(self.path) == 2 else ((0, 0), (0, 0))
            if not (left < right and top < bottom):
                raise ValueError(
                    f"a rectangle is {_short(self.path)}; expected its left upper and its right lower corner"
                )
        elif type(self.size) is not int or not THINNEST <= self.size <= THICKEST:
            raise ValueError(
                f"size is {_short(self.size)}; expected a whole number from {THINNEST} to {THICKEST}, "
                "thousandths of the input's shorter side"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the stroke as JSON knows it, see `read`."""
        path = [list(one) for one in self.path]
        shape = {"rect": [*path[0], *path[1]]} if self.size is None else {"size": self.size, "path": path}
        return {"how": self.how, **shape, **({"source": list(self.source)} if self.source else {})}

    def to_url(self) -> str:
        """Write it as a word of a link: `mean-80-400.500-600.500`, `copy-rect-700.300-100.100-300.200`."""
        places = [*([self.source] if self.source else []), *self.path]
        return "-".join([self.how, str(self.size or "rect"), *(f"{x}.{y}" for x, y in places)])

    def mask(self, height: int, width: int) -> np.ndarray:
        """Return the pixels that the stroke covers, bool (H, W)."""
        found = np.zeros((height, width), bool)
        places = [(2 * x * width, 2 * y * height) for x, y in self.path]
        if self.size is None:
            (left, top), (right, bottom) = places
            found[_from(top) : _from(bottom), _from(left) : _from(right)] = True
            return found
        radius = self.size * min(height, width)
        for a, b in pairwise(places if len(places) > 1 else [*places, *places]):
            _add_segment(found, a, b, radius)
        return found

    def thickness(self, height: int, width: int) -> int:
        """Return the brush's diameter, or the rectangle's shorter side, in whole pixels, at least one."""
        if self.size is not None:
            return max(1, self.size * min(height, width) // WHOLE)
        (left, top), (right, bottom) = self.path
        return max(1, min((right - left) * width, (bottom - top) * height) // WHOLE)

    def shift(self, height: int, width: int) -> tuple[int, int]:
        """Return how many rows down and columns right of a pixel its copy is taken from."""
        assert self.source is not None  # `copy` has one
        (x, y), (u, v) = self.path[0], self.source
        return (2 * (v - y) * height + WHOLE) // _HALF, (2 * (u - x) * width + WHOLE) // _HALF


def _from(place: int) -> int:
    """The first pixel whose centre lies at a place, in units, or beyond it."""
    return max(0, -(-(place - WHOLE) // _HALF))


def _add_segment(mask: np.ndarray, a: Point, b: Point, radius: int) -> None:
    """Add the pixels whose centres are at most a radius from a line, all in units of a pixel / 2000."""
    (ax, ay), (bx, by) = a, b
    rows = slice(_from(min(ay, by) - radius), _from(max(ay, by) + radius + 1))
    columns = slice(_from(min(ax, bx) - radius), _from(max(ax, bx) + radius + 1))
    height, width = mask.shape
    y = _HALF * np.arange(height, dtype=np.int64)[rows, None] + WHOLE
    x = _HALF * np.arange(width, dtype=np.int64)[None, columns] + WHOLE
    dx, dy, long = bx - ax, by - ay, (bx - ax) ** 2 + (by - ay) ** 2
    near = np.minimum((x - ax) ** 2 + (y - ay) ** 2, (x - bx) ** 2 + (y - by) ** 2) <= radius**2
    if long:
        along = (x - ax) * dx + (y - ay) * dy
        aside = ((x - ax) * dy - (y - ay) * dx).astype(np.float64)  # its square is too large for an integer
        near |= (along >= 0) & (along <= long) & (aside * aside <= float(radius**2 * long))
    mask[rows, columns] |= near


def covered(strokes: Iterable[Stroke], height: int, width: int) -> np.ndarray:
    """Return the pixels that any of the strokes covers, bool (H, W)."""
    found = np.zeros((height, width), bool)
    for stroke in strokes:
        found |= stroke.mask(height, width)
    return found


def paint(pixels: np.ndarray, strokes: Iterable[Stroke], dataset: Sequence[int] = DATASET) -> np.ndarray:
    """Apply strokes to an input, one after the other.

    Args:
        pixels: (H, W, 3) uint8.
        strokes: From `read`.
        dataset: The colour of "dataset".

    Returns:
        (H, W, 3) uint8, a new array.
    """
    out = pixels.copy()
    height, width = out.shape[:2]
    for stroke in strokes:
        mask = stroke.mask(height, width)
        if stroke.how == "mean":
            out[mask] = mean_colour(pixels)
        elif stroke.how == "dataset":
            out[mask] = np.asarray(dataset, np.uint8)
        elif stroke.how == "blur":
            _blur(out, mask, max(1, stroke.thickness(height, width) // 6))
        else:
            (rows, columns), (down, right) = np.nonzero(mask), stroke.shift(height, width)
            from_rows, from_columns = (rows + down).clip(0, height - 1), (columns + right).clip(0, width - 1)
            out[mask] = out[from_rows, from_columns]
    return out


def mean_colour(pixels: np.ndarray) -> np.ndarray:
    """Return the mean colour of (H, W, 3) pixels, rounded: uint8 (3,)."""
    count = pixels.shape[0] * pixels.shape[1]
    sums = pixels.sum((0, 1), dtype=np.int64)
    return ((2 * sums + count) // (2 * count)).astype(np.uint8)


def _blur(pixels: np.ndarray, mask: np.ndarray, reach: int) -> None:
    """Blur what a mask covers, in place; nothing farther away than the blur reaches is looked at."""
    if not mask.any():
        return
    height, width = mask.shape
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    edge = PASSES * reach
    top, bottom = max(0, rows[0] - edge), min(height, rows[-1] + 1 + edge)
    left, right = max(0, columns[0] - edge), min(width, columns[-1] + 1 + edge)
    part = pixels[top:bottom, left:right].astype(np.int64)
    for _ in range(PASSES):
        part = _box(_box(part, reach, 0), reach, 1)
    inside = mask[top:bottom, left:right]
    pixels[top:bottom, left:right][inside] = part[inside]


def _box(values: np.ndarray, reach: int, axis: int) -> np.ndarray:
    """The mean of each value and its `reach` neighbours to either side, rounded; edges are repeated."""
    wide = 2 * reach + 1
    around = [(reach + 1, reach) if one == axis else (0, 0) for one in range(values.ndim)]
    sums = np.cumsum(np.pad(values, around, "edge"), axis)
    count = values.shape[axis]
    total = np.take(sums, range(wide, wide + count), axis) - np.take(sums, range(count), axis)
    return (2 * total + wide) // (2 * wide)


# ---------------------------------------------------------------- reading and writing


def read(strokes: Any) -> tuple[Stroke, ...]:
    """Read strokes from a list of dicts, from JSON, from a link's text, or from strokes.

    Args:
        strokes: Each is `{"how", "size", "path": [[x, y], ...]}` or `{"how", "rect": [x0, y0, x1, y1]}`, and
            `{"source": [x, y]}` with "copy"; see `Stroke`.

    Raises:
        ValueError: If a stroke is invalid, or there are too many; the message says which one and why.
    """
    if isinstance(strokes, str):
        if not strokes.lstrip().startswith(("[", "{")):
            return from_url(strokes)
        try:
            strokes = json.loads(strokes)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"not JSON ({error}): {strokes[:80]!r}") from error
    several = [strokes] if isinstance(strokes, Mapping | Stroke) else _listed(strokes, "strokes")
    return _checked(_one_of(one, n) for n, one in enumerate(several, 1))


def from_url(text: str) -> tuple[Stroke, ...]:
    """Read strokes from a link's value, as written by `to_url`.

    Raises:
        ValueError: If a word cannot be read, or there are too many.
    """
    return _checked(_from_word(word) for word in text.split("_")) if text else ()


def to_url(strokes: Iterable[Stroke]) -> str:
    """Write strokes as one value of a link, using only characters that need no escaping."""
    return "_".join(stroke.to_url() for stroke in strokes)


def _checked(strokes: Iterable[Stroke]) -> tuple[Stroke, ...]:
    found: list[Stroke] = []
    points = 0
    for stroke in strokes:
        found.append(stroke)
        points += len(stroke.path)
        if len(found) > MOST or points > MOST_POINTS:
            raise ValueError(
                f"these are more than {MOST} strokes or {MOST_POINTS} points; paint fewer or shorter strokes"
            )
    return tuple(found)


def _one_of(given: Any, n: int) -> Stroke:
    if isinstance(given, Stroke):
        return given
    known = ("how", "size", "path", "rect", "source")
    if not isinstance(given, Mapping):
        raise ValueError(f"stroke {n} is {_short(given)}; expected an object with {', '.join(known)}")
    if unknown := [str(one) for one in given if one not in known]:
        raise ValueError(f"stroke {n} has {_short(', '.join(unknown))}; known are {', '.join(known)}")
    shape = {one for one in ("size", "path", "rect") if given.get(one) is not None}
    if shape not in ({"size", "path"}, {"rect"}):
        raise ValueError(f"stroke {n}: expected either a size and a path, or a rect")
    path, size = given.get("path"), given.get("size")
    try:
        if "rect" in shape:
            sides = _listed(given["rect"], "rect")
            if len(sides) != 4:
                raise ValueError(f"rect is {_short(sides)}; expected [left, top, right, bottom]")
            path = [sides[:2], sides[2:]]
        return Stroke(given.get("how", ""), path, size, given.get("source"))  # type: ignore[arg-type]  # checked there
    except ValueError as error:
        raise ValueError(f"stroke {n}: {error}") from None


def _from_word(word: str) -> Stroke:
    found = _WORD.fullmatch(word)
    if not found:
        raise ValueError(
            f"{word[:40]!r} is no stroke; expected for example mean-80-400.500-600.500 or "
            "blur-rect-100.100-300.200"
        )
    how, size, places = found.groups()
    points = [(int(x), int(y)) for x, y in (one.split(".") for one in places[1:].split("-"))]
    source = points.pop(0) if how == "copy" else None
    try:
        return Stroke(how, tuple(points), None if size == "rect" else int(size), source)
    except ValueError as error:
        raise ValueError(f"{word[:40]!r}: {error}") from None


def _listed(value: Any, name: str) -> list[Any]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise ValueError(f"{name} is {_short(value)}; expected a list")
    return list(value)


def _point(value: Any, name: str) -> Point:
    sides = list(value) if isinstance(value, list | tuple) else []
    if len(sides) != 2 or not all(type(one) is int and 0 <= one <= WHOLE for one in sides):
        raise ValueError(
            f"{name} has {_short(value)}; expected [x, y], whole numbers from 0 to {WHOLE}, thousandths of "
            "the input's width and height"
        )
    return sides[0], sides[1]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
