"""Shares, ablations, spectra and patterns, on cases worked out by hand."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cfviz.analysis import embedding as measure
from cfviz.analysis import embedding_cost, spectrum
from cfviz.data.patterns import PATTERNS, pattern
from cfviz.geometry import CEL_KERNELS
from cfviz.models.probes import embedding as layers
from cfviz.models.probes.cost import cost
from cfviz.run import forward

CHANNELS = (8, 4, 2, 2)


def tokens(seed: int, scale: float = 1.0) -> np.ndarray:
    return scale * np.random.default_rng(seed).standard_normal((5, 6, 16))


def test_tap_strengths_are_root_mean_squares() -> None:
    """Two outputs and inputs: one position has weights 3 and -4, one four equal weights, the others none."""
    weight = np.zeros((2, 2, 2, 2), np.float32)
    weight[0, 0, 0, 1], weight[1, 1, 0, 1] = 3, -4
    weight[:, :, 1, 0] = -7
    assert measure.tap_strengths(weight).tolist() == [[0, 2.5], [7, 0]]
    with pytest.raises(ValueError, match="expected"):
        measure.tap_strengths(weight[0])


# ---------------------------------------------------------------- shares


@given(st.integers(0, 10_000), st.floats(1e-3, 1e3))
@settings(max_examples=30, deadline=None)
def test_shares_of_kernels_sum_to_one(seed: int, scale: float) -> None:
    x, gain = tokens(seed, scale), np.random.default_rng(seed + 1).normal(1, 0.3, 16)
    for shares in (
        measure.carried_shares(x, CHANNELS),
        measure.carried_shares(measure.normalised(x, gain), CHANNELS),
        measure.caused_shares(x, CHANNELS, gain),
    ):
        assert shares.shape == (4, 5, 6)
        assert shares.sum(0) == pytest.approx(np.ones((5, 6)), abs=1e-9)


@pytest.mark.parametrize("kernel", range(4))
def test_a_kernel_without_rivals_has_the_whole_share(kernel: int) -> None:
    """True of the raw token and of the cause; its channels carry less, as the subtracted mean leaks out."""
    x, part = tokens(0), measure.kernel_slices(CHANNELS)[kernel]
    alone = np.zeros_like(x)
    alone[..., part] = x[..., part]
    gain = np.linspace(0.5, 2, 16)
    assert measure.carried_shares(alone, CHANNELS)[kernel] == pytest.approx(np.ones((5, 6)))
    assert measure.caused_shares(alone, CHANNELS, gain)[kernel] == pytest.approx(np.ones((5, 6)))
    carried = measure.carried_shares(measure.normalised(alone, gain), CHANNELS)[kernel]
    mean = alone.mean(-1, keepdims=True)
    energy = (gain * (alone - mean)) ** 2
    assert carried == pytest.approx(energy[..., part].sum(-1) / energy.sum(-1))


def test_a_kernel_whose_channels_cancel_carries_everything() -> None:
    """If the mean is zero, nothing leaks into the other kernels' channels."""
    x = np.zeros((1, 1, 16))
    x[..., 8:12] = [3, -3, 1, -1]
    carried = measure.carried_shares(measure.normalised(x, np.ones(16)), CHANNELS)
    assert carried[:, 0, 0] == pytest.approx([0, 1, 0, 0])


def test_shares_by_hand() -> None:
    x = np.array([[[3.0, 0, 4, 0]]])
    assert measure.kernel_norms(x, (2, 2))[:, 0, 0] == pytest.approx([3, 4])
    assert measure.carried_shares(x, (2, 2))[:, 0, 0] == pytest.approx([9 / 25, 16 / 25])
    # mean 7/4; centred 5/4, -7/4, 9/4, -7/4
    squares = np.array([25, 49, 81, 49]) / 16
    carried = measure.carried_shares(measure.normalised(x, np.ones(4)), (2, 2))[:, 0, 0]
    assert carried == pytest.approx([squares[:2].sum() / squares.sum(), squares[2:].sum() / squares.sum()])
    caused = measure.caused_shares(x, (2, 2), np.ones(4))[:, 0, 0]
    assert caused == pytest.approx(np.array([3 * 5 / 4, 4 * 9 / 4]) / squares.sum())


def test_a_kernel_that_works_against_the_others_has_a_negative_share() -> None:
    x = np.array([[[6.0, -2, 1, 1]]])  # centred 4.5, -3.5, -0.5, -0.5: the second part lies below the mean
    down = measure.caused_shares(x, (2, 2), np.ones(4))[:, 0, 0]
    assert down == pytest.approx(np.array([6 * 4.5 + 2 * 3.5, -1]) / 33)


def test_a_token_of_zeros_is_shared_by_number_of_channels() -> None:
    x = np.zeros((1, 1, 16))
    even = np.array(CHANNELS) / 16
    assert measure.carried_shares(x, CHANNELS)[:, 0, 0] == pytest.approx(even)
    assert measure.caused_shares(x, CHANNELS, np.ones(16))[:, 0, 0] == pytest.approx(even)


def test_a_wrong_number_of_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="16 channels"):
        measure.kernel_norms(tokens(0), (8, 4, 2))


@pytest.mark.slow
def test_normalised_tokens_are_those_of_the_models_layer_norm(tiny_model) -> None:
    """`normalised` plus the LayerNorm's offset equals the output of the model's own LayerNorm."""
    model = tiny_model()
    with torch.no_grad():
        model.patch_embed.norm.weight.normal_(1, 0.2)
        model.patch_embed.norm.bias.normal_(0, 0.2)
    seen, _ = forward(model, torch.randn(3, 64, 96), ["patch_embed.concat", "patch_embed.out"])
    layer = layers.layer(model, 0)
    here = measure.normalised(seen["patch_embed.concat"], layer.gain, layer.eps) + layer.offset
    assert here == pytest.approx(seen["patch_embed.out"], abs=1e-5)


# ---------------------------------------------------------------- what reads the kernels


def test_read_shares_by_hand() -> None:
    qkv = np.zeros((12, 4))
    qkv[0:4, 0] = 1  # the query reads channel 0
    qkv[4:8, 3] = 2  # the key channel 3
    qkv[8:12] = 1  # the value all four equally
    found = measure.read_shares(qkv, np.ones(4), (2, 1, 1))
    assert found == pytest.approx(np.array([[1, 0, 0], [0, 0, 1], [0.5, 0.25, 0.25]]))
    with_gain = measure.read_shares(qkv, np.array([1, 1, 2, 0]), (2, 1, 1))
    assert with_gain[2] == pytest.approx([2 / 6, 4 / 6, 0])


# ---------------------------------------------------------------- ablations


@pytest.mark.parametrize(("stage", "kernel"), [(s, i) for s in range(4) for i in range(len(CEL_KERNELS[s]))])
def test_removing_a_kernel_equals_zeroing_its_convolution(tiny_model, stage: int, kernel: int) -> None:
    model, image = tiny_model(), torch.randn(3, 64, 96, generator=torch.Generator().manual_seed(1))
    point = layers.points(stage)[kernel]
    found = layers.knock_outs(model, image, [{point: 0.0}, {}], ["layers.3.blocks.1.out"])
    by_hand = deepcopy(model)
    if stage == 0:
        conv = by_hand.patch_embed.projs[kernel]
    else:
        conv = by_hand.layers[stage - 1].downsample.reductions[kernel]
    with torch.no_grad():
        conv.weight.zero_()
        conv.bias.zero_()
        wanted = by_hand(image[None])[0].numpy()
        plain = model(image[None])[0].numpy()
    assert found["logits"][0] == pytest.approx(wanted, abs=1e-6)
    assert found["logits"][1] == pytest.approx(plain, abs=1e-6)
    assert np.abs(wanted - plain).max() > 1e-5
    assert found["layers.3.blocks.1.out"].shape == (2, 2, 3, 128)


def test_replacing_a_kernel_by_its_own_response_changes_nothing(tiny_model) -> None:
    model, image = tiny_model(), torch.randn(3, 64, 64)
    own = {point: x[0] for point, x in layers.responses(model, [image]).items()}
    found = layers.knock_outs(model, image, [own, {}])["logits"]
    assert found[0] == pytest.approx(found[1], abs=1e-6)


def test_a_mean_replaces_a_kernel_at_every_token(tiny_model) -> None:
    model, image = tiny_model(), torch.randn(3, 64, 64)
    mean = np.arange(2.0)
    point = layers.points(0)[3]
    found = layers.knock_outs(model, image, [{point: mean}], [point])
    assert found[point].shape == (1, 2, 16, 16)
    assert (found[point][0].transpose(1, 2, 0) == mean).all()


def test_the_first_layer_run_alone_gives_the_same_responses(tiny_model) -> None:
    model, images = tiny_model(), [torch.randn(3, 64, 64) for _ in range(3)]
    alone, whole = layers.responses(model, images, (0,)), layers.responses(model, images, batch=2)
    for point, values in alone.items():
        assert values == pytest.approx(whole[point], abs=1e-5)


def test_prediction_changes_by_hand() -> None:
    before = np.log(np.array([0.5, 0.25, 0.25]))
    after = np.log(np.array([[0.25, 0.5, 0.25], [0.5, 0.25, 0.25]]))
    found = measure.prediction_changes(after, before)
    assert found["probability"] == pytest.approx([-0.25, 0])
    assert found["logit"] == pytest.approx([np.log(0.5), 0])
    assert found["winner"].tolist() == [1, 0]
    assert found["kl"] == pytest.approx([0.5 * 1 + 0.25 * -1, 0])
    other = measure.prediction_changes(after, before, 1)
    assert other["probability"] == pytest.approx([0.25, 0])
    assert other["logit"] == pytest.approx([np.log(2), 0])


def test_relative_change_by_hand() -> None:
    before = np.array([[[3.0, 4]], [[0, 2]]])
    after = np.array([[[3.0, 4]], [[0, 5]]])
    assert measure.relative_change(after, before)[:, 0] == pytest.approx([0, 1.5])


# ---------------------------------------------------------------- places, filters, patterns, cost


def test_strongest_positions_are_one_per_photo() -> None:
    maps = np.zeros((3, 2, 4))
    maps[0, 1, 3], maps[1, 0, 2], maps[1, 0, 1] = 5, 9, 8
    assert measure.strongest_positions(maps, 2) == [(1, 0, 2, 9.0), (0, 1, 3, 5.0)]


def test_the_mean_of_a_box_ignores_what_lies_outside() -> None:
    values = np.zeros((1, 10, 10))
    values[0, 5:, :5] = 2
    assert measure.box_mean(values, (0.5, 1), (0, 0.5)) == pytest.approx([2])
    assert measure.box_mean(values, (0, 1), (0, 1)) == pytest.approx([0.5])


@pytest.mark.parametrize("period", [4, 8, 16])
def test_the_spectrum_of_a_wave_peaks_at_its_frequency(period: int) -> None:
    x = np.arange(32)
    wave = np.cos(2 * np.pi * x / period)[None, None, None].repeat(32, 2)
    frequency, power = spectrum.radial_power(wave)
    assert power.sum() == pytest.approx(1)
    assert frequency[power.argmax()] == pytest.approx(1 / period, abs=1 / 64)


def test_a_single_pixel_has_a_flat_spectrum() -> None:
    frequency, power = spectrum.radial_power(np.ones((1, 3, 1, 1)))
    assert power == pytest.approx(np.full(32, 1 / 32))
    assert spectrum.mean_frequency(frequency, power) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="do not fit"):
        spectrum.radial_power(np.ones((1, 1, 80, 80)))


def test_filters_become_pictures_on_grey() -> None:
    weight = np.zeros((2, 3, 2, 2))
    weight[0, 0, 0, 0], weight[0, 2, 1, 1] = 2, -2
    images = spectrum.filter_images(weight)
    assert images[0, 0, 0].tolist() == [255, 128, 128]
    assert images[0, 1, 1].tolist() == [128, 128, 0]
    assert spectrum.image_sheet(images, 2, gap=1).shape == (2, 5, 3)


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_change_with_their_scale(name: str) -> None:
    small, large = pattern(name, 4, 64), pattern(name, 32, 64)
    assert small.shape == (64, 64, 3)
    assert small.dtype == np.uint8
    assert int(small.max()) - int(small.min()) > 150
    assert (small != large).any()


def test_patterns_repeat_at_the_scale_they_claim() -> None:
    line = pattern("grating", 16, 64, angle=0)[0, :, 0].astype(float)
    assert np.abs(np.fft.rfft(line - line.mean())).argmax() == 64 / 16
    disc = pattern("circle", 32, 64)[..., 0] / 255
    assert disc.sum() == pytest.approx(np.pi * 16**2, rel=0.01)
    ramp = pattern("edge", 32, 64, angle=0)[0, :, 0]
    assert ((ramp > 0) & (ramp < 255)).sum() == pytest.approx(32, abs=2)
    with pytest.raises(ValueError, match="there is no pattern"):
        pattern("stripes", 4)
    with pytest.raises(ValueError, match="positive"):
        pattern("dots", 0)


@pytest.mark.parametrize("stage", range(4))
def test_multiply_adds_agree_with_pytorchs_counter(stage: int) -> None:
    import cfviz

    model = cfviz.create_model("crossformer_nano", None)
    layer, counted = layers.layer(model, stage), cost(model, 64, 64)[f"cel.{stage}"].macs
    side = 64 // (4 * 2**stage)
    way = embedding_cost.embeddings(stage, layer.weights[0].shape[1], sum(layer.channels))[0]
    assert sum(layer.macs_a_token) * side**2 == way.macs * side**2 == counted
    assert way.channels == layer.channels


def test_other_embeddings_by_hand() -> None:
    cross, pvt, swin, pyramid = embedding_cost.embeddings(0, 3, 96)
    assert cross.macs == 3 * (16 * 48 + 64 * 24 + 256 * 12 + 1024 * 12)
    assert pvt.macs == swin.macs == 3 * 16 * 96
    assert pyramid.macs == 3 * 24 * (16 + 64 + 256 + 1024)
    assert embedding_cost.at_equal_cost(cross, cross.macs) == 96
    assert embedding_cost.at_equal_cost(pvt, cross.macs) == cross.macs // 48
