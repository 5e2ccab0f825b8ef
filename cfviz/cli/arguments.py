"""Arguments that several commands take."""

from __future__ import annotations

import argparse

from cfviz.models.variants import BUNDLED
from cfviz.options import MODES, NUMBER_FORMATS


def add_photo_size(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Add `--size`; `more` ends its help text."""
    parser.add_argument(
        "--size",
        type=size,
        metavar="N",
        help=f"input size in pixels, 224 or 224x320 (height x width){more}; default: the size the weights "
        "were trained at",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add `--model` and `--weights`."""
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help=f"a variant (see `models`), or anything that --weights accepts (default: {BUNDLED})",
    )
    parser.add_argument(
        "--weights",
        metavar="WEIGHTS",
        help="a file, hf-hub:OWNER/NAME, bundled, official (the authors', downloaded once), or none for "
        "random weights (default: bundled)",
    )


def add_forward(parser: argparse.ArgumentParser) -> None:
    """Add how a photo is fitted to the input, and where and in which number format the model runs."""
    add_photo_size(parser)
    parser.add_argument(
        "--mode",
        choices=MODES,
        default="crop",
        help="how to fit a photo to the input size: crop the centre (the default), resize (which may "
        "stretch it), or pad",
    )
    parser.add_argument(
        "--device", metavar="DEVICE", help="cpu, cuda or cuda:1 (default: cuda if available, else cpu)"
    )
    parser.add_argument(
        "--dtype",
        choices=NUMBER_FORMATS,
        default="float32",
        help="number format of the computation (default: float32)",
    )


def size(text: str) -> int | tuple[int, int]:
    """Parse 224, or 224x320 as (height, width)."""
    sides = [int(side) if side.isdecimal() else 0 for side in text.lower().replace("×", "x").split("x")]
    if len(sides) > 2 or not all(sides):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 224 or 224x320")
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])
