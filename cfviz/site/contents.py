"""The data of the site: what the bundled model makes of the gallery's photos, computed before anyone asks.

A photo has a folder of files, so that a page loads what it shows and nothing else. All but the thumbnail are
gzipped messages of the figures, without words: the page adds those of its language.

    small.webp               the thumbnail
    original.bin             the part of the original that the input shows
    home-<lang>.bin          JSON: what the figure of the whole model draws
    attention.bin            the attention figure without any block
    attention-<s>-<b>.bin    one block of it, counted from 1
    embedding.bin            the figure of the embedding layers
    lessons-<lang>.bin       JSON: the questions of the lessons, see `lessons.py`
"""

from __future__ import annotations

import gzip
import json
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass

from cfviz import point_names
from cfviz.data.decode import load_image
from cfviz.data.images import original, prepare
from cfviz.data.samples import Sample
from cfviz.figures.live import attention, embedding, message, position_bias
from cfviz.figures.theme import LIGHT
from cfviz.figures.uris import thumbnail
from cfviz.geometry import token_box
from cfviz.measured import block_biases, cel, stage_pictures, whole_model
from cfviz.models.crossformer import CrossFormer
from cfviz.models.probes.cost import Cost
from cfviz.models.probes.embedding import layer
from cfviz.models.variants import BUNDLED
from cfviz.run import class_names, inspect, load
from cfviz.trace import Trace
from cfviz.words import LANGUAGES, translator

from . import lessons

LINKED = ("grouping", "attention", "embedding", "position_bias")  # from the figure of the whole model
SIZE = 224  # pixels of the input's sides


def packed(data: bytes) -> bytes:
    """Compress a file, to the same bytes every time."""
    return gzip.compress(data, 9, mtime=0)


@dataclass(frozen=True)
class Shown:
    """A photo on the site.

    Attributes:
        sample: The photo.
        unknown: Whether it shows none of the model's classes.
        files: Name in the photo's folder -> content.
    """

    sample: Sample
    unknown: bool
    files: Mapping[str, bytes]

    def title(self, lang: str) -> str:
        """The photo's name, as in the app's strip of photos."""
        t = translator(lang)
        name = t(self.sample.title_key)
        return t("answer.unknown_photo", photo=name) if self.unknown else name


def shown(sample: Sample, model: CrossFormer, costs: Mapping[str, Cost]) -> Shown:
    """Compute everything that the site shows of a photo."""
    photo = load_image(sample.path)
    watch = (
        *(point_names.attention(point=name) for name in ("q", "k", "bias", "probs")),
        *point_names.embeddings(),
        *point_names.stage_outputs(model.depths),
    )
    trace = inspect(photo, model, SIZE, watch)
    assert trace.crop is not None  # every trace of a photo has one
    prepared = prepare(photo, trace.size)
    asked = lessons.questions(trace, model, prepared.tensor)
    files = {
        "small.webp": b64decode(thumbnail(photo.image).partition(",")[2]),
        "original.bin": packed(message.original(trace.crop, original(photo, prepared))),
        "embedding.bin": packed(_embedding(trace, model)),
        **{f"lessons-{lang}.bin": packed(data) for lang, data in asked.items()},
        **_attention(sample.id, trace),
        **_home(sample, trace, model, costs),
    }
    return Shown(sample, trace.shown == (), files)


def _home(sample: Sample, trace: Trace, model: CrossFormer, costs: Mapping[str, Cost]) -> dict[str, bytes]:
    pictures = stage_pictures(trace, model.depths)
    found = {}
    for lang in LANGUAGES:
        data = whole_model(
            trace, model, lang,
            title=translator(lang)(sample.title_key),
            labels=class_names(model, lang),
            pictures=pictures,
            costs=costs,
            links=dict.fromkeys(LINKED, True),
            theme=LIGHT,  # the page puts the colours of its own theme in their place
        )  # fmt: skip
        found[f"home-{lang}.bin"] = packed(json.dumps(data, ensure_ascii=False).encode())
    return found


def _attention(source: str, trace: Trace) -> dict[str, bytes]:
    units = attention.units(trace.arrays, trace.groupings)
    strides = {s: token_box(s, 0, 0)[2] for s in range(len(trace.groupings))}
    limit = sum(unit.nbytes for unit in units) + 2 * attention.HEADER + 10**6  # nothing is left out

    def message_of(some: list[attention.Unit], part: attention.Part) -> bytes:
        photo = trace.crop if part == "none" else None
        return attention.pack(
            some, size=trace.size, strides=strides, strings={}, photo=photo, source=source, part=part,
            name="attention", limit=limit,
        ).data  # fmt: skip

    found = {f"attention-{u.stage + 1}-{u.block + 1}.bin": message_of([u], "first") for u in units}
    found["attention.bin"] = message_of(units, "none")
    return {name: packed(data) for name, data in found.items()}


def _embedding(trace: Trace, model: CrossFormer) -> bytes:
    cels = [cel(layer(model, s), trace[point_names.embedding(s)]) for s in range(len(model.depths))]
    assert trace.crop is not None  # see `shown`
    return embedding.pack(cels, photo=trace.crop, strings={})


def biases(model: CrossFormer) -> bytes:
    """The message of the figures of position bias, beside the model's twin with a learned table."""
    blocks = block_biases(model, load(f"{BUNDLED}_rpb"))
    return packed(position_bias.pack(blocks, "surfaces", strings={}, source=BUNDLED))
