"""The effect of another window on the answer: every method of making the bias, on the chosen photo."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import streamlit as st

from cfviz import point_names
from cfviz.data.decode import Photo
from cfviz.figures.live.logits import bias_by_offset
from cfviz.figures.live.position_bias_answer import Card, pack
from cfviz.framing import Size, as_pair, as_size, shape_of_photo, size_code, size_text
from cfviz.geometry import Lda
from cfviz.hooks import edit
from cfviz.measured import quick
from cfviz.models.crossformer import CrossFormer
from cfviz.models.probes.position_bias import edits, methods_of, regrouped, sides_of, simplest_method
from cfviz.models.room import check_room
from cfviz.options import BIAS_METHODS, RECTANGLES, SIZES, TRAINED_SIZE
from cfviz.run import forward, prepared_as, share_cores
from cfviz.stats import softmax
from cfviz.ui.compute import keys
from cfviz.ui.compute.cache import cached
from cfviz.ui.compute.models import model_code
from cfviz.ui.compute.steps import Steps
from cfviz.ui.context import Context
from cfviz.ui.figures.position_bias import BiasOnPhoto, BiasSubject, block_name, on_photo
from cfviz.ui.session import forms, queue
from cfviz.ui.session.photos import photo_code
from cfviz.ui.session.plain import explain
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.answer import show_answer_line
from cfviz.ui.widgets.figure import POSITION_BIAS, committed
from cfviz.ui.widgets.takeaway import take_away
from cfviz.ui.widgets.weights import warn_without_answer
from cfviz.words import decimal, figure_words, percent, quantity, short_name, signed, together

from .cost import show_costs
from .surfaces import selection_from_link

WINDOWS = ("scaled", "fixed", "adaptive", "whole")
SHORT = 320  # short side of the size that has the photo's shape, in pixels
SIDES = range(2, 29)
NAME = "position_bias.answer"  # of the figure
PARAMS = ("at", "window", "g", "down", "across", "maps")  # of the link
PATIENCE = 0.15  # seconds the page waits for methods before it shows the finished ones
MORE = (
    0.5  # seconds it waits for all when the figure asks for the rest: it gets the last as soon as it is there
)
ASKED = "cfviz.position_bias.asked"  # for whose answers the figure waits, and how many it shows
AHEAD = 320  # largest size, in pixels, to compute in advance


@dataclass(frozen=True)
class Answer:
    """One method's answer.

    Attributes:
        logits: (classes,).
        q: Queries of the watched block, (nG, nH, N, d).
        k: Keys of the watched block.
        tables: The watched block's bias at every offset, (nH, (2G-1)^2).
        seconds: Time of the forward.
    """

    logits: np.ndarray
    q: np.ndarray
    k: np.ndarray
    tables: np.ndarray
    seconds: float

    @property
    def probs(self) -> np.ndarray:
        """Softmax of the logits, (classes,)."""
        return softmax(self.logits)


@dataclass(frozen=True)
class Window:
    """Another input size and another partition.

    Attributes:
        size: Side of the input in pixels, or (height, width).
        G: The group size per stage.
        interval: The interval I per stage, or "adaptive".
        lda: Form of long distance attention.
    """

    size: Size
    G: tuple[int, ...]
    interval: Any
    lda: Lda = "regions"

    def groups(self, model: CrossFormer) -> list[list[Any]]:
        """How every block partitions its map.

        Raises:
            ValueError: If a forward with this window would take gigabytes.
        """
        with self.partition(model):
            check_room(model, *as_pair(self.size))
            return model.groupings(*as_pair(self.size))

    def partition(self, model: CrossFormer) -> AbstractContextManager[None]:
        """Partition a model's maps like this inside a `with` block."""
        return regrouped(model, self.G, self.interval, self.lda)


def shown_methods(subject: BiasSubject) -> list[str]:
    """The methods on show, in order: the model's own, with the twin before the last."""
    methods = [method for method in BIAS_METHODS if method in methods_of(subject.model.position_bias)]
    return methods if subject.baseline is None else [*methods[:-1], "twin", methods[-1]]


def merged(subject: BiasSubject, groups: list[list[Any]]) -> dict[str, str]:
    """Method -> the method whose forward computes its answer: itself, or one that cannot differ here."""
    kind, sides = subject.model.position_bias, sides_of(groups)
    trained, shown = set(subject.model.group_size), shown_methods(subject)
    if len(trained) > 1:
        return {method: method for method in shown}
    G = trained.pop()
    return {
        method: method if method == "twin" else simplest_method(kind, G, method, sides) for method in shown
    }


@cached(32)
def seen(source: str, size: Size, _subject: BiasOnPhoto, _photo: Photo) -> tuple[Any, bytes]:
    """The photo at one size, fitted as on the rest of the page: the model's input, and its pixels as PNG."""
    prepared, out = prepared_as(_subject.trace, _photo, size), io.BytesIO()
    prepared.crop.convert("RGB").save(out, "PNG", compress_level=1)
    return prepared.tensor, out.getvalue()


@cached(256, 160 * 2**20)  # every photo of the gallery in one window, for nano at 256 px
def answers(
    source: str, window: Window, stage: int, block: int, _subject: BiasOnPhoto, _photo: Photo
) -> Steps[Answer]:
    """The answers of all methods that differ, computed in the background."""
    subject, points = _subject, [point_names.attention(stage, block, name) for name in ("q", "k", "bias")]
    groups = window.groups(subject.model)
    needed = list(dict.fromkeys(merged(subject, groups).values()))

    def make(method: str) -> Answer:
        tensor, _ = seen(source, window.size, subject, _photo)
        net = subject.baseline if method == "twin" else subject.model
        assert net is not None  # without a baseline, "twin" is not among the methods
        changes = edits(net, "own" if method == "twin" else method, subject.model.group_size)
        share_cores()
        with window.partition(net), edit(net, changes):
            arrays, seconds = forward(net, tensor, points)
            g = net.groupings(*as_pair(window.size))[stage][block]
        q, k, bias = (arrays[point] for point in points)
        tables = bias_by_offset(bias, g.Gh, g.Gw)
        return Answer(arrays["logits"].astype(float), q, k, tables, seconds)

    g, channels = groups[stage][block], subject.model.feature_info[stage]["num_chs"]
    return Steps(needed, make, len(needed) * 2 * 4 * g.nG * g.N * channels)  # float32 queries and keys


# ---------------------------------------------------------------- the section


@st.fragment
def show_answers(ctx: Context, subject: BiasSubject) -> None:
    """Controls, the answers side by side as they arrive, and the cost of the window."""
    t = ctx.t
    if warn_without_answer(ctx):
        return
    subject = on_photo(ctx, subject)
    show_answer_line(ctx, subject.trace, "windows")
    chart.show_hint(t("position_bias.answer_look"))
    window = _window(ctx, subject)
    place = selection_from_link(ctx, subject)
    number, head = place["block"], place["head"]
    stage, block = subject.places[number]
    try:
        groups = window.groups(subject.model)
    except ValueError as error:
        st.error(explain(t, error), icon=":material/error:")
        return
    by = merged(subject, groups)
    _, photo = seen(subject.source, window.size, subject, ctx.photo)
    steps = answers(subject.source, window, stage, block, subject, ctx.photo)
    if quick(subject.model, subject.size) and queue.count_readers() == 1:  # otherwise it would hold up others
        _look_ahead(ctx, subject, window, stage, block)
    asked = (subject.source, window, stage, block)
    before, shown = st.session_state.get(ASKED, (None, 0))
    again = before == asked
    # polled last, so computed first; a figure that shows no answer yet gets the first as soon as it is there
    there = steps.poll(MORE if again else PATIENCE, 1 if again and not shown else None)
    st.session_state[ASKED] = asked, len(there)
    found = {method: there[one] for method, one in by.items() if one in there}
    cards = [_card(ctx, method, by[method], found, head) for method in by]
    cut, source = groups[stage][block], keys.joined(subject.source, size_code(window.size))
    start = {
        "row": ctx.get("down", 45, range(100)),
        "col": ctx.get("across", 50, range(100)),
        "less": ctx.get("maps", 0, (0, 1)),
    }
    strings = figure_words("position_bias", ctx.lang)
    size = as_pair(window.size)
    data = pack(cards, cut, photo, size, strings=strings, start=start, source=source)
    POSITION_BIAS.show(data, name=NAME, on_commit=lambda: _chosen(ctx))
    st.caption(t("position_bias.answer_maps", block=block_name(ctx, subject.blocks[number]), h=head + 1))
    if len(there) < len(steps.names):  # as polled: more may have come since
        st.caption(t("position_bias.answer_wait", done=len(there), all=len(steps.names)))
    else:
        _apart(ctx, found, by, sides_of(groups), subject)
    take_away(ctx, "answer", code=code(ctx, subject, window), table=_table(ctx, found))
    show_costs(ctx, subject.model, groups, window.size, _others(subject, window.size))


def _chosen(ctx: Context) -> None:
    """Store the query or the kind of map chosen in the figure."""
    if to := committed(NAME, forms.BIAS_ANSWER):
        ctx.put(down=to["down"], across=to["across"], maps=int(to["less"]))


def _look_ahead(ctx: Context, subject: BiasOnPhoto, window: Window, stage: int, block: int) -> None:
    """Compute the other sizes in the background, the nearest first: they are likely to be wanted next."""
    if ctx.get("g", 0, (0, *SIDES)):
        return
    side = window.size
    if not isinstance(side, int):
        return
    sizes = [size for size in SIZES if size <= AHEAD and size != side]
    for size in sorted(sizes, key=lambda size: -abs(size - side)):
        other = _cut(subject, size, ctx.get("window", _usual(subject), WINDOWS))
        with suppress(ValueError):  # does not fit in memory: reported when it is requested
            answers(subject.source, other, stage, block, subject, ctx.photo).poll()


def _cut(subject: BiasSubject, size: Size, kind: str) -> Window:
    """The window of one of the kinds at a size; G grows with the shorter side."""
    trained, grown = subject.model.group_size, min(as_pair(size)) / TRAINED_SIZE
    G = tuple(max(2, round(g * grown)) for g in trained) if kind == "scaled" else tuple(trained)
    interval = "adaptive" if kind == "adaptive" else subject.model.interval
    return Window(size, G, interval, "whole" if kind == "whole" else "regions")


def _usual(subject: BiasSubject) -> str:
    """The kind of window to begin with: the model's own where its groups reach over the whole map."""
    return "whole" if subject.model.lda == "whole" else "scaled"


def _others(subject: BiasSubject, size: Size) -> dict[str, list[list[Any]]]:
    """How every kind of window cuts the maps at a size; those that would not fit are left out."""
    found = {}
    for kind in WINDOWS:
        with suppress(ValueError):
            found[kind] = _cut(subject, size, kind).groups(subject.model)
    return found


def sizes_on_offer(photo: Photo, chosen: Size) -> list[Size]:
    """The sizes to choose from: squares, rectangles, the photo's own shape, the size chosen for the app."""
    shape = as_size(*shape_of_photo(photo.size, SHORT))
    return list(dict.fromkeys([*SIZES, *RECTANGLES, shape, chosen]))


def _window(ctx: Context, subject: BiasSubject) -> Window:
    """Input size, G a stage, interval."""
    t, trained = ctx.t, subject.model.group_size
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        sizes = sizes_on_offer(ctx.photo, as_size(*subject.size))
        codes = [size_code(size) for size in sizes]
        shape = as_size(*shape_of_photo(ctx.photo.size, SHORT))
        begin = ctx.get("at", "256", codes)
        if st.session_state.get("position_bias.at", sizes[0]) not in sizes:
            del st.session_state["position_bias.at"]  # another photo's shape
        size = st.selectbox(
            t("position_bias.answer_size"), sizes, codes.index(begin), key="position_bias.at", width=260,
            format_func=lambda size: t("position_bias.answer_shape", size=size_text(size))
            if size == shape and size not in (*SIZES, *RECTANGLES) else quantity(size_text(size), "px"),
        )  # fmt: skip
        usual = _usual(subject)
        kind = st.segmented_control(
            t("position_bias.window"), WINDOWS, default=ctx.get("window", usual, WINDOWS),
            format_func=lambda code: t(f"position_bias.window_{code}"), key="position_bias.window",
            required=True,
        )  # fmt: skip
        cut = _cut(subject, size, kind)
        asked = ctx.get("g", 0, (0, *SIDES))
        own = st.toggle(t("position_bias.own_g"), bool(asked), key="position_bias.own_g")
        chosen = asked or cut.G[0]
        if own:
            chosen = st.slider(
                t("position_bias.g"), SIDES[0], SIDES[-1], chosen, key="position_bias.g", width=220
            )
    ctx.put(at=size_code(size), window=kind, g=int(chosen) if own else 0)
    return replace(cut, G=(int(chosen),) * len(trained)) if own else cut


def _card(ctx: Context, method: str, by: str, found: Mapping[str, Answer], head: int) -> Card:
    name, note = (ctx.t(f"position_bias.figure.way_{method}{end}") for end in ("", "_help"))
    if by != method:
        note = ctx.t("position_bias.answer_like", way=ctx.t(f"position_bias.figure.way_{by}"))
    answer, own = found.get(method), found.get("own")
    if answer is None or own is None:
        return Card(method, name, note)
    lines, probs = [], answer.probs
    for k in np.argsort(-answer.logits, kind="stable")[:5]:
        change = "" if answer is own else _change(answer.logits[k] - own.logits[k])
        label = short_name(ctx.labels[int(k)], 20)
        lines.append((label, percent(float(probs[k])), decimal(answer.logits[k]), change))
    h = min(head, answer.q.shape[1] - 1)
    return Card(method, name, note, lines, answer.q[:, h], answer.k[:, h], answer.tables[h])


def _apart(
    ctx: Context, found: Mapping[str, Answer], by: Mapping[str, str], sides: set[int], subject: BiasSubject
) -> None:
    """One sentence on how far the methods differ."""
    own = found["own"]
    apart = {method: float(np.abs(a.logits - own.logits).max()) for method, a in found.items()}
    others = [method for method in found if method not in ("own", "twin", "none") and by[method] != "own"]
    none = f"{apart['none']:.2f}" if "none" in apart else "0"
    fields = {
        "sides": ctx.t("common.comma").join(str(g) for g in sorted(sides)),
        "trained": max(subject.model.group_size),
        "none": none,
        "ms": f"{1000 * float(np.median([a.seconds for a in found.values()])):.0f}",
    }
    if others:
        most = max(others, key=lambda method: apart[method])
        fields |= {"most": ctx.t(f"position_bias.figure.way_{most}"), "by": f"{apart[most]:.2f}"}
    text = ctx.t("position_bias.answer_apart" if others else "position_bias.answer_same", **fields)
    agree = all(a.logits.argmax() == own.logits.argmax() for a in found.values())
    st.markdown(
        together(text, ctx.t("position_bias.answer_agree" if agree else "position_bias.answer_differ"))
    )


def _table(ctx: Context, found: Mapping[str, Answer]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    rows = [
        (method, ctx.labels[k], float(a.logits[k]), float(a.probs[k]))
        for method, a in found.items()
        for k in range(len(a.logits))
    ]
    return ("way", "class", "logit", "probability"), rows


def _change(x: float) -> str:
    """Format a change with its sign, and zero without one."""
    text = signed(x)
    return "0.00" if text[1:] == "0.00" else text


def code(ctx: Context, subject: BiasSubject, window: Window) -> str:
    """The calls that compute the logits on screen; the twin's come from another model."""
    G = window.G[0] if len(set(window.G)) == 1 else window.G
    methods = tuple(method for method in shown_methods(subject) if method != "twin")
    photo = photo_code(ctx.settings.photo)
    fields = {"size": window.size, "methods": methods, "G": G, "interval": repr(window.interval)}
    fields["lda"] = repr(window.lda)
    return _CODE.format(model=model_code(subject.model), photo=photo, **fields)


_CODE = """
import cfviz
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import sample
from cfviz.models.probes.position_bias import edits, regrouped
from cfviz.run import forward

model = {model}
image = prepare(load_image({photo}), {size}).tensor
logits = {{}}
for method in {methods}:
    changes = edits(model, method, model.group_size)
    with regrouped(model, {G}, {interval}, {lda}), cfviz.edit(model, changes):
        logits[method] = forward(model, image)[0]["logits"]
"""
