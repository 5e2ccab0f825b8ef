"""Writes the site into a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cfviz.data.samples import Sample, gallery
from cfviz.models.probes.cost import cost
from cfviz.models.variants import BUNDLED
from cfviz.run import load
from cfviz.words import LANGUAGES

from . import lessons, own, pages, selftest
from .contents import SIZE, biases, packed, shown

OTHERS = tuple(lang for lang in LANGUAGES if lang != "en")
LIST = "files.json"  # names all files of a build, so that the next one can remove them


@dataclass(frozen=True)
class Built:
    """What was written.

    Attributes:
        files: Name -> bytes.
        first: Bytes of a first visit: every page in one language with the first photo, and all that they load
            without the reader choosing anything, and what is kept for when there is no connection.
    """

    files: dict[str, int]
    first: int


def build(
    out: Path,
    app: str = "",
    photos: Iterable[Sample] | None = None,
    runtime: Path | None = None,
    tests: Iterable[str] = (),
) -> Built:
    """Make the site.

    Args:
        out: The folder; it may hold an earlier build, which is replaced, and nothing else.
        app: The address of a running app, to which the pages then link; "" if there is none.
        photos: Photos of the gallery; None takes all.
        runtime: The folder `dist` of the npm package onnxruntime-web, which runs the model on photos of the
            reader's own; None shows the gallery alone, and the page says so.
        tests: Names of self-tests, beside the usual one.

    Raises:
        ValueError: If the folder holds other files, its place cannot be written to, or a test cannot have its
            name.
    """
    before, sets = _earlier(out), selftest.checked([*tests])
    model = load(BUNDLED)
    costs, samples = cost(model, SIZE, SIZE), list(gallery() if photos is None else photos)
    if not samples:
        raise ValueError("there is no photo to show; expected at least one of the gallery")
    found, files = [], pages.code() | {"position_bias.bin": biases(model)}
    files["maps.bin"] = packed(lessons.maps(SIZE))
    files |= {name: packed(data) for name, data in lessons.scenes().items()}
    files |= {f"lessons-{lang}.bin": packed(pages.lessons_data(lang, model)) for lang in LANGUAGES}
    files |= {f"selftest-{lang}.bin": packed(selftest.questions(model, lang, sets)) for lang in LANGUAGES}
    for sample in samples:
        found.append(shown(sample, model, costs))
        files |= {f"photos/{sample.id}/{name}": data for name, data in found[-1].files.items()}
    if runtime is not None:
        files |= own.files(model, runtime)
    found.sort(key=lambda one: one.unknown)  # those that the model can know come first, as in the app
    site = pages.Site(found, model, costs, _digest(files), app, own.megabytes(files))
    for lang in LANGUAGES:
        files |= {pages.address(page, lang): pages.html(page, lang, site) for page in pages.PAGES}
    files["offline.js"] = pages.worker(site.version, files)
    _write(out, files, before)
    return Built({name: len(data) for name, data in files.items()}, first_visit(files, found[0].sample.id))


def first_visit(files: dict[str, bytes], photo: str) -> int:
    """The bytes of a first visit, see `Built.first`."""
    first = f"photos/{photo}/"

    def loaded(name: str) -> bool:
        if name.startswith("photos/"):
            mine = name.startswith(first) and not name.endswith(tuple(f"-{x}.bin" for x in OTHERS))
            later = name.startswith(f"{first}attention-") and not name.startswith(f"{first}attention-1-")
            return (mine and not later) or name.endswith("small.webp")
        return not name.startswith(
            (*own.ON_DEMAND, "scene-", "selftest-", *(f"{lang}/" for lang in OTHERS))
        ) and not name.endswith(tuple(f"-{x}.bin" for x in OTHERS))

    kept = set(pages.kept(files))  # by the service worker, which loads the pages once more
    again = sum(len(data) for name, data in files.items() if name.endswith(".html") and loaded(name))
    return again + sum(len(data) for name, data in files.items() if name in kept or loaded(name))


def _earlier(out: Path) -> list[str]:
    """The files of an earlier build in the folder."""
    if not out.exists():
        if not out.absolute().parent.is_dir():
            raise ValueError(f"--out {out}: there is no folder {out.absolute().parent}; make it first")
        return []
    if not out.is_dir():
        raise ValueError(f"--out {out} is a file, expected the name of a folder")
    if not any(out.iterdir()):
        return []
    try:
        names = json.loads((out / LIST).read_text("utf-8"))["files"]
        if isinstance(names, list) and all(isinstance(name, str) and _inside(name) for name in names):
            return names
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise ValueError(f"--out {out} holds other files; name a new or an empty folder, or an earlier build")


def _inside(name: str) -> bool:
    """Whether a name stays inside the folder."""
    return bool(name) and not name.startswith("/") and ".." not in Path(name).parts


def _write(out: Path, files: dict[str, bytes], before: list[str]) -> None:
    out.mkdir(exist_ok=True)
    every = {"files": sorted({*files, *before})}
    (out / LIST).write_text(json.dumps(every, indent=0), "utf-8")  # first: a build cut short is one, too
    for name, data in files.items():
        place = out / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    for name in {*before} - {*files}:
        (out / name).unlink(missing_ok=True)
    (out / LIST).write_text(json.dumps({"files": sorted(files)}, indent=0), "utf-8")


def _digest(files: dict[str, bytes]) -> str:
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(name.encode() + b"\0" + files[name])
    return whole.hexdigest()[:12]
