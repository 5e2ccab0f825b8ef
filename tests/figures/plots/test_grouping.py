"""The matplotlib pictures of groups, keys and reach colour exactly what was counted."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from cfviz.analysis.reach import reach
from cfviz.figures.plots import grouping as pictures
from cfviz.figures.theme import DARK, LDA, SDA
from cfviz.geometry import grouping
from cfviz.geometry import schemes as other


def coloured(figure: Figure, panel: int, colour: str) -> np.ndarray:
    """The tokens of one panel that have a given colour."""
    marks = [
        (image.get_array()[..., 3] > 0) & np.isclose(image.get_array()[..., :3], to_rgb(colour)).all(-1)
        for image in figure.axes[panel].get_images()
    ]
    return np.any(marks, axis=0)


@pytest.mark.parametrize(("kind", "I", "colour"), [("sda", 1, SDA), ("lda", 3, LDA)])
def test_a_group_has_the_colour_of_its_kind(kind: str, I: int, colour: str) -> None:  # noqa: E741
    g = grouping(kind, 10, 14, 4, I)
    figure = pictures.groups(g, 9, 13, DARK)
    group, _ = g.group_of(9, 13)
    expected = np.zeros(140, bool)
    expected[g.members[group][g.valid[group]]] = True
    np.testing.assert_array_equal(coloured(figure, 0, colour), expected.reshape(10, 14))
    hatched = [patch for patch in figure.axes[0].patches if patch.get_hatch()]
    assert len(hatched) == (g.Hp > g.H) + (g.Wp > g.W)


def test_the_picture_of_keys_shows_each_layer() -> None:
    layers = [*other.families(14, 14, 7, 2, 7, 2)["crossformer"], other.swin(14, 14, 7, 3)]
    figure = pictures.keys(layers, 13, 13)
    np.testing.assert_array_equal(coloured(figure, 0, SDA), layers[0].sources(13, 13))
    np.testing.assert_array_equal(coloured(figure, 1, LDA), layers[1].sources(13, 13))
    crossed = figure.axes[2].lines[0]
    assert len(crossed.get_xdata()) == layers[2].masked(13, 13).sum() > 0
    assert figure.axes[2].get_title(loc="left") == "swin shifted: 16 keys"


def test_the_picture_of_reach_assigns_each_token_to_the_block_that_added_it() -> None:
    layers = other.families(28, 28, 7, 4, 7, 4)["crossformer"]
    sets = reach(layers, 3, 3, 2)
    figure = pictures.reach(sets, ("sda", "lda"), 3, 3)
    np.testing.assert_array_equal(coloured(figure, 1, SDA), sets[1] & ~sets[0])
    np.testing.assert_array_equal(coloured(figure, 1, LDA), sets[2] & ~sets[1])
    with pytest.raises(ValueError, match="there are 1 sets"):
        pictures.reach(sets[:1], ("sda",), 3, 3)
