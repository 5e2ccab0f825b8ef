"""`cfviz report`: a photo's prediction and figures as one HTML file."""

from __future__ import annotations

import argparse
from typing import Any

from cfviz.jobs import check_target, replacing
from cfviz.models.variants import VARIANTS
from cfviz.training.cli import add_lda
from cfviz.words import LANGUAGES

from .arguments import TIMM, add_forward, add_model
from .opening import is_timm, open_any, open_photo
from .output import note


def add(commands: Any) -> None:
    """Add the command."""
    text = "Write one HTML file that opens offline: the prediction, interactive figures, how to reproduce it."
    parser = commands.add_parser(
        "report", help="write a photo's prediction and figures to an HTML file", description=text
    )
    parser.add_argument("photo", metavar="PHOTO", help="an image file, or gallery:ID for a bundled photo")
    parser.add_argument("--out", required=True, metavar="FILE", help="the HTML file to write")
    add_model(parser, TIMM)
    add_forward(parser)
    add_lda(parser)
    parser.add_argument(
        "--lang", choices=LANGUAGES, default="en", help="language of the report (default: en)"
    )
    parser.add_argument(
        "--parts", action=argparse.BooleanOptionalAction,
        help="remove each part of the model in turn, and rank them by their effect (default: only where "
        "that takes seconds)",
    )  # fmt: skip
    parser.add_argument(
        "--survey",
        metavar="FILE",
        help="add what a folder of photos shows of the same model: the file of `survey`",
    )
    parser.add_argument(
        "--operations", action=argparse.BooleanOptionalAction,
        help="time every operation of the forward (default: only where that takes seconds)",
    )  # fmt: skip
    parser.set_defaults(run=_report)


def _report(args: argparse.Namespace) -> int:
    from cfviz import report  # deferred, with the rest: PyTorch and the figures
    from cfviz.data.samples import recognised
    from cfviz.measured.survey import open_survey
    from cfviz.run import inspect
    from cfviz.training.folder import shown

    check_target(args.out, "--out")
    survey = open_survey(args.survey) if args.survey else None
    image = open_photo(args.photo).brushed(args.brush)
    timms = is_timm(args.model)
    model, size = open_any(args)
    trace = inspect(
        image,
        model,
        size,
        () if timms else report.WATCH,
        device=args.device,
        dtype=args.dtype,
        mode=args.mode,
        centre=args.centre,
    )
    photo = recognised(image.sha256)
    weights = model.provenance
    said = args.weights or (None if args.model in (None, *VARIANTS) else args.model)
    given = args.weights if timms else {"random": "none", "bundled": None}.get(weights.source, said)
    origin = report.Origin(photo.typed if photo else shown(args.photo), photo.id if photo else None, given)
    with replacing(args.out) as part:
        part.write_text(
            report.html(trace, model, origin, args.lang, args.parts, survey, args.operations), "utf-8"
        )
    note(f"{args.out} is written; it opens in any browser, offline too")
    return 0
