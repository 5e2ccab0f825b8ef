"""Composed scenes: labels that are exact, the same for one seed, and pieces that can be seen."""

from __future__ import annotations

import numpy as np
import pytest

from cfviz.data.labels import labels
from cfviz.data.scenes import EXAMPLES, LEAST, SIDE, Scene, compose, draw

Photo = tuple[np.ndarray, int]


def plain(colour: int, label: int) -> Photo:
    """A photo of one grey value, so that a pixel shows which photo it comes from."""
    return np.full((120, 160, 3), colour, np.uint8), label


def scene(seed: int, pieces: int = 5, side: int = SIDE) -> Scene:
    return compose([plain(10 + 40 * i, i) for i in range(pieces + 1)], seed, side)


def test_one_seed_gives_one_scene_and_another_seed_another() -> None:
    first, again, other = scene(3), scene(3), scene(4)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.masks, again.masks)
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("seed", range(12))
def test_boxes_and_masks_are_what_is_seen(seed: int) -> None:
    found = scene(seed)
    assert len(found.boxes) == len(found.labels) == len(found.masks) == 5 - found.dropped
    assert found.masks.sum(0).max(initial=0) <= 1  # nothing is two things at once
    for mask, box, label in zip(found.masks, found.boxes, found.labels, strict=True):
        ys, xs = mask.nonzero()
        assert mask.sum() >= LEAST
        assert box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        inside = found.image[mask][:, 0].astype(int)
        assert np.median(inside) == 10 + 40 * label  # its own photo, but for the blended edge
    labels = found.label_map(20)
    assert {*np.unique(labels)} == {*found.labels.tolist(), 20}


def test_a_piece_that_others_hide_is_not_in_the_picture() -> None:
    seen = [scene(seed, pieces=6, side=64) for seed in range(40)]
    dropped = [one for one in seen if one.dropped]
    assert dropped
    for one in dropped:
        gone = {*range(1, 7)} - {*one.labels.tolist()}
        assert len(gone) == one.dropped
        assert one.sources.tolist() == one.labels.tolist() == sorted(one.labels.tolist())


@pytest.mark.slow
def test_sizes_reach_from_tiny_to_large() -> None:
    sides = [max(box[2:] - box[:2]) for seed in range(60) for box in scene(seed, pieces=2).boxes]
    assert min(sides) < 32
    assert max(sides) > 128


def test_a_scene_can_be_larger() -> None:
    small, large = scene(5), scene(5, side=2 * SIDE)
    assert large.image.shape == (448, 448, 3)
    assert large.labels.tolist() == small.labels.tolist()


def test_draw_takes_a_ground_and_one_to_six_photos() -> None:
    labels = np.repeat(np.arange(20), 3)
    chosen = [draw(labels, seed) for seed in range(200)]
    assert chosen[7] == draw(labels, 7)
    assert {len(one) for one in chosen} == set(range(2, 8))
    counts = np.bincount(labels[[i for one in chosen for i in one]], minlength=20)
    assert counts.min() > counts.mean() / 2


def test_a_scene_needs_two_photos() -> None:
    with pytest.raises(ValueError, match="at least two photos; got 1"):
        compose([plain(0, 0)], 0)


def test_the_gallery_gives_six_scenes_of_the_one_class_that_it_shows() -> None:
    assert len({example.id for example in EXAMPLES}) == 6
    scenes = [example.scene(side=112) for example in EXAMPLES[:3]]
    assert [len(one.labels) + one.dropped for one in scenes] == [2, 3, 1]
    shown = {int(label) for one in scenes for label in one.labels}
    assert {labels("imagenette20")[label] for label in shown} == {"church"}
