"""The commands train, evaluate, export-weights, measure-sizes, study and convert."""

import argparse
import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import wrap
from typing import Any

from cfviz.jobs import check_target, replacing, report, write
from cfviz.options import BIAS_METHODS, SIZES, WINDOWS

from . import recipe


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


def register(subparsers: Any) -> None:
    """Add the training commands to the command line."""
    _add_train(subparsers)
    _add_evaluate(subparsers)
    _add_export(subparsers)
    _add_sizes(subparsers)
    _add_study(subparsers)
    _add_convert(subparsers)


def _engine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cpu", action="store_true", help="do not use the GPU")
    parser.add_argument("--threads", type=_count, metavar="N", help="threads per process")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes that read photos")
    parser.add_argument("--batch-size", type=_count, default=64, metavar="N")


def _model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", default="crossformer_nano", help="a variant, or a file of weights")
    parser.add_argument("--json", metavar="FILE", help="also write the result as JSON ('-': print only that)")


def _threads(args: argparse.Namespace) -> None:
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)


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
    parser = subparsers.add_parser("train", help="train a model, or resume training", description=text)
    parser.add_argument(
        "--data", metavar="FOLDER", help="photos, one folder per class (default: the recipe's)"
    )
    parser.add_argument("--out", required=True, metavar="RUN", help="folder for the run")
    parser.add_argument(
        "--config",
        default=recipe.RECOMMENDED,
        metavar="RECIPE",
        help="a YAML file, or the name of a recipe that comes with cfviz (default: %(default)s)",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of the recipe"
    )
    parser.add_argument("--cpu", action="store_true", help="do not use the GPU")
    parser.add_argument("--threads", type=_count, metavar="N", help="threads per process")
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

    _threads(args)
    chosen = recipe.load(args.config, args.set, args.data)
    if not Path(chosen.data).is_dir():
        origin = "" if args.data else f", the folder that {args.config} names"
        raise ValueError(
            f"there is no folder {chosen.data}{origin}; name the folder of your photos with --data"
        )
    Trainer(chosen, args.out, cpu=args.cpu).fit()
    return 0


def _add_evaluate(subparsers: Any) -> None:
    text = "Measure accuracy on a folder of photos with one subfolder per class, named as in training."
    parser = subparsers.add_parser("evaluate", help="measure accuracy on a folder", description=text)
    parser.add_argument("--data", required=True, metavar="FOLDER", help="photos, one folder per class")
    _model_options(parser)
    parser.add_argument("--size", type=_count, default=224, metavar="PX", help="input size (default: 224)")
    parser.add_argument(
        "--group-size", type=_count, metavar="G", help="a group size G other than the trained one"
    )
    parser.add_argument("--interval", metavar="I", help='"adaptive", or one number per stage: 8,4,2,1')
    parser.add_argument(
        "--restrict", action="store_true", help="choose among the folder's classes only, not all the model's"
    )
    parser.add_argument("--limit", type=_count, metavar="N", help="at most N photos per class, evenly spread")
    _engine_options(parser)
    parser.set_defaults(run=_evaluate)


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
    from cfviz.data.labels import DATASETS, wordnet_ids

    from . import data

    count = checkpoint.num_classes
    if not count:
        raise ValueError(f"{checkpoint.source} has no classifier, so its accuracy cannot be measured")
    if checkpoint.classes:
        return list(checkpoint.classes)
    if checkpoint.dataset in DATASETS:
        return wordnet_ids(checkpoint.dataset)
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


def interval_of(text: str | None) -> Any:
    """Parse an interval: `"8,4,2,1"` becomes (8, 4, 2, 1); `"adaptive"` and None are returned unchanged."""
    if text is None or text == "adaptive":
        return text
    if not all(part.isdecimal() for part in text.split(",")):
        raise ValueError(f"got --interval {text!r}, expected adaptive, or numbers such as 8,4,2,1")
    return tuple(int(part) for part in text.split(","))


@_processes_end_together
def _evaluate(args: argparse.Namespace) -> int:
    from accelerate import Accelerator

    from . import data
    from .measure import evaluation

    _threads(args)
    _check_targets(args, "json")
    model, ids, _ = _open(args)
    model.set_grouping(args.group_size, interval_of(args.interval))
    photos = data.PhotoFolder(args.data)
    accelerator = Accelerator(cpu=args.cpu)
    result = evaluation.evaluate(
        model,
        photos,
        ids,
        args.size,
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
    text = "Write a run's weights in float16, with a model card: facts, held-out and val accuracy."
    parser = subparsers.add_parser("export-weights", help="turn a run into weights to ship", description=text)
    parser.add_argument("run_folder", metavar="RUN", help="the --out folder of train")
    parser.add_argument("--out", required=True, metavar="FILE", help="a .safetensors file")
    parser.add_argument(
        "--val", metavar="FOLDER", help="photos that no choice was based on; measured once, at the end"
    )
    parser.add_argument("--note", action="append", default=[], metavar="KEY=TEXT", help="a line for the card")
    _engine_options(parser)
    parser.set_defaults(run=_export)


@_processes_end_together
def _export(args: argparse.Namespace) -> int:
    from accelerate import Accelerator

    from . import data
    from .ship import export

    _threads(args)
    notes = dict(note.partition("=")[::2] for note in args.note)
    accelerator = Accelerator(cpu=args.cpu)
    if accelerator.is_main_process:
        export.export(args.run_folder, args.out, **notes)
    accelerator.wait_for_everyone()
    facts = export.measure(
        args.out,
        args.run_folder,
        val=data.PhotoFolder(args.val) if args.val else None,
        accelerator=accelerator,
        batch_size=args.batch_size,
        workers=args.workers,
    )
    measured = facts.get("val", facts.get("held_out"))
    if accelerator.is_main_process:
        if measured is None:
            text = "no photo was held out; name photos with --val to measure the accuracy"
        else:
            text = "top-1 {value:.2%} of {n} photos".format(**measured["top1"])
        print(f"{args.out}: {text}", file=sys.stderr)
    return 0


def _add_sizes(subparsers: Any) -> None:
    text = "Measure accuracy at several input sizes and windows: how well does the position bias follow?"
    more = "With --json FILE each row is saved at once; repeat the command to resume."
    parser = subparsers.add_parser(
        "measure-sizes", help="accuracy at other input sizes", description=f"{text} {more}"
    )
    parser.add_argument("--data", required=True, metavar="FOLDER", help="photos, one folder per class")
    _model_options(parser)
    parser.add_argument("--twin", metavar="FILE", help="a second model, identical but for its position bias")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), metavar="PX,PX", help="multiples of 32")
    parser.add_argument("--windows", metavar="NAME,NAME", help=f"some of {','.join(WINDOWS)} (default: all)")
    parser.add_argument(
        "--ways", metavar="NAME,NAME", help=f"some of {','.join(BIAS_METHODS)} (default: all)"
    )
    parser.add_argument("--limit", type=_count, metavar="N", help="at most N photos per class, evenly spread")
    parser.add_argument("--progress", metavar="FILE", help="keep a JSON file up to date with the progress")
    _engine_options(parser)
    parser.set_defaults(run=_sizes)


@_processes_end_together
def _sizes(args: argparse.Namespace) -> int:
    from accelerate import Accelerator

    from . import data
    from .measure import sizes

    _threads(args)
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
    accelerator = Accelerator(cpu=args.cpu)
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
    command = f"python -m cfviz measure-sizes --data {'/'.join(Path(args.data).resolve().parts[-2:])}"
    for name in ("weights", "twin", "sizes", "windows", "ways", "limit"):
        value = getattr(args, name)
        if value:
            command += f" --{name} {Path(value).name if name in ('weights', 'twin') else value}"
    return command


def _add_study(subparsers: Any) -> None:
    text = "Run many changes of a model over a folder of photos: what does each part do for its accuracy?"
    more = "Repeat the command to resume where it stopped. Several processes share the photos (torchrun)."
    parser = subparsers.add_parser(
        "study", help="change parts of a model, over many photos", description=f"{text} {more}"
    )
    parser.add_argument("--data", required=True, metavar="FOLDER", help="photos, one folder per class")
    parser.add_argument(
        "--interventions", required=True, metavar="FILE", help="one change per line, as JSON (JSON lines)"
    )
    parser.add_argument("--model", default="crossformer_nano", help="a variant, or a file of weights")
    parser.add_argument("--size", type=_count, default=224, metavar="PX", help="input size (default: 224)")
    parser.add_argument("--limit", type=_count, metavar="N", help="at most N photos per class, evenly spread")
    parser.add_argument("--out", required=True, metavar="RUN", help="folder for shards and results")
    parser.add_argument("--progress", metavar="FILE", help="keep a JSON file up to date with the progress")
    parser.add_argument("--cpu", action="store_true", help="do not use the GPU")
    parser.add_argument("--threads", type=_count, metavar="N", help="threads per process")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes that read photos")
    parser.set_defaults(run=_study)


@_processes_end_together
def _study(args: argparse.Namespace) -> int:
    from accelerate import Accelerator

    from . import data
    from .folder import shown, told
    from .measure import study

    _threads(args)
    _check_targets(args, "progress")
    if args.size % 32:
        raise ValueError(f"got --size {args.size}, expected a multiple of 32")
    model, ids, sha256 = _open(args, args.model)
    accelerator = Accelerator(cpu=args.cpu)
    run = study.Study(
        model,
        data.PhotoFolder(args.data),
        ids,
        study.read_interventions(args.interventions),
        Path(args.out),
        args.size,
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


def _add_convert(subparsers: Any) -> None:
    text = (
        "Write the weights of a .pth, .pt or .bin file as .safetensors, which can hold nothing but numbers."
    )
    parser = subparsers.add_parser("convert", help="turn weights into .safetensors", description=text)
    parser.add_argument("weights", metavar="WEIGHTS", help="a file, a variant or hf-hub:owner/name")
    parser.add_argument("out", metavar="OUT", help="a .safetensors file that does not exist yet")
    parser.set_defaults(run=_convert)


def _convert(args: argparse.Namespace) -> int:
    from cfviz.models.factory import named_source
    from cfviz.models.weights.checkpoints import load_checkpoint, write_checkpoint

    out = Path(args.out)
    if out.suffix != ".safetensors" or out.exists():
        raise ValueError(f"got {args.out!r}; expected the name of a new .safetensors file")
    check_target(out, "OUT")
    found = load_checkpoint(named_source(args.weights))
    known = (
        "dataset",
        "classes",
        "group_size",
        "interval",
        "img_size",
        "trained_group",
        "variant",
    )
    facts = {name: value for name in known if (value := getattr(found, name)) is not None}
    facts |= {"trained": found.trained}  # also if None, which means never trained
    facts |= {"training": found.training.as_json()} if found.training else {}
    facts |= {"model_args": dict(found.model_args)} if found.model_args else {}
    if notes := [told for note in found.notes if (told := note.as_json())]:
        facts["weights_notes"] = notes
    facts |= {"converted_from": {"source": found.source, "sha256": found.sha256}}
    own = {key: value for key, value in found.state_dict.items() if key not in found.missing}
    with replacing(out) as part:
        sha256 = write_checkpoint(part, own, **facts)
    print(f"{out}: {found.variant}, {found.num_classes} classes, SHA-256 {sha256}")
    for note in found.notes:
        print(f"note: {note.sentence()}", file=sys.stderr)
    return 0
