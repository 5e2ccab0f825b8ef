"""`cfviz figure`: a figure for a paper, as a file."""

from __future__ import annotations

import argparse
from typing import Any

from cfviz.jobs import check_target
from cfviz.paper import ABOUT
from cfviz.training.cli import add_lda, count

from .arguments import TIMM, add_forward, add_model
from .opening import is_timm, open_any, open_photo
from .output import note


def add(commands: Any) -> None:
    """Add the command."""
    kinds = "; ".join(f"{kind}: {about}" for kind, about in ABOUT.items())
    text = (
        "Draw one figure for a paper, as PDF, SVG or PNG: an exact width, text as text, colours that can be "
        f"told apart without red-green vision. {kinds}."
    )
    help_text = "draw a figure for a paper (PDF, SVG, PNG)"
    parser = commands.add_parser("figure", help=help_text, description=text)
    parser.add_argument("kind", metavar="KIND", choices=ABOUT, help=", ".join(ABOUT))
    parser.add_argument("photo", metavar="PHOTO", help="an image file, or gallery:ID for a bundled photo")
    parser.add_argument("--out", required=True, metavar="FILE", help="the .pdf, .svg or .png file to write")
    parser.add_argument("--stage", type=count, default=1, metavar="N", help="stage, 1 to 4 (default: 1)")
    parser.add_argument("--block", type=count, default=1, metavar="N", help="block, from 1 (default: 1)")
    parser.add_argument(
        "--token",
        type=token,
        metavar="ROW,COL",
        help="token of the map, from 0,0 (default: the middle)",
    )
    parser.add_argument(
        "--width", default="one", metavar="WIDTH",
        help="one column (84 mm, the default), two (174 mm), or a number of millimetres",
    )  # fmt: skip
    add_model(parser, TIMM)
    add_forward(parser)
    add_lda(parser)
    parser.set_defaults(run=_figure)


def token(text: str) -> tuple[int, int]:
    """Parse 3,4 as a row and a column."""
    row, comma, col = text.partition(",")
    if not (comma and row.strip().isdigit() and col.strip().isdigit()):
        raise argparse.ArgumentTypeError(f"the token is {text!r}; expected ROW,COL such as 3,4, from 0")
    return int(row), int(col)


def _figure(args: argparse.Namespace) -> int:
    from cfviz.paper import kinds, others, sheet  # deferred, with the rest: PyTorch and matplotlib
    from cfviz.run import inspect

    check_target(args.out, "--out")
    sheet.check_name(args.out)
    sheet.millimetres(args.width)
    row, col = args.token or (None, None)
    at = kinds.Place(args.stage - 1, args.block - 1, row, col)
    image = open_photo(args.photo).brushed(args.brush)
    timms = is_timm(args.model)
    if timms:
        others.check_kind(args.kind, args.model)
    model, size = open_any(args)
    if not timms:
        at.check(model.depths)
    watched = kinds.watched(args.kind, at, model) or ("logits",)  # of timm's, no names stand for all points
    trace = inspect(
        image, model, size, watched,
        device=args.device, dtype=args.dtype, mode=args.mode, centre=args.centre,
    )  # fmt: skip
    figure = kinds.drawn(trace, args.kind, at, args.width)
    sheet.save(figure, args.out, kinds.facts_of(trace, args.kind, at))
    width, height = figure.get_size_inches() * sheet.MM
    note(f"{args.out} is written: {width:.0f} x {height:.0f} mm")
    return 0
