"""The lab: the link decides what is changed, and the numbers are those of `apply`."""

from __future__ import annotations

import threading
from pathlib import Path
from time import monotonic
from urllib.parse import quote

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from cfviz.analysis.lab import answer_changes, attention_received, by_magnitude
from cfviz.data.samples import sample
from cfviz.models.interventions.apply import apply
from cfviz.models.interventions.effects import effects, parts
from cfviz.models.interventions.language import from_url
from cfviz.run import inspect, load
from cfviz.stats import softmax
from cfviz.ui.pages.lab import experiment, verdict
from cfviz.ui.session import queue
from tests.conftest import at_rest

ROOT = Path(__file__).resolve().parents[2]


def page(**query: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=180)
    app.switch_page("pages/lab.py")
    for name, value in {"lang": "en", "size": "160", "open": "all", **query}.items():
        app.query_params[name] = value
    return app.run()


def measured(app: AppTest) -> AppTest:
    """Run the page until every part's effect is measured."""
    end = monotonic() + 120
    while any("hourglass" in text.value for text in app.markdown):
        assert monotonic() < end
        at_rest()  # a run of the page costs as much as a piece of the ranking
        app.run()
    return app


def said(app: AppTest) -> str:
    return "\n".join(text.value for text in app.markdown)


@pytest.mark.slow
def test_the_link_decides_and_the_numbers_are_those_of_apply() -> None:
    word = "2.1.block-zero_~3.1.block-zero_1.2.kind-sda"
    assert quote(word, safe="~") == word
    app = page(do=word)
    assert not app.exception
    assert not app.error
    model, photo = load("crossformer_nano"), sample("berlin-cathedral").path
    plain = inspect(photo, model, 160)
    with apply(model, from_url(word)):
        changed = inspect(photo, model, 160)
    first = plain.top(1)[0][0]
    moved = f"{changed.logits[first] - plain.logits[first]:+.2f}".replace("-", "−")
    assert moved in said(app)
    known = [one.value for one in app.caption if "The photo does show this" in one.value]
    assert [one.startswith("About the prediction before the changes: ") for one in known] == [True]
    assert "Which part matters most" in "\n".join(box.label for box in app.expander)


@pytest.mark.slow
def test_the_page_does_not_wait_for_the_ranking() -> None:
    at_rest()  # what an earlier test began would be counted
    gate, calls = threading.Event(), []

    def slow(model: object, x: object, changes: list, *rest: object, **options: object) -> np.ndarray:
        calls.append(len(changes))
        with queue.release_turn():
            assert gate.wait(20)
        return effects(model, x, changes, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "effects", slow)
        app = page(do="", photo="giant-panda")  # the page completes while the first piece is held up
        assert not app.exception
        assert "Nothing is changed yet" in said(app)
        assert "hourglass" in said(app)
        app.query_params["do"] = "2.1.h1-zero"  # a click does not start the work again
        app.run()
        assert "hourglass" in said(app)
        assert len(calls) == 1
        gate.set()
        measured(app)
    assert not app.exception
    assert len(calls) == -(-sum(calls) // experiment.PIECE)  # every piece is computed once
    model = load("crossformer_nano")
    assert sum(calls) == len(parts(model, "zero", (160, 160)))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["mean", "replace"])
def test_means_and_the_other_photo_are_computed_in_the_background(how: str) -> None:
    app = measured(page(do="", how=how))
    assert not app.exception
    assert len(app.code) > len(page(do="", how=how, photo="bison").code)  # the ranking has its own code


@pytest.mark.slow
def test_changes_that_do_not_fit_are_reported_and_left_out() -> None:
    app = page(do="nonsense_9.1.h1-zero_2.1.mlp-zero_1.2.I-1000_1.1.I-1000_1.1.kind-lda_1.1.I-2")
    assert not app.exception
    assert len(app.info) == 4
    assert "stage is 8" in app.info[1].value
    assert all(r"49\,000\,000 tokens" in info.value for info in app.info[2:])  # block 1.1 once it is LDA


@pytest.mark.slow
def test_it_opens_with_the_model_as_trained_and_everything_but_the_result_closed() -> None:
    """It opened with a change that nobody had asked for, and was 4,500 px high."""
    app = page(open="")
    assert not app.exception
    assert app.query_params["do"] in ("none", ["none"]), "so that Back leads here again"
    assert "Nothing is changed yet" in said(app)
    assert [bool(box.markdown) for box in app.expander] == [False] * len(app.expander)
    assert len(app.expander) == 8
    app.query_params["do"] = "1.k1-zero"
    assert "Nothing is changed yet" not in said(app.run())
    app.query_params["do"] = "none"
    assert "Nothing is changed yet" in said(app.run())
    assert not app.info, "the word for an empty list is not a part"


def test_the_result_shows_the_likeliest_classes_before_or_after_and_the_one_to_explain() -> None:
    before = np.array([0.6, 0.2, 0.1, 0.05, 0.03, 0.02])
    after = np.array([0.1, 0.05, 0.03, 0.12, 0.0, 0.7])
    assert verdict.shown_classes(before, after) == [5, 3, 0, 1]
    assert verdict.shown_classes(before, after, 4) == [5, 0, 1, 4]
    assert verdict.shown_classes(before, after, 0) == [5, 3, 0, 1]
    assert verdict.shown_classes(before[:2], after[:2]) == [0, 1]


@pytest.mark.slow
def test_single_heads_agree_with_apply() -> None:
    app = page(do="1.2.h1-zero", heads="3", at="first")
    assert not app.exception
    model, photo, point = (
        load("crossformer_nano"),
        sample("berlin-cathedral").path,
        "layers.2.blocks.0.attn.probs",
    )
    before = inspect(photo, model, 160, point)
    with apply(model, from_url("1.2.h1-zero")):
        after = inspect(photo, model, 160, point)
    moved = [
        np.abs(
            attention_received(after[point][:, h : h + 1], after.grouping(2, 0))
            - attention_received(before[point][:, h : h + 1], before.grouping(2, 0))
        ).mean()
        for h in range(12)
    ]
    best = int(np.argmax(moved))
    assert f"Head {best + 1} changed most, by {moved[best]:.2f}" in said(app)


def test_parts_are_ranked_by_probability_and_a_logit_that_changes_nothing_comes_last() -> None:
    """A part came first whose loss left the answer at 99.2 %: its logit fell, and all others with it."""
    logits = np.array([[5.0, -2.0], [8.0, 7.0]], np.float32)
    before = np.array([10.0, 3.0], np.float32)
    moved, probs, winners = answer_changes(logits, before)
    ranking = experiment.Ranking((), logits, moved, False, probs, winners, 0.0, 0.0)
    assert by_magnitude(ranking.shown("logit", before, 0)).tolist() == [0, 1]
    assert by_magnitude(ranking.shown("probability", before, 0)).tolist() == [1, 0]
    points = 100 * (softmax(logits[1])[0] - softmax(before)[0])
    assert ranking.shown("probability", before, 0)[1] == pytest.approx(points)
    assert ranking.shown("probability", before, 1)[1] == pytest.approx(-points), "two classes share the whole"
    assert ranking.shown("logit", before, 1).tolist() == [-5, 4]


@pytest.mark.slow
def test_numbers_too_coarse_to_add_up_are_refused_in_a_sentence() -> None:
    app = page(open="parts", dtype="bfloat16")
    assert not app.exception
    assert ["too coarse" in info.value for info in app.info] == [True]


@pytest.mark.slow
def test_what_the_model_computes_is_measured_and_its_onnx_file_is_offered() -> None:
    app = measured(page(open="computes", do="none", size="64"))
    assert not app.exception
    assert "of the time is in stage" in said(app)
    assert any("while every operation is timed" in caption.value for caption in app.caption)
    assert any("ONNX" in str(one.proto) for one in app.get("download_button"))


@pytest.mark.slow
def test_missing_packages_of_an_onnx_file_are_named_in_the_readers_language(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cfviz.ui.figures.operations.missing_packages", lambda: ["onnx", "onnxscript"])
    app = measured(page(open="computes", do="none", size="64", lang="zh-Hant"))
    assert any("ONNX 檔還需要這些套件：`pip install onnx onnxscript`" in one.value for one in app.caption)
    assert not any("ONNX" in str(one.proto) for one in app.get("download_button"))
