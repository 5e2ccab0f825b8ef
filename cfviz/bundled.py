"""The files that come with the package (`assets/`): where they are, and one sentence when one is missing."""

from __future__ import annotations

from pathlib import Path

_INSTALLED = Path(__file__).resolve().parent / "assets"
ASSETS = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).resolve().parents[1] / "assets"


def bundled(name: str) -> Path:
    """The path of a file or folder that comes with the package.

    Args:
        name: Relative to `assets/`, with forward slashes: "weights/crossformer_nano.safetensors".

    Raises:
        FileNotFoundError: If it is not there, which only a damaged installation explains.
    """
    path = ASSETS / name
    if not path.exists():
        raise FileNotFoundError(
            f"{name} should have come with cfviz and is not in {ASSETS}: install cfviz again"
        )
    return path
