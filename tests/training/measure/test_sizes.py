"""Accuracy at other sizes: which rows are measured, what decides them, and resuming a stopped run."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cfviz.cli import main
from cfviz.data.images import load_image, prepare
from cfviz.framing import size_code
from cfviz.hooks import edit
from cfviz.models.crossformer import CrossFormer
from cfviz.models.factory import create_model
from cfviz.models.probes.position_bias import edits
from cfviz.models.weights.checkpoints import write_checkpoint
from cfviz.options import BIAS_METHODS, WINDOWS
from cfviz.stats import pack_hits, unpack_hits
from cfviz.training.data import EvalSet, KeptEvalSet, PhotoFolder
from cfviz.training.measure import evaluation, sizes

IDS = ["n01440764", "n03028079", "n02102040"]
NAME = "crossformer_nano"


@pytest.fixture
def model() -> CrossFormer:
    """A small model whose position bias is large enough to matter."""
    torch.manual_seed(0)
    small = CrossFormer(
        num_classes=3, embed_dim=32, depths=(2, 1, 1, 1), num_heads=(1, 2, 4, 8), group_size=2
    )
    with torch.no_grad():
        for name, parameter in small.named_parameters():
            if ".attn." in name or name.startswith("head"):
                parameter.mul_(20)
    return small.eval()


def measured(model: CrossFormer, sha256: str | None = "a") -> sizes.MeasuredModel:
    return sizes.MeasuredModel("", model, IDS, sha256)


def test_windows_scale_with_the_size() -> None:
    assert sizes.windows(448, 7) == {
        "fixed": (7, None, "regions"),
        "adaptive": (7, "adaptive", "regions"),
        "scaled": (14, None, "regions"),
        "whole": (7, None, "whole"),
    }
    assert sizes.windows(160, 7)["scaled"][0] == sizes.windows((160, 640), 7)["scaled"][0] == 5
    assert evaluation.spread(np.zeros(3, dtype=int), 9).tolist() == [0, 1, 2]


def test_sizes_and_names_are_checked() -> None:
    assert sizes.parse_sizes("32,448") == [32, 448]
    assert sizes.parse_sizes("192x640,96x96") == [(192, 640), 96]
    assert sizes.parse_names("scaled,fixed", WINDOWS, "windows") == ("scaled", "fixed")
    assert sizes.parse_sizes("96,192x640,96x96,96") == [96, (192, 640)]
    assert sizes.parse_names("fixed,scaled,fixed", WINDOWS, "windows") == ("fixed", "scaled")
    assert sizes.parse_names(None, WINDOWS, "windows") == WINDOWS
    for wrong in ("100", "", "192x", "192x640x3", "x", "32x100", "0x32", "\u00b2"):
        with pytest.raises(ValueError, match=r"multiples of 32|is not a size like"):
            sizes.parse_sizes(wrong)
    with pytest.raises(ValueError, match="got windows wide, expected some of fixed"):
        sizes.parse_names("fixed,wide", WINDOWS, "windows")


@pytest.mark.parametrize("n", [1, 7, 8, 9, 100])
def test_hits_survive_packing(n: int) -> None:
    hits = np.random.default_rng(n).random(n) < 0.5
    assert (unpack_hits(pack_hits(hits), n) == hits).all()


def test_methods_that_cannot_differ_are_measured_once() -> None:
    model = create_model(NAME, weights=None, num_classes=3)
    keys = {
        (setting["window"], setting["size"], setting["bias"]): key
        for _, setting, key in sizes.plan([measured(model)], [160, 224, 256], WINDOWS, BIAS_METHODS)
    }
    assert len(keys) == 4 * 3 * 6
    at_224 = {keys[window, 224, method] for window in WINDOWS for method in BIAS_METHODS}
    assert len(at_224) == 2  # with a bias, without
    larger = {method: keys["fixed", 256, method] for method in BIAS_METHODS}
    assert len(set(larger.values())) == 2  # G stays 7, so nothing has to be resized
    assert len({keys["scaled", 256, method] for method in BIAS_METHODS}) == 6
    assert keys["scaled", 160, "own"] == keys["scaled", 160, "cut"] != keys["scaled", 160, "bicubic"]


@pytest.mark.parametrize("G", [1, 2, 3, 4])
def test_methods_measured_once_really_agree(model: CrossFormer, G: int) -> None:
    """The model is made for G = 3 here; merged methods must agree to rounding."""
    model.set_grouping(3, (8, 4, 2, 1))
    whole, x = measured(model), torch.randn(1, 3, 96, 96)
    sides = {g.G for stage in _groups(model, G, 96) for g in stage}
    out: dict[str, torch.Tensor] = {}
    for method in BIAS_METHODS:
        with torch.no_grad(), edit(model, edits(model, method, (3,) * 4)):
            model.set_grouping(G)
            out[method] = model(x)
            model.set_grouping(3)
    for one in BIAS_METHODS:
        for other in BIAS_METHODS:
            if whole.simplest(one, sides) == whole.simplest(other, sides):
                torch.testing.assert_close(out[one], out[other], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(out["own"], out["none"], rtol=1e-4, atol=1e-4) or sides == {1}


def _groups(model: CrossFormer, G: int, size: int) -> Any:
    model.set_grouping(G)
    groups = model.groupings(size, size)
    model.set_grouping(3)
    return groups


@pytest.mark.slow
def test_a_stopped_run_resumes(model: CrossFormer, photos: Path) -> None:
    folder, kept = PhotoFolder(photos), []
    run = {"sizes": [64], "limit": 3, "batch_size": 4}
    whole = sizes.measure([measured(model)], folder, **run, keep=lambda result, *_: kept.append(result))
    assert [len(result["rows"]) for result in kept] == list(range(1, 25))
    for row in whole["rows"]:
        assert row["n"] == 6
        assert unpack_hits(row["hits"], 6).sum() == row["correct"]

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()  # saved rows must not be measured again
    again = sizes.measure([measured(model)], folder, **run, earlier=kept[-1])
    assert again["rows"] == whole["rows"]
    part = sizes.measure([measured(model)], folder, **run, earlier=kept[4])
    assert part["rows"][:5] == whole["rows"][:5]
    with pytest.raises(ValueError, match="results of other weights"):
        sizes.measure([measured(model, "b")], folder, **run, earlier=kept[4])
    with pytest.raises(ValueError, match="results of other data"):
        sizes.measure([measured(model)], folder, **{**run, "limit": 2}, earlier=kept[4])
    assert model.group_size == (2, 2, 2, 2)


@pytest.mark.slow
def test_a_run_stopped_within_a_row_loses_little(
    model: CrossFormer, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row in progress is saved every few photos; only the rest of it is measured after a restart."""
    monkeypatch.setattr(sizes, "STEP", 4)
    run = {"sizes": [64], "limit": 5, "batch_size": 2, "window_names": ("fixed",), "methods": ("own", "none")}
    whole = sizes.measure([measured(model)], PhotoFolder(photos), **run)

    saved: list[dict[str, Any]] = []

    def save(result: dict[str, Any]) -> None:
        saved.append(result)
        if len(saved) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sizes.measure([measured(model)], PhotoFolder(photos), **run, save=save)
    assert model.group_size == (2, 2, 2, 2)
    assert [result["unfinished"]["n"] for result in saved] == [4, 8, 4]
    assert [len(result["rows"]) for result in saved] == [0, 0, 1]
    asked: list[range] = []
    predict = evaluation.predict

    def noted(*args: Any, some: range, **more: Any) -> Any:
        asked.append(some)
        return predict(*args, some=some, **more)

    monkeypatch.setattr(evaluation, "predict", noted)
    again = sizes.measure([measured(model)], PhotoFolder(photos), **run, earlier=saved[-1])
    assert asked == [range(4, 8), range(8, 10)]
    assert again["rows"] == whole["rows"]
    assert "unfinished" not in again
    asked.clear()
    saved[-1]["unfinished"]["commit"] = "of other code"
    sizes.measure([measured(model)], PhotoFolder(photos), **run, earlier=saved[-1])
    assert asked == [range(0, 4), range(4, 8), range(8, 10)]


def test_a_photo_that_can_no_longer_be_read_ends_the_measurement(
    model: CrossFormer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hits of all later photos moved up by one, so that rows compared different photos."""
    mine = tmp_path / "photos"
    shutil.copytree(photos, mine)
    folder = PhotoFolder(mine)
    monkeypatch.setattr(sizes, "STEP", 4)
    real = sizes.readable

    def then_gone(*args: Any) -> np.ndarray:
        found = real(*args)
        (mine / folder.names[5]).unlink()
        return found

    monkeypatch.setattr(sizes, "readable", then_gone)
    with pytest.raises(ValueError, match=f"{Path(folder.names[5]).name} could be read when this began"):
        sizes.measure(
            [measured(model)], folder, [64], window_names=("fixed",), methods=("own",), batch_size=2
        )


def test_resized_photos_are_kept_and_equal_to_the_bit(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, chosen = PhotoFolder(photos), np.asarray([1, 13, 7])
    for size in (64, (64, 160)):
        plain, kept = EvalSet(folder, size, chosen), KeptEvalSet(folder, size, chosen, tmp_path / "new")
        plain_first = plain[0][0]
        for items in (kept, KeptEvalSet(folder, size, chosen, tmp_path / "new")):
            for k in (2, 0, 1, 0):
                assert torch.equal(items[k][0], plain[k][0])
                assert items[k][1] == plain[k][1]
        again = KeptEvalSet(folder, size, chosen, tmp_path / "new")
        assert again.kept[:, -1].all()
        monkeypatch.setattr(PhotoFolder, "__getitem__", None)  # no photo is read again
        assert torch.equal(again[0][0], plain_first)
        monkeypatch.undo()
    with pytest.raises(ValueError, match="would need 0 MB; make room, or name another folder"):
        KeptEvalSet(folder, 64, chosen, photos / folder.names[0] / "inside-a-file")


def test_resized_photos_are_never_those_of_another_folder_or_of_before(tmp_path: Path) -> None:
    """Uncompressed files of one size in pixels have one size in bytes, whatever they show."""

    def folder(name: str, colour: str) -> PhotoFolder:
        (tmp_path / name / "a").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), colour).save(tmp_path / name / "a" / "1.bmp")
        return PhotoFolder(tmp_path / name)

    def first(photos: PhotoFolder) -> torch.Tensor:
        x: torch.Tensor = KeptEvalSet(photos, 32, np.asarray([0]), tmp_path / "kept")[0][0]
        return x

    white, black = first(folder("one", "white")), first(folder("other", "black"))
    assert white.min() > black.max()
    os.utime(folder("one", "black").root / "a" / "1.bmp", ns=(1, 1))  # changed in place
    assert torch.equal(first(PhotoFolder(tmp_path / "one")), black)


@pytest.mark.slow
def test_rectangles_are_covered_and_cropped(model: CrossFormer, photos: Path, tmp_path: Path) -> None:
    """A rectangle's rows are measured on photos that were resized to cover it, as `prepare` does."""
    folder = PhotoFolder(photos)
    x, _ = EvalSet(folder, (64, 160))[0]
    assert torch.equal(x, prepare(load_image(photos / folder.names[0]), (64, 160)).tensor)
    run = {"limit": 1, "methods": ("own",), "batch_size": 2}
    found = sizes.measure([measured(model)], folder, [(64, 160), 64], **run, resized=tmp_path)
    assert {size_code(row["size"]) for row in found["rows"]} == {"64", "64x160"}
    assert json.loads(json.dumps(found["rows"])) == found["rows"]
    saved = json.loads(json.dumps(found))
    again = sizes.measure([measured(model)], folder, [(64, 160)], **run, earlier=saved)
    assert again["rows"] == found["rows"][:4]


@pytest.mark.slow
def test_lda_over_the_whole_map_is_a_computation_of_its_own(model: CrossFormer) -> None:
    """Measured once with the others only where its groups are the same; the model gets its own LDA back."""
    plan = list(sizes.plan([measured(model)], [96, (64, 160)], WINDOWS, ("own",)))
    keys = {(setting["window"], size_code(setting["size"])): key for _, setting, key in plan}
    assert [setting["lda"] for _, setting, _ in plan[:4]] == ["regions", "regions", "regions", "whole"]
    assert keys["whole", "96"] != keys["fixed", "96"]  # 24 x 24 tokens: groups of 2 x 2, or of 3 x 3
    assert ("lda", 2, 5, 8) in keys["whole", "64x160"][3]
    assert model.lda == "regions"
    nano = create_model(NAME, weights=None, num_classes=3)
    assert len({key for _, _, key in sizes.plan([measured(nano)], [224], WINDOWS, ("own",))}) == 1
    out = {}
    for _, setting, _ in plan[4:]:
        with measured(model).grouped(setting), torch.no_grad():
            out[setting["window"]] = model(torch.ones(1, 3, 64, 160).cumsum(3) / 100)
    assert not torch.allclose(out["whole"], out["fixed"])


def test_rows_of_earlier_sizes_stay_in_the_file(model: CrossFormer, photos: Path) -> None:
    folder, kept = PhotoFolder(photos), []
    run = {"limit": 1, "window_names": ("fixed",), "methods": ("own", "none")}
    first = sizes.measure([measured(model)], folder, [64], **run)
    sizes.measure([measured(model)], folder, [32], **run, earlier=first, keep=lambda r, *_: kept.append(r))
    assert sorted({row["size"] for row in kept[-1]["rows"]}) == [32, 64]


def test_each_row_keeps_the_commit_that_measured_it(
    model: CrossFormer, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older files have one commit for all rows; a run that goes on with one used to claim those rows."""
    folder = PhotoFolder(photos)
    run = {"limit": 1, "window_names": ("fixed",), "methods": ("own",)}
    monkeypatch.setattr(sizes, "commit", lambda: "old")
    first = sizes.measure([measured(model)], folder, [64], **run)
    for row in first["rows"]:
        assert row.pop("commit") == "old"
    monkeypatch.setattr(sizes, "commit", lambda: "new")
    both = sizes.measure([measured(model)], folder, [32, 64], **run, earlier=first)
    assert {row["size"]: row["commit"] for row in both["rows"]} == {32: "new", 64: "old"}
    # A window that comes to the same computation is not measured anew, and says who measured it.
    run["window_names"] = ("fixed", "scaled")
    same = sizes.measure([measured(model)], folder, [224], **{**run, "window_names": ("fixed",)})
    monkeypatch.setattr(sizes, "commit", lambda: "newest")
    again = sizes.measure([measured(model)], folder, [224], **run, earlier=same)
    assert {row["window"]: row["commit"] for row in again["rows"]} == {"fixed": "new", "scaled": "new"}


def test_different_groups_per_stage_are_refused() -> None:
    model = CrossFormer(3, embed_dim=32, depths=(1,) * 4, num_heads=(1, 2, 4, 8), group_size=(4, 4, 14, 7))
    with pytest.raises(ValueError, match="expected one G for all stages"):
        measured(model)


@pytest.mark.slow
def test_the_command_measures_a_model_and_its_twin(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both kinds of weights are in one file; a second run has nothing left to do and prints the same."""
    out = tmp_path / "sizes.json"
    for kind in ("dpb", "rpb"):
        state = create_model(NAME, weights=None, num_classes=20, position_bias=kind).state_dict()
        facts = {"dataset": "imagenette20", "group_size": [7] * 4}
        write_checkpoint(tmp_path / f"{kind}.safetensors", state, **facts)
    files = [str(tmp_path / f"{kind}.safetensors") for kind in ("dpb", "rpb")]
    command = ["sizes", "--data", str(photos), "--weights", files[0], "--twin", files[1]]
    command += ["--sizes", "32,64", "--windows", "scaled", "--limit", "1", "--cpu"]
    assert main([*command, "--json", str(out)]) == 0
    first, result = capsys.readouterr(), json.loads(out.read_text())
    settings = {tuple(row[name] for name in sizes.ROW_KEY) for row in result["rows"]}
    assert len(settings) == len(result["rows"]) == 2 * (6 + 4)
    assert set(result["weights"]) == {"dpb", "rpb"}
    assert len(result["trained_group"]) == len(result["depths"]) == 4
    assert str(tmp_path) not in out.read_text()
    assert "20/20" in first.err
    assert main([*command, "--json", str(out)]) == 0
    assert capsys.readouterr().out == first.out
    command[6] = command[4]
    assert main(command) == 2
    assert "expected a --twin with another kind" in capsys.readouterr().err
