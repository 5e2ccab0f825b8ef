"""The message of the figure of a logit's parts: every addend, its map over the photo, the rows of the sum.

The layout is that of `cfviz/figures/live/message.py`: a JSON header and arrays behind it. The header:

    id, name, input {"h", "w"}, photo {"of", "w", "h", "file"}, palette, strings
    start   {"begin", "row"}
    label   the class, or both of a difference; logit
    lab     whether a part can be taken to the lab; totals {place: measured change of the logit without it}
    parts   [{"kind", "stage", "block", "index", "value", "place" (in the lab's words, or ""), and, unless it
            is a bias, "H", "W", "stride" (pixels per token), "k" (side of a kernel), "codes" int16 (H*W,),
            "step": map = codes * step, off by at most half a step}]
    begins  [{"stage", "rows" [{"kind" "bias", "cel", "attn" or "mlp", "stage", "block", "value", "place",
            "parts" [numbers of parts]}]}]: the sum from each embedding layer on
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from PIL import Image

from cfviz import web
from cfviz.geometry import CEL_KERNELS, token_box

from .. import message

LARGEST = 32767  # of int16
FIXED = ("bias", "shift")
TITLE = "cfviz: where a logit comes from"


class Addend(Protocol):
    """One addend of a logit, as `cfviz.models.probes.logit_parts.Part` is."""

    @property
    def kind(self) -> str:
        """Return "kernel", "head", "mlp", "bias" or "shift"."""

    @property
    def stage(self) -> int | None:
        """Return the stage, from 0."""

    @property
    def block(self) -> int | None:
        """Return the block, from 0."""

    @property
    def index(self) -> int | None:
        """Return the head or kernel, from 0."""

    @property
    def map(self) -> np.ndarray:
        """Return what each token adds, (H, W)."""

    @property
    def value(self) -> float:
        """Return the sum of the map."""


def pack(
    sums: Sequence[Sequence[Addend]],
    logit: float,
    label: str,
    *,
    photo: Image.Image,
    strings: Mapping[str, str],
    totals: Mapping[str, float] | None = None,
    lab: bool = False,
    start: Mapping[str, Any] | None = None,
    name: str = "parts",
) -> bytes:
    """Pack the figure's message.

    Args:
        sums: The addends of the same logit, if the sum begins at the embedding layer before each stage.
        logit: The logit.
        label: The class; what the figure calls the logit.
        photo: The pixels that the model saw.
        strings: The figure's words.
        totals: What the logit changes by without a part, by the part's place, as far as it was measured.
        lab: Whether a part can be taken to the lab.
        start: Any of `begin` and `row`.
        name: The figure's own name.
    """
    arrays = message.Arrays()
    picture = arrays.picture(photo)
    every = list(dict.fromkeys(part for one in sums for part in one))
    number = {id(part): i for i, part in enumerate(every)}
    header: dict[str, Any] = {
        "name": name,
        "input": {"h": photo.height, "w": photo.width},
        "photo": picture,
        "label": label,
        "logit": logit,
        "lab": lab,
        "totals": dict(totals or {}),
        "parts": [_part(part, arrays) for part in every],
        "begins": [{"stage": s, "rows": _rows(one, number)} for s, one in enumerate(sums)],
    }
    begin = {"begin": 0, "row": 1, **(start or {})}
    return message.pack(header, arrays, strings=strings, start=begin).data


def place_of(kind: str, stage: int | None, block: int | None, index: int | None) -> str:
    """Name a part as the lab does, from 1: "3.2.h5", "1.k4", "2.1.attn"; empty for what it cannot change."""
    if stage is None or kind in FIXED:
        return ""
    if kind == "kernel":
        return f"{stage + 1}.k" if index is None else f"{stage + 1}.k{index + 1}"
    assert block is not None
    return f"{stage + 1}.{block + 1}." + (f"h{(index or 0) + 1}" if kind == "head" else kind)


def _part(part: Addend, arrays: message.Arrays) -> dict[str, Any]:
    about = {name: getattr(part, name) for name in ("kind", "stage", "block", "index", "value")}
    about["place"] = place_of(part.kind, part.stage, part.block, part.index)
    if part.kind in FIXED:
        return about
    assert part.stage is not None
    H, W = part.map.shape
    step = float(np.abs(part.map).max()) / LARGEST
    codes = np.rint(part.map / (step or 1)).astype(np.int16)
    about |= {"H": H, "W": W, "stride": token_box(part.stage, 0, 0)[2]}
    about |= {"codes": arrays.array(codes.reshape(-1)), "step": step}
    return about | ({"k": CEL_KERNELS[part.stage][part.index or 0]} if part.kind == "kernel" else {})


def _rows(parts: Sequence[Addend], number: Mapping[int, int]) -> list[dict[str, Any]]:
    """The rows of one sum: all biases, the embedding layer it begins at, then each block's two branches."""
    kinds = {"kernel": "cel", "head": "attn", "mlp": "mlp"} | dict.fromkeys(FIXED, "bias")
    grouped: dict[tuple[Any, ...], list[Addend]] = {("bias", None, None): []}
    for part in parts:
        kind = kinds[part.kind]
        at = (None, None) if kind == "bias" else (part.stage, part.block)
        grouped.setdefault((kind, *at), []).append(part)
    return [
        {
            "kind": kind, "stage": s, "block": b, "value": sum(part.value for part in mine),
            "place": place_of({"cel": "kernel"}.get(kind, kind), s, b, None),
            "parts": [number[id(part)] for part in mine],
        }
        for (kind, s, b), mine in grouped.items()
    ]  # fmt: skip


def html(data: bytes, lang: str, facts: str) -> str:
    """The figure as a page that works from a file, offline."""
    return message.offline_page(web.PARTS, [data], TITLE, lang, [facts])
