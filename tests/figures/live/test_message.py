"""Which figures an original photo is for."""

from __future__ import annotations

import io

from PIL import Image

from cfviz.figures.live.message import Arrays, digest_of, opened, original


def test_an_original_names_the_input_that_figures_show() -> None:
    seen = Image.linear_gradient("L").convert("RGB")
    sharp = seen.resize((512, 512))
    sent = opened(original(seen, sharp)).header
    assert sent["of"] == Arrays().picture(seen)["of"] == digest_of(seen)
    assert digest_of(seen) != digest_of(sharp)
    assert digest_of(Image.new("RGB", (2, 8))) != digest_of(Image.new("RGB", (8, 2)))


def test_an_original_is_a_jpeg_of_the_same_shape() -> None:
    seen = Image.linear_gradient("L").convert("RGB")
    message = opened(original(seen, seen.resize((512, 512))))
    part = message.header["file"]
    assert part["type"] == "image/jpeg"
    picture = Image.open(io.BytesIO(message.body[part["at"] : part["at"] + part["bytes"]]))
    assert (picture.format, picture.size) == ("JPEG", (512, 512))
