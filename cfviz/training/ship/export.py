"""From a training run to the weights shipped with the app: float16, with a card of measured figures."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from cfviz.data.labels import dataset_of_folders
from cfviz.jobs import replacing
from cfviz.models.crossformer import CrossFormer
from cfviz.models.factory import build
from cfviz.models.weights.checkpoints import load_checkpoint, write_checkpoint
from cfviz.models.weights.errors import printable
from cfviz.models.weights.facts import begun, largest_groups
from cfviz.provenance import Training, fitting
from cfviz.training import cache, data
from cfviz.training.measure import evaluation
from cfviz.training.recipe import Phase, Recipe, from_dict
from cfviz.training.start import build_model, groups_of
from cfviz.training.state import read as read_state

from . import NOTES, card
from .made_with import commit, versions


def load_run(run: str | Path) -> tuple[Recipe, dict[str, Any], dict[str, torch.Tensor]]:
    """Read a run's last state: the recipe, the state, and the weights to use (the average, if any)."""
    found = read_state(run)
    recipe = from_dict(found["recipe"], str(run))
    recipe = replace(recipe, dataset=fitting(recipe.dataset, recipe.num_classes))
    return recipe, found, found["ema"] or found["model"]


def training(recipe: Recipe, state: dict[str, Any], start: dict[str, Any] | None = None) -> Training:
    """The training that a run's weights have received.

    Args:
        recipe: The run's recipe.
        state: The run's last state.
        start: Facts about the weights that the run started from, see `card.start`.
    """
    done, distilled = state["epoch"], bool(recipe.teacher)
    planned = None if done >= recipe.epochs else recipe.epochs
    earlier: tuple[float, ...] = ()
    if start is not None:
        before = Training.from_json(start.get("training")) or Training.from_sentence(start["trained"] or "")
        # Only finished sittings on the same photos are counted together.
        same = ("run", recipe.data_name, False, None)
        if before is None or (before.by, before.data, before.onward, before.planned) != same:
            return Training("run", recipe.data_name, (done,), planned, distilled, onward=True)
        earlier = before.epochs
    return Training("run", recipe.data_name, (*earlier, done), planned, distilled)


def classes(recipe: Recipe, state: dict[str, Any]) -> dict[str, Any]:
    """The classes of a run's weights: the data set, if the folders belong to a known one, or their names."""
    folders = state.get("classes")
    if folders is None:  # a state written before the names of folders were kept
        return {"dataset": recipe.dataset}
    if dataset := dataset_of_folders(folders):
        return {"dataset": dataset}
    return {"classes": [printable(name) for name in folders]}


def phases_begun(recipe: Recipe, state: dict[str, Any]) -> list[Phase]:
    """The phases that a run has begun, at least the first; a stopped run has not seen the others."""
    epochs = state["epoch"] + bool(state.get("step_in_epoch", 0))  # started or finished
    return recipe.phases[: len(begun(recipe.as_dict()["phases"], epochs))]


def shaped(recipe: Recipe, state: dict[str, Any]) -> CrossFormer:
    """An untrained model as the run leaves it: with the groups of the last phase begun.

    A table of position biases is made for the last phase of the recipe, whose G it therefore keeps.
    """
    model = build_model(replace(recipe, start_weights=None, redraw=[]))
    G, interval, lda = groups_of(recipe, phases_begun(recipe, state)[-1])
    model.set_grouping(None if recipe.position_bias == "rpb" else G, interval, lda)
    return model


def trained_group(
    recipe: Recipe, state: dict[str, Any], before: Sequence[int] | None = None
) -> list[int] | None:
    """Sides of the largest groups used in training, one per stage: no group is wider than its map.

    Args:
        recipe: The run's recipe.
        state: The run's last state.
        before: The same for the weights that the run started from; 0 at stages where it no longer applies.
    """
    shown = phases_begun(recipe, state)
    return largest_groups(((phase.size, *groups_of(recipe, phase)) for phase in shown), before)


def earlier_group(recipe: Recipe, model: CrossFormer, start: dict[str, Any] | None) -> list[int] | None:
    """The largest groups of the starting weights; 0 at stages whose position bias this run reset."""
    known = (start or {}).get("trained_group")
    if known is None:
        return None
    names = [name for name, _ in model.named_modules() if any(fnmatchcase(name, p) for p in recipe.redraw)]
    anew = {name.split(".")[1] for name in names if ".attn.pos" in name}
    return [0 if str(s) in anew else G for s, G in enumerate(known)]


def export(run: str | Path, out: str | Path, **notes: Any) -> Path:
    """Write `out` (float16 safetensors) and its card (.json and .md), which has no accuracy yet.

    A recipe of one's own is written beside them (.yaml), so that the card's command can be run.

    Args:
        run: The --out folder of a training run.
        out: A .safetensors file.
        **notes: Paragraphs for the card, by the names in `NOTES`.

    Raises:
        ValueError: If there is no such run, `out` has another ending, or a note another name.
    """
    if unknown := [name for name in notes if name not in NOTES]:
        raise ValueError(f"a card has no note {unknown[0]!r}; expected one of {', '.join(NOTES)}")
    out = Path(out)
    if out.suffix != ".safetensors":  # the card beside it would overwrite a file that ends in .json
        raise ValueError(f"got {out} to write the weights to, expected a name that ends in .safetensors")
    recipe, state, weights = load_run(run)
    out.parent.mkdir(parents=True, exist_ok=True)
    model, shown = shaped(recipe, state), phases_begun(recipe, state)
    start = card.start(recipe)  # before writing, as `out` may be the same file
    trained = training(recipe, state, start)
    facts = {
        "variant": recipe.model,
        **({"model_args": recipe.model_args} if recipe.model_args else {}),
        "num_classes": recipe.num_classes,
        **classes(recipe, state),
        "trained": trained.sentence(),
        "training": trained.as_json(),
        "epochs": state["epoch"],
        "position_bias": recipe.position_bias,
        **model.group_settings,
        "img_size": shown[-1].size,
        "trained_group": trained_group(recipe, state, earlier_group(recipe, model, start)),
        "commit": state.get("commit", "unknown"),  # older runs kept none
    }
    with replacing(out) as part:
        sha256 = write_checkpoint(part, weights, torch.float16, **facts)
        size = part.stat().st_size
    about = card.describe(recipe, state, Path(run) / "log.csv", out)
    card.write_recipe(out, recipe)
    about |= {"start": start, "phases_begun": len(shown)}
    about["exported"] = {"commit": commit(), "versions": versions()}
    parameters = sum(value.numel() for value in weights.values())
    sizes = {"sha256": sha256, "bytes": size, "parameters": parameters}
    card.write(out, {**facts, **sizes, **about, **notes})
    return out


def measure(
    weights: str | Path,
    run: str | Path,
    val: data.Photos | None = None,
    train: data.Photos | None = None,
    size: int | None = None,
    accelerator: Accelerator | None = None,
    others: Mapping[str, data.Photos] | None = None,
    **engine: Any,
) -> dict[str, Any]:
    """Measure exported weights and add the figures to the card.

    These are the accuracy on the held-out photos, if there are any, and on `val`, if given, with what the
    probabilities are worth there; whether the model tells `others` from `val`; and the effect of rounding to
    float16.

    Args:
        weights: The file written by `export`.
        run: The run that the weights came from.
        val: Photos that played no part in model selection.
        train: The training photos, whose held-out part is measured; None opens those of the recipe.
        size: Input side in pixels; None for that of the last phase that the training began.
        accelerator: The processes that share the work; the main process writes the card.
        others: Sets of photos of none of the model's classes, by title; they are compared with `val`.
        **engine: Passed to `evaluate` (batch_size, workers).
    """
    if others and val is None:
        raise ValueError(
            "photos of no class are compared with validation photos; expected some of those, too"
        )
    recipe, _, full = load_run(run)
    engine["accelerator"] = accelerator
    if train is None:
        train = data.open_photos(recipe, run)
    checkpoint = load_checkpoint(weights)
    half = build(checkpoint)
    held = np.flatnonzero(cache.held_out(train.names, recipe.hold_out))
    facts = card.read(weights)
    ids, size = train.classes, size or facts["img_size"]
    if len(held):
        facts["held_out"] = evaluation.evaluate(half, train, ids, size, indices=held, **engine)
    rounded = held if len(held) else np.arange(len(train))
    facts["float16"] = _rounding(half, full, train, rounded, size, accelerator)
    if val is not None:
        facts |= _of_validation(evaluation.evaluate(half, val, ids, size, others=others, **engine))
    if accelerator is None or accelerator.is_main_process:
        card.write(weights, facts)
    return facts


def _of_validation(found: dict[str, Any]) -> dict[str, Any]:
    """The facts from a measurement on validation photos: what the card says of its own stands beside it."""
    apart: dict[str, Any] = {name: found.pop(name) for name in ("calibration", "novelty") if name in found}
    if "calibration" in apart:
        apart["calibration"] = {"size": found["size"], **apart["calibration"]}
    return {"val": found, **apart}


@torch.inference_mode()
def _rounding(
    half: nn.Module,
    full: dict[str, torch.Tensor],
    photos: data.Photos,
    indices: np.ndarray,
    size: int,
    accelerator: Accelerator | None,
) -> dict[str, Any]:
    """The effect of rounding the weights to float16, measured on a few photos."""
    chosen = indices[:: max(1, len(indices) // 200)][:200]
    items = data.EvalSet(photos, size, chosen)
    rounded, _, _ = evaluation.predict(half, items, accelerator, batch_size=20)
    state = {name: value.clone() for name, value in half.state_dict().items()}
    half.load_state_dict(full)
    exact, _, fine = evaluation.predict(half, items, accelerator, batch_size=20)
    half.load_state_dict(state)
    return {
        "photos": int(fine.sum()),
        "largest_logit_change": round(float(np.abs(rounded - exact).max()), 5),
        "predictions_changed": int((rounded.argmax(1) != exact.argmax(1)).sum()),
    }
