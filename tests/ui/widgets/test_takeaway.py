"""Downloads contain what the figure shows."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image

from cfviz.figures.plots.cards import contact, contact_svg
from cfviz.figures.theme import LIGHT
from cfviz.ui.widgets.takeaway import to_csv, to_npz


def test_npz_holds_every_array_without_pickles() -> None:
    z = np.arange(12.0).reshape(3, 4)
    fig = go.Figure(
        [go.Heatmap(z=z, x0=2, dx=4, y0=1, dy=2), go.Scatter(x=["a", "b"], y=[1.5, 2.5], name="n")]
    )
    found = np.load(BytesIO(to_npz(fig)), allow_pickle=False)
    np.testing.assert_array_equal(found["0.z"], z)
    np.testing.assert_array_equal(found["0.x"], [2, 6, 10, 14])
    np.testing.assert_array_equal(found["0.y"], [1, 3, 5])
    assert found["1.n.x"].tolist() == ["a", "b"]
    np.testing.assert_array_equal(found["1.n.y"], [1.5, 2.5])


def test_csv_keeps_chinese_and_commas() -> None:
    assert to_csv(("類別", "p"), [("教堂, 大", 0.5)]).decode("utf-8-sig") == '類別,p\r\n"教堂, 大",0.5\r\n'


def test_a_sheet_shows_the_same_pictures_as_png_and_svg() -> None:
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 255, (7, 7, 3), np.uint8)) for _ in range(5)]
    captions = [f"一 < {n}" for n in range(5)]
    svg = contact_svg(pictures, captions, LIGHT, 3).decode()
    page = Image.open(BytesIO(contact(pictures, [str(n) for n in range(5)], LIGHT, 3)))
    assert f'width="{page.width}" height="{page.height}"' in svg
    assert svg.count("<image") == 5
    assert "一 &lt; 4" in svg
    with pytest.raises(ValueError, match="captions"):
        contact_svg(pictures, captions[:2], LIGHT)


def test_no_text_in_a_csv_is_computed_by_a_spreadsheet() -> None:
    row = ("=1+1.jpg", "@a", "-a, b", "-0.5", -0.5, "+3", None)
    assert (
        to_csv("abcdefg", [row]).decode("utf-8-sig").splitlines()[1]
        == "'=1+1.jpg,'@a,\"'-a, b\",-0.5,-0.5,+3,"
    )
