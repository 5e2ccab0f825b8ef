"""Every import in shown code exists, even in code that appears only after a click."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINE = re.compile(r"^\s*from (cfviz[\w.]*) import ([\w ,]+?)\s*(?:#.*)?$", re.MULTILINE)


def shown() -> list[tuple[str, str, str]]:
    """File, module and name of every import of cfviz inside Python's strings and in JavaScript."""
    texts: list[tuple[Path, str]] = []
    for path in sorted((ROOT / "cfviz").rglob("*.py")):
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        strings = (node.value for node in nodes if isinstance(node, ast.Constant))
        texts += [(path, text) for text in strings if isinstance(text, str)]
    for path in sorted((ROOT / "cfviz" / "web").rglob("*.js")):
        texts.append((path, path.read_text("utf-8").replace("`", "\n")))
    return [
        (path.relative_to(ROOT).as_posix(), module, name.split(" as ")[0].strip())
        for path, text in texts
        for module, names in LINE.findall(text)
        for name in names.split(",")
    ]


def exists(module: str, name: str) -> bool:
    try:
        there = importlib.import_module(module)
        return hasattr(there, name) or bool(importlib.import_module(f"{module}.{name}"))
    except ModuleNotFoundError:
        return False


@pytest.mark.slow
def test_every_import_in_shown_code_exists() -> None:
    """One test: as many as there are imports, all files would be read again by every process of the tests."""
    found = sorted(set(shown()))
    files = {file for file, _, _ in found}
    assert "cfviz/ui/pages/attention/view.py" in files
    assert "cfviz/web/grouping/methods.js" in files
    assert exists("cfviz.run", "inspect")
    assert not exists("cfviz.run", "nothing")
    assert not exists("cfviz.nothing", "inspect")
    assert [one for one in found if not exists(*one[1:])] == []
