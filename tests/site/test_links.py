"""The site reads a link as the app does: the same place for every text that a value may be."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cfviz import point_names
from cfviz.figures.live import grouping
from cfviz.figures.live.embedding import MEASURES
from cfviz.geometry import map_sizes
from cfviz.measured import BIAS_CHOICES
from cfviz.models.variants import BUNDLED
from cfviz.options import LDA
from cfviz.run import load
from cfviz.site import pages
from cfviz.ui.pages.attention import view
from cfviz.ui.pages.embedding import figure
from cfviz.ui.pages.position_bias import surfaces
from cfviz.ui.session.state import parsed
from cfviz.web import script

TEXTS = (
    "0", "1", "2", "3", "4", "5", "13", "14", "55", "56", "99", "007", "-1", "-0", "+1", " 1", "1 ", "1.0",
    "1e0", "", "x", "１", "1_0", "10000", "9007199254740993", "99999999999999999999", "96", "096", "30x45",
    "３x7", "3.4", "3.４", *MEASURES,
)  # fmt: skip
LINKS = 400  # of each page


@pytest.fixture(scope="module")
def model() -> Any:
    return load(BUNDLED)


def queries(*names: str) -> list[dict[str, str]]:
    rng = random.Random(names[0])
    chosen = [[name for name in names if rng.random() < 0.6] for _ in range(LINKS)]
    return [{name: rng.choice(TEXTS) for name in some} for some in chosen]


def context(query: dict[str, str]) -> Any:
    """What a page reads its link from."""
    return SimpleNamespace(get=lambda name, default, allowed: parsed(query.get(name), default, allowed))


def of_attention(model: Any) -> tuple[Any, Any, list[dict[str, str]], str]:
    stages = model.groupings(224, 224)

    class Seen(dict):  # of a trace
        groupings = stages

    biases = {
        point_names.attention(s, b, "bias"): np.zeros((model.num_heads[s], 1))
        for s, stage in enumerate(stages)
        for b, _ in enumerate(stage)
    }
    header = {
        "groupings": [{"kind": g.kind} for stage in stages for g in stage],
        "stages": [],
    }
    number = 0
    for s, stage in enumerate(stages):
        blocks = [{"b": b, "grouping": number + b} for b, _ in enumerate(stage)]
        number += len(stage)
        header["stages"].append(
            {"s": s, "H": stage[0].H, "W": stage[0].W, "heads": model.num_heads[s], "blocks": blocks}
        )
    some = queries("stage", "block", "head", "row", "col", "held")
    return (
        lambda query: view.selection_from_link(context(query), Seen(biases)),
        [header],
        some,
        "attentionPlace",
    )


def of_embedding(model: Any) -> tuple[Any, Any, list[dict[str, str]], str]:
    del model
    sides = map_sizes(224, 224)
    subject: Any = SimpleNamespace(concat=lambda s: np.zeros((*sides[s], 1)))
    header = {"cels": [{"H": H, "W": W} for H, W in sides]}
    return (
        lambda query: figure.selection_from_link(context(query), subject),
        [header, MEASURES],
        queries("cel", "measure", "row", "col"),
        "embeddingPlace",
    )


def of_position_bias(model: Any) -> tuple[Any, Any, list[dict[str, str]], str]:
    places = [(s, b) for s, depth in enumerate(model.depths) for b in range(depth)]
    blocks = [SimpleNamespace(table=range(model.num_heads[s])) for s, _ in places]
    subject: Any = SimpleNamespace(places=places, blocks=blocks, model=model, size=(224, 224))
    header = {"blocks": [{"s": s, "b": b, "heads": model.num_heads[s]} for s, b in places]}
    choices = pages._of_position_bias("en", None)["choices"]  # type: ignore[arg-type]  # it needs no site
    return (
        lambda query: surfaces.selection_from_link(context(query), subject),
        [header, choices],
        queries("stage", "block", "head", *BIAS_CHOICES),
        "biasPlace",
    )


def of_grouping(model: Any) -> tuple[Any, Any, list[dict[str, str]], str]:
    del model
    allowed = {
        "limits": grouping.LIMITS, "channels": grouping.CHANNELS, "forms": list(LDA),
        "sections": grouping.SECTIONS, "defaults": grouping.DEFAULTS,
    }  # fmt: skip
    return (
        lambda query: grouping.state_from_link(query)[0],
        [{}, allowed],
        queries("g", "i", "c", "map", "q"),
        "groupingPlace",
    )


@pytest.mark.browser
@pytest.mark.slow
def test_every_place_is_the_apps(model: Any, browser: Any) -> None:
    window = browser.new_context()
    page = window.new_page()
    page.goto("about:blank")
    for of in (of_attention, of_embedding, of_position_bias, of_grouping):
        wanted, told, links, name = of(model)
        found = page.evaluate(
            f"""([links, told]) => {{
              {script("site/links.js")}
              return links.map((link) => {name}(new URLSearchParams(link), ...told));
            }}""",
            [links, told],
        )
        different = set()
        for link, place in zip(links, found, strict=True):
            place = place.get("start", place)
            place.pop("tour", None)  # whether the figure moves by itself is decided by each page
            if place != wanted(link):
                different.add(f"{name} {link}: {place}, in the app {wanted(link)}")
        assert not different, "\n".join(sorted(different)[:5])
    window.close()
