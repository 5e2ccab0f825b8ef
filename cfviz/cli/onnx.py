"""`cfviz export-onnx`: a model as an ONNX file."""

from __future__ import annotations

import argparse
import os
from typing import Any

from cfviz.framing import as_pair
from cfviz.jobs import check_target
from cfviz.models.dense.variants import DENSE
from cfviz.models.weights.errors import readable_size
from cfviz.training.cli import add_lda, count, given_lda, size_of

from .arguments import add_model, add_photo_size
from .dense.common import open_dense
from .opening import open_model


def add(commands: Any) -> None:
    """Add the command."""
    text = "Export a model as an ONNX file, and check with onnxruntime that it computes the same logits."
    parser = commands.add_parser("export-onnx", help="export a model as an ONNX file", description=text)
    parser.add_argument("--out", required=True, metavar="FILE", help="the .onnx file to write")
    add_model(parser)
    add_photo_size(parser, ", fixed in the file")
    add_lda(parser)
    parser.add_argument("--batch", type=count, metavar="N", help="photos per batch (default: any number)")
    parser.set_defaults(run=_export)


def _export_dense(args: argparse.Namespace) -> int:
    """What the layers of a detector or segmenter compute."""
    from cfviz.models.dense.export import export_dense  # deferred: PyTorch

    given = {"--lda": args.lda}
    if told := [name for name, value in given.items() if value is not None]:
        raise ValueError(f"{told[0]} belongs to a classifier; {args.model} is a detector or segmenter")
    model = open_dense(args.model, args.weights, DENSE[args.model].task, "cpu")
    size = args.size or (model.sides[1], model.sides[0])
    names, difference = export_dense(model, args.out, size, args.batch)
    height, width = as_pair(size)
    print(
        f"{args.out}: pixels ({args.batch or 'batch'}, 3, {height}, {width}) -> {', '.join(names)}, "
        f"{readable_size(os.path.getsize(args.out))}; onnxruntime's outputs agree with the model's to "
        f"{difference:.0e}"
    )
    return 0


def _export(args: argparse.Namespace) -> int:
    from cfviz.models.export import INPUT, OUTPUT, check_packages, export_onnx  # deferred: PyTorch

    check_target(args.out, "--out")
    check_packages()
    if args.model in DENSE:
        return _export_dense(args)
    model = open_model(args.model, args.weights, **given_lda(args))
    size = size_of(args, model)
    difference = export_onnx(model, args.out, size, args.batch)
    height, width = as_pair(size)
    batch = args.batch or "batch"
    print(
        f"{args.out}: {INPUT} ({batch}, {model.in_chans}, {height}, {width}) -> {OUTPUT} ({batch}, "
        f"{model.num_classes}), {readable_size(os.path.getsize(args.out))}; onnxruntime's logits agree with "
        f"the model's to {difference:.0e}"
    )
    return 0
