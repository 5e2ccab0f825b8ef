"""Photos: the gallery and generated files of all eight formats, damaged and then opened as uploads."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

import tests.data.heic  # noqa: F401  (writes HEIC files)
from cfviz.data.header import MAX_PIXELS, ImageError
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import gallery
from cfviz.figures import uris
from tests.fuzz.harness import Case
from tests.fuzz.mutate import KNOWING, Rng, mutated
from tests.fuzz.refusals import code_of

GALLERY_SHARE = 0.15
LARGE_SHARE = 0.005
LARGE = (5000, 5000)  # pixels; half of what is opened, so that a slow machine is no failure
SPLICED = 0.05


def make(rng: Rng) -> Case:
    """Make a good file and damage it."""
    form, name, data = _chosen(rng)
    if rng.random() < SPLICED:
        _, other, more = _chosen(rng)
        at, end = int(rng.integers(len(data))), int(rng.integers(len(more)))
        data, name = data[:at] + more[end:], f"{name} up to {at}, {other} from {end}"
    damaged, note = mutated(data, rng, KNOWING.get(form))
    return Case(damaged, f"{name}: {note}")


def check(case: Case) -> str:
    """Open an upload, up to its thumbnail and the model's input; return the outcome or the refusal's code."""
    try:
        photo = load_image(BytesIO(case.data), name="holiday.jpg")
    except ImageError as error:
        return code_of(error)
    width, height = photo.size
    assert photo.image.mode == "RGB"
    assert 1 <= width * height <= MAX_PIXELS
    assert uris.thumbnail(photo.image).startswith("data:image/webp;base64,")
    assert prepare(photo, 64).tensor.isfinite().all()
    return "opened"


def warm() -> None:
    """Do in advance what would otherwise count as time of the first input."""
    for _, _, data in corpus():
        check(Case(data, ""))


def _chosen(rng: Rng) -> tuple[str, str, bytes]:
    """A format, a name and a file: sometimes from the gallery, otherwise generated, each format as often."""
    if rng.random() < GALLERY_SHARE:
        entry = gallery()[int(rng.integers(len(gallery())))]
        return "JPEG", entry.path.name, entry.path.read_bytes()
    forms = sorted({form for form, _, _ in corpus()})
    form = forms[int(rng.integers(len(forms)))]
    if rng.random() < LARGE_SHARE:
        return form, f"large {form}", large(form)
    files = [file for file in corpus() if file[0] == form]
    return files[int(rng.integers(len(files)))]


# ---------------------------------------------------------------- good files


def picture(width: int = 60, height: int = 44) -> Image.Image:
    """A smooth picture with one edge."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([255 * x / width, 255 * y / height, 90 + 60 * np.sin(x / 5) + 90 * (x > y)], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


@lru_cache(maxsize=1)
def corpus() -> tuple[tuple[str, str, bytes], ...]:
    """(format, name, bytes) of generated files: every format in all its modes and options."""
    rgb = picture()
    rgba = rgb.copy()
    rgba.putalpha(Image.linear_gradient("L").resize(rgb.size))
    modes = {mode: rgb.convert(mode) for mode in ("RGB", "L", "P", "1", "CMYK", "LA", "F", "I")}
    modes |= {"RGBA": rgba, "I;16": Image.fromarray(np.arange(60 * 44, dtype=np.uint16).reshape(44, 60) * 20)}
    exif = Image.Exif()
    exif[0x0112] = 6
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = srgb.replace(b"s\0R\0G\0B", b"x\0R\0G\0B").replace(b"sRGB", b"xRGB")
    frames = [rgb.rotate(angle) for angle in (30, 60)]
    known = {"exif": exif, "icc_profile": profile}
    return tuple(
        (form, f"{form} {mode} {', '.join(options) or 'plain'}", _saved(modes[mode], form, options))
        for form, mode, options in [
            *_jpegs(known), *_pngs(known, frames), *_tiffs(known, frames), *_webps(known, frames),
            *[("GIF", mode, {}) for mode in ("P", "L", "RGB")],
            ("GIF", "P", {"save_all": True, "append_images": frames, "comment": b"hello"}),
            ("GIF", "P", {"transparency": 3, "interlace": 1}),
            *[("BMP", mode, {}) for mode in ("1", "L", "P", "RGB", "RGBA")],
            ("AVIF", "RGB", {"speed": 10}), ("AVIF", "RGBA", {"speed": 10}),
            ("AVIF", "RGB", {"speed": 10, **known}), ("AVIF", "L", {"speed": 10, "subsampling": "4:0:0"}),
            ("AVIF", "RGB", {"speed": 10, "save_all": True, "append_images": frames}),
            *[("HEIF", mode, {}) for mode in ("RGB", "RGBA", "L", "I;16")], ("HEIF", "RGB", known),
            ("HEIF", "RGB", {"save_all": True, "append_images": frames}),
        ]
    )  # fmt: skip


@lru_cache(maxsize=8)
def large(form: str) -> bytes:
    """A picture with many pixels in few bytes."""
    mode, options = {
        "PNG": ("RGBA", {"compress_level": 1}), "TIFF": ("F", {"compression": "tiff_adobe_deflate"}),
        "WEBP": ("RGB", {"method": 0}), "AVIF": ("RGB", {"speed": 10}), "GIF": ("L", {}), "BMP": ("1", {}),
        "JPEG": ("CMYK", {"progressive": True}), "HEIF": ("L", {"quality": 20}),
    }[form]  # fmt: skip
    return _saved(Image.linear_gradient("L").resize(LARGE).convert("RGB").convert(mode), form, options)


Wanted = list[tuple[str, str, dict[str, Any]]]


def _jpegs(known: dict[str, Any]) -> Wanted:
    plain: Wanted = [("JPEG", mode, {}) for mode in ("RGB", "L", "CMYK")]
    return [
        *plain, ("JPEG", "RGB", {"progressive": True, "comment": b"hello"}), ("JPEG", "RGB", known),
        ("JPEG", "RGB", {"restart_marker_blocks": 2}), ("JPEG", "RGB", {"subsampling": 0, "dpi": (72, 72)}),
    ]  # fmt: skip


def _pngs(known: dict[str, Any], frames: list[Image.Image]) -> Wanted:
    text = PngImagePlugin.PngInfo()
    text.add_text("key", "hello " * 50, zip=True)
    text.add_itxt("other", "你好", zip=True)
    plain: Wanted = [("PNG", mode, {}) for mode in ("RGB", "L", "P", "1", "LA", "RGBA", "I;16")]
    return [
        *plain, ("PNG", "RGB", known), ("PNG", "RGB", {"pnginfo": text}), ("PNG", "P", {"transparency": 3}),
        ("PNG", "P", {"bits": 2}), ("PNG", "RGB", {"save_all": True, "append_images": frames}),
    ]  # fmt: skip


def _tiffs(known: dict[str, Any], frames: list[Image.Image]) -> Wanted:
    plain: Wanted = [("TIFF", mode, {}) for mode in ("RGB", "L", "P", "1", "CMYK", "LA", "F", "I", "RGBA")]
    packed = ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma")
    plain += [("TIFF", "I;16", {})]
    plain += [("TIFF", "RGB", {"compression": kind}) for kind in packed]
    return [
        *plain, ("TIFF", "1", {"compression": "group4"}), ("TIFF", "1", {"compression": "group3"}),
        ("TIFF", "RGB", known), ("TIFF", "RGB", {"save_all": True, "append_images": frames}),
        ("TIFF", "RGB", {"big_tiff": True}),
    ]  # fmt: skip


def _webps(known: dict[str, Any], frames: list[Image.Image]) -> Wanted:
    return [
        ("WEBP", "RGB", {}), ("WEBP", "RGBA", {}), ("WEBP", "RGB", known),
        ("WEBP", "RGB", {"lossless": True}), ("WEBP", "RGBA", {"lossless": True}),
        ("WEBP", "RGB", {"save_all": True, "append_images": frames}),
    ]  # fmt: skip


def _saved(image: Image.Image, form: str, options: dict[str, Any]) -> bytes:
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
