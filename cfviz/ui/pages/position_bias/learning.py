"""Position biases while they learn: a short training from random weights, recorded step by step."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from cfviz import point_names
from cfviz.bundled import ASSETS
from cfviz.figures.live.message import opened
from cfviz.figures.live.position_bias_learning import LearningBlock, LearningTables, pack
from cfviz.geometry import lsda, map_sizes
from cfviz.models.probes.position_bias import stretched_records
from cfviz.models.variants import VARIANTS
from cfviz.training.positions import Positions, read
from cfviz.ui.compute import models
from cfviz.ui.context import Context
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.figure import POSITION_BIAS
from cfviz.ui.widgets.takeaway import take_away
from cfviz.words import figure_words, percent

RECORD = "learning-nano.safetensors"  # what one run from random weights recorded, in float16
TWIN = (
    "learning-nano-rpb.safetensors"  # the same run with a learned table instead of DPB, every second record
)
NAME = "position_bias.learning"  # of the figure


def show_learning(ctx: Context) -> None:
    """The figure with its sentence, what run it is, and the code that reads its file."""
    t = ctx.t
    path = ASSETS / "results" / RECORD
    if not path.is_file():
        chart.show_hint(t("position_bias.learning_missing"))
        return
    found = record(path)
    chart.show_hint(t("position_bias.learning_look"))
    data = opened(_message(path)).at({}, figure_words("position_bias", ctx.lang)).data
    POSITION_BIAS.show(data, name=NAME)
    st.caption(t("position_bias.learning_run", **_facts(found)))
    if (twin := twin_of(path)) is not None:
        st.caption(t("position_bias.learning_twin", **_facts(twin)))
    take_away(ctx, "learning", code=CODE.format(record=RECORD))


@lru_cache(maxsize=4)
def record(path: Path) -> Positions:
    """The record that comes with cfviz."""
    return read(path)


def twin_of(path: Path) -> Positions | None:
    """The record of the run with learned tables, beside that of DPB; None if it is not installed."""
    beside = path.with_name(TWIN)
    return record(beside) if beside.is_file() else None


@lru_cache(maxsize=2)
def _message(path: Path) -> bytes:
    """The figure's message, packed once for all readers: the steps that both runs recorded."""
    found, twin = record(path), twin_of(path)
    if twin is not None:
        steps = np.intersect1d(found.steps, twin.steps)
        found, twin = at_steps(found, steps), at_steps(twin, steps)
    blocks, strings = blocks_of(found), figure_words("position_bias", "en")
    tables = None if twin is None else LearningTables(_held(twin), tables_of(twin, blocks))
    steps = found.steps.tolist()
    return pack(blocks, steps, _held(found), strings=strings, source=path.name, twin=tables)


def _held(found: Positions) -> list[tuple[int, float]]:
    return list(zip(found.held_steps.tolist(), found.held_top1.tolist(), strict=True))


def at_steps(found: Positions, steps: np.ndarray) -> Positions:
    """The records after some of its steps."""
    kept = np.isin(found.steps, steps)
    return replace(
        found,
        steps=found.steps[kept],
        parameters={name: all_[kept] for name, all_ in found.parameters.items()},
    )


def tables_of(twin: Positions, blocks: list[LearningBlock]) -> list[np.ndarray]:
    """The learned tables of these blocks at the offsets of their groups, as the model resizes them."""
    own = [twin.parameters[point_names.attention(block.stage, block.block, "pos.table")] for block in blocks]
    return [stretched_records(tables, block.G) for tables, block in zip(own, blocks, strict=True)]


def blocks_of(found: Positions) -> list[LearningBlock]:
    """Every block's DPB, with the groups of the run's last phase."""
    phase = found.facts["recipe"]["phases"][-1]
    out = []
    for s, (H, W) in enumerate(map_sizes(phase["size"], phase["size"])):
        G = phase["group_size"] if isinstance(phase["group_size"], int) else phase["group_size"][s]
        interval = phase["interval"] or VARIANTS[found.facts["recipe"]["model"]]["interval"]
        for b in count():
            before = point_names.attention(s, b, "pos.")
            own = {
                name.removeprefix(before): value
                for name, value in found.parameters.items()
                if name.startswith(before)
            }
            if not own:
                break
            I: Any = interval if isinstance(interval, str) else interval[s]  # noqa: E741 (the paper's letter)
            groups = lsda(H, W, b, G, I)
            out.append(LearningBlock(s, b, groups.kind, max(groups.Gh, groups.Gw), own))
    return out


def _facts(found: Positions) -> dict[str, Any]:
    """What the run was, for the sentence below the figure."""
    facts, recipe = found.facts, found.facts["recipe"]
    phase, steps = recipe["phases"][-1], int(found.steps[-1])
    batch = phase["batch_size"] or recipe["batch_size"]
    return {
        "model": models.title(recipe["model"]),
        "steps": f"{steps:,}",
        "planned": f"{facts['steps']:,}",
        "batch": batch,
        "drawn": f"{steps * batch:,}",
        "photos": f"{facts['trained_on']:,}",
        "data": facts["data"],
        "size": phase["size"],
        "seed": recipe["seed"],
        "top1": percent(float(found.held_top1[-1])),
        "at": f"{int(found.held_steps[-1]):,}",
        "held": f"{facts['held_out']:,}",
        "G": phase["group_size"],
    }


CODE = """
import torch
import cfviz
from cfviz.bundled import bundled
from cfviz.models.probes.position_bias import table_of
from cfviz.training.positions import read

# Any training writes such a file beside its last.pt: RUN/position_bias.safetensors
found = read(bundled("results/{record}"))
print(found.facts["recipe"], found.held_top1)             # the run's settings; accuracy on held-out photos
model = cfviz.create_model("crossformer_nano")
for i, step in enumerate(found.steps):
    after = {{name: torch.from_numpy(value[i]).float() for name, value in found.parameters.items()}}
    model.load_state_dict(after, strict=False)
    table = table_of(model.layers[2].blocks[0].attn.pos, 6)   # (2G-1)^2, nH
    print(step, float(table[:, 0].max() - table[:, 0].min()))
"""
