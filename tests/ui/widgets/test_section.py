"""A page's sections: open as the link says, not computed while closed, and written to the link."""

from __future__ import annotations

import pytest
from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from streamlit.testing.v1 import AppTest


def script() -> None:
    import streamlit as st

    from cfviz.figures.theme import theme
    from cfviz.ui.context import Context
    from cfviz.ui.session import state
    from cfviz.ui.widgets.section import opens, section, shown

    settings, _ = state.current(state.Settings(), [], [], "lab")
    state.write_link(settings, "lab")
    ctx = Context("lab", lambda key, **_: key, "en", theme("light"), settings)
    known = opens(ctx, "one"), opens(ctx, "two", ("at",))  # before they are drawn
    section(ctx, "one", st.write, "drawn")
    section(ctx, "two", st.write, "drawn", params=("at",))
    section(ctx, "three", st.write, "drawn", opened=True)
    assert known == (shown(ctx, "one"), shown(ctx, "two"))


def page(**query: str) -> AppTest:
    app = AppTest.from_function(script, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def drawn(app: AppTest) -> list[str]:
    """The sections whose content was drawn; the browser is told to show just those open."""
    assert not app.exception
    boxes = app.expander
    assert [box.proto.expanded for box in boxes] == [bool(box.markdown) for box in boxes]
    return [box.label.split(".")[1].removesuffix("_title** lab") for box in boxes if box.markdown]


def turn(app: AppTest, number: int, to: bool) -> AppTest:
    """Open or close a section as the browser does."""
    sent = WidgetStates()
    sent.widgets.append(WidgetState(id=app.expander[number].proto.id, bool_value=to))
    return app._run(sent)


def link(app: AppTest) -> list[str]:
    found = app.query_params.get("open", [])
    return [found] if isinstance(found, str) else found


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, ["three"]),
        ({"open": "one"}, ["one", "three"]),
        ({"open": "one.-three"}, ["one"]),
        ({"open": "all"}, ["one", "two", "three"]),
        ({"open": "all.-two"}, ["one", "three"]),
        ({"at": "448"}, ["two", "three"]),
        ({"at": "448", "open": "-two.-three"}, []),
        ({"open": "..nothing.<b>.-"}, ["three"]),
    ],
)
def test_the_link_says_what_is_open_and_only_that_is_drawn(query: dict[str, str], wanted: list[str]) -> None:
    assert drawn(page(**query)) == wanted


def test_what_the_reader_opens_is_in_the_link_and_stays() -> None:
    app = turn(page(), 0, True)
    assert (drawn(app), link(app)) == (["one", "three"], ["one"])
    assert drawn(app.run()) == ["one", "three"]
    turn(app, 2, False)
    assert (drawn(app), link(app)) == (["one"], ["one.-three"])
    turn(app, 0, False)
    assert (drawn(app), link(app)) == ([], ["-three"])
    turn(app, 2, True)
    assert (drawn(app), link(app)) == (["three"], [])


def test_a_section_opened_by_its_choice_in_the_link_can_be_closed() -> None:
    app = turn(page(at="448"), 1, False)
    assert (drawn(app), link(app)) == (["three"], ["-two"])
    assert drawn(app.run()) == ["three"]


def test_another_link_in_the_same_session_wins() -> None:
    app = turn(page(), 0, True)
    app.query_params["open"] = "two"
    assert drawn(app.run()) == ["two", "three"]
