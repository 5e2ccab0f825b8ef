"""The page on cross-scale embedding: its sentences, and the effect of its controls."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from cfviz import measured
from cfviz.ui.pages.embedding import ablation, figure
from cfviz.words import translator
from tests.conftest import SOON, at_rest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def page() -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=180)
    app.switch_page("pages/embedding.py")
    for name, value in {"lang": "en", "size": "160", "cel": "2", "measure": "norm", "open": "all"}.items():
        app.query_params[name] = value
    return finished(app.run())


def finished(app: AppTest) -> AppTest:
    """Run the page until what is measured after it has arrived."""
    end = time.monotonic() + SOON
    while "hourglass" in said(app):
        assert time.monotonic() < end
        at_rest()
        app.run()
    return app


def said(app: AppTest) -> str:
    return "\n".join(text.value for text in app.markdown)


@pytest.mark.slow
def test_the_summary_gives_numbers(page: AppTest) -> None:
    assert not page.exception
    assert not page.error
    text = said(page)
    for start in ("**On a texture**", "**On a large object**"):
        line = next(line for line in text.splitlines() if start in line)
        shares = [int(n) for n in re.findall(r"\d+\spx (\d+)\s%", line)]
        assert len(shares) == 4
        assert sum(shares) == pytest.approx(100, abs=2)  # each is rounded
    line = next(line for line in text.splitlines() if "**On this photo**" in line)
    assert len(re.findall(r"\d+×\d+\s[+−]?\d+\.\d", line)) == 10
    assert f"({48 * 48:,} in CEL 2)" in text  # the 48 channels of nano, before and after


@pytest.mark.parametrize(
    ("shown", "said"),
    [((), "shows none of its 3 classes. Setting"), ((2,), "shows bird. Setting"), ((1,), "%. Setting")],
)
def test_the_summary_says_of_an_answer_whether_it_can_be_right(shown: tuple[int, ...], said: str) -> None:
    """The coffee was a French horn here, with no word that the model knows no coffee."""
    trace = SimpleNamespace(top=lambda n: [(1, "cat", 0.6)], shown=shown)
    subject: Any = SimpleNamespace(trace=trace, layers=[SimpleNamespace(stage=0)])
    ctx: Any = SimpleNamespace(t=translator("en"), labels=["dog", "cat", "bird"])
    assert said in figure.ablation_line(ctx, subject, [(0, 4, -0.5, -1.0)])


@pytest.mark.slow
def test_large_models_are_measured_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page is drawn without the ten forwards; on request, their numbers appear below."""
    passes: list[int] = []
    real = ablation.knock_outs

    def count(model: Any, image: Any, changes: Any, points: Any) -> Any:
        passes.append(len(changes))
        return real(model, image, changes, points)

    monkeypatch.setattr(measured, "QUICK", 0)
    monkeypatch.setattr(ablation, "knock_outs", count)
    ablation.ablated.clear()
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=180)
    app.switch_page("pages/embedding.py")
    app.query_params["lang"], app.query_params["size"], app.query_params["open"] = "en", "160", "knock"
    app.run()
    assert not app.exception
    assert not passes
    assert "You can measure below" in said(app)
    before = [text.value for text in app.markdown]
    app.button(key="embedding.knock_run").click().run()
    assert not app.exception
    assert passes == [10]
    assert "embedding.knock_run" not in {button.key for button in app.button}
    assert len(bars(app)) == 10
    assert len(re.findall(r"\d+×\d+\s[+−]?\d+\.\d", said(app))) >= 10
    assert "You can measure below" in said(app)  # the rest of the page is unchanged
    assert before[:3] == [text.value for text in app.markdown][:3]


@pytest.mark.slow
def test_the_link_decides_where_the_figure_starts(page: AppTest) -> None:
    start = page.session_state["cfviz.embedding.start"]
    assert start["cel"] == 1
    assert start["measure"] == "norm"


@pytest.mark.slow
def test_every_figure_has_a_sentence_and_code(page: AppTest) -> None:
    codes = [code.value for code in page.code]
    assert len(codes) == 10
    known: dict[str, object] = {}
    for code in codes:  # each piece may use what those above it defined
        exec(compile(code, "shown", "exec"), known)
    assert known["shares"].sum(0) == pytest.approx(1)


@pytest.mark.slow
def test_rows_of_pictures_can_be_downloaded(page: AppTest) -> None:
    labels = [button.proto.label for button in page.get("download_button")]
    assert labels.count("PNG") == labels.count("SVG") == 5


def bars(app: AppTest) -> list[float]:
    """The changes of the logit in the figure of ablations."""
    chart = json.loads(app.get("plotly_chart")[0].proto.spec)
    texts = [note["text"] for note in chart["layout"]["annotations"]]
    return [float(text.split("·")[0].replace("−", "-")) for text in texts]


@pytest.mark.slow
def test_another_replacement_has_another_effect(page: AppTest) -> None:
    zero = bars(page)
    page.segmented_control(key="embedding.way").set_value("mean").run()
    assert not page.exception
    mean = bars(page)
    page.segmented_control(key="embedding.way").set_value("photo").run()
    page.selectbox(key="embedding.other").select("lemurs").run()
    assert not page.exception
    assert len(zero) == len(mean) == len(bars(page)) == 10
    assert zero != mean != bars(page)


@pytest.mark.slow
def test_the_axis_names_the_class_to_explain(page: AppTest) -> None:
    """It said "of the top class" whichever class the reader had chosen."""
    page.selectbox(key="embedding.class").set_value(3).run()
    axis = json.loads(page.get("plotly_chart")[0].proto.spec)["layout"]["xaxis"]["title"]["text"]
    page.selectbox(key="embedding.class").set_value(-1).run()
    assert axis == "Change of the logit of beagle"


@pytest.mark.slow
@pytest.mark.parametrize("stage", range(4))
def test_every_layer_can_be_shown(page: AppTest, stage: int) -> None:
    for key in ("reads", "patch_cel", "pattern_cel", "others"):
        page.segmented_control(key=f"embedding.{key}").set_value(stage)
    page.segmented_control(key="embedding.pattern").set_value("circle").run()
    assert not page.exception
    assert not page.error
