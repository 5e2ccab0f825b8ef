"""The browser's half of the living figures: one folder per figure, `shared/` for what they have in common.

The files are ES modules with true import paths. `script` follows the imports from a figure's entry and makes
one text of everything it reaches: Streamlit, the report and the offline page each take one script, not a tree
of files. Every module keeps its own scope, so that two may use the same name.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from posixpath import normpath

__all__ = [
    "AMPLITUDE", "ATTENTION", "BRUSH", "COMPARE", "CROP", "DENSE", "EMBEDDING", "GROUPING", "HOME", "LAB",
    "OPERATIONS", "PARTS", "PICKER", "POSITION_BIAS", "READING", "SIMILAR", "SURVEY", "WEB", "Figure",
    "element", "filled", "program", "script", "style", "text", "together",
]  # fmt: skip

WEB = Path(__file__).resolve().parent
_IMPORT = re.compile(r'^import\s*\{([^}]*)\}\s*from\s*"([^"]+)";[ \t]*\n?', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|class|const) (\w+))", re.MULTILINE)
_DEFAULT = re.compile(r"^export default\b", re.MULTILINE)
_LEFT = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


def text(name: str) -> str:
    """The text of one file.

    Args:
        name: Relative to this folder: "shared/figure.css".

    Raises:
        ValueError: If there is no such file.
    """
    path = WEB / name
    if not path.is_file():
        raise ValueError(f"there is no {name} in the browser's code")
    return path.read_text("utf-8")


def filled(page: str, parts: Mapping[str, str]) -> str:
    """A page with every `%NAME%` replaced, in one pass: a `%NAME%` in what is put in stays as it is."""
    return re.sub("%([A-Z]+)%", lambda found: parts[found[1]], page)


def style(*names: str) -> str:
    """Style sheets, one after the other: `style("shared/figure.css", "embedding/embedding.css")`."""
    return "".join(text(name) for name in names)


@cache
def script(entry: str) -> str:
    """A figure's entry and all that it imports, as one module with no import.

    Args:
        entry: The module that exports by default what is to run: "attention/main.js".

    Raises:
        ValueError: If an import leads nowhere, asks for what is not exported, or goes in a circle; the
            sentence names the module.
    """
    done: dict[str, set[str]] = {}
    parts: list[str] = []
    _add(entry, (), done, parts)
    return "\n".join(parts)


def element(entry: str, start: str) -> str:
    """A script element that holds `script(entry)` and runs it.

    Args:
        entry: As for `script`.
        start: Code that calls `run`, which is what the entry exports.
    """
    return _module(program(entry, start))


def _module(code: str) -> str:
    """Code as an element, which nothing in it ends early."""
    safe = code.replace("</", "<\\/")
    return f'<script type="module">\n{safe}\n</script>'


def program(entry: str, start: str) -> str:
    """A file that runs `script(entry)`.

    Args:
        entry: As for `script`.
        start: Code that calls `run`, which is what the entry exports.
    """
    code = _DEFAULT.sub("const run =", script(entry))
    return f"{code}\n{start}"


def together(figures: Sequence[tuple[Figure, bytes]]) -> str:
    """The elements that show several figures on a page without Streamlit; what they share is there once.

    Args:
        figures: Each figure with the bytes of its message; see `Figure.alone`.
    """
    done: dict[str, set[str]] = {}
    parts: list[str] = []
    for figure, _ in figures:
        _add(figure.entry, (), done, parts, inner=True)
    # A figure that fails leaves the others alone.
    parts += [f"queueMicrotask(() => {{\n{f.start(_scope(f.entry) + '.run')}\n}});" for f, _ in figures]
    return "\n".join([*(f.message(data) for f, data in figures), _module("\n".join(parts))])


def _add(
    name: str, above: tuple[str, ...], done: dict[str, set[str]], parts: list[str], inner: bool = False
) -> None:  # fmt: skip
    """Put a module behind all that it imports, once.

    Args:
        name: The module.
        above: The modules that led to it; none for an entry.
        done: The modules that are there, with what they export.
        parts: The text of each, which grows.
        inner: Give an entry a scope, too, which exports `run`: several entries share one script.
    """
    if name in above:
        raise ValueError(f"imports go in a circle: {' -> '.join((*above, name))}")
    if name in done:
        return
    source = text(name)
    for names, path in _IMPORT.findall(source):
        wanted = normpath(str(PurePosixPath(name).parent / path))
        if not (WEB / wanted).is_file():
            raise ValueError(f"{name} imports {path}, which leads nowhere")
        _add(wanted, (*above, name), done, parts)
        missing = {_pair(one)[0] for one in _split(names)} - done[wanted]
        if missing:
            raise ValueError(
                f"{name} imports {', '.join(sorted(missing))} from {path}, which exports no such name"
            )
    exported = [found[1] for found in _EXPORT.finditer(source)]
    body = _EXPORT.sub("", _IMPORT.sub(lambda m: _bound(name, m[1], m[2]), source))
    done[name] = set(exported)
    if inner:
        body = _DEFAULT.sub("const run =", body)
        exported = [*exported, "run"]
    if above or inner:
        body = f"const {_scope(name)} = (() => {{\n{body}\nreturn {{ {', '.join(exported)} }};\n}})();"
        left = _LEFT.search(body)
    else:
        left = _LEFT.search(_DEFAULT.sub("", body))
    if left:
        raise ValueError(f"{name}: this form of import or export is not read here: {left[0]}")
    parts.append(body)


def _bound(name: str, names: str, path: str) -> str:
    """An import as a constant taken from the imported module's scope."""
    wanted = normpath(str(PurePosixPath(name).parent / path))
    pairs = (_pair(one) for one in _split(names))
    taken = ", ".join(its if its == here else f"{its}: {here}" for its, here in pairs)
    return f"const {{ {taken} }} = {_scope(wanted)};\n"


def _split(names: str) -> list[str]:
    return [one.strip() for one in names.split(",") if one.strip()]


def _pair(one: str) -> tuple[str, str]:
    """Name in the other module, name here: "a as b"."""
    its, _, here = one.partition(" as ")
    return its.strip(), here.strip() or its.strip()


def _scope(name: str) -> str:
    return "$" + re.sub(r"\W", "_", name.removesuffix(".js"))


# ---------------------------------------------------------------- the figures


@dataclass(frozen=True)
class Figure:
    """What the browser needs of one living figure, wherever it is shown: a page, the report, a file.

    Attributes:
        folder: Where its modules are; `main.js` exports by default the function that Streamlit calls.
        host: The class of the box that it draws into.
        sheets: Its style sheets, in order.
    """

    folder: str
    host: str
    sheets: tuple[str, ...]

    @property
    def entry(self) -> str:
        """The module that exports by default what is to run."""
        return f"{self.folder}/main.js"

    @property
    def script(self) -> str:
        """All its modules as one."""
        return script(self.entry)

    @property
    def style(self) -> str:
        """All its style sheets as one."""
        return style(*self.sheets)

    def alone(self, data: bytes, rest: bytes | None = None) -> str:
        """The elements that show the figure on a page without Streamlit.

        Args:
            data: The bytes of its message; what the reader chooses goes nowhere, and the figure knows it.
            rest: A message that follows the first, for a figure that takes one.

        Returns:
            HTML to put behind `<div class="HOST"></div>`; several figures can share a page.
        """
        start = self.start("run")
        if rest is not None:
            more = base64.b64encode(rest).decode()
            start += (
                f'\nparentElement.querySelector(".cf").figure.join('
                f'Uint8Array.from(atob("{more}"), (c) => c.charCodeAt(0)));'
            )
        return f"{self.message(data)}\n{element(self.entry, start)}"

    def message(self, data: bytes) -> str:
        """The element that holds the bytes of a message."""
        text = base64.b64encode(data).decode()
        return f'<script type="application/octet-stream" id="{self.host}">{text}</script>'

    def start(self, run: str) -> str:
        """Code that shows the message of the page in the figure's box.

        Args:
            run: What calls the figure's entry.
        """
        return (
            f'const text = atob(document.getElementById("{self.host}").textContent);\n'
            "const data = Uint8Array.from(text, (c) => c.charCodeAt(0));\n"
            f'const {{ parentElement }} = document.querySelector("div.{self.host}");\n'
            f"{run}({{ parentElement, data }});"
        )


CONTROLS, KNOWN = "shared/controls.css", "known/known.css"
SHARED = (CONTROLS, "shared/figure.css")
AMPLITUDE = Figure("amplitude", "am-host", (*SHARED, "amplitude/amplitude.css"))
ATTENTION = Figure("attention", "cf-host", SHARED)
BRUSH = Figure("brush", "br-host", (*SHARED, "brush/brush.css"))
COMPARE = Figure("compare", "cp-host", (*SHARED, "compare/compare.css"))
CROP = Figure("crop", "crop-host", ("crop/crop.css",))
DENSE = Figure("dense", "dn-host", (*SHARED, "dense/dense.css"))
EMBEDDING = Figure("embedding", "em-host", (*SHARED, "embedding/embedding.css"))
GROUPING = Figure("grouping", "gr-host", (*SHARED, "grouping/grouping.css"))
HOME = Figure("home", "whole-host", (CONTROLS, KNOWN, "home/home.css"))
LAB = Figure("lab", "lab-host", ("lab/lab.css",))
OPERATIONS = Figure("operations", "op-host", (*SHARED, "operations/operations.css"))
PARTS = Figure("parts", "lp-host", (*SHARED, "parts/parts.css"))
PICKER = Figure("picker", "picker-host", (CONTROLS, "picker/picker.css"))
POSITION_BIAS = Figure("position_bias", "pb-host", (*SHARED, "position_bias/position_bias.css"))
READING = Figure("reading", "rd-host", (*SHARED, "reading/reading.css"))
SIMILAR = Figure("similar", "sm-host", (*SHARED, "similar/similar.css"))
SURVEY = Figure("survey", "sv-host", (*SHARED, "survey/survey.css"))
