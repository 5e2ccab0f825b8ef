"""The prediction page: which input sizes it compares, and how it shows them."""

import re
from types import SimpleNamespace
from typing import Any

from PIL import Image

from cfviz.figures import uris
from cfviz.run import inspect
from cfviz.ui.pages import predict
from cfviz.ui.pages.predict import compared_sizes


def test_the_sizes_compared_include_rectangles_and_the_chosen_one() -> None:
    squares = [160, 192, 224, 288, 384]
    assert compared_sizes((500, 500), 224) == [*squares, (192, 640)]
    assert compared_sizes((640, 480), (224, 224)) == [*squares, (192, 640), (224, 288)]
    assert compared_sizes((480, 640), 256) == [160, 192, 224, 256, 288, 384, (192, 640), (288, 224)]
    assert compared_sizes((640, 480), (800, 1216))[-1] == (800, 1216)


def test_the_card_of_a_rectangle_shows_the_whole_crop(tiny_model: Any) -> None:
    """It was a square cut from the middle: of a strip, a third."""
    trace = inspect(Image.new("RGB", (400, 300), (200, 90, 40)), tiny_model(), size=(96, 320))
    ctx = SimpleNamespace(labels=[f"class {i}" for i in range(20)], t=lambda key, **_: key)
    shown = uris.opened(re.search(r'src="([^"]+)"', predict._card(ctx, trace))[1])
    assert shown.size == (240, 72)
