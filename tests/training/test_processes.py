"""Commands that several processes run together end together."""

import pytest
from torch import distributed

from cfviz.cli import main
from cfviz.training import cli


@pytest.mark.parametrize("command", ["train", "evaluate", "export-weights", "measure-sizes", "study"])
def test_a_command_leaves_no_process_group_open(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One left open aborted one run in twelve at its exit, all results written."""

    def opens_a_group_and_fails(args: object) -> None:
        distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
        raise ValueError("the photos are gone")

    monkeypatch.setattr(cli, "_threads", opens_a_group_and_fails)
    required = {"train": ["--config", "x", "--out", "x"], "export-weights": ["x", "--out", "x"]}
    options = required.get(command, ["--data", "x"])
    if command == "study":
        options += ["--interventions", "x", "--out", "x"]
    assert main([command, *options]) != 0
    assert not distributed.is_initialized()
