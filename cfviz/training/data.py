"""Batches whose order and augmentation are functions of (seed, epoch, position) alone.

No random state carries over from one photo to the next: each has its own seed. A run can therefore stop and
resume at any step, with any number of loader processes, and see exactly the batches of an uninterrupted run.
"""

import hashlib
import os
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_transform
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import Compose

from cfviz.data.header import ImageError
from cfviz.framing import Size, as_pair

from .cache import PhotoCache, build
from .folder import PhotoFolder, identity
from .recipe import Recipe

MEAN = np.asarray(IMAGENET_DEFAULT_MEAN, dtype=np.float32) * 255
STD = np.asarray(IMAGENET_DEFAULT_STD, dtype=np.float32) * 255


def seed_all(*key: int, devices: bool = True) -> None:
    """Seed Python, NumPy and torch from a few integers.

    Args:
        *key: The integers.
        devices: Also seed torch on every accelerator, which takes a while; otherwise only on the CPU.
    """
    words = np.random.SeedSequence(key).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    (torch.manual_seed if devices else torch.default_generator.manual_seed)(int(words[2]))


Photos = PhotoFolder | PhotoCache


def open_photos(recipe: Recipe, run: str | Path, tell: Callable[[str], None] = lambda line: None) -> Photos:
    """Open a recipe's photos, through the cache if the recipe names one.

    Args:
        recipe: The recipe.
        run: The run's folder, in which the cache may lie.
        tell: Called with a line now and then while the cache is built.
    """
    path = recipe.cache_in(run)
    return build(recipe.data, path, recipe.cache_side, tell=tell) if path else PhotoFolder(recipe.data)


def light_transform(
    size: int, recipe: Recipe, scale: Sequence[float] | None = None
) -> Callable[[Image.Image], tuple[torch.Tensor, torch.Tensor]]:
    """A random crop resized once, a flip, and mild brightness, contrast and saturation.

    Returns:
        A function from a PIL image to (3, size, size) float32, normalised, and (4,) float32: the crop's
        left, top, right and bottom as fractions of the photo's sides, with left and right swapped if the
        crop was mirrored. It draws random numbers from Python's global generator.
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
    """The recipe's augmentation at one size: our light one, or timm's, whose crop is unknown (NaN).

    Raises:
        ValueError: If timm does not know the policy `auto_augment`.
    """
    if recipe.transform == "light":
        return light_transform(size, recipe, scale)
    low, high = scale or recipe.scale
    try:
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
    except Exception as error:  # timm takes the policy's name apart with assertions
        raise ValueError(
            f"auto_augment {recipe.auto_augment!r} is not a policy of timm; expected one such as "
            "rand-m9-mstd0.5-inc1, or null"
        ) from error
    return lambda photo: (augment(photo), torch.full((4,), torch.nan))


def eval_transform(size: Size) -> Compose:
    """Resize to cover `size / 0.875` (bicubic), crop the centre, normalise as for ImageNet.

    A photo is never stretched: for a square its short side becomes `size / 0.875`, for a rectangle it is
    resized until it just covers both sides divided by 0.875.
    """
    return create_transform(size, is_training=False, interpolation="bicubic", crop_pct=0.875)


class TrainSet(Dataset):
    """Augmented photos of one epoch: item i is (x (3, size, size), crop (4,), index of the photo used, i).

    If photo i can no longer be read, the next readable training photo replaces it.
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
    """Photos prepared as at inference: item k is (x, class) of photo `indices[k]`."""

    def __init__(self, photos: Photos, size: Size, indices: np.ndarray | None = None):
        self.photos, self.size, self.transform = photos, as_pair(size), eval_transform(size)
        self.indices = np.arange(len(photos)) if indices is None else np.asarray(indices)

    def __getitem__(self, k: int) -> tuple[torch.Tensor, int]:
        i = int(self.indices[k])
        return self.transform(Image.fromarray(self.photos[i])), int(self.photos.labels[i])

    def __len__(self) -> int:
        return len(self.indices)


class KeptEvalSet(EvalSet):
    """An `EvalSet` that decodes and resizes every photo once and keeps its pixels in a file.

    The file holds, per photo, the pixels as uint8 and a last byte that says whether they are there, so it can
    be filled in any order and by several processes, and a process that is ended leaves it usable. Its name
    says which photos, of which folder and as they were last changed, and which size it is for: uncompressed
    photos of one size in pixels have files of one size, whatever they show. It can be deleted when nothing
    more is measured.

    Args:
        folder: Where the file lies.

    Raises:
        ValueError: If there is no room for the file.
    """

    def __init__(self, photos: Photos, size: Size, indices: np.ndarray | None, folder: str | Path):
        super().__init__(photos, size, indices)
        H, W = self.size
        fit, cut, *steps = self.transform.transforms
        self.fit, self.normalised = Compose([fit, cut]), Compose(steps)
        whole, self.shape = len(self) * (H * W * 3 + 1), (H, W, 3)
        path = Path(folder) / f"{_source(photos, self.indices)}-{H}x{W}.bin"
        _reserve(path, whole)
        self.kept = np.memmap(path, np.uint8, "r+", shape=(len(self), H * W * 3 + 1))

    def __getitem__(self, k: int) -> tuple[torch.Tensor, int]:
        i, kept = int(self.indices[k]), self.kept[k]
        if not kept[-1]:
            kept[:-1] = np.asarray(self.fit(Image.fromarray(self.photos[i]))).reshape(-1)
            kept[-1] = 1
        pixels = np.array(kept[:-1]).reshape(self.shape)
        return self.normalised(Image.fromarray(pixels)), int(self.photos.labels[i])


def _source(photos: Photos, chosen: np.ndarray) -> str:
    """What tells the pixels of some photos from all others, without reading them."""
    if isinstance(photos, PhotoCache):
        where, these = str(getattr(photos.pixels, "filename", "")), identity(photos, chosen)
        where += f"\0{Path(where).stat().st_mtime_ns}"
    else:
        where, these = os.path.realpath(photos.root), identity(photos, chosen, times=True)
    return hashlib.sha256(f"{where}\0{these}".encode(errors="surrogateescape")).hexdigest()[:16]


def _reserve(path: Path, size: int) -> None:
    """Make a file of `size` bytes, new ones zero; later writes through a map of it cannot fill the disk."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            file.truncate(size)
    except OSError as error:
        raise ValueError(
            f"the resized photos cannot be kept in {path.parent} ({error.strerror}): they would need "
            f"{size / 2**20:,.0f} MB; make room, or name another folder"
        ) from error


class Marked(Dataset):
    """The items of an `EvalSet`, each with whether its photo could be read, instead of an error."""

    def __init__(self, items: EvalSet):
        self.items = items

    def __getitem__(self, k: int) -> tuple[torch.Tensor, int, bool]:
        try:
            return *self.items[k], True
        except ImageError:
            return torch.zeros(3, *self.items.size), 0, False

    def __len__(self) -> int:
        return len(self.items)


def readable(items: EvalSet, workers: int) -> np.ndarray:
    """Decode each of the photos once; return (n,) bool, True for the readable ones."""
    marks = [fine for _, _, fine in loader(Marked(items), workers, batch_size=64)]
    return torch.cat(marks).numpy() if marks else np.zeros(0, dtype=bool)


def share_of(batch: np.ndarray, rank: int, world: int) -> np.ndarray:
    """One process's share of a batch.

    Mixup blends photo k with photo B-1-k. Each share is symmetric about the middle of the batch, so every
    pair stays in one process and n processes mix exactly the same pairs as one.

    Raises:
        ValueError: If the batch cannot be split evenly into pairs.
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
    """Batches of indices for one process and epoch, from a given step on; an incomplete batch is dropped.

    Args:
        indices: Photos to train on.
        batch_size: Photos per step over all processes.
        key: Integers that determine the order, e.g. (seed, epoch).
        rank: Index of this process.
        world: Number of processes.
        start: Steps already done.
        limit: Maximum number of steps; None uses all photos.
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
    """Set up a loader process: leave the CPU to the model, and signals to the training process.

    In a process group of its own, the loader does not receive signals sent to the trainer's group, such as
    Ctrl-C. It must not ignore signals: the training process ends it with one, and would wait for ever.
    """
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    torch.set_num_threads(1)


def loader(dataset: Dataset, workers: int, **kwargs: Any) -> DataLoader:
    """A DataLoader with our settings."""
    pin = torch.cuda.is_available()
    return DataLoader(dataset, num_workers=workers, worker_init_fn=quiet_worker, pin_memory=pin, **kwargs)
