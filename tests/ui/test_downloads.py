"""What a download button computes when it is clicked: Streamlit calls it without the reader's session."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from cfviz.data.samples import sample
from cfviz.report import page as report
from cfviz.ui.session import photos

ROOT = Path(__file__).resolve().parents[2]
PLACE = {"stage": "2", "block": "1", "row": "9", "col": "11", "held": "1"}
PIXEL = {
    "net": "semantic_fpn_crossformer_nano",
    "scene": "0",
    "row": "60",
    "col": "90",
    "held": "1",
    "view": "1",
}
BOX = {"net": "retinanet_crossformer_nano", "scene": "0", "box": "0", "held": "1", "threshold": "10"}
TIMES = re.compile(rb"\"seconds\": [\d.e-]+|[\d.]+(?: |\xc2\xa0)ms")  # a report says what its forward took
WITHOUT = ("compare", "position_bias")  # that compute nothing on a click
PAGES: list[tuple[str, dict[str, str]]] = [
    ("attention", PLACE),
    ("dense", PIXEL),
    ("dense", BOX),
    ("embedding", {"open": "all", "size": "96"}),
    ("lab", {"open": "all", "size": "96", "do": "attn:lda@2.1"}),
    ("predict", {"open": "all", "size": "96"}),
    ("compare", {"open": "all"}),
    ("position_bias", {"open": "all"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("page", "query"), PAGES)
def test_what_is_downloaded_is_what_the_page_would_have_given(
    page: str, query: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dense page's report failed for a reader's own photo; the attention page's began elsewhere."""
    offered: dict[str, tuple[Callable[[], bytes], bytes]] = {}
    button: Any = st.download_button

    def noted(label: str, data: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        if callable(data):
            offered[name] = data, data()
        return button(label, data, name, *args, **kwargs)

    monkeypatch.setattr(st, "download_button", noted)
    measure, once = report.measured_operations, list[Any]()

    def measured(*given: Any) -> Any:
        """The same times and shares each time: what else a report says of the operations is compared."""
        once.append(once[0] if once else measure(*given))
        return once[0]

    monkeypatch.setattr(report, "measured_operations", measured)
    id = "berlin-cathedral"
    data = sample(id).path.read_bytes()
    own = photos.Own("mine.jpg", data, id, "data:,", sample(id).size, "data:,")
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    app.session_state["cfviz.own"] = {"own-1": own}
    app.switch_page(f"pages/{page}.py")
    for key, value in {"lang": "en", "photo": "own-1", **query}.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception
    assert not app.error
    assert offered or page in WITHOUT
    for name, (make, wanted) in offered.items():
        assert TIMES.sub(b"", make()) == TIMES.sub(b"", wanted), name
