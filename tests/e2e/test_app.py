"""The app in a browser: load, pick, upload, switch page, open a shared link, change language."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.conftest import App, Windows, settle, soon

pytestmark = pytest.mark.browser
Open = Callable[..., Any]


def jpeg(side: int = 300) -> bytes:
    buffer = BytesIO()
    Image.radial_gradient("L").resize((side, side)).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


def answered(page: Any) -> str:
    """The sentence that names the top prediction."""
    return page.locator(".cf-look").first.inner_text()


def test_home_draws_the_model_and_follows_the_pointer(app: App, open_page: Open) -> None:
    page = open_page(app.url(lang="en"))
    page.locator(".whole .stage").nth(3).wait_for()
    assert page.locator(".whole .stage").count() == 4
    assert page.locator(".whole .answer > ol > li").count() == 5
    page.locator(".whole .chip.lda").first.click()
    expect(page.locator(".whole .said")).to_contain_text("long distance (LDA)")
    page.locator(".whole .chip.sda").first.click()
    expect(page.locator(".whole .said")).to_contain_text("short distance (SDA)")
    frame = page.locator(".whole .photo .frame")
    before = frame.locator("canvas").evaluate("c => c.toDataURL()")
    frame.hover(position={"x": 30, "y": 30})
    for _ in range(50):  # one frame, or a few on a busy machine
        page.wait_for_timeout(100)
        if frame.locator("canvas").evaluate("c => c.toDataURL()") != before:
            break
    assert frame.locator("canvas").evaluate("c => c.toDataURL()") != before


def test_the_first_button_keeps_its_distance_on_a_phone_and_the_open_menu_covers_the_title(
    app: App, open_page: Open
) -> None:
    """Measured before: 10 px below the sentence; the title stood across the menu."""
    page = open_page(app.url(lang="en"), 390, 844)
    button = page.locator(".st-key-cf-start a").first.bounding_box()
    sentence = page.locator(".cf-lede").bounding_box()
    assert button["y"] - sentence["y"] - sentence["height"] >= 14
    title = page.locator("h1").bounding_box()
    page.get_by_test_id("stExpandSidebarButton").click()
    place = [title["x"] + 20, title["y"] + 10]
    covered = "([x, y]) => Boolean(document.elementFromPoint(x, y).closest('[data-testid=stSidebar]'))"
    soon(page, lambda: page.evaluate(covered, place), True)


def test_a_crop_is_dragged_and_moved_with_the_arrow_keys(app: App, open_page: Open) -> None:
    page = open_page(app.url("predict", lang="en", size="96x320"))
    frame = page.locator(".crop-host svg").first
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y - 0.2 * box["height"], steps=4)
    page.mouse.up()
    page.wait_for_url(re.compile("centre="))

    def down() -> float:
        return float(re.search(r"centre=[\d.]+(?:,|%2C)([\d.]+)", page.url)[1])  # type: ignore[index]

    dragged = down()
    assert dragged == pytest.approx(0.3, abs=0.02)
    settle(page)
    page.locator(".crop-host svg").first.press("ArrowDown")
    soon(page, lambda: down() > dragged + 0.02, True)
    assert "size=96x320" in page.url


def test_the_photo_strip_picks_and_the_link_restores_it(app: App, open_page: Open) -> None:
    page = open_page(app.url("predict", lang="en", size=160))
    page.get_by_role("radio", name="Giant panda").click()
    page.wait_for_url(re.compile("photo=giant-panda"))
    settle(page)
    answer = answered(page)
    other = open_page(page.url)
    other.locator(".cf-look").first.wait_for()
    assert answered(other) == answer
    assert other.get_by_role("radio", name="Giant panda").get_attribute("aria-checked") == "true"
    assert "size=160" in other.url


def test_settings_survive_a_page_switch_and_the_back_button(app: App, open_page: Open) -> None:
    page = open_page(app.url("predict", lang="en", photo="lemurs", size=192))
    page.get_by_role("link", name="The whole model").click()
    page.locator(".whole .stage").first.wait_for()
    settle(page)
    assert "photo=lemurs" in page.url
    assert "size=192" in page.url
    page.go_back()
    page.locator(".cf-look").first.wait_for()
    settle(page)
    assert "/predict" in page.url
    assert page.get_by_role("radio", name="Ring-tailed lemurs").get_attribute("aria-checked") == "true"


def test_own_photos_get_a_prediction_and_bad_files_one_sentence(app: App, open_page: Open) -> None:
    page = open_page(app.url("predict", lang="en", size=64))
    drop = page.locator('[data-testid="stMain"] [data-testid="stFileUploaderDropzoneInput"]')
    drop.set_input_files(
        [
            {"name": "gradient.jpg", "mimeType": "image/jpeg", "buffer": jpeg()},
            {"name": "other.jpg", "mimeType": "image/jpeg", "buffer": jpeg(320)},
            {"name": "letter.png", "mimeType": "image/png", "buffer": b"Dear Sir or Madam,"},
        ]
    )
    page.wait_for_url(re.compile("photo=own-"))
    page.get_by_text("The file contains text, not a picture.").first.wait_for()
    page.locator('[data-testid="stDataFrame"]').wait_for()
    settle(page)
    assert page.get_by_role("radio", name="other.jpg").get_attribute("aria-checked") == "true"
    stranger = open_page(page.url)
    stranger.get_by_text("which was not shared with it").wait_for()
    page.reload()  # a new session of the same browser
    mine = page.get_by_role("radio", name="Yours: other.jpg")
    mine.wait_for()
    settle(page)
    assert mine.get_attribute("aria-checked") == "true"
    assert page.get_by_role("radio", name="Yours: gradient.jpg").count() == 1
    assert "photo=own-" in page.url
    page.get_by_test_id("stMain").get_by_role("button", name="Remove my photos").click()
    page.wait_for_url(re.compile("photo=berlin-cathedral"))
    mine.wait_for(state="detached")
    page.reload()
    page.locator(".cf-look").first.wait_for()
    settle(page)
    assert page.get_by_role("radio", name="Yours").count() == 0


def test_the_language_changes_on_the_whole_page(app: App, open_page: Open) -> None:
    page = open_page(app.url("predict", lang="en"))
    page.get_by_text("繁體中文").click()
    page.get_by_role("heading", name="照片裡是什麼？").wait_for()
    settle(page)
    assert "lang=zh-Hant" in page.url
    assert page.evaluate("document.documentElement.lang") == "zh-Hant"
    page.get_by_role("link", name="模型全貌").click()
    page.get_by_role("heading", name="CrossFormer：從照片到答案").wait_for()


def test_a_window_of_an_earlier_test_keeps_nothing(app: App, windows: Windows) -> None:
    """What `open_page` hands on has the fetched scripts, and nothing that a page could know."""
    read = """() => [
      { ...localStorage }, { ...sessionStorage }, document.cookie.includes("a=1"),
      Notification.permission === "granted",
    ]"""
    write = """async () => {
      localStorage.setItem("a", 1);
      sessionStorage.setItem("a", 1);
      document.cookie = "a=1; path=/";
      await caches.open("a");
      await new Promise((done) => (indexedDB.open("a").onsuccess = done));
    }"""
    more = "async () => [await caches.keys(), (await indexedDB.databases()).length]"
    address, found = f"{app.base}/_stcore/health", []
    window = windows.take()
    for _ in range(2):
        window.grant_permissions(["notifications"])
        page = window.new_page()
        page.goto(address)
        page.evaluate(write)
        windows.give_back(window)
        assert windows.take() is window
        assert window.pages == []
        page = window.new_page()
        page.goto(address)
        found.append((page.evaluate(read), page.evaluate(more)))
        windows.give_back(window)
        window = windows.take()
    assert found == [([{}, {}, False, False], [[], 0])] * 2
