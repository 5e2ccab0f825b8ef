"""The commands train, evaluate, export-weights, sizes, study, probes and convert."""

import argparse
import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import wrap
from typing import Any

from cfviz.framing import Size, parse_size
from cfviz.jobs import check_target, replacing, report, write
from cfviz.models.dense.variants import DATASETS as DENSE_DATA
from cfviz.models.dense.variants import SIX_SCALES
from cfviz.models.variants import BUNDLED
from cfviz.options import BIAS_METHODS, LDA, SIZES, TRAINED_SIZE, WINDOWS
from cfviz.provenance import DATASETS, fitting

from . import recipe
from .dense import cli as dense
from .ship import NOTES

SMALLEST_SCALE, LARGEST_SCALE = 0.25, 4  # of a segmenter's input
SOURCES = "a file, a variant that ships weights, official:VARIANT or hf-hub:OWNER/NAME"


def count(text: str) -> int:
    """Parse a number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


def size(text: str) -> Size:
    """Parse 224, or 192x640 as (height, width)."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def register(subparsers: Any) -> None:
    """Add the training commands to the command line."""
    _add_train(subparsers)
    dense.add(subparsers, count)
    _add_evaluate(subparsers)
    _add_export(subparsers)
    _add_sizes(subparsers)
    _add_study(subparsers)
    _add_probes(subparsers)
    _add_convert(subparsers)


def _engine_options(parser: argparse.ArgumentParser) -> None:
    _processor_options(parser)
    _workers_option(parser)
    parser.add_argument(
        "--batch-size", type=count, default=64, metavar="N", help="photos per forward pass (default: 64)"
    )


def _processor_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cpu", action="store_true", help="use the CPU even if there is a GPU")
    parser.add_argument("--threads", type=count, metavar="N", help="CPU threads per process")


def _workers_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers",
        type=_whole,
        default=0,
        metavar="N",
        help="extra processes that read photos (default: 0, the command reads them itself)",
    )


def _data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", required=True, metavar="FOLDER", help="photos, in one subfolder per class")
    parser.add_argument(
        "--limit", type=count, metavar="N", help="use at most N photos per class, spread evenly"
    )


def _size_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--size",
        type=size,
        metavar="SIZE",
        help="input size in pixels, 224 or 192x640 (height x width), multiples of 32 (default: the size the "
        "weights were trained at)",
    )


def add_lda(parser: argparse.ArgumentParser) -> None:
    """Add `--lda`."""
    parser.add_argument(
        "--lda",
        choices=LDA,
        help="long distance attention within regions, or over the whole map (default: as the weights need)",
    )


def given_lda(args: argparse.Namespace) -> dict[str, Any]:
    """Return `--lda` as an argument of the model; nothing if it was left out."""
    return {"lda": args.lda} if args.lda else {}


def _progress_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--progress", metavar="FILE", help="a JSON file to keep up to date with the progress")


def _model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights", default=BUNDLED, metavar="WEIGHTS", help=f"{SOURCES} (default: {BUNDLED})"
    )
    parser.add_argument(
        "--json", metavar="FILE", help="also write the result to a JSON file; - prints it instead of a table"
    )


def set_threads(args: argparse.Namespace) -> None:
    """Use as many of PyTorch's threads as `--threads` says."""
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)


def _processes(args: argparse.Namespace) -> Any:
    """The processes that measure together, in float32 whatever `accelerate launch` is set to."""
    from accelerate import Accelerator  # deferred: it imports PyTorch

    return Accelerator(cpu=args.cpu, mixed_precision="no")


def _processes_end_together(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Wrap a command that several processes may run together (torchrun, `accelerate launch`).

    A process that exits with its process group still open may abort, because the group's threads are running.
    """

    @functools.wraps(run)
    def command(args: argparse.Namespace) -> int:
        from torch import distributed

        try:
            code = run(args)
            if distributed.is_available() and distributed.is_initialized():
                distributed.barrier()
            return code
        finally:
            if distributed.is_available() and distributed.is_initialized():
                distributed.destroy_process_group()

    return command


class _Listing(argparse.Action):
    """An option that prints a text and ends the program, as `--help` does."""

    def __init__(self, option_strings: list[str], dest: str, text: Callable[[], str], help: str):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)
        self.text = text

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(self.text())
        parser.exit()


def _listed_recipes() -> str:
    return "\n".join(f"{name:<18}{recipe.purpose(name)}" for name in recipe.names())


def _listed_settings() -> str:
    lines = []
    for title, kind in (("recipe", recipe.Recipe), ("phase", recipe.Phase)):
        lines.append(f"settings of a {title}:")
        for name, values, default, meaning in recipe.settings(kind):
            lines += [f"  {name}: {values} ({default if default == 'required' else f'default: {default}'})"]
            lines += wrap(meaning.replace("`", ""), 94, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines)


def _add_train(subparsers: Any) -> None:
    text = "Train a model on a folder of photos. Run the same command again to resume a run that was stopped."
    parser = subparsers.add_parser("train", help="train a model, or resume a run", description=text)
    parser.add_argument(
        "--data", metavar="FOLDER", help="photos, in one subfolder per class (default: the recipe's)"
    )
    parser.add_argument("--out", required=True, metavar="RUN", help="the folder to keep the run in")
    parser.add_argument(
        "--config",
        default=recipe.RECOMMENDED,
        metavar="RECIPE",
        help="a YAML file, or the name of a recipe that comes with cfviz (default: %(default)s)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting of the recipe; can be repeated",
    )
    _processor_options(parser)
    parser.add_argument(
        "--recipes", action=_Listing, text=_listed_recipes, help="list the recipes that come with cfviz"
    )
    parser.add_argument(
        "--settings", action=_Listing, text=_listed_settings, help="list the settings of a recipe"
    )
    parser.set_defaults(run=_train)


@_processes_end_together
def _train(args: argparse.Namespace) -> int:
    from .engine import Trainer

    set_threads(args)
    chosen = recipe.load(args.config, args.set, args.data)
    if not Path(chosen.data).is_dir():
        origin = "" if args.data else f", the folder that {args.config} names"
        raise ValueError(
            f"there is no folder {chosen.data}{origin}; name the folder of your photos with --data"
        )
    Trainer(chosen, args.out, cpu=args.cpu).fit()
    return 0


def _add_evaluate(subparsers: Any) -> None:
    text = (
        "Measure the accuracy on a folder of photos: one subfolder per class, with the names from training."
    )
    parser = subparsers.add_parser(
        "evaluate", help="measure the accuracy on a folder of photos", description=text
    )
    _data_options(parser)
    _model_options(parser)
    _size_option(parser)
    parser.add_argument(
        "--group-size", type=count, metavar="G", help="group size of all stages (default: as trained)"
    )
    parser.add_argument(
        "--interval",
        metavar="I",
        help="adaptive, or one number per stage, such as 8,4,2,1 (default: as trained)",
    )
    add_lda(parser)
    parser.add_argument(
        "--restrict",
        action="store_true",
        help="count only the classes in the folder as possible predictions, not all that the model knows",
    )
    _engine_options(parser)
    parser.add_argument(
        "--task",
        choices=("classify", *DENSE_DATA),
        default="classify",
        help="classify (the default), detect (a folder in COCO's format) or segment (in ADE20K's); with the "
        "latter two, --limit counts all photos, photos are resized as in the authors' settings, and each "
        "process computes one at a time",
    )
    add_scales(parser, "for segment: ")
    parser.add_argument(
        "--record",
        metavar="FILE",
        help="for detect and segment: keep what was found in each photo, in a file of JSON lines; the same "
        "command goes on there",
    )
    parser.set_defaults(run=_evaluate)


def add_scales(parser: argparse.ArgumentParser, when: str = "") -> None:
    """Add `--scales`; `when` begins the help."""
    parser.add_argument(
        "--scales", type=_scales, metavar="S,S",
        help=f"{when}label each photo at several scales, which takes longer, and average the probabilities: "
        "six (0.5 to 1.75, the authors' for UPerNet), or numbers such as 0.75,1,1.25 (default: 1)",
    )  # fmt: skip


def _scales(text: str) -> tuple[float, ...]:
    if text == "six":
        return SIX_SCALES
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError:
        scales = ()
    if not scales or not all(SMALLEST_SCALE <= scale <= LARGEST_SCALE for scale in scales):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not six, nor numbers from {SMALLEST_SCALE} to {LARGEST_SCALE} such as 0.75,1,1.25"
        )
    return scales


def _open(args: argparse.Namespace, weights: str | None = None) -> tuple[Any, list[str], str]:
    """Open the model named by `--weights` (or `weights`).

    Returns:
        The model, its class names or WordNet ids, and the SHA-256 of its weights.
    """
    from cfviz.models.factory import build, named_source
    from cfviz.models.weights.checkpoints import load_checkpoint

    checkpoint = load_checkpoint(named_source(weights or args.weights))
    for note in checkpoint.notes:
        print(f"note: {note.sentence()}", file=sys.stderr)
    return build(checkpoint), _classes(checkpoint, args.data), checkpoint.sha256


def _classes(checkpoint: Any, folder: str) -> list[str]:
    """Names or WordNet ids of a model's classes, guessed from the folder if the checkpoint has none."""
    from cfviz.data.labels import wordnet_ids

    from . import data

    count = checkpoint.num_classes
    if not count:
        raise ValueError(f"{checkpoint.source} has no classifier, so its accuracy cannot be measured")
    if checkpoint.classes:
        return list(checkpoint.classes)
    if (dataset := fitting(checkpoint.dataset, count)) in DATASETS:
        return wordnet_ids(str(dataset))
    if count == 1000:
        return wordnet_ids("imagenet-1k")  # the note in the checkpoint says that this is an assumption
    folders: list[str] = data.PhotoFolder(folder).classes
    if len(folders) != count:
        raise ValueError(
            f"{checkpoint.source} has {count} classes and does not record their names, and {folder} has "
            f"{len(folders)} class folders; expected one folder for each class, in the order of the outputs"
        )
    said = "the file does not record class names; assuming the alphabetical order of the folders"
    print(f"note: {said}", file=sys.stderr)
    return folders


def size_of(args: argparse.Namespace, model: Any) -> Any:
    """Return `--size`, else the size that the weights were trained at, which is then said."""
    if args.size is None and model.img_size != TRAINED_SIZE:
        said = f"input size: {model.img_size} px, at which these weights were trained; --size changes it"
        print(f"note: {said}", file=sys.stderr)
    return args.size or model.img_size


def interval_of(text: str | None) -> Any:
    """Parse an interval: `"8,4,2,1"` becomes (8, 4, 2, 1); `"adaptive"` and None are returned unchanged."""
    if text is None or text == "adaptive":
        return text
    if not all(part.isdecimal() for part in text.split(",")):
        raise ValueError(f"got --interval {text!r}, expected adaptive, or numbers such as 8,4,2,1")
    return tuple(int(part) for part in text.split(","))


def _evaluate_dense(args: argparse.Namespace) -> int:
    """Measure a detector or segmenter, beside the authors' figures."""
    told = ("size", "group_size", "interval", "lda", "restrict")
    if args.scales and args.task != "segment":
        raise ValueError("--scales is for --task segment")
    if unused := [f"--{name.replace('_', '-')}" for name in told if getattr(args, name)]:
        raise ValueError(
            f"{unused[0]} is for classifiers; with --task {args.task} the weights' own settings hold"
        )
    from cfviz.models.dense.factory import opened_dense  # deferred, with the rest: PyTorch
    from cfviz.models.dense.pipeline import check_task
    from cfviz.models.factory import named_source

    from .measure import dense

    set_threads(args)
    _check_targets(args, "json", "record")
    model = check_task(opened_dense(named_source(args.weights), None), args.task)
    run = dense.Run(Path(args.record) if args.record else None, _processes(args), args.workers)
    for note in model.provenance.notes if run.speaks else ():
        print(f"note: {note.sentence()}", file=sys.stderr)
    model.to(run.processes.device)
    more = {"scales": args.scales} if args.scales else {}
    measure: Any = dense.measure_detector if args.task == "detect" else dense.measure_segmenter
    result = measure(model, args.data, run, args.limit, **more)
    if result is not None:
        _tell(result, args.json, dense.table(result))
    return 0


@_processes_end_together
def _evaluate(args: argparse.Namespace) -> int:
    if args.task != "classify":
        return _evaluate_dense(args)
    for option, tasks in (("record", "detect and segment"), ("scales", "segment")):
        if getattr(args, option):
            raise ValueError(f"--{option} is for --task {tasks}")
    from . import data
    from .measure import evaluation

    set_threads(args)
    _check_targets(args, "json")
    model, ids, _ = _open(args)
    model.set_grouping(args.group_size, interval_of(args.interval), args.lda)
    size = size_of(args, model)
    photos = data.PhotoFolder(args.data)
    accelerator = _processes(args)
    result = evaluation.evaluate(
        model,
        photos,
        ids,
        size,
        restrict=args.restrict,
        indices=evaluation.spread(photos.labels, args.limit),
        accelerator=accelerator,
        batch_size=args.batch_size,
        workers=args.workers,
    )
    if accelerator.is_main_process:
        _tell(result, args.json, evaluation.table(result))
    return 0


def _check_targets(args: argparse.Namespace, *options: str) -> None:
    """Check that the result files can be written before computing anything."""
    for option in options:
        if (path := getattr(args, option)) not in (None, "-"):
            check_target(path, f"--{option}")


def _tell(result: Any, target: str | None, table: str) -> None:
    if target == "-":
        print(json.dumps(result, indent=1, ensure_ascii=False))
        return
    print(table, flush=True)
    if target:
        write(Path(target), result)


def _add_export(subparsers: Any) -> None:
    text = (
        "Write the weights of a run in float16, and beside them a card that says how they were trained and "
        "how accurate they are."
    )
    parser = subparsers.add_parser(
        "export-weights", help="write a run's weights and their card", description=text
    )
    parser.add_argument("run_folder", metavar="RUN", help="the folder of the run, the --out of train")
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="the .safetensors file to write; the card goes beside it"
    )
    parser.add_argument(
        "--val",
        metavar="FOLDER",
        help="photos that played no part in training or in any choice, to measure the accuracy on",
    )
    parser.add_argument(
        "--others",
        action="append",
        default=[],
        metavar="FOLDER",
        help="photos of none of the classes, in subfolders, to measure whether the model tells them from "
        "those of --val; can be repeated",
    )
    parser.add_argument(
        "--note",
        type=_note,
        action="append",
        default=[],
        metavar="KEY=TEXT",
        help="a paragraph for the card: choice, schedule, limits or gap; can be repeated",
    )
    _engine_options(parser)
    parser.set_defaults(run=_export)


def _note(text: str) -> tuple[str, str]:
    """Parse KEY=TEXT, a paragraph of a card."""
    key, _, paragraph = text.partition("=")
    if key not in NOTES or not paragraph.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=TEXT with one of the keys {', '.join(NOTES)}")
    return key, paragraph.strip()


@_processes_end_together
def _export(args: argparse.Namespace) -> int:
    from . import data
    from .ship import export

    set_threads(args)
    notes = dict(args.note)
    if len(notes) < len(args.note):
        raise ValueError("two times --note with the same key; expected one paragraph for each")
    val = data.PhotoFolder(args.val) if args.val else None
    others = {Path(folder).resolve().name: data.PhotoFolder(folder) for folder in args.others}
    if len(others) < len(args.others):
        raise ValueError("two folders of --others have the same name, which is their title in the card")
    if others and val is None:
        raise ValueError("--others needs --val: its photos are compared with those")
    accelerator = _processes(args)
    if accelerator.is_main_process:
        export.export(args.run_folder, args.out, **notes)
    accelerator.wait_for_everyone()
    facts = export.measure(
        args.out,
        args.run_folder,
        val=val,
        accelerator=accelerator,
        others=others,
        batch_size=args.batch_size,
        workers=args.workers,
    )
    measured = facts.get("val", facts.get("held_out"))
    if accelerator.is_main_process:
        if measured is None:
            text = "accuracy not measured, since no photos were held out; name some with --val"
        else:
            text = "top-1 {value:.2%} of {n} photos".format(**measured["top1"])
        about = Path(args.out).with_suffix(".md")
        print(
            f"{args.out}: {text}; its card is {about}",
            file=sys.stderr,
        )
    return 0


def _add_sizes(subparsers: Any) -> None:
    text = "Measure the accuracy at several input sizes and windows: how well does the position bias adapt?"
    more = (
        "With --json FILE every row is saved at once, and repeating the command resumes. Sizes, windows and "
        "methods are measured in the order given."
    )
    parser = subparsers.add_parser(
        "sizes", help="measure the accuracy at other input sizes", description=f"{text} {more}"
    )
    _data_options(parser)
    _model_options(parser)
    parser.add_argument(
        "--twin", metavar="WEIGHTS", help="a second model that differs only in its kind of position bias"
    )
    parser.add_argument(
        "--sizes",
        default=",".join(map(str, SIZES)),
        metavar="PX,PX",
        help="input sizes, multiples of 32, or HEIGHTxWIDTH such as 192x640: a photo is resized to cover it, "
        f"then its centre is cropped (default: {','.join(map(str, SIZES))})",
    )
    parser.add_argument("--windows", metavar="NAME,NAME", help=f"any of {','.join(WINDOWS)} (default: all)")
    parser.add_argument(
        "--ways",
        metavar="NAME,NAME",
        help="how to get the position bias of another window: any of "
        f"{','.join(BIAS_METHODS)} (default: all)",
    )
    parser.add_argument(
        "--resized",
        metavar="FOLDER",
        help="keep the resized photos in this folder, so that each is decoded only once per size; delete it "
        "when all is measured",
    )
    _progress_option(parser)
    _engine_options(parser)
    parser.set_defaults(run=_sizes)


@_processes_end_together
def _sizes(args: argparse.Namespace) -> int:
    from . import data
    from .measure import sizes

    set_threads(args)
    _check_targets(args, "json", "progress")
    chosen = {
        "window_names": sizes.parse_names(args.windows, WINDOWS, "windows"),
        "methods": sizes.parse_names(args.ways, BIAS_METHODS, "ways"),
    }
    models = []
    for source in filter(None, (args.weights, args.twin)):
        model, ids, sha256 = _open(args, source)
        models.append(sizes.MeasuredModel(model.position_bias, model, ids, sha256))
    if len({one.name for one in models}) < len(models):
        kind = models[0].name
        raise ValueError(f"both models have the position bias {kind}; expected a --twin with another kind")
    accelerator = _processes(args)
    keeper = sizes.Keeper(
        args.json,
        {"command": _sizes_command(args)},
        lambda text: print(text, file=sys.stderr, flush=True),
        args.progress,
    )
    if accelerator.is_main_process:  # report the total now: the first row may take a while
        plan = sizes.plan(models, sizes.parse_sizes(args.sizes), chosen["window_names"], chosen["methods"])
        report(args.progress, 0, sum(1 for _ in plan))
    earlier = keeper.earlier()
    accelerator.wait_for_everyone()  # every process must read `earlier` before the first row is written
    result = sizes.measure(
        models,
        data.PhotoFolder(args.data),
        sizes.parse_sizes(args.sizes),
        args.limit,
        **chosen,
        earlier=earlier,
        keep=keeper if accelerator.is_main_process else None,
        save=keeper.save if accelerator.is_main_process else None,
        resized=args.resized,
        accelerator=accelerator,
        batch_size=args.batch_size,
        workers=args.workers,
    )
    if accelerator.is_main_process:
        if args.json == "-":
            print(json.dumps({**keeper.facts, **result}, indent=1, ensure_ascii=False))
        else:
            print(sizes.rows_table(result))
    return 0


def _sizes_command(args: argparse.Namespace) -> str:
    """The command as recorded in the results, with paths shortened so that none from this machine leaks."""
    command = f"python -m cfviz sizes --data {'/'.join(Path(args.data).resolve().parts[-2:])}"
    for name in ("weights", "twin", "sizes", "windows", "ways", "limit"):
        value = getattr(args, name)
        if value:
            command += f" --{name} {Path(value).name if name in ('weights', 'twin') else value}"
    return command


def _add_study(subparsers: Any) -> None:
    text = "Change a model in many ways, over a folder of photos: what does each part contribute to accuracy?"
    more = "Repeat the command to resume. Under torchrun, several processes share the photos."
    parser = subparsers.add_parser(
        "study",
        help="measure what parts of a model contribute, over many photos",
        description=f"{text} {more}",
    )
    _data_options(parser)
    parser.add_argument(
        "--interventions", required=True, metavar="FILE", help="the changes to make, one JSON object per line"
    )
    parser.add_argument("--model", default=BUNDLED, metavar="MODEL", help=f"{SOURCES} (default: {BUNDLED})")
    _size_option(parser)
    add_lda(parser)
    parser.add_argument("--out", required=True, metavar="RUN", help="the folder for the results")
    _progress_option(parser)
    _processor_options(parser)
    _workers_option(parser)
    parser.set_defaults(run=_study)


@_processes_end_together
def _study(args: argparse.Namespace) -> int:
    from cfviz.data.left_out import told

    from . import data
    from .folder import shown
    from .measure import study

    set_threads(args)
    _check_targets(args, "progress")
    model, ids, sha256 = _open(args, args.model)
    model.set_grouping(lda=args.lda)
    size = size_of(args, model)
    accelerator = _processes(args)
    run = study.Study(
        model,
        data.PhotoFolder(args.data),
        ids,
        study.read_interventions(args.interventions),
        Path(args.out),
        size,
        args.limit,
        {"model": Path(args.model).name, "sha256": sha256, "folder": shown(Path(args.data).resolve().name)},
        accelerator,
        args.workers,
        args.progress,
    )
    path = run.run()
    if accelerator.is_main_process:
        print(f"{path.name}: {len(run.changes)} changes; {told(run.files)}", file=sys.stderr)
    return 0


def _add_probes(subparsers: Any) -> None:
    text = "Learn what each block of a model already knows: a linear probe of each, from tokens to the class."
    more = "Repeat the command to resume, or with a higher limit to go on."
    parser = subparsers.add_parser(
        "probes", help="learn and measure a linear probe of each block", description=f"{text} {more}"
    )
    parser.add_argument("--data", required=True, metavar="FOLDER", help="photos to learn from, as for train")
    parser.add_argument("--val", required=True, metavar="FOLDER", help="other photos, to measure on")
    parser.add_argument("--limit", type=count, metavar="N", help="learn from at most N photos of each class")
    parser.add_argument(
        "--val-limit", type=count, metavar="N", help="measure on at most N photos of each class"
    )
    parser.add_argument(
        "--weights", default=BUNDLED, metavar="WEIGHTS", help=f"{SOURCES} (default: {BUNDLED})"
    )
    _size_option(parser)
    parser.add_argument(
        "--run", required=True, dest="folder", metavar="RUN", help="the folder for what is computed"
    )
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="the .safetensors file to write; the card goes beside it"
    )
    parser.add_argument("--threads", type=count, metavar="N", help="CPU threads")
    _workers_option(parser)
    parser.set_defaults(run=_probes)


def _probes(args: argparse.Namespace) -> int:
    from cfviz.data.left_out import told

    from . import data, probes

    set_threads(args)
    out = Path(args.out)
    check_target(out, "--out", ".safetensors")
    model, ids, sha256 = _open(args)
    facts = probes.make(
        out, Path(args.folder), model, sha256, ids, data.PhotoFolder(args.data), data.PhotoFolder(args.val),
        size_of(args, model), (args.limit, args.val_limit), args.workers,
        lambda line: print(line, file=sys.stderr, flush=True),
    )  # fmt: skip
    for kind, what in (("learned", args.data), ("measured", args.val)):
        print(f"{what}: {told(facts['files'][kind])}", file=sys.stderr)
    said = f"{len(facts['blocks'])} blocks, measured on {facts['measured']:,} photos"
    print(f"{out}: {said}; the card is {out.with_suffix('.md')}", file=sys.stderr)
    return 0


def _add_convert(subparsers: Any) -> None:
    text = "Convert a .pth, .pt or .bin file to .safetensors, which holds numbers only and can run no code."
    parser = subparsers.add_parser("convert", help="convert weights to .safetensors", description=text)
    parser.add_argument("weights", metavar="WEIGHTS", help=SOURCES)
    parser.add_argument("out", metavar="OUT", help="the .safetensors file to write; it must not exist yet")
    parser.set_defaults(run=_convert)


def _convert(args: argparse.Namespace) -> int:
    from cfviz.models.dense.checkpoints import load_any
    from cfviz.models.factory import named_source
    from cfviz.models.weights.checkpoints import write_checkpoint

    out = Path(args.out)
    check_target(out, "OUT", ".safetensors")
    if out.exists():
        raise ValueError(f"{out} exists already; choose another name, or delete it first")
    found = load_any(named_source(args.weights))
    facts = found.facts | {"converted_from": {"source": found.source, "sha256": found.provenance.sha256}}
    own = {key: value for key, value in found.state_dict.items() if key not in found.missing}
    with replacing(out) as part:
        sha256 = write_checkpoint(part, own, **facts)
    print(f"{out}: {found.variant}, {found.num_classes} classes, SHA-256 {sha256}")
    for note in found.notes:
        print(f"note: {note.sentence()}", file=sys.stderr)
    return 0
