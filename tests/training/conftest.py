"""A toy data set that can be learned in a few steps: two classes that differ in colour."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cfviz.training.recipe import Recipe, from_dict

CLASSES = ("n01440764_tench", "n03028079_church")
SMALL = {"embed_dim": 16, "depths": [2, 1, 1, 1], "num_heads": [1, 2, 4, 8]}


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 noisy photos of several shapes in two class folders."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        (root / name).mkdir()
        for i in range(12):
            pixels = rng.integers(0, 120, (40 + 3 * i, 48, 3))
            pixels[..., 2 * label] += 100
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{i:02d}.png")
    return root


def make_settings(photos: Path) -> dict:
    """A recipe that uses everything in two short epochs: phases, mixing, erasing, stochastic depth."""
    return {
        "data": str(photos),
        "num_classes": 2,
        "model_args": SMALL,
        "phases": [
            {"size": 32, "group_size": 2, "interval": "adaptive", "epochs": 1},
            {"size": 64, "group_size": 4, "interval": "adaptive", "epochs": 1, "steps": 2},
        ],
        "hold_out": 0.3,
        "batch_size": 4,
        "warmup_epochs": 1,
        "ema_decay": 0.9,
        "precision": "no",
        "workers": 0,
        "checkpoint_minutes": 0,
    }


@pytest.fixture
def settings(photos: Path) -> dict:
    return make_settings(photos)


@pytest.fixture
def recipe(settings: dict) -> Recipe:
    return from_dict(settings)
