"""Pictures as data URIs: small enough to stand in a page themselves."""

from __future__ import annotations

import base64
from io import BytesIO

from PIL import Image

SIDE = 112  # pixels of a thumbnail's longer side


def thumbnail(image: Image.Image, side: int = SIDE, square: bool = True) -> str:
    """A small copy as a data URI; square ones are cut from the centre, never stretched."""
    width, height = image.size
    if square:
        short = min(width, height)
        left, top = (width - short) // 2, (height - short) // 2
        image = image.crop((left, top, left + short, top + short))
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return data_uri(small, "WEBP", quality=78)


def data_uri(image: Image.Image, form: str = "PNG", **options: int) -> str:
    """A picture as a data URI."""
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def opened(uri: str) -> Image.Image:
    """The picture in a data URI."""
    return Image.open(BytesIO(base64.b64decode(uri.partition(",")[2])))
