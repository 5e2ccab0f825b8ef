"""The rules of the code base that a syntax tree can check: who may import whom, and how large things get."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = sorted((ROOT / "cfviz").rglob("*.py"))
PAGES = sorted([*(ROOT / "pages").glob("*.py"), *ROOT.glob("app.py")])
SOURCES = [*LIBRARY, *PAGES]

# A module may import from layers with a smaller number, and from its own layer where that is one folder.
LAYERS: dict[str, float] = {
    "bundled": 0,
    "options": 0,
    "point_names": 0,
    "stats": 0,
    "web": 0,
    "geometry": 0,
    "jobs": 0,
    "hooks": 1,
    "words": 1,
    "trace": 2,
    "models": 3,
    "data": 3,
    "run": 4,
    "analysis": 5,
    "figures": 5,
    "training": 5,
    "measured": 6,
    "notebook": 6,
    "__init__": 7,
    "report": 8,
    "ui": 9,
    "cli": 10,
    "__main__": 11,
    "pages": 11,
}
TORCH = ("models", "hooks", "run", "training", "data/images", "data.images")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    """`cfviz/data/images.py` -> `data.images`, `app.py` -> `pages.app`."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[0] == "cfviz":
        return ".".join(parts[1:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts[1:])
    return "pages." + parts[-1]


def imports(path: Path) -> Iterator[str]:
    """Absolute names of all that a file imports, wherever in the file."""
    package = ["cfviz", *path.relative_to(ROOT / "cfviz").parts[:-1]] if path in LIBRARY else []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def layer_of(module: str) -> str:
    return module.split(".")[0]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_go_down_only(path: Path) -> None:
    here = layer_of(module_of(path))
    assert here in LAYERS, f"{name_of(path)} belongs to no layer; the layers are {', '.join(LAYERS)}"
    for name in imports(path):
        if name.split(".")[0] != "cfviz":
            continue
        there = layer_of(name.removeprefix("cfviz").removeprefix(".") or "__init__")
        if there not in LAYERS:  # `from cfviz import create_model`: a public name
            there = "__init__"
        fine = there == here or LAYERS[there] < LAYERS[here]
        assert fine, f"{name_of(path)} imports {name}: {here} may not import from {there}"


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


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == [["a", "b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_imports_go_in_no_circle() -> None:
    """Those under TYPE_CHECKING and inside functions count, too."""
    files = {"cfviz." + module_of(path): path for path in LIBRARY}
    arrows: dict[str, set[str]] = {}
    for name, path in files.items():
        wanted = (whole if whole in files else whole.rpartition(".")[0] for whole in imports(path))
        arrows[name] = {other for other in wanted if other in files and other != name}
    assert not circles(arrows)


def test_the_picture_in_contributing_is_complete() -> None:
    picture = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("```")[3]
    missing = [name for name in LAYERS if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", picture)]
    assert not missing, f"the picture of the layers in CONTRIBUTING.md leaves out {', '.join(missing)}"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_heavy_libraries_stay_where_they_belong(path: Path) -> None:
    module = module_of(path)
    roots = {name.split(".")[0] for name in imports(path)}
    if not module.startswith(TORCH):
        assert not roots & {"torch", "torchvision", "accelerate"}, f"{name_of(path)} may not import torch"
    if not module.startswith(("ui", "pages")):
        assert "streamlit" not in roots, f"{name_of(path)} may not import streamlit"
    assert not any(name.startswith("matplotlib.pyplot") for name in imports(path)), (
        "pyplot keeps global state"
    )


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_what_is_public_is_documented(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{name_of(path)} does not say what it is for"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{name_of(path)}: {node.name} is public and has no docstring"


@pytest.mark.parametrize("path", [p for p in LIBRARY if p.name == "__init__.py"], ids=name_of)
def test_packages_that_offer_names_list_them(path: Path) -> None:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    offers = any(isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef) for node in body)
    assigned = [ast.unparse(t) for node in body if isinstance(node, ast.Assign) for t in node.targets]
    assert "__all__" in assigned or not offers, f"{name_of(path)} sets no __all__"


def test_public_names() -> None:
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
    """All text files of the project: what git tracks, or would; without git, what is not hidden."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:
        paths = [p for p in ROOT.rglob("*") if not any(part[0] == "." for part in p.relative_to(ROOT).parts)]
    binary = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".npz", ".npy", ".safetensors", ".svg", ".woff2"}
    return [path for path in paths if path.is_file() and path.suffix not in {*binary, ".pyc"}]


def test_no_path_of_one_machine() -> None:
    absolute = re.compile(r"(?<![\w.~:/*{}-])/(?:home|root|Users|work|mnt|srv)/\w|[A-Z]:\\\\?Users")
    for path in tracked_text():
        found = absolute.search(path.read_text(encoding="utf-8", errors="replace"))
        assert not found, f"{name_of(path)} names a path of one machine: {found and found[0]}"


def test_nothing_is_left_for_later() -> None:
    marks = re.compile(r"\b(?:TO" + "DO|FIX" + r"ME|XX" + r"X)\b|pytest\.mark\.(?:sk" + "ip|xf" + "ail)")
    for path in tracked_text():
        found = marks.search(path.read_text(encoding="utf-8", errors="replace"))
        assert not found, f"{name_of(path)}: {found and found[0]}"
