"""Safely open any image a user supplies: the result is an upright RGB photo or one clear sentence.

`cfviz.data.header` inspects the bytes first, so that Pillow only opens files in one of eight formats, of an
acceptable size, and with a structure that cannot keep it busy.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass, field, replace
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pi_heif
from PIL import Image, ImageCms, UnidentifiedImageError, features

from .brush import Stroke, read, to_url
from .header import MAX_BYTES, MAX_PIXELS, ImageError, check_size, read_header
from .samples import PREFIX, sample

MAX_ICC_BYTES = 4 * 2**20
NOTES = (
    "rotated",
    "alpha_on_white",
    "first_frame",
    "first_page",
    "twelve_bit",
    "sixteen_bit",
    "range_stretched",
    "cmyk",
    "grey",
    "icc_converted",
    "icc_ignored",
)
Source = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray

_ORIENTATION, _BITS = 0x0112, 258
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


pi_heif.register_heif_opener(thumbnails=False)


@dataclass(frozen=True)
class Photo:
    """A decoded photo.

    Attributes:
        image: RGB, 8 bits per channel, upright; converted to sRGB if the file has a usable colour profile.
        name: The file's name without folders; empty if there is none.
        sha256: Hexadecimal digest of the file or the pixels, see `sha256_of`.
        sha256_of: "file" (the bytes as received), or "pixels" (of `image`) for PIL images and arrays; with
            strokes, "strokes" (of that digest and them).
        notes: Conversions made, as codes from `NOTES`; the catalogue has `images.note_<code>`.
        original_size: Width and height as stored, before rotation, in pixels.
        format: Pillow's name for the file format; empty for arrays.
        mode: Pillow's name for the stored pixel format, e.g. "RGBA" or "I;16".
        strokes: What is painted over an input made from the photo; `image` is without it.
    """

    image: Image.Image = field(repr=False, compare=False)
    name: str
    sha256: str
    sha256_of: str
    notes: tuple[str, ...]
    original_size: tuple[int, int]
    format: str
    mode: str
    strokes: tuple[Stroke, ...] = ()

    def brushed(self, strokes: Any) -> Photo:
        """Return this photo with strokes of a brush, which `prepare` and `inspect` apply to each input.

        Args:
            strokes: See `cfviz.data.brush.read`; those that the photo has already come first.

        Raises:
            ValueError: If a stroke is invalid, or there are too many; the message says which one and why.

        Example:
            >>> photo = load_image("cat.jpg").brushed([{"how": "mean", "rect": [300, 200, 700, 600]}])
            >>> inspect(photo).top(3)
        """
        added = read(strokes)
        if not added:
            return self
        digest = hashlib.sha256(f"{self.sha256} {to_url(added)}".encode()).hexdigest()
        return replace(self, sha256=digest, sha256_of="strokes", strokes=read((*self.strokes, *added)))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright photo in pixels."""
        return self.image.size


def load_image(source: Source, name: str | None = None) -> Photo:
    """Open a photo from any source.

    Args:
        source: A path, "gallery:cat" for a bundled photo, the bytes of a file, a binary file object (an
            upload), a PIL image, or an (H, W, 3) uint8 array. Files may be JPEG, PNG, WebP, HEIC, AVIF, GIF,
            BMP or TIFF, whatever their names.
        name: Name for the photo; None uses the file's own name.

    Returns:
        The photo, upright and RGB; `Photo.notes` lists the conversions made.

    Raises:
        ImageError: If the source cannot be used. The message gives the reason in one sentence; `code` and
            `fields` carry the same information for translation.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, _tidy(name))
    if isinstance(source, Image.Image):
        return _from_pil(source, _tidy(getattr(source, "filename", "") if name is None else name))
    if isinstance(source, str) and source.startswith(PREFIX) and not os.path.exists(source):
        source = sample(source.removeprefix(PREFIX)).path
    data, found = _read(source)
    return _from_bytes(data, _tidy(found if name is None else name))


def _from_array(array: np.ndarray, name: str) -> Photo:
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or array.size == 0:
        raise ImageError("array", shape=" x ".join(map(str, array.shape)), dtype=str(array.dtype))
    check_size(array.shape[1], array.shape[0])
    image = Image.fromarray(np.ascontiguousarray(array))
    return Photo(image, name, _pixel_digest(image), "pixels", (), image.size, "", "RGB")


def _from_pil(image: Image.Image, name: str) -> Photo:
    check_size(*image.size)
    size, mode, form = image.size, image.mode, image.format or ""
    rgb, notes = _upright_rgb(image)
    return Photo(rgb, name, _pixel_digest(rgb), "pixels", notes, size, form, mode)


def load_pixels(path: str | os.PathLike[str]) -> Image.Image:
    """The image that `load_image` returns, without computing a digest, for reading many files.

    Raises:
        ImageError: As for `load_image`.
    """
    return _decoded(_read_path(os.fspath(path))[0])[0]


def _from_bytes(data: bytes, name: str) -> Photo:
    rgb, notes, size, form, mode = _decoded(data)
    return Photo(rgb, name, hashlib.sha256(data).hexdigest(), "file", notes, size, form, mode)


def _decoded(data: bytes) -> tuple[Image.Image, tuple[str, ...], tuple[int, int], str, str]:
    """The upright RGB image, then notes, stored size, format and mode as in `Photo`."""
    if len(data) > MAX_BYTES:
        raise _too_many_bytes(len(data))
    header = read_header(data)
    if header.format in ("AVIF", "WEBP") and not features.check(header.format.lower()):
        raise ImageError("no_codec", kind=header.format)
    try:
        image = Image.open(BytesIO(data), formats=[header.format])
    except Exception as error:  # on hostile bytes Pillow's plugins may raise any exception
        raise _broken(_reason(error, data, header.format), header.format) from error
    check_size(*image.size)
    size, mode = image.size, image.mode
    rgb, notes = _upright_rgb(image)
    if header.format in ("AVIF", "HEIF") and getattr(image, "is_animated", False):
        notes += ("first_frame",)
    notes = tuple(dict.fromkeys(header.notes + notes))
    return rgb, notes, size, header.format, mode


# Pillow's wording when it does not support a file, as opposed to the file being damaged.
_OF_PILLOW = re.compile(r"unsupported|unknown|not supported|cannot find loader", re.IGNORECASE)
# TIFF compressions that every Pillow supports; of others it may know only the name.
_COMMON = ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "group3", "group4", None)


def _reason(error: Exception, data: bytes, format: str) -> Exception:
    """The cause of "cannot identify image file": the format's own reader raises it when called directly."""
    if not isinstance(error, UnidentifiedImageError):
        return error
    try:
        Image.OPEN[format][0](BytesIO(data), "")
    except Exception as reason:
        return reason
    return error


def _broken(error: Exception, format: str | None, compression: str | None = None) -> ImageError:
    """The `ImageError` for an exception raised by Pillow."""
    if isinstance(error, ImageError):
        return error
    if isinstance(error, Image.DecompressionBombError):
        millions = f"{2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6}+"
        return ImageError("too_many_pixels", megapixels=millions, limit=MAX_PIXELS // 10**6)
    text = " ".join(str(error).split())
    if isinstance(error, EOFError) or "truncated" in text.lower():
        return ImageError("truncated")
    rare = format == "TIFF" and text.startswith("decoder error") and compression not in _COMMON
    if rare or _OF_PILLOW.search(text):
        return ImageError("variant", kind=format or "image", reason=text[:80])
    return ImageError("damaged")


def _read(source: object) -> tuple[bytes, str]:
    """The bytes and the name of a source: a path, bytes or a file object."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source), ""
    if isinstance(source, (str, os.PathLike)):
        return _read_path(os.fspath(source))
    read = getattr(source, "read", None)
    if read is None:
        raise ImageError("source", type=type(source).__name__)
    try:
        if getattr(source, "seekable", lambda: False)():
            source.seek(0)  # type: ignore[attr-defined]  # an upload may have been read before
        data = read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ImageError("unreadable") from error
    if not isinstance(data, bytes):
        raise ImageError("source", type=f"a file of {type(data).__name__}")
    return data, getattr(source, "name", "")


def _read_path(path: str) -> tuple[bytes, str]:
    if path.partition("://")[0] in ("http", "https", "ftp"):
        raise ImageError("url")
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):  # a folder, or a pipe that would never end
            raise ImageError("not_a_file", path=path)
        if found.st_size > MAX_BYTES:
            raise _too_many_bytes(found.st_size)
        return Path(path).read_bytes(), path
    except FileNotFoundError:
        raise ImageError("missing", path=path) from None
    except ImageError:
        raise
    except (OSError, ValueError) as error:
        raise ImageError("unreadable") from error


def _too_many_bytes(count: int) -> ImageError:
    return ImageError("too_many_bytes", megabytes=-(-count // 2**20), limit=MAX_BYTES // 2**20)


def _tidy(name: object) -> str:
    """A name in printable form: no folders, no unprintable characters, of limited length."""
    if not isinstance(name, (str, os.PathLike)):
        return ""
    last = os.fspath(name).replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in last if letter.isprintable())[:120]


def _pixel_digest(image: Image.Image) -> str:
    return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()


def _upright_rgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Decode an image and convert it to upright 8-bit sRGB on white; also return the codes of the steps."""
    try:
        # Pillow returns TIFF and HEIC upright. For other formats EXIF is read after the pixels: to find it in
        # a PNG, Pillow decodes the pixels, and an error at that point would be lost.
        turn = _orientation(image) if image.format == "TIFF" else 1
        image.load()
        rest = _orientation(image)
        notes: tuple[str, ...] = ("rotated",) if turn in _TURNS or rest in _TURNS else ()
        rgb, more = _to_rgb(image)
        if rest in _TURNS:
            rgb = rgb.transpose(_TURNS[rest])
        # A copy without the file, or the EXIF that would rotate it again.
        rgb = rgb.copy() if rgb is image else rgb
        rgb.info = {}
        return rgb, notes + more
    except Exception as error:  # as above: any exception may come out of a hostile file
        raise _broken(error, image.format, image.info.get("compression")) from error


def _orientation(image: Image.Image) -> int:
    """EXIF orientation; 1 (upright) if EXIF has none or cannot be read."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # unreadable EXIF is no reason to refuse a readable picture
        return 1


def _to_rgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    if image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16"):
        notes += ("grey",)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        profile = image.info.get("icc_profile")
        image, note = _eight_bits(image)
        image.info["icc_profile"] = profile
        notes += (note,)
    elif 16 in np.ravel(_tag(image, _BITS, 8)):
        notes += ("sixteen_bit",)
    if image.mode == "CMYK":
        notes += ("cmyk",)
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    rgb, note = _to_srgb(image, image.info.get("icc_profile"))
    notes += (note,) if note else ()
    if alpha is not None and alpha.getextrema() != (255, 255):
        white = Image.new("RGB", rgb.size, "white")
        white.paste(rgb, mask=alpha)
        return white, (*notes, "alpha_on_white")
    return rgb, notes


def _tag(image: Image.Image, number: int, otherwise: object) -> Any:
    """The value of a TIFF tag, or `otherwise` if the image has no such tag."""
    return getattr(image, "tag_v2", {}).get(number, otherwise)


def _eight_bits(image: Image.Image) -> tuple[Image.Image, str]:
    """Convert 12-bit, 16-bit, 32-bit or float grey to 8 bits, and return the code of the conversion.

    12 and 16 bits are scaled by the full range of the type, others by the image's own range.
    """
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        bits = 12 if 12 in np.ravel(_tag(image, _BITS, 16)) else 16
        most = 2**bits - 1
        table = ((np.minimum(np.arange(65536), most) * 255 + most // 2) // most).astype(np.uint8)
        return Image.fromarray(table[values]), "twelve_bit" if bits == 12 else "sixteen_bit"
    scaled = values.astype(np.float32)
    if not np.isfinite(scaled.sum(dtype=np.float64)):
        scaled = np.nan_to_num(scaled, copy=False, posinf=0.0, neginf=0.0)
    low, high = float(scaled.min()), float(scaled.max())
    # Halved, because the difference of two floats may overflow; in place, because 50 Mpx take 200 MB.
    scaled *= 0.5
    scaled -= 0.5 * low
    scaled *= 255.0 / max(0.5 * high - 0.5 * low, 1e-12)
    return Image.fromarray(np.rint(scaled, out=scaled).astype(np.uint8)), "range_stretched"


# Pillow's mode for each colour space of a profile.
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str]:
    """Convert to sRGB without alpha; the code is "icc_converted", "icc_ignored", or "" if neither."""
    grey = image.mode in ("1", "L", "LA", "La")
    if image.mode == "LAB":  # Pillow converts this space only through a colour profile
        image = _converted(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    plain = image if image.mode in ("RGB", "CMYK", "L") else image.convert("L" if grey else "RGB")
    if not profile:
        return _plain_rgb(plain), ""
    try:
        if len(profile) > MAX_ICC_BYTES:
            return _plain_rgb(plain), "icc_ignored"
        given = ImageCms.ImageCmsProfile(BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(given).lower():
            return _plain_rgb(plain), ""
        mode = _SPACES[given.profile.xcolor_space.strip()]
        if mode != plain.mode or given.profile.device_class not in ("mntr", "scnr", "prtr", "spac"):
            return _plain_rgb(plain), "icc_ignored"
        return _converted(plain, given), "icc_converted"
    except Exception:  # a bad profile is no reason to refuse the picture
        return _plain_rgb(plain), "icc_ignored"


def _plain_rgb(image: Image.Image) -> Image.Image:
    """The image in RGB, without a copy if it already is: 50 Mpx take 200 MB."""
    return image if image.mode == "RGB" else image.convert("RGB")


def _converted(image: Image.Image, given: ImageCms.ImageCmsProfile) -> Image.Image:
    """Convert an image to sRGB from the colour space of a profile."""
    transform = ImageCms.buildTransform(given, _srgb(), image.mode, "RGB")
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # None only for an in-place transform
    return converted
