"""Real-life folders: one decoder for all readers, and every file accounted for."""

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageCms

from cfviz import jobs
from cfviz.cli import main
from cfviz.data.decode import load_image
from cfviz.data.left_out import told
from cfviz.training import cache, check, data
from cfviz.training.data import EvalSet, PhotoFolder, TrainSet
from cfviz.training.engine import Trainer
from cfviz.training.folder import account, identity
from cfviz.training.recipe import Recipe, from_dict
from cfviz.training.ship import card, export
from tests.processes.warm import Warm

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
CLASS = "n01440764_tench"


def picture(width: int = 60, height: int = 40) -> Image.Image:
    """A noisy picture whose corners differ."""
    y, x = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(0).integers(0, 40, (height, width))
    pixels = np.stack([200 * x / width + noise, 200 * y / height, noise + 0 * x], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One class with one good photo."""
    root = tmp_path / "photos"
    (root / CLASS).mkdir(parents=True)
    picture().save(root / CLASS / "good.png")
    return root


# ---------------------------------------------------------------- one decoder


def rotated(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture().save(path, exif=exif, quality=95)


def sixteen_bit(path: Path) -> None:
    Image.fromarray(np.linspace(0, 65535, 60 * 40).reshape(40, 60).astype(np.uint16)).save(path)


def transparent(path: Path) -> None:
    image = picture().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(path)


def with_profile(path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace(b"s\0R\0G\0B", b"x\0R\0G\0B").replace(b"sRGB", b"xRGB")
    at = profile.index(b"para", 132)
    picture().save(path, icc_profile=profile[: at + 12] + (1 << 16).to_bytes(4, "big") + profile[at + 16 :])


@pytest.mark.parametrize(
    ("make", "ending"),
    [(rotated, "jpg"), (sixteen_bit, "png"), (transparent, "png"), (with_profile, "png")],
)
def test_all_readers_of_photos_see_the_same_pixels(
    make: Callable[[Path], None], ending: str, folder: Path, tmp_path: Path, recipe: Recipe
) -> None:
    path = folder / CLASS / f"a.{ending}"
    make(path)
    pixels = np.asarray(load_image(path).image)
    assert not np.array_equal(
        pixels, np.asarray(Image.open(path).convert("RGB"))
    )  # the decoding does make a difference
    photos, built = PhotoFolder(folder), cache.build(folder, tmp_path / "cache", 1000, workers=1)
    for source in (photos, built):
        assert np.array_equal(source[0], pixels)
    light = replace(recipe, transform="light")
    for one in (EvalSet(photos, 32), EvalSet(built, 32)):
        assert torch.equal(one[0][0], data.eval_transform(32)(Image.fromarray(pixels)))
    data.seed_all(light.seed, 1, 0)
    expected, _ = data.light_transform(32, light)(Image.fromarray(pixels))
    assert torch.equal(TrainSet(photos, 32, light, epoch=1)[0][0], expected)


# ---------------------------------------------------------------- every file


@pytest.fixture
def messy(folder: Path) -> Path:
    """A folder with all that collects in real ones; eleven of its photos are usable."""
    inside = folder / CLASS
    (inside / "more" / "deep").mkdir(parents=True)
    picture().save(inside / "more" / "deep" / "one.png")
    for ending, form in {
        "gif": "GIF", "tif": "TIFF", "avif": "AVIF", "jfif": "JPEG", "webp": "WEBP", "bmp": "BMP",
    }.items():  # fmt: skip
        picture().save(inside / f"x.{ending}", form)
    picture().save(inside / "no-ending", "PNG")
    (inside / "folder.jpg").mkdir()
    picture().save(inside / "folder.jpg" / "in it.png")
    os.symlink(inside / "good.png", inside / "link.png")
    (folder / ".ipynb_checkpoints").mkdir()
    picture().save(folder / ".ipynb_checkpoints" / "a.png")
    (folder / "labels.csv").write_text("a,b")
    (inside / "._good.png").write_bytes(b"\0\5\x16\7")
    (inside / "empty.jpg").touch()
    (inside / "notes.txt").write_text("which is which")
    os.symlink("nowhere", inside / "broken.jpg")
    os.symlink(folder, inside / "round")
    os.mkfifo(inside / "pipe.jpg")
    whole = inside / "cut.jpg"
    picture(300, 200).save(whole)
    whole.write_bytes(whole.read_bytes()[:2000])
    return folder


SKIPPED = {
    ".ipynb_checkpoints": "hidden folder",
    "labels.csv": "not in a class folder",
    f"{CLASS}/._good.png": "hidden file",
    f"{CLASS}/empty.jpg": "an empty file",
    f"{CLASS}/notes.txt": "The file contains text, not a picture.",
    f"{CLASS}/broken.jpg": "a link that leads nowhere",
    f"{CLASS}/round": "a link to a folder that it lies in",
    f"{CLASS}/pipe.jpg": "neither a file nor a folder",
}
CUT = f"{CLASS}/cut.jpg"


@pytest.mark.timeout(60)
def test_every_file_is_accounted_for(messy: Path) -> None:
    photos = PhotoFolder(messy)
    assert photos.classes == [CLASS]
    assert photos.skipped == SKIPPED
    assert len(photos) == 12
    assert len(photos) + len(SKIPPED) == 20  # a link to the folder itself adds nothing
    fine = data.readable(EvalSet(photos, 32, np.arange(12)), 0)
    bad = np.flatnonzero(~fine)
    assert [photos.names[i] for i in bad] == [CUT]
    files = account(photos, range(12), bad)
    assert (files["files"], files["used"], files["not_chosen"], len(files["skipped"])) == (20, 11, 0, 9)
    assert "ends before the picture is complete" in files["skipped"][CUT]
    assert told(files).startswith("11 of 20 files used, 9 skipped:\n")
    assert f"  {CUT}: The file ends" in told(files)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_messy_folder_can_be_evaluated(workers: str, messy: Path, tmp_path: Path, warm: Warm) -> None:
    """It used to stop at the truncated photo without naming it, and never ended with reader processes."""
    words = ["evaluate", "--data", str(messy), "--size", "32", "--cpu", "--workers", workers]
    command = ["-m", "cfviz", *words, "--json", str(tmp_path / "result.json")]
    done = warm.run(command, env=ENVIRONMENT, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "11 of 20 files used, 9 skipped:" in done.stdout
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["photos"] == result["top1"]["n"] == result["files"]["used"] == 11
    assert set(result["files"]["skipped"]) == {*SKIPPED, CUT}


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_study_counts_the_photos_it_measured(
    messy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lines.jsonl").write_text('{"part": "bias"}\n')
    words = ["study", "--data", str(messy), "--interventions", str(tmp_path / "lines.jsonl"), "--size", "32"]
    assert main([*words, "--cpu", "--out", str(tmp_path / "out")]) == 0
    assert "1 changes; 11 of 20 files used, 9 skipped" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_sizes_are_measured_on_the_readable_photos(
    messy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sizes", "--data", str(messy), "--sizes", "32,64", "--windows", "fixed", "--ways", "own"]
    assert main([*words, "--cpu", "--json", str(tmp_path / "sizes.json")]) == 0
    found = json.loads((tmp_path / "sizes.json").read_text())
    assert found["photos"] == found["files"]["used"] == 11
    assert {row["n"] for row in found["rows"]} == {11}
    assert "11 of 20 files used" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["evaluate", "sizes"])
def test_a_target_is_checked_before_the_work(
    command: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [command, "--data", str(folder), "--cpu", "--json"]
    assert main([*words, str(tmp_path / "none" / "result.json")]) == 2
    said = capsys.readouterr()
    assert f"there is no folder {tmp_path / 'none'}; make it first" in said.err
    assert not said.out
    assert main([*words, str(tmp_path)]) == 2
    assert "is a folder, expected the name of a file" in capsys.readouterr().err


@pytest.mark.slow
def test_a_table_is_printed_even_if_its_file_cannot_be_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, content: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cfviz.training.cli.write", full)
    words = ["evaluate", "--data", str(folder), "--size", "32", "--cpu"]
    assert main([*words, "--json", str(tmp_path / "result.json")]) == 2
    said = capsys.readouterr()
    assert "top-1" in said.out
    assert "No space left" in said.err


def test_other_commands_check_their_targets_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "none" / "x")
    assert main(["report", "none.jpg", "--out", f"{out}.html"]) == 2
    assert "make it first" in capsys.readouterr().err
    assert main(["convert", "crossformer_nano", f"{out}.safetensors"]) == 2
    assert "make it first" in capsys.readouterr().err


@pytest.mark.slow
def test_folders_without_a_usable_photo_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="there is no folder"):
        PhotoFolder(tmp_path / "none")
    (folder / CLASS / "good.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert main(["evaluate", "--data", str(folder), "--size", "32", "--cpu"]) == 2
    assert f"none of the photos can be read; {CLASS}/good.png: The file ends" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"none of the photos in .* can be used; .*good.png: The file ends"):
        cache.build(folder, tmp_path / "cache", workers=1)
    assert not list(tmp_path.glob("cache*"))


@pytest.mark.slow
def test_file_names_need_not_be_utf8(folder: Path, tmp_path: Path) -> None:
    inside = os.fsencode(folder / CLASS)
    os.rename(inside + b"/good.png", inside + b"/caf\xe9.png")
    with open(inside + b"/na\xefve.jpg", "wb") as file:
        file.write(b"no photo")
    os.mkdir(os.fsencode(folder) + b"/n03028079_\xe9glise")
    picture().save(folder / os.fsdecode(b"n03028079_\xe9glise") / "a.png")
    photos = PhotoFolder(folder)
    assert photos.classes == [CLASS, r"n03028079_\xe9glise"]
    assert cache.held_out(photos.names, 0.5).shape == (3,)
    built = cache.build(folder, tmp_path / "cache", workers=1)
    assert len(built) == 2
    assert built.names == [photos.names[0], photos.names[2]]
    assert cache.build(folder, tmp_path / "cache").names == built.names
    out = tmp_path / "result.json"
    assert main(["evaluate", "--data", str(folder), "--size", "32", "--cpu", "--json", str(out)]) == 0
    assert rf"{CLASS}/na\xefve.jpg" in json.loads(out.read_text())["files"]["skipped"]
    (tmp_path / "lines.jsonl").write_text('{"part": "bias"}\n')
    words = ["study", "--data", str(folder), "--interventions", str(tmp_path / "lines.jsonl"), "--size", "32"]
    assert main([*words, "--cpu", "--out", str(tmp_path / "out")]) == 0


@pytest.mark.slow
def test_jobs_and_reports_accept_names_that_are_not_utf8(folder: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    jobs.write(tmp_path / "job.json", {"command": [name]})
    assert json.loads((tmp_path / "job.json").read_text(encoding="utf-8")) == {"command": [name]}
    (folder / CLASS / "good.png").rename(tmp_path / name)
    out = tmp_path / "report.html"
    assert main(["report", str(tmp_path / name), "--out", str(out), "--size", "64", "--no-parts"]) == 0
    assert r"caf\xe9.png" in out.read_text(encoding="utf-8")


@pytest.mark.slow
def test_files_of_other_results_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sizes.json").write_text("{")
    words = ["sizes", "--data", str(folder), "--sizes", "32", "--cpu"]
    assert main([*words, "--json", str(tmp_path / "sizes.json")]) == 2
    assert "sizes.json holds no results of `sizes`; name another file" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "study.json").write_text("[]")
    (tmp_path / "lines.jsonl").write_text('{"part": "bias"}\n')
    words = ["study", "--data", str(folder), "--interventions", str(tmp_path / "lines.jsonl"), "--size", "32"]
    assert main([*words, "--cpu", "--out", str(tmp_path / "out")]) == 2
    assert "study.json is not the record of a study" in capsys.readouterr().err


# ---------------------------------------------------------------- reader processes


FAILING = """
from cfviz.training.data import loader

class Failing:
    def __len__(self):
        return 8

    def __getitem__(self, i):
        raise RuntimeError("as if a disk had failed")

for _ in loader(Failing(), 2, batch_size=1):
    pass
"""


@pytest.mark.slow
def test_an_error_in_a_reader_process_ends_the_program(warm: Warm) -> None:
    """Reader processes used to ignore the signal to stop, and the program waited for ever."""
    done = warm.run(["-c", FAILING], env=ENVIRONMENT, timeout=60)
    assert done.returncode == 1
    assert "as if a disk had failed" in done.stderr


@pytest.mark.slow
def test_training_finishes_its_step_after_a_signal_to_the_whole_group(
    settings: dict, tmp_path: Path, warm: Warm
) -> None:
    phases = [{"size": 32, "group_size": 2, "interval": "adaptive", "epochs": 10_000}]
    config = tmp_path / "toy.yaml"
    config.write_text(yaml.safe_dump({**settings, "workers": 1, "phases": phases}))
    words = ["train", "--config", str(config), "--out", str(tmp_path / "run"), "--cpu", "--threads", "1"]
    process = warm.popen(["-m", "cfviz", *words], env=ENVIRONMENT, start_new_session=True)
    until = time.monotonic() + 60
    while not (tmp_path / "run" / "last.pt").exists() and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(60) == 0, process.stderr
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["step"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("kept_as", [None, "{run}/photos"])
def test_training_knows_before_its_first_step_which_photos_it_can_use(
    kept_as: str | None,
    settings: dict,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Cut photos and texts named .jpg used to count as used, in the line that was printed and in the card."""
    root, run = tmp_path / "photos", tmp_path / "run"
    shutil.copytree(settings["data"], root)
    (root / CLASS / "cut.png").write_bytes((root / CLASS / "05.png").read_bytes()[:500])
    (root / CLASS / "text.jpg").write_text("which is which")
    (root / CLASS / "empty.jpg").touch()
    recipe = from_dict({**settings, "data": str(root), "cache": kept_as})
    trainer = Trainer(recipe, run, cpu=True)
    files = json.loads((run / "files.json").read_text(encoding="utf-8"))
    wanted = {"cut.png": "The file ends", "text.jpg": "The file contains text", "empty.jpg": "an empty file"}
    assert (files["files"], files["used"], files["not_chosen"]) == (27, 24, 0)
    assert files["trained_on"] + files["held_out"] == 24
    for name, reason in wanted.items():
        assert files["skipped"].pop(f"{CLASS}/{name}").startswith(reason)
    assert not files["skipped"]
    assert len(trainer.train_indices) == files["trained_on"]
    assert len(trainer.held_indices) == files["held_out"]
    names = {trainer.photos.names[i] for i in (*trainer.train_indices, *trainer.held_indices)}
    assert not names & {f"{CLASS}/{name}" for name in wanted}
    assert "24 of 27 files used, 3 skipped:" in capsys.readouterr().out
    trainer.fit()
    said = capsys.readouterr().out
    assert re.search(r"finished: 2 epochs, \d+ steps; 24 of 27 files used, 3 skipped:", said)
    assert "takes its place" not in said
    facts = card.read(export.export(run, tmp_path / "out.safetensors"))
    assert (facts["files"]["used"], facts["files"]["trained_on"]) == (24, files["trained_on"])
    assert facts["files"]["skipped"]["an empty file"] == 1
    text = (tmp_path / "out.md").read_text(encoding="utf-8")
    assert "- Files: 24 of 27 used (" in text
    assert "3 skipped:\n  - 1: an empty file\n" in text
    assert "cut.png" not in text
    monkeypatch.setattr(check, "readable", None)  # a run that resumes does not look again
    assert len(Trainer(recipe, run, cpu=True).train_indices) == files["trained_on"]


@pytest.mark.slow
def test_a_photo_lost_during_training_is_replaced(
    settings: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "photos"
    shutil.copytree(settings["data"], root)
    names = PhotoFolder(root).names
    kept = cache.held_out(names, settings["hold_out"])
    bad = int(np.flatnonzero(~kept)[0])
    recipe = from_dict({**settings, "data": str(root)})
    trainer = Trainer(recipe, tmp_path / "run", cpu=True)
    (root / names[bad]).write_bytes((root / names[bad]).read_bytes()[:500])
    photos = PhotoFolder(root)
    trained = np.flatnonzero(~kept)
    epoch = TrainSet(photos, 32, recipe, 1, indices=trained)
    used, asked = epoch[bad][2:]
    assert asked == bad
    assert used == trained[1]  # not a held-out photo
    trainer.fit()
    said = capsys.readouterr().out
    assert (
        said.count(f"{names[bad]} can no longer be read; another photo takes its place: The file ends") == 1
    )
    assert "1 of the used could not be read at some point" in said
    assert trainer.epoch == 2


class Full:
    """A file on a disk with room for so many bytes."""

    def __init__(self, room: int):
        self.room, self.written = room, 0

    def write(self, data: memoryview) -> int:
        if self.written == self.room:
            raise OSError(28, "No space left on device")
        count = min(len(data), self.room - self.written)
        self.written += count
        return count

    def tell(self) -> int:
        return self.written


def test_a_cache_on_a_full_disk_says_how_much_it_needs(tmp_path: Path) -> None:
    """It used to say "[Errno 28] No space left on device", of no file."""
    photo = np.zeros((1024, 1024, 3), np.uint8)
    with pytest.raises(
        ValueError, match=r"photos.bin could not be written \(No space left on device\)"
    ) as error:
        cache._append(Full(2**20), photo, tmp_path / "photos.bin", 10)
    assert "it would need about 30 MB; make room, name another place with --set cache=PATH" in str(
        error.value
    )
    file = Full(2**22)
    cache._append(file, photo, tmp_path / "photos.bin", 10)
    assert file.written == photo.size


def test_a_state_on_a_full_disk_keeps_the_one_before(
    settings: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It used to end in "[enforce fail at inline_container.cc:672] . unexpected pos"."""
    trainer = Trainer(from_dict(settings), tmp_path, cpu=True)
    trainer.save()
    before = (tmp_path / "last.pt").read_bytes()

    def full(content: object, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(
        ValueError, match=r"last.pt could not be written \(is the disk full\?\); the state saved"
    ):
        trainer.save()
    assert (tmp_path / "last.pt").read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


def test_a_flat_folder_takes_every_photo_below_it(messy: Path) -> None:
    by_class, flat = PhotoFolder(messy), PhotoFolder(messy, flat=True)
    assert set(by_class.names) <= set(flat.names)
    assert (flat.classes, flat.labels.any()) == ([], False)
    assert "not in a class folder" not in flat.skipped.values()
    assert set(flat.skipped) | set(flat.names) == set(by_class.skipped) | set(by_class.names)


def test_a_folder_of_train_and_val_is_not_taken_for_two_classes(folder: Path, tmp_path: Path) -> None:
    """It used to be trained on: two classes, train and val."""
    shutil.copytree(folder, tmp_path / "mine" / "train")
    shutil.copytree(folder, tmp_path / "mine" / "val")
    with pytest.raises(
        ValueError, match=r"mine holds train and val, which hold folders themselves; name one of"
    ):
        PhotoFolder(tmp_path / "mine")
    picture().save(tmp_path / "mine" / "train" / "a.png")
    assert PhotoFolder(tmp_path / "mine").classes == ["train", "val"], "a photo in it: it may be a class"


@pytest.mark.parametrize("content", [None, b"\x89PNG\r\n\x1a\n"])
def test_a_class_without_a_photo_is_refused(content: bytes | None, settings: dict, tmp_path: Path) -> None:
    """An empty folder used to become a class that the model never saw."""
    root = tmp_path / "photos"
    shutil.copytree(settings["data"], root)
    (root / "zebra").mkdir()
    if content is not None:
        (root / "zebra" / "a.png").write_bytes(content)
    given = from_dict({**settings, "data": str(root), "num_classes": None})
    with pytest.raises(ValueError, match="no photo can be used in the class folder zebra; put photos there"):
        Trainer(given, tmp_path / "run", cpu=True)
    picture().save(root / "zebra" / "a.png")
    whole = Trainer(
        from_dict({**settings, "data": str(root), "num_classes": None}), tmp_path / "run", cpu=True
    )
    assert whole.recipe.num_classes == whole.bare.num_classes == 3


def test_a_file_whose_size_says_nothing_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    """A study that goes on would mix results of a photo with those of another of the same name and size."""
    file = tmp_path / "a" / "1.bmp"
    file.parent.mkdir()
    found = []
    for colour in ("white", "black", "white"):
        Image.new("RGB", (8, 8), colour).save(file)
        photos = PhotoFolder(tmp_path)
        found.append((identity(photos), identity(photos, contents=True)))
    assert len({size for size, _ in found}) == 1
    assert found[0] == found[2]
    assert found[0] != found[1]
    Image.new("RGB", (8, 8)).save(file.with_suffix(".png"))
    file.unlink()
    photos = PhotoFolder(tmp_path)
    assert identity(photos) == identity(photos, contents=True), "compressed files are not read"
