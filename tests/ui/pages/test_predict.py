"""The prediction page: which input sizes it compares."""

from cfviz.ui.pages.predict import compared_sizes


def test_the_sizes_compared_include_rectangles_and_the_chosen_one() -> None:
    squares = [160, 192, 224, 288, 384]
    assert compared_sizes((500, 500), 224) == [*squares, (192, 640)]
    assert compared_sizes((640, 480), (224, 224)) == [*squares, (192, 640), (224, 288)]
    assert compared_sizes((480, 640), 256) == [160, 192, 224, 256, 288, 384, (192, 640), (288, 224)]
    assert compared_sizes((640, 480), (800, 1216))[-1] == (800, 1216)
