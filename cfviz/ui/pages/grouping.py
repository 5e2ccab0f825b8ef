"""The grouping page: it needs no model, and its link records the state of its figures."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from cfviz.figures.live.grouping import query_of_stage
from cfviz.models.variants import VARIANTS
from cfviz.ui.compute import models
from cfviz.ui.session.state import Settings

CHOSEN = "cfviz.grouping.chosen"  # model and size at the last run


def of_the_model(settings: Settings) -> dict[str, str]:
    """The parameters of a model's first stage at the chosen size, as far as the figures can show them."""
    mine = models.own().get(settings.model)
    if mine is not None:
        channels, G, interval = mine.feature_info[0]["num_chs"], mine.group_size[0], mine.interval
        every = interval if isinstance(interval, str) else interval[0]
    else:
        about = VARIANTS[settings.model]
        channels, G, every = about["embed_dim"], about["group_size"][0], about["interval"][0]
    height, width = settings.sides
    return query_of_stage((height // 4, width // 4), G, every, channels)


def query_of(settings: Settings, link: Mapping[str, str]) -> dict[str, str]:
    """The link's parameters, and the model's where there are none or where another model was chosen since."""
    mine, chosen = of_the_model(settings), (settings.model, settings.sides)
    before = st.session_state.get(CHOSEN, chosen)
    st.session_state[CHOSEN] = chosen
    if before != chosen:
        link = {name: value for name, value in link.items() if name not in (*mine, "q")}
    return {"form": models.form_of(settings), **mine, **link}
