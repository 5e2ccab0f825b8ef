"""Open the photo and the model that a command names, and describe the model's weights."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cfviz.models.variants import BUNDLED, VARIANTS
from cfviz.training.cli import given_lda, size_of
from cfviz.words import Translator

from .output import EXPECTED, Bar, named

IN_COMMANDS = (
    "add --weights official (the authors', downloaded once), a file or hf-hub:OWNER/NAME, "
    "or --weights none for random ones"
)


def open_photo(photo: str) -> Any:
    """Open a photo; an error names the file.

    Args:
        photo: A path, or gallery:ID.

    Raises:
        ValueError: If it cannot be opened.
    """
    from cfviz.data.images import load_image  # deferred: PyTorch

    try:
        return load_image(photo)
    except EXPECTED as error:
        raise ValueError(named(photo, error)) from error


def open_model(model: str | None, weights: str | None, **kwargs: Any) -> Any:
    """Open the model named by `--model` and `--weights`, showing the progress of any download.

    Args:
        model: `--model`.
        weights: `--weights`.
        **kwargs: Passed on to `CrossFormer`.
    """
    from cfviz.models.factory import named_source, opened, source_of  # deferred: they import PyTorch

    if model is not None and model not in VARIANTS:
        if weights is not None:
            raise ValueError(
                f"--model {model} already says which weights; leave --weights out, or name a variant"
            )
        model, weights = None, model
    if weights in (None, "bundled", "official", "none"):
        model = model or BUNDLED
    named = {None: "auto", "none": None}.get(weights, weights)
    source = named_source(str(named)) if model is None else source_of(model, named, IN_COMMANDS)
    with Bar(str(source)) as bar:
        return opened(source, model, progress=bar, **kwargs)


def open_timm(args: Namespace) -> Any:
    """Open the model of timm that a command's arguments name, on its `--device` and in its `--dtype`.

    Raises:
        ValueError: If its weights are not there, or the file holds another model's.
    """
    from cfviz.models.others import opening  # deferred, with the rest: PyTorch and timm
    from cfviz.run import placed

    name, given, size = args.model, args.weights, args.size
    if args.lda:
        raise ValueError(f"--lda is a form of CrossFormer's long distance attention, which {name} has not")
    if given not in (None, "bundled", "official", "none"):
        model = opening.open_own(given, name, size)
    else:
        file = opening.fetch_weights(name) if given == "official" else opening.weights_here(name)
        if given != "none" and file is None:
            raise ValueError(
                f"the weights of {name} are not on this machine: add --weights official (timm's, downloaded "
                "once), a file of your own, or --weights none for random ones"
            )
        model = opening.open_other(name, size, None if given == "none" else file)
    return placed(model, args.device, args.dtype)


def open_any(args: Namespace) -> tuple[Any, Any]:
    """Open the model that a command's arguments name, a CrossFormer or one of timm's, and choose its size.

    Returns:
        The model on its `--device` and in its `--dtype`, and the size of its input; None for a model of timm
        whose own size it is.

    Raises:
        ValueError: If the model or its weights are not there.
    """
    if is_timm(args.model):
        return open_timm(args), args.size
    model = open_placed(args)
    return model, size_of(args, model)


def is_timm(name: str | None) -> bool:
    """Whether `--model` is timm's name of a model whose attention can be read."""
    from cfviz.models.weights.timm_families import is_name  # deferred: timm

    return name is not None and name not in VARIANTS and is_name(name)


def open_placed(args: Namespace) -> Any:
    """Open the model that a command's arguments name, on its `--device` and in its `--dtype`."""
    from cfviz.models.factory import DTYPES  # deferred, with the rest: PyTorch
    from cfviz.run import pick_device

    model = open_model(args.model, args.weights, **given_lda(args))
    return model.to(pick_device(args.device), DTYPES[args.dtype])


def about_weights(model: Any) -> dict[str, Any]:
    """Describe a model's weights for programs."""
    known = model.provenance
    sets = {"averaged", "one_of_several"}
    chosen = next((dict(note.fields) for note in known.notes if note.code in sets), {})
    return {
        **{key: getattr(known, key) for key in ("source", "sha256", "trained", "dataset")},
        "classes": model.num_classes,
        "set": chosen.get("name"),
        "other_sets": chosen.get("others"),
        "notes": [note.sentence() for note in known.notes],
    }


def weights_lines(model: Any, names: Sequence[str], t: Translator) -> list[str]:
    """Describe a model's weights for people: the origin, and all that it can answer.

    Args:
        model: The model.
        names: Names of its classes in the reader's language.
        t: The reader's language.
    """
    from cfviz.data.answers import LONG  # deferred: PyTorch

    lines = [replace(model.provenance, notes=()).sentence(t)]
    if model.provenance.predicts:
        n = f"{len(names):,}"
        code = "single" if len(names) == 1 else "cli_few" if len(names) <= LONG else "cli_many"
        lines.append(t(f"answer.{code}", n=n, name=names[0], names=t("common.comma").join(names)))
    return lines
