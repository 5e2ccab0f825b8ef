"""Which scales a learned filter responds to: radial power spectra. NumPy only."""

from __future__ import annotations

import numpy as np


def radial_power(filters: np.ndarray, size: int = 64, bins: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Mean power of filters against spatial frequency.

    Each filter is padded with zeros to size x size, its squared Fourier amplitude summed over input channels
    and averaged over filters, then averaged over rings of equal frequency and scaled to sum to one.

    Args:
        filters: (n, C_in, k, k), k <= size.
        size: Side of the transform.
        bins: Rings from 0 to half a cycle per pixel, the finest that a grid can hold.

    Returns:
        `frequency` (bins,), the middle of each ring in cycles per pixel; `power` (bins,), sums to one.

    Raises:
        ValueError: If a filter is larger than the transform.
    """
    if filters.shape[-1] > size or filters.shape[-2] > size:
        raise ValueError(f"filters of {filters.shape[-2:]} do not fit a transform of {size} x {size}")
    amplitude = np.fft.fft2(filters.astype(np.float64), s=(size, size))
    power = (np.abs(amplitude) ** 2).sum(1).mean(0)  # size, size
    f = np.fft.fftfreq(size)
    radius = np.hypot(f[:, None], f[None, :])
    ring = np.floor(radius * 2 * bins).astype(int)
    inside = ring < bins
    count = np.bincount(ring[inside], minlength=bins)
    mean = np.bincount(ring[inside], power[inside], minlength=bins) / np.maximum(count, 1)
    return (np.arange(bins) + 0.5) / (2 * bins), mean / max(mean.sum(), 1e-30)


def mean_frequency(frequency: np.ndarray, power: np.ndarray) -> float:
    """Power-weighted mean frequency in cycles per pixel; the inverse is a wavelength in pixels."""
    return float((frequency * power).sum() / max(power.sum(), 1e-30))


def filter_images(filters: np.ndarray) -> np.ndarray:
    """RGB filters as pictures: each is scaled to its largest weight, and zero is grey.

    Args:
        filters: (n, 3, k, k).

    Returns:
        uint8 (n, k, k, 3).
    """
    top = np.abs(filters).max((1, 2, 3), keepdims=True)
    unit = filters / np.maximum(top, 1e-30)
    return np.rint(127.5 + 127.5 * unit).clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def image_sheet(images: np.ndarray, columns: int, gap: int = 1, paper: int = 255) -> np.ndarray:
    """Pictures of equal size arranged on one sheet.

    Args:
        images: uint8 (n, h, w, 3).
        columns: Pictures per row.
        gap: Pixels between pictures.
        paper: Grey value of the gaps.

    Returns:
        uint8 (rows * (h + gap) - gap, columns * (w + gap) - gap, 3).
    """
    n, h, w, _ = images.shape
    rows = -(-n // columns)
    out = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, 3), paper, np.uint8)
    for i, image in enumerate(images):
        r, c = divmod(i, columns)
        out[r * (h + gap) : r * (h + gap) + h, c * (w + gap) : c * (w + gap) + w] = image
    return out
