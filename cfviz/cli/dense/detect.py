"""`cfviz detect`: the things in photos, with their boxes and masks."""

from __future__ import annotations

import argparse
import sys
from time import perf_counter
from typing import Any

from cfviz.jobs import write
from cfviz.words import translator

from ..operations import write_operations
from ..output import print_table
from .common import add_dense, begin, each_photo, finish, print_remark, stem


def add(commands: Any) -> None:
    """Add the command."""
    text = (
        "Find things in photos with RetinaNet or Mask R-CNN: boxes, and masks with the latter. A model must "
        "be named, with --model or by a file of weights; random weights have learned nothing and are refused."
    )
    parser = commands.add_parser("detect", help="find things in photos", description=text)
    add_dense(parser, "detect", "pictures with boxes and masks, and detections.json in COCO's result format")
    parser.add_argument(
        "--threshold", type=_score, default=0.3, metavar="SCORE",
        help="score from which on a detection counts, 0.05 to 1 (default: 0.3; for COCO's evaluation 0.05)",
    )  # fmt: skip
    parser.set_defaults(run=_detect)


def _score(text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = -1.0
    if not 0.05 <= score <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a score from 0.05 to 1")
    return score


def _detect(args: argparse.Namespace) -> int:
    model, folder = begin(args, "detect")
    from cfviz.data.coco import as_results, image_id  # deferred, with the rest: PyTorch
    from cfviz.figures.pictures import boxes_over
    from cfviz.models.dense.pipeline import find
    from cfviz.run import about_findings, dense_class_names

    names, english = dense_class_names(model, args.lang), dense_class_names(model, "en")
    categories = None if model.provenance.dataset == "coco" else list(range(1, model.num_classes + 1))
    t, results = translator(args.lang), []
    coco: list[dict[str, Any]] = []
    failures: list[dict[str, Any]] = []
    for position, name, photo in each_photo(args.photos, failures):
        image = photo.image
        start = perf_counter()
        found = find(model, image, args.sides)
        seconds = perf_counter() - start
        kept = int((found.scores >= args.threshold).sum())  # best first
        mask = None if found.mask_logits is None else found.mask
        told = found.boxes[:kept], found.scores[:kept], found.labels[:kept]
        coco += as_results(image_id(name, position), *told, mask, categories)
        rows = [
            {"index": int(k), "label": names[k], "score": float(s), "box": [round(n, 2) for n in box]}
            for box, s, k in zip(*(part.tolist() for part in told), strict=True)
        ]
        facts = {"photo": name, "photo_size": list(found.size), "seconds": seconds}
        results.append({**facts, "found": rows, "remark": about_findings(model, photo.sha256, t)})
        if folder:
            captions = [f"{english[row['index']]} {row['score']:.0%}" for row in rows]
            picture = boxes_over(image, told[0], told[2].tolist(), captions, mask)
            picture.save(folder / f"{stem(name)}.png")
        if len(results) == 1:
            write_operations(args, name, photo, model, sides=args.sides)
        if not args.json:
            _print(results[-1], len(results) == 1)
            sys.stdout.flush()
    if folder:
        write(folder / "detections.json", coco)
    return finish(args, model, results, failures, t)


def _print(result: dict[str, Any], first: bool) -> None:
    height, width = result["photo_size"]
    facts = f"{height} x {width} px, {result['seconds']:.1f} s"
    print("" if first else "\n", f"{result['photo']}  ({facts})", sep="")
    rows = [
        ("  ", f"{row['score']:.1%}", row["label"], " ".join(f"{n:.0f}" for n in row["box"]))
        for row in result["found"]
    ]
    if rows:
        print_table(rows, right=(1,))
    else:
        print("  nothing above the threshold")
    print_remark(result)
