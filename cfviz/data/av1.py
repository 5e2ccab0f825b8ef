"""The sizes at which an AVIF's pictures are coded, which need not be those that its boxes give.

libavif allocates and decodes a picture at the size in the AV1 stream (a sequence header), then scales it to
the size that the boxes give (`ispe`). A file of two kilobytes can so announce 100 x 100 pixels and cost 200
million. Only boxes and the heads of units (OBUs) are read here, nothing is decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MAX_BOXES = 4096
MAX_ITEMS = 512
MAX_TRACKS = 8
MAX_UNITS = 4096  # of one picture
_SEQUENCE, _FRAMES = 1, (3, 6, 7)  # types of units (OBUs)
_KEY, _SWITCH = 0, 3  # types of frames


class TooComplexError(ValueError):
    """The file has more parts than a photo needs."""


@dataclass(frozen=True)
class Sizes:
    """Widths and heights of an AVIF.

    Attributes:
        coded: Of the still pictures in it, as the AV1 stream has them.
        frames: Of the frames of an animation, likewise.
        largest: The most that their frames can ask for: some give a size of their own.
        given: What the boxes say of still pictures.
    """

    coded: tuple[tuple[int, int], ...]
    frames: tuple[tuple[int, int], ...]
    largest: tuple[tuple[int, int], ...]
    given: frozenset[tuple[int, int]]


def sizes_of(data: bytes) -> Sizes:
    """The sizes in an AVIF, coded and given.

    Raises:
        TooComplexError: More boxes, pictures or bytes of pictures than a photo has.
        struct.error: A box ends before what it must contain; so does `IndexError`.
    """
    still: list[tuple[tuple[int, int], tuple[int, int]]] = []
    moving: list[tuple[tuple[int, int], tuple[int, int]]] = []
    given: set[tuple[int, int]] = set()
    for kind, start, end in _boxes(data, 0, len(data)):
        if kind == b"meta":
            inside = {name: (at, to) for name, at, to in reversed(list(_boxes(data, start + 4, end)))}
            given.update(_given(data, *inside.get(b"iprp", (0, 0))))
            for stream in _items(data, inside):
                still += _sizes(stream)
        elif kind == b"moov":
            for stream in _first_frames(data, start, end):
                moving += _sizes(stream)
    return Sizes(
        tuple(dict.fromkeys(size for size, _ in still)),
        tuple(dict.fromkeys(size for size, _ in moving)),
        tuple(dict.fromkeys(largest for _, largest in still + moving)),
        frozenset(given),
    )


# ---------------------------------------------------------------- boxes


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start of the content, end) of each box in a stretch of the file."""
    end = min(end, len(data))
    for _ in range(MAX_BOXES):
        if at + 8 > end:
            return
        size, kind, content = _number(data, at, 4), data[at + 4 : at + 8], at + 8
        if size == 1:
            size, content = _number(data, at + 8, 8), at + 16
        to = end if size == 0 else min(at + size, end)
        if to < content:
            return
        yield kind, content, to
        at = to
    raise TooComplexError("the file has too many boxes")


def _number(data: bytes, at: int, width: int) -> int:
    """An unsigned number of so many bytes; 0 of none."""
    if at + width > len(data):
        raise struct.error("the file ends within a number")
    return int.from_bytes(data[at : at + width], "big")


def _given(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """What `ispe` boxes say."""
    for kind, at, to in _boxes(data, start, end):
        if kind == b"ipco":
            for name, content, _ in _boxes(data, at, to):
                if name == b"ispe":
                    yield _number(data, content + 4, 4), _number(data, content + 8, 4)


def _items(data: bytes, inside: dict[bytes, tuple[int, int]]) -> Iterator[bytes]:
    """The bytes of each still picture, joined from where they lie."""
    coded = set(_coded_items(data, *inside.get(b"iinf", (0, 0))))
    beginning = inside.get(b"idat", (0, 0))[0]
    room = 2 * len(data)  # stretches that overlap would multiply the file
    for number, stretches in _locations(data, *inside.get(b"iloc", (0, 0))):
        if number not in coded:
            continue
        parts = []
        for method, at, length in stretches:
            at += beginning if method == 1 else 0
            parts.append(data[at : at + length] if length else data[at:])
            room -= len(parts[-1])
            if room < 0:
                raise TooComplexError("the pictures overlap")
        yield b"".join(parts)


def _coded_items(data: bytes, start: int, end: int) -> Iterator[int]:
    """Numbers of the items (`iinf`) that are AV1."""
    if start == end:
        return
    for kind, at, _ in _boxes(data, start + (6 if data[start] == 0 else 8), end):
        if kind == b"infe" and data[at] in (2, 3):
            width = 2 if data[at] == 2 else 4
            if data[at + 6 + width : at + 10 + width] == b"av01":
                yield _number(data, at + 4, width)


def _locations(data: bytes, start: int, end: int) -> Iterator[tuple[int, list[tuple[int, int, int]]]]:
    """(number, [(0 in the file or 1 in `idat`, offset, length)]) of each item (`iloc`)."""
    if start == end:
        return
    version, widths = data[start], _number(data, start + 4, 2)
    of_offset, of_length, of_base, of_index = (widths >> shift & 15 for shift in (12, 8, 4, 0))
    of_index = of_index if version in (1, 2) else 0
    wide = 4 if version == 2 else 2
    count, at = _number(data, start + 6, wide), start + 6 + wide
    if count > MAX_ITEMS:
        raise TooComplexError("the file has too many items")
    left = MAX_BOXES
    for _ in range(count):
        number, at = _number(data, at, wide), at + wide
        method = 0
        if version in (1, 2):
            method, at = _number(data, at, 2) & 15, at + 2
        base, at = _number(data, at + 2, of_base), at + 2 + of_base
        extents, at = _number(data, at, 2), at + 2
        left -= extents
        if left < 0:
            raise TooComplexError("an item lies in too many places")
        stretches = []
        for _ in range(extents):
            at += of_index
            offset, length = _number(data, at, of_offset), _number(data, at + of_offset, of_length)
            at += of_offset + of_length
            stretches.append((method, base + offset, length))
        yield number, stretches


def _first_frames(data: bytes, start: int, end: int) -> Iterator[bytes]:
    """The bytes of the first frame of each track of an animation."""
    stretches = [(start, end)]
    for wanted in (b"trak", b"mdia", b"minf", b"stbl"):
        stretches = [
            (at, to) for stretch in stretches for kind, at, to in _boxes(data, *stretch) if kind == wanted
        ]
        if len(stretches) > MAX_TRACKS:
            raise TooComplexError("the file has too many tracks")
    for stretch in stretches:
        length, places = len(data), []
        for kind, at, _ in _boxes(data, *stretch):
            if kind == b"stsz" and _number(data, at + 8, 4):
                length = _number(data, at + 4, 4) or _number(data, at + 12, 4)
            elif kind in (b"stco", b"co64") and _number(data, at + 4, 4):
                places.append(_number(data, at + 8, 4 if kind == b"stco" else 8))
        for place in places[:1]:
            yield data[place : place + length]


# ---------------------------------------------------------------- AV1


@dataclass(frozen=True)
class _Sequence:
    """A sequence header, as far as sizes need it.

    Attributes:
        size: Width and height of frames that give none of their own.
        largest: The most that frames with a size of their own can give.
        reduced: It is that of a single still picture, whose frame has no size of its own.
        time_bits: Length of the presentation time that a shown frame has.
        id_bits: Length of the frame's number.
        screen_tools: 0 or 1 for all frames, 2 where each says it.
        integer_vectors: Likewise.
    """

    size: tuple[int, int]
    largest: tuple[int, int]
    reduced: bool
    time_bits: int = 0
    id_bits: int = 0
    screen_tools: int = 0
    integer_vectors: int = 0


def _sizes(data: bytes) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """(size, the most a frame can ask for) of all sequence headers: one may follow a hidden frame."""
    at, last = 0, None
    for _ in range(MAX_UNITS):
        if at >= len(data):
            return
        head = data[at]
        at += 2 if head & 4 else 1
        length = len(data) - at
        if head & 2:
            length, at = _leb128(data, at)
        kind, content = head >> 3 & 15, data[at : at + min(length, 1024)]
        if kind == _SEQUENCE:
            last = _sequence(_Bits(content))
            yield last.size, last.size
        elif kind in _FRAMES and last and not last.reduced and _own_size(_Bits(content), last):
            yield last.size, last.largest
        at += length
    raise TooComplexError("a picture has too many parts")


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = 0
    for step in range(8):
        value |= (data[at + step] & 127) << 7 * step
        if data[at + step] < 128:
            return value, at + step + 1
    raise IndexError("the number has no end")


class _Bits:
    """Bits of bytes, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        """The next bits as a number."""
        self._left -= count
        if self._left < 0:
            raise IndexError("the sequence header ends too early")
        return self._value >> self._left & (1 << count) - 1


def _sequence(bits: _Bits) -> _Sequence:
    """A sequence header up to what a frame's size depends on (AV1 specification, 5.5.1)."""
    bits.take(3 + 1)  # profile, still_picture
    reduced, time_bits = bool(bits.take(1)), 0
    if reduced:
        bits.take(5)  # level
    else:
        time_bits = _operating_points(bits)
    of_width, of_height = bits.take(4) + 1, bits.take(4) + 1
    size = bits.take(of_width) + 1, bits.take(of_height) + 1
    if reduced:
        return _Sequence(size, size, reduced)
    id_bits = 0
    if bits.take(1):  # frame_id_numbers_present_flag
        id_bits = bits.take(4) + 2
        id_bits += bits.take(3) + 1
    bits.take(3 + 4)  # superblocks to the dual filter
    if bits.take(1):  # enable_order_hint
        bits.take(2)
    screen_tools = 2 if bits.take(1) else bits.take(1)
    integer_vectors = 2
    if screen_tools:
        integer_vectors = 2 if bits.take(1) else bits.take(1)
    largest = 1 << of_width, 1 << of_height
    return _Sequence(size, largest, reduced, time_bits, id_bits, screen_tools, integer_vectors)


def _operating_points(bits: _Bits) -> int:
    """Step over times, delays and operating points; how long a frame's presentation time is."""
    decoder_model, delay, time_bits = 0, 0, 0
    if bits.take(1):  # timing_info
        bits.take(32 + 32)
        equal = bits.take(1)
        if equal:
            zeros = 0
            while zeros < 32 and not bits.take(1):
                zeros += 1
            bits.take(zeros if zeros < 32 else 0)
        decoder_model = bits.take(1)
        if decoder_model:
            delay = bits.take(5) + 1
            bits.take(32 + 5)
            time_bits = bits.take(5) + 1
            time_bits = 0 if equal else time_bits
    initial_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)  # tier
        if decoder_model and bits.take(1):
            bits.take(2 * delay + 1)
        if initial_delay and bits.take(1):
            bits.take(4)
    return time_bits


def _own_size(bits: _Bits, of: _Sequence) -> bool:
    """Whether a frame gives a size of its own (`frame_size_override_flag`; AV1 specification, 5.9.2)."""
    if bits.take(1):  # show_existing_frame
        return False
    kind, shown = bits.take(2), bits.take(1)
    if shown:
        bits.take(of.time_bits)
    else:
        bits.take(1)  # showable_frame
    if not (kind == _SWITCH or (kind == _KEY and shown)):
        bits.take(1)  # error_resilient_mode
    bits.take(1)  # disable_cdf_update
    tools = bits.take(1) if of.screen_tools == 2 else of.screen_tools
    if tools and of.integer_vectors == 2:
        bits.take(1)
    bits.take(of.id_bits)
    return kind == _SWITCH or bool(bits.take(1))
