"""The coded sizes of an AVIF's pictures, which may differ from the sizes declared in its boxes.

libavif allocates and decodes a picture at the size in the AV1 stream (a sequence header), then scales it to
the size declared in the boxes (`ispe`). A file of two kilobytes can therefore declare 100 x 100 pixels but
cost 200 million. This module reads only boxes and the headers of units (OBUs); it decodes nothing.
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
_KEY, _INTRA, _SWITCH = 0, 2, 3  # types of frames


class TooComplexError(ValueError):
    """A file has more parts than any photo needs."""


@dataclass(frozen=True)
class Sizes:
    """Widths and heights of an AVIF.

    Attributes:
        coded: Sizes of the still pictures in the AV1 stream.
        frames: Sizes of the first frames of an animation's tracks in the AV1 stream.
        own: Sizes that frames set for themselves; the largest possible where that cannot be read.
        pixels: Number of pixels in all frames of all still pictures, or of all first frames if that is more.
        given: Sizes of still pictures declared in the boxes.
    """

    coded: tuple[tuple[int, int], ...]
    frames: tuple[tuple[int, int], ...]
    own: tuple[tuple[int, int], ...]
    pixels: int
    given: frozenset[tuple[int, int]]


def sizes_of(data: bytes) -> Sizes:
    """Read the coded and declared sizes in an AVIF.

    Raises:
        TooComplexError: If there are more boxes, pictures or bytes of pictures than any photo has.
        struct.error: If a box is truncated.
        IndexError: Likewise.
    """
    still, moving = _Coded(), _Coded()
    given: set[tuple[int, int]] = set()
    for kind, start, end in _boxes(data, 0, len(data)):
        if kind == b"meta":
            inside = {name: (at, to) for name, at, to in reversed(list(_boxes(data, start + 4, end)))}
            given.update(_given(data, *inside.get(b"iprp", (0, 0))))
            for stream in _items(data, inside):
                still.read(stream)
        elif kind == b"moov":
            for stream in _first_frames(data, start, end):
                moving.read(stream)
    return Sizes(
        tuple(still.sizes),
        tuple(moving.sizes),
        (*still.own, *moving.own),
        max(still.pixels, moving.pixels),
        frozenset(given),
    )


# ---------------------------------------------------------------- boxes


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start of the content, end) of each box between two offsets."""
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
    """An unsigned integer of `width` bytes; 0 if `width` is 0."""
    if at + width > len(data):
        raise struct.error("the file ends within a number")
    return int.from_bytes(data[at : at + width], "big")


def _given(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The widths and heights in `ispe` boxes."""
    for kind, at, to in _boxes(data, start, end):
        if kind == b"ipco":
            for name, content, _ in _boxes(data, at, to):
                if name == b"ispe":
                    yield _number(data, content + 4, 4), _number(data, content + 8, 4)


def _items(data: bytes, inside: dict[bytes, tuple[int, int]]) -> Iterator[bytes]:
    """The bytes of each still picture, joined from its extents."""
    coded = set(_coded_items(data, *inside.get(b"iinf", (0, 0))))
    beginning = inside.get(b"idat", (0, 0))[0]
    room = 2 * len(data)  # overlapping extents could multiply the size of the file
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
    """Ids of the items (`iinf`) coded in AV1."""
    if start == end:
        return
    for kind, at, _ in _boxes(data, start + (6 if data[start] == 0 else 8), end):
        if kind == b"infe" and data[at] in (2, 3):
            width = 2 if data[at] == 2 else 4
            if data[at + 6 + width : at + 10 + width] == b"av01":
                yield _number(data, at + 4, width)


def _locations(data: bytes, start: int, end: int) -> Iterator[tuple[int, list[tuple[int, int, int]]]]:
    """(id, [(0 for the file or 1 for `idat`, offset, length)]) of each item (`iloc`)."""
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
    """The bytes of the first frame of each track in an animation."""
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
    """The fields of a sequence header that frame sizes depend on.

    Attributes:
        size: Width and height of frames without a size of their own.
        widths: Length in bits of a frame's own width and height.
        reduced: Whether the header is that of a single still picture, whose frame cannot set a size.
        time_bits: Length in bits of a shown frame's presentation time.
        id_bits: Length in bits of a frame's id.
        order_bits: Length in bits of a frame's place in the order.
        screen_tools: 0 or 1 for all frames, or 2 if each frame has its own flag.
        integer_vectors: Likewise.
        decoder_model: Whether frames may say when buffers are removed.
    """

    size: tuple[int, int]
    widths: tuple[int, int]
    reduced: bool
    time_bits: int = 0
    id_bits: int = 0
    order_bits: int = 0
    screen_tools: int = 0
    integer_vectors: int = 0
    decoder_model: bool = False


class _Coded:
    """What a decoder would have to decode.

    Attributes:
        sizes: Sizes in sequence headers; more than one may follow a hidden frame.
        own: Sizes that frames set for themselves.
        pixels: Number of pixels in all frames.
    """

    def __init__(self) -> None:
        self.sizes: dict[tuple[int, int], None] = {}
        self.own: dict[tuple[int, int], None] = {}
        self.pixels = 0

    def read(self, data: bytes) -> None:
        """Add the units of one picture."""
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
                self.sizes[last.size] = None
            elif kind in _FRAMES and last is not None:
                self._frame(_Bits(content), last)
            at += length
        raise TooComplexError("a picture has too many parts")

    def _frame(self, bits: _Bits, of: _Sequence) -> None:
        size = None if of.reduced else _own_size(bits, of)
        if size is not None:
            self.own[size] = None
        width, height = size or of.size
        self.pixels += width * height


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """A LEB128 number (seven bits per byte), and the offset after it."""
    value = 0
    for step in range(8):
        value |= (data[at + step] & 127) << 7 * step
        if data[at + step] < 128:
            return value, at + step + 1
    raise IndexError("the number has no end")


class _Bits:
    """A reader of bits from bytes, most significant bit first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        """Read the next `count` bits as an unsigned integer."""
        self._left -= count
        if self._left < 0:
            raise IndexError("the sequence header ends too early")
        return self._value >> self._left & (1 << count) - 1


def _sequence(bits: _Bits) -> _Sequence:
    """Parse a sequence header as far as frame sizes depend on it (AV1 specification, 5.5.1)."""
    bits.take(3 + 1)  # profile, still_picture
    reduced, time_bits, decoder_model = bool(bits.take(1)), 0, False
    if reduced:
        bits.take(5)  # level
    else:
        time_bits, decoder_model = _operating_points(bits)
    of_width, of_height = bits.take(4) + 1, bits.take(4) + 1
    size = bits.take(of_width) + 1, bits.take(of_height) + 1
    if reduced:
        return _Sequence(size, (of_width, of_height), reduced)
    id_bits = order_bits = 0
    if bits.take(1):  # frame_id_numbers_present_flag
        id_bits = bits.take(4) + 2
        id_bits += bits.take(3) + 1
    bits.take(3 + 4)  # superblocks to the dual filter
    ordered = bits.take(1)  # enable_order_hint
    if ordered:
        bits.take(2)
    screen_tools = 2 if bits.take(1) else bits.take(1)
    integer_vectors = 2
    if screen_tools:
        integer_vectors = 2 if bits.take(1) else bits.take(1)
    if ordered:
        order_bits = bits.take(3) + 1
    return _Sequence(
        size, (of_width, of_height), reduced, time_bits, id_bits, order_bits, screen_tools, integer_vectors,
        decoder_model,
    )  # fmt: skip


def _operating_points(bits: _Bits) -> tuple[int, bool]:
    """Skip timing, delays and operating points.

    Returns:
        The length in bits of a frame's presentation time, and whether there is a model of the decoder.
    """
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
    return time_bits, bool(decoder_model)


def _own_size(bits: _Bits, of: _Sequence) -> tuple[int, int] | None:
    """The size a frame sets for itself, if it does (AV1 specification, 5.9.2).

    Where it cannot be read, it is the largest that the header has bits for.
    """
    if bits.take(1):  # show_existing_frame
        return None
    kind, shown = bits.take(2), bits.take(1)
    if shown:
        bits.take(of.time_bits)
    else:
        bits.take(1)  # showable_frame
    resilient = True
    if not (kind == _SWITCH or (kind == _KEY and shown)):
        resilient = bool(bits.take(1))
    bits.take(1)  # disable_cdf_update
    tools = bits.take(1) if of.screen_tools == 2 else of.screen_tools
    if tools and of.integer_vectors == 2:
        bits.take(1)
    bits.take(of.id_bits)
    if kind != _SWITCH and not bits.take(1):  # frame_size_override_flag
        return None
    largest = 1 << of.widths[0], 1 << of.widths[1]
    if kind not in (_KEY, _INTRA) or of.decoder_model:  # its size may be that of another frame
        return largest
    try:
        bits.take(of.order_bits)
        if not (kind == _KEY and shown):
            refreshed = bits.take(8)
            if refreshed != 0xFF and resilient:
                bits.take(8 * of.order_bits)
        return bits.take(of.widths[0]) + 1, bits.take(of.widths[1]) + 1
    except IndexError:
        return largest
