"""Imports put off until they are needed: PyTorch and timm take seconds, and `cfviz --help` needs neither.

Public names are imported on first use, see `on_first_use`. The variants are registered with timm when timm is
imported, see `after_import`. The figures are imported when a trace is shown or plotted, see
`render_traces_with`. What is imported is not searched for garbage meanwhile, see `uncollected`.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def on_first_use(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package that imports public names and submodules when they are used.

    The package's stub (`__init__.pyi`) lists the same names, for type checkers and editors.

    Args:
        package: The package's `__name__`.
        homes: Maps each public name to the submodule that defines it, relative to the package.
    """

    def get(name: str) -> Any:
        if name in homes:
            value = getattr(import_module(f"{package}.{homes[name]}"), name)
        elif not name.startswith("_") and find_spec(f"{package}.{name}"):
            value = import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name)
        setattr(sys.modules[package], name, value)  # the next use does not come here
        return value

    return get


@contextmanager
def uncollected() -> Iterator[None]:
    """Import without garbage collections: what a module defines stays, and looking through it takes time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def import_uncollected(name: str) -> None:
    """Let a top-level module be imported `uncollected`, whoever imports it first."""
    after_import(name, lambda: None)


def after_import(name: str, do: Callable[[], object]) -> None:
    """Call a function once a module is imported, `uncollected`; at once if it has been already."""
    if name in sys.modules:
        do()
    else:
        sys.meta_path.insert(0, _Waiting(name, do))


class _Waiting(MetaPathFinder):
    """A finder that leaves the finding to the others, and calls a function after the import has succeeded."""

    def __init__(self, name: str, do: Callable[[], object]) -> None:
        self.name, self.do = name, do

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        finders = sys.meta_path[sys.meta_path.index(self) + 1 :]  # of several that wait, each asks the next
        found = (finder.find_spec(fullname, path, target) for finder in finders)
        spec = next((spec for spec in found if spec is not None), None)
        loader: Any = spec and spec.loader
        if not hasattr(loader, "exec_module"):
            return spec
        run = loader.exec_module

        def run_and_call(module: ModuleType) -> None:
            vars(loader).pop("exec_module", None)  # the loader's own method is visible again
            with uncollected():
                run(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
                self.do()

        loader.exec_module = run_and_call
        return spec


_render: Callable[[Any], str] | None = None
_plot: Callable[..., Any] | None = None


def render_traces_with(render: Callable[[Any], str], plot: Callable[..., Any]) -> None:
    """Set the function that turns a trace into HTML, and the one that draws a figure of it."""
    global _render, _plot
    _render, _plot = render, plot


def rendered(trace: Any) -> str | None:
    """Return a trace as HTML; None if no renderer is set."""
    return None if _render is None else _render(trace)


def plotted(trace: Any, kind: str, **options: Any) -> Any:
    """Return a figure of a trace.

    Raises:
        ValueError: If nothing is set that draws.
    """
    if _plot is None:
        raise ValueError("nothing is set that draws traces; call `render_traces_with` first")
    return _plot(trace, kind, **options)
