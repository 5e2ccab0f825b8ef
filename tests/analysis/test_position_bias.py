"""Surfaces, the index matrix, resized tables and costs, against hand-made cases and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from cfviz.analysis import position_bias as pb
from cfviz.geometry import Grouping, lsda, offsets, relative_index
from cfviz.hooks import capture, edit
from cfviz.models.probes import position_bias as probes
from cfviz.options import BIAS_METHODS, TABLE_METHODS

# ---------------------------------------------------------------- the index matrix


def index_by_broadcasting(G: int) -> np.ndarray:
    """The authors' construction: the coordinates of all tokens, their differences, two shifts."""
    rows, cols = torch.meshgrid(torch.arange(G), torch.arange(G), indexing="ij")
    place = torch.stack([rows.reshape(-1), cols.reshape(-1)])  # 2, N
    apart = (place.unsqueeze(2) - place.unsqueeze(1)).permute(1, 2, 0)  # N, N, 2
    apart = apart + (G - 1)
    return (apart[..., 0] * (2 * G - 1) + apart[..., 1]).numpy()


@pytest.mark.parametrize("G", range(2, 15))
def test_the_index_matrix_equals_the_authors_construction(G: int) -> None:
    index = relative_index(G, G)
    assert np.array_equal(index, index_by_broadcasting(G))
    assert np.array_equal(np.unique(index), np.arange((2 * G - 1) ** 2))


def test_rows_printed_in_the_article() -> None:
    index, found = relative_index(7, 7), offsets(7, 7)
    assert [*index[0][:3], *index[0][-3:]] == [84, 83, 82, 2, 1, 0]
    assert [*index[-1][:3], *index[-1][-3:]] == [168, 167, 166, 86, 85, 84]
    assert found[0].tolist() == [-6, -6]
    assert found[-1].tolist() == [6, 6]


# ---------------------------------------------------------------- surfaces


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 224])
def test_surfaces_hold_the_captured_bias_bit_for_bit(tiny_model, size: int) -> None:
    model = tiny_model(embed_dim=64)
    with torch.no_grad(), capture(model, "layers.*.blocks.*.attn.bias") as seen:
        model(torch.zeros(1, 3, size, size))
    for s, stage in enumerate(model.groupings(size, size)):
        for b, group in enumerate(stage):
            bias = seen[f"layers.{s}.blocks.{b}.attn.bias"].numpy()
            surface = pb.surface(bias)
            assert surface.shape == (len(bias), 2 * group.G - 1, 2 * group.G - 1)
            assert pb.pair_bias(surface).tobytes() == bias.tobytes()
            pos = model.layers[s].blocks[b].attn.pos
            anew = probes.table_of(pos, group.G).numpy().T.reshape(surface.shape)
            assert np.array_equal(anew, surface)


def test_rectangular_groups_have_surfaces_and_other_biases_are_refused() -> None:
    values = np.arange(2 * 5 * 3, dtype=np.float32).reshape(2, 5, 3)  # groups of 3 x 2
    bias = pb.pair_bias(values)
    assert bias.shape == (2, 6, 6)
    assert np.array_equal(pb.surface(bias, width=2), values)
    assert bias[0, 0, 0] == values[0, 2, 1]
    assert bias[0, 0, 5] == values[0, 0, 0]  # the key is two rows down and one to the right
    bias[0, 1, 1] += 1
    with pytest.raises(ValueError, match="same offset differ"):
        pb.surface(bias, width=2)
    with pytest.raises(ValueError, match="expected \\(heads, N, N\\)"):
        pb.surface(np.zeros((1, 6, 6)))


# ---------------------------------------------------------------- what a head prefers


def bump(dh: float, dw: float, height: float = 3.0) -> np.ndarray:
    """A 13 x 13 surface that falls off with the offset, at separate rates down and across."""
    d = offsets(7, 7).reshape(13, 13, 2).astype(float)
    return -height * ((d[..., 0] / dh) ** 2 + (d[..., 1] / dw) ** 2) / 36


def test_measures_name_the_preference_of_hand_made_heads() -> None:
    d = offsets(7, 7).reshape(13, 13, 2).astype(float)
    heads = {
        "near": bump(0.3, 0.3),
        "far": -bump(0.9, 0.9),
        "horizontal": bump(0.2, 9),
        "vertical": bump(9, 0.2),
        "diagonal": -((d[..., 0] - d[..., 1]) ** 2) / 4,
        "shifted": d[..., 1] / 3,
        "flat": np.zeros((13, 13)),
    }
    found = pb.measures(np.stack(list(heads.values())))
    assert [found.character(i) for i in range(len(heads))] == list(heads)
    assert found.centre[5, 1] < -1  # larger dw: the key lies to the left
    assert abs(found.centre[5, 0]) < 1e-9
    assert found.spread[5] == pytest.approx(4)
    assert (found.nearness[6], found.anisotropy[6]) == pytest.approx((0, 0), abs=1e-12)
    assert np.isnan(found.decay[[1, 6]]).all()
    ranks = list(heads)
    assert ranks[pb.head_order(found, "near")[0]] == "near"
    assert ranks[pb.head_order(found, "horizontal")[-1]] == "vertical"
    assert ranks[pb.head_order(found, "diagonal")[0]] == "diagonal"
    assert ranks[pb.head_order(found, "shifted")[0]] == "shifted"
    assert ranks[pb.head_order(found, "decay")[0]] == "near"
    assert np.isnan(found.decay[pb.head_order(found, "decay")[-2:]]).all()
    assert pb.head_order(found, "number").tolist() == list(range(7))
    with pytest.raises(ValueError, match="order is by 'mood'"):
        pb.head_order(found, "mood")


def test_decay_of_a_linear_slope() -> None:
    d = np.rint(np.hypot(*offsets(7, 7).T)).reshape(1, 13, 13)
    found = pb.measures(-d)  # loses one per ring, 8 in all
    assert found.decay[0] == pytest.approx(8 * (1 - np.exp(-1)))


# ---------------------------------------------------------------- other windows


@pytest.mark.parametrize(("Gh", "Gw"), [(2, 2), (5, 5), (7, 7), (8, 8), (14, 14), (28, 28), (4, 9)])
def test_bicubic_resizing_agrees_with_torch(Gh: int, Gw: int) -> None:
    table = np.random.default_rng(Gh).normal(size=(3, 13, 13))
    target = (2 * Gh - 1, 2 * Gw - 1)
    wanted = interpolate(torch.from_numpy(table)[None], target, mode="bicubic", align_corners=False)[0]
    assert pb.resized_table(table, Gh, Gw, "bicubic") == pytest.approx(wanted.numpy(), abs=1e-12)


def test_cut_and_clamp_by_hand() -> None:
    table = np.arange(1.0, 10).reshape(1, 3, 3)  # groups of 2 x 2
    assert pb.resized_table(table, 3, 3, "cut")[0].tolist() == [
        [0, 0, 0, 0, 0],
        [0, 1, 2, 3, 0],
        [0, 4, 5, 6, 0],
        [0, 7, 8, 9, 0],
        [0, 0, 0, 0, 0],
    ]
    assert pb.resized_table(table, 3, 2, "clamp")[0].tolist() == [
        [1, 2, 3],
        [1, 2, 3],
        [4, 5, 6],
        [7, 8, 9],
        [7, 8, 9],
    ]
    for way in ("cut", "clamp"):
        assert pb.resized_table(table, 1, 2, way)[0].tolist() == [[4, 5, 6]]
    with pytest.raises(ValueError, match="method is 'guess'"):
        pb.resized_table(table, 3, 3, "guess")


def scaled_offsets(Gh: int, Gw: int, trained: int) -> np.ndarray:
    """Offsets of a Gh x Gw group shrunk to the trained range: d * (G-1)/(G'-1), float ((…), 2)."""
    shrink = [(trained - 1) / max(1, side - 1) for side in (Gh, Gw)]
    return offsets(Gh, Gw) * np.array(shrink)


def test_untrained_offsets_and_offsets_scaled_back() -> None:
    assert pb.untrained_offsets(8, 8, 7).sum() == 15**2 - 13**2
    assert not pb.untrained_offsets(7, 4, 7).any()
    scaled = scaled_offsets(14, 7, 7)
    assert np.abs(scaled).max(0).tolist() == [6, 6]
    assert scaled[1].tolist() == [-6, -5]
    assert scaled_offsets(1, 1, 7).tolist() == [[0, 0]]


@pytest.mark.parametrize("way", TABLE_METHODS)
@pytest.mark.parametrize("G", [1, 5, 7, 11])
def test_the_model_gets_the_same_resized_table_as_the_figure(way: str, G: int) -> None:
    """The methods of `models.probes.position_bias` (torch) agree with those of the analysis (NumPy)."""
    table = torch.randn(169, 2, dtype=torch.float64)
    drawn = pb.resized_table(table.numpy().T.reshape(2, 13, 13), G, G, way)
    given_ = probes.resized(table, G, way).numpy().T.reshape(drawn.shape)
    assert given_ == pytest.approx(drawn, abs=2e-5)  # torch stretches in float32


def asked(pos: torch.nn.Module, at: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return pos(torch.from_numpy(at).float()).numpy().T


@pytest.mark.parametrize("way", BIAS_METHODS)
def test_edits_apply_a_method_to_the_model(tiny_model, way: str) -> None:
    model = tiny_model(embed_dim=64, depths=(2, 1, 1, 1), group_size=3)
    pos = model.layers[0].blocks[1].attn.pos
    point = "layers.0.blocks.1.attn.bias"
    edits = probes.edits(model, way)
    model.set_grouping(5)
    with torch.no_grad(), edit(model, edits), capture(model, point) as seen:
        model(torch.zeros(1, 3, 96, 96))
    surface = pb.surface(seen[point].numpy())
    table = probes.table_of(pos, 3).numpy().T.reshape(-1, 5, 5)
    wanted = {
        "own": lambda: probes.table_of(pos, 5).numpy().T.reshape(-1, 9, 9),
        "none": lambda: np.zeros_like(surface),
        "rescaled": lambda: asked(pos, scaled_offsets(5, 5, 3)).reshape(surface.shape),
        **{name: lambda name=name: pb.resized_table(table, 5, 5, name) for name in TABLE_METHODS},
    }[way]()
    assert surface == pytest.approx(wanted, abs=1e-5)


# ---------------------------------------------------------------- what a window costs


def test_fixed_intervals_pad_a_256_px_input_from_64_to_112_tokens() -> None:
    fixed = pb.attention_load(lsda(64, 64, 1, 7, 8), 48)
    assert fixed.padded == (112, 112)
    assert fixed.waste == pytest.approx(1 - 64**2 / 112**2)
    assert fixed.pairs == 64 * 4 * 49**2
    assert fixed.macs == 4 * 112**2 * 48**2 + 2 * fixed.pairs * 48
    even = pb.attention_load(lsda(56, 56, 1, 7, 8), 48)
    assert even.waste == 0
    assert even.padded == (56, 56)


@pytest.mark.parametrize(
    ("groups", "trained"),
    [
        (lsda(14, 14, 1, 7, 2), 7),
        (lsda(10, 17, 0, 7, 1), 5),  # padded
        (lsda(12, 40, 1, 7, 2, "whole"), 7),
        (lsda(9, 13, 1, 4, 2, "whole"), (4, 6)),  # padded and rectangular, as in training
        (lsda(6, 20, 0, 7, 1), 8),  # one group, mostly padding
    ],
)
def test_untrained_pairs_are_counted_one_by_one(groups: Grouping, trained: int | tuple[int, int]) -> None:
    """Compared with all pairs of tokens, padding left out; and with the offsets of a whole group."""
    new = pb.untrained_offsets(groups.Gh, groups.Gw, trained).reshape(-1)[
        relative_index(groups.Gh, groups.Gw)
    ]
    both = groups.valid[:, :, None] & groups.valid[:, None, :]  # nG, N, N
    expected = (both & new).sum() / both.sum()
    assert pb.untrained_pairs(groups, trained) == pytest.approx(expected)


def test_training_on_rectangles_shows_the_offsets_of_both_sides() -> None:
    new = pb.untrained_offsets(3, 5, (3, 4))
    assert new.sum() == 2 * 5  # the columns four tokens apart
    assert not pb.untrained_offsets(3, 5, (3, 5)).any()
    assert (pb.untrained_offsets(3, 5, 3) == pb.untrained_offsets(3, 5, (3, 3))).all()
