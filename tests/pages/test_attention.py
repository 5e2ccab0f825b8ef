"""The attention page: its measures, its link, the switch that shuffles the weights, and other models."""

from __future__ import annotations

import re
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from streamlit.testing.v1 import AppTest

from cfviz.models import room
from cfviz.models.factory import create_model
from cfviz.models.others.opening import OFFERED, open_other
from cfviz.models.weights.errors import CheckpointError
from cfviz.provenance import Provenance
from cfviz.run import inspect
from cfviz.ui import context
from cfviz.ui.pages.attention import measures, offsets, others, others_own, similar, view
from cfviz.ui.session.state import Settings
from cfviz.words import percent, translator, two_digits
from tests.conftest import at_rest
from tests.pages.test_pages import run

LINK = {"photo": "cat", "size": "160", "lang": "en", "open": "all"}


def with_maps(**link: str) -> AppTest:
    """The page with rollout and gradient, which the reader asks for."""
    app = run("attention", **link)
    label = translator(link["lang"])("attention.paths_run")
    return next(button for button in app.button if button.label == label).click().run()


def shows_code(app: AppTest, word: str) -> None:
    """Run the page until the work beside it has ended, and so stands there with its code."""
    end = time.monotonic() + 240
    while not any(word in one.value for one in app.run().code):
        assert time.monotonic() < end, f"there is no code with {word}"
        at_rest()  # a run of the page costs as much as a part of the work


@pytest.mark.slow
def test_every_head_is_in_the_table() -> None:
    app = run("attention", **LINK)
    assert not app.exception
    table = app.dataframe[0].value
    assert len(table) == 2 * 3 + 2 * 6 + 2 * 12 + 24
    assert table["distance"].between(0, 227).all()
    assert table["entropy"].between(0, 5.62).all()
    assert set(table["kind"]) == {"SDA", "LDA"}
    near, far = (table[(table.stage == 1) & (table.kind == kind)].distance.mean() for kind in ("SDA", "LDA"))
    assert far > near


@pytest.mark.slow
def test_the_page_does_not_wait_for_the_blocks_that_the_figure_begins_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packed, made = [], view.packed_message

    def pack(source: str, at: view.Place, part: str, *rest: Any) -> Any:
        packed.append(part)
        return made(source, at, part, *rest)

    monkeypatch.setattr(view, "packed_message", pack)
    app = run("attention", photo="cat", size="96", lang="en")
    assert packed == ["first"]
    asked = f"cfviz.asked.{view.NAME}"
    app.session_state[asked] = app.session_state[view.SENT][0]  # as the browser does once it has the figure
    app.run()
    assert not app.exception
    assert packed == ["first", "first", "stage"]


@pytest.mark.slow
def test_the_link_chooses_the_token_whose_rollout_is_shown() -> None:
    app = run("attention", **LINK, stage="2", block="2", row="3", col="17", held="1")
    told = " ".join(str(m.value) for m in app.markdown)
    assert "Token (3, 17) after stage 2, block 2" in told


def test_a_place_beyond_the_map_moves_to_its_edge_as_in_the_figure() -> None:
    app = run("attention", **LINK, stage="1", block="1", head="9", row="80", col="3", held="1")
    told = " ".join(str(m.value) for m in app.markdown)
    assert "Token (39, 3) after stage 1, block 1" in told
    assert "probs[group, 2, query]" in app.code[0].value


@pytest.mark.slow
def test_rollout_and_gradient_are_computed_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """They took as long as the rest of the page, for every token that was held and every photo."""
    asked: list[object] = []
    real = measures.dependence

    def dependence(*given: object) -> object:
        asked.append(given[2:])
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(measures, "dependence", dependence)
    link = LINK | {"stage": "1", "block": "1", "row": "2", "col": "3"}
    app = run("attention", **link)
    assert not asked
    app = with_maps(**link)
    assert asked == [(0, 0, 2, 3)]
    assert not app.run().exception
    assert len(asked) == 2, "they stay for the next token"


@pytest.mark.parametrize(
    ("lang", "half"),
    [("en", r"Half of (?:it|the total) lies in ([\d.]+)\s%"), ("zh-Hant", r"一半落在照片的 ([\d.]+)\s%")],
)
def test_the_smallest_area_of_a_rollout_is_above_zero(lang: str, half: str) -> None:
    """After the first block half of the rollout lies in one or two of 40 x 40 tokens."""
    app = with_maps(**LINK | {"lang": lang}, stage="1", block="1", row="20", col="17", held="1")
    areas = [area for caption in app.caption for area in re.findall(half, caption.value)]
    assert len(areas) == 2
    assert all(0 < float(area) < 50 for area in areas)
    assert all(len(area.replace(".", "").lstrip("0")) == 2 for area in areas)


@pytest.mark.parametrize(("x", "text"), [(100 / 3136, "0.032"), (3.04, "3.0"), (12.34, "12"), (50.0, "50")])
def test_areas_have_two_significant_digits(x: float, text: str) -> None:
    assert two_digits(x) == text


@pytest.mark.slow
def test_shuffled_weights_are_announced_and_compared() -> None:
    app = with_maps(**LINK, shuffled="1")
    assert not app.exception
    assert any("shuffled" in w.value for w in app.warning)
    assert any("Rank correlation with the unshuffled model" in i.value for i in app.info)
    app.toggle(key="w.attention.shuffle").set_value(False).run()
    assert not any("shuffled" in w.value for w in app.warning)


@pytest.mark.slow
def test_relevance_is_measured_on_request_and_judged() -> None:
    app = run("attention", **LINK | {"size": "96"})
    button = next(b for b in app.button if b.label == "Measure")
    button.click().run(timeout=300)
    assert not app.exception
    assert not any(b.label == "Measure" for b in app.button)
    told = " ".join(str(m.value) for m in app.markdown)
    assert told.count("random order") >= 2


@pytest.mark.slow
def test_all_shown_code_runs() -> None:
    app = with_maps(**LINK, stage="2", block="2", row="5", col="6")
    assert len(app.code) == 4
    known: dict[str, object] = {}
    for block in app.code:
        exec(compile(block.value, "shown", "exec"), known)
    assert known["flow"].shape == (40, 40)  # type: ignore[attr-defined]
    assert known["shown"].shape == (40, 40)  # type: ignore[attr-defined]


def test_the_page_opens_on_long_distance_attention() -> None:
    for more, place in (({}, "stage 1, block 2"), ({"stage": "4"}, "stage 4, block 1")):
        app = run("attention", **LINK, **more)
        assert f"after {place}" in " ".join(str(m.value) for m in app.markdown)


@pytest.mark.slow
def test_a_map_with_too_many_weights_to_keep_is_shown_from_queries_and_keys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nano at 800 x 1216 px over the whole map was refused: 321 million weights, 150 million allowed."""
    link = LINK | {"size": "96", "open": "all"}
    few = room.attention_weights(create_model("crossformer_nano"), 96, 96) - 1
    monkeypatch.setattr(context, "KEPT", few)
    app = run("attention", **link)
    assert not app.exception
    assert not app.error
    told = " ".join(str(m.value) for m in (*app.caption, *app.info))
    assert "This page keeps queries, keys and position biases instead" in told
    assert told.count("This needs the attention weights of all blocks at once") == 3
    assert not app.dataframe
    shuffled = run("attention", **link, shuffled="1")
    assert not shuffled.exception
    monkeypatch.setattr(context, "KEPT", 1000)
    refused = run("attention", **link)
    assert "too large for this page" in refused.error[0].value


# ---------------------------------------------------------------- other vision transformers

SMALL = {"photo": "cat", "size": "96", "lang": "en"}


def test_nothing_is_computed_before_a_model_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(others, "open_other", None)
    app = run("attention", **SMALL, open="others")
    assert not app.exception
    chosen = app.selectbox(key="w.attention.timm")
    assert chosen.value is None
    assert [option.split(" · ")[0] for option in chosen.options] == list(OFFERED.values())
    assert all("random weights" in option for option in chosen.options)


@pytest.mark.slow
def test_a_link_opens_a_model_at_a_place() -> None:
    at = {"t_stage": "2", "t_block": "1", "t_head": "2", "t_row": "99", "t_col": "4"}
    app = run("attention", **SMALL, timm="pvt_v2_b0", **at)
    assert not app.exception
    assert any("PVT v2-B0 has random weights here" in one.value for one in app.warning)
    code = next(one.value for one in app.code if "open_other" in one.value)
    assert "stage=1, block=0, row=11, col=4" in code  # clipped to the map of 12 x 12
    seen: dict[str, Any] = {}
    exec(code, seen)
    assert seen["attention"].shape == (12, 12)
    np.testing.assert_allclose(seen["attention"].sum(), 1, atol=1e-5)


@pytest.mark.slow
def test_the_pixels_that_change_a_token_are_shown_on_request() -> None:
    app = run("attention", **SMALL, timm="pvt_v2_b0", t_stage="1", t_block="1", t_row="3", t_col="4")
    assert not any("receptive_field" in one.value for one in app.code)
    app = next(one for one in app.button if one.label.startswith("Show the pixels")).click().run()
    assert not app.exception
    assert any("Token (3, 4) after stage 1, block 1" in one.value for one in app.caption)
    seen: dict[str, Any] = {}
    exec(next(one.value for one in app.code if "receptive_field" in one.value), seen)
    assert seen["shown"].shape == (24, 24)
    assert seen["pixels"].max() > 0
    assert any("rollout is not defined for PVT v2-B0" in one.value for one in app.caption)


@pytest.mark.slow
def test_heads_of_a_swin_are_measured_and_its_attention_is_traced_back_on_request() -> None:
    app = run("attention", **SMALL, timm="swin_tiny_patch4_window7_224", t_stage="2", t_block="2", t_row="5")
    app = next(one for one in app.button if one.label == "Measure every head").click().run()
    app = next(one for one in app.button if one.label == "Show both maps").click().run()
    assert not app.exception
    rows = app.dataframe[0].value
    assert list(rows["kind"].unique()) == ["W-MSA", "SW-MSA"]
    assert len(rows) == 2 * 3 + 2 * 6 + 6 * 12 + 2 * 24
    seen: dict[str, Any] = {}
    exec(next(one.value for one in app.code if "others.heads" in one.value), seen)
    last = seen["heads"]
    assert (seen["stage"], seen["block"]) == (3, 1)
    np.testing.assert_allclose(rows["distance"][-24:], last.distance, atol=0.01)
    np.testing.assert_allclose(rows["padding"][-24:], 100 * last.padding, atol=0.01)
    exec(next(one.value for one in app.code if "others.rollout" in one.value), seen)
    assert seen["paths"].map.shape == (24, 24)
    said = f"{100 * seen['paths'].padding:.1f}"
    assert any("comes from padding" in one.value and said in one.value for one in app.caption)


@pytest.mark.slow
def test_too_much_attention_is_refused_before_it_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(others, "MOST", 1000)
    monkeypatch.setattr(others, "inspect", None)
    app = run("attention", **SMALL, timm="pvt_v2_b0")
    assert [one.value for one in app.error] == [
        translator("en")("attention.others_large", model="PVT v2-B0", size="96 × 96")
    ]


def test_an_unknown_model_in_a_link_is_ignored() -> None:
    app = run("attention", **SMALL, timm="resnet50")
    assert not app.exception
    assert app.selectbox(key="w.attention.timm").value is None


@pytest.mark.slow
@pytest.mark.parametrize("name", OFFERED)
def test_every_model_on_offer_can_be_read_at_any_size(name: str) -> None:
    photo = np.zeros((96, 160, 3), np.uint8)
    trace = inspect(photo, open_other(name, (96, 160)), (96, 160))
    assert trace.weights.trained is None
    assert trace.settings["error"] < 1e-5
    for s, stage in enumerate(trace.schemes):
        seen = trace.attention(s, 0, stage[0].H - 1, stage[0].W - 1)
        total = seen.heads.sum((1, 2)) + seen.padding + seen.extra.sum(1)
        np.testing.assert_allclose(total, 1, atol=1e-5)


def test_only_models_on_offer_open_by_name() -> None:
    with pytest.raises(ValueError, match="there is no model 'resnet50'; there are: swin_tiny"):
        open_other("resnet50")


@pytest.mark.slow
def test_the_code_of_similar_places_prints_the_places_shown(capsys: pytest.CaptureFixture[str]) -> None:
    link = {"photo": "cat", "size": "64", "lang": "en", "open": "similar", "similar": "3,0.9,0.1"}
    app = run("attention", **link)
    shows_code(app, "nearest")
    code = next(one.value for one in app.code if "nearest" in one.value)
    known: dict[str, Any] = {}
    exec(compile(code, "shown", "exec"), known)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 15
    assert not app.exception


def test_a_forged_place_of_similar_places_is_the_usual_one() -> None:
    def place(text: str) -> tuple[int, float, float]:
        ctx = SimpleNamespace(get=lambda *_: text, model=SimpleNamespace(depths=(2, 2, 2, 1)))
        return similar.place_from_link(ctx)

    assert place("4,0.25,1") == (3, 0.25, 1)
    for forged in (
        "",
        "9,0.5,0.5",
        "0,0.5,0.5",
        "3,nan,0.5",
        "3,2,0.5",
        "3,-1,0.5",
        "3",
        "x,y,z",
        "3,1e999,0",
    ):
        assert place(forged) == (2, 0.5, 0.4)


def test_heads_without_a_correlation_are_neither_the_most_nor_the_least_and_show_a_dash() -> None:
    agreement = {(0, 0, 0): 0.5, (0, 0, 1): float("nan"), (3, 0, 0): -0.25, (3, 0, 1): 0.75}
    assert offsets.known_heads(agreement) == [(3, 0, 0), (0, 0, 0), (3, 0, 1)]
    assert offsets.known_heads({(0, 0, 0): float("nan")}) == []
    assert [offsets.correlation(r) for r in agreement.values()] == ["0.50", "–", "−0.25", "0.75"]


@pytest.mark.slow
def test_the_code_of_offsets_gives_the_agreement_shown() -> None:
    link = {"photo": "cat", "size": "64", "lang": "en", "open": "offsets", "offset": "2.2.3"}
    app = run("attention", **link)
    shows_code(app, "ByOffset")
    assert not app.exception
    known: dict[str, Any] = {}
    exec(compile(next(one.value for one in app.code if "ByOffset" in one.value), "shown", "exec"), known)
    told = " ".join(str(m.value) for m in app.markdown)
    wanted = f"{known['found'].agreement[2]:.2f}".replace("-", "−")
    assert f"**Stage 2, block 2, head 3**: correlation {wanted}" in told
    assert known["mean"].shape == known["alone"].shape


@pytest.mark.slow
def test_the_code_of_the_stages_fields_prints_the_areas_shown(capsys: pytest.CaptureFixture[str]) -> None:
    app = run("attention", photo="cat", size="64", lang="en", open="fields")
    next(button for button in app.button if "Measure on the gallery" in button.label).click().run()
    shows_code(app, "mean_stage_fields")
    assert not app.exception
    code = next(one.value for one in app.code if "mean_stage_fields" in one.value)
    exec(compile(code, "shown", "exec"), {})
    printed = [line.split()[-4] for line in capsys.readouterr().out.splitlines()]
    told = " ".join(str(m.value) for m in app.markdown).replace("\u00a0", " ")
    assert f"{printed[0][:-1]} % of the input in the first stage" in told
    assert f"{printed[3][:-1]} % in the last" in told


# ---------------------------------------------------------------- the reader's own weights of a model of timm


def own_vit(classes: int = 7) -> SimpleNamespace:
    """An upload of a small ViT with a head of its own."""
    torch.manual_seed(0)
    state = timm.create_model("vit_tiny_patch16_224", num_classes=classes).state_dict()
    data = safetensors.torch.save({key: value.contiguous() for key, value in state.items()})
    return SimpleNamespace(name="my [birds].safetensors", size=len(data), getvalue=lambda: data)


@pytest.mark.slow
def test_own_weights_of_a_model_of_timm_are_kept_shown_and_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    mine: dict[str, Any] = {}
    monkeypatch.setattr(others_own, "own", lambda: mine)
    key = others_own.keep(
        own_vit(), "vit_tiny_patch16_224", others_own.split_names("wren, owl，jay、kite,tit,rook,crow")
    )
    app = run("attention", **SMALL, timm=key)
    assert not app.exception
    assert not app.error
    assert app.selectbox(key="w.attention.timm").value == key
    assert not any("random weights here" in one.value for one in app.warning)
    (told,) = (one.value for one in app.caption if "Weights from" in one.value)
    assert re.search(r"seven|7 classes|7", told)
    assert "from 1 x 197 x 192 to 1 x 37 x 192" in told.replace("\u00a0", " ").replace("\\", "")
    code = next(one.value for one in app.code if "open_own" in one.value)
    assert 'open_own("your-file.safetensors", "vit_tiny_patch16_224", 96)' in code


@pytest.mark.slow
def test_an_upload_that_does_not_fit_is_refused_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    mine: dict[str, Any] = {}
    monkeypatch.setattr(others_own, "own", lambda: mine)
    file = own_vit()
    with pytest.raises(CheckpointError, match="is a ViT, not a swin_tiny"):
        others_own.keep(file, "swin_tiny_patch4_window7_224")
    with pytest.raises(CheckpointError, match="has 7 classes, but 2 names were given"):
        others_own.keep(file, "vit_tiny_patch16_224", ("wren", "owl"))
    assert not mine


def test_readers_of_equal_files_see_the_names_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one's report named the first one's photo, and the sentence on weights its file."""
    monkeypatch.setattr(others, "_model", lambda chosen, s: chosen.own)
    monkeypatch.setattr(others, "layers_of", lambda model, *sides: [])
    monkeypatch.setattr(
        others, "_inspected",
        lambda photo, own, s: SimpleNamespace(crop=None, arrays={}, says=(photo.name, own.provenance.source)),
    )  # fmt: skip
    for pair in (("a.png", "a.pth"), ("b.png", "a.pth"), ("b.png", "b.pth")):
        photo, file = pair
        own = SimpleNamespace(name="vit_tiny_patch16_224", provenance=Provenance(file, sha256="of both"))
        monkeypatch.setattr(others_own, "own", lambda own=own: {"own-0": own})
        ctx: Any = SimpleNamespace(settings=Settings(), photo=SimpleNamespace(name=photo, sha256="of both"))
        seen: Any = others._traced(ctx, others._named("own-0"))
        assert seen.says == pair


def test_a_link_to_someone_elses_weights_says_so() -> None:
    app = run("attention", **SMALL, timm="own-0123456789")
    assert not app.exception
    assert app.selectbox(key="w.attention.timm").value is None
    assert any("not shared with it" in one.value for one in app.info)


@pytest.mark.slow
def test_parts_of_a_readers_own_swin_are_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    mine: dict[str, Any] = {}
    monkeypatch.setattr(others_own, "own", lambda: mine)
    torch.manual_seed(0)
    state = timm.create_model("swin_tiny_patch4_window7_224", num_classes=5).state_dict()
    data = safetensors.torch.save({key: value.contiguous() for key, value in state.items()})
    file = SimpleNamespace(name="mine.safetensors", size=len(data), getvalue=lambda: data)
    key = others_own.keep(file, "swin_tiny_patch4_window7_224")
    app = run("attention", **SMALL, timm=key, t_off="2.1.h3_9.9.h9_x.x.shift")
    assert not app.exception
    box = app.multiselect(key="w.attention.timm_off")
    assert box.value == ["2.1.h3", "x.x.shift"]
    assert box.options[:4] == ["all shifts", "all position biases", "1.1 head 1", "1.1 head 2"]
    code = next(one.value for one in app.code if "switched_off" in one.value)
    assert 'from_url("2.1.h3_x.x.shift")' in code
    seen: dict[str, Any] = {"cfviz_model": mine[key].build(96)}
    exec(re.sub(r"open_own\(.*\)", "cfviz_model", code), seen)
    p, q = (float(one.probs[seen["before"].top(1)[0][0]]) for one in (seen["before"], seen["after"]))
    told = next(one.value for one in app.markdown if "before, **" in one.value).replace("\u00a0", " ")
    assert percent(p).replace("\u00a0", " ") in told
    assert percent(q).replace("\u00a0", " ") in told
    next(one for one in app.button if "and rank them" in one.label).click()
    shows_code(app, "answer_changes")
    assert not app.exception
    n = 2 * 3 + 2 * 6 + 6 * 12 + 2 * 24 + 12 + 2  # heads, biases; from 6 x 6 tokens on nothing is shifted
    assert any(f"Of {n} parts, each switched off alone" in one.value for one in app.markdown)
    code = next(one.value for one in app.code if "answer_changes" in one.value)
    exec(re.sub(r"open_own\(.*\)", "cfviz_model", code), seen)
    best = seen["every"][int(np.abs(seen["points"]).argmax())]
    where = f"**{best.stage + 1}.{best.block + 1} "
    assert any("each switched off alone" in one.value and where in one.value for one in app.markdown)
