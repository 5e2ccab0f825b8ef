"""Rules that can be checked on syntax trees: who imports whom, whose files are read, how full a folder is."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = sorted(path for path in (ROOT / "cfviz").rglob("*.py*") if path.suffix in (".py", ".pyi"))
PAGES = sorted([*(ROOT / "pages").glob("*.py"), *ROOT.glob("app.py")])
SOURCES = [*LIBRARY, *PAGES]

# A module may import from layers with a smaller number, and from its own layer where that is one folder.
LAYERS: dict[str, int] = {
    "bundled": 0,
    "deferred": 0,
    "options": 0,
    "point_names": 0,
    "stats": 0,
    "web": 0,
    "geometry": 0,
    "jobs": 0,
    "hooks": 1,
    "words": 1,
    "framing": 2,
    "provenance": 2,
    "trace": 3,
    "models": 4,
    "data": 4,
    "run": 5,
    "analysis": 6,
    "figures": 6,
    "training": 6,
    "measured": 7,
    "notebook": 7,
    "paper": 7,
    "__init__": 8,
    "lessons": 8,
    "report": 9,
    "site": 9,
    "ui": 10,
    "cli": 11,
    "__main__": 12,
    "pages": 12,
}
# The folders of `assets/`, each with the only layer that reads it; the others ask that layer.
ASSETS = {
    "gallery": "data",
    "icon.svg": "figures",
    "labels": "data",
    "lessons": "lessons",
    "probes": "models",
    "recipes": "training",
    "results": "ui",
    "translations": "words",
    "weights": "models",
}
# Modules that may read outside the folder of their own layer.
BEYOND = {
    "bundled": "it finds what comes with the package",
    "jobs": "it tells a new process where the package lies",
}
# Rooms of the app, the lowest first.
UI = ("session", "compute", "context", "widgets", "figures", "shell", "pages", "ahead", "server")
CODE = {".py", ".js", ".css", ".html"}
SHARE, CROWD = 1 / 3, 15  # share of the lines in one folder with all below it; files in one folder
TORCH = ("models", "hooks", "run", "training", "data/images", "data.images")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    """`cfviz/data/images.py` -> `data.images`, `app.py` -> `pages.app`."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[0] == "cfviz":
        return ".".join(parts[1:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts[1:])
    return "pages." + parts[-1]


def bound(tree: ast.AST, path: Path) -> Iterator[tuple[str, str]]:
    """All that a file imports, at any place: the local name -> the absolute name."""
    inside = path.is_relative_to(ROOT / "cfviz")
    package = ["cfviz", *path.relative_to(ROOT / "cfviz").parts[:-1]] if inside else []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.asname or alias.name, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((alias.asname or alias.name, f"{module}.{alias.name}") for alias in node.names)


@cache
def tree_of(path: Path) -> ast.Module:
    """A file's syntax tree, which five tests read."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> tuple[str, ...]:
    """The absolute names of all that a file imports, at any place."""
    return tuple(name for _, name in bound(tree_of(path), path))


def layer_of(module: str) -> str:
    return module.split(".")[0]


def faultless(check: Callable[[Path], Iterator[str]], paths: Iterable[Path]) -> None:
    """Fail with a line for each fault that a check finds in files: one test for all, which are hundreds."""
    paths = list(paths)
    assert len(paths) > 10, "hardly any file was found"
    faults = [f"{name_of(path)} {fault}" for path in paths for fault in check(path)]
    assert not faults, "\n".join(faults)


def test_imports_go_down_only() -> None:
    def check(path: Path) -> Iterator[str]:
        here = layer_of(module_of(path))
        if here not in LAYERS:
            yield f"belongs to no layer; the layers are {', '.join(LAYERS)}"
            return
        for name in imports(path):
            if name.split(".")[0] != "cfviz":
                continue
            there = layer_of(name.removeprefix("cfviz").removeprefix(".") or "__init__")
            if there not in LAYERS:  # `from cfviz import create_model`: a public name
                there = "__init__"
            if there != here and LAYERS[there] >= LAYERS[here]:
                yield f"imports {name}: {here} may not import from {there}"

    faultless(check, SOURCES)


def test_imports_go_down_inside_the_app() -> None:
    def check(path: Path) -> Iterator[str]:
        rooms = [name.split(".")[2] for name in imports(path) if name.startswith("cfviz.ui.")]
        here = path.relative_to(ROOT / "cfviz/ui").parts[0].removesuffix(".py")
        if here == "__init__":  # what pages import from `cfviz.ui` itself
            return
        if here not in UI:
            yield f"belongs to no room of the app; they are {', '.join(UI)}"
        elif above := {room for room in rooms if UI.index(room) > UI.index(here)}:
            yield f"imports from {', '.join(above)}, which is above it"

    faultless(check, sorted((ROOT / "cfviz/ui").rglob("*.py")))


def test_no_page_imports_another() -> None:
    """What two pages show lies in `cfviz/ui/figures`, or in a room below it."""

    def check(path: Path) -> Iterator[str]:
        here = path.relative_to(ROOT / "cfviz/ui/pages").parts[0].removesuffix(".py")
        pages = {name.split(".")[3] for name in imports(path) if name.startswith("cfviz.ui.pages.")}
        if not pages <= {here}:
            yield f"imports from the page {', '.join(sorted(pages - {here}))}"

    faultless(check, sorted((ROOT / "cfviz/ui/pages").rglob("*.py")))


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other through imports."""
    reached: dict[str, set[str]] = {}
    for start in arrows:
        found, todo = set(), [start]
        while todo:
            new = arrows.get(todo.pop(), set()) - found
            found |= new
            todo += new
        reached[start] = found
    rings = {frozenset(b for b in reached[a] if a in reached.get(b, ())) for a in arrows if a in reached[a]}
    return sorted(sorted(ring) for ring in rings)


def test_a_circle_of_imports_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == [["a", "b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_imports_form_no_circle() -> None:
    """Imports under TYPE_CHECKING and inside functions count too."""
    files = [("cfviz." + module_of(path), path) for path in LIBRARY]
    arrows: dict[str, set[str]] = {name: set() for name, _ in files}
    for name, path in files:
        wanted = (whole if whole in arrows else whole.rpartition(".")[0] for whole in imports(path))
        arrows[name] |= {other for other in wanted if other in arrows and other != name}
    assert not circles(arrows)


class Reads:
    """Where the paths in a file lead.

    Recognised are paths that start at `__file__`, at `ASSETS` or `bundled(...)` or at a path in another
    module's constant, and paths of the checkout written out in one string.
    """

    def __init__(self, tree: ast.Module, path: Path) -> None:
        self.tree, self.path = tree, path
        self.module = module_of(path)
        self.names = dict(bound(self.tree, path))
        self.places: dict[str, Path] = {}

    def faults(self) -> list[str]:
        """One clause for each path that leads to a file of another layer."""
        if self.module in BEYOND:
            return []
        found = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Assign) and (there := self.place(node.value)):
                self.places |= {t.id: there for t in node.targets if isinstance(t, ast.Name)}
        for name in self.names.values():
            if name.startswith(("importlib.resources", "pkgutil")):
                found.append(f"{name}: what comes with the package is found by cfviz.bundled")
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Attribute) and node.attr in ("__file__", "__path__"):
                found.append(f"{ast.unparse(node)}, another module's place")
            elif (owner := self.owner(node)) and owner != layer_of(self.module):
                found.append(f"{ast.unparse(node)}, which {owner} reads")
        return found

    def owner(self, node: ast.AST) -> str:
        """The layer whose files a path leads to; "" if it is no path or belongs to no layer."""
        name = self.full(node)
        if name.startswith("cfviz.") and not name.startswith("cfviz.bundled.") and is_path(name):
            return layer_of(name.removeprefix("cfviz."))
        there = self.place(node)
        if there is None:
            return ""
        parts = there.relative_to(ROOT).parts if there.is_relative_to(ROOT) else ()
        if parts[:1] == ("assets",):
            if len(parts) > 1:
                return ASSETS.get(parts[1], "nobody")
            chosen = isinstance(node, ast.BinOp | ast.Call)  # by a name known only at run time
            return "nobody" if chosen else ""
        if parts[:1] == ("cfviz",) and len(parts) > 1:
            return parts[1].removesuffix(".py")
        return "nobody"

    def full(self, node: ast.AST) -> str:
        """The absolute name of an imported name, or of an attribute of an imported module."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, node.id)
        if isinstance(node, ast.Attribute) and (base := self.full(node.value)):
            return f"{base}.{node.attr}"
        return ""

    def place(self, node: ast.AST) -> Path | None:
        """The path that an expression stands for, as far as it is written out; None if it is no path."""
        match node:
            case ast.Name(id="__file__"):
                return self.path
            case ast.Name(id=name) if name in self.places:
                return self.places[name]
            case ast.Name() | ast.Attribute() if self.full(node) == "cfviz.bundled.ASSETS":
                return ROOT / "assets"
            case ast.Constant(value=str(text)) if re.match(r"(?:cfviz|assets)/", text):
                there = ROOT / text
                return there if text.isprintable() and there.exists() else None
            case ast.Attribute(value=value, attr="parent"):
                there = self.place(value)
                return there and there.parent
            case ast.Subscript(value=ast.Attribute(value=value, attr="parents"), slice=ast.Constant(value=n)):
                there = self.place(value)
                return there and there.parents[n]
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                there = self.place(left)
                return there and there / begun(right)
            case ast.Call(func=func, args=args) if self.full(func) == "cfviz.bundled.bundled":
                return ROOT / "assets" / begun(args[0])
            case ast.Call(func=ast.Name(id="Path" | "str"), args=[first, *_]):
                return self.place(first)
            case ast.Call(func=ast.Attribute(value=value, attr="joinpath" | "with_name"), args=[first, *_]):
                there = self.place(value)
                return there and (there / begun(first))
            case ast.Call(func=ast.Attribute(value=value, attr="resolve" | "absolute" | "with_suffix")):
                return self.place(value)
        return None


def begun(node: ast.AST) -> str:
    """The text of a string as far as it is written out: an f-string up to its first field."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]):
            return text
    return ""


def is_path(name: str) -> bool:
    """Whether an absolute name is a constant that holds a path."""
    module, _, constant = name.rpartition(".")
    if not constant.isupper():
        return False
    try:
        return isinstance(getattr(importlib.import_module(module), constant, None), Path)
    except ImportError:
        return False


def test_no_file_of_another_layer_is_read() -> None:
    faultless(lambda path: (f"reads {fault}" for fault in Reads(tree_of(path), path).faults()), SOURCES)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("figures/theme.py", "TEXT = (Path(__file__).resolve().parents[1] / 'ui' / 'style.css').read_text()"),
        ("figures/live/message.py", "HERE = Path(__file__).parent\nopen(HERE.parent.parent / 'web/x.js')"),
        ("figures/live/message.py", "Path(__file__).resolve().parents[2].joinpath('web', 'x.js')"),
        ("figures/theme.py", "open(str(Path(__file__).parents[2]) + '/x')"),
        ("ui/context.py", "from cfviz.words import TRANSLATIONS\n(TRANSLATIONS / 'en').iterdir()"),
        ("ui/context.py", "from cfviz import words\n(words.TRANSLATIONS / 'en').iterdir()"),
        ("ui/context.py", "import cfviz.words\ncfviz.words.TRANSLATIONS.iterdir()"),
        ("ui/context.py", "from cfviz.bundled import ASSETS\nopen(ASSETS / 'weights')"),
        ("ui/context.py", "from cfviz.bundled import ASSETS as all_of_it\nopen(all_of_it / name)"),
        ("ui/context.py", "from cfviz import bundled\nopen(bundled.ASSETS / f'weights/{name}.json')"),
        ("ui/context.py", "from cfviz.bundled import bundled\nbundled(f'weights/{name}.json')"),
        ("ui/context.py", "from cfviz.bundled import bundled\nbundled(name)"),
        ("report/page.py", "from ..words import TRANSLATIONS\nTRANSLATIONS.iterdir()"),
        ("report/page.py", "from importlib.resources import files\nfiles('cfviz.web')"),
        ("report/page.py", "import pkgutil\npkgutil.get_data('cfviz.web', 'x.js')"),
        ("report/page.py", "from cfviz import web\nPath(web.__file__).with_name('x.js').read_text()"),
        ("report/page.py", "open('cfviz/web/__init__.py')"),
    ],
)
def test_a_read_across_layers_is_found(name: str, source: str) -> None:
    assert Reads(ast.parse(source), ROOT / "cfviz" / name).faults()


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("words.py", "from cfviz.bundled import ASSETS\nTRANSLATIONS = ASSETS / 'translations'"),
        ("models/variants.py", "from cfviz.bundled import bundled\nbundled(f'weights/{name}.json')"),
        ("training/ship/card.py", "CONFIGS = Path(__file__).resolve().parents[1] / 'configs'"),
        ("report/page.py", "TEMPLATE = Path(__file__).with_suffix('.html')"),
        ("cli.py", "Path(given).read_text()"),
    ],
)
def test_a_layer_may_read_its_own_files(name: str, source: str) -> None:
    assert Reads(ast.parse(source), ROOT / "cfviz" / name).faults() == []


def crowds(lines: Mapping[str, int]) -> list[str]:
    """Folders that hold too much.

    Args:
        lines: Lines of every code file, by its path in the repository.
    """
    whole: Counter[str] = Counter()
    flat: Counter[str] = Counter()
    for name, count in lines.items():
        flat[str(PurePosixPath(name).parent)] += 1
        whole.update({str(folder): count for folder in PurePosixPath(name).parents})
    library = whole["cfviz"]
    shares = {folder: count / library for folder, count in whole.items() if folder.startswith("cfviz/")}
    return [
        *(f"{folder} holds {share:.0%} of the lines" for folder, share in shares.items() if share > SHARE),
        *(f"{folder} holds {count} files side by side" for folder, count in flat.items() if count > CROWD),
    ]


def test_a_crowded_folder_is_found() -> None:
    assert crowds({"cfviz/a/x.py": 30, "cfviz/b/x.py": 30, "cfviz/c/x.py": 30}) == []
    even = {f"cfviz/{room}/{n}.py": 10 for room in "abc" for n in range(15)}
    assert crowds(even) == []
    assert crowds({**even, "tests/a.py": 900, "cfviz/a/one.py": 1}) == [
        "cfviz/a holds 33% of the lines", "cfviz/a holds 16 files side by side"
    ]  # fmt: skip
    assert crowds({**even, "cfviz/a/more/one.js": 10}) == ["cfviz/a holds 35% of the lines"]


def test_no_folder_is_crowded() -> None:
    code = [path for path in tracked_text() if path.suffix in CODE]
    assert not crowds({name_of(path): len(path.read_text("utf-8").splitlines()) for path in code})


def test_the_picture_in_contributing_is_complete() -> None:
    picture = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("```")[3]
    missing = [name for name in LAYERS if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", picture)]
    assert not missing, f"the picture of the layers in CONTRIBUTING.md leaves out {', '.join(missing)}"


def test_heavy_libraries_stay_where_they_belong() -> None:
    def check(path: Path) -> Iterator[str]:
        module = module_of(path)
        roots = {name.split(".")[0] for name in imports(path)}
        if not module.startswith(TORCH) and roots & {"torch", "torchvision", "accelerate"}:
            yield "may not import torch"
        if not module.startswith(("ui", "pages")) and "streamlit" in roots:
            yield "may not import streamlit"
        if any(name.startswith("matplotlib.pyplot") for name in imports(path)):
            yield "imports pyplot, which keeps global state"

    faultless(check, SOURCES)


@cache
def modules() -> frozenset[str]:
    """The absolute names of the library's modules."""
    return frozenset(f"cfviz.{module_of(one)}" for one in LIBRARY)


def shadowed(tree: ast.Module, path: Path) -> list[str]:
    """Modules of the library whose name a function also gives to something else."""
    top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    mine = {name for name, full in bound(top, path) if full in modules()}
    inner = (one for node in tree.body if isinstance(node, ast.FunctionDef) for one in ast.walk(node))
    stored = {node.id for node in inner if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return [f"{path.name}: {name}" for name in sorted(mine & stored)]


def test_no_function_gives_the_name_of_a_module_to_something_else() -> None:
    """`uris = [uris.data_uri(...)]` threw as soon as a reader opened that section of the lab."""
    example = ast.parse(
        "from cfviz.figures import uris\ndef f(xs):\n    uris = [uris.opened(x) for x in xs]\n"
    )
    assert shadowed(example, ROOT / "example.py") == ["example.py: uris"]
    assert [found for path in SOURCES for found in shadowed(tree_of(path), path)] == []


def test_public_functions_and_classes_have_docstrings() -> None:
    def check(path: Path) -> Iterator[str]:
        tree = tree_of(path)
        if not ast.get_docstring(tree):
            yield "does not say what it is for"
        for node in tree.body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and not ast.get_docstring(node):
                yield f"has no docstring for {node.name}, which is public"

    faultless(check, SOURCES)


def test_packages_list_the_names_they_export() -> None:
    def check(path: Path) -> Iterator[str]:
        body = tree_of(path).body
        offers = any(isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef) for node in body)
        assigned = [ast.unparse(t) for node in body if isinstance(node, ast.Assign) for t in node.targets]
        if "__all__" not in assigned and offers:
            yield "sets no __all__"

    faultless(check, (path for path in LIBRARY if path.name == "__init__.py"))


@pytest.mark.parametrize("package", ["cfviz", "cfviz.models"])
def test_the_stub_of_a_package_names_what_the_package_does(package: str) -> None:
    """Type checkers read the stub, Python imports each name on first use."""
    module = importlib.import_module(package)
    stub = ROOT / package.replace(".", "/") / "__init__.pyi"
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    homes = {name.rpartition(".")[2]: name.rpartition(".")[0] for name in imports(stub)}
    (listed,) = (ast.literal_eval(n.value) for n in tree.body if ast.unparse(n).startswith("__all__"))
    assert listed == list(module.__all__) == sorted(homes)
    for name, home in homes.items():
        assert getattr(importlib.import_module(home), name) is getattr(module, name)
        assert f"{package}.{module._HOMES[name]}" in (home, getattr(module, name).__module__)


def test_there_are_at_most_nine_public_names() -> None:
    cfviz = importlib.import_module("cfviz")
    names = cfviz.__all__
    assert len(names) <= 9, f"{len(names)} public names; at most nine"
    assert list(names) == sorted(names)
    for name in names:
        thing = getattr(cfviz, name)
        assert inspect.getdoc(thing), f"cfviz.{name} has no docstring"
        if inspect.isfunction(thing):
            signature = inspect.signature(thing)
            untyped = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
            assert not untyped, f"cfviz.{name}: no type for {', '.join(untyped)}"
            assert signature.return_annotation is not signature.empty, f"cfviz.{name}: no return type"


def test_geometry_needs_only_numpy() -> None:
    roots = {name.split(".")[0] for name in imports(ROOT / "cfviz/geometry/groups.py")}
    assert roots - set(sys.stdlib_module_names) == {"numpy"}


def tracked_text() -> list[Path]:
    """All text files of the project: those that git tracks or would; without git, those not hidden."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:
        paths = [p for p in ROOT.rglob("*") if not any(part[0] == "." for part in p.relative_to(ROOT).parts)]
    binary = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".npz", ".npy", ".safetensors", ".svg", ".woff2"}
    return [path for path in paths if path.is_file() and path.suffix not in {*binary, ".pyc"}]


def test_no_file_names_a_path_of_one_machine() -> None:
    absolute = re.compile(r"(?<![\w.~:/*{}-])/(?:home|root|Users|work|mnt|srv)/\w|[A-Z]:\\\\?Users")
    for path in tracked_text():
        found = absolute.search(path.read_text(encoding="utf-8", errors="replace"))
        assert not found, f"{name_of(path)} names a path of one machine: {found and found[0]}"


def test_no_file_has_a_to_do_note_or_a_skipped_test() -> None:
    marks = re.compile(r"\b(?:TO" + "DO|FIX" + r"ME|XX" + r"X)\b|pytest\.mark\.(?:sk" + "ip|xf" + "ail)")
    for path in tracked_text():
        found = marks.search(path.read_text(encoding="utf-8", errors="replace"))
        assert not found, f"{name_of(path)}: {found and found[0]}"
