"""`make fuzz`: thousands of malformed inputs sent to every entry point; prints the seed and what failed.

`python -m tests.fuzz` tries everything with a new seed, `… images --seed 7 --count 500` one part of it, and
`… images --seed 7 --case 123` a single input again, in this process.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from pathlib import Path

from tests.fuzz import harness

FOLDER = Path(".fuzz")
COUNTS = {
    "images": 10_000,
    "checkpoints": 2_000,
    "links": 600,
    "lessons": 2_000,
    "messages": 600,
    "jobs": 600,
    "uploads": 4_000,
    "frames": 4_000,
}


def main(words: list[str] | None = None) -> int:
    """Run the fuzzer; return 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("kinds", nargs="*", metavar="kind", help=f"of {', '.join(COUNTS)} (all)")
    parser.add_argument("--seed", type=int, help="what all inputs follow from; a new one if not given")
    parser.add_argument("--count", type=int, help=f"inputs of each kind ({COUNTS})")
    parser.add_argument("--minutes", type=float, default=30, help="for all kinds together (30)")
    parser.add_argument("--workers", type=int, default=2, help="processes side by side (2)")
    parser.add_argument("--case", type=int, help="try this one input only, here, with its full traceback")
    asked = parser.parse_args(words)
    if unknown := set(asked.kinds) - set(COUNTS):
        parser.error(f"no kind {', '.join(sorted(unknown))}; there are {', '.join(COUNTS)}")
    kinds = asked.kinds or list(COUNTS)
    seed = secrets.randbelow(2**32) if asked.seed is None else asked.seed
    if asked.case is not None:
        return _again(kinds[0], seed, asked.case)
    FOLDER.mkdir(exist_ok=True)
    print(f"seed {seed}", flush=True)
    left, failed = 60 * asked.minutes, 0
    for position, kind in enumerate(kinds):
        report = harness.run(
            f"tests.fuzz.{kind}",
            seed,
            asked.count or COUNTS[kind],
            errors=FOLDER / f"{kind}.log",
            workers=asked.workers,
            seconds=left / (len(kinds) - position),
        )
        left -= report.seconds
        _tell(report, asked.count or COUNTS[kind])
        failed += len(report.failures)
    return int(failed > 0)


def _tell(report: harness.Report, wanted: int) -> None:
    print(report, flush=True)
    if report.tried < wanted:
        print(f"  stopped by --minutes after {report.tried} of {wanted}")
    for failure in report.failures:
        path = FOLDER / f"{report.kind}-{failure.seed}-{failure.index}.bin"
        path.write_bytes(harness.case_of(f"tests.fuzz.{report.kind}", failure.seed, failure.index).data)
        print(f"\n{failure}\nsaved as {path}", flush=True)


def _again(kind: str, seed: int, index: int) -> int:
    case = harness.case_of(f"tests.fuzz.{kind}", seed, index)
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{kind}-{seed}-{index}.bin"
    path.write_bytes(case.data)
    print(f"{case.note}\n{len(case.data)} bytes, saved as {path}")
    outcome, failure, seconds = harness.try_one(f"tests.fuzz.{kind}", seed, index)
    print(failure or f"{outcome} in {seconds:.2f} s")
    return int(failure is not None)


if __name__ == "__main__":
    sys.exit(main())
