"""Order, augmentation and cache: nothing depends on which process loads what or where a run was stopped."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cfviz.data.images import load_image, prepare
from cfviz.training import cache, data
from cfviz.training.data import EpochBatches, EvalSet, PhotoFolder, TrainSet, share_of
from cfviz.training.recipe import Recipe


def test_a_cache_holds_the_files_pixels(photos: Path, tmp_path: Path) -> None:
    built = cache.build(photos, tmp_path / "toy", short_side=1000, workers=1)
    folder = PhotoFolder(photos)
    opened = cache.PhotoCache.open(tmp_path / "toy")
    assert opened.names == folder.names
    assert (opened.labels == folder.labels).all()
    for i in (0, 7, len(folder) - 1):
        assert (opened[i] == folder[i]).all()
        assert (built[i] == folder[i]).all()


def test_a_cache_reduces_only_large_photos(photos: Path, tmp_path: Path) -> None:
    built = cache.build(photos, tmp_path / "toy", short_side=44, workers=1)
    assert built[0].shape == (40, 48, 3)
    assert min(built[11].shape[:2]) == 44


def test_a_truncated_cache_is_refused(photos: Path, tmp_path: Path) -> None:
    cache.build(photos, tmp_path / "toy", workers=1)
    file = tmp_path / "toy.bin"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(ValueError, match="rebuild"):
        cache.PhotoCache.open(tmp_path / "toy")


@pytest.mark.slow
def test_a_cache_belongs_to_one_name_and_one_source(photos: Path, tmp_path: Path) -> None:
    """`data-v1.0` and `data-v1.1` used to share a file, and an existing cache was used for any folder."""
    one, other = tmp_path / "one", tmp_path / "other"
    shutil.copytree(photos, one)
    shutil.copytree(photos, other)
    next(other.rglob("03.png")).unlink()
    assert len(cache.build(one, tmp_path / "data-v1.0", workers=1)) == 24
    assert len(cache.build(other, tmp_path / "data-v1.1", workers=1)) == 23
    assert len(cache.PhotoCache.open(tmp_path / "data-v1.0")) == 24
    with pytest.raises(ValueError, match=r"data-v1\.0\.bin was built from other photos"):
        cache.build(other, tmp_path / "data-v1.0", workers=1)
    with pytest.raises(ValueError, match="or at another size"):
        cache.build(one, tmp_path / "data-v1.0", short_side=64, workers=1)
    path = next(one.rglob("05.png"))
    pixels = data.Image.open(path).transpose(data.Image.Transpose.ROTATE_180)
    pixels.save(path)
    with pytest.raises(ValueError, match="from other photos than those now in"):
        cache.build(one, tmp_path / "data-v1.0", workers=1)


def test_caches_without_a_key_or_a_readable_index_are_refused(photos: Path, tmp_path: Path) -> None:
    cache.build(photos, tmp_path / "toy", workers=1)
    index = json.loads((tmp_path / "toy.json").read_text())
    del index["key"]
    for content, reason in ((json.dumps(index), "from other photos"), ("{", "is not the index of a cache")):
        (tmp_path / "toy.json").write_text(content)
        with pytest.raises(ValueError, match=reason):
            cache.build(photos, tmp_path / "toy", workers=1)
    (tmp_path / "toy.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="by an earlier version"):
        cache.PhotoCache.open(tmp_path / "toy")
    with pytest.raises(ValueError, match="there is no cache"):
        cache.PhotoCache.open(tmp_path / "none")


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no photos"):
        PhotoFolder(tmp_path)


def test_the_held_out_slice_depends_on_names_alone() -> None:
    names = [f"n{i:05d}/photo.webp" for i in range(4000)]
    kept = cache.held_out(names, 0.05)
    assert 150 < kept.sum() < 250
    assert (cache.held_out(names[::-1], 0.05)[::-1] == kept).all()
    assert cache.held_out(names, 0.1)[kept].all()
    with pytest.raises(ValueError, match="share"):
        cache.held_out(names, 1.5)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_shares_partition_a_batch_and_keep_mixing_pairs(world: int) -> None:
    batch = np.arange(100, 112)
    parts = [share_of(batch, rank, world) for rank in range(world)]
    assert sorted(np.concatenate(parts)) == list(batch)
    partner = dict(zip(batch, batch[::-1], strict=True))
    for part in parts:
        assert [partner[i] for i in part] == list(part[::-1])


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 6"):
        share_of(np.arange(8), 0, 3)


def test_an_epoch_resumes_where_it_stopped() -> None:
    whole = list(EpochBatches(np.arange(50), 8, (3, 1)))
    assert list(EpochBatches(np.arange(50), 8, (3, 1), start=4)) == whole[4:]
    assert list(EpochBatches(np.arange(50), 8, (3, 1), limit=2)) == whole[:2]
    assert len(whole) == 6
    assert len({i for batch in whole for i in batch}) == 48
    assert list(EpochBatches(np.arange(50), 8, (3, 2))) != whole
    with pytest.raises(ValueError, match="lower the batch size"):
        EpochBatches(np.arange(5), 8, (0,))


@pytest.mark.parametrize("transform", ["timm", "light"])
def test_augmentation_depends_on_seed_epoch_and_photo_alone(
    transform: str, photos: Path, recipe: Recipe
) -> None:
    recipe = replace(recipe, transform=transform)
    folder = PhotoFolder(photos)
    first, again = (TrainSet(folder, 32, recipe, epoch=1) for _ in range(2))
    one = first[5][0]
    torch.rand(3)
    assert torch.equal(again[5][0], one)
    assert not torch.equal(TrainSet(folder, 32, recipe, epoch=2)[5][0], one)
    assert one.shape == (3, 32, 32)
    assert one.dtype == torch.float32


def test_a_light_crop_stays_inside_the_photo(photos: Path, recipe: Recipe) -> None:
    white = np.full((40, 90, 3), 255, dtype=np.uint8)
    transform = data.light_transform(32, replace(recipe, color_jitter=0.0))
    for seed in range(20):
        data.seed_all(seed)
        x, box = transform(data.Image.fromarray(white))
        assert (box >= 0).all()
        assert (box <= 1 + 1e-6).all()
        expected = torch.from_numpy((255 - data.MEAN) / data.STD)[:, None, None].expand_as(x)
        torch.testing.assert_close(x, expected)


def test_a_light_crop_reports_its_box(recipe: Recipe) -> None:
    """Red encodes the column and green the row, so the crop's colours reveal its box, mirrored or not."""
    side, size = 200, 64
    ramp = np.linspace(0, 255, side)
    photo = np.zeros((side, side, 3), dtype=np.uint8)
    photo[..., 0], photo[..., 1] = ramp, ramp[:, None]
    transform = data.light_transform(size, replace(recipe, color_jitter=0.0))
    mirrored = set()
    for seed in range(10):
        data.seed_all(seed)
        x, box = transform(data.Image.fromarray(photo))
        pixels = x.numpy() * data.STD[:, None, None] + data.MEAN[:, None, None]  # 3, size, size
        left, top, right, bottom = box.tolist()
        half = (right - left) / size / 2
        assert pixels[0, :, 0].mean() / 255 == pytest.approx(left + half, abs=0.02)
        assert pixels[0, :, -1].mean() / 255 == pytest.approx(right - half, abs=0.02)
        assert pixels[1, 0].mean() / 255 == pytest.approx(top + (bottom - top) / size / 2, abs=0.02)
        mirrored.add(left > right)
    assert mirrored == {False, True}


def test_evaluation_uses_the_centre_crop(photos: Path) -> None:
    folder = PhotoFolder(photos)
    x, label = EvalSet(folder, 64, np.asarray([13]))[0]
    assert x.shape == (3, 64, 64)
    assert label == 1
    wide, _ = EvalSet(folder, (32, 96), np.asarray([13]))[0]
    photo = load_image(folder[13])
    assert torch.equal(wide, prepare(photo, (32, 96)).tensor)  # as everywhere else
