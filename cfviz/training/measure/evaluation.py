"""Accuracy of a model on a folder of photos: top-1, top-5 and per class, with 95 % intervals."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import Subset

from cfviz.data.labels import wordnet_id, wordnet_ids
from cfviz.data.left_out import told
from cfviz.framing import Size
from cfviz.models.crossformer import CrossFormer
from cfviz.models.weights.errors import printable
from cfviz.run import name_of
from cfviz.stats import wilson
from cfviz.training.data import EvalSet, Marked, Photos, loader
from cfviz.training.folder import account, shown
from cfviz.words import columns

from .calibration import calibration, novelty

# The ten classes of Imagenette; the other ten of the twenty are Imagewoof's.
IMAGENETTE = frozenset(
    {
        *("n01440764", "n02102040", "n02979186", "n03000684", "n03028079"),
        *("n03394916", "n03417042", "n03425413", "n03445777", "n03888257"),
    }
)


UNREADABLE = -1  # label of a photo that could not be read


@dataclass(frozen=True)
class Score:
    """A proportion with its interval: `correct` of `n`, `value` in 0..1, 95 % bounds `low` and `high`."""

    correct: int
    n: int
    value: float
    low: float
    high: float

    @classmethod
    def of(cls, hits: np.ndarray) -> "Score":
        correct, n = int(hits.sum()), len(hits)
        return cls(correct, n, correct / n, *wilson(correct, n))


@torch.inference_mode()
def predict(
    model: nn.Module,
    photos: EvalSet,
    accelerator: Accelerator | None = None,
    batch_size: int = 64,
    workers: int = 0,
    some: range | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run a model over photos, split across the processes; results are in the order of the photos.

    Args:
        model: Returns (B, classes) logits.
        photos: Prepared photos.
        accelerator: Splits them among the processes; by default one of its own.
        batch_size: Photos per forward pass.
        workers: Extra processes that read photos.
        some: Which of the photos, all by default; n is then their number.

    Returns:
        Logits (n, classes) float32 and labels (n,) int64 of the readable photos, and a mask over all photos,
        bool (all,), that marks them. Every process gets the complete results.

    Raises:
        ValueError: If no photo can be read, or the model returns values that are not finite.
    """
    accelerator = accelerator or Accelerator()
    world, rank = accelerator.num_processes, accelerator.process_index
    chosen = range(len(photos)) if some is None else some
    n = len(chosen)
    mine = Subset(Marked(photos), chosen[rank::world])
    was_training = model.training
    model = model.to(accelerator.device).eval()
    rows, labels = [], []
    for x, label, fine in loader(mine, workers, batch_size=batch_size):
        with accelerator.autocast():
            rows.append(model(x.to(accelerator.device)).float())
        labels.append(torch.where(fine, label, UNREADABLE).to(accelerator.device))
    if not rows:  # more processes than photos: this one has none, but the others need to know the width
        blank = torch.zeros(1, 3, *photos.size, device=accelerator.device)
        rows, labels = [model(blank).float()[:0]], [torch.zeros(0, dtype=torch.int64, device=blank.device)]
    model.train(was_training)
    logits, label = torch.cat(rows), torch.cat(labels)
    if world > 1:
        logits = accelerator.gather(accelerator.pad_across_processes(logits))
        label = accelerator.gather(accelerator.pad_across_processes(label, pad_index=UNREADABLE))
        per = len(label) // world
        order = torch.arange(world * per, device=label.device).view(world, per).T.flatten()[:n]
        logits, label = logits[order], label[order]
    found, true = logits.cpu().numpy(), label.cpu().numpy()
    fine = true != UNREADABLE
    if not fine.any():
        first = photos.indices[chosen[0]]
        name, reason = shown(photos.photos.names[first]), photos.photos.why(first)
        raise ValueError(f"none of the photos can be read; {name}: {reason}")
    if not np.isfinite(found[fine]).all():
        raise ValueError(
            "the model's outputs are not all finite numbers: the weights may come from a run that diverged"
        )
    return found[fine], true[fine], fine


def scores(logits: np.ndarray, labels: np.ndarray, classes: list[str]) -> dict[str, Any]:
    """Compute accuracies from logits.

    Args:
        logits: (n, K).
        labels: The true columns of `logits`, (n,).
        classes: K names.

    Returns:
        `top1` and `top5` (as `Score` dicts; top-5 only for more than five classes), `per_class` (maps each
        name to the top-1 of its photos), `confusion` ((K, K) counts, true classes in rows).
    """
    if logits.shape != (len(labels), len(classes)):
        raise ValueError(f"got logits {logits.shape}, expected ({len(labels)}, {len(classes)})")
    rank = np.argsort(-logits, axis=1, kind="stable")
    hit = rank[:, 0] == labels
    result: dict[str, Any] = {"top1": asdict(Score.of(hit))}
    if len(classes) > 5:
        result["top5"] = asdict(Score.of((rank[:, :5] == labels[:, None]).any(axis=1)))
    present = np.unique(labels)
    result["per_class"] = {classes[k]: asdict(Score.of(hit[labels == k])) for k in present}
    confusion = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(confusion, (labels, rank[:, 0]), 1)
    result["confusion"] = confusion.tolist()
    return result


def table(result: dict[str, Any]) -> str:
    """The scores as aligned text, in percent with 95 % intervals."""
    rows = [(name, result[key]) for name, key in (("top-1", "top1"), ("top-5", "top5")) if key in result]
    rows += list(result.get("groups", {}).items())
    rows += sorted(result["per_class"].items(), key=lambda item: -item[1]["value"])
    width = max(columns(name) for name, _ in rows)
    line = "{}  {:6.2f} %  [{:6.2f}, {:6.2f}]  {:>6} / {}"
    lines = [
        line.format(
            name + " " * (width - columns(name)),
            *(100 * s[key] for key in ("value", "low", "high")),
            s["correct"],
            s["n"],
        )
        for name, s in rows
    ]
    if found := result.get("calibration"):
        before, after = (f"{100 * value:.1f} %" for value in found["ece"])
        lines.append(
            f"calibration error {before}; {after} at temperature {found['temperature']:g}, fitted on the "
            "other half of the photos"
        )
    return "\n".join([*lines, *([told(result["files"])] if "files" in result else [])])


def columns_of(folders: list[str], model_ids: list[str]) -> np.ndarray:
    """The index of the model's output for each class folder, matched by name, else by WordNet id.

    Args:
        folders: Names such as `n01440764_tench`, `n01440764` or custom names.
        model_ids: WordNet ids or names of the classes, in the order of the model's outputs.

    Raises:
        ValueError: If some folders match no class of the model; the message names them.
    """
    place = {wordnet_id(name) or name: k for k, name in enumerate(model_ids)}
    place |= {printable(name): k for k, name in enumerate(model_ids)}
    found = [place.get(printable(name), place.get(wordnet_id(name) or "")) for name in folders]
    unknown = [printable(name) for name, k in zip(folders, found, strict=True) if k is None]
    if unknown:
        kind = "the WordNet id" if wordnet_id(model_ids[0]) else "the name"
        raise ValueError(
            f"the model has no class for {', '.join(unknown[:5])}; expected folders named by {kind} "
            f"of one of its {len(model_ids)} classes, such as {model_ids[0]}"
        )
    return np.asarray(found)


def evaluate(
    model: nn.Module,
    photos: Photos,
    model_ids: list[str],
    size: Size = 224,
    restrict: bool = False,
    indices: np.ndarray | None = None,
    accelerator: Accelerator | None = None,
    batch_size: int = 64,
    workers: int = 0,
    others: Mapping[str, Photos] | None = None,
) -> dict[str, Any]:
    """Measure a model's accuracy on photos in class folders.

    Args:
        model: A model that returns (B, len(model_ids)) logits.
        photos: A folder or a cache.
        model_ids: WordNet ids or names of the classes, in the order of the model's outputs.
        size: Side of the input in pixels, or its height and width.
        restrict: Predict only among the folder's classes, not among all of the model's.
        indices: Photos to measure on; None uses all.
        others: Sets of photos of none of the model's classes, by title.

    Returns:
        The result of `scores`; `calibration` (see there); `files`, an account of every file of the folder
        (see `folder.account`); what was measured (see `_identity`); with `others` also `novelty` (see there);
        and for the 20 classes of Imagenette and Imagewoof `groups`: the scores of the two halves, among all
        classes and among their own ten.
    """
    columns = columns_of(photos.classes, model_ids)
    items = EvalSet(photos, size, indices)
    logits, labels, fine = predict(model, items, accelerator, batch_size, workers)
    strange = {
        title: predict(model, EvalSet(one, size), accelerator, batch_size, workers)[0]
        for title, one in (others or {}).items()
    }
    apart = {"novelty": novelty(logits, strange)} if strange else {}
    labels = columns[labels]
    if restrict or len(set(columns.tolist())) == len(model_ids):
        chosen = list(dict.fromkeys(columns.tolist()))  # two folders may belong to one class
        names = [_names_of(column, columns, photos.classes) for column in chosen]
        logits, labels = logits[:, chosen], np.asarray([chosen.index(label) for label in labels])
    else:
        names = model_ids
    files = account(photos, items.indices, items.indices[~fine])
    about = {"photos": len(labels), "files": files, "size": size, "restricted": restrict}
    result = {**_identity(model), **about, **scores(logits, labels, names)}
    if len(labels) > 1:
        result["calibration"] = calibration(logits, labels)
    if sorted(name.split("_")[0] for name in names) == wordnet_ids("imagenette20"):
        result["groups"] = _halves(logits, labels, names)
    return result | apart


def _identity(model: nn.Module) -> dict[str, Any]:
    """What was measured: variant, origin and SHA-256 of the weights, position bias, G, I, form of LDA."""
    if not isinstance(model, CrossFormer):
        return {}
    known = model.provenance
    return {
        "variant": name_of(model),
        "weights": {"source": known.source, "sha256": known.sha256},
        "position_bias": model.position_bias,
        **model.group_settings,
    }


def _names_of(column: int, columns: np.ndarray, folders: list[str]) -> str:
    """The names of one class's folders."""
    return " + ".join(name for name, at in zip(folders, columns, strict=True) if at == column)


def _halves(logits: np.ndarray, labels: np.ndarray, names: list[str]) -> dict[str, Any]:
    first = np.asarray([name.split("_")[0] in IMAGENETTE for name in names])
    hit = logits.argmax(axis=1) == labels
    result = {}
    for name, members in (("Imagenette half", first), ("Imagewoof half", ~first)):
        mine = members[labels]
        if mine.any():
            result[name] = asdict(Score.of(hit[mine]))
            alone = np.where(members, logits[mine], -np.inf).argmax(axis=1)
            result[f"{name}, its 10 classes"] = asdict(Score.of(alone == labels[mine]))
    return result


def spread(labels: np.ndarray, limit: int | None) -> np.ndarray | None:
    """Indices of at most `limit` photos per class, evenly spaced; None (meaning all) without a limit."""
    if limit is None:
        return None
    chosen = []
    for k in np.unique(labels):
        mine = np.flatnonzero(labels == k)
        chosen.append(mine[np.linspace(0, len(mine) - 1, min(limit, len(mine))).round().astype(int)])
    return np.concatenate(chosen)
