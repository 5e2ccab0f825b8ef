"""The report of a model of timm: its numbers are the trace's, its figures the model's; no network."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from cfviz import report
from cfviz.cli import main
from cfviz.data.images import load_image
from cfviz.data.samples import sample
from cfviz.measured import others as measured
from cfviz.measured.survey import survey_of
from cfviz.models.others.ablation import effects, parts
from cfviz.models.others.opening import open_other, open_own
from cfviz.models.others.reading import layers_of
from cfviz.report.others import html
from cfviz.run import inspect, prepared_for
from cfviz.words import section_words
from tests.report.test_report import session

NAME, PHOTO = "deit_tiny_patch16_224", sample("german-shepherd").path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    save_file(timm.create_model(NAME, num_classes=3).state_dict(), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("lang", ["en", "zh-Hant"])
def test_the_reports_numbers_are_the_traces(file: Path, lang: str) -> None:
    model = open_own(file, NAME, 96, classes=("ant", "bee", "cat"))
    trace = inspect(PHOTO, model)
    at = (0, 3, 2, 4)
    page = html(trace, model, report.Origin(str(PHOTO), "german-shepherd", str(file)), lang, at=at)
    stated, words = session(page), section_words("report", lang)
    np.testing.assert_array_equal(stated["probs"], trace.probs)
    assert stated["weights"]["sha256"] == trace.weights.sha256
    rows = [
        (d, e) for *_, one in measured.heads(trace) for d, e in zip(one.distance, one.entropy, strict=True)
    ]
    assert [(row["distance"], row["entropy"]) for row in stated["heads"]] == rows
    assert words["rollout_look"] in page
    assert words["field_look"] in page
    assert not re.search(r'(?:src|href)="(?!data:|http://localhost:8501/)', page)
    layers = layers_of(model, 96, 96)
    x = prepared_for(model, load_image(PHOTO), 96).tensor
    logits = effects(model, x, [(one,) for one in parts(layers)], layers)
    probs = torch.tensor(logits).softmax(-1)[:, trace.top(1)[0][0]].numpy()
    points = {
        one.to_url(): 100 * (p - trace.probs.max()) for one, p in zip(parts(layers), probs, strict=True)
    }
    assert {row["part"] for row in stated["parts"]} == set(points)
    for row in stated["parts"]:
        assert row["points"] == pytest.approx(points[row["part"]], abs=1e-3)
    for name in ("rollout", "field"):
        assert picture(page, words[name]).shape == (96, 96, 3)
    shown = picture(page, words["rollout"])[8::16, 8::16].astype(float).sum(-1)
    own = measured.rollout(trace, model, *at).map
    strong, weak = own > np.quantile(own, 0.9), own < np.quantile(own, 0.1)
    assert shown[strong].mean() > shown[weak].mean()


def picture(page: str, alt: str) -> np.ndarray:
    found = re.search(rf'alt="{re.escape(alt)}" src="data:image/png;base64,([^"]+)"', page)
    assert found
    return np.array(Image.open(io.BytesIO(base64.b64decode(found[1]))))


@pytest.mark.slow
def test_the_command_and_the_code_give_the_same_report(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "r.html"
    argv = ["report", "gallery:cat", "--model", NAME, "--weights", str(file), "--size", "64", "--mode", "pad"]
    assert main([*argv, "--no-parts", "--out", str(out)]) == 0
    stated = session(out.read_text("utf-8"))
    monkeypatch.chdir(tmp_path)
    assert main([*stated["command"].split()[3:], "--no-parts"]) == 0
    again = session((tmp_path / "report.html").read_text("utf-8"))
    assert again["probs"] == stated["probs"]
    known: dict[str, Any] = {}
    exec(stated["code"], known)
    np.testing.assert_allclose(known["trace"].probs, stated["probs"], rtol=1e-6)
    assert stated["lost"] == ["weights"]


@pytest.mark.slow
def test_a_report_of_a_timm_model_times_its_operations_and_refuses_a_survey(
    file: Path, tiny_model: Any
) -> None:
    model = open_own(file, NAME, 64)
    trace = inspect(PHOTO, model)
    origin = report.Origin(str(PHOTO), "german-shepherd", str(file))
    page = report.html(trace, model, origin, parts=False, operations=True)
    stated = session(page)
    assert '<div class="op-host"></div>' in page
    assert 'id="op-host"' in page
    assert stated["operations"]["size"] == [64, 64]
    assert stated["operations"]["operations"][0]["params"] == stated["parameters"]
    assert stated["command"].endswith(" --operations")
    plain = report.html(trace, model, origin, parts=False, operations=False)
    assert 'id="op-host"' not in plain
    with pytest.raises(ValueError, match=f"embedding kernels.*{NAME} is one of timm's models"):
        report.html(trace, model, origin, survey=survey_of([PHOTO], tiny_model(), 64))


@pytest.mark.slow
def test_a_family_without_rollout_shows_the_pixels_alone() -> None:
    model = open_other("pvt_v2_b0", (70, 100))
    trace = inspect(PHOTO, model, (70, 100))
    page = report.html(trace, model, report.Origin(str(PHOTO), "german-shepherd", "none"))
    words = section_words("report", "en")
    assert words["field_look"] in page
    assert words["rollout_look"] not in page
    assert words["random"] in page
    assert words["left_out"].format(names=words["parts"]) in page
