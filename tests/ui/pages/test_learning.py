"""Position biases while they learn: the record that comes with cfviz, and the figure's message."""

import numpy as np
import pytest

from cfviz.bundled import bundled
from cfviz.figures.live.message import opened
from cfviz.figures.live.position_bias_learning import LAYERS, PROJ, LearningBlock, pack
from cfviz.models.factory import create_model
from cfviz.training.positions import Positions, read
from cfviz.ui.pages.position_bias import learning
from cfviz.words import figure_words

WORDS = figure_words("position_bias")


@pytest.fixture(scope="module")
def found() -> Positions:
    return read(bundled(f"results/{learning.RECORD}"))


def test_the_record_goes_from_random_weights_to_the_end_of_one_run(found: Positions) -> None:
    assert found.steps[0] == 0
    assert len(found.steps) > 20
    assert found.steps[-1] <= found.facts["steps"]
    assert found.facts["recipe"]["start_weights"] is None
    assert len(found.held_steps) >= 5
    assert found.held_steps[-1] <= found.steps[-1]
    assert {value.dtype for value in found.parameters.values()} == {np.dtype(np.float16)}
    assert (
        found.held_top1[-1] > 3 * found.held_top1[0] / 2 > 3 / 40
    )  # it has learned, from near chance (1/20)
    assert "/" not in str(found.facts)  # no path of a machine


def test_the_record_fits_the_model_and_the_groups_of_its_run(found: Positions) -> None:
    model, size = create_model("crossformer_nano", None), found.facts["recipe"]["phases"][-1]["size"]
    own = {name: value.shape for name, value in model.named_parameters() if ".attn.pos." in name}
    assert {name: value.shape[1:] for name, value in found.parameters.items()} == own
    model.set_grouping(6, "adaptive")
    expected = [
        (s, b, g.kind, g.Gh)
        for s, stage in enumerate(model.groupings(size, size))
        for b, g in enumerate(stage)
    ]
    blocks = learning.blocks_of(found)
    assert [(block.stage, block.block, block.kind, block.G) for block in blocks] == expected
    assert {block.G for block in blocks} == {6, 3}


def test_the_message_has_every_number_in_its_own_sixteen_bits(found: Positions) -> None:
    message = opened(learning._message(bundled(f"results/{learning.RECORD}")))
    assert len(message.body) < 500_000
    assert message.header["steps"] == found.steps.tolist()
    assert message.header["held"][-1] == [found.held_steps[-1], found.held_top1[-1]]
    part = message.header["blocks"][2]["layers"][1][2]
    sent = np.frombuffer(message.body, np.float16, part["bytes"] // 2, part["at"])
    assert np.array_equal(sent, found.parameters["layers.1.blocks.0.attn.pos.pos2.2.weight"].ravel())


def test_the_sentence_says_what_run_it_is(found: Positions) -> None:
    facts = learning._facts(found)
    assert (facts["model"], facts["size"], facts["G"], facts["batch"]) == ("CrossFormer nano", 96, 6, 64)
    assert facts["drawn"] == f"{64 * int(found.steps[-1]):,}"
    assert facts["top1"].endswith("%")


def test_blocks_that_do_not_fit_are_refused() -> None:
    names = [*PROJ, *(name for layer in LAYERS for name in layer)]
    half = {name: np.zeros((2, 3, 3), np.float16) for name in names}
    with pytest.raises(ValueError, match="0 blocks and 2 records"):
        pack([], [0, 1], [], strings=WORDS)
    with pytest.raises(ValueError, match=r"pos_proj.weight is float16 \(2, 3, 3\); expected float16, 3 rec"):
        pack([LearningBlock(0, 0, "sda", 7, half)], [0, 1, 2], [], strings=WORDS)
    single = {**half, "pos1.2.bias": np.zeros((2, 3), np.float32)}
    with pytest.raises(ValueError, match=r"pos1.2.bias is float32"):
        pack([LearningBlock(0, 0, "sda", 7, single)], [0, 1], [], strings=WORDS)
