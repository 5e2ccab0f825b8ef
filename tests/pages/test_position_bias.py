"""The page on position bias: its messages hold the bias itself, its code runs, its verdict is computed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from cfviz import cli, jobs
from cfviz.data.images import load_image, prepare
from cfviz.hooks import edit
from cfviz.measured import block_bias
from cfviz.models.probes import position_bias
from cfviz.run import inspect, load
from cfviz.stats import pack_hits
from cfviz.ui.compute import cache
from cfviz.ui.compute.steps import Steps
from cfviz.ui.figures.position_bias import BiasOnPhoto, blocks
from cfviz.ui.pages.position_bias import accuracy, answer, cost, own_photos, surfaces
from cfviz.words import translator, unbroken

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def page() -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=180)
    app.switch_page("pages/position_bias.py")
    app.query_params["lang"], app.query_params["size"], app.query_params["open"] = "en", "160", "all"
    return app.run()


@pytest.mark.slow
def test_surfaces_and_summary_wait_for_no_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    """They belong to the model: a larger input or another photo let the reader wait for nothing."""
    monkeypatch.setattr(cache, "trace", lambda *_, **__: pytest.fail("a photo was classified"))
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=180)
    app.switch_page("pages/position_bias.py")
    app.query_params["size"] = "448"
    assert not app.run().exception


@pytest.mark.slow
def test_the_page_runs_and_gives_the_cost_of_padding(page: AppTest) -> None:
    assert not page.exception
    page.segmented_control(key="position_bias.window").set_value("fixed").run()
    assert not page.exception
    assert any(unbroken("from 64 × 64 to 112 × 112 tokens") in text.value for text in page.markdown)


@pytest.mark.slow
def test_a_rectangle_with_lda_over_the_whole_map_has_its_groups_costs_and_answers(page: AppTest) -> None:
    """At 192 x 640 px groups of LDA are 6 x 20; all kinds of window stand side by side."""
    page.selectbox(key="position_bias.at").set_value((192, 640)).run()
    page.segmented_control(key="position_bias.window").set_value("whole").run()
    assert not page.exception
    assert page.query_params["at"] in ("192x640", ["192x640"])
    texts = [text.value for text in page.markdown]
    (stages,) = (text for text in texts if unbroken("| LDA, 6 × 20, I 8 |") in text)
    assert unbroken("| 3 | 12 × 40 | LDA, 6 × 20, I 2 | 12 × 40 | 0 % |") in stages
    (beside,) = (text for text in texts if text.startswith("| Window |"))
    rows = {line.split(" | ")[0]: line.split(" | ")[1:] for line in beside.splitlines()[2:]}
    assert len(rows) == 4
    assert rows["| LDA over the whole map"][:2] == [unbroken("6 × 20"), unbroken("4 %")]
    assert all(cells[-1].endswith("% |") for cells in rows.values())  # all have pairs beyond training
    page.selectbox(key="position_bias.at").set_value(224).run()
    assert not page.exception


def test_resized_windows_begin_with_the_groups_of_the_input(tiny_model: Any) -> None:
    """Where they are larger than in training; what the link says comes first, and it names what differs."""
    model = tiny_model(lda="whole")
    places = [(s, b) for s in range(4) for b in range(2)]
    found = tuple(block_bias(model, s, b, "sda") for s, b in places)
    subject: Any = SimpleNamespace(model=model, size=(320, 448), places=places, blocks=found)
    link: dict[str, int] = {"stage": 1, "block": 2}
    ctx: Any = SimpleNamespace(get=lambda name, default, _: link.get(name, default), put=link.update)
    sides = surfaces.selection_from_link(ctx, subject)
    assert (sides["block"], sides["Gh"], sides["Gw"]) == (1, 10, 14)
    link["block"] = 1
    sides = surfaces.selection_from_link(ctx, subject)
    assert (sides["Gh"], sides["Gw"]) == (14, 14)  # SDA keeps its groups: the usual beginning
    surfaces.write_selection(ctx, subject, {"block": 1, "head": 0, "Gh": 10, "Gw": 14})
    assert "Gh" not in link
    surfaces.write_selection(ctx, subject, {"block": 1, "head": 0, "Gh": 14, "Gw": 14})
    assert link["Gh"] == 14
    assert surfaces.selection_from_link(ctx, subject)["Gh"] == 14


def test_a_detector_has_no_untrained_offsets_where_its_training_is_not_recorded(tiny_model: Any) -> None:
    """Of groups over whole maps no pair is called untrained, of SDA they are as always."""
    model = tiny_model(lda="whole")
    groups = model.groupings(320, 448)
    known = cost.load_of(model, groups).new
    assert known is not None
    assert 0 < known < 1
    model.trained_on_maps = True
    assert cost.load_of(model, groups).new is None
    assert [cost.new_pairs(model, 0, g) for g in groups[0]] == [0, None]
    sda, lda = (block_bias(model, 0, b, "sda") for b in (0, 1))
    assert (sda.trained, lda.trained) == (7, None)


@pytest.mark.slow
def test_figures_start_where_the_link_says_after_a_change_of_model() -> None:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=180)
    app.switch_page("pages/position_bias.py")
    for name, value in {"lang": "en", "size": "160", "stage": "2", "block": "1"}.items():
        app.query_params[name] = value
    app.run()

    def begins() -> tuple[int, int]:
        weights, to = app.session_state[f"{surfaces.START}.surfaces"]
        model = load(weights.split("|")[0])
        places = [(s, b) for s, stage in enumerate(model.stages) for b, _ in enumerate(stage.block_list)]
        return places[to["block"]]

    assert begins() == (1, 0)
    app.session_state["cfviz.extras"]["position_bias"].update(stage="3", block="2")
    app.run()
    assert begins() == (1, 0)  # a reader's move happens in the figure and is not sent back to it
    app.selectbox(key="w.model").select("crossformer_nano_rpb").run()
    assert not app.exception
    assert begins() == (2, 1)


def test_messages_hold_the_bias_bit_for_bit() -> None:
    model = load("crossformer_nano")
    for s, stage in enumerate(model.stages):
        for b, block in enumerate(stage.block_list):
            packed = block_bias(model, s, b, "sda")
            direct = block.attn.pos.bias(7).detach().numpy()
            assert np.array_equal(packed.table[:, 6, 6], direct[:, 0, 0])
            assert np.array_equal(packed.table[:, 0, 0], direct[:, 0, 48])


def test_results_are_the_newest_file_of_this_schema(tmp_path: Path) -> None:
    assert accuracy.results(tmp_path) is None
    for name, schema, date in (("a", 2, "2026-01-01"), ("b", 2, "2026-01-02"), ("c", 1, "2026-01-03")):
        made = {"schema": schema, "date": date, "rows": [{}], "name": name}
        (tmp_path / f"sizes-{name}.json").write_text(json.dumps(made))
    found = accuracy.results(tmp_path)
    assert found is not None
    assert found["name"] == "b"


# ---------------------------------------------------------------- the answer


@pytest.mark.slow
@pytest.mark.parametrize("cut", [("own", (5, 5, 5, 5)), ("trained", (3, 3, 3, 3))])
def test_answers_equal_forwards_with_every_method(tiny_model: Any, cut: tuple[str, tuple[int, ...]]) -> None:
    model, twin = (tiny_model(embed_dim=64, group_size=3, position_bias=kind) for kind in ("dpb", "rpb"))
    biases = blocks(f"test {cut[0]}", model, twin)
    photo = load_image(np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8))
    subject = BiasOnPhoto(
        model, (96, 96), biases, "", twin, trace=inspect(photo, model, 96), source=f"test {cut[0]}"
    )
    window = answer.Window(96, cut[1], model.interval)
    by = answer.merged(subject, window.groups(model))
    assert list(by) == ["own", "rescaled", "bicubic", "clamp", "cut", "twin", "none"]
    tensor = prepare(photo, 96).tensor
    steps = answer.answers(subject.source, window, 1, 1, subject, photo)
    found = steps.poll(60)
    assert set(found) == set(by.values())
    assert len(found) == (7 if cut[0] == "own" else 3)
    assert steps.nbytes == sum(one.q.nbytes + one.k.nbytes for one in found.values())
    for way, one in by.items():
        net = twin if way == "twin" else model
        with torch.inference_mode():
            edits = position_bias.edits(net, "own" if way == "twin" else way, (3, 3, 3, 3))
            with position_bias.regrouped(net, cut[1], model.interval), edit(net, edits):
                logits = net(tensor[None])[0].numpy()
        assert found[one].logits == pytest.approx(logits, abs=1e-5)
    if cut[0] == "own":
        assert not np.allclose(found["own"].logits, found["none"].logits)


@pytest.mark.slow
@pytest.mark.parametrize(("crowd", "ahead"), [(1, [128, 160, 192, 224, 256]), (2, [])])
def test_other_sizes_are_computed_ahead_for_a_lone_reader(
    monkeypatch: pytest.MonkeyPatch, crowd: int, ahead: list[int]
) -> None:
    asked: list[answer.Window] = []
    waits: list[tuple[float, int | None]] = []
    found: dict[str, Any] = {}

    class Watched(Steps[Any]):
        def poll(self, seconds: float = 0.0, least: int | None = None) -> dict[str, Any]:
            asked.append(self.window)
            waits.append((seconds, least))
            return found

        def __init__(self, _: str, window: answer.Window, *__: Any) -> None:
            super().__init__((), lambda _: None)
            self.window = window

    monkeypatch.setattr(answer, "answers", Watched)
    monkeypatch.setattr(answer, "SIZES", (128, 160, 192, 224, 256, 288, 384))
    monkeypatch.setattr(answer.queue, "count_readers", lambda: crowd)
    monkeypatch.setattr(answer.POSITION_BIAS, "show", lambda *_, **__: None)
    monkeypatch.setattr(answer, "_apart", lambda *_: None)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=180)
    app.switch_page("pages/position_bias.py")
    app.query_params["open"] = "answer"
    assert not app.run().exception
    asked.clear()
    assert not app.selectbox(key="position_bias.at").set_value(288).run().exception
    assert asked[-1].size == 288  # the requested size is polled last, so it is computed first
    assert [w.size for w in asked[:-1]] == ahead  # the nearest size next
    assert [w.G for w in asked] == [(round(7 * w.size / 224),) * 4 for w in asked]
    assert waits[-1] == (answer.PATIENCE, None)
    found["one"] = None  # while the figure shows none, it waits for the first alone; then for all
    for least in (1, None):
        assert not app.run().exception
        assert waits[-1] == (answer.MORE, least)


# ---------------------------------------------------------------- accuracy at other sizes

CONTEXT = """
import streamlit as st
from cfviz.figures.theme import theme
from cfviz.words import translator
from cfviz.ui.context import Context
from cfviz.ui.session.state import Settings

lang = st.session_state.get("lang", "en")
ctx = Context("position_bias", translator(lang), lang, theme("light"), Settings(size=160, lang=lang))
"""
SENTENCES = """
from cfviz.ui.pages.position_bias import accuracy

for line in accuracy.sentences(ctx, st.session_state["found"]):
    st.write(line)
"""
JOB = """
from cfviz.ui.figures.position_bias import subject_of
from cfviz.ui.pages.position_bias import own_photos

own_photos.show_own_photos(ctx, subject_of(ctx))
"""


def results(right: dict[tuple[str, str, int], int], n: int = 200) -> dict[str, Any]:
    """A results file from (model, bias, size) -> how many photos are right, counted from the first."""
    rows = []
    for (model, bias, size), k in right.items():
        hits = np.arange(n) < k
        row = {"model": model, "bias": bias, "window": "scaled", "size": size, "group_size": size // 32}
        score = {"correct": k, "n": n, "value": k / n, "low": k / n - 0.05, "high": k / n + 0.05}
        rows.append({**row, **score, "hits": pack_hits(hits)})
    about = {"schema": 2, "date": "2026-01-01", "photos": n, "trained_size": 224, "weights": {"dpb": "x"}}
    return {**about, "command": "python -m cfviz sizes", "rows": rows}


def part(script: str, **state: Any) -> AppTest:
    """Run one part of the page alone."""
    app = AppTest.from_string(CONTEXT + script, default_timeout=60)
    for name, value in state.items():
        app.session_state[name] = value
    app.run()
    assert not app.exception
    return app


def told(found: dict[str, Any], lang: str = "en") -> list[str]:
    app = part(SENTENCES, found=found, lang=lang)
    return [text.value for text in app.markdown]


def said(found: dict[str, Any], lang: str = "en") -> str:
    """What the page says of a results file in plain words."""
    return accuracy.plain(SimpleNamespace(t=translator(lang)), found)  # type: ignore[arg-type]


@pytest.mark.parametrize("lang", ["en", "zh-Hant"])
def test_plain_words_follow_from_the_results_file(lang: str) -> None:
    right = {
        ("dpb", "own", 320): 160, ("dpb", "bicubic", 320): 159, ("dpb", "none", 320): 140,
        ("dpb", "own", 448): 120, ("dpb", "bicubic", 448): 121, ("dpb", "none", 448): 80,
        ("dpb", "cut", 448): 90,
    }  # fmt: skip
    text = said(results(right), lang)
    for number in ("10.0", "320\u00a0px", "20.0", "448\u00a0px", "15.0", "0.5"):
        assert number in text
    for bicubic, key in ((90, "better"), (150, "worse")):
        changed = said(
            results(right | {("dpb", "bicubic", 320): 160, ("dpb", "bicubic", 448): bicubic}), lang
        )
        by = {"by": "15.0", "at": "448\u00a0px"}
        assert changed.endswith(translator(lang)(f"position_bias.plain_{key}", **by))
    for twin, key in ((160, "worse"), (80, "better"), (121, "open")):
        last = translator(lang)(f"position_bias.plain_twin_{key}", wins="448\u00a0px", losses="448\u00a0px")
        assert said(results(right | {("rpb", "own", 448): twin}), lang).endswith(last)
    fewer = {place: k for place, k in right.items() if place[1] != "none" or place[2] == 448}
    worth = {"far": "20.0", "far_at": "448\u00a0px"}
    assert translator(lang)("position_bias.plain_worth", **worth) in said(results(fewer), lang)
    assert said(results({("dpb", "own", 448): 90, ("dpb", "none", 448): 89}), lang) == ""
    assert said(results({("rpb", "own", 448): 90, ("rpb", "none", 448): 9}), lang) == ""


@pytest.mark.parametrize("lang", ["en", "zh-Hant"])
def test_the_lesson_states_what_was_measured(lang: str) -> None:
    """It names the loss without a bias at new offsets, and that a stretched table does as well."""
    found = accuracy.results()
    assert found is not None
    tests = accuracy.tested(found)
    (loss,) = [d for d in tests["scaled", ("dpb", "cut")] if d.size == 448]
    assert loss.sign > 0
    assert not any(d.sign for d in tests["scaled", ("dpb", "bicubic")])
    lessons = json.loads((ROOT / "assets" / "lessons" / f"{lang}.json").read_text("utf-8"))
    for number in (f"{loss.n:,}", "448", f"{100 * loss.value:.1f}"):
        assert number in lessons["position.resized.say"]


@pytest.mark.slow
@pytest.mark.parametrize("lang", ["en", "zh-Hant"])
def test_the_verdict_follows_from_the_results_file(lang: str) -> None:
    whole = {
        ("dpb", "own", 224): 120, ("dpb", "bicubic", 224): 120, ("rpb", "own", 224): 140,
        ("dpb", "own", 256): 130, ("dpb", "bicubic", 256): 110, ("rpb", "own", 256): 140,
        ("dpb", "own", 448): 60, ("dpb", "bicubic", 448): 90, ("rpb", "own", 448): 140,
    }  # fmt: skip
    table, twin, breaks = told(results(whole), lang)
    for number in ("+10.00", "−15.00", "256\u00a0px", "448\u00a0px", "200"):
        assert number in table
    assert all(number in twin for number in ("−40.00", "−5.00", "−30.00"))  # the gap, and how it changes
    assert all(number in breaks for number in ("448\u00a0px", "−15.00", "14"))
    alone = told(results({place: k for place, k in whole.items() if place[0] == "dpb"}), lang)
    assert alone == [table, breaks]
    same = results({place: k for place, k in whole.items() if place[0] == "dpb"})
    for row in same["rows"]:
        row["group_size"] = 7
    assert told(same, lang) == [table]  # groups as in training: nothing is extrapolated
    assert told(results(whole) | {"trained_group": [14] * 4}, lang) == [table, twin]
    cut = {("dpb", "own", 320): 130, ("dpb", "cut", 320): 129}  # within chance
    cut |= {("dpb", "own", 448): 120, ("dpb", "cut", 448): 90, ("dpb", "none", 448): 60}
    (helps,) = told(results(cut), lang)
    assert "448\u00a0px" in helps
    assert "+15.00" in helps
    calm = told(results({("dpb", "own", 448): 89, ("dpb", "bicubic", 448): 90}), lang)
    name = translator(lang)
    assert "−0.50" in calm[-1]
    assert name("position_bias.figure.way_bicubic") in calm[-1]
    assert name("position_bias.figure.way_none") not in calm[-1]  # not measured
    assert len(told(results({("dpb", "own", 224): 9, ("dpb", "bicubic", 224): 9}), lang)) == 0


CURVES = """
from cfviz.ui.figures.position_bias import subject_of
from cfviz.ui.pages.position_bias import accuracy

accuracy.show_accuracy(ctx, subject_of(ctx))
"""


def test_results_of_different_photos_are_chosen_between_not_mixed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The file with most photos comes first, however few rows it has; the other is one click away."""
    few = {("dpb", "own", 224): 120, ("dpb", "own", 256): 120, ("dpb", "bicubic", 256): 118}
    (tmp_path / "sizes-few.json").write_text(json.dumps(results(few)))
    many = results({("dpb", "own", 320): 1500, ("dpb", "bicubic", 320): 1400}, n=2000) | {
        "date": "2025-01-01"
    }
    (tmp_path / "sizes-many.json").write_text(json.dumps(many))
    (tmp_path / "sizes-broken.json").write_text("{")
    monkeypatch.setattr(accuracy, "RESULTS", tmp_path)
    assert [one["photos"] for one in accuracy.shipped()] == [2000, 200]
    app = part(CURVES)
    assert any(
        "+5.00" in text.value and "at 320\u00a0px (2,000 photos" in text.value for text in app.markdown
    )
    app.segmented_control(key="position_bias.sizes_photos").set_value(200).run()
    assert not app.exception
    assert any("+1.00" in text.value and "(200 photos" in text.value for text in app.markdown)


def test_a_job_measures_the_chosen_windows_and_methods(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    (photos / "n01440764_tench").mkdir(parents=True)
    monkeypatch.setenv(jobs.JOBS, str(tmp_path / "jobs"))
    monkeypatch.delenv(jobs.FOLDERS, raising=False)
    app = part(JOB)
    assert app.button(key="jobs.start.sizes").disabled
    monkeypatch.setenv(jobs.FOLDERS, str(photos))
    begun: list[list[str]] = []
    monkeypatch.setattr(jobs, "start", lambda _kind, command, result, *_: begun.append([*command, result]))
    app.run()
    app.get("button_group")[0].set_value([(192, 640), 320, 224]).run()
    app.button(key="jobs.start.sizes").click().run()
    assert not app.exception
    (words,) = begun
    assert words.pop() == own_photos.RESULT
    args = cli._parser().parse_args([*words, "--progress", "p.json"])
    assert (args.data, args.sizes, args.windows, args.ways) == (
        str(photos), "224,320,192x640", "scaled", "own,bicubic,clamp,none",
    )  # fmt: skip
    assert args.json == f"{jobs.PLACE}/{own_photos.RESULT}"


def test_a_job_shows_its_curves_before_it_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(jobs.JOBS, str(tmp_path))
    folder = tmp_path / "sizes" / "one"
    folder.mkdir(parents=True)
    command = ["sizes", "--data", "/somewhere/my/photos"]
    about = {"kind": "sizes", "command": command, "result": "sizes.json"}
    (folder / "job.json").write_text(json.dumps(about))
    (folder / "state.json").write_text(json.dumps({"state": "cancelled", "started": 1.0}))
    (folder / "sizes.json").write_text(json.dumps(results({("dpb", "own", 224): 5})))
    app = part(JOB)
    assert any("my/photos: 200 photos, 1 rows" in caption.value for caption in app.caption)
    (chart,) = app.get("plotly_chart")
    data = json.loads(chart.proto.spec)["data"]
    assert len(data) == 1  # of other weights: the shipped curve is not drawn behind it
    shipped = accuracy.results()
    assert shipped is not None
    mine = results({("dpb", "own", 224): 5}) | {"weights": {"dpb": shipped["weights"]["dpb"]}}
    (folder / "sizes.json").write_text(json.dumps(mine))
    (chart,) = part(JOB).get("plotly_chart")
    assert len(json.loads(chart.proto.spec)["data"]) == 2
