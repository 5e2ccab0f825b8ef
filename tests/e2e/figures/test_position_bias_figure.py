"""The position bias figures in a browser: their numbers are those of the model and of the analysis."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cfviz.analysis.position_bias import resized_table, untrained_pairs
from cfviz.figures.live.logits import bias_by_offset
from cfviz.figures.live.position_bias import PARTS, pack
from cfviz.figures.live.position_bias_answer import Card
from cfviz.figures.live.position_bias_answer import pack as pack_answer
from cfviz.figures.live.position_bias_learning import LearningBlock, LearningTables
from cfviz.figures.live.position_bias_learning import pack as pack_learning
from cfviz.geometry import Grouping
from cfviz.hooks import edit
from cfviz.measured import block_bias
from cfviz.models.probes.position_bias import bias_table, edits, regrouped, table_of
from cfviz.options import TABLE_METHODS
from cfviz.run import forward
from cfviz.web import POSITION_BIAS
from cfviz.words import figure_words
from tests.conftest import pace
from tests.e2e.figures.conftest import alone

WORDS = figure_words("position_bias")

pytestmark = pytest.mark.browser


def shown(browser: Any, tmp_path: Path, data: bytes) -> tuple[Any, list[str]]:
    """A page with one figure, and the list of its errors."""
    file = tmp_path / "figure.html"
    file.write_text(alone(POSITION_BIAS, data), "utf-8")
    page, errors = browser.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(file.as_uri())
    page.wait_for_selector(".pb[data-ready]")
    return page, errors


def taken(page: Any) -> None:
    """Check that the figure's downloads are complete."""
    read = "() => { const f = document.querySelector('.pb').figure; return [f.svg().toString(), f.rows()]; }"
    svg, rows = page.evaluate(read)
    assert svg.startswith("<svg ")
    assert svg.count("data:image/png") >= 3
    assert len(rows) > 9
    assert len({len(row) for row in rows}) == 1
    with page.expect_download() as download:
        page.get_by_role("button", name="PNG", exact=True).click()
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")


def test_only_heads_can_be_chosen_in_the_figure_of_the_mlp(
    browser: Any, tiny_model: Any, tmp_path: Path
) -> None:
    """Units inside the MLP are pictures; the heads at its end are buttons, and each shows its head."""
    blocks = [block_bias(tiny_model(embed_dim=64, group_size=3), 1, 0, "sda")]
    data = pack(blocks, "made", strings=WORDS, start={"block": 0, "head": 0})
    page, errors = shown(browser, tmp_path, data)
    steps = page.locator(".pb-step")
    heads = len(blocks[0].table)
    for n in range(steps.count() - 1):
        assert steps.nth(n).locator(".pb-thumb").count() >= 2
        assert steps.nth(n).locator("button, [aria-pressed], [tabindex]").count() == 0
    buttons = steps.last.locator("button.pb-thumb")
    assert buttons.count() == heads > 1
    buttons.nth(1).click()
    assert page.evaluate("document.querySelector('.pb').figure.head") == 1
    page.wait_for_function("document.querySelectorAll('.pb-step button')[1].ariaPressed === 'true'")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector('.pb').figure.head") == 0
    assert not errors
    page.close()


@pytest.mark.parametrize("part", PARTS)
def test_surfaces_in_the_browser_equal_the_analysis(
    browser: Any, tiny_model: Any, tmp_path: Path, part: str
) -> None:
    model = tiny_model(embed_dim=64, group_size=3)
    blocks = [block_bias(model, 1, b, "sda") for b in range(2)]
    data = pack(blocks, part, strings=WORDS, start={"block": 0, "head": 1})
    page, errors = shown(browser, tmp_path, data)
    read = "(a) => Array.from(document.querySelector('.pb').figure.block.surface(1, a[0], a[1], a[2]))"
    trained = np.array(page.evaluate(read, [3, 3, "own"]), np.float32)
    assert np.array_equal(trained, blocks[0].table[1].reshape(-1))
    pos = model.stages[1].block_list[0].attn.pos
    for G in (2, 5, 9):
        for way in ("own", "rescaled"):
            wanted = bias_table(pos, way, 3, G).detach().numpy()[:, 1]
            assert page.evaluate(read, [G, G, way]) == pytest.approx(wanted, abs=2e-5)
    for Gh, Gw in ((2, 6), (5, 5)):
        for way in TABLE_METHODS:
            wanted = resized_table(blocks[0].table.astype(float), Gh, Gw, way)[1].reshape(-1)
            assert page.evaluate(read, [Gh, Gw, way]) == pytest.approx(wanted, abs=1e-6)
    drawing = "() => { const f = document.querySelector('.pb').figure, s = performance.now(); "
    drawing += "for (let i = 0; i < 50; i++) f.set({ down: i % 3, right: i % 2 }); "
    drawing += "return (performance.now() - s) / 50; }"
    assert pace(page, drawing) < 16
    taken(page)
    page.emulate_media(color_scheme="dark")
    page.evaluate("document.querySelector('.pb').figure.applyTheme()")
    zero = "#232527"
    assert page.evaluate("document.querySelector('.pb').figure.svg().toString()").count(zero) == 1
    ramps = page.locator(".pb .legend .ramp").all()
    assert len(ramps) == (part != "made")
    for ramp in ramps:
        painted = ramp.evaluate("(one) => getComputedStyle(one).backgroundImage")
        assert f"rgb{tuple(bytes.fromhex(zero[1:]))}" in painted
    level = "() => document.querySelector('.pb').figure.look.signedCss[128]"
    assert max(map(int, re.findall(r"\d+", page.evaluate(level)))) < 48, "zero is as dark as the page"
    page.close()
    assert not errors, json.dumps(errors)


def test_only_offsets_never_seen_in_training_are_hatched(
    browser: Any, tiny_model: Any, tmp_path: Path
) -> None:
    """Groups of 3 now and groups of 4 in training: offsets of 3 are not new."""
    model = tiny_model(embed_dim=64, group_size=3)
    model.trained_group = (4, 4, 4, 4)
    blocks = [block_bias(model, 1, 0, "sda")]
    start = {"block": 0, "head": 0, "Gh": 4, "Gw": 4, "reach": 1}
    page, errors = shown(browser, tmp_path, pack(blocks, "resized", strings=WORDS, start=start))
    read = "() => document.querySelector('.pb').figure.rows().slice(1).map((row) => row[2])"
    assert page.evaluate(read) == [1] * 49
    assert "every offset was trained" in page.locator(".pb > .note").inner_text()
    page.evaluate("document.querySelector('.pb').figure.go({ Gh: 6, Gw: 6 })")
    page.wait_for_function("document.querySelector('.pb > .note').textContent.includes('beyond ±3')")
    assert sum(page.evaluate(read)) == 49
    assert "at most 4\u00a0×\u00a04 in training: 60\u00a0%" in page.locator(".pb > .note").inner_text()
    assert page.evaluate("document.querySelector('.pb').figure.look.G") == 4
    page.evaluate("document.querySelector('.pb').figure.go({ Gh: 3, Gw: 38 })")
    pairs = 100 * untrained_pairs(Grouping("sda", 3, 38, 3, Gw=38), 4)
    page.get_by_text(f"and {pairs:.0f} % of all pairs lie beyond ±3").wait_for()
    assert sum(page.evaluate(read)) == 5 * 7
    page.close()
    page, more = shown(browser, tmp_path, pack(blocks, "surfaces", strings=WORDS, start=start))
    assert "beyond ±3, never trained" in page.locator(".pb .under").inner_text()
    page.get_by_role("radio", name="own window").click()
    page.wait_for_function(
        "document.querySelector('.pb .under').textContent.includes('windows of 3\u00a0×\u00a03')"
    )
    page.close()
    assert not errors + more


def test_without_a_record_of_training_no_offset_is_called_untrained(
    browser: Any, tiny_model: Any, tmp_path: Path
) -> None:
    model = tiny_model(embed_dim=64, group_size=3, lda="whole")
    model.trained_on_maps = True
    blocks = [block_bias(model, 1, b, "sda") for b in range(2)]
    start = {"block": 1, "head": 0, "Gh": 9, "Gw": 14, "reach": 1}
    page, errors = shown(browser, tmp_path, pack(blocks, "resized", strings=WORDS, start=start))
    read = "() => document.querySelector('.pb').figure.rows().slice(1).map((row) => row[2])"
    assert page.evaluate(read) == [1] * (17 * 27)
    page.get_by_text("no offset is marked as beyond training").wait_for()
    page.evaluate("document.querySelector('.pb').figure.go({ block: 0 })")  # SDA: as always
    page.get_by_text("at most 3 × 3 in training").wait_for()
    page.close()
    page, more = shown(browser, tmp_path, pack(blocks, "surfaces", strings=WORDS, start=start))
    page.get_by_text("no offset is marked as beyond training").wait_for()
    page.close()
    assert not errors + more


def test_flat_heads_are_called_flat(browser: Any, tiny_model: Any, tmp_path: Path) -> None:
    model = tiny_model(embed_dim=64, group_size=3)
    with torch.no_grad():
        model.stages[1].block_list[0].attn.pos.pos3[2].weight.mul_(1e-5)
    blocks = [block_bias(model, 1, 0, "sda")]
    data = pack(blocks, "surfaces", strings=WORDS, start={"block": 0, "head": 0})
    page, errors = shown(browser, tmp_path, data)
    note = page.locator(".pb-flat")
    assert "hardly uses position" in note.inner_text()
    facts = page.locator(".pb-facts")
    assert "Going by its bias alone" in facts.inner_text()
    assert "anisotropy" not in facts.inner_text()
    assert "anisotropy" in facts.get_attribute("title")
    full = "() => document.querySelector('.pb').figure.drawn"
    assert page.evaluate(full) == 0.05
    page.get_by_role("radio", name="each head, magnified").click()
    page.wait_for_function(f"({full})() < 0.001")
    assert "Magnified" in note.inner_text()
    page.close()
    assert not errors, json.dumps(errors)


@pytest.mark.parametrize(
    ("size", "lda"),  # groups that fit, padded groups, rectangular ones
    [((96, 96), "regions"), ((160, 160), "regions"), ((96, 224), "whole")],
)
def test_attention_in_the_browser_is_the_models(
    browser: Any, tiny_model: Any, tmp_path: Path, size: tuple[int, int], lda: Any
) -> None:
    model = tiny_model(embed_dim=64, group_size=3)
    at, image = "layers.1.blocks.1.attn.", torch.randn(3, *size)
    names = [at + name for name in ("q", "k", "bias", "probs")]
    cards, probs = [], {}
    for way in ("own", "none"):
        with edit(model, edits(model, way)), regrouped(model, 5, model.interval, lda):
            arrays, _ = forward(model, image, names)
            groups = model.groupings(*size)[1][1]
        q, k, bias, probs[way] = (arrays[name] for name in names)
        lines = [("class 0", "50 %", "1.00", "")]
        cards.append(
            Card(way, way, "", lines, q[:, 1], k[:, 1], bias_by_offset(bias, groups.Gh, groups.Gw)[1])
        )
    cards.append(Card("cut", "cut"))  # still being computed
    photo = io.BytesIO()
    Image.new("RGB", size[::-1], "#446688").save(photo, "PNG")
    data = pack_answer(
        cards, groups, photo.getvalue(), size,
        strings=WORDS, start={"row": 45, "col": 50, "less": 0},
    )  # fmt: skip
    page, errors = shown(browser, tmp_path, data)
    read = """([group, slot]) => document.querySelector('.pb').figure.ways.filter((way) => way.ready)
      .map((way) => Array.from(way.attend(group, slot)))"""
    for group, slot in np.argwhere(groups.valid)[:: max(1, groups.valid.sum() // 20)].tolist():
        own, none = page.evaluate(read, [group, slot])
        assert own == pytest.approx(probs["own"][group, 1, slot], abs=1e-6)
        assert none == pytest.approx(probs["none"][group, 1, slot], abs=1e-6)
    drawing = """() => { const f = document.querySelector('.pb').figure, s = performance.now();
      for (let i = 0; i < 50; i++) { Object.assign(f.state, { down: (i % 9) / 9 }); f.draw(); }
      return (performance.now() - s) / 50; }"""
    assert pace(page, drawing) < 16
    assert page.locator(".pb-answer[data-waiting]").count() == 1
    page.locator(".pb-answer canvas").first.click(position={"x": 5, "y": 5})
    page.get_by_text("Query held at row 0, column 0").wait_for()
    # a difference of two percentages is told in points
    page.evaluate("document.querySelector('.pb').figure.change({ less: 1 })")
    least = page.evaluate("""() => { const [own, none] = document.querySelector('.pb').figure.ways;
      return 100 * Math.max(...none.probs.map((p, k) => Math.abs(p - own.probs[k]))); }""")
    high = page.locator(".pb .legend:not([hidden]) .num").last
    high.filter(has_text="points").wait_for()
    assert float(re.findall(r"[0-9.]+", high.inner_text())[0]) == pytest.approx(least, rel=0.06)
    page.close()
    assert not errors, json.dumps(errors)


def test_biases_are_played_as_they_learned(browser: Any, tiny_model: Any, tmp_path: Path) -> None:
    """Each record is computed in the browser from 16-bit weights: the values are those of the model."""
    models = [tiny_model(seed, embed_dim=64, group_size=3) for seed in range(4)]
    name = "layers.1.blocks.0.attn.pos."
    half = {
        key.removeprefix(name): np.stack([m.state_dict()[key].numpy() for m in models]).astype(np.float16)
        for key in models[0].state_dict()
        if key.startswith(name)
    }
    blocks = [LearningBlock(1, 0, "sda", 3, half)]
    data = pack_learning(blocks, [0, 25, 50, 75], [(25, 0.125), (75, 0.5)], strings=WORDS)
    page, errors = shown(browser, tmp_path, data)
    pos = models[0].stages[1].block_list[0].attn.pos
    for i in range(4):
        state = {key: torch.from_numpy(value[i]).float() for key, value in half.items()}
        pos.load_state_dict(state)
        wanted = table_of(pos, 3).numpy().T
        got = page.evaluate(f"document.querySelector('.pb').figure.blocks[0].at({i}).map((v) => [...v])")
        assert np.allclose(got, wanted - wanted.mean(axis=1, keepdims=True), atol=2e-6)
    frame = "document.querySelector('.pb').figure.state.frame"
    assert page.evaluate(frame) == 3  # it begins with what was learned
    page.get_by_role("slider").focus()
    page.keyboard.press("Home")
    page.wait_for_function(f"{frame} === 0")
    page.get_by_text(WORDS["learning_unknown"]).wait_for()  # drawn in the frame after the state has changed
    page.keyboard.press("ArrowRight")
    page.get_by_text("12.5").first.wait_for()
    assert page.get_by_role("slider").get_attribute("aria-valuetext") == "Step 25 of 75"
    page.get_by_role("button", name=WORDS["play"], exact=True).click()
    page.wait_for_function(f"{frame} === 3")
    page.get_by_role("button", name=WORDS["play"], exact=True).wait_for()  # it has stopped by itself
    thumbs = page.locator(".pb-all .pb-thumb")
    thumbs.nth(1).click()
    page.wait_for_function("document.querySelectorAll('.pb-all .pb-thumb')[1].ariaPressed === 'true'")
    taken(page)
    assert errors == []


def test_a_learned_table_is_played_beside_dpb(browser: Any, tiny_model: Any, tmp_path: Path) -> None:
    """One slider moves both; the table's values are its own, without each head's mean."""
    models = [tiny_model(seed, embed_dim=64, group_size=3) for seed in range(3)]
    states = [m.stages[1].block_list[0].attn.pos.state_dict() for m in models]
    half = {key: np.stack([s[key].numpy() for s in states]).astype(np.float16) for key in states[0]}
    tables = np.random.default_rng(0).normal(size=(3, 25, 2)).astype(np.float16)
    twin = LearningTables([(10, 0.25), (20, 0.375)], [tables])
    blocks = [LearningBlock(1, 0, "sda", 3, half)]
    data = pack_learning(blocks, [0, 10, 20], [(10, 0.125), (20, 0.5)], strings=WORDS, twin=twin)
    page, errors = shown(browser, tmp_path, data)
    figure = "document.querySelector('.pb').figure"
    for i in range(3):
        got = page.evaluate(f"{figure}.twins[0].at({i}).map((v) => [...v])")
        wanted = tables[i].T.astype(np.float64)
        assert np.allclose(got, wanted - wanted.mean(axis=1, keepdims=True), atol=1e-12)
    page.get_by_text("50.0").first.wait_for()
    page.get_by_text("37.5").first.wait_for()
    page.get_by_role("slider").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"{figure}.known.textContent.includes('25.0')")
    assert "12.5" in page.evaluate(f"{figure}.known.textContent")
    page.locator(".pb-all .pb-row").nth(1).locator(".pb-thumb").nth(0).click()
    page.wait_for_function(f"{figure}.state.twin === 0")
    stops = page.evaluate(
        "[...document.querySelectorAll('.pb-all .pb-thumb')].filter((e) => e.tabIndex === 0).length"
    )
    assert stops == 1
    rows = page.evaluate(f"{figure}.rows()")
    assert [row[0] for row in rows[1:]] == ["dpb"] * 75 + ["rpb"] * 75
    value = float(rows[1 + 75 + 25][5])  # after the second record, the first offset
    assert abs(value - float(tables[1, 0, 0] - tables[1, :, 0].astype(float).mean())) < 1e-5
    taken(page)
    assert errors == []


def test_who_wants_no_motion_goes_on_by_one_record(browser: Any, tiny_model: Any, tmp_path: Path) -> None:
    state = tiny_model(embed_dim=64, group_size=3).stages[1].block_list[0].attn.pos.state_dict()
    half = {key: np.stack([value.numpy()] * 3).astype(np.float16) for key, value in state.items()}
    data = pack_learning([LearningBlock(1, 0, "sda", 3, half)], [0, 1, 2], [], strings=WORDS)
    file = tmp_path / "figure.html"
    file.write_text(
        f'<main><div class="{POSITION_BIAS.host}"></div></main>{POSITION_BIAS.alone(data)}', "utf-8"
    )
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.goto(file.as_uri())
    page.wait_for_selector(".pb[data-ready]")
    for frame in (0, 1, 2):
        page.get_by_role("button", name=WORDS["learning_next"], exact=True).click()
        assert page.evaluate("document.querySelector('.pb').figure.state.frame") == frame
    context.close()
