"""The command line: the functions of the app, without a browser.

Results go to standard output, everything else to standard error. An error that the user can correct prints
one line and exits with code 2; with `CFVIZ_DEBUG=1` the traceback is shown instead.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from math import prod
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn

import cfviz
from cfviz import report
from cfviz.bundled import app
from cfviz.data.images import MODES, check_input_size, load_image
from cfviz.data.labels import LANGUAGES
from cfviz.data.samples import gallery
from cfviz.geometry import LDA
from cfviz.jobs import check_target, replacing
from cfviz.models.export import INPUT, OUTPUT, check_packages, export_onnx
from cfviz.models.factory import DTYPES, create_model, named_source, opened, source_of
from cfviz.models.registry import default_cfgs
from cfviz.models.variants import BUNDLED, VARIANTS, shipped
from cfviz.models.weights.checkpoints import OFFICIAL
from cfviz.models.weights.errors import readable_size
from cfviz.models.weights.recognise import expected_shapes
from cfviz.run import class_names, inspect, name_of, pick_device
from cfviz.trace import Trace, axes_of
from cfviz.training import cli as training
from cfviz.training.folder import shown
from cfviz.words import columns

SCHEMA = 1  # version of the --json output; it changes when a field is renamed or removed
USER_ERROR, INTERRUPTED, BROKEN_PIPE = 2, 130, 141
IN_COMMANDS = (
    "add --weights official (the authors', downloaded once), a file or hf-hub:OWNER/NAME, "
    "or --weights none for random ones"
)
_EXPECTED = (ValueError, OSError, RuntimeError, MemoryError)  # torch raises RuntimeError when out of memory


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments; None uses those of the process.

    Returns:
        The exit code: 0, 2 for an error that the user can correct, or that of an interrupt or broken pipe.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show one label still shows the rest
    try:
        args = _parser().parse_args(argv)
        code = args.run(args)
        sys.stdout.flush()
        return code or 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at exit
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except _EXPECTED as error:
        if os.environ.get("CFVIZ_DEBUG"):
            raise
        _complain(error)
        return USER_ERROR


class _Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that reports errors on one line and aligns the help."""

    def __init__(self, **kwargs: Any):
        def formatter(prog: str) -> argparse.HelpFormatter:
            return argparse.HelpFormatter(prog, max_help_position=28, width=100)

        super().__init__(**{"formatter_class": formatter, "allow_abbrev": False, **kwargs})

    def error(self, message: str) -> NoReturn:
        self.exit(USER_ERROR, f"{self.prog}: {message} (--help explains)\n")


def _parser() -> argparse.ArgumentParser:
    called = "cfviz" if Path(sys.argv[0]).stem == "cfviz" else "python -m cfviz"
    parser = _Parser(prog=called, description="A microscope for CrossFormer, without the browser.")
    parser.add_argument("--version", action="version", version=f"cfviz {cfviz.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_models(commands)
    _add_predict(commands)
    _add_report(commands)
    _add_points(commands)
    _add_export_onnx(commands)
    _add_app(commands)
    training.register(commands)
    return parser


def _add_models(commands: Any) -> None:
    models = commands.add_parser("models", help="list the variants", description="List the variants.")
    models.add_argument("--json", action="store_true", help="machine-readable output")
    models.set_defaults(run=_models)


def _add_predict(commands: Any) -> None:
    text = "Classify photos."
    predict = commands.add_parser("predict", help="classify photos", description=text)
    predict.add_argument("photos", nargs="+", metavar="PHOTO", help="an image file, or gallery:ID")
    predict.add_argument(
        "--model",
        metavar="MODEL",
        help=f"a variant, or anything that --weights accepts (default: {BUNDLED})",
    )
    predict.add_argument(
        "--weights",
        metavar="WEIGHTS",
        help="bundled, official (downloaded once), hf-hub:OWNER/NAME, a file, or none (default: bundled)",
    )
    predict.add_argument("--top", type=_count, default=5, metavar="K", help="classes to show (default: 5)")
    predict.add_argument(
        "--size",
        type=_size,
        default=224,
        metavar="N",
        help="input in pixels, 224 or 224x320 (height x width)",
    )
    predict.add_argument(
        "--mode", choices=MODES, default="crop", help="how a photo is fitted to the input size"
    )
    predict.add_argument(
        "--lda",
        choices=LDA,
        help="long distance attention within regions, or over the whole map (default: as the weights need)",
    )
    predict.add_argument("--device", metavar="DEVICE", help="cpu, cuda, cuda:1 (default: cuda if available)")
    predict.add_argument("--dtype", choices=DTYPES, default="float32", help="number format to compute in")
    predict.add_argument("--lang", choices=LANGUAGES, default="en", help="language of the class names")
    predict.add_argument("--json", action="store_true", help="machine-readable output")
    predict.set_defaults(run=_predict)


def _add_report(commands: Any) -> None:
    text = "Write one HTML file that opens offline: the prediction, interactive figures, how to reproduce it."
    parser = commands.add_parser(
        "report", help="a photo's prediction and figures as one HTML file", description=text
    )
    parser.add_argument("photo", metavar="PHOTO", help="an image file, or gallery:ID")
    parser.add_argument("--out", required=True, metavar="FILE", help="the HTML file to write")
    parser.add_argument("--model", metavar="MODEL", help=f"as for predict (default: {BUNDLED})")
    parser.add_argument("--weights", metavar="WEIGHTS", help="as for predict")
    parser.add_argument("--size", type=_size, default=224, metavar="N", help="input in pixels")
    parser.add_argument(
        "--mode", choices=MODES, default="crop", help="how the photo is fitted to the input size"
    )
    parser.add_argument("--device", metavar="DEVICE", help="cpu, cuda, cuda:1")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="number format to compute in")
    parser.add_argument("--lang", choices=LANGUAGES, default="en", help="language of the report")
    parser.add_argument(
        "--parts", action=argparse.BooleanOptionalAction,
        help="remove every part of the model in turn and rank them (default: if that takes only seconds)",
    )  # fmt: skip
    parser.set_defaults(run=_report)


def _add_points(commands: Any) -> None:
    text = "List the points inside a model that can be watched, and the axes of what passes there."
    points = commands.add_parser("points", help="list what can be watched in a model", description=text)
    points.add_argument("model", metavar="MODEL", help="a variant")
    points.add_argument(
        "patterns", nargs="*", metavar="PATTERN", help="list only these, such as 'layers.0.*.probs'"
    )
    points.add_argument("--json", action="store_true", help="machine-readable output")
    points.set_defaults(run=_points)


def _add_export_onnx(commands: Any) -> None:
    text = "Write a model as an ONNX file, and check with onnxruntime that it gives the model's logits."
    parser = commands.add_parser("export-onnx", help="a model as an ONNX file", description=text)
    parser.add_argument("--out", required=True, metavar="FILE", help="the .onnx file to write")
    parser.add_argument("--model", metavar="MODEL", help=f"as for predict (default: {BUNDLED})")
    parser.add_argument("--weights", metavar="WEIGHTS", help="as for predict")
    parser.add_argument(
        "--size",
        type=_size,
        default=224,
        metavar="N",
        help="input in pixels, 224 or 224x320 (height x width); the file is for this size",
    )
    parser.add_argument("--batch", type=_count, metavar="N", help="photos at once (default: any number)")
    parser.set_defaults(run=_export_onnx)


def _add_app(commands: Any) -> None:
    app = commands.add_parser("app", help="start the app", description="Start the app, in your browser.")
    app.add_argument("--port", type=_port, metavar="N", help="default: 8501, or the next that is free")
    app.add_argument(
        "--host",
        default="localhost",
        metavar="HOST",
        help="0.0.0.0 for others to reach it (default: localhost)",
    )
    app.add_argument("--headless", action="store_true", help="open no browser")
    app.set_defaults(run=_app)


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


def _size(text: str) -> int | tuple[int, int]:
    sides = [int(side) if side.isdecimal() else 0 for side in text.lower().replace("×", "x").split("x")]
    if len(sides) > 2 or not all(sides):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 224 or 224x320")
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


# ---------------------------------------------------------------- models


def _models(args: argparse.Namespace) -> int:
    models = [_about(name, config) for name, config in VARIANTS.items()]
    if args.json:
        _print_json(models=models)
        return 0
    rows = [("model", "parameters", "width", "depths", "heads", "groups", "intervals", "weights")]
    for about in models:
        lists = [" ".join(map(str, about[key])) for key in ("depths", "num_heads", "group_size", "interval")]
        size = f"{about['parameters'] / 1e6:.1f} M"
        rows.append((about["model"], size, str(about["embed_dim"]), *lists, about["weights"]))
    _print_table(rows, right=(1, 2))
    return 0


def _about(name: str, config: dict[str, Any]) -> dict[str, Any]:
    """A variant's configuration; parameters are counted with the number of classes of its weights."""
    weights = "local file"
    if shipped(name):
        weights = "bundled"
    elif name in OFFICIAL:
        weights = "official"
    keys = ("embed_dim", "depths", "num_heads", "group_size", "interval")
    classes = default_cfgs[name].default.num_classes
    shapes = expected_shapes(name, classes, 3, config.get("position_bias", "dpb"), None)
    return {
        "model": name,
        "parameters": sum(prod(shape) for shape in shapes.values()),
        **{key: config[key] for key in keys},
        "weights": weights,
    }


# ---------------------------------------------------------------- predict


def _predict(args: argparse.Namespace) -> int:
    check_input_size(args.size)
    model = _model(args.model, args.weights, **({"lda": args.lda} if args.lda else {}))
    model.to(pick_device(args.device), DTYPES[args.dtype])
    names = class_names(model, args.lang)
    results, failures = [], []
    for index, photo in enumerate(args.photos):
        try:
            image = load_image(photo)
            trace = inspect(image, model, args.size, device=args.device, dtype=args.dtype, mode=args.mode)
        except _EXPECTED as error:
            failures.append(
                {"photo": photo, "code": getattr(error, "code", None), "message": _one_line(error)}
            )
            _complain(error if photo in str(error) else f"{photo}: {error}")
            continue
        results.append(_result(photo, image, trace, names, args.top))
        if not args.json:
            _print_result(results[-1], first=index == 0)
            sys.stdout.flush()
    if args.json:
        weights = model.provenance
        _print_json(
            model=name_of(model),
            weights={key: getattr(weights, key) for key in ("source", "sha256", "trained", "dataset")},
            predictions=results,
            errors=failures,
        )
    for note in model.provenance.notes:
        _note(note.sentence())
    if results and model.provenance.trained is None:
        _note("these weights are random, so the prediction means nothing; `models` says where others are")
    return USER_ERROR if failures else 0


def _model(model: str | None, weights: str | None, **kwargs: Any) -> Any:
    """Open the model named by `--model` and `--weights`, showing the progress of any download."""
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
    with _Bar(str(source)) as bar:
        return opened(source, model, progress=bar, **kwargs)


def _result(photo: str, image: Any, trace: Trace, names: list[str], top: int) -> dict[str, Any]:
    return {
        "photo": photo,
        "photo_size": list(image.image.size[::-1]),
        "notes": [str(note) for note in image.notes],
        "size": list(trace.size),
        "box": None if trace.box is None else list(trace.box),
        "mode": trace.settings["mode"],
        "device": trace.device,
        "dtype": trace.dtype,
        "seconds": trace.seconds,
        "top": [{"index": i, "label": names[i], "probability": p} for i, _, p in trace.top(top)],
    }


def _print_result(result: dict[str, Any], first: bool) -> None:
    (height, width), (rows, columns) = result["photo_size"], result["size"]
    facts = f"{width} x {height} px, seen as {columns} x {rows}, {1000 * result['seconds']:.0f} ms"
    print("" if first else "\n", f"{result['photo']}  ({facts}, {result['device']})", sep="")
    _print_table([("  ", f"{t['probability']:.1%}", t["label"]) for t in result["top"]], right=(1,))


# ---------------------------------------------------------------- report


def _report(args: argparse.Namespace) -> int:
    check_input_size(args.size)
    check_target(args.out, "--out")
    image = load_image(args.photo)
    model = _model(args.model, args.weights).to(pick_device(args.device), DTYPES[args.dtype])
    trace = inspect(
        image, model, args.size, report.WATCH, device=args.device, dtype=args.dtype, mode=args.mode
    )
    known = {load_image(entry.path).sha256: entry for entry in gallery() if entry.path.is_file()}
    photo = known.get(image.sha256)
    weights = model.provenance
    named = args.weights or (None if args.model in (None, *VARIANTS) else args.model)
    given = {"random": "none", "bundled": None}.get(weights.source, named)
    origin = report.Origin(photo.typed if photo else shown(args.photo), photo.id if photo else None, given)
    with replacing(args.out) as part:
        part.write_text(report.html(trace, model, origin, args.lang, args.parts), "utf-8")
    _note(f"{args.out} opens in any browser, offline")
    return 0


# ---------------------------------------------------------------- points


def _points(args: argparse.Namespace) -> int:
    found = cfviz.points(create_model(args.model, weights=None))
    for pattern in args.patterns:
        if not any(fnmatchcase(point, pattern) for point in found):
            raise ValueError(
                f"{pattern!r} matches no point of {args.model}; without a pattern all are listed"
            )
    if args.patterns:
        found = [point for point in found if any(fnmatchcase(point, p) for p in args.patterns)]
    if args.json:
        _print_json(model=args.model, points=[{"point": p, "axes": list(axes_of(p))} for p in found])
    else:
        _print_table([(point, " x ".join(axes_of(point))) for point in found])
    return 0


# ---------------------------------------------------------------- export


def _export_onnx(args: argparse.Namespace) -> int:
    check_input_size(args.size)
    check_target(args.out, "--out")
    check_packages()
    model = _model(args.model, args.weights)
    difference = export_onnx(model, args.out, args.size, args.batch)
    height, width = (args.size, args.size) if isinstance(args.size, int) else args.size
    batch = args.batch or "batch"
    print(
        f"{args.out}: {INPUT} ({batch}, {model.in_chans}, {height}, {width}) -> {OUTPUT} ({batch}, "
        f"{model.num_classes}), {readable_size(os.path.getsize(args.out))}; onnxruntime's logits are the "
        f"model's to {difference:.0e}"
    )
    return 0


# ---------------------------------------------------------------- app

LOCAL = ("localhost", "127.0.0.1", "::1")


def _app(args: argparse.Namespace) -> int:
    """Replace this process with Streamlit's server, with the `.streamlit` settings from beside `app.py`."""
    options = {
        "server.address": args.host, "server.showEmailPrompt": "false",
    }  # fmt: skip
    if args.port:
        options["server.port"] = args.port
    if args.headless:
        options["server.headless"] = "true"
    run = ("-P", "-m", "streamlit", "run", str(app()))  # -P: import no modules from the current folder
    command = [sys.executable, *run, *(f"--{key}={value}" for key, value in options.items())]
    if args.host in LOCAL:  # requests that another site makes the browser send here carry that site's name
        command += [f"--server.allowedHosts={name}" for name in LOCAL]
    # Without this, glibc keeps memory for every thread that the server ever had.
    os.execve(sys.executable, command, {"MALLOC_ARENA_MAX": "2", **os.environ})


# ---------------------------------------------------------------- output


def _print_table(rows: Sequence[Sequence[str]], right: tuple[int, ...] = ()) -> None:
    widths = [max(columns(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = []
        for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - columns(cell))
            cells.append(space + cell if i in right else cell + space)
        print("  ".join(cells).rstrip())


def _print_json(**content: Any) -> None:
    print(json.dumps({"schema": SCHEMA, **content}, ensure_ascii=False, indent=2))


def _one_line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _complain(error: object) -> None:
    print(f"cfviz: {_one_line(error)}", file=sys.stderr)


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


class _Bar:
    """Progress of a download on standard error: an updating line in a terminal, else one line at the end."""

    def __init__(self, name: str, width: int = 28):
        self.name, self.width, self.live = name, width, sys.stderr.isatty()
        self.last, self.done = 0.0, 0

    def __call__(self, done: int, total: int | None) -> None:
        self.done = done
        if not self.live or (monotonic() - self.last < 0.1 and done != total):
            return
        self.last = monotonic()
        if total:
            filled = self.width * done // total
            shown = (
                f"[{'#' * filled}{'.' * (self.width - filled)}] {done / total:4.0%} of {readable_size(total)}"
            )
        else:
            shown = readable_size(done)
        print(f"\r{self.name}  {shown} ", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self.done:
            end = "\n" if self.live else f"{self.name}: {readable_size(self.done)} downloaded\n"
            print(end, end="", file=sys.stderr, flush=True)
