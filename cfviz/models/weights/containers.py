"""Turn a file or bytes into named tensors without running any code from the file.

Two containers are supported: safetensors, and the output of `torch.save` (today's zip and the plain pickles
from before 1.6). A file is identified by content, never by name. A pickle is a small program; `pickles` reads
it as data, so no class is imported and no function called. There is no switch to relax this.
"""

from __future__ import annotations

import io
import json
import mmap
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch

from .errors import CheckpointError, readable_size
from .pickles import DTYPES, Machine, Named, RefusedError, StandIn, TooLongError

Buffer = bytearray | mmap.mmap

MAX_PICKLE_BYTES = 32 << 20  # names and numbers only: the largest variant with its optimizer needs about 1 MB
MAX_HEADER_BYTES = 16 << 20

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_HEAD = 3  # pickles before the object: magic number, protocol, system; the list of storages follows it


@dataclass(frozen=True)
class Opened:
    """Contents of a container: an object of dicts, lists, numbers and tensors, and the header's metadata."""

    content: Any
    metadata: Mapping[str, str] = field(default_factory=dict)


def open_weights(source: Path | bytes, name: str, allow_pickle: bool = True) -> Opened:
    """Read a weights file safely.

    Args:
        source: A local file, or the bytes of one.
        name: Name for the file in messages.
        allow_pickle: Whether to accept `torch.save` files at all; False for uploads from strangers.

    Raises:
        CheckpointError: If the file cannot be opened, with the reason.
    """
    try:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
            kind = sniff(file, size, name)
            if kind == "safetensors":
                return _open_safetensors(source, file, size, name)
            if not allow_pickle:
                raise CheckpointError("pickle_refused", source=name)
            read = _read_zip if kind == "zip" else _read_legacy
            return Opened(read(file, _mapped(source, size), name))
    except OSError as error:
        raise CheckpointError("unreadable", source=name, detail=error.strerror or error) from None


def sniff(file: BinaryIO, size: int, name: str) -> str:
    """Identify a container: "safetensors", "zip" or "pickle"; anything else is named and refused."""
    file.seek(0)
    head = file.read(512)
    file.seek(0)
    if not head:
        raise CheckpointError("empty", source=name)
    begins_with_json = head[8:9] == b"{"
    if begins_with_json and int.from_bytes(head[:8], "little") <= MAX_HEADER_BYTES:
        return "safetensors"  # tested first: the length of a header may begin like a pickle or a zip
    if head.startswith(b"PK"):
        return "zip"
    if head.startswith(b"\x80") and size > 1 and head[1] <= 5:
        return "pickle"
    if begins_with_json:
        return "safetensors"
    if head.lstrip().startswith(b"<"):
        raise CheckpointError("web_page", source=name)
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError("pointer", source=name)
    if _is_tar(file):
        raise CheckpointError("tar", source=name)
    raise CheckpointError("not_weights", source=name, detail="it starts like no format that holds weights")


def _is_tar(file: BinaryIO) -> bool:
    try:
        tarfile.open(fileobj=file, mode="r:").close()
    except (tarfile.TarError, ValueError, OverflowError):
        return False
    return True


def _open_safetensors(source: Path | bytes, file: BinaryIO, size: int, name: str) -> Opened:
    metadata = _safetensors_header(file, size, name)
    try:
        read = safetensors.torch
        return Opened(read.load(source) if isinstance(source, bytes) else read.load_file(source), metadata)
    except Exception as error:  # a crafted header can make the reader fail in any way
        raise CheckpointError("damaged", source=name, detail=_first_line(error)) from None


def _safetensors_header(file: BinaryIO, size: int, name: str) -> dict[str, str]:
    """Return the `__metadata__` of a safetensors file after checking that all the promised data is there."""
    if size < 8:
        raise CheckpointError("truncated", source=name, detail=f"it has only {size} bytes")
    (length,) = struct.unpack("<Q", file.read(8))
    if length > MAX_HEADER_BYTES:
        detail = f"its header claims {readable_size(length)}"
        raise CheckpointError("not_weights", source=name, detail=detail)
    if 8 + length > size:
        raise CheckpointError("truncated", source=name, detail="it ends inside its own header")
    try:
        header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        expected = 8 + length + max(ends, default=0)
        metadata = {str(key): str(value) for key, value in header.get("__metadata__", {}).items()}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise CheckpointError("damaged", source=name, detail=f"header, {_first_line(error)}") from None
    if expected > size:
        detail = f"{size:,} of {expected:,} bytes are there"
        raise CheckpointError("truncated", source=name, detail=detail)
    return metadata


def _mapped(source: Path | bytes, size: int) -> Buffer:
    """Map a file instead of reading it, so an optimizer twice the size of the weights is never read."""
    if isinstance(source, bytes):
        return bytearray(source)
    with source.open("rb") as file:  # a private mapping: torch wants writable memory
        return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)


def _flat(data: Buffer, start: int, size: int, dtype: torch.dtype) -> torch.Tensor:
    """Return the numbers at an offset in a file as a flat tensor that shares the file's memory."""
    count = max(0, min(size, len(data) - start)) // dtype.itemsize
    return (
        torch.frombuffer(data, dtype=dtype, count=count, offset=start)
        if count
        else torch.empty(0, dtype=dtype)
    )


def _read_zip(file: BinaryIO, data: Buffer, name: str) -> Any:
    """Read the object in an archive; its tensors stay in the file."""
    size = len(data)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            ends = [key.rpartition("/")[2] for key in entries]
            if "constants.pkl" in ends:
                raise CheckpointError("torchscript", source=name)
            if ends.count("data.pkl") != 1:
                raise CheckpointError("not_weights", source=name, detail="it is a zip of other things")
            main = list(entries)[ends.index("data.pkl")]
            unpacked = sum(entry.file_size for entry in entries.values())
            if unpacked > size or entries[main].file_size > MAX_PICKLE_BYTES:  # torch.save never compresses
                sizes = {"unpacked": readable_size(unpacked), "packed": readable_size(size)}
                raise CheckpointError("too_large", source=name, **sizes)
            folder = main.removesuffix("data.pkl")
            order = f"{folder}byteorder"
            if order in entries and archive.read(order) != sys.byteorder.encode():
                detail = "it was written by a machine with the other byte order"
                raise CheckpointError("damaged", source=name, detail=detail)

            @cache
            def stored(key: str, dtype: torch.dtype) -> torch.Tensor:
                entry = entries[f"{folder}data/{key}"]
                if entry.compress_type != zipfile.ZIP_STORED:
                    content = bytearray(archive.read(entry))
                    return _flat(content, 0, len(content), dtype)
                at = entry.header_offset  # start of the local header: 30 bytes, the name, an extra field
                names, more = struct.unpack_from("<HH", data, at + 26)
                return _flat(data, at + 30 + names + more, entry.file_size, dtype)

            program = io.BytesIO(archive.read(main))
            return _read_pickle(program, lambda pid: _storage(pid, stored), name, size)
    except CheckpointError:
        raise
    except zipfile.BadZipFile as error:
        if "CRC" in str(error):
            raise CheckpointError("damaged", source=name, detail=_first_line(error)) from None
        raise CheckpointError("truncated", source=name, detail="the archive's directory is missing") from None
    except Exception as error:  # a crafted directory can make the reader fail in many ways
        raise CheckpointError("damaged", source=name, detail=_first_line(error)) from None


def _read_legacy(file: BinaryIO, data: Buffer, name: str) -> Any:
    """Read the object in a file from before PyTorch 1.6: several pickles in a row, then the numbers.

    The offset of a storage depends on the types of the storages before it, which only the pickle records, so
    the pickle is read twice.
    """
    program = io.BytesIO(file.read(MAX_PICKLE_BYTES))
    kinds: dict[str, torch.dtype] = {}

    def noted(key: str, dtype: torch.dtype) -> StandIn:
        kinds[key] = dtype
        return StandIn("numbers that were not read yet")

    def part(index: int, storage: Callable[[Any], Any]) -> Any:
        try:
            return _read_pickle(program, storage, name, len(data))
        except CheckpointError as error:
            if error.code != "damaged" or index == 0:
                raise
            if len(data) > MAX_PICKLE_BYTES and program.tell() >= MAX_PICKLE_BYTES:
                sizes = {"unpacked": "very many objects", "packed": readable_size(len(data))}
                raise CheckpointError("too_large", source=name, **sizes) from None
            detail = f"it ends or breaks in part {index + 1} of {_LEGACY_HEAD + 2}"
            raise CheckpointError("truncated", source=name, detail=detail) from None

    if part(0, _no_storage) != _LEGACY_MAGIC:
        detail = "it is a pickle that torch.save did not write"
        raise CheckpointError("not_weights", source=name, detail=detail)
    for index in range(1, _LEGACY_HEAD):
        part(index, _no_storage)
    start = program.tell()
    part(_LEGACY_HEAD, lambda pid: _storage(pid, noted))
    keys = part(_LEGACY_HEAD + 1, _no_storage)
    places, at = {}, program.tell()
    for key in keys if isinstance(keys, list) else []:
        if key not in kinds or at + 8 > len(data):
            break
        (count,) = struct.unpack_from("<Q", data, at)
        places[key] = (at + 8, count * kinds[key].itemsize)
        at += 8 + count * kinds[key].itemsize
    if len(places) < len(kinds) or at > len(data):
        detail = f"it ends or breaks in part {_LEGACY_HEAD + 3} of {_LEGACY_HEAD + 3}"
        raise CheckpointError("truncated", source=name, detail=detail)

    def stored(key: str, dtype: torch.dtype) -> torch.Tensor:
        return _flat(data, *places[key], dtype)

    program.seek(start)
    return _read_pickle(program, lambda pid: _storage(pid, stored), name, len(data))


def _no_storage(_: Any) -> Any:
    raise ValueError("it has numbers where none belong")


def _storage(pid: Any, stored: Callable[[str, torch.dtype], Any]) -> Any:
    """Return the numbers behind a persistent id: ("storage", type, key, device, count[, view]).

    Only old files have a view.
    """
    what, kind, key, _, _, *view = pid
    if what not in ("storage", b"storage") or not isinstance(kind, Named):
        raise ValueError("it refers to something that is no storage")
    if kind.name not in DTYPES:
        return StandIn(kind.name)
    flat = stored(str(key), DTYPES[kind.name])
    if isinstance(flat, torch.Tensor) and view and view[0] is not None:
        _, offset, count = view[0]
        return flat[offset : offset + count]
    return flat


def _read_pickle(program: BinaryIO, storage: Callable[[Any], Any], name: str, size: int) -> Any:
    try:
        return Machine(storage).read(program)
    except RefusedError as error:
        raise CheckpointError("unsafe_class", source=name, classes=str(error)) from None
    except TooLongError:
        sizes = {"unpacked": "very many objects", "packed": readable_size(size)}
        raise CheckpointError("too_large", source=name, **sizes) from None
    except Exception as error:  # a hostile stream can make the reader fail in any way
        raise CheckpointError("damaged", source=name, detail=_first_line(error)) from None


def _first_line(error: BaseException) -> str:
    """Shorten a foreign error message so that it fits into one of our sentences."""
    text = str(error).strip() or type(error).__name__
    text = text.splitlines()[0]
    return text[:157].rstrip(" .") + ("..." if len(text) > 157 else "")
