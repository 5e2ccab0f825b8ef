"""Inspect the bytes of a file before decoding: its format, its size, and whether it is safe to open.

Pillow decodes well but trusts the file's structure: it walks any number of chunks, joins any number of
comments and allocates whatever a header asks for. Every check here is one bounded walk over the bytes, so a
hostile file costs milliseconds and almost no memory. This module does not need Pillow.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from .av1 import TooComplexError, sizes_of

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 50_000_000
MAX_CODED = 125_000_000  # pixels in all parts of an AVIF: photo, transparency, thumbnails, edges of tiles
MAX_RATIO = 32  # of long side to short; beyond it, resizing by the short side makes the long side huge
MAX_STEPS = 65_536  # parts of a file visited one by one
MAX_PARTS = 512  # chunks, segments or tags that carry no pixels
MAX_PACKED = 32  # compressed texts and profiles in one PNG
MAX_SIDE_DATA = 16 * 2**20  # bytes before the first scan of a JPEG
MAX_SCANS = 64  # in one JPEG
MAX_SCANNED = 1_000_000_000  # pixels times scans
MAX_RLE_BYTES = 2 * 2**20  # Pillow decodes run lengths in Python
MAX_RLE_PIXELS = 4_000_000

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
READABLE = "JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP and TIFF"
SENTENCES = {
    "empty": "The file is empty.",
    "missing": "There is no file {path}.",
    "not_a_file": "{path} is not a regular file.",
    "unreadable": "The file could not be read.",
    "url": "Web addresses cannot be opened: save the picture first, then open the file.",
    "source": "A photo can be a path, bytes, a binary file, a PIL image or an array; got {type}.",
    "array": "An array must be height x width x 3 of uint8; this one is {shape} of {dtype}.",
    "too_many_bytes": "The file is {megabytes} MB; at most {limit} MB are opened.",
    "too_many_pixels": "The picture has {megapixels} million pixels; at most {limit} million are opened.",
    "too_narrow": "The picture is {width} x {height} pixels; a side may be at most {limit} times the other.",
    "two_sizes": (
        "The picture is coded as {width} x {height} pixels, but the file says it has another size, "
        "so it was not opened."
    ),
    "too_complex": "The file has far more parts than a photo needs, so it was not opened.",
    "unsupported": "The file's format is {kind}; " + READABLE + " can be opened.",
    "text": "The file contains text, not a picture.",
    "not_an_image": "The file is not a picture of a known kind; " + READABLE + " can be opened.",
    "truncated": (
        "The file ends before the picture is complete: it may have been copied or downloaded only in part."
    ),
    "damaged": "The picture is damaged and cannot be decoded.",
    "no_codec": "The installed Pillow cannot read {kind} files.",
    "variant": (
        "The installed Pillow cannot read this {kind} file ({reason}): it is damaged or of a rare kind. "
        "Try saving it as PNG."
    ),
}


class ImageError(ValueError):
    """A photo that cannot be used; the message is one sentence for the person who chose it.

    Attributes:
        code: A key of `SENTENCES`. It is stable: the translation catalogue has `images.error_<code>`.
        fields: Values for the sentence's placeholders.
    """

    def __init__(self, code: str, **fields: object) -> None:
        super().__init__(SENTENCES[code].format(**fields))
        self.code = code
        self.fields = fields

    def __reduce__(self) -> tuple[Callable[[], ImageError], tuple[()]]:
        return partial(ImageError, self.code, **self.fields), ()


@dataclass(frozen=True)
class Header:
    """The result of `read_header`: Pillow's name for the format, and codes of notes for the user."""

    format: str
    notes: tuple[str, ...] = ()


def check_size(width: int, height: int) -> None:
    """Refuse pictures that are too large or too narrow to work with.

    Raises:
        ImageError: With code `damaged` (no pixels), `too_many_pixels` or `too_narrow`.
    """
    if width < 1 or height < 1:
        raise ImageError("damaged")
    if width * height > MAX_PIXELS:
        # Rounded up, so that a picture just over the limit is not reported as exactly the limit.
        millions = -(-width * height // 100_000) / 10
        raise ImageError("too_many_pixels", megapixels=millions, limit=MAX_PIXELS // 10**6)
    if max(width, height) > MAX_RATIO * min(width, height):
        raise ImageError("too_narrow", width=width, height=height, limit=MAX_RATIO)


def read_header(data: bytes) -> Header:
    """Recognise a file by its content, whatever its name, and check its structure.

    Raises:
        ImageError: If the file is empty, in another format, too large, truncated within its header, or too
            complex to read safely.
    """
    format = format_of(data)
    try:
        return Header(format, _READERS[format][1](data))
    except (struct.error, IndexError, OverflowError):
        raise ImageError("truncated") from None


def format_of(data: bytes) -> str:
    """Pillow's name for a file's format, recognised by the first bytes.

    Args:
        data: The file, or at least its first kilobyte.

    Raises:
        ImageError: If the file is empty or in another format.
    """
    if not data:
        raise ImageError("empty")
    for format, (accepts, _) in _READERS.items():
        if accepts(data[:32]):
            return format
    raise _other_kind(data)


def _other_kind(data: bytes) -> ImageError:
    """The error for a file in none of the eight formats."""
    for kind, pattern in _OTHERS.items():
        if re.match(pattern, data, re.DOTALL | re.IGNORECASE):
            return ImageError("unsupported", kind=kind)
    if _is_tga(data):
        return ImageError("unsupported", kind="TGA")
    start = data[:1024]
    for kind, word in (("SVG", b"<svg"), ("HTML", b"<html"), ("HTML", b"<!doctype html")):
        if word in start.lower():
            return ImageError("unsupported", kind=kind)
    control = set(range(32)) - {9, 10, 13}
    return ImageError("not_an_image" if control & set(start) or max(start) > 0xF7 else "text")


def _u16(data: bytes, at: int, big: bool = True) -> int:
    return struct.unpack_from(">H" if big else "<H", data, at)[0]


def _u32(data: bytes, at: int, big: bool = True) -> int:
    return struct.unpack_from(">I" if big else "<I", data, at)[0]


def _jpeg(data: bytes) -> tuple[str, ...]:
    """Check the segments up to the end of the picture: number, size, and scans times pixels."""
    pixels = scans = side = 0
    for step, (marker, at, length) in enumerate(_jpeg_segments(data)):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # SOF
            height, width = _u16(data, at + 5), _u16(data, at + 7)
            check_size(width, height)
            pixels = width * height
        scans += marker == 0xDA
        side += length if scans == 0 else 0
        if step > MAX_PARTS + 8 * MAX_SCANS or side > MAX_SIDE_DATA:
            raise ImageError("too_complex")
        if scans > MAX_SCANS or scans * pixels > MAX_SCANNED:
            raise ImageError("too_complex")
    return ()


_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # not a stuffed 0xFF, a restart or a fill byte


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, offset of its length field - 2, length) of each segment until the end of the picture."""
    at = 2
    while at + 2 <= len(data):
        if data[at] != 0xFF or data[at + 1] in (0x00, 0xFF):
            # Pillow skips fill bytes one by one, in Python.
            following = _NEXT_MARKER.search(data, at, at + MAX_STEPS)
            if following is None and at + MAX_STEPS < len(data):
                raise ImageError("too_complex")
            if following is None:
                return
            at = following.start()
        marker = data[at + 1]
        if marker == 0xD9:
            return
        length = 0 if marker == 0x01 or 0xD0 <= marker <= 0xD8 else _u16(data, at + 2)
        yield marker, at, length
        at += 2 + length
        if marker == 0xDA:
            following = _NEXT_MARKER.search(data, at)
            if following is None:
                return
            at = following.start()


def _png(data: bytes) -> tuple[str, ...]:
    """Check the size, the bit depth and the number of chunks."""
    width, height = struct.unpack_from(">II", data, 16)
    check_size(width, height)
    at, steps, others, packed, animated = 8, 0, 0, 0, False
    while at + 8 <= len(data):
        length, kind = _u32(data, at), data[at + 4 : at + 8]
        steps += 1
        others += kind not in (b"IDAT", b"fdAT", b"fcTL")
        packed += kind in (b"iCCP", b"iTXt", b"zTXt")  # each may decompress to a megabyte
        animated |= kind == b"acTL" and _u32(data, at + 8) > 1
        if steps > MAX_STEPS or others > MAX_PARTS or packed > MAX_PACKED:
            raise ImageError("too_complex")
        if kind == b"IEND":
            break
        at += 12 + length
    return ("sixteen_bit",) * (data[24] == 16) + ("first_frame",) * animated


def _gif(data: bytes) -> tuple[str, ...]:
    """Check the screen, the first frame and the data before it; note whether a second frame follows."""
    check_size(_u16(data, 6, False), _u16(data, 8, False))
    at = 13 + _colour_table(data[10])
    frames, steps, start, most = 0, 0, at, MAX_STEPS
    while at < len(data) and data[at] in (0x21, 0x2C):
        steps += 1
        if data[at] == 0x2C:
            frames += 1
            if frames == 2:
                return ("first_frame",)
            most = 8 * MAX_STEPS  # pixels come in many blocks
            left, top, width, height = struct.unpack_from("<4H", data, at + 1)
            check_size(left + width, top + height)
            at += 11 + _colour_table(data[at + 9])
        else:
            at += 2
        while at < len(data) and data[at] and steps <= most:
            at += 1 + data[at]
            steps += 1
        at += 1
        # Pillow joins comments block by block, copying all earlier blocks each time.
        if frames == 0 and (steps > most or at - start > 2**20):
            raise ImageError("too_complex")
        if steps > most:
            return ()
    return ()


def _colour_table(flags: int) -> int:
    """Size in bytes of the colour table declared by these flags."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _webp(data: bytes) -> tuple[str, ...]:
    """Check the canvas, which the decoder allocates before its size can be read, and the number of chunks."""
    if _u32(data, 4, False) + 8 > len(data):
        raise ImageError("truncated")
    kind = data[12:16]
    if kind == b"VP8X":
        check_size(1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little"))
    elif kind == b"VP8L":
        bits = _u32(data, 21, False)
        check_size(1 + (bits & 0x3FFF), 1 + ((bits >> 14) & 0x3FFF))
    else:
        check_size(_u16(data, 26, False) & 0x3FFF, _u16(data, 28, False) & 0x3FFF)
    at, chunks, frames = 12, 0, 0
    while at + 8 <= len(data):
        chunks += 1
        frames += data[at : at + 4] == b"ANMF"
        if chunks > MAX_STEPS:
            raise ImageError("too_complex")
        size = _u32(data, at + 4, False)
        at += 8 + size + (size & 1)
    return ("first_frame",) * (frames > 1)


def _bmp(data: bytes) -> tuple[str, ...]:
    """Check the size; accept run-length encoding only in small files, as Pillow decodes it in Python."""
    if _u32(data, 14, False) == 12:
        check_size(_u16(data, 18, False), _u16(data, 20, False))
        return ()
    width, height, _, _, compression = struct.unpack_from("<iiHHI", data, 18)
    check_size(width, abs(height))
    if compression in (1, 2) and (len(data) > MAX_RLE_BYTES or width * abs(height) > MAX_RLE_PIXELS):
        raise ImageError("too_complex")
    return ()


_TIFF_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}


def _tiff(data: bytes) -> tuple[str, ...]:
    """Check the first directory: the number of tags, their data against the file's size, the tile size."""
    big, large = data[:2] == b"MM", 43 in data[2:4]
    order = ">" if big else "<"
    count_code, entry, width = ("Q", "HHQ8s", 20) if large else ("H", "HHI4s", 12)
    at = struct.unpack_from(order + ("Q" if large else "I"), data, 8 if large else 4)[0]
    count = struct.unpack_from(order + count_code, data, at)[0]
    at += 8 if large else 2
    if count > MAX_PARTS:
        raise ImageError("too_complex")
    held, values = 0, {}
    for step in range(count):
        tag, kind, number, raw = struct.unpack_from(order + entry, data, at + width * step)
        held += number * _TIFF_TYPE_SIZES.get(kind, 1)
        code = {3: "H", 4: "I", 16: "Q"}.get(kind)
        if number == 1 and code in ("H", "I"):
            values[tag] = struct.unpack_from(order + code, raw)[0]
    if held > len(data):
        raise ImageError("damaged")
    if 256 in values and 257 in values:
        check_size(values[256], values[257])
    if values.get(322, 1) * values.get(323, 1) > MAX_PIXELS or values.get(277, 1) > 8:
        raise ImageError("too_complex")
    following = struct.unpack_from(order + ("Q" if large else "I"), data, at + width * count)[0]
    return ("first_page",) if following else ()


def _avif(data: bytes) -> tuple[str, ...]:
    """Check the coded sizes of the pictures: libavif decodes at those, whatever size the boxes declare."""
    try:
        sizes = sizes_of(data)
    except TooComplexError:
        raise ImageError("too_complex") from None
    if not sizes.coded + sizes.frames:
        raise ImageError("truncated")
    for width, height in sizes.coded + sizes.frames:
        check_size(width, height)
    if sizes.pixels > MAX_CODED or any(width * height > MAX_PIXELS for width, height in sizes.own):
        raise ImageError("too_complex")
    for width, height in sizes.coded:
        if (width, height) not in sizes.given:
            raise ImageError("two_sizes", width=width, height=height)
    return ()


_TURN_IN_HEIF = re.compile(rb"irot[\1\2\3]|imir")
_SIZE_IN_HEIF = re.compile(rb"ispe\0\0\0\0(.{4})(.{4})", re.DOTALL)


def _heif(data: bytes) -> tuple[str, ...]:
    """Check all boxes and the sizes of their pictures (libheif gives no clear error); note any rotation."""
    at, turned = 0, False
    for _ in range(MAX_PARTS):
        if at + 8 > len(data):
            return ("rotated",) * turned
        size = _u32(data, at)
        if size == 1:
            size = struct.unpack_from(">Q", data, at + 8)[0]
        if size == 0:  # to the end of the file
            return ("rotated",) * turned
        if size < 8:
            raise ImageError("damaged")
        if data[at + 4 : at + 8] == b"meta":
            turned |= _TURN_IN_HEIF.search(data, at, at + size) is not None
            for width, height in _SIZE_IN_HEIF.findall(data, at, at + size):
                check_size(int.from_bytes(width, "big"), int.from_bytes(height, "big"))
        at += size
        if at > len(data):
            raise ImageError("truncated")
    raise ImageError("too_complex")


def _is_heif(start: bytes) -> bool:
    brands = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
    return start[4:8] == b"ftyp" and start[8:12] in brands


def _is_tga(data: bytes) -> bool:
    """Whether a file looks like a TGA, which may have no signature: its header has to make sense."""
    if data[-18:] == b"TRUEVISION-XFILE.\0":
        return True
    if len(data) < 18:
        return False
    mapped, kind, (width, height), depth = data[1], data[2], struct.unpack_from("<HH", data, 12), data[16]
    fits = {1: (8, 16), 9: (8, 16), 3: (8, 16), 11: (8, 16), 2: (15, 16, 24, 32), 10: (15, 16, 24, 32)}
    return mapped == (kind in (1, 9)) and depth in fits.get(kind, ()) and width > 0 and height > 0


def _is_avif(start: bytes) -> bool:
    return start[4:8] == b"ftyp" and (b"avif" in start[8:] or b"avis" in start[8:])


_READERS: dict[str, tuple[Callable[[bytes], bool], Callable[[bytes], tuple[str, ...]]]] = {
    "JPEG": (lambda start: start[:3] == b"\xff\xd8\xff", _jpeg),
    "PNG": (lambda start: start[:8] == b"\x89PNG\r\n\x1a\n", _png),
    "GIF": (lambda start: start[:6] in (b"GIF87a", b"GIF89a"), _gif),
    "WEBP": (lambda start: start[:4] == b"RIFF" and start[8:12] == b"WEBP", _webp),
    "BMP": (lambda start: start[:2] == b"BM" and start[15:18] == b"\0\0\0", _bmp),
    "TIFF": (lambda start: start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _tiff),
    "AVIF": (_is_avif, _avif),
    "HEIF": (_is_heif, _heif),  # after AVIF, which may begin with the same general brand
}
_OTHERS = {
    "PDF": rb"\s*%PDF-",
    "PostScript": rb"%!PS|\xc5\xd0\xd3\xc6",
    "ZIP": rb"PK\x03\x04|PK\x05\x06",
    "camera raw": rb"....ftypcrx |FUJIFILMCCD-RAW|IIR[OS]|MMOR|IIU\0|\0MRM|FOVb",
    "MP4 video": rb"....ftyp",
    "AVI video": rb"RIFF....AVI ",
    "Matroska video": rb"\x1a\x45\xdf\xa3",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "Photoshop": rb"8BPS",
    "GIMP": rb"gimp xcf",
    "ICO": rb"\0\0[\x01\x02]\0[^\0]\0",
    "ICNS": rb"icns",
    "PPM": rb"P[1-7Ffy]\s|Pf?[1-7][#\s]",
    "QOI": rb"qoif",
    "PCX": rb"\x0a[\x00\x02-\x05]\x01[\x01\x02\x04\x08]|\xb1\x68\xde\x3a",
    "DDS": rb"DDS ",
    "SGI": rb"\x01\xda[\0\x01][\x01\x02]",
    "Sun raster": rb"\x59\xa6\x6a\x95",
    "BLP": rb"BLP[12]",
    "FTEX": rb"FTEX",
    "FLI": rb"....[\x11\x12]\xaf",
    "MSP": rb"DanM|LinS",
    "XBM": rb"\s*#define\s+\S+_width",
    "XPM": rb"/\* XPM \*/",
    "IM": rb"Image type:|Name:[^\n]*\nImage",
    "WMF or EMF": rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF|\x01\0\x09\0\0[\x01\x03]",
    "FITS": rb"SIMPLE  =",
    "OpenEXR": rb"\x76\x2f\x31\x01",
    "Radiance HDR": rb"#\?R(ADIANC|GB)E",
    "HDF5": rb"\x89HDF",
    "GRIB": rb"GRIB",
    "BUFR": rb"BUFR",
    "PIXAR": rb"\x80\xe8\0\0",
    "GIMP brush": rb".{20}GIMP",
    "McIDAS": rb"\0{7}\x04",
    "DIB": rb"[\x0c\x28\x40\x6c\x7c]\0\0\0",
    "TAR": rb".{257}ustar",
    "DICOM": rb".{128}DICM",
    "MNG": rb"[\x8a\x8b][MJ]NG",
    "NumPy": rb"\x93NUMPY",
    "GZIP": rb"\x1f\x8b",
    "FlashPix or Office": rb"\xd0\xcf\x11\xe0",
}
