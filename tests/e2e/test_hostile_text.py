"""Hostile names, links and files in a browser: they are shown as text or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import pytest
import safetensors.torch
import torch
from PIL import Image
from playwright.sync_api import expect

from cfviz.models.crossformer import CrossFormer
from cfviz.models.variants import VARIANTS
from tests.conftest import App, settle

pytestmark = pytest.mark.browser
Open = Callable[..., Any]

EVIL = "evil.example"
TAG = f"<img src=//{EVIL}/t.png onerror=hacked()>"
PICTURE = f"![x](https://{EVIL}/x.png)"
LINK = f"[click](https://{EVIL}) https://{EVIL}/auto www.{EVIL} :material/home: :red[red]"
SCRIPT = "</script><script>hacked()</script>"


@pytest.fixture
def guarded(open_page: Open) -> Iterator[Open]:
    """A function that opens a page and reports requests to other machines and calls of `hacked`."""
    left: list[str] = []

    def visit(url: str) -> Any:
        page = open_page(url)
        page.on(
            "request",
            lambda request: left.append(request.url) if EVIL in urlsplit(request.url).netloc else None,
        )
        page.expose_function("hacked", lambda: left.append("hacked()"))
        page.evaluate(PROBE)
        return page

    yield visit
    assert left == []


PROBE = """() => {
  window.everywhere = (selector, root = document) => {
    const found = [...root.querySelectorAll(selector)];
    for (const el of root.querySelectorAll('*'))
      if (el.shadowRoot) found.push(...window.everywhere(selector, el.shadowRoot));
    return found;
  };
}"""  # fmt: skip


def harmless(page: Any) -> None:
    """Check that the text became no element anywhere on the page, components included."""
    made = page.evaluate(
        """(evil) => ['img', 'a', 'script', 'iframe', 'link'].flatMap((tag) => window.everywhere(tag))
           .map((el) => el.src || el.href || '')
           .filter((where) => where && new URL(where, location).host.includes(evil))""",
        EVIL,
    )
    assert made == []


def test_no_address_serves_a_file(app: App) -> None:
    """The addresses are sent as they are, as by a client that does not normalise them."""
    port = int(app.base.rpartition(":")[2])
    up = ("..", "%2e%2e", "..%2f..", "%252e%252e", "....//")
    doors = ("", "static", "app/static", "media", "component/x", "_stcore/bidi-components/x", "_stcore")
    wanted = (
        "etc/passwd",
        "requirements.txt",
        ".streamlit/config.toml",
        "assets/weights/crossformer_nano.json",
    )
    paths = [f"/{door}/{'/'.join([dots] * 8)}/{name}" for door in doors for dots in up for name in wanted]
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    for path in [*paths, *(f"/{name}" for name in wanted), "//etc/passwd", "/predict?file=/etc/passwd"]:
        connection.request("GET", path)
        answer = connection.getresponse().read()
        assert not re.search(rb"root:.*:0:0|postScriptGC", answer), path
    connection.request("GET", "/_stcore/agent/interact")
    answer = connection.getresponse()
    answer.read()
    assert answer.status >= 400, "programs are not invited"


def test_values_of_a_link_are_shown_as_text(app: App, guarded: Open) -> None:
    page = guarded(app.url("grouping", lang="en", model=TAG, photo=PICTURE, size=LINK[:40], w=SCRIPT))
    alerts = page.locator("[data-testid=stAlert]")
    expect(alerts).to_have_count(3)
    for alert in alerts.all():  # hidden, so without text, while an element above is on its way
        expect(alert).to_be_visible()
    said = "\n".join(alerts.all_inner_texts()).replace("\u2060", "")
    for words in (TAG[:40], PICTURE[:40], LINK[:40]):
        assert f"“{words}”" in said
    harmless(page)
    page.goto(app.url("lab", lang="en", do=f"{PICTURE}_{SCRIPT}"))
    alerts.first.wait_for()
    assert PICTURE in alerts.first.inner_text().replace("\u2060", "")
    page.evaluate(PROBE)
    harmless(page)


def photo(shade: int) -> bytes:
    out = BytesIO()
    Image.radial_gradient("L").point(lambda v: (v + shade) % 256).convert("RGB").save(out, "PNG")
    return out.getvalue()


def test_names_of_files_are_shown_as_text(app: App, guarded: Open) -> None:
    page = guarded(app.url("predict", lang="en", size=64))
    drop = page.locator(".st-key-cf-drop-page input[type=file]")
    good = [
        {"name": name + ".png", "mimeType": "image/png", "buffer": photo(shade)}
        for shade, name in enumerate((TAG, PICTURE, LINK, SCRIPT))
    ]
    bad = {"name": f"{PICTURE} {TAG}.png", "mimeType": "image/png", "buffer": b"no picture"}
    drop.set_input_files([*good, bad])
    page.locator("[data-testid=stAlert]").first.wait_for()
    settle(page)
    said = page.locator("[data-testid=stAlert]").first.inner_text().replace("\u2060", "")
    assert f"{PICTURE} {TAG}"[:79] in said
    harmless(page)
    page.get_by_role("link", name="Attention").click()
    page.wait_for_url("**/attention**")
    settle(page)
    harmless(page)
    page.get_by_role("link", name="The whole model").click()
    page.locator(".whole .stage").first.wait_for()
    harmless(page)


def test_what_a_file_says_about_itself_is_shown_as_text(app: App, guarded: Open) -> None:
    torch.manual_seed(0)
    state = CrossFormer(**VARIANTS["crossformer_nano"], num_classes=3).half().state_dict()
    facts = {"trained": f"{TAG} {PICTURE} {LINK}", "dataset": TAG, "epoch": json.dumps(SCRIPT)}
    content = safetensors.torch.save({k: v.contiguous() for k, v in state.items()}, metadata=facts)
    page = guarded(app.url("predict", lang="en", size=64))
    page.get_by_role("button", name="Your own weights").click()
    drop = page.locator("[data-testid=stPopoverBody] input[type=file]")
    mime = "application/octet-stream"
    pickled = BytesIO()
    torch.save({"head.bias": state["head.bias"]}, pickled)
    drop.set_input_files({"name": f"{LINK}.safetensors", "mimeType": mime, "buffer": pickled.getvalue()})
    expect(page.get_by_text("only .safetensors files are accepted").first).to_be_visible(timeout=20_000)
    harmless(page)
    drop.set_input_files({"name": f"{PICTURE}{TAG}.safetensors", "mimeType": mime, "buffer": content})
    page.wait_for_url("**model=own-**")
    settle(page)
    shown = page.locator("[data-testid=stMain]").inner_text().replace("\u2060", "")
    assert f"{TAG} {PICTURE}" in shown
    harmless(page)
