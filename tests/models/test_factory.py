"""Random weights are never used unless they were asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm

import cfviz
from cfviz import bundled, run
from cfviz.cli import main
from cfviz.data.samples import sample
from cfviz.models.variants import OURS

SHIPPED_NONE = sorted(set(cfviz.list_models()) - set(OURS))
PHOTO = np.zeros((64, 64, 3), np.uint8)


@pytest.mark.parametrize("name", SHIPPED_NONE)
def test_a_variant_that_ships_no_weights_asks_for_some(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} ships no weights: .*official.*weights=None"):
        cfviz.create_model(name)
    with pytest.raises(ValueError, match="ships no weights"):
        cfviz.inspect(PHOTO, name)


def test_the_command_asks_for_weights_in_its_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    photo = str(sample("cat").path)
    assert main(["predict", photo, "--model", "crossformer_small"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "crossformer_small ships no weights: add --weights official" in err
    assert "--weights none" in err


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("weights", ["auto", "bundled"])
def test_a_bundled_file_that_is_missing_is_named(
    name: str, weights: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bundled, "ASSETS", tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"weights/{name}\.safetensors should have come with cfviz"):
        cfviz.create_model(name, weights)


def test_inspect_without_a_model_names_the_missing_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bundled, "ASSETS", tmp_path)
    run._load.cache_clear()
    with pytest.raises(FileNotFoundError, match=r"crossformer_nano\.safetensors"):
        cfviz.inspect(PHOTO)
    assert main(["predict", str(sample("cat").path)]) == 2
    assert "weights/crossformer_nano.safetensors should have come with cfviz" in capsys.readouterr().err


def test_timm_does_not_fall_back_to_random_weights() -> None:
    for name in SHIPPED_NONE:
        with pytest.raises(RuntimeError, match="pretrained"):
            timm.create_model(name, pretrained=True)
