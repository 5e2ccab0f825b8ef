"""The model card stored beside weights: the facts as JSON for the app and as Markdown for people."""

import csv
import json
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from cfviz.data.labels import dataset_of_folders
from cfviz.jobs import replacing
from cfviz.jobs import write as write_json
from cfviz.models.weights.checkpoints import load_checkpoint, model_card
from cfviz.models.weights.errors import some
from cfviz.provenance import DATASETS
from cfviz.training import recipe as recipes
from cfviz.training.recipe import MACHINE_PATHS, Recipe

from . import NOTES

TARGETS = {"top1": 0.85, "Imagenette half": 0.93, "Imagewoof half": 0.77}
SHOWN = 10  # reasons for skipping files
FORMS = {"regions": "within regions", "whole": "over the whole map"}
PRECISION = {"bf16": "bf16", "no": "float32"}
UNKNOWN = "unknown"


def path_of(weights: str | Path) -> Path:
    """Path of a weights file's card."""
    return Path(weights).with_suffix(".json")


def read(weights: str | Path) -> dict[str, Any]:
    """Read the facts in a weights file's card."""
    return json.loads(path_of(weights).read_text("utf-8"))


def write(weights: str | Path, facts: dict[str, Any]) -> None:
    """Write the card as JSON and as Markdown."""
    path, said = path_of(weights), text(facts)  # before writing: facts that make no text replace no card
    write_json(path, facts)
    with replacing(path.with_suffix(".md")) as part:
        part.write_text(said, encoding="utf-8")


def start(recipe: Recipe) -> dict[str, Any] | None:
    """Facts about the weights that a run started from; None for a run from scratch.

    For bundled weights they come from the card, for others from the weights file.
    """
    name = recipe.start_weights
    if name is None:
        return None
    if facts := model_card(name):
        about = {key: facts[key] for key in ("trained", "sha256", "epochs", "steps", "commit")}
        return about | {key: facts[key] for key in ("training", "trained_group") if key in facts}
    found = load_checkpoint(name)
    about = {"trained": found.trained, "sha256": found.sha256, "trained_group": found.trained_group}
    return about | ({"training": found.training.as_json()} if found.training else {})


def describe(
    recipe: Recipe, state: dict[str, Any], log: Path, weights: str | Path = "weights.safetensors"
) -> dict[str, Any]:
    """Facts about a run, without paths of this machine: recipe, wall time, learning curve, versions.

    What the run's state does not record, such as the processor of an old run, is not known.

    Args:
        recipe: The run's recipe.
        state: The run's last state.
        log: The run's log.
        weights: The file of weights that the card describes.
    """
    settings = {key: value for key, value in recipe.as_dict().items() if key not in MACHINE_PATHS}
    curve = []
    if log.exists():
        with log.open(newline="") as file:
            curve = [
                {key: float(row[key]) for key in ("epoch", "size", "loss", "held_out_top1") if row[key]}
                for row in csv.DictReader(file)
            ]
    return {
        "recipe": settings,
        "seed": recipe.seed,
        "steps": state["step"],
        **({"changes": state["changes"]} if state.get("changes") else {}),
        "wall_hours": round(state["seconds"] / 3600, 2),
        **({"files": _files(state["files"])} if state.get("files") else {}),
        "command": _command(recipe, Path(weights)),
        "teacher": _teacher(recipe, state),
        "curve": curve,
        **({"versions": state["versions"]} if "versions" in state else {}),
        "processor": state.get("processor", UNKNOWN),
    }


def _files(files: dict[str, Any]) -> dict[str, Any]:
    """The account of the training files, with numbers of files instead of their names."""
    reasons = Counter(files["skipped"].values())
    return {**files, "skipped": dict(reasons.most_common())}


def recipe_path(weights: str | Path) -> Path:
    """Path of the recipe that `write_recipe` writes beside a weights file."""
    return Path(weights).with_suffix(".recipe.yaml")


def write_recipe(weights: str | Path, recipe: Recipe) -> None:
    """Write the recipe that the card's command names, unless that is one that comes with cfviz."""
    if _shipped(recipe) is None:
        settings = recipe.as_dict()
        given = {key: _short(value) if key in MACHINE_PATHS else value for key, value in settings.items()}
        with replacing(recipe_path(weights)) as part:
            part.write_text(yaml.safe_dump(given, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _shipped(recipe: Recipe) -> tuple[str, dict[str, Any]] | None:
    """Name and settings of the recipe that comes with cfviz and has the same phases, if there is one."""
    wanted = recipe.as_dict()["phases"]
    known = ((name, recipes.load(name).as_dict()) for name in recipes.names())
    return next(((name, settings) for name, settings in known if settings["phases"] == wanted), None)


def _command(recipe: Recipe, weights: Path) -> str:
    """The command that repeats a run: a recipe, and the settings that differ from it."""
    shipped, wanted = _shipped(recipe), recipe.as_dict()
    if shipped is None:
        return f"python -m cfviz train --config {shlex.quote(_short(str(recipe_path(weights))))} --out RUN"
    name, settings = shipped
    skipped = ["num_classes"] if settings["num_classes"] is None else []
    changes = [key for key in wanted if wanted[key] != settings[key] and key not in skipped]
    values = {key: _short(wanted[key]) if key in MACHINE_PATHS else wanted[key] for key in changes}
    sets = "".join(f" --set {shlex.quote(recipes.setting(key, value))}" for key, value in values.items())
    return f"python -m cfviz train --config {name}{sets} --out RUN"


def _short(path: Any) -> Any:
    """A path as it may stand in a card: relative ones as they are, others without where they lie."""
    if path is None or not Path(path).is_absolute():
        return path
    return "/".join(Path(path).parts[1:][-2:])


def _teacher(recipe: Recipe, state: dict[str, Any]) -> str | None:
    if recipe.teacher is None:
        return None
    folders = state.get("classes")
    known = dataset_of_folders(folders) if folders else recipe.dataset
    seen = (
        "ImageNet, from which these photos are taken, and has probably seen most of them."
        if known in DATASETS
        else "classes of ImageNet; how many of these photos it has seen is not known."
    )
    what = "crop, read from its map of the whole photo" if recipe.teacher_maps else "whole photo"
    more = (
        " Each token of the last stage also learns to predict the principal components of the teacher's "
        "features at its position, through a linear layer that is not shipped (weight "
        f"{recipe.feature_weight:g})."
        if recipe.teacher_maps
        else ""
    )
    return (
        f"{recipe.teacher}: its probabilities over the {recipe.num_classes} classes for each {what}, at "
        f"temperature {recipe.temperature:g}, make {recipe.distill:.0%} of each target.{more} The teacher "
        f"was trained on {seen}"
    )


def _changed(facts: dict[str, Any]) -> list[str]:
    """What changed when the run was resumed: the rest of the card has only the latest values."""
    return [
        f"- From epoch {change['epoch'] + 1} (step {change['step'] + 1}): "
        + ", ".join(
            f"{name} {_brief(name, old)} -> {_brief(name, new)}"
            for name, (old, new) in change["settings"].items()
        )
        for change in facts.get("changes", [])
    ]


def _brief(name: str, value: Any) -> Any:
    """A value as a card shows it: twelve digits of a commit."""
    return value[:12] if name == "commit" else value


def _percent(score: dict[str, Any]) -> str:
    low, high = 100 * score["low"], 100 * score["high"]
    return f"{100 * score['value']:.2f} % | {low:.2f} to {high:.2f} | {score['correct']} / {score['n']}"


def _measured(title: str, result: dict[str, Any]) -> list[str]:
    rows = [("top-1", result["top1"])] + ([("top-5", result["top5"])] if "top5" in result else [])
    rows += list(result.get("groups", {}).items())
    rows += sorted(result["per_class"].items(), key=lambda item: -item[1]["value"])
    lines = [f"## {title}", "", "| | accuracy | 95 % interval | photos |", "|---|---|---|---|"]
    return [*lines, *(f"| {name.replace('_', ' ')} | {_percent(score)} |" for name, score in rows), ""]


def _calibrated(found: dict[str, Any]) -> list[str]:
    """What the probabilities are worth, and why they are shown as they are."""
    ece, nll = (
        [f"{scale * x:.{digits}f}" for x in found[key]]
        for key, scale, digits in (("ece", 100, 1), ("nll", 1, 3))
    )
    T = found["temperature"]
    sure = "as sure as" if T == 1 else "less sure than" if T < 1 else "more sure than"
    table = [
        "| probability of its answer | right | 95 % interval | photos |",
        "|---|---|---|---|",
        *(
            f"| {100 * one['from']:.0f} to {100 * one['to']:.0f} % | {100 * one['right']:.1f} % | "
            f"{100 * one['low']:.1f} to {100 * one['high']:.1f} | {one['photos']} |"
            for one in found["bins"]
        ),
        "",
    ]
    return [
        "## How often it is right when it is so sure",
        "",
        *(table if found["bins"] else ["Too few photos for a table.", ""]),
        f"Measured on the validation photos, all of them photos of its classes. The model is {sure} "
        f"it is right: fitted on half of these photos ({found['fitted_on']}), the temperature is "
        f"{T:g}, which on the other half ({found['tested_on']}) changes the expected "
        f"calibration error from {ece[0]} to {ece[1]} % and the negative log-likelihood from {nll[0]} to "
        f"{nll[1]}. It is not applied: the probabilities shown are the softmax of the logits, as everywhere "
        "else.",
        "",
        *_others(found.get("others")),
    ]


def _others(found: dict[str, Any] | None) -> list[str]:
    """How sure it is of photos of none of its classes."""
    if not found:
        return []
    return [
        f"All this holds for photos of its classes only. On the {found['pictures']} gallery photos of none "
        f"of them, the probability of its answer is {100 * found['median']:.0f} % in the median and at most "
        f"{100 * found['most']:.0f} %.",
        "",
    ]


def _novelty(found: dict[str, Any]) -> list[str]:
    """Whether the model notices pictures of none of its classes."""
    return [
        "## Whether it notices what it was not trained on",
        "",
        "AUROC against the validation photos, and how many pass the threshold that 95 % of the validation "
        "photos pass. The app says nothing of it beside a photo.",
        "",
        "| score | pictures | AUROC | taken for its own |",
        "|---|---|---|---|",
        *(
            f"| {score} | {title} | {one['auroc']:.2f} | {one['accepted']} of {one['pictures']} |"
            for score, about in found.items()
            for title, one in about["sets"].items()
        ),
        "",
    ]


def _against_targets(result: dict[str, Any]) -> list[str]:
    found = {"top1": result["top1"], **result.get("groups", {})}
    lines = ["## Against the targets", ""]
    for name, target in TARGETS.items():
        if name in found:
            value, label = found[name]["value"], "all 20 classes" if name == "top1" else name
            verdict = "met" if value >= target else "not met"
            lines.append(f"- {label}: target {target:.0%}, measured {value:.2%}: **{verdict}**")
    return [*lines, ""]


def _data(facts: dict[str, Any]) -> str:
    if facts.get("dataset") == "imagenette20":
        return "the training photos of imagenette20 (Imagenette2 and Imagewoof2, 20 classes of ImageNet)"
    if "classes" not in facts:
        return f"the training photos of {facts.get('dataset') or 'a folder'}"
    names = some([name.replace("_", " ") for name in facts["classes"]], 20)
    return f"the training photos of {facts['training']['data']}, {len(facts['classes'])} classes: {names}"


def _account(facts: dict[str, Any]) -> list[str]:
    """What became of every file of the training folder."""
    files = facts.get("files")
    if files is None:
        return []
    line = (
        f"- Files: {files['used']} of {files['files']} used ({files['trained_on']} to train on, "
        f"{files['held_out']} held out)"
    )
    counts = list(files["skipped"].items())
    if not counts:
        return [line]
    reasons = [f"  - {count}: {reason}" for reason, count in counts[:SHOWN]]
    if left := sum(count for _, count in counts[SHOWN:]):
        reasons.append(f"  - {left}: other reasons")
    return [f"{line}, {sum(count for _, count in counts)} skipped:", *reasons]


def _start(facts: dict[str, Any]) -> list[str]:
    start = facts.get("start")
    if start is None:
        return []
    redrawn = facts["recipe"]["redraw"]
    return [
        f"- Started from: {start['trained']}; SHA-256 `{start['sha256']}`"
        + (f"; reset: `{'`, `'.join(redrawn)}`" if redrawn else "")
    ]


def _paths(command: str) -> str:
    """What a command without a recipe file or a folder of photos leaves to the reader."""
    return "" if ".yaml" in command or "data=" in command else " (paths with `--set`)"


def _phases(facts: dict[str, Any]) -> str:
    """The phases, each with the settings that it does not share with the others, and how far the run got."""
    recipe, left = facts["recipe"], facts["epochs"]
    phases = recipe["phases"]
    begun = facts.get("phases_begun", len(phases))  # older cards: of finished runs
    batches, decays = (_by_phase(recipe, name) for name in ("batch_size", "ema_decay"))
    said = []
    for n, (p, batch, decay) in enumerate(zip(phases, batches, decays, strict=True)):
        done = min(left, p["epochs"])
        left -= done
        line = f"{p['size']} px, G {p['group_size']}, I {p['interval'] or 'of the variant'}, "
        line += f"LDA {FORMS[p['lda']]}, " if p.get("lda") else ""
        line += "1 epoch" if p["epochs"] == 1 else f"{p['epochs']} epochs"
        line += f" of {p['steps']} steps" if p["steps"] else ""
        line += f", batch {batch}" if len(set(batches)) > 1 else ""
        line += f", moving average {decay:g}" if recipe["ema_decay"] and len(set(decays)) > 1 else ""
        if n >= begun:
            line += " (planned, not begun)"
        elif done < p["epochs"]:
            line += f" ({done} finished)"
        said.append(line)
    shared = f"batch {batches[0]}, " if len(set(batches)) == 1 else ""
    return f"{'; '.join(said)}; {shared}{facts['steps']} steps"


def _by_phase(recipe: dict[str, Any], name: str) -> list[Any]:
    """A setting in each phase: its own value, else the recipe's."""
    own = (phase.get(name) for phase in recipe["phases"])
    return [recipe[name] if value is None else value for value in own]


def _optimisation(facts: dict[str, Any]) -> str:
    """What the optimiser did, apart from what differs from phase to phase."""
    recipe = facts["recipe"]
    decays = set(_by_phase(recipe, "ema_decay"))
    average = "no moving average, " if not recipe["ema_decay"] else ""
    if not average and len(decays) == 1:
        average = f"moving average {decays.pop():g}, "
    return (
        f"{recipe['optimizer']}, lr {recipe['lr']:g} with {'warm-up and ' if recipe['warmup_epochs'] else ''}"
        f"cosine, weight decay {recipe['weight_decay']:g}, label smoothing {recipe['label_smoothing']:g}, "
        f"{average}{PRECISION[recipe['precision']]}, seed {facts['seed']}"
    )


def _commits(facts: dict[str, Any]) -> str:
    """The commit of the training, and that of the export if it was another."""
    made, exported = facts["commit"], facts.get("exported", {}).get("commit", UNKNOWN)
    more = "" if exported in (made, UNKNOWN) else f", exported at commit {_brief('commit', exported)}"
    return f"commit {_brief('commit', made)}{more}"


def text(facts: dict[str, Any]) -> str:
    """The card as Markdown."""
    recipe, bias = facts["recipe"], facts["position_bias"]
    held = (
        f"{recipe['hold_out']:.0%} of them held out for all choices"
        if recipe["hold_out"]
        else "none held out"
    )
    processor = "an unknown processor" if facts["processor"] == UNKNOWN else facts["processor"]
    lines = [
        f"# {facts['variant']}" + ("" if bias == "dpb" else f", position bias {bias}"),
        "",
        f"Trained on: {facts['trained']}.",
        "",
        f"- Parameters: {facts['parameters'] / 1e6:.2f} M; file: {facts['bytes'] / 1e6:.2f} MB, float16; "
        f"SHA-256 `{facts['sha256']}`",
        f"- Position bias: {bias}; G {facts['group_size']}, I {facts['interval']} at {facts['img_size']} px"
        + f"; groups of long distance attention {FORMS[facts.get('lda', 'regions')]}",
        f"- Data: {_data(facts)}, {held}",
        *_account(facts),
        *_start(facts),
        f"- Phases: {_phases(facts)}",
        f"- {_optimisation(facts)}",
        f"- Teacher: {facts['teacher'] or 'none'}",
        f"- Wall time: {facts['wall_hours']:g} h on {processor}",
        *_changed(facts),
        f"- Command: `{facts['command']}`{_paths(facts['command'])}, {_commits(facts)}",
        "",
    ]
    for note in NOTES:
        if note in facts:
            lines += [facts[note], ""]
    if "val" in facts and facts.get("dataset") == "imagenette20":
        lines += _against_targets(facts["val"])
    if "val" in facts:
        lines += _measured(f"Validation photos, {facts['val']['size']} px", facts["val"])
    if "calibration" in facts:
        lines += _calibrated(facts["calibration"])
    if "novelty" in facts:
        lines += _novelty(facts["novelty"])
    if "held_out" in facts:
        lines += _measured(f"Held-out training photos, {facts['held_out']['size']} px", facts["held_out"])
    if "float16" in facts:
        f = facts["float16"]
        lines += [
            f"Rounding to float16 changed the logits by at most {f['largest_logit_change']:g} and "
            f"{f['predictions_changed']} of {f['photos']} predictions.",
            "",
        ]
    return "\n".join(lines)
