"""`cfviz models`: the variants, from their configurations alone."""

from __future__ import annotations

import argparse
from typing import Any

from cfviz.models.dense.variants import DATASETS, DENSE, list_dense
from cfviz.models.variants import OFFICIAL, VARIANTS, parameters, shipped

from .output import print_json, print_table


def add(commands: Any) -> None:
    """Add the command."""
    text = "List the variants of CrossFormer, and where their weights come from."
    models = commands.add_parser("models", help="list the variants", description=text)
    models.add_argument(
        "--task", choices=("classify", *DATASETS), default="classify",
        help="classify (the default), detect or segment: detectors and segmenters with a CrossFormer inside",
    )  # fmt: skip
    models.add_argument("--json", action="store_true", help="print machine-readable output")
    models.set_defaults(run=_models)


def _models(args: argparse.Namespace) -> int:
    if args.task != "classify":
        return _dense(args)
    models = [_about(name, config) for name, config in VARIANTS.items()]
    if args.json:
        print_json(models=models)
        return 0
    rows = [("model", "parameters", "width", "depths", "heads", "groups", "intervals", "weights")]
    for about in models:
        lists = [" ".join(map(str, about[key])) for key in ("depths", "num_heads", "group_size", "interval")]
        size = f"{about['parameters'] / 1e6:.1f} M"
        rows.append((about["model"], size, str(about["embed_dim"]), *lists, about["weights"]))
    print_table(rows, right=(1, 2))
    return 0


def _dense(args: argparse.Namespace) -> int:
    """List the detectors or the segmenters, with the authors' figures."""
    measures = {"detect": ("box_ap", "mask_ap"), "segment": ("miou", "miou_multi_scale")}[args.task]
    known = {name: DENSE[name] for name in list_dense(args.task)}
    if args.json:
        listed = [
            {"model": name, "backbone": v.backbone, "parameters_millions": v.parameters, **v.published}
            for name, v in known.items()
        ]
        print_json(models=listed)
        return 0
    titles = {
        "box_ap": "box AP",
        "mask_ap": "mask AP",
        "miou": "mIoU",
        "miou_multi_scale": "mIoU, six scales",
    }
    rows = [("model", "parameters", *(titles[key] for key in measures), "weights")]
    for name, v in known.items():
        figures = [f"{v.published[key]:.1f}" if key in v.published else "" for key in measures]
        rows.append((name, f"{v.parameters:.1f} M", *figures, _weights_of(name)))
    print_table(rows, right=(1, 2, 3))
    return 0


def _weights_of(name: str) -> str:
    return "bundled" if shipped(name) else "official" if DENSE[name].drive else "local file"


def _about(name: str, config: dict[str, Any]) -> dict[str, Any]:
    weights = "local file"
    if shipped(name):
        weights = "bundled"
    elif name in OFFICIAL:
        weights = "official"
    keys = ("embed_dim", "depths", "num_heads", "group_size", "interval")
    return {
        "model": name,
        "parameters": parameters(name),
        **{key: config[key] for key in keys},
        "weights": weights,
    }
