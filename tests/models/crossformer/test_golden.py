"""The model agrees with the authors' code to 1e-4 (relative) in every recorded case."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from cfviz.hooks import capture
from cfviz.models import list_models

GOLDEN = Path(__file__).parents[2] / "golden"
CASES = json.loads((GOLDEN / "index.json").read_text())
PARAMETERS = json.loads((GOLDEN / "parameters.json").read_text())
TOLERANCE = 1e-4  # max |a-b| / max |b|; 2e-6 was measured


def golden_input(H: int, W: int) -> torch.Tensor:
    x = np.random.RandomState(0).rand(1, 3, H, W).astype(np.float32)
    mean = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
    std = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]
    return torch.from_numpy((x - mean) / std)


def assert_close(case: str, outputs: dict[str, torch.Tensor]) -> None:
    stored = np.load(GOLDEN / f"{case}.npz")
    for name, fact in CASES[case]["arrays"].items():
        out = outputs[name].numpy()
        assert out.size == np.prod(fact["shape"]), name
        flat = out.reshape(-1)
        if fact["step"] > 1:
            assert flat.mean() == pytest.approx(fact["mean"], abs=1e-4)
            assert flat.std() == pytest.approx(fact["std"], rel=1e-4)
            flat = flat[:: fact["step"]][:4096]
        expected = stored[name].reshape(-1)
        assert np.abs(flat - expected).max() <= TOLERANCE * np.abs(expected).max(), name


def unfilled(variant: str, **settings: Any) -> Any:
    """A model that has no numbers yet: drawing them at random takes longer than a forward."""
    with torch.device("meta"):
        return timm.create_model(variant, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("case", [c for c in CASES if CASES[c]["kind"] == "classify"])
def test_classification_agrees_with_the_authors_code(case, golden_fill):
    fact = CASES[case]
    extra = {"interval": fact["interval"]} if "interval" in fact else {}
    model = golden_fill(unfilled(fact["variant"], **extra))
    watch = ["patch_embed.out", "layers.*.blocks.*.out", "layers.*.blocks.*.attn.probs", "logits"]
    with torch.inference_mode(), capture(model, *watch) as seen:
        model(golden_input(fact["size"], fact["size"]))
    outputs = {"cel0": seen["patch_embed.out"], "logits": seen["logits"]}
    for s, depth in enumerate(model.depths):
        outputs[f"stage{s}.last_block"] = seen[f"layers.{s}.blocks.{depth - 1}.out"]
        for b in range(depth):
            outputs[f"stage{s}.block{b}.probs"] = seen[f"layers.{s}.blocks.{b}.attn.probs"]
    assert_close(case, outputs)


@pytest.mark.slow
def test_the_adaptive_interval_agrees_with_the_authors_code(golden_fill):
    case = "crossformer_tiny_448_adaptive"
    model = golden_fill(unfilled("crossformer_tiny", interval="adaptive"))
    with torch.inference_mode():
        logits = model(golden_input(448, 448))
    expected = np.load(GOLDEN / f"{case}.npz")["logits"].reshape(-1)
    assert np.abs(logits[0].numpy() - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.parametrize("case", [c for c in CASES if CASES[c]["kind"] == "features"])
def test_dense_features_agree_with_the_authors_code(case, golden_fill):
    fact = CASES[case]
    settings = {"group_size": fact["group"], "interval": fact["interval"], "lda": fact.get("lda", "regions")}
    model = unfilled(fact["variant"], features_only=True, **settings)
    golden_fill(model.model)
    with torch.inference_mode():
        maps = model.eval()(golden_input(fact["H"], fact["W"]))
    assert_close(case, {f"stage{s}": m for s, m in enumerate(maps)})


@pytest.mark.slow
@torch.inference_mode()
def test_an_image_does_not_change_the_result_of_a_later_one(golden_fill):
    """In the authors' code a narrow image changes the blocks for good."""
    model = unfilled("crossformer_small", features_only=True, lda="whole").eval()
    golden_fill(model.model)
    for size in ((256, 320), (192, 640), (256, 320), (192, 640)):
        maps = model(golden_input(*size))
        case = "crossformer_small_whole_{}x{}".format(*size)
        assert_close(case, {f"stage{s}": m for s, m in enumerate(maps)})


@pytest.mark.slow
@pytest.mark.parametrize("variant", list(PARAMETERS))
def test_parameter_names_and_shapes_are_the_authors(variant):
    model = unfilled(variant)
    assert {k: list(v.shape) for k, v in model.state_dict().items()} == PARAMETERS[variant]


def test_all_published_variants_have_recorded_parameters():
    assert set(list_models()) - set(PARAMETERS) == {"crossformer_nano", "crossformer_nano_rpb"}
