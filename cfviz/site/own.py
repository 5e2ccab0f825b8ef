"""The reader's own photo on the site: the bundled model as an ONNX file, run by onnxruntime in the browser.

A photo then gets the same messages that `contents.py` makes of the gallery's photos, in the browser.

    runtime/*.mjs      onnxruntime-web's code, as its authors publish it
    runtime/*.bin      its WebAssembly, gzipped
    runtime/LICENSE.txt   their licence, which asks to be passed on
    own/model.bin      the model, gzipped; its outputs are those of `export_with_attention`
    own/template.bin   the attention figure's message without photo and blocks, and each block's position bias
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from cfviz.data.decode import load_image
from cfviz.data.header import MAX_BYTES, MAX_PIXELS, MAX_RATIO
from cfviz.data.images import LONGEST, prepare
from cfviz.figures.live import attention, message
from cfviz.framing import KEEP
from cfviz.geometry import token_box
from cfviz.models.crossformer import CrossFormer
from cfviz.models.export import export_with_attention
from cfviz.models.probes.position_bias import table_of
from cfviz.run import class_names
from cfviz.words import together, translator

from . import runtime
from .contents import SIZE, packed

ERROR = 1e-5  # of a probability: the browser's arithmetic against PyTorch's, measured by a test
TOP = 3  # classes named under the photo
# Why a photo is refused: the library's sentences, whose numbers the browser fills in.
REFUSED = {
    "empty": (),
    "too_many_bytes": ("megabytes",),
    "too_many_pixels": ("megapixels",),
    "too_narrow": ("width", "height"),
}


def files(model: CrossFormer, place: Path) -> dict[str, bytes]:
    """Everything that runs the model in the browser.

    Args:
        model: The bundled model.
        place: The folder `dist` of the npm package onnxruntime-web.

    Raises:
        ValueError: If a file is missing there, or packages for the export are missing.
    """
    there = runtime.there(place)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        export_with_attention(model, file, SIZE)
        exported = file.read_bytes()
    return {
        f"runtime/{runtime.CODE}": (there / runtime.CODE).read_bytes(),
        f"runtime/{runtime.MODULE}": (there / runtime.MODULE).read_bytes(),
        "runtime/LICENSE.txt": runtime.LICENSE.encode(),
        _WASM: packed((there / runtime.WASM).read_bytes()),
        _MODEL: packed(exported),
        _TEMPLATE: packed(_template(model)),
    }


_WASM = f"runtime/{Path(runtime.WASM).with_suffix('.bin')}"
_MODEL, _TEMPLATE = "own/model.bin", "own/template.bin"
ON_DEMAND = ("own/", "runtime/")  # what only a reader's own photo loads


def about(model: CrossFormer, lang: str, place: Callable[[str], str], megabytes: int) -> dict[str, Any]:
    """What the page's code is told: addresses, the numbers of the preprocessing, the limits, and words.

    Args:
        model: The bundled model.
        lang: Language of the page.
        place: Turns the name of a file into its address.
        megabytes: What the first photo loads.
    """
    t = translator(lang)
    known = prepare(load_image(np.zeros((SIZE, SIZE, 3), np.uint8)), SIZE)
    names = class_names(model, lang)
    limits = {"bytes": MAX_BYTES, "pixels": MAX_PIXELS, "ratio": MAX_RATIO}
    said = {"limit": {"too_many_bytes": MAX_BYTES // 2**20, "too_many_pixels": MAX_PIXELS // 10**6}}
    refused = {
        code: t(
            f"images.error_{code}",
            limit=said["limit"].get(code, MAX_RATIO),
            **{field: f"{{{field}}}" for field in fields},
        )
        for code, fields in REFUSED.items()
    }
    words = {name: t(f"site.own_{name}") for name in ("wait", "unreadable", "failed")}
    return {
        "files": {
            "worker": place("code/own.js"),
            "runtime": place(f"runtime/{runtime.CODE}"),
            "module": place(f"runtime/{runtime.MODULE}"),
            "wasm": place(_WASM),
            "model": place(_MODEL),
            "template": place(_TEMPLATE),
        },
        "input": {"size": SIZE, "keep": KEEP, "mean": known.mean, "std": known.std, "longest": LONGEST},
        "limits": limits,
        "labels": names,
        "top": TOP,
        "words": words
        | refused
        | {
            "load": t("site.own_load", size=megabytes),
            "note": t("site.own_note", size=megabytes),
            "answer": together(
                t("site.own_answer", classes="{classes}"),
                t("answer.unknown", n=len(names)),
                t("site.own_there"),
            ),
            "yours": t("common.yours", name="{name}"),
            "comma": t("common.comma"),
        },
    }


def megabytes(made: Mapping[str, bytes]) -> int:
    """What the first photo loads, in MB; 0 if the site takes none."""
    return round(sum(len(data) for name, data in made.items() if name.startswith(ON_DEMAND)) / 1e6)


def _template(model: CrossFormer) -> bytes:
    groupings = model.groupings(SIZE, SIZE)
    blocks = [(s, b, g) for s, stage in enumerate(groupings) for b, g in enumerate(stage)]
    heads = model.num_heads

    def never() -> attention.Encoded:
        raise AssertionError("a message without blocks encodes none")

    bare = attention.pack(
        [attention.Kept(s, b, g, heads[s], never) for s, b, g in blocks],
        size=(SIZE, SIZE), strides={s: token_box(s, 0, 0)[2] for s in range(len(groupings))}, strings={},
        name="attention", part="none", limit=10**9,
    )  # fmt: skip
    arrays = message.Arrays()
    arrays.parts, arrays.size = [bare.body], len(bare.body)
    biases = {
        f"{s + 1}-{b + 1}": arrays.array(
            table_of(model.stages[s].block_list[b].attn.pos, (g.Gh, g.Gw)).detach().float().numpy().T
        )
        for s, b, g in blocks
    }
    header = {**bare.header, "biases": biases, "error": ERROR}
    return replace(bare, header=header, body=b"".join(arrays.parts)).data
