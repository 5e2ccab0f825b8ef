"""The reader's own photo on the site: the bundled model as an ONNX file, run by onnxruntime in the browser.

A photo then gets the same messages that `contents.py` makes of the gallery's photos, in the browser.

    runtime/*.mjs      onnxruntime-web's code, as its authors publish it
    runtime/*.bin      its WebAssembly, gzipped
    runtime/LICENSE.txt   their licence, which asks to be passed on
    webgpu/*           the same for graphics processors, loaded only where a browser has one
    own/model.bin      the model, gzipped; its outputs are those of `export_watched`
    own/template.bin   what is the same on every photo: the message of the attention figure without photo and
                       blocks ("attention", "biases"), that of the embedding figure without photo and tokens
                       ("embedding", with the gain and the epsilon of each layer's LayerNorm)

What the figure of the whole model says stands in the home page itself (`home`), in its language.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from cfviz.data import answers
from cfviz.data.decode import load_image
from cfviz.data.header import MAX_BYTES, MAX_PIXELS, MAX_RATIO
from cfviz.data.images import LONGEST, prepare
from cfviz.figures.live import attention, embedding, message
from cfviz.figures.theme import LIGHT
from cfviz.framing import KEEP
from cfviz.geometry import token_box
from cfviz.measured import cel, whole_model
from cfviz.models.crossformer import CrossFormer
from cfviz.models.export import export_watched
from cfviz.models.probes.cost import Cost
from cfviz.models.probes.embedding import layer
from cfviz.models.probes.position_bias import table_of
from cfviz.run import calibration_of, class_names, inspect
from cfviz.words import together, translator

from . import runtime
from .contents import LINKED, SIZE, packed

ERROR = 1e-5  # of a probability: the browser's arithmetic against PyTorch's, measured by a test
# How far a graphics processor's answer may be from WebAssembly's: of a logit, and of an attention, which is
# as much as the 16 bits of the gallery's figures are off.
WITHIN = {"logits": 1e-3, "attention": 5e-5}
TOP = 3  # classes named under the photo
KEPT = 6  # photos that a reader's browser keeps
PAGES = ("home", "attention", "embedding", "learn")  # that show a reader's own photo
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
    there, graphics = runtime.there(place), list(zip(_GRAPHICS, runtime.GRAPHICS, strict=True))
    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        export_watched(model, file, SIZE)
        exported = file.read_bytes()
    return {
        f"runtime/{runtime.CODE}": (there / runtime.CODE).read_bytes(),
        f"runtime/{runtime.MODULE}": (there / runtime.MODULE).read_bytes(),
        "runtime/LICENSE.txt": runtime.LICENSE.encode(),
        _WASM: packed((there / runtime.WASM).read_bytes()),
        **{name: (there / file).read_bytes() for name, file in graphics[:2]},
        **{name: packed((there / file).read_bytes()) for name, file in graphics[2:]},
        _MODEL: packed(exported),
        _TEMPLATE: packed(_template(model)),
    }


_WASM = f"runtime/{Path(runtime.WASM).with_suffix('.bin')}"
_GRAPHICS = tuple(f"webgpu/{name.replace('.wasm', '.bin')}" for name in runtime.GRAPHICS)
_MODEL, _TEMPLATE = "own/model.bin", "own/template.bin"
ON_DEMAND = ("own/", "runtime/", "webgpu/")  # what only a reader's own photo loads


def about(
    page: str, model: CrossFormer, lang: str, place: Callable[[str], str], megabytes: Sequence[int]
) -> dict[str, Any]:
    """What a page's code is told: addresses, the numbers of the preprocessing, the limits, and words.

    Args:
        page: One of `PAGES`.
        model: The bundled model.
        lang: Language of the page.
        place: Turns the name of a file into its address.
        megabytes: What the first photo loads, and how much more for a graphics processor.
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
    words = {name: t(f"site.own_{name}") for name in ("wait", "unreadable", "failed", "lost", "forgotten")}
    forget = t("site.own_forget")
    words |= {
        "wasm": t("site.own_ran", ms="{ms}"),
        "webgpu": t("site.own_ran_graphics", ms="{ms}"),
        "there": t("site.own_there", forget=forget),
        "there_unkept": t("site.own_there_unkept"),
    }
    answer = []
    if page != "home":  # whose figure says it itself
        answer = [t("site.own_answer", classes="{classes}"), t("answer.unknown", n=len(names))]
    return {
        "files": {
            "worker": place("code/own.js"),
            "runtime": place(f"runtime/{runtime.CODE}"),
            "module": place(f"runtime/{runtime.MODULE}"),
            "wasm": place(_WASM),
            "model": place(_MODEL),
            "template": place(_TEMPLATE),
        },
        "graphics": dict(zip(("runtime", "module", "wasm"), map(place, _GRAPHICS), strict=True)),
        "within": WITHIN,
        "most": KEPT,
        "input": {"size": SIZE, "keep": KEEP, "mean": known.mean, "std": known.std, "longest": LONGEST},
        "limits": limits,
        "labels": names,
        "top": TOP,
        "words": words
        | refused
        | {
            "load": t("site.own_load", size=megabytes[0]),
            "note": note(lang, megabytes),
            "answer": together(*answer),
            "yours": t("common.yours", name="{name}"),
            "comma": t("common.comma"),
        },
    }


def note(lang: str, megabytes: Sequence[int]) -> str:
    """What stands beside the button: what becomes of the photo, and what it loads."""
    t = translator(lang)
    size, more = megabytes
    return t("site.own_note", size=size, more=more, most=KEPT, forget=t("site.own_forget"))


def megabytes(made: Mapping[str, bytes]) -> tuple[int, int]:
    """What the first photo loads, in MB, and what more for a graphics processor; 0 if it takes none."""
    more = sum(len(data) for name, data in made.items() if name in _GRAPHICS)
    both = sum(len(data) for name, data in made.items() if name.startswith(ON_DEMAND))
    return round((both - more) / 1e6), round(more / 1e6)


def home(model: CrossFormer, lang: str, costs: Mapping[str, Cost]) -> dict[str, Any]:
    """What the figure of the whole model shows of any photo of the reader's own, but for photo and answer.

    The browser adds `photo`, `of`, `stages[].picture`, `top` and `id`, and puts a name into `photo_alt`. Its
    `line` is that of `lines` [{"from", "to", "text"}] in which the top class's probability lies, if any.

    Args:
        model: The bundled model.
        lang: Language of the page.
        costs: The cost of its parts.
    """
    t, labels = translator(lang), class_names(model, lang)
    trace = inspect(np.zeros((SIZE, SIZE, 3), np.uint8), model, SIZE)
    data = whole_model(
        trace, model, lang, title="{name}", labels=labels, pictures=("",) * (len(model.depths) + 1),
        costs=costs, links=dict.fromkeys(LINKED, True), theme=LIGHT,
    )  # fmt: skip
    known = calibration_of(trace)
    # Of a photo of the reader's own, nobody knows what it shows: the sentence names no class.
    line = answers.sentence(t, labels, 0, 0, None)
    lines = [
        {
            "from": one["from"],
            "to": one["to"],
            "text": together(line, answers.confidence(t, known, one["from"])),
        }
        for one in (known["bins"] if known else ())
    ]
    return {**data, "line": line, "lines": lines}


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
    header = {
        "attention": {**bare.header, "start": dict(bare.start), "error": ERROR},
        "biases": biases,
        "embedding": _embedding(model, [(stage[0].H, stage[0].W) for stage in groupings], arrays),
    }
    return message.Message(header, b"".join(arrays.parts), {}).data


def _embedding(
    model: CrossFormer, sides: Sequence[tuple[int, int]], arrays: message.Arrays
) -> dict[str, Any]:
    """The embedding figure's header without photo and tokens, and what its measures are computed with."""
    layers = [layer(model, s) for s in range(len(sides))]
    blank = [
        cel(one, np.zeros((H, W, sum(one.channels)), np.float32))
        for one, (H, W) in zip(layers, sides, strict=True)
    ]
    bare = message.opened(embedding.pack(blank, photo=Image.new("RGB", (SIZE, SIZE)), strings={}))
    cels = [
        {name: value for name, value in entry.items() if name not in embedding.ALL}
        | {"gain": arrays.array(one.gain), "eps": one.eps}
        for entry, one in zip(bare.header["cels"], layers, strict=True)
    ]
    return {**bare.header, "cels": cels, "start": dict(bare.start)}
