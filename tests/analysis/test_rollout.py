"""Rollout keeps the sum of each row, leaks nothing, and follows groups and kernels as the model does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cfviz.analysis.rollout import Kernels, Layer, attended, one_token, rollout, through_kernels
from cfviz.geometry import lsda


def even_layer(H: int, W: int, block: int, G: int, I: int, cooling: Kernels | None = None) -> Layer:  # noqa: E741
    """A block whose queries attend evenly to all tokens of their group and never to padding."""
    g = lsda(H, W, block, G, I)
    valid = g.valid.astype(float)
    probs = np.broadcast_to(valid[:, None, :], (g.nG, g.N, g.N)) / valid.sum(-1)[:, None, None].clip(1)
    return Layer(g, probs, cooling)


def test_even_attention_in_a_window_and_a_lattice() -> None:
    """The lower right token of a 4 x 4 map, G = 2, I = 2: its SDA window and its LDA lattice."""
    row = one_token(4, 4, 3, 3)
    window, lattice = np.zeros((4, 4)), np.zeros((4, 4))
    window[2:, 2:] = lattice[1::2, 1::2] = 0.25
    assert attended(row, even_layer(4, 4, 0, 2, 2))[0] == pytest.approx(window)
    assert attended(row, even_layer(4, 4, 1, 2, 2))[0] == pytest.approx(lattice)


def test_sda_then_lda_sees_the_whole_map() -> None:
    """Two blocks of even attention without shortcuts give every token of a 4 x 4 map 1/16 (paper, 3.2)."""
    layers = [even_layer(4, 4, b, 2, 2) for b in (0, 1)]
    assert rollout(one_token(4, 4, 1, 2), [layers], [], shortcut=0)[0] == pytest.approx(
        np.full((4, 4), 1 / 16)
    )


def test_the_shortcut_alone_changes_nothing() -> None:
    row = one_token(5, 6, 2, 3)
    assert rollout(row, [[even_layer(5, 6, b, 2, 3) for b in range(4)]], [], shortcut=1) == pytest.approx(row)


@pytest.mark.slow
@given(
    H=st.integers(2, 11), W=st.integers(2, 11), G=st.integers(2, 4), I=st.integers(1, 4),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_sums_are_kept_and_padding_gets_nothing(H: int, W: int, G: int, I: int, seed: int) -> None:  # noqa: E741
    rng = np.random.default_rng(seed)
    cooling = Kernels((rng.uniform(0.1, 1, (3, 3)),), 1)
    stages = [
        [even_layer(2 * H, 2 * W, b, G, I) for b in (0, 1)],
        [even_layer(H, W, b, G, I, cooling) for b in (0, 1)],
    ]
    merging = [Kernels((rng.uniform(0.1, 1, (2, 2)), rng.uniform(0.1, 1, (4, 4))), 2)]
    rows = rng.uniform(size=(3, H, W))
    back = rollout(rows, stages, merging)
    assert back.shape == (3, 2 * H, 2 * W)
    assert back.sum((1, 2)) == pytest.approx(rows.sum((1, 2)))
    assert back.min() >= 0


def test_a_merging_kernel_by_hand() -> None:
    """Kernels of 2 and 4 have 20 taps, all equal here; each of the four inner tokens gets two of them."""
    kernels = Kernels((np.ones((2, 2)), np.ones((4, 4))), 2)
    inner = through_kernels(one_token(3, 3, 1, 1), kernels, 6, 6)[0]
    expected = np.zeros((6, 6))
    expected[1:5, 1:5] = 1 / 20
    expected[2:4, 2:4] = 2 / 20
    assert inner == pytest.approx(expected)
    corner = through_kernels(one_token(3, 3, 0, 0), kernels, 6, 6)[0]  # 7 of the 20 taps read padding
    expected = np.zeros((6, 6))
    expected[:3, :3] = 1 / 13
    expected[:2, :2] = 2 / 13
    assert corner == pytest.approx(expected)


@pytest.mark.parametrize(("sides", "stride"), [((4, 8, 16, 32), 4), ((2, 4), 2), ((3,), 1)])
def test_kernels_reach_what_convolutions_read(sides: tuple[int, ...], stride: int) -> None:
    rng = np.random.default_rng(2)
    taps = [rng.uniform(size=(k, k)) for k in sides]
    H, W = 8 * stride, 7 * stride
    back = through_kernels(one_token(8, 7, 2, 5), Kernels(tuple(taps), stride), H, W)[0]
    x = torch.zeros(1, 1, H, W, dtype=torch.float64, requires_grad=True)
    out = sum(
        torch.nn.functional.conv2d(
            x, torch.from_numpy(t)[None, None], stride=stride, padding=(len(t) - stride) // 2
        )
        for t in taps
    )
    (slope,) = torch.autograd.grad(out[0, 0, 2, 5], x)
    assert back == pytest.approx((slope / slope.sum())[0, 0].numpy())


def test_errors_name_the_wrong_number() -> None:
    with pytest.raises(ValueError, match="1 stages need 0 merging layers; 1 came"):
        rollout(one_token(4, 4, 0, 0), [[even_layer(4, 4, 0, 2, 2)]], [Kernels((np.ones((2, 2)),), 2)])
    with pytest.raises(ValueError, match=r"no token \(4, 0\)"):
        one_token(4, 4, 4, 0)
    with pytest.raises(ValueError, match="all taps are zero"):
        through_kernels(one_token(2, 2, 0, 0), Kernels((np.zeros((2, 2)),), 2), 4, 4)
