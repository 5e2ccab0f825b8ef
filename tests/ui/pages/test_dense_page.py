"""The page on detectors and segmenters, with small models in place of the bundled ones."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from cfviz.figures.live.dense import View
from cfviz.measured import dense as measured
from cfviz.models.dense.model import RetinaNet, SemanticFPN
from cfviz.provenance import Provenance, Training
from cfviz.ui.compute import dense as models
from cfviz.ui.figures import dense as answer
from cfviz.ui.pages.dense import view
from cfviz.words import translator

Make = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[3]
NAMES = {"semantic_fpn_crossformer_nano": SemanticFPN, "retinanet_crossformer_nano": RetinaNet}


@pytest.fixture
def run(tiny_model: Make, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A function that runs the page as if the bundled models were these small ones."""
    made: dict[str, Any] = {}

    def model(name: str, device: str) -> Any:
        if name not in made:
            kind = NAMES[name]
            small = {"channels": 8, "hidden": 8} if kind is SemanticFPN else {"channels": 8}
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                net = kind(tiny_model(), num_classes=21 if kind is SemanticFPN else 20, **small).eval()
            if kind is RetinaNet:
                net.bbox_head.threshold, net.bbox_head.most = 0.0, 6
            net.sides, net.pretrained_cfg = (96, 64), {"architecture": name}
            told = Training("run", "scenes", (1,))
            dataset = "scenes" if kind is SemanticFPN else "imagenette20"
            net.provenance = Provenance("bundled", "0" * 64, told.sentence(), dataset, told)
            made[name] = net
        return made[name]

    monkeypatch.setattr(models, "names", lambda: list(NAMES))
    monkeypatch.setattr(models, "source_of", lambda name: "bundled")
    monkeypatch.setattr(models, "model", model)

    def go(**query: str) -> AppTest:
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
        app.switch_page("pages/dense.py")
        for name, value in query.items():
            app.query_params[name] = value
        app.run()
        assert not app.exception
        return app

    return go


def shown(app: AppTest) -> str:
    return " ".join(box.value for box in app.markdown)


def said(app: AppTest) -> str:
    return " ".join(box.value for box in [*app.caption, *app.info, *app.error])


@pytest.mark.slow
@pytest.mark.parametrize("lang", ["en", "zh-Hant"])
def test_both_models_answer_and_explain_what_is_held(run: Make, lang: str) -> None:
    for query in (
        {"row": "20", "col": "30", "held": "1", "view": "1"},
        {"net": "retinanet_crossformer_nano", "box": "2", "held": "1", "threshold": "5"},
    ):
        app = run(lang=lang, **query)
        assert not app.error
        assert len(app.header) == 1
        assert (translator(lang)("dense.attention_all") in shown(app)) == ("view" in query)
        assert any("answer.why(" in box.value for box in app.code), "the code explains what is held"
        held = app.query_params
        assert all(held[name] in (value, [value]) for name, value in query.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "query"),
    [
        ("semantic_fpn", {"photo": "berlin-cathedral", "scene": "0", "row": "20", "col": "30", "view": "2"}),
        ("semantic_fpn", {"scene": "2", "row": "50", "col": "60"}),
        ("retinanet", {"photo": "berlin-cathedral", "scene": "0", "box": "0", "threshold": "10"}),
        ("retinanet", {"scene": "1", "box": "1", "view": "1", "threshold": "10"}),
    ],
)
def test_the_shown_code_runs_as_it_stands_and_prints_what_is_on_screen(
    net: str, query: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    app.switch_page("pages/dense.py")
    for name, value in {"lang": "en", "held": "1", "net": f"{net}_crossformer_nano", **query}.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    (code,) = [box.value for box in app.code if "explain(" in box.value]
    known: dict[str, Any] = {}
    exec(compile(code, "shown", "exec"), known)
    printed = capsys.readouterr().out.splitlines()
    view, found = int(query.get("view", 0)), known["found"]
    kept = (answer.seen if view else answer.first)._kept
    (seen,) = [one for (one,) in kept.values() if same(one.answer.views[view], found)]
    names = known["answer"].names
    if net == "retinanet":
        least = np.float32(int(query["threshold"]) / 100)
        shown = list(zip(found.labels, found.scores, strict=True))
        wanted = [f"{names[k]} {score:.1%}" for k, score in shown if score >= least]
        assert len(wanted) > 0
        assert [line.partition("%")[0] + "%" for line in printed[:-1]] == wanted
    else:
        regions = seen.answer.views[view].regions
        shares = zip(regions.labels, regions.shares, strict=True)
        assert printed[:-1] == [f"{names[k]} {share:.1%} of the photo" for k, share in shares]
    why = known["why"]
    (kept,) = [one for one in kept_reasons() if one.logit == pytest.approx(why.logit, abs=1e-4)]
    for mine, theirs in zip(why.maps, kept.maps, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-5)


def same(a: View, b: View) -> bool:
    """Whether two views hold the same answer."""
    pairs = [(getattr(a, name), getattr(b, name)) for name in ("labels", "boxes", "scores")]
    return all(x is y is None or np.array_equal(x, y) for x, y in pairs)


def kept_reasons() -> list[Any]:
    """What the page has explained so far."""
    return [one for (told,) in list(answer.reason_for._kept.values()) for one in told]


@pytest.mark.slow
def test_a_reader_of_the_first_answer_gets_the_others_after_it(
    run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed: list[tuple[Any, ...]] = []

    def counted(name: str) -> None:
        real = getattr(view, name)
        told = lambda *given: (packed.append((name, *given[2:-1])), real(*given))[1]  # noqa: E731
        monkeypatch.setattr(view, name, told)

    for name in ("packed_message", "packed_others", "packed_reasons"):
        counted(name)
    app = run(photo="lemurs")
    assert packed == [("packed_message", False)]
    source = app.session_state[view.START][0][0]
    for asked, follows in ((f"{view.NAME}.views", 1), (view.NAME, 2)):
        packed.clear()
        app.session_state[f"cfviz.asked.{asked}"] = source  # as the browser does once it has the figure
        app.run()
        rest = [("packed_others",), ("packed_reasons",)][:follows]
        assert packed == [("packed_message", False), *rest], "one is asked for after the other"
    packed.clear()
    assert not run(photo="lemurs", view="2").exception
    assert packed == [("packed_message", True)], "who looks at another view waits for all of them"


@pytest.mark.slow
def test_a_composed_scene_is_judged_by_what_is_known_of_it(run: Make) -> None:
    assert "Mean IoU" not in said(run(scene="2", lang="en")), "labels are known at the scene's own size only"
    models.model(next(iter(NAMES)), "cpu").sides = (448, 224)
    for kept in (answer._maps, answer.first, answer.seen, view.packed_message):
        kept.clear()
    assert "Mean IoU on this scene" in said(run(scene="2", lang="en"))
    told = said(run(scene="1", net="retinanet_crossformer_nano", lang="en"))
    assert "objects are found" in told
    assert "none of these photos was used in training" in told


@pytest.mark.slow
def test_a_place_that_does_not_exist_is_left_out(run: Make) -> None:
    app = run(row="9999", col="1", box="77", held="1", view="9", show="44", sort="x", threshold="1000")
    assert not app.error
    assert "Hold a box or a pixel" in said(app)


@pytest.mark.slow
def test_a_photo_that_shows_none_of_the_classes_is_called_so(run: Make) -> None:
    assert "none of the 20 classes" in said(run(photo="horses", lang="en"))
    assert "A natural photo" in said(run(photo="berlin-cathedral", scene="0", lang="en"))


def test_without_learned_weights_the_page_refuses_in_one_sentence(
    run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "names", list)
    app = run(lang="en")
    (error,) = app.error
    assert "random weights" in error.value


@pytest.mark.slow
def test_detections_are_given_in_cocos_format_in_pixels_of_the_photo(run: Make) -> None:
    run(net="retinanet_crossformer_nano")
    from cfviz.data.images import load_image
    from cfviz.models.dense.pipeline import find, fit
    from cfviz.ui.figures.dense import DenseSubject

    net = models.model("retinanet_crossformer_nano", "cpu")
    image = load_image("gallery:horses").image
    subject = DenseSubject(net, image, fit(image, "detect", net.sides), ["x"] * 20, "coco test")
    found = find(net, image)
    told = json.loads(view.coco_json(subject, 0.0, 0))
    assert [one["category_id"] - 1 for one in told] == found.labels.tolist()
    x1, y1, x2, y2 = found.boxes[0].tolist()
    assert told[0]["bbox"] == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=0.01)


@pytest.mark.slow
def test_who_has_chosen_nothing_sees_a_scene_and_a_chosen_photo_is_shown(run: Make) -> None:
    """The page opened with a cathedral that the detector calls a garbage truck."""
    assert run(lang="en").session_state["w.dense.scene"] == 1
    assert run(lang="en", photo="lemurs").session_state["w.dense.scene"] == 0
    assert run(lang="en", scene="0").session_state["w.dense.scene"] == 0


@pytest.mark.slow
def test_a_file_says_in_plain_words_what_its_answer_is_worth(
    run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had Markdown's backslashes, spoke of a sidebar, and did not say how much of a scene was found."""
    kept: dict[str, Any] = {}
    button: Any = view.st.download_button
    monkeypatch.setattr(
        view.st, "download_button", lambda *a, **kw: (kept.update({a[2]: a[1]}), button(*a, **kw))[1]
    )
    app = run(scene="1", net="retinanet_crossformer_nano", lang="en", threshold="5", view="1")
    (told, code) = re.findall("<pre>(.*?)</pre>", kept["cfviz-dense.html"]().decode(), re.DOTALL)
    assert "\\" not in told
    assert "sidebar" not in told
    assert "Without stage 2, " in told
    assert "Without stage 2, " in said(app)
    assert "answer = explain(photo, " in code


@pytest.mark.slow
def test_nothing_is_promised_of_a_model_that_is_too_large_for_it(
    run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page asked for a click that computes what a pixel is based on, and for a stage to leave out."""
    monkeypatch.setattr(measured, "quick", lambda *_: False)
    slow = shown(run(lang="en", scene="0", photo="horses"))
    assert "Point at a pixel: the class, and how sure the model is. Click to hold it and to compute" in slow
    monkeypatch.setattr(measured, "MOST_EXPLAINED", 0)
    app = run(lang="en", scene="0", photo="lemurs")
    assert "and how sure the model is. Click to hold it." in shown(app)
    assert "without any one stage" not in shown(app)
    assert "too large to be explained" in said(app)
    assert "Hold a box or a pixel" not in said(app)
