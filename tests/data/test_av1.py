"""An AVIF is decoded at the size in its AV1 stream: that is checked, and the boxes must agree with it."""

from __future__ import annotations

import io
import re
import struct
from typing import Any

import pytest
from PIL import Image

from cfviz.data.av1 import sizes_of
from cfviz.data.header import ImageError, read_header
from cfviz.data.images import load_image


def avif(image: Image.Image, **options: Any) -> bytes:
    """An AVIF as Pillow writes it."""
    buffer = io.BytesIO()
    image.save(buffer, "AVIF", speed=10, **options)
    return buffer.getvalue()


def saying(data: bytes, width: int, height: int) -> bytes:
    """The same pictures under another declared size."""
    return re.sub(rb"(?<=ispe....).{8}", struct.pack(">II", width, height), data, flags=re.DOTALL)


def code_of(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        load_image(data)
    return caught.value.code


def box(kind: bytes, *content: bytes) -> bytes:
    inside = b"".join(content)
    return struct.pack(">I", 8 + len(inside)) + kind + inside


def unit(kind: int, content: bytes) -> bytes:
    """An OBU (a unit of an AV1 stream) with its length."""
    return bytes([kind << 3 | 2, len(content)]) + content


def sequence(width: int, height: int, reduced: bool = True, bits: int = 16) -> bytes:
    """A sequence header up to the size; a full one has one operating point and no timing."""
    start = "0001100000" if reduced else "000100000000" + 12 * "0" + "00000"
    sizes = f"{bits - 1:04b}{bits - 1:04b}{width - 1:0{bits}b}{height - 1:0{bits}b}"
    rest = "000000000000"  # no numbers, no tools
    text = (start + sizes + rest).ljust(8 * 16, "0")
    return unit(1, int(text, 2).to_bytes(16, "big"))


def file_of(*streams: bytes, given: tuple[int, int] = (100, 100), in_idat: bool = False) -> bytes:
    """The boxes that point to the pictures, which are in `mdat` or in `idat`."""
    numbers = range(1, len(streams) + 1)
    infos = [box(b"infe", bytes([2, 0, 0, 0]), struct.pack(">HH", n, 0), b"av01\0") for n in numbers]
    size = box(b"ispe", bytes(4), struct.pack(">II", *given))

    def meta(at: int) -> bytes:
        places = b""
        for number, stream in zip(numbers, streams, strict=True):
            places += struct.pack(">HHHHII", number, int(in_idat), 0, 1, at, len(stream))
            at += len(stream)
        return box(
            b"meta",
            bytes(4),
            box(b"iinf", bytes(4), struct.pack(">H", len(streams)), *infos),
            box(b"iloc", bytes([1, 0, 0, 0, 0x44, 0]), struct.pack(">H", len(streams)), places),
            box(b"iprp", box(b"ipco", size)),
            box(b"idat", *streams) if in_idat else b"",
        )

    start = box(b"ftyp", b"avif", bytes(4), b"avifmif1")
    at = 0 if in_idat else len(start) + len(meta(0)) + 8
    return start + meta(at) + (b"" if in_idat else box(b"mdat", *streams))


@pytest.mark.slow
def test_a_large_picture_declared_as_small_is_not_decoded() -> None:
    data = saying(avif(Image.new("L", (7100, 7100), 90), subsampling="4:0:0"), 100, 100)
    assert len(data) < 10_000
    assert code_of(data) == "too_many_pixels"


def test_a_picture_of_two_sizes_is_refused_rather_than_stretched() -> None:
    data = avif(Image.linear_gradient("L").convert("RGB").resize((60, 44)))
    assert load_image(data).size == (60, 44)
    with pytest.raises(ImageError, match="coded as 60 x 44 pixels, but the file says it has another size"):
        load_image(saying(data, 30, 44))


@pytest.mark.parametrize("in_idat", [False, True])
@pytest.mark.parametrize("reduced", [False, True])
def test_every_picture_and_every_sequence_header_counts(in_idat: bool, reduced: bool) -> None:
    good, large = sequence(100, 100, reduced, bits=7), sequence(9000, 9000, reduced, bits=14)
    frame = unit(6, bytes(20))
    assert read_header(file_of(good + frame, good + frame, in_idat=in_idat)).notes == ()
    for streams in ((large,), (good, large), (good + frame + large,)):
        with pytest.raises(ImageError, match=r"has 81\.0 million pixels"):
            read_header(file_of(*(stream + frame for stream in streams), in_idat=in_idat))


def test_a_frame_may_not_be_far_larger_than_its_sequence() -> None:
    key, own_size = 0b0_00_1_0_0_00, 0b0_00_1_0_1_00
    roomy = sequence(100, 100, reduced=False, bits=16)  # some encoders always write 16 bits
    assert read_header(file_of(roomy + unit(6, bytes([key, 0])))).notes == ()
    for first in (b"", unit(6, bytes([key, 0]))):
        with pytest.raises(ImageError, match="far more parts"):
            read_header(file_of(roomy + first + unit(6, bytes([own_size, 0]))))
    near = sequence(100, 100, reduced=False, bits=7)
    assert read_header(file_of(near + unit(6, bytes([own_size, 0])))).notes == ()


def frame(width: int, height: int, kind: int = 0, shown: int = 1, bits: int = 16) -> bytes:
    """A frame with a size of its own, after a sequence header from `sequence`."""
    start = f"0{kind:02b}{shown}" + ("" if shown else "0") + ("" if kind == 0 and shown else "1")
    start += "0" + "1" + ("" if kind == 0 and shown else "11111110")
    text = start + f"{width - 1:0{bits}b}{height - 1:0{bits}b}"
    return unit(6, int(text.ljust(8 * 12, "0"), 2).to_bytes(12, "big"))


@pytest.mark.parametrize(("kind", "shown"), [(0, 1), (0, 0), (2, 1)])
def test_a_frames_own_size_is_checked_too(kind: int, shown: int) -> None:
    """Up to 200 million pixels passed, four times what any other photo may have."""
    roomy = sequence(100, 100, reduced=False, bits=16)
    good = roomy + frame(120, 90, kind, shown)
    assert sizes_of(file_of(good)).own == ((120, 90),)
    assert sizes_of(file_of(good)).pixels == 120 * 90
    assert read_header(file_of(good)).notes == ()
    with pytest.raises(ImageError, match="far more parts"):
        read_header(file_of(roomy + frame(10_000, 6_000, kind, shown)))


def test_the_parts_of_an_avif_are_bounded_together() -> None:
    """Tiles that overlap the picture's edge, hidden frames and layers: each part is within the limit."""
    tile = sequence(7000, 7000, reduced=False) + unit(6, bytes(20))
    assert read_header(file_of(tile, tile, given=(7000, 7000))).notes == (), "a photo and its transparency"
    for streams in ((tile,) * 3, (tile + unit(6, bytes(20)) * 2,)):
        with pytest.raises(ImageError, match="far more parts"):
            read_header(file_of(*streams, given=(7000, 7000)))


def test_an_animation_has_the_size_of_its_first_frame() -> None:
    still = Image.linear_gradient("L").convert("RGB").resize((60, 44))
    data = avif(still, save_all=True, append_images=[still.rotate(30)])
    sizes = sizes_of(data)
    assert sizes.coded == sizes.frames == ((60, 44),)
    assert load_image(data).notes == ("first_frame",)


def test_pictures_that_overlap_or_never_end_are_refused_at_once() -> None:
    good = sequence(100, 100)
    data = bytearray(file_of(*[good] * 300))
    at = data.index(b"iloc") + 8 + 4
    for number in range(300):  # each reaches to the end of the file
        data[at + 16 * number + 8 : at + 16 * number + 16] = struct.pack(">II", 40, 0)
    for hostile in (bytes(data), file_of(good + b"\x12\0" * 10**6), file_of(*[good] * 600)):
        with pytest.raises(ImageError, match="far more parts"):
            read_header(hostile)
