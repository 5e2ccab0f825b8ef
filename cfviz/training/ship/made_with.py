"""What weights are made with: the commit of this code, and the releases of the packages it computes with."""

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def commit() -> str:
    """Return the Git commit of this code, or "unknown": the repository around it must track the code.

    A package that is installed inside someone's own repository is not part of that repository's commit.
    """
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        return _git("rev-parse", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*command: str) -> str:
    here = Path(__file__).parent
    done = subprocess.run(["git", *command], cwd=here, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Return the releases of the packages that decide the numbers."""
    return {name: _release(name) for name in ("torch", "timm", "accelerate")}


def _release(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
