"""`cfviz amplitude`: train two models, with and without cooling layers, and compare their streams."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cfviz.training.cli import count, set_threads
from cfviz.words import decimal

from .output import note, print_table

RECIPE = "nano_pp"


def add(commands: Any) -> None:
    """Add the command."""
    text = (
        "Train a small CrossFormer++ with cooling layers and, from the same seed, without, in turns, and "
        "measure both photo by photo: how large the numbers of the stream grow, how far heads look. Repeat "
        "the command to go on after an interruption."
    )
    short = "train with and without cooling layers, and compare"
    parser = commands.add_parser("amplitude", help=short, description=text)
    parser.add_argument("--data", required=True, metavar="FOLDER", help="photos to learn from, as for train")
    parser.add_argument("--val", required=True, metavar="FOLDER", help="other photos, to measure on")
    parser.add_argument(
        "--out", required=True, metavar="RUNS", help="the folder for both runs and amplitude.json"
    )
    parser.add_argument(
        "--config", default=RECIPE, metavar="RECIPE", help="a recipe, as for train (default: %(default)s)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of the recipe"
    )
    parser.add_argument("--steps", type=count, metavar="N", help="stop both after N steps")
    parser.add_argument(
        "--limit",
        type=count,
        default=10,
        metavar="N",
        help="photos of each class to measure on (default: 10)",
    )
    parser.add_argument("--cpu", action="store_true", help="use the CPU even if there is a GPU")
    parser.add_argument("--threads", type=count, metavar="N", help="CPU threads")
    parser.set_defaults(run=_amplitude)


def _amplitude(args: argparse.Namespace) -> int:
    from cfviz.measured.cooling import RESULT, compare, save, train_in_turns  # deferred: PyTorch
    from cfviz.training.folder import PhotoFolder
    from cfviz.training.recipe import load

    set_threads(args)
    learned, held = (PhotoFolder(folder) for folder in (args.data, args.val))
    if learned.classes != held.classes:  # said now, not after the training
        raise ValueError(
            f"{args.val} has other class folders than {args.data}; expected photos of the same classes"
        )
    recipe = load(args.config, args.set, args.data)
    if not train_in_turns(recipe, args.out, args.steps, args.cpu):
        note("stopped; run the same command again to go on")
        return 0
    found = compare(args.out, args.val, args.limit)
    path = Path(args.out) / RESULT
    save(found, path)
    sizes = found["rms"]
    print_table(
        [
            ("block", "rms, cooling", "without", "difference", "standard error"),
            *(
                (
                    block,
                    *(
                        decimal(sizes[key][n])
                        for key in ("cooling", "without", "difference", "standard_error")
                    ),
                )
                for n, block in enumerate(found["blocks"])
            ),
        ],
        right=(1, 2, 3, 4),
    )
    note(f"{path}: {found['trained']['steps']} steps, measured on {found['measured']['photos']} photos")
    return 0
