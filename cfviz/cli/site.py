"""`cfviz site`: the figures as a folder of static files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .output import note, one_line


def add(commands: Any) -> None:
    """Add the command."""
    text = (
        "Write the figures as static files for any web server, with no server of ours behind them: the "
        "whole model, grouping, attention, embedding, position bias and lessons, in both languages, on the "
        "photos of the gallery. Takes about 40 seconds on two cores with nothing else to do, longer beside "
        "other work, and says how much a first visit to every page loads at most; other photos and stages "
        "load when they are chosen. Readers can also open photos of their own, on which their browser runs "
        "the model. That takes onnxruntime-web, fetched from npm once, and the packages of cfviz[onnx]; "
        "where either is missing, the site is made without and says so."
    )
    parser = commands.add_parser("site", help="write the figures as a static web site", description=text)
    parser.add_argument(
        "--out", required=True, metavar="FOLDER",
        help="the folder to write: new, empty, or an earlier site, which is replaced",
    )  # fmt: skip
    parser.add_argument(
        "--test", action="append", default=[], metavar="NAME",
        help="a self-test beside the usual one, as in the links for teachers (set=NAME); can be given again",
    )  # fmt: skip
    parser.add_argument("--app", type=_address, metavar="URL", help="a running app that the pages link to")
    own = parser.add_mutually_exclusive_group()
    own.add_argument(
        "--runtime", type=Path, metavar="FOLDER",
        help="the folder dist of the npm package onnxruntime-web, in place of fetching it",
    )  # fmt: skip
    own.add_argument("--no-own-photos", action="store_true", help="the gallery's photos alone")
    parser.set_defaults(run=_site)


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no address of an app such as https://example.org/cfviz"
        )
    return text


def _site(args: argparse.Namespace) -> int:
    from cfviz.site import build  # deferred: PyTorch and the figures

    built = build(Path(args.out), args.app or "", runtime=_runtime(args), tests=args.test)
    whole = sum(built.files.values())
    note(
        f"{args.out} is written: {len(built.files)} files, {whole / 1e6:.1f} MB; a first visit to every "
        f"page, on the first photo, loads {built.first / 1e6:.1f} MB at most"
    )
    return 0


def _runtime(args: argparse.Namespace) -> Path | None:
    """The folder of onnxruntime-web; None, with a note, where it or a package is missing."""
    from cfviz.models.export import check_packages  # deferred: PyTorch
    from cfviz.site import runtime

    if args.no_own_photos:
        return None
    if args.runtime:
        check_packages()
        return runtime.there(args.runtime)
    try:
        check_packages()
        return runtime.fetched()
    except ValueError as error:
        note(f"readers cannot open photos of their own on this site, and it tells them: {one_line(error)}")
        return None
