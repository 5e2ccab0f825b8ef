"""The page on two models: the link chooses them, numbers are their own, no claims on random weights."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from streamlit.testing.v1 import AppTest

from cfviz.models.others.opening import OTHERS
from cfviz.models.others.sides import open_side, time_ratio
from cfviz.models.weights.checkpoints import model_card
from cfviz.models.weights.errors import CheckpointError
from cfviz.ui.pages.compare import pair, tables
from cfviz.words import translator
from tests.conftest import at_rest

ROOT = Path(__file__).resolve().parents[2]


def page(**query: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=240)
    app.switch_page("pages/compare.py")
    for name, value in {"lang": "en", "open": "all", **query}.items():
        app.query_params[name] = value
    return app.run()


def html(app: AppTest) -> str:
    return "\n".join(block.proto.body for block in app.get("html"))


def finished(app: AppTest) -> AppTest:
    """Run the page until all background work has finished."""
    end = time.monotonic() + 120
    while any("hourglass" in text.value for text in app.markdown):
        assert time.monotonic() < end, "work beside the page does not end"
        at_rest()  # a run of the page costs as much as a step of the work
        app.run()
    return app


@pytest.mark.slow
def test_nano_and_its_twin_are_the_default() -> None:
    app = finished(page())
    assert not app.exception
    assert not app.warning
    assert app.selectbox(key="compare.a").value == "crossformer_nano"
    assert app.selectbox(key="compare.b").value == "crossformer_nano_rpb"
    for name in ("crossformer_nano", "crossformer_nano_rpb"):
        card = json.loads((ROOT / "assets" / "weights" / f"{name}.json").read_text("utf-8"))
        assert f"{100 * card['val']['top1']['value']:.1f}\u00a0%" in html(app)
        assert f"{card['parameters'] / 1e6:.2f} M" in html(app)
    said = "\n".join(text.value for text in app.markdown)
    assert "Linear CKA" in said


@pytest.mark.slow
def test_random_weights_get_no_prediction_and_no_similarity() -> None:
    app = page(size="160", other="pvt_v2_b0", stage="3", row="2", col="3")
    assert not app.exception
    assert "random weights" in app.warning[0].value
    captions = "\n".join(text.value for text in app.caption)
    assert "Random weights give no answer" in captions
    assert "before any training" in captions
    assert f"{OTHERS['pvt_v2_b0'].top1:.1f}\u00a0%" in html(app)
    said = "\n".join(text.value for text in app.markdown)
    assert "compared only where both models are trained" in said
    assert "Token (2, 3) after stage 3" in said
    assert app.button(key="official.get.pvt_v2_b0").label.startswith("Download timm")


@pytest.mark.slow
def test_another_size_keeps_the_place_of_the_photo() -> None:
    app = page(size="160", stage="1", row="30", col="11", of="80")
    assert "Token (15, 5) after stage 1" in "\n".join(text.value for text in app.markdown)


@pytest.mark.slow
def test_an_untrained_model_can_be_compared_with_itself() -> None:
    app = page(size="160", model="crossformer_tiny", other="crossformer_tiny")
    assert not app.exception
    assert len([button for button in app.button if "official.get" in str(button.key)]) == 1


@pytest.mark.slow
def test_the_choice_is_recorded_in_the_link() -> None:
    app = page()
    app.selectbox(key="compare.b").select("pvt_v2_b0").run()
    assert not app.exception
    other = app.query_params["other"]
    assert (other if isinstance(other, str) else other[0]) == "pvt_v2_b0"


@pytest.mark.slow
def test_a_download_without_a_network_ends_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> Path:
        raise CheckpointError("no_network", url="huggingface.co", detail="no route")

    monkeypatch.setattr(pair, "fetch_weights", fail)
    app = page(size="160", other="pvt_v2_b1")
    app.button(key="official.get.pvt_v2_b1").click().run()
    end = time.monotonic() + 30
    while not app.error:
        assert time.monotonic() < end
        app.run()
    assert not app.exception
    assert "could not be reached" in app.error[0].value
    assert any(button.label == "Try again" for button in app.button)


def test_timing_noise_gets_no_ratio() -> None:
    """0.45 times, then 1.20 times, both in bold."""
    steady = time_ratio(([1.0, 1.1, 1.0, 1.02, 1.0], [2.0, 2.2, 2.02, 2.0, 2.1]))
    assert steady.clear
    assert steady.median == pytest.approx(2.0, abs=0.1)
    assert not time_ratio(([1.0, 2.0, 1.0, 3.0, 1.0], [1.2, 1.0, 1.4, 1.3, 0.9])).clear
    assert not time_ratio(([1.0] * 5, [1.02, 0.98, 1.0, 1.01, 0.99])).clear, "equal models"
    load = [1.0, 3.0, 1.0, 2.0, 1.0]
    assert time_ratio((load, [2 * x for x in load])).median == pytest.approx(2), "load meets both of a round"


@pytest.mark.slow
def test_the_measured_calibration_is_in_the_table() -> None:
    ctx = SimpleNamespace(t=translator("en"))
    nano = open_side("crossformer_nano", 224)
    found = model_card("crossformer_nano")["calibration"]
    said = tables.calibration_error(ctx, nano)
    for number in (100 * found["ece"][0], 100 * found["ece"][1]):
        assert f"{number:.1f}\u00a0%" in said
    assert f"{found['temperature']:.2f}" in said
    assert f"{found['tested_on']:,}" in said
