"""Small pictures side by side as one PNG or SVG, to save a row of cards."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont

from cfviz.figures.theme import FONT, Theme

# in pixels: the widest picture, the space between pictures, the height for a caption and of its letters
SIDE, GAP, FOOT, TEXT = 320, 24, 48, 24


def contact(
    pictures: Sequence[Image.Image], captions: Sequence[str], theme: Theme, columns: int = 4
) -> bytes:
    """Pictures in rows, each as large as its place allows, with sharp pixels.

    Args:
        pictures: Of any size and mode; where one is transparent, the hatching of padding shows.
        captions: Latin letters and digits, one per picture; a caption that is too long is cut.
        theme: Colours.
        columns: Pictures per row.

    Returns:
        A PNG.

    Raises:
        ValueError: If there is no picture, or not one caption per picture.
    """
    columns, rows = _grid(pictures, captions, columns)
    size = (columns * (SIDE + GAP) + GAP, rows * (SIDE + FOOT + GAP) + GAP)
    page, font = Image.new("RGB", size, theme.paper), ImageFont.load_default(TEXT)
    pen = ImageDraw.Draw(page)
    for n, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        row, column = divmod(n, columns)
        at = (GAP + column * (SIDE + GAP), GAP + row * (SIDE + FOOT + GAP))
        large = _enlarged(picture, theme)
        page.paste(large, (at[0], at[1] + SIDE - large.height))
        pen.text((at[0], at[1] + SIDE + 10), _short(caption, font), theme.ink, font)
    out = BytesIO()
    page.save(out, "PNG")
    return out.getvalue()


def _grid(pictures: Sequence[Image.Image], captions: Sequence[str], columns: int) -> tuple[int, int]:
    """Columns and rows of the pictures, after checking that there is one caption for each."""
    if not pictures or len(pictures) != len(captions):
        raise ValueError(
            f"{len(pictures)} pictures and {len(captions)} captions came; expected one each, at least 1"
        )
    columns = min(columns, len(pictures))
    return columns, -(-len(pictures) // columns)


def contact_svg(
    pictures: Sequence[Image.Image], captions: Sequence[str], theme: Theme, columns: int = 4
) -> bytes:
    """As `contact`, but an SVG: every picture at its own resolution, captions as text in any script.

    Raises:
        ValueError: If there is no picture, or not one caption per picture.
    """
    columns, rows = _grid(pictures, captions, columns)
    width, height = columns * (SIDE + GAP) + GAP, rows * (SIDE + FOOT + GAP) + GAP
    parts = [f'<rect width="{width}" height="{height}" fill="{theme.paper}"/>']
    for n, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        row, column = divmod(n, columns)
        x, y = GAP + column * (SIDE + GAP), GAP + row * (SIDE + FOOT + GAP)
        times = SIDE / max(picture.size)
        w, h = round(picture.width * times), round(picture.height * times)
        out = BytesIO()
        picture.save(out, "PNG")
        source = f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
        sharp = "pixelated" if times >= 1 else "auto"
        parts += [
            f'<image x="{x}" y="{y + SIDE - h}" width="{w}" height="{h}" href="{source}" '
            f'preserveAspectRatio="none" style="image-rendering:{sharp}"/>',
            f'<text x="{x}" y="{y + SIDE + 30}" fill="{theme.ink}">{escape(caption)}</text>',
        ]
    family = escape(FONT, quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-size="20" font-family="{family}">{"".join(parts)}</svg>'
    ).encode()


def _enlarged(picture: Image.Image, theme: Theme) -> Image.Image:
    times = SIDE / max(picture.size)
    filter_ = Image.Resampling.NEAREST if times >= 1 else Image.Resampling.LANCZOS
    size = (max(1, round(picture.width * times)), max(1, round(picture.height * times)))
    large, ground = picture.convert("RGBA").resize(size, filter_), Image.new("RGBA", size, theme.panel)
    pen = ImageDraw.Draw(ground)
    for x in range(-size[1], size[0], 12):
        pen.line((x, size[1], x + size[1], 0), theme.padding, 2)
    return Image.alpha_composite(ground, large).convert("RGB")


def _short(caption: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    if font.getlength(caption) <= SIDE:
        return caption
    while caption and font.getlength(caption + "...") > SIDE:
        caption = caption[:-1]
    return caption.rstrip() + "..."


def squares(kernels: Sequence[tuple[float, float, str]], reach: float, theme: Theme) -> Image.Image:
    """What one token reads: one square per kernel, the more opaque the more channels it has.

    Args:
        kernels: For each kernel its side in pixels, its share of the channels and its colour.
        reach: Side of the picture in pixels of the photo, so that pictures can be compared.
        theme: Colours.
    """
    picture = Image.new("RGBA", (SIDE, SIDE), theme.panel)
    for side, part, colour in reversed(kernels):
        half = SIDE * side / reach / 2
        layer = Image.new("RGBA", picture.size)
        ink = colour + f"{round(255 * (0.15 + 0.75 * part)):02x}"
        edges = (SIDE / 2 - half, SIDE / 2 - half, SIDE / 2 + half, SIDE / 2 + half)
        ImageDraw.Draw(layer).rectangle(edges, ink, colour, 3)
        picture = Image.alpha_composite(picture, layer)
    return picture
