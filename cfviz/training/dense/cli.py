"""The commands train-dense and evaluate-dense."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from cfviz.jobs import check_target, write
from cfviz.models.dense.variants import DENSE

from . import recipe


def add(subparsers: Any, count: Any) -> None:
    """Add the commands; `count` parses a number from 1 up."""
    _add_train(subparsers, count)
    _add_evaluate(subparsers, count)


def _add_train(subparsers: Any, count: Any) -> None:
    text = (
        "Train neck and heads of a detector or segmenter on the bundled backbone, with scenes composed of a "
        "folder of photos. Run the same command again to resume."
    )
    parser = subparsers.add_parser("train-dense", help="train heads for boxes or pixels", description=text)
    parser.add_argument("--data", metavar="FOLDER", help="imagenette20's photos (default: the recipe's)")
    parser.add_argument("--out", required=True, metavar="RUN", help="the folder to keep the run in")
    parser.add_argument(
        "--config", default=recipe.DEFAULT, metavar="RECIPE",
        help=f"a YAML file, or one of {', '.join(recipe.names())} (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="change a setting of the recipe; can be repeated",
    )  # fmt: skip
    parser.add_argument("--threads", type=count, metavar="N", help="CPU threads")
    parser.add_argument(
        "--weights", metavar="FILE",
        help="at the end, write neck and heads here (.safetensors), with a card beside them",
    )  # fmt: skip
    parser.set_defaults(run=_train)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _train(args: argparse.Namespace) -> int:
    import torch  # deferred, like the modules that need it

    from cfviz.training.ship.export import commit

    from . import engine, ship

    if args.threads:
        torch.set_num_threads(args.threads)
    if args.weights:
        check_target(args.weights, "--weights", ".safetensors")
    chosen = recipe.load(args.config, args.set, args.data)
    if not Path(chosen.data).is_dir():
        raise ValueError(f"there is no folder {chosen.data}; name imagenette20's photos with --data")
    run = engine.fit(chosen, args.out, _tell, commit())
    if args.weights:
        print(ship.export(run, args.weights))
    return 0


def _add_evaluate(subparsers: Any, count: Any) -> None:
    ours = [name for name, variant in DENSE.items() if variant.drive is None]
    text = (
        "Measure a detector or segmenter of ours on scenes composed of photos that it was not trained on, as "
        "it is and with parts of its backbone knocked out."
    )
    parser = subparsers.add_parser(
        "evaluate-dense", help="measure boxes or labels on composed scenes", description=text
    )
    parser.add_argument("--data", required=True, metavar="FOLDER", help="imagenette20's validation photos")
    parser.add_argument("--model", required=True, choices=ours, help="whose bundled weights to measure")
    parser.add_argument(
        "--scenes", type=count, default=1000, metavar="N", help="number of scenes (default: 1000)"
    )
    parser.add_argument("--cache", metavar="FILE", help="a cache of decoded photos, made if it is not there")
    parser.add_argument("--threads", type=count, metavar="N", help="CPU threads")
    parser.add_argument("--json", metavar="FILE", help="also write the result to a JSON file")
    parser.add_argument("--card", metavar="FILE", help="add the result to the card beside these weights")
    parser.set_defaults(run=_evaluate)


def _evaluate(args: argparse.Namespace) -> int:
    import torch  # deferred, like the modules that need it

    from cfviz.models.dense.factory import opened_dense
    from cfviz.training import cache
    from cfviz.training.folder import PhotoFolder

    from . import evaluate, ship
    from .engine import CACHE_SIDE
    from .features import check_classes

    if args.threads:
        torch.set_num_threads(args.threads)
    if args.json:
        check_target(Path(args.json), "--json")
    model = opened_dense(f"bundled:{args.model}", args.model)
    card = ship.card_of(args.card, model) if args.card else {}
    for end in (".json", ".md") if args.card else ():
        check_target(Path(args.card).with_suffix(end), "--card")
    photos: Any = PhotoFolder(args.data)
    check_classes(photos)  # before any is decoded
    if args.cache:
        photos = cache.build(args.data, args.cache, CACHE_SIDE)
    figures = evaluate.evaluated(model, photos, args.scenes, tell=_tell)
    result = {"model": args.model, "weights": model.provenance.sha256, **figures}
    if args.json:
        write(Path(args.json), result)
    if args.card:
        ship.put(Path(args.card), {**card, "measured": figures})
    print(json.dumps(result, indent=1))
    return 0
