"""`cfviz points`: what can be watched inside a model."""

from __future__ import annotations

import argparse
from fnmatch import fnmatchcase
from typing import Any

from .output import print_json, print_table


def add(commands: Any) -> None:
    """Add the command."""
    text = "List the points inside a model that can be watched, with the axes of their arrays."
    points = commands.add_parser("points", help="list what can be watched in a model", description=text)
    points.add_argument("model", metavar="MODEL", help="a variant (see `models`)")
    points.add_argument(
        "patterns", nargs="*", metavar="PATTERN", help="list only these, for example 'layers.0.*.probs'"
    )
    points.add_argument("--json", action="store_true", help="print machine-readable output")
    points.set_defaults(run=_points)


def _points(args: argparse.Namespace) -> int:
    from cfviz.hooks import points  # deferred, with the model: they import PyTorch
    from cfviz.models.factory import create_model
    from cfviz.trace import axes_of

    found = points(create_model(args.model, weights=None))
    for pattern in args.patterns:
        if not any(fnmatchcase(point, pattern) for point in found):
            raise ValueError(
                f"{pattern!r} matches no point of {args.model}; leave it out to list all of them"
            )
    if args.patterns:
        found = [point for point in found if any(fnmatchcase(point, p) for p in args.patterns)]
    if args.json:
        print_json(model=args.model, points=[{"point": p, "axes": list(axes_of(p))} for p in found])
    else:
        print_table([(point, " x ".join(axes_of(point))) for point in found])
    return 0
