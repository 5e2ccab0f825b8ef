"""Paths that are not regular files are not read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cfviz.models.weights.checkpoints import load_checkpoint
from cfviz.models.weights.errors import CheckpointError


def test_a_device_or_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "weights.pth"
    os.mkfifo(pipe)
    for path in (pipe, Path(os.devnull)):
        with pytest.raises(CheckpointError, match="it is no regular file"):
            load_checkpoint(path)
