"""Teacher maps: the part under a crop, and the basis in which they are stored."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cfviz.training import teacher
from cfviz.training.data import PhotoFolder
from cfviz.training.distill import TeacherMaps


@pytest.fixture
def maps(tmp_path: Path) -> TeacherMaps:
    """One photo of 8 x 8 places: channel 0 is the column's centre, 1 the row's, as shares of the photo."""
    centres = (np.arange(8) + 0.5) / 8
    array = np.zeros((1, 8, 8, 2), dtype=np.float16)
    array[..., 0], array[..., 1] = centres, centres[:, None]
    np.save(tmp_path / "maps.npy", array)
    return TeacherMaps(tmp_path / "maps.npy", photos=1, classes=1)


def under(maps: TeacherMaps, *box: float) -> tuple[torch.Tensor, torch.Tensor]:
    return maps.under(torch.tensor([0]), torch.tensor([box]), 2, torch.device("cpu"))


def test_the_whole_photo_gives_its_quarters(maps: TeacherMaps) -> None:
    columns, rows = under(maps, 0.125, 0.125, 0.875, 0.875)
    assert columns.shape == (1, 1)
    assert columns.item() == pytest.approx(0.5, abs=1e-3)
    torch.testing.assert_close(
        rows[0, :, :, 0], torch.tensor([[0.3125, 0.3125], [0.6875, 0.6875]]), atol=1e-3, rtol=0
    )


def test_a_crop_gives_its_own_part_and_a_mirrored_one_its_mirror_image(tmp_path: Path) -> None:
    centres = (np.arange(8) + 0.5) / 8
    array = np.broadcast_to(centres[None, None, :, None], (1, 8, 8, 2)).astype(np.float16)
    np.save(tmp_path / "maps.npy", array)
    maps = TeacherMaps(tmp_path / "maps.npy", photos=1, classes=1)
    mean, cells = under(maps, 0.25, 0.25, 0.5, 0.75)
    assert mean.item() == pytest.approx(0.375, abs=1e-3)
    torch.testing.assert_close(cells[0, 0, :, 0], torch.tensor([0.3125, 0.4375]), atol=1e-3, rtol=0)
    mean, turned = under(maps, 0.5, 0.25, 0.25, 0.75)
    assert mean.item() == pytest.approx(0.375, abs=1e-3)
    torch.testing.assert_close(turned, cells.flip(2))


def test_the_basis_whitens_and_keeps_the_main_directions() -> None:
    torch.manual_seed(0)
    mixing = torch.linalg.qr(torch.randn(6, 6)).Q * torch.tensor([5.0, 3.0, 0.1, 0.1, 0.1, 0.1])[:, None]
    features = torch.randn(4000, 6) @ mixing + 7
    basis = torch.from_numpy(teacher.feature_basis(features, 2))
    told = features @ basis[:-1] + basis[-1]
    torch.testing.assert_close(told.mean(0), torch.zeros(2), atol=1e-3, rtol=0)
    torch.testing.assert_close(told.T @ told / len(told), torch.eye(2), atol=2e-3, rtol=0)
    rebuilt = torch.linalg.lstsq(told, features - features.mean(0)).solution
    left = (features - features.mean(0) - told @ rebuilt).pow(2).sum() / (features - features.mean(0)).pow(
        2
    ).sum()
    assert left < 0.01


class Places(nn.Module):
    """A teacher whose features at each place are the mean colour there; red raises class 0."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 1000)
        nn.init.zeros_(self.head.weight)
        nn.init.constant_(self.head.bias, 0.5)
        with torch.no_grad():
            self.head.weight[0, 0] = 2.0

    def get_classifier(self) -> nn.Module:
        return self.head

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(x, 8)


def test_dense_labels_are_logits_and_features_of_each_place(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher, "create_teacher", lambda name: (Places(), 16, 0.0, 1.0))
    folder, out = PhotoFolder(photos), tmp_path / "maps.npy"
    made = teacher.dense_labels(folder, "toy", out, side=16, components=2, dtype=torch.float32)
    assert made.shape == (24, 2, 2, 2 + 2)
    assert made.dtype == np.float16
    image = teacher.Image.fromarray(folder[3]).resize((16, 16), teacher.Image.Resampling.BICUBIC)
    red = np.asarray(image)[:8, :8, 0].mean() / 255
    assert made[3, 0, 0, 0] == pytest.approx(2 * red + 0.5, abs=2e-3)
    assert made[3, 0, 0, 1] == pytest.approx(0.5, abs=2e-3)
    monkeypatch.setattr(teacher, "create_teacher", lambda name: pytest.fail("computed again"))
    np.testing.assert_array_equal(teacher.dense_labels(folder, "toy", out), made)


def test_a_resumed_run_learns_the_same_soft_labels(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept in half precision, they were returned in full: a run resumed with others than it began with."""

    class Third(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((1, 2, 3))[:, None] / 3 + torch.arange(1000) / 1000

    monkeypatch.setattr(teacher, "create_teacher", lambda name: (Third(), 16, 0.0, 1.0))
    folder, out = PhotoFolder(photos), tmp_path / "soft.npy"
    made = teacher.soft_labels(folder, "toy", out, dtype=torch.float32)
    assert made.dtype == np.float32
    np.testing.assert_array_equal(teacher.soft_labels(folder, "toy", out), made)


def test_a_teacher_sees_each_channel_as_it_expects_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """All three channels got the average of the three means and deviations."""
    monkeypatch.setattr(teacher.timm, "create_model", lambda name, pretrained: nn.Identity())
    config = {"input_size": (3, 64, 64), "mean": (0.1, 0.2, 0.3), "std": (1.0, 2.0, 3.0)}
    monkeypatch.setattr(teacher.timm.data, "resolve_model_data_config", lambda model: config)
    _, side, mean, std = teacher.create_teacher("toy")
    assert side == 64
    assert mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert std.flatten().tolist() == [1, 2, 3]
    assert mean.shape == std.shape == (3, 1, 1)
