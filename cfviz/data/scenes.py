"""Composed scenes: pieces cut out of photos, laid on another photo, so that every label is exact.

Boxes and masks drawn by people are not needed: where a piece lies was decided here. The ground is a photo,
too, out of focus and pale, since a photo in focus shows things that would have to be labelled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from .decode import load_image
from .labels import wordnet_ids
from .samples import sample

SIDE = 224  # of a scene, in pixels
PIECES = (1, 6)  # fewest and most that are laid down
SIZES = (24, 200)  # shortest and longest side of a piece in a scene of `SIDE` pixels
SEEN = 0.35  # share of a piece that the ones above it must leave free
LEAST = 64  # pixels of a piece
Photo = tuple[np.ndarray, int]  # (H, W, 3) uint8 and the class


@dataclass(frozen=True, eq=False)
class Scene:
    """A scene and what is in it, the lowest piece first.

    A pixel belongs to the uppermost piece that covers at least half of it.

    Attributes:
        image: (H, W, 3) uint8.
        boxes: (n, 4) float32: x1, y1, x2, y2 of what is seen of each piece; a piece of one pixel at (0, 0)
            has the box 0, 0, 1, 1.
        labels: (n,) int64, the classes.
        masks: (n, H, W) bool, what is seen of each piece; no two overlap.
        sources: (n,) int64, positions of the pieces' photos among those given.
        dropped: Pieces that were left out because others would have hidden them.
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    masks: np.ndarray
    sources: np.ndarray
    dropped: int

    def label_map(self, ground: int) -> np.ndarray:
        """Return the class of every pixel, (H, W) int64, with a number for the ground."""
        labels = np.full(self.image.shape[:2], ground, np.int64)
        for mask, label in zip(self.masks, self.labels, strict=True):
            labels[mask] = label
        return labels


def draw(labels: Sequence[int] | np.ndarray, seed: int) -> list[int]:
    """Choose the photos of a scene: the ground, then one to six pieces, each class as likely as any other.

    Args:
        labels: The class of every photo there is.
        seed: The same seed chooses the same photos.
    """
    rng = np.random.default_rng((seed, 1))
    every = np.asarray(labels)
    classes = np.unique(every)
    count = 1 + int(rng.integers(PIECES[0], PIECES[1] + 1))
    chosen = rng.choice(classes, count)
    return [int(rng.choice(np.flatnonzero(every == k))) for k in chosen]


def compose(photos: Sequence[Photo], seed: int, side: int = SIDE) -> Scene:
    """Compose a scene; the same photos and seed give the same scene.

    Args:
        photos: The ground, then the photos to cut pieces from, the lowest first.
        seed: Decides shapes, sizes and places.
        side: Height and width of the scene in pixels.

    Raises:
        ValueError: If there are no two photos.
    """
    if len(photos) < 2:
        raise ValueError(f"a scene is made of a ground and pieces, at least two photos; got {len(photos)}")
    rng = np.random.default_rng((seed, 0))
    canvas = _ground(photos[0][0], side, rng)
    pieces = [_Piece.cut(pixels, side, rng) for pixels, _ in photos[1:]]
    kept, masks, free = [], [], np.ones((side, side), bool)
    for i in reversed(range(len(pieces))):  # from above, since only what lies above hides a piece
        whole = pieces[i].covers(side)
        seen = whole & free
        if seen.sum() >= max(LEAST, SEEN * pieces[i].area):
            kept.append(i)
            masks.append(seen)
            free &= ~whole
    kept, masks = kept[::-1], masks[::-1]
    for i in kept:
        pieces[i].paint(canvas)
    return Scene(
        np.rint(canvas).astype(np.uint8),
        np.array([_box(mask) for mask in masks], np.float32).reshape(-1, 4),
        np.array([photos[1 + i][1] for i in kept], np.int64),
        np.array(masks, bool).reshape(-1, side, side),
        np.array([1 + i for i in kept], np.int64),
        len(pieces) - len(kept),
    )


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    (ys, xs) = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return xs[0], ys[0], xs[-1] + 1, ys[-1] + 1


def _ground(pixels: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Return a part of a photo, out of focus and pale: (side, side, 3) float32."""
    part = _crop(pixels, side, side, rng.uniform(0.4, 1), rng)
    blurred = part.filter(ImageFilter.GaussianBlur(side / SIDE * rng.uniform(2, 6)))
    pale = rng.uniform(0.5, 0.9)
    return np.asarray(blurred, np.float32) * pale + 255 * (1 - pale) * rng.uniform(0.2, 0.8)


def _crop(pixels: np.ndarray, h: int, w: int, share: float, rng: np.random.Generator) -> Image.Image:
    """Return a part of a photo near its middle with the shape of h x w, resized to it, mirrored or not.

    Args:
        pixels: (H, W, 3) uint8.
        h, w: Size of the result.
        share: Sides of the part, relative to those of the largest that fits.
        rng: Decides where, and whether it is mirrored.
    """
    H, W = pixels.shape[:2]
    scale = share * min(H / h, W / w)
    ch, cw = h * scale, w * scale
    y, x = ((whole - part) * rng.uniform(0.3, 0.7) for whole, part in ((H, ch), (W, cw)))
    box = (x, y, x + cw, y + ch)
    part = Image.fromarray(pixels).resize((w, h), Image.Resampling.BICUBIC, box)
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else part


@dataclass(frozen=True, eq=False)
class _Piece:
    """A piece: its pixels and how much of each it covers, (h, w, 3) and (h, w) float32, and its place."""

    pixels: np.ndarray
    cover: np.ndarray
    top: int
    left: int

    @classmethod
    def cut(cls, photo: np.ndarray, side: int, rng: np.random.Generator) -> _Piece:
        """Cut a piece out of a photo. Sizes are spread evenly over octaves, places over the scene."""
        size = side / SIDE * math.exp(rng.uniform(math.log(SIZES[0]), math.log(SIZES[1])))
        aspect = math.exp(rng.uniform(-0.4, 0.4))
        h, w = (max(8, min(side, round(size * part))) for part in (aspect**0.5, aspect**-0.5))
        cover = _cover(h, w, _SHAPES[rng.integers(len(_SHAPES))](rng), rng.uniform(1, 3))
        pixels = np.asarray(_crop(photo, h, w, rng.uniform(0.75, 1), rng), np.float32)
        top, left = (int(rng.integers(0, side - part + 1)) for part in (h, w))
        return cls(pixels, cover, top, left)

    @property
    def area(self) -> int:
        """Number of pixels that belong to the piece if nothing lies above it."""
        return int((self.cover >= 0.5).sum())

    @property
    def _place(self) -> tuple[slice, slice]:
        h, w = self.cover.shape
        return slice(self.top, self.top + h), slice(self.left, self.left + w)

    def covers(self, side: int) -> np.ndarray:
        """Return which pixels of the scene it covers by half or more, (side, side) bool."""
        mask = np.zeros((side, side), bool)
        mask[self._place] = self.cover >= 0.5
        return mask

    def paint(self, canvas: np.ndarray) -> None:
        """Lay it on a scene, with blended edges."""
        place, share = self._place, self.cover[..., None]
        canvas[place] = canvas[place] * (1 - share) + self.pixels * share


def _cover(h: int, w: int, radius: Callable[[np.ndarray], np.ndarray], soft: float) -> np.ndarray:
    """Return how much of each pixel a shape covers, (h, w) float32 from 0 to 1.

    Args:
        h, w: The rectangle that the shape lies in.
        radius: The shape's border at angles in radians, as a share of half the rectangle.
        soft: Pixels over which the border fades.
    """
    y, x = np.mgrid[:h, :w].astype(np.float64)
    y, x = (2 * y + 1) / h - 1, (2 * x + 1) / w - 1
    distance = (radius(np.arctan2(y, x)) - np.hypot(y, x)) * min(h, w) / 2  # in pixels, about
    return np.clip(distance / soft + 0.5, 0, 1).astype(np.float32)


def _ellipse(rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    size = rng.uniform(0.9, 1)
    return lambda angle: np.full_like(angle, size)


def _blob(rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """A circle with a few waves."""
    waves = [(n, rng.uniform(0, 0.22) / n**0.5, rng.uniform(0, 2 * math.pi)) for n in (2, 3, 4, 5)]
    most = 1 + sum(height for _, height, _ in waves)
    return lambda angle: sum((h * np.cos(n * angle + p) for n, h, p in waves), np.ones_like(angle)) / most


def _polygon(rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """A polygon of three to eight corners around the middle."""
    n = int(rng.integers(3, 9))
    gaps = rng.uniform(0.7, 1.3, n)
    corners = rng.uniform(0, 2 * math.pi) + np.cumsum(gaps) / gaps.sum() * 2 * math.pi
    points = rng.uniform(0.8, 1, n)[:, None] * np.stack([np.cos(corners), np.sin(corners)], 1)

    def radius(angle: np.ndarray) -> np.ndarray:
        found = np.full_like(angle, np.inf)
        for a, b in zip(points, np.roll(points, -1, 0), strict=True):
            normal = np.array([b[1] - a[1], a[0] - b[0]])
            towards = np.cos(angle) * normal[0] + np.sin(angle) * normal[1]
            with np.errstate(divide="ignore"):
                found = np.minimum(found, np.where(towards > 1e-9, normal @ a / towards, np.inf))
        return found

    return radius


_SHAPES: tuple[Callable[[np.random.Generator], Callable[[np.ndarray], np.ndarray]], ...] = (
    _ellipse, _blob, _polygon,
)  # fmt: skip


@dataclass(frozen=True)
class Example:
    """A scene made of the gallery's photos.

    Attributes:
        id: Its name.
        ground: The gallery's photo that it lies on.
        pieces: Those that pieces are cut from, the lowest first.
        seed: Decides shapes, sizes and places.
    """

    id: str
    ground: str
    pieces: tuple[str, ...]
    seed: int

    def scene(self, side: int = SIDE) -> Scene:
        """Compose it; its labels are numbers of imagenette20's classes."""
        names = (self.ground, *self.pieces)
        opened = {name: _labelled(name) for name in set(names)}  # several pieces may come from one photo
        return compose([opened[name] for name in names], self.seed, side)


def _labelled(name: str) -> Photo:
    """A photo of the gallery with its class; the number of classes where it shows none of them."""
    known = wordnet_ids("imagenette20")
    shown = [known.index(id) for id in sample(name).shows if id in known]
    return np.asarray(load_image(sample(name).typed).image), shown[0] if shown else len(known)


_BERLIN, _WORMS = "berlin-cathedral", "worms-cathedral"
# Of the twenty classes the gallery shows only church, in two photos; other pieces would have no label.
EXAMPLES = (
    Example("scene-1", "horses", (_BERLIN, _WORMS), 31),
    Example("scene-2", "pont-du-gard", (_WORMS, _BERLIN, _WORMS), 32),
    Example("scene-3", "coffee", (_BERLIN,), 33),
    Example("scene-4", "polar-bear", (_WORMS, _BERLIN), 34),
    Example("scene-5", "giraffes", (_BERLIN, _WORMS, _BERLIN, _WORMS), 25),
    Example("scene-6", "scarlet-macaw", (_BERLIN, _BERLIN, _WORMS), 6),
)
