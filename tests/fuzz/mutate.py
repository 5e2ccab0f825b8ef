"""Ways to damage bytes: blind ones, and some that know where a format keeps the fields that readers trust."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np

Rng = np.random.Generator
Mutation = Callable[[bytearray, Rng], str]

BYTES = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)
WORDS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF)
LONGS = (*WORDS, 0x10000, 0xFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
HEAD = 160  # bytes that usually contain the header


def place(data: bytearray, rng: Rng) -> int:
    """A position in the file, half of the time in its first bytes."""
    end = min(len(data), HEAD) if rng.random() < 0.5 else len(data)
    return int(rng.integers(end))


def flip(data: bytearray, rng: Rng) -> str:
    """Flip one bit."""
    at = place(data, rng)
    data[at] ^= 1 << int(rng.integers(8))
    return f"bit at {at}"


def byte(data: bytearray, rng: Rng) -> str:
    """Replace one byte, often by an extreme value."""
    at = place(data, rng)
    data[at] = int(rng.choice(BYTES)) if rng.random() < 0.7 else int(rng.integers(256))
    return f"byte {data[at]} at {at}"


def number(data: bytearray, rng: Rng) -> str:
    """Replace a number of two or four bytes, in either byte order, often by an extreme value."""
    code, values = (("H", WORDS), ("I", LONGS))[int(rng.integers(2))]
    order = "<>"[int(rng.integers(2))]
    at, value = place(data, rng), int(rng.choice(values))
    packed = struct.pack(order + code, value)
    data[at : at + len(packed)] = packed
    return f"{order}{code} {value} at {at}"


def drop(data: bytearray, rng: Rng) -> str:
    """Remove a stretch of bytes."""
    at, size = place(data, rng), 1 + int(rng.exponential(40))
    del data[at : at + size]
    return f"{size} bytes less at {at}"


def repeat(data: bytearray, rng: Rng) -> str:
    """Repeat a stretch of bytes, once or a hundred times."""
    at, size = place(data, rng), 1 + int(rng.exponential(40))
    times = int(rng.choice((1, 1, 2, 100)))
    data[at:at] = data[at : at + size] * times
    return f"{size} bytes at {at} again, {times} times"


def noise(data: bytearray, rng: Rng) -> str:
    """Replace a stretch by random bytes."""
    at, size = place(data, rng), 1 + int(rng.exponential(20))
    data[at : at + size] = rng.bytes(size)
    return f"{size} bytes of noise at {at}"


def cut(data: bytearray, rng: Rng) -> str:
    """Cut off the end."""
    end = place(data, rng)
    del data[end:]
    return f"cut at {end}"


BLIND: tuple[Mutation, ...] = (flip, byte, byte, number, number, drop, repeat, noise, cut)


def png_chunk(data: bytearray, rng: Rng) -> str:
    """Change a chunk of a PNG and correct its checksum, so that it is believed."""
    places, at = [], 8
    while at + 12 <= len(data):
        size = struct.unpack_from(">I", data, at)[0]
        if at + 12 + size > len(data):
            break
        places.append((at, size))
        at += 12 + size
    if not places:
        return byte(data, rng)
    at, size = places[int(rng.integers(len(places)))]
    body = data[at + 8 : at + 8 + size]
    note = BLIND[int(rng.integers(len(BLIND)))](body, rng) if body else "empty"
    kind = bytes(data[at + 4 : at + 8])
    if rng.random() < 0.1:
        others = (b"tRNS", b"PLTE", b"iCCP", b"acTL", b"fcTL", b"fdAT", b"eXIf", b"gAMA", b"pHYs", b"zTXt")
        kind = others[int(rng.integers(len(others)))]
    sum_ = zlib.crc32(kind + body)
    data[at : at + 12 + size] = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", sum_)
    return f"chunk {kind!r}: {note}"


def tiff_tag(data: bytearray, rng: Rng) -> str:
    """Change one entry of a TIFF's first directory: its tag, type, count or value."""
    order = ">" if data[:2] == b"MM" else "<"
    if len(data) < 16:
        return byte(data, rng)
    at = struct.unpack_from(order + "I", data, 4)[0]
    if at + 14 > len(data):
        return byte(data, rng)
    count = struct.unpack_from(order + "H", data, at)[0]
    entry = at + 2 + 12 * int(rng.integers(max(1, min(count, 60))))
    if entry + 12 > len(data):
        return byte(data, rng)
    which = int(rng.integers(4))
    tags = (256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 338, 339, 34675, 347)
    values = (tags, range(19), LONGS, LONGS)[which]
    value = int(rng.choice(values))
    struct.pack_into(order + "HHII"[which], data, entry + (0, 2, 4, 8)[which], value)
    return f"entry at {entry}: {('tag', 'type', 'count', 'value')[which]} {value}"


def jpeg_segment(data: bytearray, rng: Rng) -> str:
    """Change one segment of a JPEG: its marker, its length, or a byte of its contents."""
    places, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        places.append(at)
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    places += [at] if at + 4 <= len(data) else []
    if not places:
        return byte(data, rng)
    at = places[int(rng.integers(len(places)))]
    size = struct.unpack_from(">H", data, at + 2)[0]
    what = int(rng.integers(3))
    if what == 0:
        data[at + 1] = int(rng.integers(0xC0, 0x100))
        return f"marker {data[at + 1]:#x} at {at}"
    if what == 1:
        struct.pack_into(">H", data, at + 2, int(rng.choice(WORDS)))
        return f"length of the segment at {at}"
    inside = min(at + 4 + int(rng.integers(max(1, size - 2))), len(data) - 1)
    data[inside] = int(rng.choice(BYTES)) if rng.random() < 0.5 else int(rng.integers(256))
    return f"byte {data[inside]} in the segment at {at}"


def riff_size(data: bytearray, rng: Rng) -> str:
    """Correct the file size stored in a WebP, after a change of its contents."""
    note = BLIND[int(rng.integers(len(BLIND)))](data, rng)
    if len(data) >= 12:
        struct.pack_into("<I", data, 4, len(data) - 8)
    return f"{note}; size made right"


def avif_box(data: bytearray, rng: Rng) -> str:
    """Change a number next to the name of a box in an AVIF."""
    names = b"ispe iloc iinf ipma av1C pixi irot colr iprp meta mdat".split()
    found = [at for name in names if (at := data.find(name)) >= 0]
    if not found:
        return byte(data, rng)
    at = found[int(rng.integers(len(found)))] + int(rng.integers(-4, 24))
    at = max(0, min(len(data) - 4, at))
    struct.pack_into(">I", data, at, int(rng.choice(LONGS)))
    return f"number in the box at {at}"


KNOWING: dict[str, Mutation] = {
    "PNG": png_chunk,
    "TIFF": tiff_tag,
    "JPEG": jpeg_segment,
    "WEBP": riff_size,
    "AVIF": avif_box,
}


def mutated(data: bytes, rng: Rng, knowing: Mutation | None = None) -> tuple[bytes, str]:
    """Apply several mutations in a row; return the bytes and a description."""
    damaged, notes = bytearray(data), []
    for _ in range(1 + int(rng.exponential(1.5))):
        if not damaged:
            break
        mutation = knowing if knowing and rng.random() < 0.5 else BLIND[int(rng.integers(len(BLIND)))]
        notes.append(mutation(damaged, rng))
    return bytes(damaged), "; ".join(notes)
