"""The speed of a number format is measured on copies, in turns, without the first forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest
import torch
from torch import nn

from cfviz.models.crossformer import CrossFormer
from cfviz.models.probes import formats


class Clock:
    """A clock that advances only when a model computes."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow(nn.Module):
    """Takes one second per forward in float32, five in bfloat16, and a hundred more the first time."""

    calls: ClassVar[list[torch.dtype]] = []

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.weight, self.clock = nn.Parameter(torch.zeros(1)), [clock]

    def __deepcopy__(self, memo: dict) -> Slow:
        return Slow(self.clock[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.dtype == self.weight.dtype
        self.clock[0].now += 1.0 if x.dtype == torch.float32 else 5.0
        self.clock[0].now += 0.0 if x.dtype in self.calls else 100.0
        self.calls.append(x.dtype)
        return x


def test_formats_take_turns_and_the_first_forward_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(formats, "perf_counter", clock)
    monkeypatch.setattr(Slow, "calls", [])
    found = formats.format_times(Slow(clock), (1, 3, 32, 32), ("float32", "bfloat16"), rounds=2, budget=100)
    assert found == {"float32": 1.0, "bfloat16": 5.0}
    assert Slow.calls == [torch.float32, torch.bfloat16] * 3


def test_no_round_starts_after_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(formats, "perf_counter", clock)
    monkeypatch.setattr(Slow, "calls", [])
    formats.format_times(Slow(clock), (1, 3, 32, 32), ("float32", "bfloat16"), rounds=50, budget=7.0)
    assert len(Slow.calls) == 2 + 4  # not counted; then two rounds of 6 s


@pytest.mark.parametrize(
    ("has", "multiplies"),
    [
        ({"avx2": True, "fma3": True}, False),
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False}, False),
        ({"avx2": True, "avx512_f": True, "avx512_bf16": True}, True),
        ({"avx512_f": True, "amx_bf16": True}, True),
        ({"neon": True, "bf16": True}, True),
        ({"neon": True, "bf16": False}, False),
        ({}, False),
    ],
)
def test_a_processor_multiplies_bfloat16_if_it_has_instructions_for_it(
    has: dict[str, bool], multiplies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert formats.multiplies_bfloat16("cpu") is multiplies
    assert not formats.multiplies_bfloat16("meta")


@pytest.mark.slow
def test_the_model_itself_is_unchanged(tiny_model: Callable[..., CrossFormer]) -> None:
    model = tiny_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = formats.format_times(model, (1, 3, 64, 64), ("float32", "bfloat16"), rounds=1)
    assert set(found) == {"float32", "bfloat16"}
    assert min(found.values()) > 0
    after = model.state_dict()
    assert all(
        torch.equal(value, after[name]) and value.dtype == after[name].dtype for name, value in before.items()
    )
