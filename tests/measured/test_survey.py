"""What a folder of photos shows: against the functions that measure one photo, and damaged files by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import cfviz
from cfviz.analysis.by_offset import ByOffset
from cfviz.data.images import load_image, prepare
from cfviz.geometry import cel_box
from cfviz.measured.fields import mean_stage_fields
from cfviz.measured.survey import KEPT, PART, Survey, joined, look_into, open_survey, survey, survey_of
from cfviz.models.probes.embedding import responses

pytestmark = pytest.mark.slow
SIZE = 64


def photo(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve photos, three of them one level down, and three files that are none."""
    root = tmp_path_factory.mktemp("photos")
    (root / "deep").mkdir()
    for n in range(12):
        photo(n).save(root / ("deep" if n % 4 == 3 else "") / f"{n:02}.png")
    whole = (root / "00.png").read_bytes()
    (root / "05b.png").write_bytes(whole[: len(whole) // 2])
    (root / "notes.txt").write_text("not a picture")
    (root / "deep" / "empty.jpg").touch()
    return root


@pytest.fixture(scope="module")
def model(tiny_model: Any) -> Any:
    return tiny_model()


@pytest.fixture(scope="module")
def found(folder: Path, model: Any) -> Survey:
    return survey(folder, model, SIZE)


def test_every_file_is_used_or_named(found: Survey) -> None:
    assert (found.files["files"], found.files["used"], len(found)) == (15, 12, 12)
    assert set(found.files["skipped"]) == {"05b.png", "notes.txt", "deep/empty.jpg"}
    assert "05b.png" in found.page()
    assert found.names[:3] == ("00.png", "01.png", "02.png")
    assert found.names[-3:] == ("deep/03.png", "deep/07.png", "deep/11.png")


def test_patches_are_the_strongest_responses(found: Survey, folder: Path, model: Any) -> None:
    images = [prepare(load_image(folder / name), SIZE).tensor for name in found.names]
    seen = responses(model, images, (0, 2), batch=1)
    for stage, kernel, point in ((0, 3, "patch_embed.kernels.3"), (2, 1, "layers.1.downsample.kernels.1")):
        for channel in (0, 1):
            maps = seen[point][..., channel]  # n, H, W
            order = np.argsort(-maps.max((1, 2)))[:KEPT]
            patches = found.strongest(stage, kernel, channel)
            assert [one.photo for one in patches] == order.tolist()
            for one in patches:
                assert one.value == pytest.approx(maps[one.photo].max(), abs=1e-5)
                assert maps[one.photo, one.row, one.col] == pytest.approx(one.value, abs=1e-5)
                assert one.box == cel_box(stage, (32, 4)[stage > 0], one.row, one.col)
    with pytest.raises(ValueError, match="no channel 999 of kernel 0 before stage 0"):
        found.strongest(0, 0, 999)


def test_fields_and_offsets_are_those_of_the_photos(found: Survey, folder: Path, model: Any) -> None:
    images = [prepare(load_image(folder / name), SIZE).tensor for name in found.names]
    whole = mean_stage_fields(model, images)
    assert found.fields == pytest.approx(whole.reshape(4, 16, 4, 16, 4).sum((2, 4)))
    assert found.fields.sum((1, 2)) == pytest.approx(np.ones(4))
    points = [f"layers.1.blocks.0.attn.{name}" for name in ("probs", "bias")]
    sums: ByOffset | None = None
    for name in found.names:
        trace = cfviz.inspect(folder / name, model, SIZE, points)
        probs, bias = (trace[point] for point in points)
        g = trace.grouping(1, 0)
        sums = sums or ByOffset(len(bias), g.Gh, g.Gw)
        sums.add(probs, bias, g)
    assert sums is not None
    assert np.allclose(found.offsets[1, 0].mean, sums.mean, equal_nan=True)
    assert np.allclose(found.offsets[1, 0].agreement, sums.agreement, equal_nan=True)


def test_a_token_is_most_like_itself(found: Survey, folder: Path, model: Any) -> None:
    point = "layers.2.blocks.0.out" if model.depths[2] == 1 else f"layers.2.blocks.{model.depths[2] - 1}.out"
    token = cfviz.inspect(folder / "04.png", model, SIZE, point)[point][1, 2]
    best = found.nearest(token, 2)[0]
    assert (found.names[best.map], best.row, best.col) == ("04.png", 1, 2)
    assert best.cosine == pytest.approx(1, abs=1e-3)  # tokens are kept in float16


def test_a_file_holds_everything_and_a_damaged_one_is_refused(found: Survey, tmp_path: Path) -> None:
    found.save(path := tmp_path / "s.safetensors")
    again = open_survey(path)
    assert (again.names, again.pictures, again.about) == (found.names, found.pictures, found.about)
    assert again.files == found.files
    assert np.array_equal(again.fields, found.fields)
    assert again.strongest(1, 0, 1) == found.strongest(1, 0, 1)
    assert again.page() == found.page()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cannot be opened as a survey"):
        open_survey(path)
    other = tmp_path / "x.safetensors"
    with pytest.raises(ValueError, match="cannot be opened as a survey"):
        open_survey(other)
    with pytest.raises(ValueError, match="holds no survey"):
        open_survey(Path(cfviz.__file__).parents[1] / "assets/probes/crossformer_nano.safetensors")


def test_a_stopped_survey_goes_on(folder: Path, model: Any, found: Survey, tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    told: list[int] = []

    def stop(done: int, total: int) -> None:
        told.append(done)
        assert total == 13  # those that look like photos
        raise StopError

    with pytest.raises(StopError):
        survey(folder, model, SIZE, run=tmp_path / "run", tell=stop)
    (kept,) = (tmp_path / "run").glob("*.safetensors")
    before = kept.stat().st_mtime_ns
    seen: list[int] = []

    def go_on(done: int, total: int) -> None:
        seen.append(done)
        if done == PART:
            assert kept.stat().st_mtime_ns == before  # nothing is computed again

    again = survey(folder, model, SIZE, run=tmp_path / "run", tell=go_on)
    assert (told, seen) == ([PART], [PART, 13])
    assert (again.names, again.files) == (found.names, found.files)
    assert again.fields == pytest.approx(found.fields)
    assert again.strongest(3, 0, 0) == found.strongest(3, 0, 0)
    assert not (tmp_path / "run").exists()


def test_what_is_kept_of_another_model_is_not_taken_up(
    folder: Path, model: Any, tiny_model: Any, tmp_path: Path
) -> None:
    """Neither of other random weights, nor of the same weights in other groups."""

    def stop(done: int, total: int) -> None:
        raise InterruptedError

    other, regrouped = tiny_model(1), tiny_model()
    regrouped.set_grouping(2)
    for before in (other, regrouped):
        with pytest.raises(InterruptedError):
            survey(folder, before, SIZE, limit=3, run=tmp_path / "run", tell=stop)
        found = survey(folder, model, SIZE, limit=3, run=tmp_path / "run")
        assert np.array_equal(found.fields, survey(folder, model, SIZE, limit=3).fields)
        assert found.is_of(model)
        assert not found.is_of(before)
    with torch.no_grad():
        other.head.weight.add_(1)
    assert not survey_of([photo(0)], tiny_model(1), SIZE).is_of(other), "changed since"


def test_files_of_others_in_the_folder_of_a_run_stay(folder: Path, model: Any, tmp_path: Path) -> None:
    for name, text in (("a.txt", "mine"), ("about.json", "{}"), ("about.json", "mine")):
        (run := tmp_path / name / "run").mkdir(parents=True, exist_ok=True)
        (run / name).write_text(text)
        with pytest.raises(ValueError, match="holds other files"):
            survey(folder, model, SIZE, limit=1, run=run)
        assert (run / name).read_text() == text
    late = tmp_path / "late"
    survey(folder, model, SIZE, limit=1, run=late, tell=lambda *_: (late / "b.txt").touch())
    assert [one.name for one in late.iterdir()] == ["b.txt"]


def test_a_limit_spreads_over_the_names(folder: Path, model: Any) -> None:
    few = survey(folder, model, SIZE, limit=3)
    assert few.names[0] == "00.png"
    assert few.names[-1] == "deep/11.png"
    assert few.files["not_chosen"] == 10


def test_what_cannot_be_looked_into_is_said(
    tmp_path: Path, model: Any, folder: Path, tiny_model: Any
) -> None:
    with pytest.raises(ValueError, match="there is no folder"):
        survey(tmp_path / "no", model, SIZE)
    with pytest.raises(ValueError, match="holds no photos"):
        survey(tmp_path, model, SIZE)
    (tmp_path / "a.png").write_bytes((folder / "05b.png").read_bytes())
    with pytest.raises(ValueError, match=r"none of the photos of .* can be read; a.png: The file"):
        survey(tmp_path, model, SIZE)
    with pytest.raises(ValueError, match="no photos to look into"):
        survey_of([], model, SIZE)
    with pytest.raises(ValueError, match="takes too much memory"):
        survey_of([photo(0)], tiny_model(lda="whole"), 1216)
    one = look_into(load_image(photo(0)), "a", model, SIZE)
    other = look_into(load_image(photo(0)), "a", model, 2 * SIZE)
    with pytest.raises(ValueError, match="cannot be joined"):
        joined([one, other])
    with pytest.raises(ValueError, match="tokens of stage 1 were not kept"):
        one.nearest(np.zeros(4), 1)


def test_a_model_without_position_bias_has_no_heads_to_compare(tiny_model: Any) -> None:
    found = survey_of([photo(0)], tiny_model(position_bias="none"), SIZE)
    assert not found.offsets
    assert "sv-host" in found.page()


def test_the_page_says_how_many_photos_the_limit_left_out(found: Survey, folder: Path, model: Any) -> None:
    few = survey(folder, model, SIZE, limit=3)
    assert "3 of 15 files used; 10 left out by the limit." in few.page().replace("\u00a0", " ")
    assert "left out by the limit" not in found.page().replace("\u00a0", " ")
