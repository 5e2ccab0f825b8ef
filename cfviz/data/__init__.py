"""Photos opened safely and prepared for the model, the bundled gallery, and class names."""

from .images import ImageError, Photo, Prepared, load_image, prepare, unnormalise
from .labels import labels
from .samples import Sample, gallery

__all__ = [
    "ImageError",
    "Photo",
    "Prepared",
    "Sample",
    "gallery",
    "labels",
    "load_image",
    "prepare",
    "unnormalise",
]
