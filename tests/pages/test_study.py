"""The page on many photos: without a study, with one, and the effect of its controls."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from cfviz import jobs
from cfviz.data.labels import labels
from cfviz.data.samples import sample
from cfviz.measured.survey import survey
from cfviz.models.interventions.language import from_url, parse
from cfviz.training.measure.study_table import Tally, save
from cfviz.ui.pages.study import findings as study
from cfviz.ui.session import photos, reader
from cfviz.ui.widgets.jobs import skipped
from cfviz.words import section_words, translator

ROOT = Path(__file__).resolve().parents[2]
CHANGES = (
    '{"part": "head", "stage": 0, "block": 0, "index": 0}',
    '{"part": "head", "stage": 1, "block": 0, "index": 1}',
    '{"part": "kernel", "stage": 0, "index": 2}',
    '{"part": "kind", "how": "sda"}',
    '{"part": "bias"}',
)


def page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lang: str = "en", **query: str) -> AppTest:
    monkeypatch.setenv(jobs.JOBS, str(tmp_path / "jobs"))
    monkeypatch.delenv(jobs.FOLDERS, raising=False)
    monkeypatch.setattr(study, "SHIPPED", tmp_path / "study.parquet")
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    app.switch_page("pages/study.py")
    for name, value in {"lang": lang, "open": "all", **query}.items():
        app.query_params[name] = value
    return app.run()


@pytest.fixture
def made(tmp_path: Path) -> None:
    tally = Tally([parse(text) for text in CHANGES], ["distance.0.0.0", "distance.1.0.1", "share.0.2"])
    said = np.zeros((40, 6), int)
    said[:30, 1] = said[:4, 2] = said[:2, 3] = said[:20, 4] = said[:10, 5] = 1
    belief = np.where(said == 0, 0.9, 0.1)
    tally.add(np.zeros(40, int), said, belief, {name: np.arange(40.0) for name in tally.measures})
    save(tally.table({"model": "crossformer_nano"}), tmp_path / "study.parquet")


def test_unused_files_are_reported() -> None:
    for lang, expected in {
        "en": "Files skipped (4): a/0.jpg (The file is empty), a/1.jpg (The file is empty), "
        "a/2.jpg (The file is empty), and 1 more.",
        "zh-Hant": "有 4 個檔案沒有用到：a/0.jpg（檔案是空的）、a/1.jpg（檔案是空的）、"
        "a/2.jpg（檔案是空的），以及另外 1 個。",
    }.items():
        ctx = SimpleNamespace(t=translator(lang), lang=lang)
        files = {f"a/{i}.jpg": "The file is empty." for i in range(4)}
        (said,) = skipped(ctx, {"files": {"skipped": files}})
        assert said.replace("\\", "") == expected
        assert skipped(ctx, {"files": {"skipped": {}}}) == skipped(ctx, {}) == []


def test_without_a_study_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    app = page(monkeypatch, tmp_path)
    assert not app.exception
    said = [info.value for info in app.info]
    assert any("There is no study yet" in text for text in said)
    assert any(jobs.FOLDERS in text for text in said)
    assert app.button(key="jobs.start.study").disabled


@pytest.mark.slow
@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("lang", ["en", "zh-Hant"])
def test_a_study_is_summarised_and_can_be_explored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lang: str
) -> None:
    app = page(monkeypatch, tmp_path, lang)
    assert not app.exception
    assert not app.error
    text = "\n".join(block.value for block in app.markdown)
    for number in ("100.0\u00a0%", "−75.0", "−50.0", "−25.0"):
        assert number in text
    assert len(app.get("plotly_chart")) == 2
    assert len(app.dataframe[0].value) == 5
    app.pills(key="study.stages").set_value([1]).run()
    assert len(app.dataframe[0].value) == 1
    app.selectbox(key="study.measure").select("distance").run()
    assert not app.exception


def test_two_ways_of_changing_one_part_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    head = '{"part": "head", "stage": 0, "block": 0, "index": 0, "how": "%s"}'
    changes = [head % "zero", head % "mean", '{"part": "kernel", "stage": 0, "index": 2}']
    tally = Tally([parse(text) for text in changes], ["distance.0.0.0"])
    said = np.zeros((40, 4), int)
    said[:30, 1] = said[:4, 2] = 1
    tally.add(np.zeros(40, int), said, np.where(said == 0, 0.9, 0.1), {"distance.0.0.0": np.arange(40.0)})
    save(tally.table({"model": "crossformer_nano"}), tmp_path / "study.parquet")
    app = page(monkeypatch, tmp_path)
    assert not app.exception
    names = list(app.dataframe[0].value[""])
    assert len(set(names)) == 3
    assert [name.rsplit(" · ", 1)[1] for name in names[:2]] == [
        "set to zero",
        "replaced by the mean over these photos",
    ]
    forest, scatter = (json.loads(chart.proto.spec)["data"] for chart in app.get("plotly_chart"))
    short = [name.replace("Head · stage 1 · block 1 · no. 1", "Head 1 · 1.1") for name in names]
    assert forest[0]["y"] == short
    assert short != names, "a chart has no room for the whole title"
    assert scatter[0]["y"] == [-75, -10], "percentage points"
    assert scatter[0]["text"] == names[:2]
    text = "\n".join(block.value for block in app.markdown)
    assert "−75.0" in text  # a sentence on the heads for each way
    assert "−10.0" in text
    assert "The largest comes from head 1 of stage 1, block 1: −75.0" in text
    assert "from the 16\u00a0×\u00a016 kernel of stage 1: " in text


@pytest.mark.slow
def test_weights_that_a_job_cannot_open_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CFVIZ_CACHE", str(tmp_path / "cache"))
    app = page(monkeypatch, tmp_path)
    app.selectbox(key="w.model").select("crossformer_tiny").run()
    assert not app.exception
    assert any(info.value == translator("en")("jobs.random") for info in app.info)
    assert app.button(key="jobs.start.study").disabled


def test_a_study_starts_as_a_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "photos" / "n01440764_tench").mkdir(parents=True)
    app = page(monkeypatch, tmp_path)
    monkeypatch.setenv(jobs.FOLDERS, str(tmp_path / "photos"))
    begun: list[tuple[Any, ...]] = []
    monkeypatch.setattr(
        jobs,
        "start",
        lambda *given: begun.append((given[0], *given[1], *given[2:4])),
    )
    app.text_area(key="study.lines").set_value('{"part": "nose"}').run()
    assert app.button(key="jobs.start.study").disabled
    app.text_area(key="study.lines").set_value('{"part": "bias"}').run()
    app.button(key="jobs.start.study").click().run()
    assert not app.exception
    (words,) = begun
    assert words[:4] == ("study", "study", "--data", str(tmp_path / "photos"))
    assert words[-2] == "out/statistics.parquet"
    assert words[words.index("--interventions") + 1] == "{job}/interventions.jsonl"
    assert words[-1] == {"interventions.jsonl": '[{"part": "bias", "how": "zero"}]\n'}
    assert not (tmp_path / "jobs").exists(), "nothing is written before somebody starts a job"


def test_the_labs_parts_are_measured_alone_and_together() -> None:
    lines, left_out = study.lines_of("2.1.h3-zero_~1.k1-mean_1.2.kind-sda_3.1.attn-replace_9.z-zero")
    assert [parse(line) for line in lines.splitlines()] == [
        from_url("2.1.h3-zero"),
        from_url("1.2.kind-sda"),
        from_url("2.1.h3-zero_1.2.kind-sda"),
    ]
    assert len(left_out) == 2
    assert "another photo" in left_out[0]
    assert study.lines_of("1.k1-mean")[0].count("\n") == 1
    assert study.lines_of("") == ("", [])


@pytest.mark.usefixtures("made")
def test_a_link_from_the_lab_opens_the_form_with_its_parts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = page(monkeypatch, tmp_path, open="", parts="2.1.h3-zero_1.k1-replace")
    assert not app.exception
    text = app.text_area(key="study.lines").value
    assert parse(text.strip()) == from_url("2.1.h3-zero")
    assert any("another photo" in info.value for info in app.info)
    app.text_area(key="study.lines").set_value('{"part": "bias"}').run()
    assert app.text_area(key="study.lines").value == '{"part": "bias"}', "the reader's own text stays"


@pytest.mark.usefixtures("made")
def test_a_readers_study_opens_its_result_when_it_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    result = tmp_path / "mine" / "statistics.parquet"
    result.write_bytes((tmp_path / "study.parquet").read_bytes())
    now = ["failed"]

    def listed(_kind: str) -> list[jobs.Job]:
        owners = {"mine": reader.browser(), "another": "somebody else's"}
        return [
            jobs.Job(tmp_path / id, "study", (), result, now[0], 1, 1, "", 1.0, 0.0, 1.0, owner)
            for id, owner in owners.items()
        ]

    monkeypatch.setattr(jobs, "listed", listed)
    monkeypatch.setattr(reader, "browser", lambda: "me")
    app = page(monkeypatch, tmp_path, open="start")
    now[0] = "running"
    app.run()
    assert not app.exception
    assert app.text_area, "the form is open while a study runs"
    now[0] = "done"
    app.run()
    assert not app.exception
    assert app.selectbox(key="study.which").value == "mine"
    assert app.query_params["study"] in ("mine", ["mine"])
    app.selectbox(key="study.which").select("shipped").run()
    assert app.selectbox(key="study.which").value == "shipped", "it is opened once"


def own_photos(*names: str) -> dict[str, photos.Own]:
    found = {}
    for name in names:
        data = sample(name).path.read_bytes()
        found[f"own-{name}"] = photos.Own(f"{name}.jpg", data, name, "data:,", sample(name).size, "data:,")
    return found


def test_a_study_takes_dropped_photos_with_their_classes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mine = own_photos("cat", "berlin-cathedral")
    begun: list[tuple[Any, ...]] = []
    monkeypatch.setattr(jobs, "start", lambda *given: begun.append(given))
    monkeypatch.setattr(photos, "own", lambda: mine)
    app = page(monkeypatch, tmp_path)
    assert not app.exception
    assert app.button(key="jobs.start.study").disabled, "no photo has a class yet"
    church = labels("imagenette20").index("church")
    key = "study.class.crossformer_nano.own-berlin-cathedral"
    app.selectbox(key=key).select_index(1 + church).run()
    assert app.selectbox(key=key).value == church
    assert "1 of 2 photos" in " ".join(caption.value for caption in app.caption)
    app.button(key="jobs.start.study").click().run()
    assert not app.exception
    ((kind, command, result, files, _, brief),) = begun
    assert (kind, result, brief) == ("study", "out/statistics.parquet", ("photos",))
    assert command[:3] == ("study", "--data", "{job}/photos")
    name = "photos/n03028079/own-berlin-cathedral"
    assert files[name] == mine["own-berlin-cathedral"].data
    assert set(files) == {"interventions.jsonl", name}


@pytest.mark.slow
def test_a_folder_that_was_looked_into_is_shown_to_who_started_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    photos = tmp_path / "mine"
    photos.mkdir()
    (photos / "cat.jpg").write_bytes(sample("cat").path.read_bytes())
    (photos / "broken.jpg").write_bytes(sample("cat").path.read_bytes()[:2000])
    home = tmp_path / "jobs" / "survey" / "0123456789ab"
    home.mkdir(parents=True)
    looked = survey(photos, "crossformer_nano", 64)
    looked.save(home / "survey.safetensors")
    about = {"kind": "survey", "command": ["survey", str(photos)], "result": "survey.safetensors"}
    jobs.write(home / "job.json", about)
    jobs.write(home / "state.json", {"state": "done", "owner": "somebody else"})
    monkeypatch.setattr(reader, "at_the_machine", lambda: True)
    kept: dict[str, Any] = {}
    button: Any = st.download_button
    monkeypatch.setattr(
        st, "download_button", lambda *a, **kw: (kept.update({a[2]: a[1]}), button(*a, **kw))[1]
    )
    app = page(monkeypatch, tmp_path, open="survey", size="64", survey="channel.1.4.2")
    assert not app.exception
    (place,) = (one for one in app.text_input if one.key == "study.survey_path")
    assert app.button(key="jobs.start.survey").disabled
    place.set_value(str(tmp_path / "nowhere")).run()
    assert any("There is no folder" in one.value for one in app.error)
    code = next(one.value for one in app.code if "found.strongest" in one.value)
    assert "stage=0, kernel=3, channel=1" in code
    assert any("broken" in one.value and "1 of 2 files used" in one.value for one in app.caption)
    page_of = kept["cfviz-report.html"]().decode()
    assert 'id="sv-host"' in page_of
    assert section_words("report")["left_survey"] not in page_of
    monkeypatch.setattr(reader, "at_the_machine", lambda: False)
    app.run()
    assert not any("found.strongest" in one.value for one in app.code)
    assert not [one for one in app.text_input if one.key == "study.survey_path"]
