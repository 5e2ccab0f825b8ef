"""What commands print: tables, JSON, notes, errors, and the progress of a download."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from time import monotonic
from typing import Any

from cfviz.models.weights.errors import readable_size
from cfviz.words import columns

SCHEMA = 1  # version of the --json output; it changes when a field is renamed or removed
USER_ERROR = 2  # exit code of an error that the user can correct
EXPECTED = (ValueError, OSError, RuntimeError, MemoryError)  # torch raises RuntimeError when out of memory


def print_table(rows: Sequence[Sequence[str]], right: tuple[int, ...] = ()) -> None:
    """Print rows with aligned columns; those in `right` are aligned to the right."""
    widths = [max(columns(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = []
        for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - columns(cell))
            cells.append(space + cell if i in right else cell + space)
        print("  ".join(cells).rstrip())


def print_json(**content: Any) -> None:
    """Print a result for programs."""
    print(json.dumps({"schema": SCHEMA, **content}, ensure_ascii=False, indent=2))


def one_line(error: object) -> str:
    """Return an error's message on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def named(photo: str, error: object) -> str:
    """Return an error's message, beginning with the photo's name unless it contains the name already."""
    return one_line(error) if photo in str(error) else f"{photo}: {one_line(error)}"


def complain(error: object) -> None:
    """Print an error."""
    print(f"cfviz: {one_line(error)}", file=sys.stderr)


def note(text: str) -> None:
    """Print a remark that is not part of the result."""
    print(f"note: {text}", file=sys.stderr)


class Bar:
    """Progress of a download on standard error: an updating line in a terminal, else one line at the end."""

    def __init__(self, name: str, width: int = 28):
        self.name, self.width, self.live = name, width, sys.stderr.isatty()
        self.last, self.done = 0.0, 0

    def __call__(self, done: int, total: int | None) -> None:
        self.done = done
        if not self.live or (monotonic() - self.last < 0.1 and done != total):
            return
        self.last = monotonic()
        if total:
            filled = self.width * done // total
            shown = (
                f"[{'#' * filled}{'.' * (self.width - filled)}] {done / total:4.0%} of {readable_size(total)}"
            )
        else:
            shown = readable_size(done)
        print(f"\r{self.name}  {shown} ", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self.done:
            end = "\n" if self.live else f"{self.name}: {readable_size(self.done)} downloaded\n"
            print(end, end="", file=sys.stderr, flush=True)
