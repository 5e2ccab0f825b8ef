"""`--operations` of `predict`, `detect` and `segment`: what a forward computes, written to a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cfviz.jobs import check_target, replacing

from .output import note

FORMS = (".json", ".csv")


def add_operations(parser: argparse.ArgumentParser) -> None:
    """Add the option."""
    parser.add_argument(
        "--operations", metavar="FILE",
        help="also record and time the operations of the forward on the first photo, and write them as .json "
        "or .csv",
    )  # fmt: skip


def check_operations(args: argparse.Namespace) -> None:
    """Check that `--operations`, if given, can be written, and as what.

    Raises:
        ValueError: If it cannot.
    """
    if args.operations:
        check_target(args.operations, "--operations")
        if Path(args.operations).suffix not in FORMS:
            raise ValueError(f"--operations {args.operations}: expected the name of a .json or .csv file")


def write_operations(args: argparse.Namespace, name: str, photo: Any, model: Any, **how: Any) -> None:
    """Record and time the operations of a forward, and write them to `--operations`, if given.

    Args:
        args: Of the command.
        name: The photo as named on the command line.
        photo: The photo.
        model: The model.
        **how: Passed to `measure_operations`.
    """
    from cfviz.measured.operations import as_text, how_measured, measure_operations  # deferred: PyTorch

    if args.operations:
        measured = measure_operations(photo, model, **how).found
        with replacing(args.operations) as path:
            path.write_text(as_text(measured, Path(args.operations).suffix), "utf-8")
        note(f"{args.operations}: {name}; {how_measured(measured, args.lang)}")
