"""Gradients through a shared model are right and leave nothing behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cfviz.hooks import capture
from cfviz.models.probes.gradients import (
    attention_gradients,
    blurred,
    class_probability,
    integrated_gradients,
    receptive_field,
    replaced,
    shuffled,
)


@pytest.fixture
def photo() -> torch.Tensor:
    return torch.randn(3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
def test_nothing_is_left_on_the_model(tiny_model, photo) -> None:
    model = tiny_model()
    before = model(photo[None])
    receptive_field(model, photo, "layers.1.blocks.1.out", 2, 3)
    attention_gradients(model, photo, 0)
    integrated_gradients(model, photo, 0, steps=4)
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(model(photo[None]), before)


def test_the_receptive_field_of_the_first_layer_is_its_largest_kernel(tiny_model, photo) -> None:
    """Token (3, 4) of the embedding sees 32 x 32 pixels from (3*4 - 14, 4*4 - 14), cropped at the border."""
    seen = receptive_field(tiny_model(), photo, "patch_embed.out", 3, 4) > 0
    rows, cols = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    assert (rows[0], rows[-1] + 1, cols[0], cols[-1] + 1) == (0, 30, 2, 34)


def test_layers_after_the_token_are_not_computed(tiny_model, photo) -> None:
    model, ran = tiny_model(), []
    first = model.get_submodule("layers.0.blocks.0")
    for module in (first, model.get_submodule("layers.1.blocks.0"), model.norm):
        module.register_forward_pre_hook(lambda module, _: ran.append(module))
    found = receptive_field(model, photo, "layers.0.blocks.0.out", 2, 3)
    assert ran == [first]
    x = photo[None].clone().requires_grad_()
    with capture(model, "layers.0.blocks.0.out", graph=True) as seen:
        model(x)
    (whole,) = torch.autograd.grad(seen["layers.0.blocks.0.out"][0, 2, 3].square().sum() / 2, x)
    assert np.array_equal(found, whole[0].abs().sum(0).numpy())


def test_a_missing_token_is_refused_by_name(tiny_model, photo) -> None:
    with pytest.raises(ValueError, match=r"no token \(99, 0\)"):
        receptive_field(tiny_model(), photo, "layers.0.blocks.0.out", 99, 0)


def test_attention_gradients_predict_a_small_change(tiny_model, photo) -> None:
    """A small change of one block's attention changes the logit by gradient times change."""
    from cfviz.hooks import edit

    model = tiny_model()
    probs, slope = attention_gradients(model, photo, 2)["layers.1.blocks.0.attn.probs"]
    move = 1e-2 * np.random.default_rng(0).normal(size=probs.shape).astype(np.float32)
    with torch.no_grad():
        before = model(photo[None])[0, 2]
        with edit(model, {"layers.1.blocks.0.attn.probs": lambda p: p + torch.from_numpy(move)}):
            after = model(photo[None])[0, 2]
    assert float(after - before) == pytest.approx(float((move * slope).sum()), rel=0.05, abs=1e-6)


@pytest.mark.slow
def test_integrated_gradients_are_complete(tiny_model, photo) -> None:
    given, missing = integrated_gradients(tiny_model(), photo, 1, steps=32)
    assert given.shape == (64, 96)
    assert missing < 0.05


def test_class_probabilities_are_the_same_in_batches(tiny_model, photo) -> None:
    model, images = tiny_model(), torch.stack([photo, photo.flip(-1), -photo])
    with torch.no_grad():
        whole = model(images).softmax(-1)[:, 3].numpy()
    assert class_probability(model, images, 3, batch=2) == pytest.approx(whole, rel=1e-5)


def test_replacing_affects_only_the_masked_pixels() -> None:
    image, other = torch.ones(3, 2, 2), torch.zeros(3, 2, 2)
    masks = np.array([[[True, False], [False, False]]])
    assert replaced(image, other, masks)[0, 0].tolist() == [[0, 1], [1, 1]]


def test_blurring_keeps_the_mean_colour_and_size(photo) -> None:
    flat = torch.full((3, 40, 50), 0.7)
    assert blurred(flat) == pytest.approx(flat)
    assert blurred(photo).shape == photo.shape
    assert blurred(photo).std() < 0.1 * photo.std()


@pytest.mark.slow
def test_shuffling_weights_keeps_their_values_and_loses_the_answer(tiny_model, photo) -> None:
    model = tiny_model()
    copy = shuffled(model)
    for mine, theirs in zip(model.parameters(), copy.parameters(), strict=True):
        assert torch.equal(mine.flatten().sort().values, theirs.flatten().sort().values)
    assert not torch.allclose(model(photo[None]), copy(photo[None]))
    assert torch.equal(shuffled(model)(photo[None]), copy(photo[None]))
