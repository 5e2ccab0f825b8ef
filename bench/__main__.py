"""`python -m bench`: run the benchmarks, print a table of ratios and show which targets were missed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from bench import hover, model, pages, position_bias, site, start, study, waits
from bench.timing import Row, processor, table

PARTS: dict[str, Callable[[int], Iterator[Row]]] = {
    "watching": model.watching,
    "scaling": model.scaling,
    "whole": model.whole,
    "halves": model.halves,
    "training": model.training,
    "start": start.rows,
    "hover": hover.rows,
    "pages": pages.rows,
    "waits": waits.rows,
    "brush": waits.brush,
    "site": site.rows,
    "bias": position_bias.rows,
    "study": study.rows,
}


def main() -> int:
    """Run the requested parts; the exit code is 0 whatever the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", choices=[[], *PARTS, "reference"], help="which parts; default all"
    )
    parser.add_argument(
        "--reference", type=Path, help="a checkout of the authors' repository to compare with"
    )
    parser.add_argument("--variant", default="crossformer_small", help="compared with the reference")
    parser.add_argument("--rounds", type=int, default=30, help="rounds of each measurement")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; default its own")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {processor()}", file=sys.stderr)
    rows: list[Row] = []
    if args.reference and (not args.parts or "reference" in args.parts):
        rows += _shown(model.against_reference(args.reference, args.variant, args.rounds))
    for name in args.parts or PARTS:
        if name in PARTS:
            rows += _shown(PARTS[name](args.rounds))
    print(table(rows))
    return 0


def _shown(rows: Iterator[Row]) -> Iterator[Row]:
    for row in rows:
        print(f"  {row.what}: {row.value}", file=sys.stderr, flush=True)
        yield row


if __name__ == "__main__":
    sys.exit(main())
