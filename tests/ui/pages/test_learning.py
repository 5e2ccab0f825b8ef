"""Position biases while they learn: the record that comes with cfviz, and the figure's message."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cfviz.bundled import bundled
from cfviz.figures.live.message import opened
from cfviz.figures.live.position_bias_learning import LAYERS, PROJ, LearningBlock, LearningTables, pack
from cfviz.models.crossformer import stretched
from cfviz.models.factory import create_model
from cfviz.training.positions import Positions, read
from cfviz.ui.pages.position_bias import learning
from cfviz.words import figure_words

WORDS = figure_words("position_bias")


@pytest.fixture(scope="module")
def found() -> Positions:
    return read(bundled(f"results/{learning.RECORD}"))


@pytest.fixture(scope="module")
def twin() -> Positions:
    return read(bundled(f"results/{learning.TWIN}"))


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
    steps = message.header["steps"]
    assert set(steps) <= set(found.steps.tolist())
    assert (steps[0], steps[-1], len(steps) > 20) == (0, found.steps[-1], True)
    assert message.header["held"][-1] == [found.held_steps[-1], found.held_top1[-1]]
    part = message.header["blocks"][2]["layers"][1][2]
    sent = np.frombuffer(message.body, np.float16, part["bytes"] // 2, part["at"])
    kept = np.isin(found.steps, steps)
    assert np.array_equal(sent, found.parameters["layers.1.blocks.0.attn.pos.pos2.2.weight"][kept].ravel())


def test_the_twin_is_the_same_run_but_for_the_kind_of_position_bias(
    found: Positions, twin: Positions
) -> None:
    assert twin.steps[-1] == found.steps[-1]
    assert twin.held_steps.tolist() == found.held_steps.tolist()
    differing = {name for name, value in found.facts["recipe"].items() if twin.facts["recipe"][name] != value}
    assert differing == {"position_bias", "redraw"}
    assert {name: value for name, value in found.facts.items() if name not in ("recipe", "every")} == {
        name: value for name, value in twin.facts.items() if name not in ("recipe", "every")
    }
    assert {value.dtype for value in twin.parameters.values()} == {np.dtype(np.float16)}
    model = create_model("crossformer_nano_rpb", None, group_size=6)
    own = {name: tuple(value.shape) for name, value in model.named_parameters() if ".attn.pos." in name}
    assert {name: value.shape[1:] for name, value in twin.parameters.items()} == own


def test_the_twins_tables_are_sent_at_the_offsets_of_the_groups(twin: Positions) -> None:
    """The last stage has groups of 3 x 3 and a table for 6 x 6, which the model stretches."""
    message = opened(learning._message(bundled(f"results/{learning.RECORD}")))
    steps, tables = message.header["steps"], message.header["twin"]["tables"]
    assert message.header["twin"]["held"][-1] == [twin.held_steps[-1], twin.held_top1[-1]]
    for place, s, G, heads in ((2, 1, 6, 6), (6, 3, 3, 24)):
        values = twin.parameters[f"layers.{s}.blocks.0.attn.pos.table"][np.isin(twin.steps, steps)]
        sent = np.frombuffer(message.body, np.float16, tables[place]["bytes"] // 2, tables[place]["at"])
        sent = sent.reshape(len(steps), (2 * G - 1) ** 2, heads)
        for i in (0, len(steps) - 1):
            expected = torch.from_numpy(values[i]).float()
            expected = stretched(expected, G) if G == 3 else expected
            assert np.array_equal(sent[i], expected.numpy().astype(np.float16))


def test_without_the_twins_record_the_figure_shows_dpb_at_all_steps(found: Positions, tmp_path: Path) -> None:
    alone = tmp_path / learning.RECORD
    found.write(alone, np.float16)
    header = opened(learning._message(alone)).header
    assert header["steps"] == found.steps.tolist()
    assert "twin" not in header


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
    tables = LearningTables([(1, 0.5)], [np.zeros((2, 169, 3), np.float16)])
    with pytest.raises(ValueError, match="other steps"):
        pack([LearningBlock(0, 0, "sda", 7, half)], [0, 1], [(2, 0.5)], strings=WORDS, twin=tables)
    with pytest.raises(ValueError, match=r"a table is float16 \(2, 169, 3\); expected float16 \(2, 25, 3\)"):
        pack([LearningBlock(0, 0, "sda", 3, half)], [0, 1], [(1, 0.5)], strings=WORDS, twin=tables)
    single = {**half, "pos1.2.bias": np.zeros((2, 3), np.float32)}
    with pytest.raises(ValueError, match=r"pos1.2.bias is float32"):
        pack([LearningBlock(0, 0, "sda", 7, single)], [0, 1], [], strings=WORDS)
