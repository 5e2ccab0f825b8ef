"""Every page runs in both languages, from good and bad links."""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from cfviz.data import images
from cfviz.data.labels import labels
from cfviz.models.crossformer import CrossFormer, origin
from cfviz.provenance import Provenance
from cfviz.ui.compute import background, cache, models
from cfviz.ui.pages.lab import experiment
from cfviz.ui.session.plain import plain
from cfviz.ui.shell import frame
from cfviz.words import unbroken

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["home", *sorted(path.stem for path in (ROOT / "pages").glob("[!_]*.py"))]


def run(page: str, **query: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    for name, value in query.items():
        app.query_params[name] = value
    if page != "home":
        app.switch_page(f"pages/{page}.py")
        for name, value in query.items():
            app.query_params[name] = value
    return app.run()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "photo", "forwards"),
    [("home", "coffee", 1), ("attention", "astronaut", 1), ("lab", "jaguars", 1), ("compare", "horses", 2)],
)
def test_another_photo_is_fitted_once_and_a_model_sees_it_once(
    page: str, photo: str, forwards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "in_pieces", lambda *_: None)  # the lab's parts are measured beside it
    app = run(page, size="96", photo="cat")
    seen = Counter[str]()

    def count(name: str, made: Any) -> Callable[..., Any]:
        return lambda *args, **more: (seen.update([name]), made(*args, **more))[1]

    monkeypatch.setattr(cache, "prepare", count("fitted", cache.prepare))
    monkeypatch.setattr(images, "normalisation", count("any fitted", images.normalisation))
    monkeypatch.setattr(CrossFormer, "forward", count("forwards", CrossFormer.forward))
    app.selectbox(key="w.photo").select(photo).run()
    assert not app.exception
    assert seen == {"fitted": 1, "any fitted": 1, "forwards": forwards}


def first(values: list[str] | str) -> str:
    return values if isinstance(values, str) else values[0]


@pytest.mark.parametrize("lang", ["en", "zh-Hant"])
@pytest.mark.parametrize("page", PAGES)
def test_every_page_runs(page: str, lang: str) -> None:
    app = run(page, lang=lang)
    assert not app.exception
    assert not app.error
    assert len(app.title) == 1
    chinese = any("\u4e00" <= letter <= "\u9fff" for letter in app.title[0].value)
    assert chinese == (lang == "zh-Hant")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_page_runs_on_a_rectangle(page: str) -> None:
    app = run(page, size="96x320", mode="pad" if page == "predict" else "crop", centre="0.2,0.5")
    assert not app.exception
    assert not app.error
    assert not app.info or all("link_off" not in box.icon for box in app.info)
    assert (first(app.query_params["size"]), first(app.query_params["centre"])) == ("96x320", "0.2,0.5")
    assert app.selectbox(key="w.size").value == (96, 320)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["home", "predict"])
def test_figures_stay_in_place_when_the_page_is_drawn_again(page: str) -> None:
    """While results were new a notice stood among the figures; without it, all were mounted anew."""
    app = run(page, size="96")
    before = [(place, type(child)) for place, child in app.main.children.items()]
    app.run()
    assert [(place, type(child)) for place, child in app.main.children.items()] == before


@pytest.mark.slow
def test_an_input_that_needs_too_much_memory_is_refused_in_one_sentence_before_it_is_computed() -> None:
    refused = (("compare", "800x1216", "too large for this page"), ("predict", "2048", "is too large here"))
    for page, size, said in refused:
        app = run(page, size=size, lda="whole")
        assert not app.exception
        (box,) = app.error
        assert said in box.value
        drawn = "".join(one.proto.body for one in app.get("html"))
        assert '<p class="cf-computing"' not in drawn, "nothing is being computed"


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", ["home", "predict", "attention", "embedding", "position_bias", "lab", "compare", "dense"]
)
def test_a_page_drawn_again_takes_no_checksums_of_the_weights(
    page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take 4 ms for the bundled weights, a forward's time for large ones; `dense` took them 11 times."""
    app, taken = run(page, size="96", open="all"), []
    monkeypatch.setattr(origin, "_checksums", lambda model: taken.append(model) or ())
    app.run()
    assert not app.exception
    app.query_params["photo"] = "lemurs"
    app.run()  # nor those of a prediction
    assert not app.exception
    assert not taken


@pytest.mark.parametrize("page", PAGES)
def test_bad_links_get_a_notice(page: str) -> None:
    app = run(page, model="nope", photo="nope", size="1e9", lang="xx", dtype="int3")
    assert not app.exception
    assert sum("link_off" in box.icon for box in app.info) == 5
    assert app.selectbox(key="w.model").value == "crossformer_nano"
    assert app.selectbox(key="w.size").value == 224


def test_a_notice_on_a_link_stays_when_a_result_draws_the_page_again() -> None:
    """The lab's ranking was ready at once: the page was drawn again, and nobody saw the notice."""

    def script() -> None:
        import streamlit as st

        from cfviz.ui.session import state

        settings, notes = state.current(state.Settings(), ["crossformer_nano"], ["cat"], "lab")
        state.write_link(settings, "lab")
        for note in notes:
            st.info(note.key)
        if not st.session_state.get("ready"):
            st.session_state["ready"] = True
            state.redraw()

    app = AppTest.from_function(script)
    app.query_params["model"] = "nope"
    assert len(app.run().info) == 1
    assert not app.run().info, "the next run is the reader's own"


def test_a_click_with_the_link_of_before_takes_nothing_back() -> None:
    """A click that came while the browser had yet to learn of the new link undid the choice before it."""

    def script() -> None:
        import streamlit as st

        from cfviz.ui.session import state

        settings, _ = state.current(state.Settings(), ["crossformer_nano"], ["cat", "dog"], "lab")
        state.write_link(settings, "lab")
        st.button("dog", on_click=lambda: (state.change(photo="dog"), state.put_extra("lab", do="new")))
        st.button("click")
        st.markdown(f"{settings.photo} {state.extra('lab', 'do', '', lambda _: True)}")

    app = AppTest.from_function(script)
    app.query_params.update({"photo": "cat", "do": "old"})
    before = dict(app.run().query_params)
    assert app.markdown[0].value == "cat old"
    after = dict(app.button[0].click().run().query_params)
    assert app.markdown[0].value == "dog new"
    app.query_params.clear()
    app.query_params.update(before)  # still in the browser when the reader clicked
    assert app.button[1].click().run().markdown[0].value == "dog new"
    assert dict(app.query_params) == after
    app.run()  # from now on, it has the new link
    app.query_params.update(before)
    assert app.run().markdown[0].value == "cat old", "the reader followed a link to it"


@pytest.mark.slow
def test_a_number_format_shows_its_measured_time_and_promises_nothing() -> None:
    app = run("predict", lang="en")
    assert not [label for label in app.selectbox(key="w.dtype").options if "fast" in label]
    assert not [box for box in app.sidebar.caption if "Measured on this machine" in box.value]
    app.selectbox(key="w.dtype").select("bfloat16").run()
    end = time.monotonic() + 30
    while not (said := [box.value for box in app.sidebar.caption if "Measured on this machine" in box.value]):
        assert time.monotonic() < end
        app.run()
    measured = [
        next(iter(steps.found.values()))
        for key, steps in background._running.items()
        if "formats" in str(key)
    ]
    bfloat16, exact = (f"{measured[-1][name] * 1e3:.1f} ms" for name in ("bfloat16", "float32"))
    assert said[0] == unbroken(
        "Measured on this machine (CrossFormer nano, 224 × 224 px): "
        f"{bfloat16} per photo in bfloat16, {exact} in float32."
    )


@pytest.mark.slow
def test_settings_are_in_the_link_and_survive_a_page_switch() -> None:
    app = run("predict", lang="en")
    app.selectbox(key="w.photo").select("lemurs").run()
    app.selectbox(key="w.size").select(160).run()
    assert first(app.query_params["photo"]) == "lemurs"
    assert first(app.query_params["size"]) == "160"
    app.switch_page("app.py").run()
    assert not app.exception
    assert app.selectbox(key="w.photo").value == "lemurs"
    assert app.selectbox(key="w.size").value == 160


@pytest.mark.slow
def test_a_link_means_the_same_in_a_new_session() -> None:
    app = run("predict", photo="giant-panda", size="192", lang="zh-Hant", model="crossformer_nano")
    assert app.selectbox(key="w.photo").value == "giant-panda"
    assert app.selectbox(key="w.size").value == 192
    assert not app.info


@pytest.mark.slow
def test_the_number_format_can_be_chosen() -> None:
    app = run("predict", lang="en")
    app.selectbox(key="w.dtype").select("bfloat16").run()
    assert not app.exception
    assert first(app.query_params["dtype"]) == "bfloat16"
    assert any("bfloat16" in caption.value for caption in app.caption)


@pytest.mark.slow
def test_random_weights_are_announced() -> None:
    app = run("predict", lang="en", model="crossformer_pp_small", size="160")
    assert any("random weights" in warning.value for warning in app.warning)
    assert any("Random weights, never trained" in caption.value for caption in app.caption)


@pytest.mark.slow
def test_sizes_are_compared_on_demand() -> None:
    app = run("predict", lang="en", photo="coffee")
    assert not any("Hatched sizes differ from" in text.value for text in app.markdown)
    app.button(key="sizes.run").click().run()
    assert not app.exception
    assert any("Hatched sizes differ from" in text.value for text in app.markdown)


def test_a_missing_bundled_file_is_named(monkeypatch) -> None:
    sentence = "weights/crossformer_nano.safetensors should have come with cfviz"

    def load(*_: object) -> None:
        raise FileNotFoundError(sentence)

    models.opened.clear()
    monkeypatch.setattr(models, "load", load)
    app = run("attention")
    models.opened.clear()
    assert not app.exception
    assert any(plain(sentence) in error.value for error in app.error)


def said(app: AppTest) -> str:
    return " ".join(box.value for box in (*app.markdown, *app.caption, *app.info))


@pytest.mark.slow
@pytest.mark.parametrize("page", ["predict", "attention", "embedding", "position_bias", "lab", "compare"])
def test_beside_an_answer_stands_what_the_model_can_answer(page: str) -> None:
    """A cup of coffee was "French horn 64.8 %", and no page said that the model knows 20 classes."""
    app = run(page, lang="en", photo="coffee", open="all")
    assert not app.exception
    assert "none of the 20 classes" in said(app) or "None of these 20" in said(app)
    lists = [one for one in app.get("html") if "cf-classes" in one.proto.body]
    assert lists
    assert lists[0].proto.body.count("<li>") == 20


@pytest.mark.slow
def test_the_photo_strip_begins_with_what_the_model_can_know() -> None:
    app = run("predict", lang="en", photo="coffee")
    options = app.selectbox(key="w.photo").options
    assert options[:2] == ["Berlin Cathedral", "Worms Cathedral"]
    assert "None of these 20: the nearest is" in said(app)
    assert "Such a probability means nothing here: on 14 such gallery photos" in said(app)
    assert "top prediction" in said(run("predict", lang="en", photo="worms-cathedral"))


def test_the_menu_of_models_says_where_weights_come_from() -> None:
    """Eight of ten models were random, and the menu did not say so."""
    options = run("grouping", lang="en").selectbox(key="w.model").options
    assert options[0] == "CrossFormer nano · bundled" or "CrossFormer nano · bundled" in options
    marks = [option.rpartition(" · ")[2] for option in options]
    assert set(marks) <= {"bundled", "the authors'", "to download", "random"}
    assert marks.count("bundled") == 2


def untrained(page: str, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """A page with nano's weights declared random."""
    plain = models.model

    def forgotten(settings: Any) -> Any:
        net = copy.deepcopy(plain(settings))
        net.provenance = Provenance()
        return net

    monkeypatch.setattr(models, "model", forgotten)
    return run(page, lang="en", size="160", photo="cat", open="all")


@pytest.mark.slow
@pytest.mark.parametrize("page", ["predict", "attention", "embedding", "position_bias", "lab"])
def test_random_weights_are_not_asked_for_an_answer(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app = untrained(page, monkeypatch)
    assert not app.exception
    assert any("Random weights give no answer" in box.value for box in app.info)
    if page == "lab":
        assert "The largest number is" in said(app)  # sizes are measured of any weights
    names = labels("imagenette20")
    assert not any(f"**{name}**" in said(app) for name in names)


@pytest.mark.slow
def test_results_of_other_settings_are_hidden_and_announced_until_the_new_ones_are_there() -> None:
    """The old answer stood, faded, under the new model's name for seconds."""

    def styles(app: AppTest) -> str:
        return "".join(one.proto.body for one in app.get("html"))

    app = run("predict", lang="en", size="160")
    assert frame.HIDE_STALE in styles(app)
    assert "cf-computing" not in styles(app).replace(".cf-computing", ""), "the result is there"
    assert frame.HIDE_STALE not in styles(app.run()), "the same again: nothing is out of date"
    app.selectbox(key="w.photo").select("lemurs").run()
    assert frame.HIDE_STALE in styles(app)
    assert frame.HIDE_STALE not in styles(app.run())
    assert frame.HIDE_STALE not in styles(run("grouping", lang="en"))


@pytest.mark.slow
def test_shuffled_weights_are_announced_above_the_figure() -> None:
    app = run("attention", lang="en", size="160", shuffled="1")
    parts = list(app.main)
    warned = next(i for i, one in enumerate(parts) if "shuffled" in str(getattr(one, "value", "")))
    assert parts[warned + 1].type == "bidi_component", "the figure comes next"


@pytest.mark.slow
@pytest.mark.parametrize("page", ["lab", "attention", "embedding", "position_bias"])
def test_any_class_can_be_explained(page: str) -> None:
    app = run(page, lang="en", size="160", photo="worms-cathedral", open="all")
    box = app.selectbox(key=f"{page}.class")
    assert box.value == -1
    assert box.options[0].startswith("the predicted one: ")
    assert len(box.options) == 21
    box.select_index(1 + labels("imagenette20").index("tench")).run()
    assert not app.exception
    assert first(app.query_params["class"]) == "0"
    assert app.selectbox(key=f"{page}.class").value == 0
    if page == "attention":
        assert "support **tench**" in said(app)
    elif page != "lab":
        assert "tench" in said(app)
    beyond = run(page, lang="en", size="160", open="all", **{"class": "999"})
    assert beyond.selectbox(key=f"{page}.class").value == -1


@pytest.mark.slow
def test_a_forged_choice_of_nothing_leaves_the_fitting_as_it_is() -> None:
    """It ended every page of the session with an error: the mode became None."""
    app = run("predict", size="96", mode="pad")
    app.segmented_control(key="w.mode").set_value(None).run()
    assert not app.exception
    assert first(app.query_params["mode"]) == "pad"
