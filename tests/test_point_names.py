"""Names of points: those built are the model's, and parsing inverts building."""

from __future__ import annotations

import pytest

from cfviz import point_names
from cfviz.hooks import points as listed
from cfviz.point_names import Place


def test_built_names_are_points_of_the_model(tiny_model) -> None:
    have = set(listed(tiny_model()))
    assert point_names.block(0, 0) in have
    assert point_names.attention(1, 0, "bias") in have
    assert {point_names.embedding(0), point_names.embedding(3)} <= have
    assert point_names.embedding(1, "kernels.1") in have


def test_stage_outputs_are_the_last_blocks(tiny_model) -> None:
    model = tiny_model()
    names = point_names.stage_outputs(model.depths)
    assert set(names) <= set(listed(model))
    last = [point_names.block(s, len(stage.block_list) - 1) for s, stage in enumerate(model.stages)]
    assert list(names) == last


def test_parsing_inverts_building() -> None:
    assert point_names.parse(point_names.attention(2, 13, "q")) == Place(2, 13, "attn.q")
    assert point_names.parse(point_names.block(3, 1)) == Place(3, 1, "out")
    for stage in range(4):
        assert point_names.parse(point_names.embedding(stage, "kernels.1")) == Place(stage, None, "kernels.1")


@pytest.mark.parametrize("name", ["norm.out", "layers.0", "layers.x.blocks.0.out", ""])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="names no point of a block or an embedding layer"):
        point_names.parse(name)


def test_every_point_of_a_block_or_embedding_can_be_parsed(tiny_model) -> None:
    for name in listed(tiny_model()):
        if name.startswith(("layers.", "patch_embed.")):
            place = point_names.parse(name)
            if place.block is None:
                assert point_names.embedding(place.stage, place.point) == name
            else:
                assert point_names.block(place.stage, place.block, place.point) == name
