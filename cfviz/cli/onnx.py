"""`cfviz export-onnx`: a model as an ONNX file."""

from __future__ import annotations

import argparse
import os
from typing import Any

from cfviz.framing import as_pair
from cfviz.jobs import check_target
from cfviz.models.weights.errors import readable_size
from cfviz.training.cli import add_lda, count, given_lda, size_of

from .arguments import add_model, add_photo_size
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


def _export(args: argparse.Namespace) -> int:
    from cfviz.models.export import INPUT, OUTPUT, check_packages, export_onnx  # deferred: PyTorch

    check_target(args.out, "--out")
    check_packages()
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
