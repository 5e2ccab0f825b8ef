"""Long distance attention over the whole map: chosen in the sidebar, and followed by every page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from cfviz.models.factory import create_model
from cfviz.words import lookup
from tests.pages.test_pages import PAGES, first, run

LINK = {"photo": "cat", "size": "160", "lang": "en"}
ROOT = Path(__file__).resolve().parents[2]


def captions(app: AppTest) -> str:
    return " ".join(caption.value for caption in app.sidebar.caption)


@pytest.mark.slow
def test_the_sidebar_offers_both_forms_and_the_link_keeps_the_choice() -> None:
    app = run("predict", **LINK)
    assert app.selectbox(key="w.lda").value == "regions"
    assert "lda" not in app.query_params
    app.selectbox(key="w.lda").set_value("whole").run()
    assert first(app.query_params["lda"]) == "whole"
    assert lookup("en", "common.lda_chosen") in captions(app)
    assert lookup("en", "common.lda_same") not in captions(app)
    assert 'lda="whole"' in app.code[0].value
    known: dict[str, Any] = {}
    exec(compile(app.code[0].value, "shown", "exec"), known)
    assert known["trace"].grouping(0, 1).size == "5 x 5"
    app.selectbox(key="w.lda").set_value("regions").run()
    assert "lda" not in app.query_params


def test_where_both_forms_have_the_same_groups_the_sidebar_says_so() -> None:
    app = run("grouping", **LINK | {"size": "224", "lda": "whole"})
    assert lookup("en", "common.lda_same") in captions(app)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("link", "form", "said"),
    [
        ({}, "whole", "implied"),
        ({"lda": "whole"}, "whole", "implied"),
        ({"lda": "regions"}, "regions", "against"),
    ],
)
def test_weights_that_imply_the_whole_map_choose_it_by_themselves(
    link: dict[str, str], form: str, said: str
) -> None:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    app.switch_page("pages/grouping.py")
    app.session_state["cfviz.own_models"] = {"own-0": create_model(weights=None, lda="whole")}
    for key, value in {**LINK, "model": "own-0", **link}.items():
        app.query_params[key] = value
    app.run()
    assert app.selectbox(key="w.lda").value == form
    assert lookup("en", f"common.lda_{said}") in captions(app)


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({*PAGES} - {"predict", "grouping"}))
def test_every_page_follows_the_form(page: str) -> None:
    app = run(page, **LINK, lda="whole")
    assert not app.exception
    assert not app.error


@pytest.mark.slow
@pytest.mark.parametrize("step", ["1", "2", "3", "4"])
def test_lessons_on_the_position_bias_hold_in_rectangular_groups(step: str) -> None:
    """Two of them asked for the one side of groups of 6 x 20 tokens."""
    app = run("learn", **LINK | {"size": "192x640"}, lda="whole", lesson="4", step=step)
    assert not app.exception
    assert not app.error
