"""A model without a classifier, such as a detector's backbone: pages show what needs no classes."""

from __future__ import annotations

from pathlib import Path

import pytest

import cfviz
from cfviz.cli import main
from cfviz.data.samples import sample
from cfviz.models.weights.errors import CheckpointError
from tests.pages.test_pages import PAGES
from tests.pages.test_shown_code import mine, page

ENTIRELY = ("home", "predict", "lab", "learn")  # pages about classes


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_every_page_opens_without_classes(name: str, tmp_path: Path) -> None:
    app = page(name, mine(tmp_path, num_classes=0), model="own-0", lang="en", open="all")
    assert not app.exception
    said = [box.value for box in (*app.info, *app.error)]
    assert not any("num_classes" in text for text in said)
    if name in ENTIRELY:
        assert any("has no classifier" in text for text in said)
    elif name in ("attention", "embedding", "position_bias"):
        assert any("has no classifier" in box.value for box in app.info)
        assert not app.error


@pytest.mark.slow
def test_the_second_model_without_classes_is_announced_too(tmp_path: Path) -> None:
    app = page("compare", mine(tmp_path, num_classes=0), lang="en", other="own-0")
    assert not app.exception
    assert any("has no classifier" in box.value for box in app.info)


@pytest.mark.slow
def test_points_of_a_backbone_can_be_watched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = mine(tmp_path, num_classes=0)
    photo = sample("cat").path
    trace = cfviz.inspect(photo, model, 64, watch="layers.0.blocks.0.attn.probs")
    assert trace["layers.0.blocks.0.attn.probs"].shape[-2:] == (49, 49)
    assert (trace.top(), trace.labels) == ([], ())
    assert "no classes" in repr(trace)
    assert "<table>" not in trace.show()
    with pytest.raises(ValueError, match="no probabilities"):
        _ = trace.probs
    with pytest.raises(CheckpointError, match="no classes to predict"):
        cfviz.inspect(photo, model)
    file = str(next(tmp_path.glob("*.safetensors")))
    for command in (["predict"], ["report", "--out", str(tmp_path / "r.html")]):
        assert main([*command, str(photo), "--size", "64", "--weights", file]) == 2
        assert "has no classifier" in capsys.readouterr().err


@pytest.mark.slow
def test_weights_for_other_images_are_refused_at_every_entry_point(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = mine(tmp_path, num_classes=5, in_chans=4)
    file = str(next(tmp_path.glob("*.safetensors")))
    photo = str(sample("cat").path)
    with pytest.raises(CheckpointError, match="images with 4 channels; photos have 3"):
        cfviz.inspect(photo, model)
    for command in (["predict"], ["report", "--out", str(tmp_path / "r.html")]):
        assert main([*command, photo, "--size", "64", "--weights", file]) == 2
        assert "images with 4 channels; photos have 3" in capsys.readouterr().err
