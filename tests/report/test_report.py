"""The report: its numbers are the trace's, it is complete, and it needs no network."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest

from cfviz import cli
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import sample
from cfviz.framing.size import as_pair
from cfviz.measured.survey import survey_of
from cfviz.models.factory import create_model
from cfviz.models.interventions.apply import apply
from cfviz.models.interventions.language import from_url
from cfviz.provenance import Provenance
from cfviz.report import page as report
from cfviz.report import parts as report_parts
from cfviz.run import forward, inspect
from cfviz.stats import softmax
from cfviz.ui.compute import models
from cfviz.ui.session import state
from cfviz.words import section_words

PHOTO = sample("german-shepherd").path


def session(page: str) -> dict:
    return json.loads(re.search(r'id="session">(.*?)</script>', page, re.S)[1])


@pytest.fixture(scope="module")
def model():
    return create_model("crossformer_nano")


@pytest.mark.slow
@pytest.mark.parametrize("lang", ["en", "zh-Hant"])
def test_the_reports_numbers_are_the_traces(model, lang: str) -> None:
    trace = inspect(PHOTO, model, 224, report.WATCH)
    page = report.html(trace, model, report.Origin(str(PHOTO), "german-shepherd"), lang, parts=False)
    stated = session(page)
    assert [(i, p) for i, _, p in stated["top"]] == [(i, p) for i, _, p in trace.top(5)]
    np.testing.assert_array_equal(stated["probs"], trace.probs)
    assert stated["weights"]["sha256"] == trace.weights.sha256
    assert trace.weights.sha256 in page
    assert "photo=german-shepherd" in stated["link"]
    assert section_words("report", lang)["attention_look"] in page
    assert not re.search(r'(?:src|href)="(?!data:|http://localhost:8501/)', page)
    assert len(stated["heads"]) == sum(n * d for n, d in zip(model.num_heads, model.depths, strict=True))


@pytest.mark.slow
def test_what_a_report_does_not_have_is_named(model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sections that could not be computed, or were too slow, were missing without a word."""
    monkeypatch.setattr(report, "quick", lambda *_: False)
    t, random = section_words("report", "en"), create_model("crossformer_nano", weights=None)
    for net, dtype, missing in (
        (model, "float32", []),
        (model, "bfloat16", ["sum", "known", "amplitude"]),
        (random, "float32", ["sum", "known", "parts"]),
    ):
        trace = inspect(PHOTO, net, 64, report.WATCH, dtype=dtype)
        page = report.html(trace, net, report.Origin(str(PHOTO)))
        stated = session(page)
        assert stated["missing"] == missing
        slow = [name for name in ("parts", "operations") if name not in missing]
        assert stated["slow"] == slow
        assert (t["left_out"].format(names=", ".join(t[name] for name in missing)) in page) == bool(missing)
        assert t["left_slow"].format(names=", ".join(t[name] for name in slow)) in page
        for name in ("attention", "embedding", "bias", "sum", "known", "amplitude", "parts", "operations"):
            assert (f"<h2>{t[name]}</h2>" in page) == (name not in (*missing, "parts", "operations"))
    page = report.html(trace, net, report.Origin(str(PHOTO)), parts=True, operations=False)
    assert session(page)["missing"] == ["sum", "known", "parts"]
    assert session(page)["slow"] == []


@pytest.mark.slow
def test_the_notebook_code_gives_the_same_numbers(model, capsys) -> None:
    trace = inspect(PHOTO, model, 160, report.WATCH)
    space: dict = {}
    exec(report.notebook_code(trace, report.Origin(str(PHOTO))), space)
    np.testing.assert_array_equal(space["trace"].probs, trace.probs)
    assert trace.top(1)[0][1] in capsys.readouterr().out


@pytest.mark.slow
def test_a_report_on_a_painted_photo_says_so_and_paints_it_again(model, capsys) -> None:
    strokes = "mean-rect-100.100-900.500_blur-150-500.700"
    trace = inspect(load_image(PHOTO).brushed(strokes), model, 64, report.WATCH)
    page = report.html(trace, model, report.Origin(str(PHOTO), "german-shepherd"), parts=False)
    stated = session(page)
    assert stated["settings"]["strokes"] == strokes
    assert f"--brush {strokes}" in stated["command"]
    link = urlsplit(stated["link"])
    assert (link.path, dict(parse_qsl(link.query))["brush"]) == ("/lab", strokes)
    space: dict = {}
    exec(stated["code"], space)
    np.testing.assert_array_equal(space["trace"].probs, trace.probs)
    capsys.readouterr()
    assert cli.main(["predict", str(PHOTO), "--size", "64", "--brush", strokes, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["predictions"]
    assert told["top"][0]["probability"] == pytest.approx(trace.top(1)[0][2], abs=1e-6)
    assert told["strokes"] == strokes


def test_the_notebook_code_imports_what_it_uses(model) -> None:
    tree = ast.parse(
        report.notebook_code(inspect(PHOTO, model, 160, report.WATCH), report.Origin(str(PHOTO)))
    )
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = {alias.asname or alias.name for node in imports for alias in node.names}
    assert imported == imported & {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


@pytest.mark.slow
def test_the_command_reproduces_the_report(tmp_path: Path, capsys, monkeypatch) -> None:
    out = tmp_path / "first.html"
    assert cli.main(["report", str(PHOTO), "--size", "160", "--no-parts", "--out", str(out)]) == 0
    first = session(out.read_text("utf-8"))
    monkeypatch.chdir(tmp_path)
    assert cli.main(first["command"].split()[3:]) == 0
    second = session(Path("report.html").read_text("utf-8"))
    drop = {"seconds", "operations"}  # measured times
    assert [one["macs"] for one in first["operations"]["operations"]] == [
        one["macs"] for one in second["operations"]["operations"]
    ]
    assert {k: v for k, v in first.items() if k not in drop} == {
        k: v for k, v in second.items() if k not in drop
    }
    assert "photo=german-shepherd" in first["link"]
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_random_weights_are_announced(tiny_model) -> None:
    model = create_model("crossformer_nano", weights=None)
    trace = inspect(PHOTO, model, 64, report.WATCH)
    page = report.html(trace, model, report.Origin("my photo.jpg", weights="none"))
    assert page.count(section_words("report")["random"]) >= 2
    stated = session(page)
    assert "'my photo.jpg'" in stated["command"]
    assert "--weights none" in stated["command"]
    assert "weights=None" in stated["code"]
    assert "photo=" not in stated["link"]


@pytest.mark.slow
def test_a_name_cannot_inject_markup(model) -> None:
    trace = inspect(PHOTO, model, 64, report.WATCH)
    evil = "</script><script>alert(1)</script>.jpg"
    page = report.html(trace, model, report.Origin(evil), parts=False)
    assert "<script>alert" not in page
    assert evil in session(page)["command"]


@pytest.mark.slow
def test_a_name_that_looks_like_a_placeholder_stays_a_name(model) -> None:
    trace = replace(inspect(PHOTO, model, 64, report.WATCH), photo="%BODY%.jpg")
    page = report.html(trace, model, report.Origin("%SESSION%.jpg"), parts=False)
    assert "<title>cfviz: %BODY%.jpg</title>" in page
    assert "%SESSION%.jpg" in session(page)["command"]


@pytest.mark.parametrize(
    ("source", "trained", "named"),
    [
        ("bundled", "x", None),
        ("random", None, "none"),
        ("official", "x", "official"),
        ("a.pth", "x", "a.pth"),
        ("untrained.safetensors", None, "untrained.safetensors"),
    ],
)
def test_the_button_names_the_weights_by_origin(source: str, trained: str | None, named: str | None) -> None:
    provenance = SimpleNamespace(source=source, trained=trained)
    assert models.weights_argument(SimpleNamespace(provenance=provenance)) == named


@pytest.mark.slow
@pytest.mark.parametrize("lang", ["en", "zh-Hant"])
@pytest.mark.parametrize(
    ("change", "lost", "named"),
    [
        ({}, [], None),
        ({"weights": Provenance("official", "a", "x")}, [], None),
        ({"weights": Provenance("mine.safetensors", "a", "x")}, ["weights"], "mine.safetensors"),
        ({"weights": Provenance()}, ["random"], "crossformer_nano"),
        ({"size": (224, 320)}, [], None),
        ({"size": (96, 96)}, [], None),
        ({"settings": {"mode": "pad"}}, [], None),
        ({"dtype": "float16"}, ["dtype"], "float16"),
    ],
)
def test_the_report_says_what_its_link_cannot_restore(
    model, lang: str, change: dict, lost: list[str], named: str | None
) -> None:
    trace = inspect(PHOTO, model, 160, report.WATCH)
    change = {**change, "settings": {**trace.settings, **change.get("settings", {})}}
    trace = replace(trace, **change)
    origin = report.Origin("german-shepherd.jpg", "german-shepherd")
    page = report.again({**report.session_facts(trace, model, origin, lang)}, section_words("report", lang))
    words, query = (
        section_words("report", lang),
        dict(parse_qsl(urlsplit(report.app_link(trace, origin, lang)).query)),
    )
    assert (words["link_note"] in page) is (not lost)
    for name in ("photo", "weights", "random", "dtype"):
        assert (words[f"lost_{name}"].partition("{")[0] in page) is (name in lost), name
    assert named is None or named in page.rpartition("<ul>")[2]
    assert "{" not in page.rpartition("</pre>")[2]
    assert query["photo"] == "german-shepherd"
    assert query["size"] == {(224, 320): "224x320", (96, 96): "96"}.get(trace.size, "160")
    assert query.get("mode") == (None if trace.settings["mode"] == "crop" else "pad")
    assert "dtype" not in query
    settings, notes = state.read(query, state.Settings(), ["crossformer_nano"], ["german-shepherd"])
    assert not notes, "what a link carries is on offer"
    assert settings.photo == "german-shepherd"
    assert as_pair(settings.size) == tuple(trace.size)
    assert settings.mode == trace.settings["mode"]


@pytest.mark.slow
@pytest.mark.parametrize("lda", ["regions", "whole"])
def test_the_report_names_the_form_of_long_distance_attention(model, lda: str) -> None:
    trace = inspect(PHOTO, model, (160, 320), report.WATCH, lda=lda)
    session = report.session_facts(trace, model, report.Origin("mine.jpg"))
    assert session["settings"]["lda"] == lda
    assert ("lda='whole'" in session["code"]) is (lda == "whole")
    page = report._facts(session, section_words("report", "en"))
    assert ("lda=whole" in page) is (lda == "whole")
    assert ("--lda whole" in session["command"]) is (lda == "whole")
    query = dict(parse_qsl(urlsplit(session["link"]).query))
    read, notes = state.read(query, state.Settings(), ["crossformer_nano"], [])
    assert read.lda == ("whole" if lda == "whole" else state.AS_TRAINED)
    assert not notes
    file = report.session_facts(trace, model, report.Origin("mine.jpg", weights="mine.safetensors"))
    assert f"lda={lda!r}" in file["code"], "a detector's file implies the other"
    assert f"--lda {lda}" in file["command"]


def test_a_readers_own_photo_is_not_in_the_link(model) -> None:
    trace = replace(inspect(PHOTO, model, 160, report.WATCH), dtype="bfloat16")
    origin = report.Origin("mine.jpg")
    assert report.lost_settings(trace, origin) == ["photo"]
    assert report.app_link(trace, origin, "en").endswith(
        "?model=crossformer_nano&size=160&lang=en&dtype=bfloat16"
    )


@pytest.mark.slow
def test_parts_are_ranked_as_in_the_lab(model) -> None:
    trace = inspect(PHOTO, model, 96, report.WATCH)
    rows = report_parts.parts_ranking(trace, model, "en")
    moved = [abs(row["points"]) for row in rows]
    assert moved == sorted(moved, reverse=True)
    first, _, before = trace.top(1)[0]
    for row in (rows[0], rows[-1]):
        with apply(model, from_url(row["part"])):
            logits, _ = forward(model, prepare(load_image(PHOTO), 96).tensor)
        assert row["change"] == pytest.approx(logits["logits"][first] - trace.logits[first], abs=2e-4)
        after = softmax(logits["logits"])[first]
        assert row["points"] == pytest.approx(100 * (after - before), abs=2e-2)
    page = report.html(trace, model, report.Origin(str(PHOTO)))
    assert session(page)["parts"] == rows
    assert page.count("data-part=") == report_parts.SHOWN
    assert '<div class="pb-host">' in page


@pytest.mark.slow
def test_a_report_takes_operations_and_a_survey_of_the_same_weights(
    tmp_path: Path, model, tiny_model
) -> None:
    out, file = tmp_path / "r.html", tmp_path / "s.safetensors"
    survey_of([PHOTO], model, 64).save(file)
    said = ["report", str(PHOTO), "--size", "64", "--no-parts", "--operations", "--survey", str(file)]
    assert cli.main([*said, "--out", str(out)]) == 0
    page = out.read_text("utf-8")
    for host in ("op-host", "sv-host"):
        assert f'<div class="{host}"></div>' in page
        assert f'id="{host}"' in page
    stated = session(page)
    assert stated["operations"]["size"] == [64, 64]
    assert "--survey" in stated["command"]
    absent = section_words("report")["left_survey"]
    assert absent not in page
    trace = inspect(PHOTO, model, 64, report.WATCH)
    plain = report.html(trace, model, report.Origin(str(PHOTO)), parts=False, operations=False)
    assert 'id="op-host"' not in plain
    assert absent in plain
    assert session(plain)["operations"] is None
    other = survey_of([PHOTO], tiny_model(), 64)
    with pytest.raises(ValueError, match="of other weights"):
        report.html(trace, model, report.Origin(str(PHOTO)), parts=False, survey=other)


@pytest.mark.slow
def test_an_untrained_classifier_ranks_no_parts() -> None:
    """What a part does to the answer of a head that has learned nothing says nothing."""
    model = create_model("crossformer_nano")
    model.reset_classifier(7)
    trace = inspect(PHOTO, model, 64, report.WATCH)
    stated = session(report.html(trace, model, report.Origin(str(PHOTO)), operations=False))
    assert stated["weights"]["trained"]
    assert stated["parts"] == []
    assert "parts" in stated["missing"]
