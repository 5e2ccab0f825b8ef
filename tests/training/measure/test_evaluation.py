"""Accuracy counted by hand, and intervals compared with published ones."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from threading import Barrier
from typing import ClassVar

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from cfviz.data.labels import wordnet_ids
from cfviz.stats import wilson
from cfviz.training.data import EvalSet, PhotoFolder
from cfviz.training.measure import evaluation


def test_the_wilson_interval_of_a_textbook_case() -> None:
    low, high = wilson(8, 10)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == pytest.approx(1)
    with pytest.raises(ValueError, match="got 3 of 2"):
        wilson(3, 2)


def test_top_1_and_top_5_by_hand() -> None:
    labels = np.asarray([0, 0, 1, 2, 2, 6])
    logits = np.zeros((6, 7))
    logits[[0, 1, 2, 3, 4, 5], [0, 1, 1, 2, 0, 3]] = 2
    logits[1, 0] = 1
    logits[5, [0, 1, 2, 4]] = 1  # the right class, 6, is sixth
    result = evaluation.scores(logits, labels, list("abcdefg"))
    assert (result["top1"]["correct"], result["top1"]["n"]) == (3, 6)
    assert result["top5"]["correct"] == 5
    assert {name: s["correct"] for name, s in result["per_class"].items()} == {"a": 1, "b": 1, "c": 1, "g": 0}
    assert result["confusion"][0][:2] == [1, 1]
    assert np.sum(result["confusion"]) == 6
    table = evaluation.table(result)
    assert "50.00 %" in table
    assert len(table.splitlines()) == 6


def test_logits_of_another_shape_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="expected"):
        evaluation.scores(np.zeros((3, 4)), np.zeros(3, dtype=int), ["a", "b"])


def test_folders_are_matched_by_wordnet_id() -> None:
    ids = wordnet_ids("imagenette20")
    assert list(evaluation.columns_of(["n03028079_church", "n01440764"], ids)) == [ids.index("n03028079"), 0]
    with pytest.raises(ValueError, match="no class for cats"):
        evaluation.columns_of(["cats"], ids)


class Colour(nn.Module):
    """Predicts church (14) for blue photos and tench (0) for red ones, but golf ball (18) above both."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        red, _, blue = x.mean(dim=(2, 3)).unbind(1)
        logits = torch.zeros(len(x), 20)
        logits[:, 0], logits[:, 14], logits[:, 18] = red, blue, 9
        return logits


def test_predictions_can_be_restricted_to_the_folders_classes(photos: Path) -> None:
    folder, ids = PhotoFolder(photos), wordnet_ids("imagenette20")
    free = evaluation.evaluate(Colour(), folder, ids, 64, batch_size=5)
    assert free["top1"]["correct"] == 0
    assert free["top5"]["correct"] >= 12
    assert free["groups"]["Imagenette half"]["n"] == 24
    assert "Imagewoof half" not in free["groups"]
    among = evaluation.evaluate(Colour(), folder, ids, 64, restrict=True)
    assert among["top1"]["correct"] == 24
    assert set(among["per_class"]) == set(folder.classes)
    assert "groups" not in among


def test_two_folders_of_one_class_are_one_class(photos: Path, tmp_path: Path) -> None:
    """All photos of the second used to count as wrong: the two columns were equal, and the first won."""
    church = next(photos.glob("n03028079*"))
    shutil.copytree(photos, tmp_path / "photos")
    shutil.copytree(church, tmp_path / "photos" / "n03028079_chapel")
    folder, ids = PhotoFolder(tmp_path / "photos"), wordnet_ids("imagenette20")
    among = evaluation.evaluate(Colour(), folder, ids, 64, restrict=True)
    assert (among["top1"]["correct"], among["top1"]["n"]) == (36, 36)
    assert among["per_class"]["n03028079_chapel + n03028079_church"]["n"] == 24
    assert np.asarray(among["confusion"]).tolist() == [[12, 0], [0, 24]]


def test_the_table_is_aligned_in_wide_characters() -> None:
    result = evaluation.scores(np.eye(2), np.asarray([0, 1]), ["鏈鋸", "saw"])
    assert "鏈鋸   100.00 %" in evaluation.table(result)
    assert "saw    100.00 %" in evaluation.table(result)


class Broken(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.full((len(x), 20), torch.nan)


def test_outputs_that_are_not_numbers_are_refused(photos: Path) -> None:
    """They used to count as predictions of the first class."""
    with pytest.raises(ValueError, match="not all finite numbers"):
        evaluation.evaluate(Broken(), PhotoFolder(photos), wordnet_ids("imagenette20"), 32)


def test_halves_count_only_their_own_photos() -> None:
    names = wordnet_ids("imagenette20")
    labels = np.asarray([0, 1, 1])  # a tench, two Shih-Tzus
    logits = np.zeros((3, 20))
    logits[0, 1], logits[0, 0] = 2, 1  # the tench is taken for a dog, but is first among its own ten classes
    logits[1, 1] = 1
    groups = evaluation._halves(logits, labels, names)
    assert groups["Imagenette half"]["correct"] == 0
    assert groups["Imagenette half, its 10 classes"]["correct"] == 1
    assert (groups["Imagewoof half"]["correct"], groups["Imagewoof half"]["n"]) == (1, 2)


def test_a_limit_takes_equally_many_photos_of_each_class() -> None:
    labels = np.asarray([0] * 10 + [1] * 3)
    assert list(evaluation.spread(labels, 2)) == [0, 9, 10, 12]
    assert len(evaluation.spread(labels, 5)) == 8
    assert evaluation.spread(labels, None) is None


class OneOfThree:
    """One of three processes: a thread that waits for the other two, as a process waits in a collective."""

    num_processes = 3
    device = torch.device("cpu")
    barrier = Barrier(3, timeout=20)
    given: ClassVar[dict[int, torch.Tensor]] = {}

    def __init__(self, rank: int):
        self.process_index = rank

    def autocast(self) -> nullcontext:
        return nullcontext()

    def _all(self, own: torch.Tensor) -> list[torch.Tensor]:
        self.given[self.process_index] = own
        self.barrier.wait()
        found = [self.given[rank] for rank in range(3)]
        self.barrier.wait()
        return found

    def pad_across_processes(self, own: torch.Tensor, pad_index: int = 0) -> torch.Tensor:
        longest = max(len(one) for one in self._all(own))
        return torch.cat([own, own.new_full((longest - len(own), *own.shape[1:]), pad_index)])

    def gather(self, own: torch.Tensor) -> torch.Tensor:
        return torch.cat(self._all(own))


def test_a_process_may_have_no_photos(photos: Path) -> None:
    """Two photos for three processes used to end in `torch.cat(): expected a non-empty list of Tensors`."""
    folder = PhotoFolder(photos)
    items = EvalSet(folder, 32, np.asarray([0, 20]))
    alone, labels, _ = evaluation.predict(Colour(), items, Accelerator(cpu=True))
    with ThreadPoolExecutor(3) as pool:
        for logits, found, fine in pool.map(
            lambda rank: evaluation.predict(Colour(), items, OneOfThree(rank)), range(3)
        ):
            assert np.array_equal(logits, alone)
            assert found.tolist() == labels.tolist()
            assert fine.all()
