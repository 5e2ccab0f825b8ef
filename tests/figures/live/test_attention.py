"""The message of the attention figure, and its offline page."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cfviz import web
from cfviz.figures.live import attention as living
from cfviz.figures.live import logits
from cfviz.figures.live.message import opened as reopened
from cfviz.geometry import MASKED, grouping, lsda, offsets
from cfviz.run import inspect
from cfviz.stats import softmax
from cfviz.words import figure_words

WATCH = [f"layers.*.blocks.*.attn.{point}" for point in ("q", "k", "bias", "probs")]


def unit(H: int, W: int, block: int = 0, heads: int = 2, G: int = 3, I: int = 2) -> living.Unit:  # noqa: E741
    rng, g = np.random.default_rng(H * W + block), lsda(H, W, block, G, I)
    content = rng.normal(size=(g.nG, heads, g.N, g.N)).astype(np.float32)
    table = rng.normal(size=(heads, len(offsets(g.G, g.G)))).astype(np.float32)
    row, col = np.divmod(np.arange(g.N), g.G)
    index = (row[:, None] - row + g.G - 1) * (2 * g.G - 1) + col[:, None] - col + g.G - 1
    return living.Unit(0, block, g, content, table[:, index])


def pack(units: Sequence[living.Unit | living.Kept], **more: Any) -> living.Packed:
    size = (4 * units[0].grouping.H, 4 * units[0].grouping.W)
    strides = {u.stage: 4 * 2**u.stage for u in units}
    return living.pack(
        units, **{"size": size, "strides": strides, "strings": figure_words("attention"), **more}
    )


def opened(data: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack("<I", data[:4])
    assert (4 + length) % 8 == 0
    return json.loads(data[4 : 4 + length]), data[4 + length :]


def array(body: bytes, part: dict[str, Any]) -> np.ndarray:
    assert part["at"] % 8 == 0
    return np.frombuffer(body[part["at"] : part["at"] + part["bytes"]], part["type"])


@pytest.mark.slow
@given(
    values=st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=49),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 100.0]),
)
def test_quantising_is_off_by_at_most_half_a_step(values: list[float], scale: float) -> None:
    row = np.array([values], np.float32) * np.float32(scale)
    codes, high, span = logits.quantise(row)
    assert codes.dtype == np.uint16
    slack = 1e-30 + 4e-7 * float(np.abs(row).max())  # high and span are float32 themselves
    half = span[0] * (codes + 0.5) / 65535.0**2
    assert (np.abs(logits.restore(codes, high, span) - row) <= half + slack).all()


@pytest.mark.slow
@pytest.mark.parametrize("lda", ["regions", "whole"])
@pytest.mark.parametrize("size", [(224, 224), (256, 256), (96, 160)])
def test_the_models_attention_can_be_read_from_the_message(
    tiny_model, size: tuple[int, int], lda: Any
) -> None:
    photo = np.random.default_rng(1).integers(0, 255, (*size, 3), np.uint8)
    trace = inspect(photo, tiny_model(), size, watch=WATCH, lda=lda)
    packed = pack(
        living.units(trace.arrays, trace.groupings), size=size, strides={s: 4 * 2**s for s in range(4)},
        photo=trace.crop,
    )  # fmt: skip
    assert packed.left == ()
    assert packed.error < 1e-5
    header, body = opened(packed.data)
    for stage in header["stages"]:
        for entry in stage["blocks"]:
            g = trace.grouping(stage["s"], entry["b"])
            heads, probs = stage["heads"], trace[f"layers.{stage['s']}.blocks.{entry['b']}.attn.probs"]
            codes = array(body, entry["codes"]).reshape(g.H * g.W, heads, g.N)
            high, span = (array(body, entry[name]).reshape(g.H * g.W, heads) for name in ("high", "span"))
            assert entry["peak"] == pytest.approx(probs[:, :, :, :][g.valid.nonzero()[0]].max(), abs=1e-2)
            meta = header["groupings"][entry["grouping"]]
            assert (array(body, meta["index"]).reshape(g.nG, g.N) == g.index).all()
            q, k = (trace[f"layers.{stage['s']}.blocks.{entry['b']}.attn.{n}"] for n in "qk")
            content = (q @ k.swapaxes(-1, -2) * q.shape[-1] ** -0.5).swapaxes(1, 2)  # nG, N, nH, N
            sent = logits.restore(codes, high, span)
            mine = g.scatter(np.broadcast_to(g.valid[:, None], (g.nG, g.N, g.N)))  # H, W, N
            keys = np.broadcast_to(mine.reshape(g.H * g.W, 1, g.N), sent.shape)
            wanted = g.scatter(content).reshape(sent.shape)
            np.testing.assert_allclose(sent[keys], wanted[keys], rtol=0, atol=1e-3)


@pytest.mark.parametrize("lda", ["regions", "whole"])
@pytest.mark.parametrize("size", [(96, 96), (96, 160), (160, 320)])
def test_large_blocks_are_sent_as_queries_and_keys(
    tiny_model, size: tuple[int, int], lda: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 448 px, groups of 14 x 14 tokens need 15 MB as logits and were refused; 2.7 MB are enough."""
    monkeypatch.setattr(living, "DIRECT", 0)
    photo = np.random.default_rng(1).integers(0, 255, (*size, 3), np.uint8)
    trace = inspect(photo, tiny_model(), size, watch=WATCH, lda=lda)
    monkeypatch.setattr(living, "CHUNK", 5000)
    units = living.units(trace.arrays, trace.groupings)
    packed = pack(units, size=size, strides={s: 4 * 2**s for s in range(4)})
    assert packed.left == ()
    assert packed.error < 1e-4
    header, body = opened(packed.data)
    for stage in header["stages"]:
        for entry in stage["blocks"]:
            at, g = f"layers.{stage['s']}.blocks.{entry['b']}.attn.", trace.grouping(stage["s"], entry["b"])
            bias, probs = trace[at + "bias"], trace[at + "probs"]
            sent = {}
            for name in "qk":
                step = array(body, entry[f"{name}_step"]).reshape(g.H, g.W, stage["heads"], 1)
                sent[name] = array(body, entry[name]).reshape(*step.shape[:3], -1) * step.astype(np.float64)
                sent[name] = g.gather(sent[name]).swapaxes(1, 2)  # nG, nH, N, d
            assert sent["q"][g.valid.nonzero()[0]].any()
            mask = np.where(g.valid, 0, MASKED)[:, None, None]
            logits_ = sent["q"] @ sent["k"].swapaxes(-1, -2) + bias + mask
            real = np.broadcast_to(g.valid[:, None], logits_.shape[:3])
            off = np.abs(softmax(logits_) - probs)[real].max()
            assert off <= packed.error + 1e-7
    nbytes = sum(one.nbytes for one in units)
    assert nbytes <= len(body) < 1.2 * nbytes + 20_000


def test_queries_and_keys_without_the_models_weights_are_measured_against_their_own(tiny_model: Any) -> None:
    """Where all weights are too many to keep, the error is that against full queries and keys, in float32."""
    model = tiny_model(group_size=3, lda="whole")
    watch = [f"layers.*.blocks.*.attn.{name}" for name in ("q", "k", "bias", "probs")]
    trace = inspect(Image.new("RGB", (96, 160), (90, 40, 200)), model, size=(96, 160), watch=watch)
    for s, stage in enumerate(trace.groupings):
        for b, g in enumerate(stage):
            q, k, bias, probs = (
                trace[f"layers.{s}.blocks.{b}.attn.{name}"] for name in ("q", "k", "bias", "probs")
            )
            vectors = (q * np.float32(q.shape[-1] ** -0.5), k)
            whole = living.Unit(s, b, g, None, bias, probs, vectors).encoded()
            alone = living.Unit(s, b, g, None, bias, None, vectors).encoded()
            assert abs(whole.error - alone.error) < 2e-6
            assert abs(whole.peak - alone.peak) < 2e-6
            for name, values in whole.content.items():
                assert np.array_equal(values, alone.content[name])


def test_the_block_looked_at_may_be_larger_than_a_message() -> None:
    units = [unit(12, 12, b) for b in range(4)]
    packed = pack(units, limit=25_000, alone=units[0].nbytes, start={"stage": 0, "block": 2})
    assert packed.sent == ((0, 2),)
    with pytest.raises(ValueError, match=r"needs .*\sMB; a message takes"):
        pack(units, limit=25_000, alone=units[0].nbytes - 1)


def test_a_block_is_encoded_once_and_the_message_is_the_same() -> None:
    units, made = [unit(12, 12, b) for b in range(3)], []

    def kept(one: living.Unit) -> living.Kept:
        found: list[living.Encoded] = []

        def encode() -> living.Encoded:
            if not found:
                made.append(one.block)
                found.append(one.encoded())
            return found[0]

        depth = 0 if one.vectors is None else one.vectors[0].shape[-1]
        return living.Kept(one.stage, one.block, one.grouping, one.heads, encode, depth)

    blocks = [kept(one) for one in units]
    assert [one.nbytes for one in blocks] == [one.nbytes for one in units]
    for part, wanted in (("first", [1]), ("stage", [1, 0, 2]), ("whole", [1, 0, 2])):
        start = {"stage": 0, "block": 1}
        assert pack(blocks, part=part, start=start).data == pack(units, part=part, start=start).data
        assert made == wanted  # a block is encoded when it is first sent


def test_the_start_and_language_of_a_message_change_without_packing_it_again() -> None:
    units, start = [unit(6, 6)], {"stage": 0, "block": 0, "row": 2}
    english, chinese = figure_words("attention"), figure_words("attention", "zh-Hant")
    packed = pack(units, strings=english).data
    for words in (english, chinese):
        assert reopened(packed).at(start, words).data == pack(units, strings=words, start=start).data


def test_blocks_that_do_not_fit_are_left_out_the_farthest_first() -> None:
    units = [unit(12, 12, b) for b in range(4)]
    whole = len(pack(units).data)
    some = pack(units, limit=whole + living.HEADER - 2 * units[0].nbytes, start={"stage": 0, "block": 2})
    assert (0, 2) in some.sent
    assert len(some.sent) + len(some.left) == 4
    assert some.left
    header, _ = opened(some.data)
    absent = [b["b"] for b in header["stages"][0]["blocks"] if b.get("absent")]
    assert absent == [b for _, b in some.left]
    assert len(some.data) < whole


def test_two_messages_together_equal_the_whole_one() -> None:
    units = [unit(12, 12, b) for b in range(4)]
    options = {"limit": len(pack(units).data) + living.HEADER - 2 * units[0].nbytes, "source": "the same"}
    start = {"stage": 0, "block": 2}
    whole, first = (pack(units, part=part, start=start, **options) for part in ("whole", "first"))
    rest = pack(units, part="stage", has=(0, 2), start=start, **options)
    assert first.sent == ((0, 2),)
    assert set(first.sent + rest.sent) == set(whole.sent)
    assert not set(first.sent) & set(rest.sent)
    assert first.left == rest.left == whole.left
    assert max(first.error, rest.error) == whole.error
    entries = [opened(part.data)[0]["stages"][0]["blocks"] for part in (first, rest)]
    for b, (now, later) in enumerate(zip(*entries, strict=True)):
        assert ("codes" in now, "codes" in later) == ((0, b) in first.sent, (0, b) in rest.sent)
        assert now.get("absent") == later.get("absent") == (True if (0, b) in whole.left else None)


def test_another_stage_is_sent_when_the_reader_goes_there() -> None:
    """All stages came with the page: 4 MB for every photo."""
    units = [replace(unit(n, n, b), stage=s) for s, n in enumerate((24, 12)) for b in range(2)]
    first = pack(units, part="first", start={"stage": 0, "block": 1})
    same = pack(units, part="stage", has=(0, 1), start={"stage": 0, "block": 1})
    other = pack(units, part="stage", has=(0, 1), start={"stage": 1, "block": 0})
    assert [one.sent for one in (first, same, other)] == [((0, 1),), ((0, 0),), ((1, 0), (1, 1))]
    assert len(first.body) + len(same.body) < 0.9 * len(pack(units).body)


def test_a_block_that_is_too_large_is_refused_with_its_size() -> None:
    with pytest.raises(
        ValueError, match=r"needs .*\sMB; a message takes .*\sMB. Choose a smaller input size"
    ):
        pack([unit(12, 12)], limit=25_000)
    with pytest.raises(ValueError, match=r"no block \(3, 0\); there are \[\(0, 0\)\]"):
        pack([unit(12, 12)], start={"stage": 3, "block": 0})
    with pytest.raises(ValueError, match="no block to show"):
        living.pack([], size=(4, 4), strides={}, strings={})


def test_the_id_depends_on_the_language_but_not_on_the_start() -> None:
    packed = pack([unit(6, 6)], photo=Image.new("RGB", (24, 24)))
    moved = packed.at({"stage": 0, "block": 0, "row": 3})
    assert moved.header["id"] == packed.header["id"]
    assert opened(moved.data)[0]["start"]["row"] == 3
    assert packed.at({}, figure_words("attention", "zh-Hant")).header["id"] != packed.header["id"]
    assert pack([unit(6, 6, 1)]).header["id"] != packed.header["id"]


def test_groups_alone_need_no_attention() -> None:
    packed = pack([living.Unit(0, 0, grouping("sda", 5, 6, 3))])
    header, body = opened(packed.data)
    assert header["stages"][0]["heads"] == 0
    assert packed.error == 0
    assert len(body) < 1000


def test_content_of_the_wrong_shape_is_named() -> None:
    good = unit(6, 6)
    assert good.content is not None
    assert good.bias is not None
    with pytest.raises(ValueError, match=r"expected \(nG, nH, N, N\) = \(4, nH, 9, 9\)"):
        pack([living.Unit(0, 0, good.grouping, good.content[:1], good.bias)])
    with pytest.raises(ValueError, match=r"groups of 3 x 3 need \(heads, 9, 9\)"):
        logits.bias_by_offset(np.zeros((2, 4, 4)), 3)


@pytest.mark.parametrize("lang", ["en", "zh-Hant"])
def test_every_word_the_script_uses_is_in_the_catalogue(lang: str) -> None:
    code = web.ATTENTION.script
    used = set(re.findall(r"\bt\.([a-z_]+)", code)) - {"length"}
    used |= {f"{name}{end}" for name in re.findall(r"\b(save_\w+): \(\)", code) for end in ("", "_help")}
    used |= {
        f"{name}{end}"
        for name in ("content", "position", "mask", "sum")
        for end in ("", "_help", "_alone_help")
    }
    assert used == set(figure_words("attention", lang))


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ValueError, match="no words of attention for 'fr'; there are"):
        figure_words("attention", "fr")


def test_the_offline_page_needs_nothing_else() -> None:
    packed = pack([unit(6, 6)], photo=Image.new("RGB", (24, 24)))
    page = living.html(packed, title="A <photo> %STYLE%")
    assert "<title>A &lt;photo&gt; %STYLE%</title>" in page
    named = page.replace("http://www.w3.org/2000/svg", "")  # the SVG namespace, which is never loaded
    assert re.findall("%[A-Z]+%", named) == ["%STYLE%"]
    assert not re.search(r"https?://|\bimport\b[^(]*\bfrom\b", named)
    assert "default-src 'none'" in page
    frame = living.notebook(packed)
    assert frame.startswith("<iframe")
    assert "<script" not in frame


class _Frame(HTMLParser):
    """The page inside a frame, as a browser reads it, with the references in the attribute resolved."""

    page: str

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.page = dict(attrs)["srcdoc"] or ""


def test_a_notebooks_frame_holds_the_page_unchanged() -> None:
    """Entities such as `&#215;` are resolved in attributes but not in scripts."""
    packed = pack([unit(6, 6)], photo=Image.new("RGB", (24, 24)))
    frame = living.notebook(packed)
    assert frame.isascii()
    parser = _Frame()
    parser.feed(frame)
    assert parser.page == living.html(packed, "cfviz")
    assert "×" in parser.page
