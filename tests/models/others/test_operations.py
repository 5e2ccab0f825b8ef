"""The operations of a model of timm: each module's row has its own name, each block that of its adapter."""

from __future__ import annotations

import pytest
import torch

from cfviz.models.others.reading import layers_of
from cfviz.models.probes.operations import operations
from tests.models.others.conftest import MODELS

FAMILIES = [
    "swin, even",
    "swin v2, separate bias",
    "twins, square",
    "pvt v2, square",
    "maxvit, square",
    "vit, square",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_rows_are_named_as_the_model_names_its_modules(name: str) -> None:
    make, size = MODELS[name]
    model = make().eval()
    modules = dict(model.named_modules())
    found = operations(model, torch.randn(3, *size, generator=torch.Generator().manual_seed(0)), 3)
    rows = list(found.root.walk())
    named = {one.module: one for one in rows if one.module}
    for module, one in named.items():
        assert type(modules[module]).__name__ == one.kind
    called = {id(module): module_name for module_name, module in modules.items()}
    blocks = {
        called[id(layer.block)]: (s, b)
        for s, stage in enumerate(layers_of(model, *size))
        for b, layer in enumerate(stage)
    }
    assert {module: one.place for module, one in named.items() if one.place} == blocks
    for module, one in named.items():  # a row stands below that of the module around it
        inside = [other.module for other in one.walk() if other.module]
        assert all(other == module or other.startswith(f"{module}.") for other in inside)
    weighed = {layer for layer, module in modules.items() if isinstance(module, torch.nn.Linear)}
    assert weighed <= named.keys()
    told = {row["module"]: (row["stage"], row["block"]) for row in found.rows() if row["stage"] is not None}
    assert told == blocks
