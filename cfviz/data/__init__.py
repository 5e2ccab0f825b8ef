"""What goes into the model: photos opened safely, the bundled gallery, the names of the classes."""

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
