"""What an input shows of a photo: its height and width, and how the photo is fitted to them."""

from .frame import CENTRE, KEEP, Box, Centre, Frame, centre_code, frame, parse_centre
from .size import (
    LARGEST,
    SMALLEST,
    STEP,
    Size,
    as_pair,
    as_size,
    check_input_size,
    nearest_sizes,
    parse_size,
    shape_of_photo,
    size_code,
    size_text,
)

__all__ = [
    "CENTRE",
    "KEEP",
    "LARGEST",
    "SMALLEST",
    "STEP",
    "Box",
    "Centre",
    "Frame",
    "Size",
    "as_pair",
    "as_size",
    "centre_code",
    "check_input_size",
    "frame",
    "nearest_sizes",
    "parse_centre",
    "parse_size",
    "shape_of_photo",
    "size_code",
    "size_text",
]
