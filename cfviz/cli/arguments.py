"""Arguments that several commands take."""

from __future__ import annotations

import argparse
from typing import Any

from cfviz.framing import CENTRE, Centre, parse_centre
from cfviz.models.variants import BUNDLED
from cfviz.options import MODES, NUMBER_FORMATS
from cfviz.training.cli import size

TIMM = "; or timm's name of a Swin, Swin V2, Twins, PVT v2, MaxViT or ViT"  # ends the help of `--model`


def add_photo_size(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Add `--size`; `more` ends its help text."""
    parser.add_argument(
        "--size",
        type=size,
        metavar="SIZE",
        help=f"input size in pixels, 224 or 192x640 (height x width), multiples of 32{more}; default: the "
        "size the weights were trained at",
    )


def add_model(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Add `--model` and `--weights`; `more` ends the help text of `--model`."""
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help=f"a variant (see `models`), or anything that --weights accepts (default: {BUNDLED}){more}",
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
        help="how to fit a photo to the input size: crop a part that fills it (the default), resize the "
        "whole photo (which may stretch it), or pad it",
    )
    parser.add_argument(
        "--centre",
        type=centre,
        metavar="X,Y",
        default=CENTRE,
        help="where crop crops: its centre, as shares of the photo's width from the left and of its height "
        "from the top (default: 0.5,0.5, the middle)",
    )
    parser.add_argument(
        "--brush",
        type=brush,
        metavar="STROKES",
        default=(),
        help="paint over the input first: strokes as in a link of the lab (mean-rect-300.200-700.600 erases "
        "a rectangle; thousandths of the sides) or as JSON",
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


def centre(text: str) -> Centre:
    """Parse 0.3,0.5 as the centre of a crop."""
    try:
        return parse_centre(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def brush(text: str) -> Any:
    """Parse strokes, as a link or JSON writes them."""
    from cfviz.data.brush import read  # deferred: NumPy

    try:
        return read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
