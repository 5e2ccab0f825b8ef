"""Interleaved timing: any other load on the machine affects both sides of a ratio."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import torch

from cfviz.models.probes.formats import multiplies_bfloat16


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: What was measured.
        value: The figure, formatted.
        target: The target as text, or "".
        met: Whether the target was met; None without a target.
    """

    what: str
    value: str
    target: str = ""
    met: bool | None = None


def interleaved(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Time several calls in turn, A B A B …; return the seconds of each round after one warm-up round."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(rounds + 1):
        for name, call in calls.items():
            start = perf_counter()
            call()
            if i:
                times[name].append(perf_counter() - start)
    return times


def ratio(times: Mapping[str, list[float]], a: str, b: str) -> float:
    """Median over the rounds of the time of `a` divided by the time of `b`."""
    return median(x / y for x, y in zip(times[a], times[b], strict=True))


def ms(times: Mapping[str, list[float]], name: str) -> float:
    """Median time in milliseconds."""
    return 1e3 * median(times[name])


def at_most(what: str, value: float, target: float, digits: int = 2, unit: str = "x", note: str = "") -> Row:
    """A row whose figure should not exceed the target."""
    shown = f"{value:.{digits}f}{unit}" + (f"  ({note})" if note else "")
    return Row(what, shown, f"<= {target:g}{unit}", value <= target)


def processor() -> str:
    """What kind of processor this is: targets hold for kinds, and formats pay on some of them only."""
    name = torch.cpu.get_capabilities().get("cpu_name") or platform.machine()
    bfloat16 = "multiplies bfloat16" if multiplies_bfloat16("cpu") else "does not multiply bfloat16"
    return f"{name} ({torch.backends.cpu.get_cpu_capability()}, {bfloat16})"


def table(rows: list[Row]) -> str:
    """The rows as aligned text."""
    marks = {True: "met", False: "missed", None: ""}
    cells = [("measured", "figure", "target", "")] + [(r.what, r.value, r.target, marks[r.met]) for r in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(4)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])
