"""Lessons: their files, and answers judged on cases worked out by hand and on the model itself."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import cfviz
from cfviz.analysis.position_bias import untrained_offsets
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import sample
from cfviz.data.scenes import EXAMPLES
from cfviz.lessons import Scene, grade, load_lessons, parse_lessons
from cfviz.lessons.course import FOLDER, PARTS, QUESTION_KINDS, STATES, wanted
from cfviz.lessons.question import (
    Option,
    Question,
    RefusedError,
    accepted,
    block_of,
    head_options,
    parse_token,
)
from cfviz.lessons.tensors import answer_fields, effect_ranks, equals, firsts, ranks
from cfviz.models.dense.pipeline import fit
from cfviz.models.probes.position_bias import regrouped
from cfviz.provenance import Provenance
from cfviz.run import inspect
from cfviz.ui.pages.learn import progress
from cfviz.ui.pages.learn.scenes import labelled
from cfviz.words import LANGUAGES, TRANSLATIONS, percent, section_words, signed

COURSE = load_lessons()
STEPS = [(COURSE.lessons[i - 1].id, COURSE.step(i, j)) for i, j in COURSE.places()]
FILES = {name: json.loads((FOLDER / f"{name}.json").read_text("utf-8")) for name in ("plan", *LANGUAGES)}
MAP = {"side": 8, "G": 2, "I": 4, "token": [2, 5]}


class Traced(dict[str, np.ndarray]):
    """A trace with one array at every point."""

    def __init__(self, array: np.ndarray, dtype: str = "float32") -> None:
        self.array, self.dtype = array, dtype

    def __missing__(self, point: str) -> np.ndarray:
        return self.array


class Geometry:
    """As much of a model as questions about geometry need: CrossFormer's groups and channels."""

    group_size = trained_group = (7, 7, 7, 7)
    position_bias = "dpb"
    lda: Any = "regions"
    feature_info = tuple({"num_chs": 96 * 2**s} for s in range(4))

    def groupings(self, height: int, width: int) -> Any:
        from cfviz.geometry import lsda, map_sizes

        depths, intervals = (2, 2, 6, 2), (8, 4, 2, 1)
        sizes = map_sizes(height, width)
        return [[lsda(*sizes[s], b, 7, intervals[s], self.lda) for b in range(depths[s])] for s in range(4)]


def no_tensors(*watch: str) -> Any:
    raise AssertionError("a question about geometry asked for a tensor")


BARE = Scene(Geometry(), 224, no_tensors, segmented=labelled)


def ask(
    name: str, state: dict[str, Any], after: dict[str, Any] | None = None, scene: Scene = BARE
) -> Question:
    return QUESTION_KINDS[name].make(scene, state, after or {})


def about_of(name: str, **weights: Any) -> Scene:
    """A model on the photo of a cat."""
    model, photo = cfviz.create_model(name, **weights), sample("cat").path
    trace = cache(lambda *watch: inspect(photo, model, 160, watch))
    kept: dict[Any, Any] = {}

    def keep(key: Any, make: Any) -> Any:
        if key not in kept:
            kept[key] = make()
        return kept[key]

    image = prepare(load_image(photo), 160).tensor
    labels = [f"class {n}" for n in range(model.num_classes)]
    return Scene(model, 160, trace, labels, lambda: image, keep, labelled)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return about_of("crossformer_nano")


# ---------------------------------------------------------------- the files


def test_the_lessons_have_their_steps_in_both_languages() -> None:
    assert [len(lesson.steps) for lesson in COURSE.lessons] == [4, 4, 4, 5, 5]
    keys = [key for key, _ in wanted(COURSE)]
    assert len(set(keys)) == len(keys)
    for lang in LANGUAGES:
        assert set(COURSE.texts[lang]) == set(keys)
    assert list(COURSE.texts["en"]) == list(COURSE.texts["zh-Hant"])


def test_chinese_texts_are_chinese_with_chinese_punctuation() -> None:
    for key, text in COURSE.texts["zh-Hant"].items():
        assert not re.search(r"[\u4e00-\u9fff」）][,:;?!]|[,;][\u4e00-\u9fff「（]", text), key
        if key.endswith((".say", ".ask", ".right", ".wrong", ".is")):
            assert any("\u4e00" <= letter <= "\u9fff" for letter in text), key


def test_every_term_figure_and_question_is_used() -> None:
    """A term is that of a step, or a word of the app's pages, which the glossary explains."""
    sections = (path.stem for path in (TRANSLATIONS / "en").glob("*.json"))
    pages = " ".join(text for name in sections for text in section_words(name).values()).casefold()
    for term in set(COURSE.terms) - {term for _, step in STEPS for term in step.terms}:
        names = COURSE.texts["en"][f"term.{term}"].casefold().split(", ")
        assert any(name[:6] in pages for name in names), f"no page speaks of {term}"
    assert {step.figure for _, step in STEPS} == set(STATES)
    assert {step.ask for _, step in STEPS} == set(QUESTION_KINDS)


def change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Set the value at a path of keys and numbers, or remove it with `...`."""

    def do(files: dict[str, Any]) -> None:
        *way, last = (int(p) if p.isdigit() else p for p in path.split("/"))
        at = files
        for part in way:
            at = at[part]  # type: ignore[index]
        if value is ...:
            del at[last]  # type: ignore[arg-type]
        else:
            at[last] = value  # type: ignore[index]

    return do


STEP = "plan/lessons/0/steps/2"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("plan", [], "plan.json: expected an object, got a list of 0"),
        ("plan/version", 2, "version is 2; expected 1"),
        ("plan/lessons", [], "expected a list of 1 to 20"),
        ("plan/lessons/1/id", "windows", "windows is there twice"),
        (f"{STEP}/ask", "nothing", "expected one of count_tokens"),
        (f"{STEP}/ask", "padding", "padding can be asked with explorer, not map"),
        (f"{STEP}/figure", {"a": 1}, "got an object of 1"),
        (f"{STEP}/state/token", [2, 8], r"token: \[2, 8\] is outside a map of 8 x 8"),
        (f"{STEP}/state/token", [2], "expected 2 numbers"),
        (f"{STEP}/state/side", True, "expected a whole number from 2 to 16, got True"),
        pytest.param(f"{STEP}/state/side", 10**5000, "got a very long number", id="long"),
        (f"{STEP}/state/G", 0, "from 1 to 16, got 0"),
        (f"{STEP}/state/kind", "swin", "expected one of sda, lda"),
        (f"{STEP}/state/kind", ..., "the figure map needs"),
        (f"{STEP}/state/colour", 1, "'colour' is unknown"),
        (f"{STEP}/state/good", ["2.4"], "'good' is unknown"),  # answers are not stored
        (f"{STEP}/right", "16", "'right' is unknown"),
        (f"{STEP}/terms", ["token", "token"], "token is there twice"),
        (f"{STEP}/formula", 3, "expected LaTeX"),
        ("plan/lessons/3/steps/2/after/size", 250, "expected one of 160, 192"),
        ("plan/lessons/1/steps/3/state/at", [0.5, float("nan")], "got nan"),
        ("plan/terms/sda", None, "expected a section"),
        ("en/windows.title", ..., "windows.title is missing"),
        ("zh-Hant/windows.titel", "x", "'windows.titel' belongs to no lesson"),
        ("en/windows.tokens.ask", "{answer}", "the field 'answer' is unknown"),
        ("en/windows.tokens.ask", "{n.__class__}", "expected plain fields"),
        ("en/windows.tokens.ask", "{n!r:>99999999}", "expected plain fields"),
        ("en/windows.tokens.ask", "{n", "a brace is not closed"),
        ("en/windows.tokens.ask", " ", "expected a text of 1 to"),
        ("en/windows.tokens.ask", 7, "expected a text of 1 to"),
    ],
)
def test_faults_in_lesson_files_are_named(path: str, value: Any, said: str) -> None:
    files = {"top": copy.deepcopy(FILES)}
    change(f"top/{path}", value)(files)
    content = files["top"]
    with pytest.raises(ValueError, match=said):
        parse_lessons(content["plan"], {lang: content[lang] for lang in LANGUAGES})


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'"' + b"x" * 1_000_001 + b'"', "larger than"),
        (None, "en.json cannot be read: No such file"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path: Path, raw: bytes | None, said: str) -> None:
    for name, content in FILES.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content), "utf-8")
    file = tmp_path / "en.json"
    file.unlink() if raw is None else file.write_bytes(raw)
    with pytest.raises(ValueError, match=said):
        load_lessons(tmp_path)


# ---------------------------------------------------------------- geometry, by hand


def test_groups_of_sda_and_lda_are_judged() -> None:
    window = ask("group", {**MAP, "kind": "sda"})
    assert window.good == {"2.4", "3.4", "3.5"}
    lattice = ask("group", {**MAP, "kind": "lda", "token": [1, 2]})
    assert lattice.good == {"1.6", "5.2", "5.6"}
    assert grade(lattice, ["5.6", "1.6", "5.2"]).right
    assert grade(lattice, ["5.6", "1.6", "5.2", "1.2"]).right  # the token itself may be picked too
    missing = grade(lattice, ["5.6", "1.6"])
    assert not missing.right
    assert missing.reason == ("reason.missed", {"missed": 1, "n": 3})
    assert grade(lattice, ["2.6"]).reason == (
        "reason.lattice", {"row": 2, "col": 6, "down": 1, "across": 4, "I": 4}
    )  # fmt: skip
    assert grade(window, ["2.6"]).reason == (
        "reason.outside", {"row": 2, "col": 6, "top": 2, "left": 4, "bottom": 3, "right": 5}
    )  # fmt: skip


def test_neighbours_across_a_border_are_judged() -> None:
    cut = ask("cut_neighbours", {**MAP, "kind": "sda", "token": [3, 4]})
    assert cut.good == {"3.3", "4.4"}
    assert grade(cut, ["2.4"]).reason == ("reason.same_window", {"row": 2, "col": 4})
    assert grade(cut, ["0.0"]).reason == ("reason.no_neighbour", {"row": 0, "col": 0})
    corner = ask("cut_neighbours", {**MAP, "kind": "sda", "token": [0, 0]})
    assert corner.good == set()
    assert corner.fields["near"] == 2


def test_sda_then_lda_reaches_the_counted_tokens() -> None:
    two = ask("reach", {"side": 8, "G": 4, "I": 2, "kind": "sda", "token": [5, 2]})
    assert two.good == {"64"}
    assert (two.fields["near"], two.fields["long"], two.fields["union"]) == (16, 16, 28)
    assert len(two.marks) == 64
    sparse = ask("reach", {"side": 8, "G": 2, "I": 4, "kind": "sda", "token": [5, 2]})
    assert sparse.good == {"16"}  # four windows of four: an interval larger than G skips windows


@pytest.mark.parametrize(
    ("name", "state", "after", "good"),
    [
        ("count_tokens", {"stage": 1, "kind": "sda"}, {}, {"3136"}),
        ("scores_growth", {"side": 8, "G": 2, "I": 4, "kind": "sda"}, {"side": 16}, {"16"}),
        ("scores_growth", {"side": 8, "G": 2, "I": 4, "kind": "sda"}, {"side": 24}, {"81"}),
        ("saving", {"stage": 1, "kind": "sda"}, {}, {"64"}),
        ("saving", {"stage": 3, "kind": "sda"}, {}, {"4"}),
        ("kernels_outside", {"at": [0.5, 0.5]}, {}, {"3"}),
        ("kernels_past_edge", {"token": [1, 1]}, {}, {"16", "32"}),
        ("kernels_past_edge", {"token": [0, 30]}, {}, {"8", "16", "32"}),
        ("kernels_past_edge", {"token": [28, 28]}, {}, set()),
        ("most_channels", {"at": [0.5, 0.5]}, {}, {"4"}),
        ("count_offsets", {"stage": 2, "kind": "sda"}, {}, {"169"}),
        ("padding", {"stage": 1, "kind": "lda", "size": 224}, {"size": 256}, {"yes"}),
        ("padding", {"stage": 1, "kind": "lda", "size": 256}, {"size": 224}, {"no"}),
        ("padding", {"stage": 1, "kind": "sda", "size": 224}, {"size": 448}, {"no"}),
        ("padding", {"stage": 1, "kind": "lda"}, {"size": 256}, {"yes"}),  # raised a KeyError
        ("unseen_offsets", {"stage": 2, "kind": "sda"}, {}, {"77"}),
        ("whole_group", {"side": 28, "G": 7, "I": 4, "kind": "lda"}, {"side": 56}, {"196"}),
        ("whole_group", {"side": 28, "G": 7, "I": 4, "kind": "lda"}, {}, {"49"}),
        ("whole_group", {"side": 30, "G": 7, "I": 4, "kind": "lda"}, {}, {"64"}),
    ],
)
def test_answers_by_counting(name: str, state: dict[str, Any], after: dict[str, Any], good: set[str]) -> None:
    question = ask(name, state, after)
    assert question.good == good
    assert set(question.fields) == set(QUESTION_KINDS[name].fields)
    for option in question.options:
        assert grade(question, [option.code]).right == (good == {option.code})


def test_offsets_are_those_of_the_surface_that_is_shown_also_where_groups_grow_with_the_map() -> None:
    """Over the whole map at 448 px, groups of LDA have 14 x 14 tokens; the surface shows training's 7 x 7."""
    model = Geometry()
    model.lda = "whole"
    assert model.groupings(448, 448)[1][1].size == "14 x 14"
    found = ask("count_offsets", {"stage": 2, "kind": "lda"}, scene=Scene(model, 448, no_tensors))
    assert (found.good, found.fields["pairs"]) == ({"169"}, "2,401")


def test_the_answer_on_padding_says_how_much() -> None:
    fields = ask("padding", {"stage": 1, "kind": "lda", "size": 224}, {"size": 256}).fields
    assert (fields["H"], fields["step"], fields["Hp"], fields["extra"]) == (64, 56, 112, "8,448")


def test_a_group_over_the_whole_map_costs_what_its_tokens_say() -> None:
    fields = ask("whole_group", {"side": 28, "G": 7, "I": 4, "kind": "lda"}, {"side": 56}).fields
    assert (fields["region"], fields["wide"], fields["times"]) == (49, 14, "4")


def test_a_stage_without_lda_is_replaced_by_the_nearest_with_it() -> None:
    groupings = Geometry().groupings(224, 224)
    assert block_of(groupings, 4, "lda") == (2, 1)
    assert block_of(groupings, 1, "lda") == (0, 1)
    with pytest.raises(ValueError, match="no LDA block at this size"):
        block_of([groupings[3]], 1, "lda")


# ---------------------------------------------------------------- tensors, against the model


@pytest.mark.slow
def test_the_head_drawn_to_nearby_places_is_the_same_in_every_form(scene: Scene) -> None:
    state = {"stage": 2, "kind": "lda", "part": "surfaces"}
    usual = ask("nearest_head", state, scene=scene)
    with regrouped(scene.model, 7, (8, 4, 2, 1), "whole"):
        assert ask("nearest_head", state, scene=replace(scene, size=448)).fields == usual.fields


@pytest.mark.slow
def test_the_head_that_looks_farthest_follows_from_attention(scene: Scene) -> None:
    question = ask("farthest_head", {"stage": 1, "kind": "lda", "at": [0.5, 0.5]}, scene=scene)
    point = "layers.0.blocks.1.attn.probs"
    trace = scene.trace("layers.0.blocks.1.attn.q", *(point[:-5] + x for x in ("k", "bias", "probs")))
    g, probs = trace.grouping(0, 1), trace[point]
    total, tokens = np.zeros(probs.shape[1]), 0
    for group in range(g.nG):
        rows, cols = np.divmod(g.index[group], g.Wp)
        for q in np.flatnonzero(g.valid[group]):
            total += probs[group, :, q] @ (4 * np.hypot(rows - rows[q], cols - cols[q]))
            tokens += 1
    assert tokens == 40 * 40
    assert question.good == {str(int(total.argmax()) + 1)}
    assert question.fields["px"] == f"{(total / tokens).max():.1f}"
    assert len(question.options) == 3


@pytest.mark.slow
def test_a_guess_is_ranked_by_the_attention_itself(scene: Scene) -> None:
    state = {"stage": 3, "kind": "sda", "at": [0.45, 0.3]}
    question = ask("strongest_token", state, scene=scene)
    point = "layers.2.blocks.0.attn.probs"
    trace = inspect(sample("cat").path, scene.model, 160, point)
    g = trace.grouping(2, 0)
    group, slot = g.group_of(4, 3)
    weights = trace[point][group, 0, slot]
    best = g.members[group][weights.argmax()]
    assert f"{best // g.W}.{best % g.W}" in question.good
    assert len(question.good) == 5
    for name in question.good:
        assert grade(question, [name]).fields["rank"] in range(1, 6)
    outside = grade(question, ["9.9"])
    assert not outside.right
    assert outside.reason == ("reason.other_group", {"row": 9, "col": 9})


def test_only_answers_that_fit_a_question_are_judged(scene: Scene) -> None:
    token = ask("strongest_token", {"stage": 3, "kind": "sda", "at": [0.45, 0.3]}, scene=scene)
    assert accepted(token, ["4.3", "4.3"]) == ("4.3",)
    assert accepted(token, ["4.3", "x", "99.0"]) == ("4.3",)
    assert accepted(token, ["4.3", "4.4"]) == accepted(token, ["99.0"]) == ()
    one = Question(
        "one", frozenset("a"), {}, (Option("a", "", {"text": "a"}), Option("b", "", {"text": "b"}))
    )
    assert accepted(one, ["c", "b"]) == ("b",)
    assert accepted(one, ["a", "b"]) == ()
    assert accepted(replace(one, kind="many"), ["b", "a", "b", ""]) == ("b", "a")
    tokens = Question("tokens", frozenset(["0.1"]), {})
    assert accepted(tokens, ["0.1", "12.3", "1", "1.x", "-1.2", "²0.1", "0.1\n"]) == ("0.1", "12.3")


@pytest.mark.slow
def test_ablations_equal_the_models_own_forward(scene: Scene) -> None:
    question = ask("kernel_matters", {}, scene=scene)
    x, drops = scene.image()[None], {}
    with torch.inference_mode():
        plain = scene.model(x)[0]
        for i, k in enumerate((4, 8, 16, 32)):
            with cfviz.edit(scene.model, {f"patch_embed.kernels.{i}": torch.zeros_like}):
                drops[k] = float((scene.model(x)[0] - plain)[plain.argmax()])
    most = max(drops, key=lambda k: abs(drops[k]))
    assert question.good == {str(most)}
    for k, drop in drops.items():
        assert float(str(question.said[str(k)]["its"]).replace("−", "-")) == pytest.approx(drop, abs=0.006)


@pytest.mark.slow
def test_the_stage_that_the_labels_of_a_scene_rest_on_is_found_by_leaving_each_out() -> None:
    question = ask("stage_matters", {"scene": 4})
    made = EXAMPLES[3].scene()
    net = cfviz.create_model("semantic_fpn_crossformer_nano")
    fitted = fit(Image.fromarray(made.image), "segment", net.sides)
    (h, w), size = fitted.size, fitted.tensor.shape[2:]
    with torch.no_grad():
        maps = net.features(fitted.tensor)
        labels = []
        for left in (None, 0, 1, 2, 3):
            used = [m.mean((2, 3), keepdim=True).expand_as(m) if i == left else m for i, m in enumerate(maps)]
            full = torch.nn.functional.interpolate(net.from_maps(used), size, mode="bilinear")
            labels.append(full[0, :, :h, :w].argmax(0).numpy())
    changed = [float((one != labels[0]).mean()) for one in labels[1:]]
    best = int(np.argmax(changed))
    assert question.good == {str(best + 1)}
    assert sorted(changed)[-1] > 2 * sorted(changed)[-2], "the scene was chosen for a clear answer"
    assert question.fields["share"] == percent(changed[best])
    assert [question.said[str(s)]["its"] for s in range(1, 5)] == [percent(share) for share in changed]
    right = float((labels[1 + best] == made.label_map(20)).mean())
    assert question.fields["left"] == question.said[str(best + 1)]["now"] == percent(right)


@pytest.mark.slow
def test_every_step_can_be_asked_and_answered_in_both_languages(scene: Scene) -> None:
    for lesson, step in STEPS:
        question = QUESTION_KINDS[step.ask].make(scene, step.state, step.after)
        assert set(question.fields) == set(QUESTION_KINDS[step.ask].fields)
        right = sorted(question.good)
        tried = [right if question.kind in ("many", "tokens") else right[:1]]
        wrong = [o.code for o in question.options if o.code not in question.good] or ["7.7"]
        for answer, expected in ((tried[0], True), (wrong[:1], False)):
            found = grade(question, answer)
            assert found.right is expected, step.id
            part = "right" if found.right else "wrong"
            for lang in LANGUAGES:
                said = COURSE.text(lang, f"{lesson}.{step.id}.{part}", **found.fields)
                assert "{" not in said
                if found.reason:
                    assert COURSE.text(lang, found.reason[0], **found.reason[1])


def test_no_sentence_counts_on_a_stage_that_a_model_may_lack() -> None:
    """If a stage has no long distance block, another is asked about; the sentences name that one."""
    for lesson, step in STEPS:
        if step.state.get("kind") != "lda" or "side" in step.state:
            continue
        for lang, part in product(LANGUAGES, PARTS):
            text = COURSE.texts[lang][f"{lesson}.{step.id}.{part}"]
            assert not re.search(r"stage [0-9]|第 [0-9] 階段", text), (step.id, lang, part)


@pytest.mark.parametrize("group", [1, 2, 3, 7, 8, 14])
def test_the_right_share_is_among_different_options(group: int) -> None:
    model = Geometry()
    model.trained_group = (7, group, 7, 7)
    about = replace(BARE, model=model)
    question = ask("unseen_offsets", {"stage": 2, "kind": "lda"}, scene=about)
    codes = [option.code for option in question.options]
    assert len(set(codes)) == len(codes) >= 3
    assert question.good <= set(codes)
    seen = ~untrained_offsets(2 * group, 2 * group, group)
    assert question.good == {f"{100 * (1 - seen.mean()):.0f}"}
    assert (question.fields["stage"], question.fields["wide"]) == (2, 2 * group)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "weights", "refused"),
    [
        ("crossformer_tiny", {"weights": None, "num_classes": 20}, {}),
        ("crossformer_nano_rpb", {}, {"resized": "refusal.table"}),
        (
            "crossformer_nano",
            {"weights": None, "position_bias": "none"},
            dict.fromkeys(("offsets", "near", "resized"), "refusal.no_bias"),
        ),
    ],
)
def test_questions_are_true_of_other_models(
    name: str, weights: dict[str, Any], refused: dict[str, str]
) -> None:
    about = about_of(name, **weights)
    if not about.model.provenance.predicts:
        about.model.provenance = Provenance("a test", trained="a test")
    for lesson, step in STEPS:
        if step.id in refused:
            with pytest.raises(RefusedError, match=refused[step.id]):
                QUESTION_KINDS[step.ask].make(about, step.state, step.after)
            continue
        question = QUESTION_KINDS[step.ask].make(about, step.state, step.after)
        right = sorted(question.good)[: 1 if question.kind in ("one", "token") else None]
        found = grade(question, right)
        assert found.right, step.id
        for lang in LANGUAGES:
            for part in ("say", "ask"):
                assert COURSE.text(lang, f"{lesson}.{step.id}.{part}", **question.fields)
            assert COURSE.text(lang, f"{lesson}.{step.id}.right", **found.fields)
        if "kind" in step.state and "side" not in step.state:
            size = {**step.state, **step.after}.get("size")
            s, _ = block_of(about.groupings(size), step.state["stage"], step.state["kind"])
            assert question.fields.get("stage", s + 1) == s + 1, step.id
            assert "stage" in question.fields or s + 1 == step.state["stage"] or step.id == "offsets"


@pytest.mark.slow
def test_a_model_that_was_never_trained_has_no_answer_to_ask_about() -> None:
    about = about_of("crossformer_nano", weights=None)
    refused = set()
    for _, step in STEPS:
        try:
            QUESTION_KINDS[step.ask].make(about, step.state, step.after)
        except RefusedError as error:
            refused.add((step.ask, str(error)))
    kinds = ("kernel_matters", "kind_swap", "head_matters")
    assert refused == {(kind, "refusal.random") for kind in kinds}


# ---------------------------------------------------------------- equals


@pytest.mark.parametrize("lang", ["en", "zh-Hant"])
def test_a_lesson_says_of_an_answer_that_it_cannot_be_right(lang: str) -> None:
    """ "The model predicts French horn" of a cup of coffee, and no more."""
    trace = SimpleNamespace(top=lambda n: [(1, "", 0.6)], shown=(), weights=SimpleNamespace(predicts=True))
    about = Scene(Geometry(), 224, lambda *_: trace, ["dog", "cat", "bird"], lang=lang)
    known = str(answer_fields(about)["known"])
    assert "3" in known
    for step in ("kernel", "swap"):
        said = COURSE.text(lang, f"use.{step}.say", label="cat", p="60", known=known, stage=1, block=2)
        assert known in said


def test_equal_answers_share_a_rank() -> None:
    values = np.array([3.0, 5.0, 4.99, 1.0, 5.0])
    assert ranks(values, 0.0) == [4, 1, 3, 5, 1]
    assert ranks(values, 0.02) == [4, 1, 1, 5, 1]
    assert ranks(np.zeros(3), 0.0) == [1, 1, 1]
    assert firsts("abcde", [4, 1, 3, 5, 1], 3) == {"b", "c", "e"}


@pytest.mark.parametrize(
    ("dtype", "good", "rank"),
    [("bfloat16", {"1", "3"}, 3), ("float32", {"3"}, 3), ("float16", {"3"}, 3)],
)
def test_effects_that_differ_by_less_than_a_step_are_equal(dtype: str, good: set[str], rank: int) -> None:
    """Around a logit of 6, bfloat16 has steps of 0.03: one step does not make an answer better."""
    by = np.array([-0.50, 0.25, 0.53])
    scene = Scene(None, 160, lambda *_: SimpleNamespace(dtype=dtype, logits=np.array([6.0, 1.0])))
    places = effect_ranks(scene, by)
    options = head_options(3)
    said = equals(
        {o.code: {"its": signed(x), "rank": r} for o, x, r in zip(options, by, places, strict=True)},
        firsts("123", places),
        {"best": "code", "by": "its"},
    )
    question = Question("one", firsts("123", places), {"best": 3, "by": "+0.53"}, options, said)
    assert question.good == good
    assert said["2"]["rank"] == rank
    for code in good:
        found = grade(question, [code])
        assert found.right
        assert (str(found.fields["best"]), found.fields["by"]) == (code, said[code]["its"])
    assert grade(question, ["2"]).fields["best"] == 3


def test_keys_with_the_same_attention_are_equally_good_guesses() -> None:
    """With even attention in a 7 x 7 window every key is a right answer, and all rank first."""
    model, probs = Geometry(), np.full((4, 1, 49, 49), 1 / 49, np.float32)
    scene = Scene(model, 224, lambda *_: Traced(probs))
    question = ask("strongest_token", {"stage": 3, "kind": "sda", "at": [0.0, 0.0]}, scene=scene)
    assert len(question.good) == 49
    assert {question.said[key]["rank"] for key in question.good} == {1}
    assert question.fields["close"] == 5
    assert not grade(question, ["9.9"]).right


# ---------------------------------------------------------------- progress


def test_progress_is_restored() -> None:
    known = progress.ids(COURSE)
    mine = {known[0]: True, known[5]: False}
    assert progress.parse(progress.dump(mine), known) == mine
    assert len(known) == len(COURSE.places())


@pytest.mark.parametrize(
    "text",
    [None, 7, "", "{", "[]", '{"first": []}', '{"first": {"windows.tokens": "1", "x": 1}}', "[" * 9999],
)
def test_a_store_full_of_nonsense_is_empty(text: Any) -> None:
    assert progress.parse(text, progress.ids(COURSE)) == {}


def test_tokens_are_named_by_row_and_column() -> None:
    assert parse_token("3.12") == (3, 12)
