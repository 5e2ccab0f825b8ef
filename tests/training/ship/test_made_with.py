"""The commit that a card names is one of this code."""

import subprocess
from pathlib import Path

import pytest

from cfviz.training.ship import made_with


def test_a_repository_that_does_not_hold_the_code_gives_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installed package used to take the commit of the user's repository around it."""

    def git(*command: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        done = subprocess.run(
            ["git", *who, *command], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    package = tmp_path / "site-packages" / "cfviz"
    package.mkdir(parents=True)
    (package / "made_with.py").touch()
    monkeypatch.setattr(made_with, "__file__", str(package / "made_with.py"))
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "mine")
    assert made_with.commit() == "unknown"
    git("add", ".")
    git("commit", "-q", "-m", "with cfviz")
    assert made_with.commit() == git("rev-parse", "HEAD")
    monkeypatch.setattr(made_with, "__file__", str(tmp_path / "nowhere" / "made_with.py"))
    assert made_with.commit() == "unknown"
