"""A command that runs on several processes ends on all of them together."""

import os

import pytest
from torch import distributed

from cfviz.cli import main
from cfviz.training import cli
from tests.processes.warm import Warm


@pytest.mark.parametrize("command", ["train", "evaluate", "export-weights", "sizes", "study"])
def test_a_command_leaves_no_process_group_open(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process group left open used to abort one run in twelve at exit, after all results were written."""

    def opens_a_group_and_fails(args: object) -> None:
        distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
        raise ValueError("the photos are gone")

    monkeypatch.setattr(cli, "set_threads", opens_a_group_and_fails)
    required = {"train": ["--config", "x", "--out", "x"], "export-weights": ["x", "--out", "x"]}
    options = required.get(command, ["--data", "x"])
    if command == "study":
        options += ["--interventions", "x", "--out", "x"]
    assert main([command, *options]) != 0
    assert not distributed.is_initialized()


@pytest.mark.slow
def test_measurements_are_in_float32_whatever_the_launcher_is_set_to(warm: Warm) -> None:
    """`accelerate config` keeps a precision, which evaluate then took without saying so."""
    code = "from argparse import Namespace; from cfviz.training import cli\n"
    code += "print(cli._processes(Namespace(cpu=True)).mixed_precision)"
    done = warm.run(["-c", code], env={**os.environ, "ACCELERATE_MIXED_PRECISION": "bf16"}, check=True)
    assert done.stdout == "no\n"
