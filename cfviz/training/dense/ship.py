"""From a run to the file of neck and heads that comes with the package, and the card beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from cfviz.data.labels import labels
from cfviz.jobs import replacing, write
from cfviz.models.dense.factory import make_dense
from cfviz.models.dense.model import DenseModel
from cfviz.models.dense.variants import CLASSES, DENSE
from cfviz.models.weights.checkpoints import load_checkpoint, write_checkpoint
from cfviz.provenance import SCENES_OF, Training
from cfviz.training import state as states

from . import recipe as recipes
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


def export(run: str | Path, out: str | Path) -> Path:
    """Write the moving average of a run's neck and heads (float16 safetensors) and its card (.json, .md).

    Args:
        run: The --out folder of a run.
        out: A .safetensors file.
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
        **model.backbone.group_settings,
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
        "commit": ", ".join(found.get("commits", ["unknown"])),
    }
    put(out, card)
    return out


def read(out: str | Path) -> dict[str, Any]:
    """Read a card.

    Raises:
        ValueError: If there is none, or the file is not one of heads for boxes or pixels.
    """
    path = Path(out).with_suffix(".json")
    try:
        card = json.loads(path.read_text("utf-8"))
        text({**card, "measured": None})  # what was measured of it may be older than this code
    except OSError as error:
        raise ValueError(f"the card {path} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration, RecursionError):
        raise ValueError(f"{path} is not the card of heads that train-dense made") from None
    return card


def card_of(out: str | Path, model: DenseModel) -> dict[str, Any]:
    """Read the card of a model, to add what was measured of it.

    Raises:
        ValueError: If there is none, or it is the card of another model or of other weights.
    """
    card, name, sha256 = read(out), model.pretrained_cfg["architecture"], model.provenance.sha256
    if (card["model"], card["sha256"]) != (name, sha256):
        raise ValueError(
            f"{Path(out).with_suffix('.json')} is the card of {card['model']} (SHA-256 "
            f"{card['sha256'][:12]}); what would be measured is {name} ({(sha256 or 'none')[:12]})"
        )
    return card


def put(out: Path, card: dict[str, Any]) -> None:
    """Write a card, for programs and for people."""
    told = text(card)  # first: a card of which no text can be made replaces none
    write(out.with_suffix(".json"), card)
    with replacing(out.with_suffix(".md")) as part:
        part.write_text(told, encoding="utf-8")


def command(recipe: dict[str, Any]) -> str:
    """Return the command that trains with a recipe, from the one that comes with cfviz for its model."""
    name, base = next(
        (name, told)
        for name, told in ((name, recipes.load(name).as_dict()) for name in recipes.names())
        if told["model"] == recipe["model"]
    )
    changes = [f"--set {key}={value}" for key, value in recipe.items() if base.get(key) != value]
    return " ".join(["python -m cfviz train-dense --config", name, *changes, "--out RUN"])


def _figure(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "–"
    return f"{value}" if low is None else f"{value} [{low}, {high}]"


def text(card: dict[str, Any]) -> str:
    """Return a card in Markdown."""
    recipe, figures = card["recipe"], card.get("measured")
    side, decay = recipe["side"], recipe["ema_decay"]
    lines = [
        f"# {card['model']}",
        f"Trained on: {card['trained']}. The backbone is the bundled {card['variant']}, which did not learn "
        f"here (SHA-256 `{card['backbone_sha256'][:16]}`); this file holds neck and heads.",
        f"- Parameters of neck and heads: {card['parameters'] / 1e6:.2f} M; file: {card['bytes'] / 1e6:.2f} "
        f"MB, float16; SHA-256 `{card['sha256']}`\n"
        f"- Data: {recipe['scenes']} scenes of {side} x {side} px, "
        "composed of imagenette20's training photos: "
        "one to six pieces of photos, cut out as ellipses, blobs and polygons, on a photo out of focus. "
        "Classes, "
        "boxes and masks are exact, since the scenes were made (`cfviz.data.scenes`); "
        f"{100 * recipe['hold_out']:g}% of the photos were held out to follow the training\n"
        f"- AdamW, {card['steps']} steps of {recipe['batch_size']} scenes, lr {recipe['lr']:g} with "
        f"{'warm-up and ' if recipe['warmup'] else ''}cosine, weight decay {recipe['weight_decay']:g}, "
        f"{f'moving average {decay:g}' if decay else 'no moving average'}, bf16, seed {recipe['seed']}; "
        f"{card['minutes']:g} minutes\n"
        f"- Command: `{command(recipe)}`, commit {', '.join(c[:12] for c in card['commit'].split(', '))}",
        "What it cannot do: photos as people take them. It learned on pieces with sharp borders on a ground "
        "out of focus, each showing a whole photo of one of 20 classes; in a photo it labels whatever is in "
        "focus with one of them. The backbone saw the same training photos.",
    ]
    if figures:
        names = [key for key in TITLES if key in figures["whole"]]
        head = [f"| | {' | '.join(TITLES[key] for key in names)} |", "|---" * (len(names) + 1) + "|"]
        rows = [
            f"| {ROWS[row]} | {' | '.join(_figure(*figures[row][key]) for key in names)} |"
            for row in ABLATIONS
            if row in figures
        ]
        lines += [
            "## Measured",
            f"In per cent, with 95 % intervals, on {about(figures)}: {figures['things']} things; "
            f"{figures['dropped']} that others would have hidden were left out."
            + (" Parts were knocked out without training anything again." if len(rows) > 1 else "")
            + f" An interval is the figure ± 1.96 standard deviations of {figures['draws']} draws of the "
            "scenes with replacement, cut at 0 and 100 %.",
            "\n".join([*head, *rows]),
        ]
    if figures and "iou" in figures["whole"]:
        each = zip(card["classes"], figures["whole"]["iou"], strict=True)
        table = "\n".join(f"| {name} | {'–' if value is None else value} |" for name, value in each)
        lines.append(f"| class | IoU |\n|---|---|\n{table}")
    return "\n\n".join(lines) + "\n"
