"""Weights: files of both containers, damaged outside and inside, opened and built into a model."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from cfviz.models.crossformer import CrossFormer
from cfviz.models.factory import build
from cfviz.models.variants import VARIANTS
from cfviz.models.weights.checkpoints import load_checkpoint
from cfviz.models.weights.errors import CheckpointError
from tests.fuzz.harness import Case
from tests.fuzz.mutate import LONGS, Rng, mutated
from tests.fuzz.refusals import code_of

VARIANT = "crossformer_nano"
NAMES = ("weights.safetensors", "weights.pth", "{0}.pt", "<b>x</b>.bin", "a\nb.safetensors", "權重.pth", "")
DTYPES = ("F16", "F32", "F64", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "C64", "F128", "", None, 7)
PICKLES = (
    b"cocos\nsystem\n(S'true'\ntR.", b"}q\x00.", b"(lp0\n.", b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01K\x01u.",
    b"(" * 40_000 + b"l" * 40_000 + b".",
)  # fmt: skip
FACTS = (
    "trained", "training", "dataset", "group_size", "interval", "img_size", "epoch", "max_accuracy", "source"
)  # fmt: skip


def make(rng: Rng) -> Case:
    """Make a damaged file, one with a rewritten header or pickle, or a small one that was never good."""
    how = (_blind, _header, _header, _pickle, _content, _scrap)[int(rng.integers(6))]
    data, note = how(rng)
    name = NAMES[int(rng.integers(len(NAMES)))]
    door = {"name": name, "pickle": bool(rng.random() < 0.7), "file": bool(rng.random() < 0.3)}
    return Case(data, f"{note} as {name!r}, {door}", door)


def check(case: Case) -> str:
    """Open an upload or a file and build the model; return the outcome, or the code of the refusal."""
    door = case.extra
    try:
        if door["file"]:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "weights.bin"
                path.write_bytes(case.data)
                checkpoint = load_checkpoint(path, allow_pickle=door["pickle"])
        else:
            checkpoint = load_checkpoint(case.data, name=door["name"], allow_pickle=door["pickle"])
        model = build(checkpoint)
    except CheckpointError as error:
        return code_of(error)
    assert all(value.dtype == torch.float32 for value in model.parameters())
    with torch.no_grad():
        assert model(torch.zeros(1, model.in_chans, 32, 32)).isfinite().all()
    return "opened"


def warm() -> None:
    """Do in advance what would otherwise count as time of the first input."""
    torch.set_num_threads(1)
    for kind in ("safetensors", "zip", "legacy"):
        check(Case(good(kind), "", {"name": "warm", "pickle": True, "file": False}))


# ---------------------------------------------------------------- good files


@lru_cache(maxsize=1)
def state() -> dict[str, torch.Tensor]:
    """The parameters of the smallest variant, in half precision."""
    torch.manual_seed(0)
    model = CrossFormer(**{**VARIANTS[VARIANT], "num_classes": 3})
    return {name: value.half().contiguous() for name, value in model.state_dict().items()}


@lru_cache(maxsize=3)
def good(kind: str) -> bytes:
    """A well-formed file."""
    if kind == "safetensors":
        return safetensors.torch.save(state(), {"trained": "never", "group_size": "[7, 7, 7, 7]"})
    return _torch_saved({"model": state(), "epoch": 3, "max_accuracy": 81.5}, kind == "zip")


def _torch_saved(content: Any, as_zip: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=as_zip)
    return buffer.getvalue()


# ---------------------------------------------------------------- bad ones


def _blind(rng: Rng) -> tuple[bytes, str]:
    """Change bytes blindly; at the end too, where a zip file has its directory."""
    kind = ("safetensors", "zip", "legacy")[int(rng.integers(3))]
    data = good(kind)
    if rng.random() < 0.4:
        tail, note = mutated(data[-6000:], rng)
        return data[:-6000] + tail, f"{kind}, in its last 6000 bytes: {note}"
    data, note = mutated(data, rng)
    return data, f"{kind}: {note}"


def _header(rng: Rng) -> tuple[bytes, str]:
    """Rewrite a safetensors header: an entry of one tensor, or its own length."""
    data = good("safetensors")
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + size])
    names = [name for name in header if name != "__metadata__"]
    name = names[int(rng.integers(len(names)))]
    what = int(rng.integers(9))
    note = f"header of {name}, change {what}"
    number = int(rng.choice(LONGS)) * int(rng.choice((1, -1, 2**32)))
    if what == 0:
        header[name]["shape"][int(rng.integers(len(header[name]["shape"])))] = number
    elif what == 1:
        header[name]["data_offsets"][int(rng.integers(2))] = number
    elif what == 2:
        header[name]["dtype"] = DTYPES[int(rng.integers(len(DTYPES)))]
    elif what == 3:
        header[f"{name}{'.x' * int(rng.integers(1, 400))}"] = header.pop(name)
    elif what == 4:
        header[name] = _anything(rng)
    elif what == 5:
        header["__metadata__"] = _anything(rng)
    elif what == 6:
        header["__metadata__"] |= {str(key): json.dumps(_anything(rng)) for key in rng.choice(FACTS, 3)}
    elif what == 7:
        header[name]["shape"] = header[name]["shape"][::-1]
    else:
        del header[name]
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + size :], note


def _anything(rng: Rng, depth: int = 0) -> Any:
    """An arbitrary JSON value."""
    what = int(rng.integers(9 if depth < 3 else 7))
    if what < 7:
        plain = (None, True, -1, 1e308, "", "\u202e{0}%s<script>" * 30, 10**30)
        return plain[what]
    inner = [_anything(rng, depth + 1) for _ in range(int(rng.integers(4)))]
    return inner if what == 7 else {str(n): value for n, value in enumerate(inner)}


def _pickle(rng: Rng) -> tuple[bytes, str]:
    """Damage or replace the pickle inside a sound archive."""
    with zipfile.ZipFile(io.BytesIO(good("zip"))) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    name = next(name for name in entries if name.endswith("data.pkl"))
    if rng.random() < 0.15:
        entries[name], note = PICKLES[int(rng.integers(len(PICKLES)))], "another pickle"
    else:
        entries[name], note = mutated(entries[name], rng)
    packed = zipfile.ZIP_DEFLATED if rng.random() < 0.1 else zipfile.ZIP_STORED
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packed) as archive:
        for key, value in entries.items():
            archive.writestr(key, value)
    return buffer.getvalue(), f"pickle in a zip: {note}"


def _content(rng: Rng) -> tuple[bytes, str]:
    """Make a sound file with the wrong contents."""
    changed: dict[Any, Any] = dict(state())
    names = list(changed)
    name, other = (names[int(n)] for n in rng.integers(len(names), size=2))
    what = int(rng.integers(10))
    strange = (
        torch.zeros(()), torch.zeros(0), torch.ones(2, 3).to_sparse(), torch.full((4,), float("nan")),
        torch.zeros(1).expand(2**40), torch.zeros(3, dtype=torch.complex64), 7, None, "text", [1, 2],
        torch.zeros(2, dtype=torch.bool), {"deeper": torch.zeros(1)},
    )  # fmt: skip
    value = strange[int(rng.integers(len(strange)))]
    if what < 5:
        changed[name] = value
    elif what == 5:
        changed[name] = changed[other]
    elif what == 6:
        changed = {key: value for key, value in changed.items() if rng.random() < 0.9}
    elif what == 7:
        changed = {f"module.{key}" if rng.random() < 0.95 else key: value for key, value in changed.items()}
    elif what == 8:
        moved = f"layers.{int(rng.integers(1000))}"
        changed = {key.replace("layers.0", moved): value for key, value in changed.items()}
    else:
        changed[name] = torch.full_like(changed[name], float(rng.choice((65504, float("inf"), float("nan")))))
    cros = {"GROUP_SIZE": _anything(rng), "INTERVAL": _anything(rng)}
    config = {"MODEL": {"CROS": cros}, "DATA": _anything(rng)}
    around = (
        changed, [changed], {"model": [changed]}, {"meta": _anything(rng), "model": changed},
        {"model": changed, "config": config, "epoch": _anything(rng)},
        {"state_dict": {"model": {"module": {"model": changed}}}},
    )  # fmt: skip
    place = int(rng.integers(len(around)))
    data = _torch_saved(around[place], bool(rng.random() < 0.7))
    return data, f"content {what} of {name} in wrapper {place}"


def _scrap(rng: Rng) -> tuple[bytes, str]:
    """A few bytes that begin like a known format."""
    starts = (
        b"", b"PK\x03\x04", b"PK\x05\x06", b"\x80\x02", b"\x80\x04", struct.pack("<Q", 2) + b"{}", b"<html",
        struct.pack("<Q", int(rng.choice(LONGS))) + b"{", b"version https://git-lfs", b"ustar",
        pickle.dumps({"model": {}}), struct.pack("<Q", 60_000) + b'{"a":' * 12_000,
    )  # fmt: skip
    start = starts[int(rng.integers(len(starts)))]
    return start + rng.bytes(int(rng.integers(300))), f"scrap that begins with {start[:12]!r}"
