"""What cooling layers do: two models trained from one seed, with and without, compared photo by photo."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cfviz.data.header import ImageError
from cfviz.data.images import load_image
from cfviz.jobs import replacing
from cfviz.models.crossformer import CrossFormer
from cfviz.models.interventions.language import cooled_blocks
from cfviz.training.engine import Trainer
from cfviz.training.folder import PhotoFolder, shown
from cfviz.training.measure.calibration import negative_log_likelihood
from cfviz.training.measure.evaluation import spread
from cfviz.training.recipe import MACHINE_PATHS, Recipe
from cfviz.training.ship.export import load_run, phases_begun, shaped

from .amplitude import MEASURES, Streams, by_measure, measures, streams, trace_streams

TWINS = {"cooling": True, "without": False}  # name of a run: whether its model has cooling layers
RESULT = "amplitude.json"
TURN = 25  # steps of one model before the other goes on
UNTRAINED = 5  # every so many photos, also through the models before training
DIGITS = 4
UNITS = (
    "mean, largest and rms of each block's output; outliers: share of tokens over twice the median token; "
    "distance and even in pixels, even that of a head that looks at its whole group alike; means over the "
    "photos; difference: without minus cooling, with its standard error over the photos"
)


def twins(recipe: Recipe) -> dict[str, Recipe]:
    """Return a recipe with cooling layers and the same without, by the names of their runs."""
    return {
        name: replace(recipe, model_args={**recipe.model_args, "cooling": on}) for name, on in TWINS.items()
    }


def train_in_turns(
    recipe: Recipe, out: str | Path, steps: int | None = None, cpu: bool = False, turn: int = TURN
) -> bool:
    """Train both models from one seed, some steps of one and then of the other, or go on with stopped runs.

    Each run is what `cfviz train` makes of its recipe: the turns change no number.

    Args:
        recipe: The models' recipe; its `cooling` does not count.
        out: Folder of the runs, `cooling` and `without`.
        steps: Where both stop; None trains to the recipe's end.
        cpu: Use the CPU even if there is a GPU.
        turn: Steps of one model before the other goes on.

    Returns:
        Whether both got there; False if they were asked to stop.

    Raises:
        ValueError: If a run has gone further already, or cannot be trained.
    """
    runs = {name: Trainer(one, Path(out) / name, cpu) for name, one in twins(recipe).items()}
    if not cooled_blocks(runs["cooling"].bare):
        depths = tuple(runs["cooling"].bare.depths)
        raise ValueError(f"a model of depths {depths} has no block with a cooling layer; use deeper stages")
    total = next(iter(runs.values())).total_steps
    end = total if steps is None else min(steps, total)
    for name, one in runs.items():
        if one.step > end:
            raise ValueError(
                f"{Path(out) / name} is at step {one.step}, after --steps {end}; expected no fewer"
            )
    while (begun := min(one.step for one in runs.values())) < end:
        for name, one in runs.items():
            until = min(end, (begun // turn + 1) * turn)
            if one.step >= until:
                continue
            one.say(f"{name}: step {one.step} to {until}")
            one.fit(until)
            if one.stop_asked:
                return False
    return True


def compare(
    out: str | Path, val: str | Path, limit: int | None = None, tell: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Measure both models of `train_in_turns` on the same photos, as they are now and as they began.

    Args:
        out: Folder of the runs.
        val: Photos that played no part in training, in one subfolder per class.
        limit: At most so many photos of each class, spread evenly over the names.
        tell: Called with the number of photos that are done, and of all.

    Returns:
        Plain values for a file: the recipe, how far it was trained, accuracies, and by measure (see
        `over_photos`) and block the means of both models, their difference photo by photo and its error.

    Raises:
        ValueError: If the runs are at different steps, their classes are not those of the photos, or no photo
            can be read.
    """
    read = {name: load_run(Path(out) / name) for name in TWINS}
    state, recipe = read["cooling"][1], read["cooling"][0]
    if len({one["step"] for _, one, _ in read.values()}) > 1:
        told = " and ".join(f"{name} at step {one['step']}" for name, (_, one, _) in read.items())
        raise ValueError(f"{told}: models of equal training are compared; train on with the same command")
    phase = phases_begun(recipe, state)[-1]
    photos = PhotoFolder(val)
    if photos.classes != state["classes"]:
        raise ValueError(f"{val} has other classes than the photos that the models were trained on")
    models = {name: _model(one, made, weights) for name, (one, made, weights) in read.items()}
    fresh = {name: _model(one, made, None) for name, (one, made, _) in read.items()}
    chosen = spread(photos.labels, limit)
    found = _measured(
        photos, range(len(photos)) if chosen is None else chosen, models, fresh, phase.size, tell
    )
    settings = {key: value for key, value in recipe.as_dict().items() if key not in MACHINE_PATHS}
    settings["model_args"] = {key: value for key, value in recipe.model_args.items() if key != "cooling"}
    plan = sum(recipe.steps(one, state["files"]["trained_on"]) * one.epochs for one in recipe.phases)
    trained = {"steps": state["step"], "of": plan, "photos_seen": photos_seen(recipe, state)}
    if state["changes"]:
        trained["changes"] = state["changes"]
    return {
        "about": "Two trainings from one seed that differ in the cooling layers alone, by `cfviz amplitude`",
        "recipe": settings,
        "trained": trained,
        "held_out": _held_out(Path(out), state["files"]["held_out"]),
        **found,
        "units": UNITS,
    }


def photos_seen(recipe: Recipe, state: Mapping[str, Any]) -> int:
    """How many photos a run has seen, each as often as it was seen; phases may differ in their batches."""
    n, done = state["files"]["trained_on"], state["epoch"]
    whole = [recipe.phase_at(epoch) for epoch in range(done)]
    begun = state["step_in_epoch"] * recipe.batch(recipe.phase_at(done))
    return int(begun + sum(recipe.steps(one, n) * recipe.batch(one) for one in whole))


def _model(recipe: Recipe, state: dict[str, Any], weights: Mapping[str, Any] | None) -> CrossFormer:
    """A run's model, in eval mode; without weights as it began."""
    model = shaped(recipe, state)
    if weights is not None:
        model.load_state_dict(weights)
    return model.eval()


def _measured(
    photos: PhotoFolder, chosen: Any, models: Mapping[str, CrossFormer], fresh: Mapping[str, CrossFormer],
    size: int, tell: Callable[[int, int], None] | None,
) -> dict[str, Any]:  # fmt: skip
    """What both models, and both as they began, show on some photos."""
    rows: dict[str, list[Any]] = {name: [] for name in models}
    begun: dict[str, list[Any]] = {name: [] for name in models}
    logits: dict[str, list[np.ndarray]] = {name: [] for name in models}
    labels: list[int] = []
    skipped: dict[str, str] = {}
    last: Streams = ()
    for n, i in enumerate(chosen):
        try:
            photo = load_image(photos.root / photos.names[i])
        except ImageError as error:
            skipped[shown(photos.names[i])] = str(error)
            continue
        for name, model in models.items():
            trace = trace_streams(photo, model, size)
            last = streams(trace)
            rows[name].append(measures(last))
            logits[name].append(trace.logits)
            if len(labels) % UNTRAINED == 0:
                begun[name].append(measures(streams(trace_streams(photo, fresh[name], size))))
        labels.append(int(photos.labels[i]))
        if tell is not None:
            tell(n + 1, len(chosen))
    values = {name: by_measure(some) for name, some in rows.items()}
    first = {name: by_measure(some) for name, some in begun.items()}
    return {
        "measured": {
            "photos": len(labels), "skipped": skipped, "size": size, **_accuracy(logits, np.array(labels))
        },
        "blocks": [f"{one.stage + 1}.{one.block + 1}" for one in last],
        **{key: _compared({name: one[key] for name, one in values.items()}) for key in MEASURES},
        "even": _short(np.array([one.even for one in last])),
        "untrained": {
            "photos": len(begun["cooling"]),
            **{
                key: {name: _short(one[key].mean(0)) for name, one in first.items()}
                for key in ("rms", "largest")
            },
        },
    }  # fmt: skip


def _accuracy(logits: Mapping[str, list[np.ndarray]], labels: np.ndarray) -> dict[str, Any]:
    right, loss = {}, {}
    for name, some in logits.items():
        z = np.stack(some)
        right[name] = (z.argmax(1) == labels).astype(float)
        loss[name] = negative_log_likelihood(z, labels)
    apart = right["without"] - right["cooling"]
    return {
        "top1": {name: float(one.mean()) for name, one in right.items()},
        "top1_difference": float(apart.mean()),
        "top1_standard_error": float(_error(apart[:, None])[0]),
        "loss": {name: round(one, DIGITS) for name, one in loss.items()},
    }


def _compared(values: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """One measure, (photos, blocks) for each model: means, and the difference photo by photo."""
    apart = values["without"] - values["cooling"]
    means = {name: _short(one.mean(0)) for name, one in values.items()}
    return {**means, "difference": _short(apart.mean(0)), "standard_error": _short(_error(apart))}


def _error(apart: np.ndarray) -> np.ndarray:
    """Standard error of the mean over photos, (photos, n) -> (n,); 0 of a single photo."""
    error: np.ndarray = apart.std(0, ddof=min(1, len(apart) - 1)) / len(apart) ** 0.5
    return error


def _short(values: np.ndarray) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values]


def _held_out(out: Path, photos: int) -> dict[str, Any] | None:
    """Accuracy on the held-out photos of training, at the last step at which both runs measured it."""
    rows: dict[str, dict[int, dict[str, str]]] = {}
    for name in TWINS:
        log = out / name / "log.csv"
        lines = log.read_text("utf-8").splitlines() if log.exists() else []
        rows[name] = {int(row["step"]): row for row in csv.DictReader(lines) if row["held_out_top1"]}
    both = set.intersection(*(set(one) for one in rows.values()))
    if not both:
        return None
    step = max(both)
    return {
        "photos": photos, "step": step,
        "top1": {name: round(float(one[step]["held_out_top1"]), DIGITS) for name, one in rows.items()},
        "loss": {name: round(float(one[step]["held_out_loss"]), DIGITS) for name, one in rows.items()},
    }  # fmt: skip


def save(found: Mapping[str, Any], path: str | Path) -> None:
    """Write what `compare` returns as JSON, a list of numbers on one line."""
    text = json.dumps(found, ensure_ascii=False, indent=1)
    text = re.sub(r"\[\s+([^][{}]*?)\s+\]", lambda some: f"[{' '.join(some[1].split())}]", text)
    with replacing(path) as part:
        part.write_text(text + "\n", "utf-8")
