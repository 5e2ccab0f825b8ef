"""Batches whose order and augmentation are functions of (seed, epoch, position) alone.

Nothing random survives from one photo to the next: each draws from its own seed. So a run can stop and go on
at any step, with any number of loader processes, and sees bit for bit what an undisturbed run sees.
"""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_transform
from torch.utils.data import DataLoader, Dataset

from cfviz.data.header import ImageError

from .cache import PhotoCache
from .folder import PhotoFolder
from .recipe import Recipe

MEAN = np.asarray(IMAGENET_DEFAULT_MEAN, dtype=np.float32) * 255
STD = np.asarray(IMAGENET_DEFAULT_STD, dtype=np.float32) * 255


def seed_all(*key: int, devices: bool = True) -> None:
    """Seeds Python, NumPy and torch from a few whole numbers; without ``devices``, which takes a while,
    torch only for the processor."""
    words = np.random.SeedSequence(key).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    (torch.manual_seed if devices else torch.default_generator.manual_seed)(int(words[2]))


Photos = PhotoFolder | PhotoCache


def light_transform(
    size: int, recipe: Recipe, scale: Sequence[float] | None = None
) -> Callable[[Image.Image], tuple[torch.Tensor, torch.Tensor]]:
    """A random crop resized once, a flip, and mild brightness, contrast and saturation.

    Returns:
        A function from a PIL image to (3, size, size) float32, normalised, and the crop's left, top, right
        and bottom as shares of the photo (4,); left and right are exchanged if it was mirrored. It draws
        from Python's generator.
    """
    low, high = scale or recipe.scale
    log_ratio = np.log(recipe.ratio)
    strength = recipe.color_jitter

    def transform(photo: Image.Image) -> tuple[torch.Tensor, torch.Tensor]:
        W, H = photo.size
        area, aspect = random.uniform(low, high) * W * H, np.exp(random.uniform(*log_ratio))
        w, h = min(W, np.sqrt(area * aspect)), min(H, np.sqrt(area / aspect))
        left, top = random.uniform(0, W - w), random.uniform(0, H - h)
        photo = photo.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + w, top + h))
        x = np.asarray(photo, dtype=np.float32)  # size, size, 3
        box = torch.tensor([left / W, top / H, (left + w) / W, (top + h) / H], dtype=torch.float32)
        if random.random() < 0.5:
            x, box = x[:, ::-1], box[[2, 1, 0, 3]]
        if strength:
            gain, contrast, saturation = (1 + random.uniform(-strength, strength) for _ in range(3))
            x = x * (gain * contrast) + x.mean() * gain * (1 - contrast)
            x = x * saturation + x.mean(axis=2, keepdims=True) * (1 - saturation)
            x = x.clip(0, 255)
        x = (x - MEAN) / STD
        return torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1))), box

    return transform


def train_transform(
    size: int, recipe: Recipe, scale: Sequence[float] | None = None
) -> Callable[[Image.Image], tuple[torch.Tensor, torch.Tensor]]:
    """The recipe's augmentation at one size: our light one, or timm's, whose crop is not known (nan)."""
    if recipe.transform == "light":
        return light_transform(size, recipe, scale)
    low, high = scale or recipe.scale
    augment = create_transform(
        size,
        is_training=True,
        scale=(low, high),
        ratio=(recipe.ratio[0], recipe.ratio[1]),
        color_jitter=recipe.color_jitter,
        auto_augment=recipe.auto_augment,
        interpolation="bicubic",
        re_prob=recipe.erase_prob,
        re_mode="pixel",
    )
    return lambda photo: (augment(photo), torch.full((4,), torch.nan))


def eval_transform(size: int) -> Callable[[Image.Image], torch.Tensor]:
    """The short side to size / 0.875 (bicubic), centre crop, ImageNet's mean and deviation."""
    return create_transform(size, is_training=False, interpolation="bicubic", crop_pct=0.875)


class TrainSet(Dataset):
    """Augmented photos of one epoch: item i is (x (3, size, size), its crop (4,), which photo it is, i).

    Where photo i cannot be read, the next of the photos trained on takes its place.
    """

    def __init__(
        self,
        photos: Photos,
        size: int,
        recipe: Recipe,
        epoch: int,
        scale: Sequence[float] | None = None,
        indices: np.ndarray | None = None,
    ):
        self.photos, self.epoch, self.seed = photos, epoch, recipe.seed
        self.transform = train_transform(size, recipe, scale)
        self.indices = np.arange(len(photos)) if indices is None else np.asarray(indices)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor, int, int]:
        used, pixels = self._readable(i)
        seed_all(self.seed, self.epoch, i, devices=False)
        return *self.transform(Image.fromarray(pixels)), used, i

    def _readable(self, i: int) -> tuple[int, np.ndarray]:
        """Photo i, or the first after it that can be read."""
        after = np.roll(self.indices, -int(np.searchsorted(self.indices, i, side="right")))
        for k in (i, *after):
            try:
                return int(k), self.photos[int(k)]
            except ImageError:
                continue
        raise ValueError("none of the photos to train on can be read")

    def __len__(self) -> int:
        return len(self.photos)


class EvalSet(Dataset):
    """Photos as the model sees them in use: item k is (x, its class) of photo `indices[k]`."""

    def __init__(self, photos: Photos, size: int, indices: np.ndarray | None = None):
        self.photos, self.size, self.transform = photos, size, eval_transform(size)
        self.indices = np.arange(len(photos)) if indices is None else np.asarray(indices)

    def __getitem__(self, k: int) -> tuple[torch.Tensor, int]:
        i = int(self.indices[k])
        return self.transform(Image.fromarray(self.photos[i])), int(self.photos.labels[i])

    def __len__(self) -> int:
        return len(self.indices)


class Marked(Dataset):
    """The same items, each with whether its photo could be read: one that cannot ends nothing."""

    def __init__(self, items: EvalSet):
        self.items = items

    def __getitem__(self, k: int) -> tuple[torch.Tensor, int, bool]:
        try:
            return *self.items[k], True
        except ImageError:
            return torch.zeros(3, self.items.size, self.items.size), 0, False

    def __len__(self) -> int:
        return len(self.items)


def readable(photos: Photos, indices: np.ndarray, workers: int) -> np.ndarray:
    """Which of some photos can be read, each decoded once: bool (n,)."""
    items = Marked(EvalSet(photos, 32, indices))
    marks = [fine for _, _, fine in loader(items, workers, batch_size=64)]
    return torch.cat(marks).numpy() if marks else np.zeros(0, dtype=bool)


def share_of(batch: np.ndarray, rank: int, world: int) -> np.ndarray:
    """One process's part of a batch.

    Mixup blends photo k with photo B-1-k. A part is symmetric about the middle of the batch, so that every
    pair stays in one process and n processes mix exactly what one does.

    Raises:
        ValueError: if the batch cannot be split evenly into pairs.
    """
    pairs = len(batch) // 2
    if len(batch) % 2 or pairs % world:
        raise ValueError(
            f"got a batch of {len(batch)} for {world} processes, expected a multiple of {2 * world}"
        )
    first = slice(rank * pairs // world, (rank + 1) * pairs // world)
    half, mirror = batch[:pairs], batch[::-1][:pairs]
    return np.concatenate([half[first], mirror[first][::-1]])


class EpochBatches:
    """Index batches of one epoch for one process, from a given step on; the last odd few are dropped.

    Args:
        indices: photos to train on.
        batch_size: photos a step over all processes.
        key: numbers that decide the order, e.g. (seed, epoch).
        start: steps already done.
        limit: at most so many steps; None goes through all photos.
    """

    def __init__(
        self,
        indices: np.ndarray,
        batch_size: int,
        key: tuple[int, ...],
        rank: int = 0,
        world: int = 1,
        start: int = 0,
        limit: int | None = None,
    ):
        if len(indices) < batch_size:
            raise ValueError(f"got {len(indices)} photos for batches of {batch_size}; lower the batch size")
        self.order = np.random.default_rng(key).permutation(indices)
        self.batch_size, self.rank, self.world, self.start = batch_size, rank, world, start
        self.steps = min(len(self.order) // batch_size, limit or len(self.order))

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.steps):
            batch = self.order[step * self.batch_size : (step + 1) * self.batch_size]
            yield share_of(batch, self.rank, self.world).tolist()


def quiet_worker(_: int) -> None:
    """For a loader process: the processor belongs to the model, and signals to the process that trains.

    Signals to a whole group, such as Ctrl-C, pass it by in a group of its own. It does not ignore them: the
    process that trains ends it by one, and would wait for ever.
    """
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    torch.set_num_threads(1)


def loader(dataset: Dataset, workers: int, **kwargs: Any) -> DataLoader:
    """A DataLoader with our settings."""
    pin = torch.cuda.is_available()
    return DataLoader(dataset, num_workers=workers, worker_init_fn=quiet_worker, pin_memory=pin, **kwargs)
