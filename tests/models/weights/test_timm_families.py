"""Weights of timm's models are told by their names, and what only looks like one is not."""

from __future__ import annotations

import pytest
import timm
import torch

import cfviz
from cfviz.models.others.reading import FAMILIES
from cfviz.models.weights.errors import CheckpointError
from cfviz.models.weights.timm_families import MARKS, family_in
from tests.models.others.conftest import MODELS


@pytest.mark.parametrize(
    ("name", "family"),
    [("swin, even", "Swin"), ("swin v2", "Swin V2"), ("twins", "Twins"), ("pvt v2", "PVT v2"),
     ("maxvit", "MaxViT"), ("vit", "ViT")],
)  # fmt: skip
def test_each_family_is_called_by_its_name(name: str, family: str) -> None:
    names = MODELS[name][0]().state_dict()
    assert family_in(names) == family
    assert family_in(f"module._orig_mod.{one}" for one in names) == family


def test_the_families_are_those_that_can_be_read() -> None:
    assert sorted(MARKS) == sorted(family.name for family in FAMILIES)


@pytest.mark.parametrize("name", ["beit_base_patch16_224", "cait_xxs24_224", "resnet18"])
def test_others_are_not_mistaken_for_them(name: str) -> None:
    with torch.device("meta"):
        names = timm.create_model(name).state_dict()
    assert family_in(names) == ""


def test_a_name_of_timms_is_explained_where_a_file_or_a_variant_is_expected() -> None:
    for opened in (cfviz.load_checkpoint, cfviz.create_model):
        with pytest.raises(CheckpointError, match=r'no CrossFormer: .* `timm.create_model\("pvt_v2_b0", pre'):
            opened("pvt_v2_b0")
    with pytest.raises(CheckpointError, match="resnet18: no such file"):
        cfviz.load_checkpoint("resnet18")
