"""From a file or bytes to named tensors, without running anything that the file brings.

Two containers are read: safetensors, and what `torch.save` writes (the zip of today and the plain pickles of
before 1.6). A pickle is a small program, so it is read twice. First its instructions are listed, without
following them, and it is refused if it names any class that weights do not need. Then torch's own restricted
unpickler (`weights_only=True`) reads it. There is no switch for anything less strict.
"""

from __future__ import annotations

import io
import json
import pickletools
import re
import struct
import tarfile
import threading
import zipfile
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch

from .errors import CheckpointError, readable_size, some

MAX_PICKLE_BYTES = 32 << 20  # names and numbers only: the largest variant with its optimizer needs about 1 MB
MAX_HEADER_BYTES = 16 << 20

CONFIG_CLASS = "yacs.config.CfgNode"  # the authors' files carry their settings as one of these
_ALLOWED = re.compile(
    r"collections\.(OrderedDict|Counter)|builtins\.set|_codecs\.encode"
    r"|torch\.(Size|device|(Float|Half|BFloat16|Double|Long|Int|Short|Char|Byte|Bool)Storage)"
    r"|torch\._utils\._rebuild_(tensor|tensor_v2|parameter)|torch\.nn\.parameter\.Parameter"
    r"|" + re.escape(CONFIG_CLASS)
)
_LEGACY_PICKLES = 4  # magic number, protocol, system, then the object itself

_one_at_a_time = threading.Lock()  # torch keeps the allowed classes in one table for the whole process


@dataclass(frozen=True)
class Opened:
    """What a container holds: an object of dicts, lists, numbers and tensors, and the header's metadata."""

    content: Any
    metadata: Mapping[str, str] = field(default_factory=dict)


class _ConfigStandIn:
    """Takes the place of `CfgNode` while a file is read: what comes out is an `OrderedDict`, nothing else.

    The restricted unpickler fills only exact dicts and OrderedDicts, so the stand-in's `__new__` makes one.
    """

    def __new__(cls, *_args: object) -> OrderedDict:  # type: ignore[misc]
        return OrderedDict()


def open_weights(source: Path | bytes, name: str, allow_pickle: bool = True) -> Opened:
    """Read a weights file safely.

    Args:
        source: A local file, or the bytes of one.
        name: What to call it in messages.
        allow_pickle: Whether what `torch.save` writes is read at all; False for uploads from strangers.

    Raises:
        CheckpointError: With the reason, for whatever cannot be opened.
    """
    try:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
            kind = sniff(file, size, name)
            if kind == "safetensors":
                return _open_safetensors(source, file, size, name)
            if not allow_pickle:
                raise CheckpointError("pickle_refused", source=name)
            check = _check_zip if kind == "zip" else _check_legacy
            check(file, size, name)
            return Opened(_load_pickle(source, kind, name))
    except OSError as error:
        raise CheckpointError("unreadable", source=name, detail=error.strerror or error) from None


def sniff(file: BinaryIO, size: int, name: str) -> str:
    """Which container a file is: "safetensors", "zip" or "pickle"; anything else is refused by its name."""
    file.seek(0)
    head = file.read(512)
    file.seek(0)
    if not head:
        raise CheckpointError("empty", source=name)
    if head.startswith(b"PK"):
        return "zip"
    if head.startswith(b"\x80") and size > 1 and head[1] <= 5:
        return "pickle"
    if head[8:9] == b"{" or name.endswith(".safetensors"):
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
    except Exception as error:  # whatever the reader says about a crafted header
        raise CheckpointError("damaged", source=name, detail=_first_line(error)) from None


def _safetensors_header(file: BinaryIO, size: int, name: str) -> dict[str, str]:
    """The `__metadata__` of a safetensors file, after checking that all the data it promises is there."""
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
        detail = f"{readable_size(size)} of {readable_size(expected)} are there"
        raise CheckpointError("truncated", source=name, detail=detail)
    return metadata


def _check_zip(file: BinaryIO, size: int, name: str) -> None:
    """Look at the archive's directory and at its pickle's instructions; unpack no weights."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            names = [entry.filename.rpartition("/")[2] for entry in entries]
            if "constants.pkl" in names:
                raise CheckpointError("torchscript", source=name)
            if names.count("data.pkl") != 1:
                raise CheckpointError("not_weights", source=name, detail="it is a zip of other things")
            unpacked = sum(entry.file_size for entry in entries)
            pickle = entries[names.index("data.pkl")]
            if unpacked > size or pickle.file_size > MAX_PICKLE_BYTES:  # torch.save never compresses
                sizes = {"unpacked": readable_size(unpacked), "packed": readable_size(size)}
                raise CheckpointError("too_large", source=name, **sizes)
            program = archive.read(pickle)
    except CheckpointError:
        raise
    except zipfile.BadZipFile:
        raise CheckpointError("truncated", source=name, detail="the archive's directory is missing") from None
    except (EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise CheckpointError("damaged", source=name, detail=_first_line(error)) from None
    _check_classes(_listed(io.BytesIO(program), name), name)


def _check_legacy(file: BinaryIO, size: int, name: str) -> None:
    """Look at the instructions of the pickles that stand before the tensors in a file of before 1.6."""
    program = io.BytesIO(file.read(MAX_PICKLE_BYTES))
    for index in range(_LEGACY_PICKLES):
        try:
            _check_classes(_listed(program, name), name)
        except CheckpointError as error:
            if error.code != "damaged" or index == 0:
                raise
            if size > MAX_PICKLE_BYTES and program.tell() >= MAX_PICKLE_BYTES:
                sizes = {"unpacked": "very many objects", "packed": readable_size(size)}
                raise CheckpointError("too_large", source=name, **sizes) from None
            detail = f"it ends or breaks in part {index + 1} of {_LEGACY_PICKLES + 1}"
            raise CheckpointError("truncated", source=name, detail=detail) from None


def _listed(program: BinaryIO, name: str) -> Iterator[str]:
    """The classes and functions that a pickle names, in order, found without following it."""
    strings: deque[str] = deque(["?", "?"], maxlen=2)
    try:
        for op, arg, _ in pickletools.genops(program):
            if op.name in ("GLOBAL", "INST"):
                yield str(arg).replace(" ", ".").replace("__builtin__.", "builtins.", 1)
            elif op.name == "STACK_GLOBAL":
                yield ".".join(strings)
            elif op.name in ("EXT1", "EXT2", "EXT4"):
                yield f"extension {arg}"
            elif isinstance(arg, str):
                strings.append(arg)
    except Exception as error:  # a hostile stream can make the reader fail in any way
        raise CheckpointError("damaged", source=name, detail=_first_line(error)) from None


def _check_classes(wanted: Iterator[str], name: str) -> None:
    refused = dict.fromkeys(cls for cls in wanted if not _ALLOWED.fullmatch(cls))
    if refused:
        raise CheckpointError("unsafe_class", source=name, classes=some(list(refused)))


def _load_pickle(source: Path | bytes, kind: str, name: str) -> Any:
    """Let torch's restricted unpickler read what `_check_zip` or `_check_legacy` let through.

    A zip on disk is mapped, so that an optimizer twice the size of the weights is never read.
    """
    stand_in = torch.serialization.safe_globals([(_ConfigStandIn, CONFIG_CLASS)])
    file = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    mapped = kind == "zip" and isinstance(file, str)
    try:
        with _one_at_a_time, stand_in:
            return torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # torch raises many kinds; each means that the file is not whole
        code = "truncated" if isinstance(error, EOFError) or "EOF" in str(error) else "damaged"
        raise CheckpointError(code, source=name, detail=_first_line(error)) from None


def _first_line(error: BaseException) -> str:
    """The part of somebody else's message that fits into one of our sentences."""
    text = str(error).strip() or type(error).__name__
    text = text.splitlines()[0].replace("Weights only load failed. ", "")
    return text[:157].rstrip(" .") + ("..." if len(text) > 157 else "")
