"""The lab in a browser: a click on a part changes the list, the link and the prediction."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from cfviz.measured.board import board_frame
from cfviz.web import program

pytestmark = pytest.mark.browser


def test_clicks_and_keys_build_the_list(app: Any, open_page: Any) -> None:
    page = open_page(app.url("lab", lang="en", size=160, do=""))
    board = page.locator(".lab[data-ready]")
    board.wait_for(timeout=60_000)
    page.locator(".lab .legend i").wait_for(timeout=120_000)  # every part is measured
    part = page.locator('.lab [data-place="2.1.h3"]')
    part.click()
    page.wait_for_url("**do=2.1.h3-zero*", timeout=30_000)
    # The board was hidden for a moment, which took the keyboard from it: the next key did nothing.
    page.wait_for_timeout(1000)
    expect(part).to_be_focused()
    assert page.locator(".lab .list li").count() == 1
    assert page.locator('.lab [data-place="2.1.h3"]').get_attribute("aria-pressed") == "true"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_url("**do=2.1.h3-zero_2.1.h4-zero*", timeout=30_000)
    page.locator('.lab li[data-i="1"] [data-act="up"]').click()
    page.wait_for_url("**do=2.1.h4-zero_2.1.h3-zero*", timeout=30_000)
    page.locator('.lab li[data-i="0"] [data-act="on"]').click()
    page.wait_for_function("() => decodeURIComponent(location.search).includes('do=~2.1.h4')", timeout=30_000)
    assert page.locator(".lab .list li.off").count() == 1
    page.locator('.lab [data-place="2.1.h3"]').click()
    page.wait_for_function("() => !location.search.includes('h3-zero')", timeout=30_000)


def items(page: Any) -> Any:
    return page.locator(".lab .list li")


def test_every_change_can_be_undone_also_after_a_reload_and_beside_the_browsers_own_history(
    app: Any, open_page: Any
) -> None:
    page = open_page(app.url("lab", lang="en", size=160))
    page.locator(".lab[data-ready]").wait_for(timeout=60_000)
    page.wait_for_url("**do=none*", timeout=30_000)
    undo, redo = (page.locator(".lab").get_by_role("button", name=name) for name in ("Undo", "Redo"))
    expect(undo).to_have_attribute("aria-disabled", "true")
    for place in ("2.1.h3", "1.k1", "2.1.h4"):
        page.locator(f'.lab [data-place="{place}"]').click()
        page.wait_for_url(f"**{place}-zero*", timeout=30_000)
    undo.click()
    page.wait_for_url(re.compile(r"do=2\.1\.h3-zero_1\.k1-zero(&|$)"), timeout=30_000)
    expect(page.locator(".lab .said")).to_contain_text("Undone: Stage 2 · block 1 · head 4")
    page.keyboard.press("Control+z")
    page.wait_for_url(re.compile(r"do=2\.1\.h3-zero(&|$)"), timeout=30_000)
    page.keyboard.press("Control+y")
    page.wait_for_url(re.compile(r"do=2\.1\.h3-zero_1\.k1-zero(&|$)"), timeout=30_000)
    page.keyboard.press("Control+Shift+Z")
    expect(items(page)).to_have_count(3)
    page.wait_for_url("**h4-zero*", timeout=30_000)

    page.reload()
    page.locator(".lab[data-ready]").wait_for(timeout=60_000)
    expect(items(page)).to_have_count(3)
    undo.click()
    expect(items(page)).to_have_count(2)
    page.wait_for_url(re.compile(r"do=2\.1\.h3-zero_1\.k1-zero(&|$)"), timeout=30_000)

    page.locator('.lab [data-act="clear"]').click()
    page.wait_for_url("**do=none*", timeout=30_000)
    page.go_back()
    expect(items(page)).to_have_count(2)
    redo.click()  # Back moved along the same steps
    expect(items(page)).to_have_count(0)
    page.wait_for_url("**do=none*", timeout=30_000)


def test_keys_that_write_text_do_not_undo_the_list(app: Any, open_page: Any) -> None:
    page = open_page(app.url("lab", lang="en", size=160, do=""))
    page.locator(".lab[data-ready]").wait_for(timeout=60_000)
    page.locator('.lab [data-place="2.1.h3"]').click()
    page.wait_for_url("**do=2.1.h3-zero*", timeout=30_000)
    page.get_by_label("Class to explain").click()
    page.keyboard.type("ten")
    page.keyboard.press("Control+z")
    expect(items(page)).to_have_count(1)


def test_the_result_is_in_sight_with_the_board(app: Any, open_page: Any) -> None:
    """It stood below the fold: a click was answered by nothing that one saw."""
    page = open_page(app.url("lab", lang="en", size=160, do=""))
    for width, height in ((1440, 900), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        page.locator(".lab[data-ready]").wait_for(timeout=60_000)
        table = page.locator(".cf-change")
        table.wait_for(timeout=60_000)
        part = page.locator('.lab [data-place="3.2.h12"]')
        if width == 390:
            part.scroll_into_view_if_needed()
            part.evaluate("part => part.scrollIntoView({ block: 'center' })")
        for one in (table, part):
            box = one.bounding_box()
            assert box["y"] >= 0
            assert box["y"] + box["height"] <= height
        part.click()  # nothing lies over it
        page.wait_for_url("**do=3.2.h12-zero*", timeout=30_000)
        assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight") < 3400
        page.wait_for_function(  # nothing covers the result
            """() => {
                const row = document.querySelector(".cf-change tr.first")?.getBoundingClientRect();
                if (!row) return false;
                return document.elementFromPoint(row.x + row.width / 2, row.y + 8)?.closest(".cf-change");
            }""",
            timeout=20_000,
        )
        part.click()
        page.wait_for_url("**do=none*", timeout=30_000)


@pytest.mark.parametrize("width", [1440, 390])
def test_the_board_stands_still_under_the_pointer(app: Any, open_page: Any, width: int) -> None:
    """A sentence of two lines moved it away from there, and that of the part then there moved it back."""
    page = open_page(app.url("lab", lang="en", photo="german-shepherd", do="1.1.mlp-zero"), width=width)
    page.locator(".lab .legend i").wait_for(timeout=120_000)
    part = page.locator('.lab [data-place="1.1.mlp"]')
    seen = """async (part) => {
        const seen = [part.getBoundingClientRect().top];
        for (let i = 0; i < 20; i += 1) {
            await new Promise(requestAnimationFrame);
            seen.push(part.getBoundingClientRect().top);
        }
        return seen;
    }"""
    part.scroll_into_view_if_needed()
    box = part.bounding_box()
    for down in (0.2, 0.8):
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + down * box["height"])
        assert set(part.evaluate(seen)) == {box["y"]}


def test_the_parts_go_on_to_the_study(app: Any, open_page: Any) -> None:
    """The link named them as the lab does; what the lab had written counted as seen, and was dropped."""
    page = open_page(app.url("lab", lang="en", size=160, do="2.1.h3-zero_1.k1-zero"))
    page.get_by_role("link", name="Measure these parts on many photos").click()
    field = page.get_by_role("textbox", name="Changes, one per line (JSON)")
    field.wait_for(timeout=60_000)
    lines = field.input_value().splitlines()
    assert len(lines) == 3
    assert '"head"' in lines[0]
    assert lines[2].count('"part"') == 2, "all together"


def test_tokens_read_a_class_and_a_part_of_the_sum_goes_to_the_list(app: Any, open_page: Any) -> None:
    page = open_page(app.url("lab", lang="en", size=160, do="", open="parts.known"))
    page.locator(".rd[data-ready]").wait_for(timeout=120_000)
    page.get_by_role("radio", name="1.1 ").and_(page.locator(".rd *")).click()
    expect(page.locator(".rd-what")).to_contain_text("Block 1.1 reads")
    page.locator(".rd .map").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".rd-token")).to_contain_text("Token (21, 20):")
    assert page.locator(".rd-token").inner_text().count("%") == 3
    page.locator(".lp[data-ready]").wait_for(timeout=120_000)
    values = page.locator(".lp-row b").all_inner_texts()
    found = sum(float(text.replace("−", "-")) for text in values)
    said = page.locator(".lp-sum").inner_text()
    assert abs(found - float(said.rpartition(" ")[2].replace("−", "-"))) < 0.1  # of 16 rounded numbers
    page.get_by_role("radio", name="4.1 attention").click()
    page.get_by_role("radio", name="head 3 ").click()
    expect(page.locator(".lp-what")).to_contain_text("4.1 attention: head 3")
    page.get_by_role("button", name="Ablate it in the lab").click()
    page.wait_for_url("**do=4.1.h3-zero*", timeout=30_000)
    expect(items(page)).to_have_count(1)


def test_a_block_of_the_curve_shows_its_tokens(app: Any, open_page: Any) -> None:
    page = open_page(app.url("lab", lang="en", size="64", photo="cat", open="amplitude"))
    figure = page.locator(".am")
    what, columns = figure.locator(".am-what"), figure.locator(".am-columns [role=radio]")
    expect(columns).to_have_count(7)
    columns.nth(1).click()
    expect(what).to_have_text(re.compile(r"Block 1\.2: largest \d"))
    columns.nth(1).press("ArrowRight")
    expect(what).to_have_text(re.compile(r"Block 2\.1:"))
    columns.nth(5).hover()
    expect(what).to_have_text(re.compile(r"Block 3\.2:"))
    page.mouse.move(0, 0)
    expect(what).to_have_text(re.compile(r"Block 2\.1:"))
    figure.locator(".map").press("ArrowDown")
    expect(figure.locator(".am-token")).to_have_text(re.compile(r"Token \(5, 4\): [\d.]+, [\d.]+ times"))


def test_back_while_a_change_is_computed_keeps_what_came_after(browser: Any, tiny_model: Any) -> None:
    """The list of before came as the answer to a change, which counted as refused and was forgotten."""
    rest = {"how": "zero", "effects": None, "top": 1.0, "measured": "zero", "unit": "logit", "waits": False}
    data = {**board_frame(tiny_model(), 64, "en"), "css": {}, "dark": False, "label": "church", **rest}
    page = browser.new_page()
    page.add_script_tag(content=program("lab/board.js", "window.Board = LabBoard;"))
    found = page.evaluate(
        """(data) => {
            const told = [];
            const board = new Board(document.body, { ...data, do: "2.1.h1-zero", seq: 0 },
              (one) => told.push(one));
            const redo = () => document.querySelector('[data-go="1"]').ariaDisabled === "false";
            const found = [redo()];
            board.change([]);
            const { seq } = told.at(-1);
            board.load({ ...data, do: "2.1.h1-zero", seq, moved: true });
            found.push(redo());
            board.change([]);
            board.load({ ...data, do: "2.1.h1-zero", seq: told.at(-1).seq, moved: false });
            return [...found, redo()];
        }""",
        data,
    )
    page.close()
    assert found == [False, True, False], "nothing yet; Back; a change that the model does not take"
