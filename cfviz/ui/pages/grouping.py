"""The grouping page: it needs no model, and its link records the state of its figures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import streamlit as st

from cfviz.figures.live.grouping import query_of_stage, stages_on_offer, state_from_link
from cfviz.geometry import Grouping, Lda, lsda, map_sizes
from cfviz.models.variants import VARIANTS
from cfviz.ui.compute import models
from cfviz.ui.session.state import Settings, forget_extras

CHOSEN = "cfviz.grouping.chosen"  # model, size and form of LDA at the last run, and the stages' parameters
MAP = ("map", "g", "i", "c", "form")  # what a stage of a model decides


@dataclass(frozen=True)
class Opening:
    """What the page opens with.

    Attributes:
        start: The figures' starting state, from `state_from_link`.
        bad: Names of the link's invalid values.
        stages: The chosen model's stages, from `stages_on_offer`.
    """

    start: dict[str, Any]
    bad: list[str]
    stages: list[dict[str, Any]]


def of_the_model(settings: Settings) -> dict[int, dict[str, str]]:
    """The parameters of the model's stages, from 1, at the chosen size, if the figures can show them."""
    mine = models.own().get(settings.model)
    if mine is not None:
        channels = [one["num_chs"] for one in mine.feature_info]
        G, interval = mine.group_size, mine.interval
        every = [interval] * len(G) if isinstance(interval, str) else interval
    else:
        about = VARIANTS[settings.model]
        channels = [about["embed_dim"] * 2**s for s in range(len(about["depths"]))]
        G, every = about["group_size"], about["interval"]
    form, sides = models.form_of(settings), map_sizes(*settings.sides)
    found = {
        s: query_of_stage(*stage) for s, stage in enumerate(zip(sides, G, every, channels, strict=True), 1)
    }
    return {s: {**query, "form": form} for s, query in found.items() if query}


def opening(settings: Settings, link: Mapping[str, str]) -> Opening:
    """The link's map, or else the model's: of the stage that the link names, or of the first.

    Where model, size or form of LDA were chosen anew since the last run, the map follows them.
    """
    mine, chosen = of_the_model(settings), (settings.model, settings.sides, models.form_of(settings))
    before, theirs = st.session_state.get(CHOSEN, (chosen, mine))
    st.session_state[CHOSEN] = chosen, mine
    named = link.get("stage", "")
    number = int(named) if re.fullmatch("[1-9]", named) else 0
    stale = {"stage"} if _own_map(theirs.get(number, {}), link) else set()
    if before != chosen:
        stale |= {*MAP, "q"}
    forget_extras("grouping", stale)
    link = {name: value for name, value in link.items() if name not in stale}
    first: Mapping[str, str] = next(iter(mine.values()), {})
    start, bad = state_from_link({**mine.get(number if "stage" in link else 0, first), **link})
    if "stage" in link and number not in mine:
        bad.append("stage")
    return Opening(start, bad, stages_on_offer(mine, _depths(settings)))


def blocks_of_the_model(settings: Settings) -> list[list[Grouping]]:
    """How every block of the chosen model partitions its map, without making the model."""
    mine = models.own().get(settings.model)
    if mine is None:
        about = VARIANTS[settings.model]
        G, every = about["group_size"], about["interval"]
    else:
        G, every = mine.group_size, mine.interval
    form = cast(Lda, models.form_of(settings))
    intervals = [every] * len(G) if isinstance(every, str) else every
    stages = zip(map_sizes(*settings.sides), _depths(settings), G, intervals, strict=True)
    return [[lsda(*size, b, g, i, form) for b in range(depth)] for size, depth, g, i in stages]


def _depths(settings: Settings) -> Sequence[int]:
    """Blocks in each stage of the chosen model."""
    mine = models.own().get(settings.model)
    return VARIANTS[settings.model]["depths"] if mine is None else mine.depths


def _own_map(stage: Mapping[str, str], link: Mapping[str, str]) -> bool:
    """Whether a link names a map that is not, or no longer, a stage's."""
    return "map" in link and any(link.get(name, value) != value for name, value in stage.items())
