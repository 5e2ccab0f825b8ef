"""`cfviz survey`: what a folder of photos shows of a model, as a file and as a page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cfviz.jobs import check_target, replacing, report
from cfviz.options import MODES
from cfviz.training.cli import add_lda, count, given_lda, size_of
from cfviz.words import LANGUAGES, decimal, percent

from .arguments import add_model, add_photo_size
from .opening import open_model
from .output import note, print_json, print_table


def add(commands: Any) -> None:
    """Add the command."""
    text = (
        "Look into every photo of a folder: the patches that every channel of the embedding layers responds "
        "to, effective receptive fields, mean attention beside the position bias, and the tokens of the "
        "stages, to find similar places. Repeat the command to go on after an interruption."
    )
    parser = commands.add_parser("survey", help="what a folder of photos shows of a model", description=text)
    parser.add_argument("folder", metavar="FOLDER", help="photos in it and in its subfolders")
    parser.add_argument("--out", required=True, metavar="FILE", help="the .safetensors file to write")
    parser.add_argument("--html", metavar="FILE", help="also write the figure as a page that opens offline")
    parser.add_argument(
        "--limit", type=count, default=200, metavar="N",
        help="at most N photos, spread evenly over the names (default: 200)",
    )  # fmt: skip
    add_model(parser)
    add_photo_size(parser)
    parser.add_argument("--mode", choices=MODES, default="crop", help="how photos are fitted to the input")
    add_lda(parser)
    parser.add_argument("--lang", choices=LANGUAGES, default="en", help="language of the page (default: en)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--progress", metavar="FILE", help="a JSON file to keep up to date with the progress")
    parser.set_defaults(run=_survey)


def _survey(args: argparse.Namespace) -> int:
    from cfviz.data.left_out import told
    from cfviz.measured.survey import survey  # deferred, with the rest: PyTorch and the figures

    out = Path(args.out)
    check_target(out, "--out", ".safetensors")
    if args.html:
        check_target(args.html, "--html")
    model = open_model(args.model, args.weights, **given_lda(args))
    found = survey(
        args.folder, model, size_of(args, model), args.mode, args.limit, out.with_suffix(".parts"),
        lambda done, total: report(args.progress, done, total),
    )  # fmt: skip
    found.save(out)
    if args.html:
        with replacing(args.html) as part:
            part.write_text(found.page(args.lang), "utf-8")
    blocks = {at: one.agreement.tolist() for at, one in found.offsets.items()}
    if args.json:
        print_json(
            files=dict(found.files), areas=found.areas,
            agreement=[{"stage": s, "block": b, "heads": r} for (s, b), r in blocks.items()],
        )  # fmt: skip
        return 0
    print_table([("stage", "half of its receptive field in"), *(
        (str(s), percent(area)) for s, area in enumerate(found.areas, 1)
    )])  # fmt: skip
    if blocks:
        rows = [(f"{s + 1}.{b + 1}", " ".join(decimal(x) for x in r)) for (s, b), r in blocks.items()]
        print_table([("block", "correlation of each head's attention with its position bias"), *rows])
    note(told(dict(found.files)))
    note(f"{out} is written; cfviz.measured.survey.open_survey reads it")
    return 0
