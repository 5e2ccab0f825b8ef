"""Test patterns of known scale, in NumPy: gratings, dots, edges and circles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

PATTERNS = ("grating", "dots", "edge", "circle")
SCALES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)  # pixels


def pattern(name: str, scale: float, side: int = 224, angle: float = 30.0) -> np.ndarray:
    """One test pattern, black to white with the same mean contrast at every scale.

    Args:
        name: "grating" (a sine of period `scale`), "dots" (a square lattice of discs of diameter `scale`,
            spaced at twice that), "edge" (one edge that goes from black to white over `scale` pixels) or
            "circle" (one disc of diameter `scale` in the centre).
        scale: Scale in pixels.
        side: Side of the picture in pixels.
        angle: Angle of the grating, lattice or edge in degrees; off the pixel grid by default, so that no
            kernel is favoured.

    Returns:
        uint8 (side, side, 3).

    Raises:
        ValueError: If there is no such pattern, or the scale is not positive.
    """
    if name not in _MAKE:
        raise ValueError(f"there is no pattern {name!r}; there are: {', '.join(PATTERNS)}")
    if not scale > 0:
        raise ValueError(f"the scale is {scale}; expected a positive number of pixels")
    middle = (np.arange(side) + 0.5) - side / 2
    y, x = np.meshgrid(middle, middle, indexing="ij")
    turn = np.deg2rad(angle)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    values = _MAKE[name](u, v, float(scale))
    return np.repeat(np.rint(255 * values).astype(np.uint8)[..., None], 3, -1)


def _soft(inside: np.ndarray) -> np.ndarray:
    """Convert a signed distance to a border (pixels, positive inside) to coverage, with a one-pixel ramp."""
    return np.clip(inside + 0.5, 0, 1)


def _grating(u: np.ndarray, v: np.ndarray, scale: float) -> np.ndarray:
    return 0.5 + 0.5 * np.cos(2 * np.pi * u / scale)


def _dots(u: np.ndarray, v: np.ndarray, scale: float) -> np.ndarray:
    step = 2 * scale
    du, dv = (np.mod(w + step / 2, step) - step / 2 for w in (u, v))
    return _soft(scale / 2 - np.hypot(du, dv))


def _edge(u: np.ndarray, v: np.ndarray, scale: float) -> np.ndarray:
    return np.clip(0.5 + u / scale, 0, 1)


def _circle(u: np.ndarray, v: np.ndarray, scale: float) -> np.ndarray:
    return _soft(scale / 2 - np.hypot(u, v))


_MAKE: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "grating": _grating,
    "dots": _dots,
    "edge": _edge,
    "circle": _circle,
}
