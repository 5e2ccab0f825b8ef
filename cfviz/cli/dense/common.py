"""What `detect` and `segment` share: their options, the model, the photos, and what is said at the end."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from cfviz.models.dense.variants import DENSE, SIDES, Task, list_dense
from cfviz.models.variants import SHIPPED
from cfviz.words import LANGUAGES, Translator

from ..opening import about_weights
from ..operations import add_operations, check_operations
from ..output import EXPECTED, USER_ERROR, Bar, complain, named, note, one_line, print_json

SMALLEST = 32
OTHER: dict[str, str] = {"detect": "segment", "segment": "detect"}
ADVICE = "add --weights official (the authors', downloaded once), a file or hf-hub:OWNER/NAME"


def add_dense(parser: argparse.ArgumentParser, task: Task, written: str) -> None:
    """Add the options; `written` says what `--out` gets."""
    parser.add_argument(
        "photos", nargs="+", metavar="PHOTO", help="an image file, or gallery:ID for a bundled photo"
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help=f"one of {', '.join(list_dense(task))} (weights of {shipped_for(task)} come with cfviz); not "
        "needed with a file of weights",
    )
    parser.add_argument(
        "--weights",
        metavar="WEIGHTS",
        help="official (the authors', downloaded once), a file or hf-hub:OWNER/NAME (default: those that "
        "come with cfviz, if the model has any)",
    )
    parser.add_argument("--out", metavar="FOLDER", help=f"write into this folder, made if needed: {written}")
    sides = "{}x{}".format(*SIDES[task])
    parser.add_argument(
        "--sides", type=_sides, metavar="LONGxSHORT",
        help=f"most pixels of a photo's long and short side in the model's input; fewer are faster and less "
        f"accurate (default: {sides}, the authors'; 448x224 for nano)",
    )  # fmt: skip
    parser.add_argument(
        "--device", metavar="DEVICE", help="cpu, cuda or cuda:1 (default: cuda if available, else cpu)"
    )
    parser.add_argument(
        "--lang", choices=LANGUAGES, default="en",
        help="language of class names and remarks (default: en); pictures are always in English",
    )  # fmt: skip
    add_operations(parser)
    parser.add_argument("--json", action="store_true", help="print machine-readable output")


def shipped_for(task: Task) -> str:
    """Return the names of the models for a task whose weights come with cfviz."""
    return " or ".join(name for name in list_dense(task) if name in SHIPPED)


def _sides(text: str) -> tuple[int, int]:
    parts = text.lower().replace("×", "x").split("x")
    numbers = [int(part) if part.isdecimal() else 0 for part in parts]
    if len(numbers) != 2 or not SMALLEST <= numbers[1] <= numbers[0]:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a long and a short side like 1333x800, from {SMALLEST} up"
        )
    return numbers[0], numbers[1]


def stem(photo: str) -> str:
    """Return the name of what is written for a photo, without its ending."""
    return PurePath(photo.removeprefix("gallery:")).stem


def out_folder(args: argparse.Namespace) -> Path | None:
    """Return the folder to write to, if one is named; it may have to be made.

    Raises:
        ValueError: If it cannot be made, or two photos would be written under one name.
    """
    if args.out is None:
        return None
    folder = Path(args.out)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out {folder} is a file, expected the name of a folder")
    if not folder.absolute().parent.is_dir():
        raise ValueError(f"--out {folder}: there is no folder {folder.absolute().parent}; make it first")
    seen: dict[str, str] = {}
    for photo in args.photos:
        if (first := seen.setdefault(stem(photo), photo)) != photo:
            raise ValueError(
                f"{first} and {photo} would both be written as {stem(photo)}.png; do one at a time"
            )
        if (folder / f"{stem(photo)}.png").resolve() == Path(photo).resolve():
            raise ValueError(
                f"--out {folder} holds {photo} itself, which would be replaced; name another folder"
            )
    return folder


def begin(args: argparse.Namespace, task: Task) -> tuple[Any, Path | None]:
    """Check what is to be written, open the model, and make the folder of `--out`.

    Returns:
        The model, and the folder if one is named.

    Raises:
        ValueError: If something cannot be written, or the model cannot be used.
    """
    folder = out_folder(args)
    check_operations(args)
    model = open_dense(args.model, args.weights, task, args.device)
    if folder:
        folder.mkdir(exist_ok=True)  # once nothing but a photo can be wrong
    return model, folder


def open_dense(model: str | None, weights: str | None, task: Task, device: str | None) -> Any:
    """Open the model that `--model` and `--weights` name, on its device.

    Raises:
        ValueError: If it is for another task, its weights are random, or none were named.
    """
    from cfviz.models.dense.factory import opened_dense  # deferred: they import PyTorch
    from cfviz.models.factory import named_source, source_of
    from cfviz.run import pick_device

    if model is not None and model not in DENSE:
        if weights is not None:
            raise ValueError(
                f"--model {model} is none of {', '.join(list_dense(task))}; name one of them, or a file alone"
            )
        model, weights = None, model
    if model is not None and DENSE[model].task != task:
        raise ValueError(
            f"{model} is for `cfviz {OTHER[task]}`; here it may be {', '.join(list_dense(task))}"
        )
    if weights == "none":
        advice = "leave --weights out" if model in SHIPPED else ADVICE
        raise ValueError(f"random weights have learned nothing to {task}: {advice}")
    if model is None and weights in (None, "official", "bundled"):
        raise ValueError(
            f"no model is named: add --model {shipped_for(task)}, whose weights come with cfviz, or another "
            "one with --weights official (the authors', downloaded once), or name a file with --weights"
        )
    source = named_source(str(weights)) if model is None else source_of(model, weights or "auto", ADVICE)
    place = pick_device(device)
    with Bar(str(source)) as bar:
        net = opened_dense(source, model, progress=bar)
    if net.task != task:
        name = net.pretrained_cfg["architecture"]
        raise ValueError(f"{weights or model} holds {name}, which is for `cfviz {OTHER[task]}`")
    if not net.provenance.predicts:
        raise ValueError(f"{weights or model} holds random weights, which have learned nothing to {task}")
    return net.to(place)


def each_photo(photos: list[str], failures: list[dict[str, Any]]) -> Iterator[tuple[int, str, Any]]:
    """Open photos one after the other: the position from 1, the name, the photo; failures are noted."""
    from cfviz.data.decode import load_image  # deferred: the formats' libraries

    for position, photo in enumerate(photos, 1):
        try:
            opened = load_image(photo)
        except EXPECTED as error:
            message = one_line(error)
            failures.append({"photo": photo, "code": getattr(error, "code", None), "message": message})
            complain(named(photo, error))
            continue
        yield position, photo, opened


def print_remark(result: dict[str, Any]) -> None:
    """Print what an answer on this photo is worth, if there is something to say."""
    if result["remark"]:
        print(f"  {result['remark']}")


def finish(
    args: argparse.Namespace, model: Any, results: list[Any], failures: list[Any], t: Translator
) -> int:
    """Print the result for programs, or the origin of the weights for people; return the exit code."""
    name = model.pretrained_cfg["architecture"]
    if args.json:
        print_json(model=name, weights=about_weights(model), results=results, errors=failures)
    elif results:
        print(model.provenance.sentence(t))
    for remark in model.provenance.notes if args.json else ():
        note(remark.sentence(t))
    if args.out and results:
        note(f"written to {args.out}")
    return USER_ERROR if failures else 0
