"""The lab's experiment: a list of interventions, their effect on one photo, and the effect of every part."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from time import perf_counter
from typing import Any

import numpy as np
import streamlit as st

from cfviz import point_names
from cfviz.analysis.lab import answer_changes, moved_towards
from cfviz.data.decode import Photo
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import gallery
from cfviz.figures.plots.lab import board
from cfviz.measured import quick
from cfviz.models.crossformer import CrossFormer
from cfviz.models.interventions.apply import apply, needed
from cfviz.models.interventions.effects import collect, effects, parts
from cfviz.models.interventions.language import (
    FILLS,
    Intervention,
    check,
    from_url,
    part_address,
    to_url,
)
from cfviz.run import inspect
from cfviz.stats import softmax
from cfviz.trace import Trace
from cfviz.ui.compute import cache, keys
from cfviz.ui.compute.background import in_pieces
from cfviz.ui.compute.cache import cached
from cfviz.ui.context import Context
from cfviz.ui.figures.lab_board import board_frame
from cfviz.ui.session import forms, photos, queue
from cfviz.ui.session.plain import plain
from cfviz.ui.widgets.answer import class_of_link
from cfviz.ui.widgets.figure import LAB, committed
from cfviz.words import percent, short_name

BOARD = "lab.board"
ASKED = "cfviz.lab.asked"  # number and list of the latest change made on the board
OTHER = "giant-panda"  # the other photo at first
GALLERY_BATCH = 4
PIECE = 16  # changes measured in one turn
MEASURES = ("probability", "logit")
NOTHING = "none"  # an empty list, as the link writes it
END = -1  # the last piece: combines all the others


@dataclass(frozen=True)
class Experiment:
    """The state of the experiment: a model, a photo, perhaps a second one, and the interventions.

    Attributes:
        ctx: The page.
        do: The interventions in order, including those switched off.
        how: What a click on a part does, one of `FILLS`.
        other: Id of the photo whose activations "replace" uses.
        at: Which block of each stage shows its attention, "first" or "last".
        by: What colours and the ranking show of the class to explain, one of `MEASURES`.
        chosen: Index of the class to explain; -1 for the predicted one.
        photo: The photo, opened.
        donor_photo: The other photo, opened.
    """

    ctx: Context
    do: tuple[Intervention, ...]
    how: str
    other: str
    at: str
    by: str
    chosen: int
    photo: Photo
    donor_photo: Photo

    @property
    def model(self) -> CrossFormer:
        """The model, shared by all readers."""
        return self.ctx.model

    @cached_property
    def image(self) -> Any:
        """The model's input, (3, H, W); another thread asks for it, too, where there is no session."""
        s = self.ctx.settings
        return prepare(self.photo, s.size, s.mode, centre=s.centre).tensor

    @property
    def watch(self) -> tuple[str, ...]:
        """Points of the maps and the attention to compare."""
        depths = self.model.depths
        blocks = [0 if self.at == "first" else n - 1 for n in depths]
        attention = (point_names.attention(s, b) for s, b in enumerate(blocks))
        return (*point_names.stage_outputs(depths), *attention)

    @property
    def active(self) -> tuple[Intervention, ...]:
        """The interventions that are switched on."""
        return tuple(one for one in self.do if one.on)

    @property
    def target(self) -> int:
        """Index of the class to explain: the chosen one, else the predicted one."""
        return self.before.top(1)[0][0] if self.chosen < 0 else self.chosen

    @cached_property
    def before(self) -> Trace:
        """The forward without interventions."""
        return self.ctx.trace(*self.watch)

    @cached_property
    def after(self) -> Trace:
        """The forward with the active interventions; without any, it is the one before."""
        if not self.active:
            return self.before
        means, donor = self.means(self.active), self.donor(self.active)  # first: forwards wait for each other

        def make() -> Trace:
            return self.run(self.active, means, donor)

        return self._kept(("after", to_url(self.active), self.watch), make)

    def run(self, several: Sequence[Intervention], means: Any, donor: Any) -> Trace:
        """Run a separate forward with some interventions."""
        s = self.ctx.settings
        with apply(self.model, several, means, donor):
            return inspect(
                self.photo, self.model, s.size, self.watch, dtype=s.dtype, mode=s.mode, centre=s.centre
            )

    def means(self, several: Sequence[Intervention]) -> dict[str, np.ndarray]:
        """The activations that "mean" uses: means over the gallery at the chosen size."""
        return gallery_means(self.key, self) if needed(self.model, several) else {}

    def donor(self, several: Sequence[Intervention]) -> Any:
        """The other photo's activations for "replace", with its maps partitioned like those they replace."""
        names = needed(self.model, several, "replace")
        cuts = tuple(one for one in several if one.on and one.structural)
        if not names or not cuts:
            return self.other_trace(*names).arrays if names else {}
        s = self.ctx.settings

        def make() -> Trace:
            with apply(self.model, cuts):
                return inspect(self.donor_photo, self.model, s.size, names, dtype=s.dtype, mode=s.mode)

        return self._kept(("donor", to_url(cuts), names), make).arrays

    def other_trace(self, *watch: str) -> Trace:
        """The other photo's forward without interventions."""
        return cache.trace(self.ctx.settings.elsewhere, self.donor_photo, watch, net=self.model)

    @property
    def key(self) -> str:
        """A cache key of weights, number format, device, size and fitting."""
        s = self.ctx.settings
        return keys.joined(keys.weights(s, self.model), keys.framing(s))

    def _kept(self, about: tuple, make: Callable[[], Trace]) -> Trace:
        key = ("lab", self.key, self.photo.sha256, self.donor_photo.sha256, *about)
        return cache.trace_cache().get(key, make)

    @property
    def same(self) -> bool:
        """Whether both photos have the same answer, so that there is no change to follow."""
        return self.before.top(1)[0][0] == self.other_trace().top(1)[0][0]


@dataclass(frozen=True)
class Ranking:
    """The effect of every part on the answer.

    Attributes:
        parts: One intervention per part.
        logits: float32 (n, classes).
        values: The change of the top class's logit or, if `share`, how far the answer moves towards the
            other photo's, as a share.
        share: Whether `values` are shares.
        probs: Probability of the original top class after each change, (n,).
        winners: Top class after each change, (n,).
        error: Largest difference between the strongest part's logits and those of a separate full forward,
            as a share of the largest logit.
        seconds: Time the measurement took.
    """

    parts: tuple[Intervention, ...]
    logits: np.ndarray
    values: np.ndarray
    share: bool
    probs: np.ndarray
    winners: np.ndarray
    error: float
    seconds: float

    def shown(self, by: str, before: np.ndarray, target: int) -> np.ndarray:
        """The values behind colours and bars, (n,): shares, or what each change does to a class.

        A logit can change by much where the probability does not, since the other logits change, too.

        Args:
            by: "probability", in percentage points, or "logit"; shares of the way to another photo are
                shown either way.
            before: Logits without a change, (classes,).
            target: Index of the class.
        """
        if self.share:
            return self.values
        if by == "logit":
            return self.logits[:, target].astype(float) - before[target]
        return 100 * (softmax(self.logits)[:, target] - softmax(before)[target])


@cached(4)
def gallery_means(key: str, _experiment: Experiment) -> dict[str, np.ndarray]:
    """Means over the gallery's photos of every activation that can be replaced by its mean."""
    s = _experiment.ctx.settings
    images = [prepare(load_image(entry.path), s.size, s.mode).tensor for entry in gallery()]
    return collect(_experiment.model, images, parts(_experiment.model, "mean", s.sides), GALLERY_BATCH)


def experiment_from_link(ctx: Context) -> Experiment:
    """The experiment from the link and the session; what does not fit the model is reported and left out.

    It begins with the model as trained. The link says so too: otherwise the browser's Back would lead from
    the first change to a link that asks for nothing.
    """
    size = ctx.settings.sides
    text = ctx.get("do", "", lambda _: True)
    if not text:
        ctx.put(do=(text := NOTHING))
    do: list[Intervention] = []
    for word in () if text == NOTHING else filter(None, text.split("_")):
        try:
            several = from_url(word)
            check(ctx.model, [*do, *several], size)
            do += several
        except ValueError as error:
            st.info(ctx.t("lab.left_out", reason=plain(error)), icon=":material/link_off:")
    ids = [id for id in photos.ids() if id != ctx.settings.photo]
    other = ctx.get("other", OTHER if OTHER in ids else ids[0], ids)
    how, at = ctx.get("how", "zero", FILLS), ctx.get("at", "last", ("first", "last"))
    by = ctx.get("by", MEASURES[0], MEASURES)
    return Experiment(ctx, tuple(do), how, other, at, by, class_of_link(ctx), ctx.photo, photos.photo(other))


# ---------------------------------------------------------------- every part


def _rankings(experiment: Experiment) -> dict[Any, Ranking]:
    """The rankings measured so far for this photo and model."""
    return _places(experiment.key, experiment.photo.sha256)


@cached(64)
def _places(key: str, photo: str, *what: str) -> dict[Any, Any]:
    """A place for what is measured little by little of a model on a photo; no forward is run for it."""
    return {}


def _ranking_key(experiment: Experiment) -> tuple[str, str]:
    return experiment.how, experiment.donor_photo.sha256 if experiment.how == "replace" else ""


def measured_ranking(experiment: Experiment) -> Ranking | None:
    """The effect of every part, if already measured."""
    return _rankings(experiment).get(_ranking_key(experiment))


def measure_ranking(experiment: Experiment, text: str) -> Ranking | None:
    """The effect of every part: one forward each, from the first layer it changes; None until all are done.

    The work runs in the background, a few changes at a time, so that other readers get their turn. Finished
    pieces are kept with the trace, so clicking away discards nothing; otherwise no run would ever finish on a
    busy server.

    Args:
        experiment: The experiment.
        text: The text above the progress bar, in the reader's language.
    """
    every = parts(experiment.model, experiment.how, experiment.ctx.settings.sides)
    names = (*range(0, len(every), PIECE), END)
    key = (experiment.key, experiment.photo.sha256, *_ranking_key(experiment))
    found = in_pieces(("lab", *key), names, _pieces(experiment, every), text)
    return None if found is None else found[END]


def _pieces(experiment: Experiment, every: Sequence[Intervention]) -> Callable[[Any], Any]:
    """A function that computes one piece in another thread; everything from the session is read now."""
    rankings, before = _rankings(experiment), experiment.before.logits
    kept = _places(experiment.key, experiment.photo.sha256, *_ranking_key(experiment))
    key: Hashable = _ranking_key(experiment)
    bare = replace(experiment)

    def make(at: int) -> Any:
        away = replace(bare)  # a copy, whose cached properties are discarded with it
        means = away.means(every)
        donor = away.donor([one for one in every if not one.structural])
        if at == END:
            return rankings.setdefault(key, _together(away, every, kept, before, means, donor))
        if at not in kept:
            start = perf_counter()
            some = [(one,) for one in every[at : at + PIECE]]
            logits = effects(
                away.model, away.image, some, means, donor, progress=lambda _: queue.yield_turn()
            )  # between batches, pages go first
            kept[at] = logits, perf_counter() - start
        return True

    return make


def _together(
    experiment: Experiment,
    every: Sequence[Intervention],
    kept: dict[int, Any],
    before: np.ndarray,
    means: Any,
    donor: Any,
) -> Ranking:
    """The pieces combined into one ranking, with the strongest change checked in a separate forward."""
    pieces = [kept[at] for at in sorted(kept)]
    logits, seconds = np.concatenate([one for one, _ in pieces]), sum(took for _, took in pieces)
    values, probs, winners = answer_changes(logits, before)
    other = experiment.other_trace() if experiment.how == "replace" else None
    share = other is not None and other.logits.argmax() != before.argmax()
    if other is not None and share:
        values = moved_towards(logits, before, other.logits)
    worst = int(np.abs(values).argmax())
    whole = experiment.run((every[worst],), means, donor).logits
    error = float(np.abs(whole - logits[worst]).max() / np.abs(whole).max())
    return Ranking(tuple(every), logits, values, share, probs, winners, error, seconds)


# ---------------------------------------------------------------- the board


def show_board(experiment: Experiment) -> None:
    """The parts and the list of interventions; a click updates the link."""
    ctx = experiment.ctx

    def commit() -> None:
        if to := committed(BOARD, forms.LAB):
            do = to["do"] or NOTHING
            st.session_state[ASKED] = (to["seq"], do)
            ctx.put(do=do, how=to["how"])

    LAB.show(_data(experiment), name=BOARD, on_commit=commit)


def _data(experiment: Experiment) -> dict[str, Any]:
    ctx = experiment.ctx
    ranking = measured_ranking(experiment)
    found: dict[str, Any] = {"effects": None, "top": 1.0}
    first = experiment.before.top(1)[0][0]
    target = experiment.target
    label = short_name(ctx.labels[target])
    if ranking is not None:
        now = ["" if w == first else short_name(ctx.labels[int(w)]) for w in ranking.winners]
        probs = [percent(float(p)) for p in softmax(ranking.logits)[:, target]]
        values = ranking.shown(experiment.by, experiment.before.logits, target)
        found = board([part_address(one) for one in ranking.parts], values, probs, now)
        if ranking.share:
            label = short_name(ctx.labels[experiment.other_trace().top(1)[0][0]])
    seq, asked = st.session_state.get(ASKED, (0, None))
    return {
        **board_frame(ctx),
        "do": to_url(experiment.do),
        "how": experiment.how,
        "seq": seq,
        "moved": asked is not None and ctx.get("do", "", lambda _: True) != asked,  # the link went on since
        **found,
        "measured": experiment.how,
        "unit": "share" if ranking and ranking.share else experiment.by,
        "waits": not quick(experiment.model, experiment.ctx.settings.sides),
        "label": label,
    }
