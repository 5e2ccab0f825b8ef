"""Which number formats pay on this machine: measured with a model, or by the instructions a device has.

The fastest format depends on the processor and the model: bfloat16 halves the time on processors with matrix
units for it (AMX), but takes several times as long as float32 with AVX2 alone.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from statistics import median
from time import perf_counter

import torch
from torch import nn

from cfviz.models.factory import DTYPES

BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")  # of x86 and ARM, as PyTorch names them
ROUNDS = 5
BUDGET = 2.0  # seconds after which no further round begins


def format_times(
    model: nn.Module,
    shape: tuple[int, int, int, int],
    formats: Sequence[str],
    rounds: int = ROUNDS,
    budget: float = BUDGET,
) -> dict[str, float]:
    """Measure the time of one forward in each number format.

    The formats take turns, so that other load on the machine affects all of them alike.

    Args:
        model: Any; it is copied, not changed. The copies stay on its device.
        shape: Of the input, `(B, C, H, W)`.
        formats: Any of "float32", "bfloat16", "float16".
        rounds: At most this many forwards per format, after an untimed warm-up.
        budget: Seconds after which no further round begins; one round is always measured.

    Returns:
        Median seconds per forward, by format.
    """
    device = next(model.parameters()).device
    copies = {name: copy.deepcopy(model).to(DTYPES[name]).eval() for name in formats}
    inputs = {name: torch.zeros(shape, dtype=DTYPES[name], device=device) for name in formats}
    seconds: dict[str, list[float]] = {name: [] for name in formats}

    def forward(name: str) -> float:
        _wait_for(device)
        start = perf_counter()
        copies[name](inputs[name])
        _wait_for(device)
        return perf_counter() - start

    with torch.inference_mode():
        for name in formats:
            forward(name)  # packs weights, fills caches
        began = perf_counter()
        for _ in range(rounds):
            for name in formats:
                seconds[name].append(forward(name))
            if perf_counter() - began > budget:
                break
    return {name: median(taken) for name, taken in seconds.items()}


def multiplies_bfloat16(device: str | torch.device) -> bool:
    """Whether a device has instructions that multiply bfloat16; without, PyTorch converts there and back."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and any(torch.cpu.get_capabilities().get(name, False) for name in BFLOAT16)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
