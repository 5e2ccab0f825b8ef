"""How much a probability is worth, on logits whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from cfviz.data.samples import gallery
from cfviz.models.weights.checkpoints import model_card
from cfviz.run import inspect, load
from cfviz.stats import softmax
from cfviz.training.measure.calibration import (
    calibration,
    calibration_error,
    fitted_temperature,
    negative_log_likelihood,
    novelty,
)


def drawn(n: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their softmax at a temperature."""
    rng = np.random.default_rng(1)
    logits = 2 * rng.normal(size=(n, 5))
    raised = np.exp(logits / temperature)
    ends = (raised / raised.sum(1, keepdims=True)).cumsum(1)
    return logits, (rng.random((n, 1)) > ends).sum(1)


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.8])
def test_the_temperature_of_drawn_labels_is_found(temperature: float) -> None:
    logits, labels = drawn(8000, temperature)
    found = fitted_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.06)
    near = (negative_log_likelihood(logits, labels, t) for t in (0.9 * found, 1.1 * found))
    assert negative_log_likelihood(logits, labels, found) < min(near)
    assert calibration_error(logits, labels, found) < 0.02


def test_the_table_counts_every_photo_and_the_halves_share_none() -> None:
    logits, labels = drawn(4000, 0.6)
    found = calibration(logits, labels)
    assert found["fitted_on"] + found["tested_on"] == 4000
    assert sum(one["photos"] for one in found["bins"]) <= 4000
    assert all(one["low"] <= one["right"] <= one["high"] for one in found["bins"])
    assert found["ece"][1] < found["ece"][0]
    assert found["nll"][1] < found["nll"][0]
    sure = found["bins"][-2]
    assert sure["right"] > sure["to"], "labels drawn at a low temperature are right more often than said"


def test_a_score_that_knows_its_own_separates_them_and_an_equal_one_does_not() -> None:
    rng = np.random.default_rng(2)
    known, strange = rng.normal(size=(400, 5)), rng.normal(size=(400, 5)) - 9
    for found in novelty(known, {"far": strange, "same": rng.normal(size=(400, 5))}).values():
        assert found["sets"]["far"]["auroc"] == 1
        assert found["sets"]["far"]["accepted"] == 0
        assert found["sets"]["same"]["auroc"] == pytest.approx(0.5, abs=0.06)
        assert found["sets"]["same"]["accepted"] / 400 == pytest.approx(0.95, abs=0.04)


@pytest.mark.parametrize("name", ["crossformer_nano", "crossformer_nano_rpb"])
def test_the_cards_of_the_bundled_weights_hold_it(name: str) -> None:
    card = model_card(name)
    found = card["calibration"]
    assert found["fitted_on"] + found["tested_on"] == card["val"]["photos"]
    right = round(sum(one["photos"] * one["right"] for one in found["bins"]))
    rest = card["val"]["photos"] - sum(one["photos"] for one in found["bins"])
    assert 0 <= card["val"]["top1"]["correct"] - right <= rest


@pytest.mark.slow
@pytest.mark.parametrize("name", ["crossformer_nano", "crossformer_nano_rpb"])
def test_how_sure_it_is_of_other_photos_is_what_the_card_says(name: str) -> None:
    model = load(name)
    seen = [inspect(photo.typed, model, watch=[]) for photo in gallery()]
    sure = softmax(np.stack([one.logits for one in seen if one.shown == ()])).max(1)
    said = model_card(name)["calibration"]["others"]
    assert len(sure) == said["pictures"] == 14
    np.testing.assert_allclose([np.median(sure), sure.max()], [said["median"], said["most"]], atol=1e-3)
