"""From a run to the file of neck and heads that comes with the package, and the card beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from cfviz.data.labels import labels
from cfviz.jobs import replacing, write
from cfviz.models.dense.factory import make_dense
from cfviz.models.dense.variants import CLASSES, DENSE
from cfviz.models.weights.checkpoints import load_checkpoint, write_checkpoint
from cfviz.provenance import SCENES_OF, Training
from cfviz.training import state as states

from .evaluate import ABLATIONS, about

ROWS = {
    "whole": "as it is",
    "no_large_kernels": "CEL without its large kernels",
    "no_lda": "long distance attention looks at neighbours",
    "no_dpb": "no position bias",
}
TITLES = {
    "miou": "mIoU", "miou_classes": "mIoU without the ground", "pixel_accuracy": "pixels right",
    "box_ap": "box AP", "box_ap50": "AP 50", "box_ap75": "AP 75", "box_ap_small": "small",
    "box_ap_medium": "medium", "box_ap_large": "large",
}  # fmt: skip


def export(run: str | Path, out: str | Path, commit: str) -> Path:
    """Write the moving average of a run's neck and heads (float16 safetensors) and its card (.json, .md).

    Args:
        run: The --out folder of a run.
        out: A .safetensors file.
        commit: The Git commit that the run was made with.
    """
    found, out = states.read(run), Path(out)
    recipe = found["recipe"]
    name, variant = recipe["model"], DENSE[recipe["model"]]
    backbone = load_checkpoint(f"bundled:{variant.backbone}")
    passes = round(found["step"] * recipe["batch_size"] / recipe["scenes"], 1)
    done = Training("run", f"{SCENES_OF}imagenette20", (passes,))
    with torch.device("meta"):
        model = make_dense(name)
    facts: dict[str, Any] = {
        "variant": variant.backbone,
        "num_classes": CLASSES[variant.dataset],
        "dataset": variant.dataset,
        "classes": labels(variant.dataset),
        "trained": done.sentence(),
        "training": done.as_json(),
        "group_size": list(model.backbone.group_size),
        "interval": list(model.backbone.interval),
        "lda": model.backbone.lda,
        "trained_group": list(backbone.trained_group or ()),
    }
    # counters are not needed, and float16 would round them
    kept = {key: value for key, value in found["ema"].items() if value.is_floating_point()}
    with replacing(out) as part:
        sha256 = write_checkpoint(part, kept, torch.float16, **facts)
        size = part.stat().st_size
    card = {
        "model": name,
        **facts,
        "sha256": sha256,
        "backbone_sha256": backbone.sha256,
        "bytes": size,
        "parameters": sum(value.numel() for value in kept.values()),
        "recipe": {key: value for key, value in recipe.items() if "cache" not in key and key != "data"},
        "steps": found["step"],
        "minutes": round(found["seconds"] / 60, 1),
        "commit": commit,
    }
    put(out, card)
    return out


def read(out: str | Path) -> dict[str, Any]:
    """Read a card."""
    return json.loads(Path(out).with_suffix(".json").read_text("utf-8"))


def put(out: Path, card: dict[str, Any]) -> None:
    """Write a card, for programs and for people."""
    write(out.with_suffix(".json"), card)
    with replacing(out.with_suffix(".md")) as part:
        part.write_text(text(card), encoding="utf-8")


def text(card: dict[str, Any]) -> str:
    """Return a card in Markdown."""
    recipe, figures = card["recipe"], card.get("measured")
    lines = [
        f"# {card['model']}",
        f"Trained on: {card['trained']}. The backbone is the bundled {card['variant']}, which did not learn "
        f"here (SHA-256 `{card['backbone_sha256'][:16]}`); this file holds neck and heads.",
        f"- Parameters of neck and heads: {card['parameters'] / 1e6:.2f} M; file: {card['bytes'] / 1e6:.2f} "
        f"MB, float16; SHA-256 `{card['sha256']}`\n"
        f"- Data: {recipe['scenes']} scenes of 224 x 224 px, composed of imagenette20's training photos: one "
        "to six pieces of photos, cut out as ellipses, blobs and polygons, on a photo out of focus. Classes, "
        "boxes and masks are exact, since the scenes were made (`cfviz.data.scenes`); "
        f"{recipe['hold_out']:.0%} of the photos were held out to follow the training\n"
        f"- AdamW, {card['steps']} steps of {recipe['batch_size']} scenes, lr {recipe['lr']:g} with warm-up "
        f"and cosine, weight decay {recipe['weight_decay']:g}, moving average {recipe['ema_decay']:g}, bf16, "
        f"seed {recipe['seed']}; {card['minutes']:g} minutes on a core shared with other work\n"
        f"- Command: `python -m cfviz train-dense --config {card['model'].split('_crossformer')[0]}_nano "
        f"--out RUN`, commit {card['commit'][:12]}",
        "What it cannot do: photos as people take them. It learned on pieces with sharp borders on a ground "
        "out of focus, each showing a whole photo of one of 20 classes; in a photo it labels whatever is in "
        "focus with one of them. The backbone saw the same training photos.",
    ]
    if figures:
        names = [key for key in TITLES if key in figures["whole"]]
        head = [f"| | {' | '.join(TITLES[key] for key in names)} |", "|---" * (len(names) + 1) + "|"]
        rows = [
            f"| {ROWS[row]} | {' | '.join('{} [{}, {}]'.format(*figures[row][key]) for key in names)} |"
            for row in ABLATIONS
            if row in figures
        ]
        lines += [
            "## Measured",
            f"In per cent, with 95 % intervals, on {about(figures['scenes'])}: {figures['things']} things; "
            f"{figures['dropped']} that others would have hidden were left out."
            + (" Parts were knocked out without training anything again." if len(rows) > 1 else ""),
            "\n".join([*head, *rows]),
        ]
    if figures and "iou" in figures["whole"]:
        each = zip(card["classes"], figures["whole"]["iou"], strict=True)
        table = "\n".join(f"| {name} | {value} |" for name, value in each)
        lines.append(f"| class | IoU |\n|---|---|\n{table}")
    return "\n\n".join(lines) + "\n"
