"""The command line: the functions of the app, without a browser.

Results go to standard output, everything else to standard error. An error that the user can correct prints
one line and exits with code 2; with `CFVIZ_DEBUG=1` the traceback is shown instead.

Each command has a file: its options, and a function that imports PyTorch and the like only when it runs, so
that `cfviz --help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import cfviz
from cfviz.training import cli as training

from . import amplitude, app, figure, listing, onnx, points, predict, report, site, survey
from .dense import detect, segment
from .output import EXPECTED, USER_ERROR, complain

__all__ = ["main"]

INTERRUPTED, BROKEN_PIPE = 130, 141  # exit codes


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments; None uses those of the process.

    Returns:
        The exit code: 0, 2 for an error that the user can correct, or that of an interrupt or broken pipe.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show one label still shows the rest
    try:
        args = _parser().parse_args(argv)
        code = args.run(args)
        sys.stdout.flush()
        return code or 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at exit
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except EXPECTED as error:
        if os.environ.get("CFVIZ_DEBUG"):
            raise
        complain(error)
        return USER_ERROR


class _Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that reports errors on one line and aligns the help."""

    def __init__(self, **kwargs: Any):
        def formatter(prog: str) -> argparse.HelpFormatter:
            return argparse.HelpFormatter(prog, max_help_position=28, width=100)

        super().__init__(**{"formatter_class": formatter, "allow_abbrev": False, **kwargs})

    def error(self, message: str) -> NoReturn:
        self.exit(USER_ERROR, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    called = "cfviz" if Path(sys.argv[0]).stem == "cfviz" else "python -m cfviz"
    parser = _Parser(prog=called, description="See inside CrossFormer, from the command line.")
    parser.add_argument("--version", action="version", version=f"cfviz {cfviz.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (
        listing,
        predict,
        detect,
        segment,
        report,
        survey,
        amplitude,
        figure,
        site,
        points,
        onnx,
        app,
    ):
        command.add(commands)
    training.register(commands)
    return parser
