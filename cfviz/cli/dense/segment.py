"""`cfviz segment`: a class for every pixel of photos."""

from __future__ import annotations

import argparse
import sys
from time import perf_counter
from typing import Any

from cfviz.models.dense.variants import ONE_SCALE
from cfviz.training.cli import add_scales
from cfviz.words import translator

from ..operations import write_operations
from ..output import print_table
from .common import add_dense, begin, each_photo, finish, print_remark, stem


def add(commands: Any) -> None:
    """Add the command."""
    text = (
        "Label every pixel of photos with Semantic FPN or UPerNet. A model must be named, with --model or by "
        "a file of weights; the labels of random weights would mean nothing, so these are refused."
    )
    parser = commands.add_parser("segment", help="label the pixels of photos", description=text)
    add_dense(
        parser, "segment",
        "label maps NAME.png, whose values are the numbers of the classes from 0, and pictures "
        "NAME.labelled.png",
    )  # fmt: skip
    add_scales(parser)
    parser.set_defaults(run=_segment)


def _segment(args: argparse.Namespace) -> int:
    model, folder = begin(args, "segment")
    import numpy as np  # deferred, with the rest: PyTorch

    from cfviz.figures.pictures import label_picture, labels_over
    from cfviz.models.dense.pipeline import label
    from cfviz.run import about_findings, dense_class_names

    names, t = dense_class_names(model, args.lang), translator(args.lang)
    results: list[dict[str, Any]] = []
    failures: list[dict[str, Any]] = []
    for _, name, photo in each_photo(args.photos, failures):
        image = photo.image
        start = perf_counter()
        labels = label(model, image, args.sides, args.scales or ONE_SCALE)
        seconds = perf_counter() - start
        counts = np.bincount(labels.reshape(-1), minlength=model.num_classes) / labels.size
        rows = [
            {"index": int(k), "label": names[k], "share": float(counts[k])}
            for k in np.argsort(-counts, kind="stable")
            if counts[k]
        ]
        facts = {"photo": name, "photo_size": list(labels.shape), "seconds": seconds}
        results.append({**facts, "classes": rows, "remark": about_findings(model, photo.sha256, t)})
        if folder:
            label_picture(labels, model.num_classes).save(folder / f"{stem(name)}.png")
            labels_over(image, labels).save(folder / f"{stem(name)}.labelled.png")
        if len(results) == 1:
            write_operations(args, name, photo, model, sides=args.sides)
        if not args.json:
            _print(results[-1], len(results) == 1)
            sys.stdout.flush()
    return finish(args, model, results, failures, t)


def _print(result: dict[str, Any], first: bool) -> None:
    height, width = result["photo_size"]
    facts = f"{height} x {width} px, {result['seconds']:.1f} s"
    print("" if first else "\n", f"{result['photo']}  ({facts})", sep="")
    print_table([("  ", f"{row['share']:.1%}", row["label"]) for row in result["classes"]], right=(1,))
    print_remark(result)
