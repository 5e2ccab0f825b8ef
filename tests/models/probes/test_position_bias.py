"""Ablations of the bias (remove, shuffle, swap, keep nothing else), by hand; nothing else is touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from cfviz.analysis import position_bias as measure
from cfviz.hooks import capture, edit
from cfviz.models.probes.position_bias import CHANGES, changes, methods_of, simplest_method
from cfviz.options import BIAS_METHODS

BLOCKS = ((0, 1), (2, 0))
WATCH = [
    f"layers.{s}.blocks.{b}.attn.{name}" for s, b in (*BLOCKS, (1, 0)) for name in ("q", "bias", "probs")
]
Seen = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def net() -> Any:
    from cfviz.models import CrossFormer

    torch.manual_seed(3)
    model = CrossFormer(
        num_classes=5, embed_dim=32, depths=(2, 1, 1, 1), num_heads=(2, 4, 4, 8), group_size=4
    )
    for name, weight in model.named_parameters():
        if ".pos." in name:
            torch.nn.init.normal_(weight, std=1.2)  # a bias that is not flat
    return model.eval()


@pytest.fixture(scope="module")
def run(net: Any) -> Callable[..., Seen]:
    x = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))

    def forward(how: str | None = None, **more: Any) -> Seen:
        made = changes(net, how, BLOCKS, **more) if how else {}
        with torch.inference_mode(), edit(net, made), capture(net, *WATCH, "logits") as seen:
            net(x)
        return {name: tensor.numpy() for name, tensor in seen.items()}

    return forward


def at(block: tuple[int, int], name: str) -> str:
    return f"layers.{block[0]}.blocks.{block[1]}.attn.{name}"


def test_zero_removes_the_bias_only_where_requested(run: Callable[..., Seen]) -> None:
    before, after = run(), run("zero")
    for block in BLOCKS:
        assert not after[at(block, "bias")].any()
        assert before[at(block, "bias")].std() > 0.05
    assert np.array_equal(after[at((1, 0), "bias")], before[at((1, 0), "bias")])
    assert not np.allclose(after["logits"], before["logits"])


def test_shuffled_values_are_the_same_at_other_offsets(run: Callable[..., Seen]) -> None:
    before, after, again, other = run(), run("shuffle"), run("shuffle"), run("shuffle", seed=1)
    for block in BLOCKS:
        # `surface` refuses a bias that is no function of the offset.
        was, now = (measure.surface(seen[at(block, "bias")]) for seen in (before, after))
        assert np.array_equal(np.sort(was.reshape(len(was), -1)), np.sort(now.reshape(len(now), -1)))
        assert not np.array_equal(was, now)
        assert np.array_equal(after[at(block, "bias")], again[at(block, "bias")])
        assert not np.array_equal(after[at(block, "bias")], other[at(block, "bias")])
    was, now = (measure.surface(seen[at(BLOCKS[0], "bias")]).reshape(2, -1) for seen in (before, after))
    places = [[int(np.flatnonzero(was[h] == value)[0]) for value in now[h]] for h in range(2)]
    assert places[0] != places[1]  # each head is permuted differently


def test_swapped_heads_have_each_others_bias(run: Callable[..., Seen]) -> None:
    before, after = run(), run("swap")
    for block in BLOCKS:
        was, now = before[at(block, "bias")], after[at(block, "bias")]
        for h in range(len(was)):
            assert np.array_equal(now[h], was[h - 1])


def test_only_keeps_nothing_but_the_bias(run: Callable[..., Seen]) -> None:
    before, after = run(), run("only")
    for block in BLOCKS:
        assert not after[at(block, "q")].any()
        bias = after[at(block, "bias")]
        assert np.array_equal(bias, before[at(block, "bias")])
        wanted = np.exp(bias) / np.exp(bias).sum(
            -1, keepdims=True
        )  # the same in every group: no padding here
        for probs in after[at(block, "probs")]:
            assert probs == pytest.approx(wanted, abs=1e-6)
    assert after[at((1, 0), "q")].any()


@pytest.mark.parametrize("how", CHANGES)
def test_nothing_is_left_on_the_model(run: Callable[..., Seen], how: str) -> None:
    before = run()
    run(how)
    assert np.array_equal(run()["logits"], before["logits"])


def test_an_unknown_change_is_refused(net: Any) -> None:
    with pytest.raises(ValueError, match="how is 'boil'; expected one of zero, shuffle, swap, only"):
        changes(net, "boil", BLOCKS)


def test_methods_that_cannot_differ_are_known() -> None:
    assert methods_of("dpb") == BIAS_METHODS
    assert {simplest_method("dpb", 7, way, {7}) for way in BIAS_METHODS} == {"own", "none"}
    assert [simplest_method("dpb", 7, way, {5, 7}) for way in ("clamp", "cut", "bicubic")] == [
        "own",
        "own",
        "bicubic",
    ]
    assert [simplest_method("rpb", 7, way, {5, 7}) for way in ("own", "clamp", "cut")] == [
        "own",
        "clamp",
        "clamp",
    ]
    assert [simplest_method("dpb", 7, way, {8}) for way in BIAS_METHODS] == list(BIAS_METHODS)
