"""`cfviz predict`: the classes of photos."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from cfviz.framing import Frame
from cfviz.training.cli import add_lda, count
from cfviz.words import LANGUAGES, Translator, translator

from .arguments import TIMM, add_forward, add_model
from .opening import about_weights, open_any, weights_lines
from .operations import add_operations, check_operations, write_operations
from .output import EXPECTED, USER_ERROR, complain, named, note, one_line, print_json, print_table


def add(commands: Any) -> None:
    """Add the command."""
    text = "Classify photos, and say which weights the prediction comes from."
    predict = commands.add_parser("predict", help="classify photos", description=text)
    predict.add_argument(
        "photos", nargs="+", metavar="PHOTO", help="an image file, or gallery:ID for a bundled photo"
    )
    add_model(predict, TIMM)
    predict.add_argument(
        "--top", type=count, default=5, metavar="K", help="number of classes to print (default: 5)"
    )
    add_forward(predict)
    add_lda(predict)
    predict.add_argument(
        "--lang", choices=LANGUAGES, default="en", help="language of class names and remarks (default: en)"
    )
    add_operations(predict)
    predict.add_argument("--json", action="store_true", help="print machine-readable output")
    predict.set_defaults(run=_predict)


def _predict(args: argparse.Namespace) -> int:
    from cfviz.data.images import load_image  # deferred, with the rest: PyTorch
    from cfviz.models.weights.errors import CheckpointError
    from cfviz.run import class_names, frame_of, inspect, name_of

    check_operations(args)
    model, size = open_any(args)
    if model.num_classes == 0:
        raise CheckpointError("no_classes", source=model.provenance.source)
    names, t = class_names(model, args.lang), translator(args.lang)
    results: list[dict[str, Any]] = []
    failures: list[dict[str, Any]] = []
    for index, photo in enumerate(args.photos):
        try:
            image = load_image(photo).brushed(args.brush)
            trace = inspect(
                image, model, size, "logits",
                device=args.device, dtype=args.dtype, mode=args.mode, centre=args.centre,
            )  # fmt: skip
        except EXPECTED as error:
            failures.append(
                {"photo": photo, "code": getattr(error, "code", None), "message": one_line(error)}
            )
            complain(named(photo, error))
            continue
        if not results:
            write_operations(args, photo, image, model, size=size, mode=args.mode, centre=args.centre)
        shown = frame_of(trace)
        results.append(_result(photo, image, trace, shown, names, args.top))
        if not args.json:
            _print_result(results[-1], trace, shown, names, index == 0, t)
            sys.stdout.flush()
    if args.json:
        print_json(model=name_of(model), weights=about_weights(model), predictions=results, errors=failures)
    elif results:
        print(*weights_lines(model, names, t), sep="\n")
    for remark in model.provenance.notes:
        note(remark.sentence(t))
    if results and model.provenance.trained is None:
        note(
            "these weights are random, so the prediction means nothing; `cfviz models` lists the variants "
            "that have trained ones"
        )
    return USER_ERROR if failures else 0


def _result(photo: str, image: Any, trace: Any, shown: Frame, names: list[str], top: int) -> dict[str, Any]:
    return {
        "photo": photo,
        "photo_size": list(image.size[::-1]),
        "notes": [str(code) for code in image.notes],
        "size": list(trace.size),
        "box": None if trace.box is None else list(trace.box),
        "mode": trace.settings["mode"],
        **({"strokes": trace.settings["strokes"]} if image.strokes else {}),
        "kept": shown.kept,
        "empty": shown.empty,
        "stretch": shown.stretch,
        "lda": trace.settings.get("lda"),  # none in a model of timm
        "device": trace.device,
        "dtype": trace.dtype,
        "seconds": trace.seconds,
        "shows": None if trace.shown is None else [names[i] for i in trace.shown],
        "top": [  # random weights have no answer
            {"index": i, "label": names[i], "probability": p}
            for i, _, p in (trace.top(top) if trace.weights.predicts else ())
        ],
    }


def _print_result(
    result: dict[str, Any], trace: Any, seen: Frame, names: list[str], first: bool, t: Translator
) -> None:
    from cfviz.run import about_answer, calibration_of  # deferred: PyTorch

    (height, width), (rows, columns) = result["photo_size"], result["size"]
    facts = f"{height} x {width} px, seen as {rows} x {columns}, {1000 * result['seconds']:.0f} ms"
    print("" if first else "\n", f"{result['photo']}  ({facts}, {result['device']})", sep="")
    print("  ", seen.sentence(t), sep="")
    for code in result["notes"]:
        print("  ", t(f"images.note_{code}"), sep="")
    if not trace.weights.predicts:
        print("  ", t("answer.random"), sep="")
        return
    print_table([("  ", f"{top['probability']:.1%}", top["label"]) for top in result["top"]], right=(1,))
    if trace.shown is not None or calibration_of(trace):  # the closing lines say what the model can answer
        print("  ", about_answer(trace, names, t), sep="")
