"""Locate the files that come with the package, with a clear error if one is missing.

In a checkout, `assets/`, `app.py` and `pages/` are beside the package; once installed, they are inside it.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent
ASSETS = _PACKAGE / "assets" if (_PACKAGE / "assets").is_dir() else _CHECKOUT / "assets"
APP = _PACKAGE / "app" if (_PACKAGE / "app").is_dir() else _CHECKOUT  # holds `app.py` and `pages/`


def bundled(name: str) -> Path:
    """Return the path of a file or folder that comes with the package.

    Args:
        name: Relative to `assets/`, with forward slashes: "weights/crossformer_nano.safetensors".

    Raises:
        FileNotFoundError: If it is missing, which means that the installation is damaged.
    """
    return _present(ASSETS, name)


def app() -> Path:
    """Return the path of `app.py`.

    Raises:
        FileNotFoundError: As for `bundled`.
    """
    return _present(APP, "app.py")


def _present(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.exists():
        raise FileNotFoundError(
            f"{name} should have come with cfviz and is not in {folder}: install cfviz again"
        )
    return path
