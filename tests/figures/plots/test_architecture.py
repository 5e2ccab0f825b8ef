"""The figure of the whole model: colours computed from features, numbers from counts."""

from __future__ import annotations

import numpy as np
import pytest

from cfviz.figures.plots.architecture import anatomy, feature_colours, readable
from cfviz.models import create_model
from cfviz.models.probes.cost import cost
from cfviz.run import load
from cfviz.words import NO_BREAK


def test_similar_features_get_similar_colours() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2, 12))
    features = np.broadcast_to(left, (8, 8, 12)).copy()
    features[:, 4:] = right
    colours = feature_colours(features + 1e-3 * rng.standard_normal(features.shape))
    assert colours.shape == (8, 8, 3)
    assert colours.dtype == np.uint8
    assert np.ptp(colours[:, :4, 0].astype(int)) < 10
    assert abs(int(colours[0, 0, 0]) - int(colours[0, 7, 0])) > 200


def test_colours_do_not_depend_on_the_sign_of_features_basis() -> None:
    features = np.random.default_rng(1).gamma(2.0, size=(7, 7, 5))
    turned = features[..., ::-1].copy()  # the same tokens in another basis
    assert np.abs(feature_colours(features).astype(int) - feature_colours(turned).astype(int)).max() <= 1


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_fewer_than_three_channels_are_enough(channels: int) -> None:
    assert feature_colours(np.random.default_rng(2).random((4, 6, channels))).shape == (4, 6, 3)


def test_constant_features_are_no_error() -> None:
    assert np.ptp(feature_colours(np.ones((4, 4, 8)))) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "giga"), [("crossformer_tiny", 2.9), ("crossformer_small", 4.9), ("crossformer_base", 9.2)]
)
def test_multiply_adds_agree_with_the_paper(name: str, giga: float) -> None:
    assert cost(create_model(name, weights=None))["total"].macs / 1e9 == pytest.approx(giga, abs=0.06)


@pytest.mark.slow
def test_the_parts_add_up_to_the_whole() -> None:
    model = load("crossformer_nano")
    parts = cost(model, 160, 192)
    total = parts.pop("total")
    assert sum(part.params for part in parts.values()) == total.params
    assert total.params == sum(p.numel() for p in model.parameters())
    assert sum(part.macs for part in parts.values()) == total.macs


@pytest.mark.slow
def test_anatomy_describes_the_model() -> None:
    model = load("crossformer_nano")
    dims = [info["num_chs"] for info in model.feature_info]
    stages = anatomy(model.groupings(224, 224), dims, model.num_heads, cost(model))
    assert [(s["H"], s["W"], s["stride"]) for s in stages] == [
        (56, 56, 4),
        (28, 28, 8),
        (14, 14, 16),
        (7, 7, 32),
    ]
    assert [len(s["blocks"]) for s in stages] == list(model.depths)
    assert stages[0]["blocks"][1] == {"kind": "lda", "Gh": 7, "Gw": 7, "I": 8, "padded": False}
    assert stages[3]["blocks"][0]["kind"] == "sda"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (7, "7"),
        (999, "999"),
        (999.6, "1.00 k"),
        (83310, "83.3 k"),
        (852389250, "852 M"),
        (4906063692, "4.91 G"),
    ],
)
def test_counts_have_three_significant_digits(count: float, text: str) -> None:
    assert readable(count) == text.replace(" ", NO_BREAK)


def test_fewer_tokens_than_channels_give_the_same_colours() -> None:
    features = np.random.default_rng(3).standard_normal((5, 6, 8)) * np.arange(1, 9)
    wide = np.concatenate([features, np.zeros((5, 6, 40))], 2)
    assert np.abs(feature_colours(features).astype(int) - feature_colours(wide).astype(int)).max() <= 1
