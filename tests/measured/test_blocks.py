"""What each block knows, in Python: the probes that come with cfviz, on a photo, as a page."""

from __future__ import annotations

import pytest
from PIL import Image

from cfviz.data.samples import sample
from cfviz.measured.blocks import explain_blocks
from cfviz.models.probes.linear import probes_for
from cfviz.run import load


@pytest.mark.parametrize("name", ["crossformer_nano", "crossformer_nano_rpb"])
def test_a_block_knows_more_the_later_it_is(name: str) -> None:
    probes = probes_for(load(name))
    assert probes is not None
    places = [(s, b) for s, n in enumerate((2, 2, 2, 1)) for b in range(n)]
    for kind in ("photo", "token"):
        found = [probes.accuracy(s, b, kind) for s, b in places]
        values = [one["value"] for one in found]
        assert values == sorted(values)
        assert all(one["low"] < one["value"] < one["high"] for one in found)
        assert values[0] > 2 / 20  # chance is 1 in 20
    assert probes.accuracy(3, 0)["value"] > 0.75
    assert probes.accuracy(3, 0)["n"] == 7850


def test_a_photo_is_read_block_by_block_and_token_by_token() -> None:
    known = explain_blocks(Image.new("RGB", (64, 96), "gray"), size=(96, 64))
    assert [one.tokens.shape for one in known.readings[::2]] == [
        (24, 16, 20),
        (12, 8, 20),
        (6, 4, 20),
        (3, 2, 20),
    ]
    assert all(abs(one.photo.sum() - 1) < 1e-9 for one in known.readings)
    assert '<div class="rd-host">' in known.page("zh-Hant")


@pytest.mark.slow
def test_the_last_block_reads_what_a_photo_shows() -> None:
    """Read from the mean token, whose logits are the mean of the tokens' logits."""
    known = explain_blocks(sample("berlin-cathedral").path)
    last = known.readings[-1]
    church = known.trace.labels.index("church")
    assert last.photo.argmax() == church
    assert (last.tokens.argmax(-1) == church).mean() > 0.8


def test_a_model_without_probes_is_told_how_to_get_some(tiny_model) -> None:
    with pytest.raises(ValueError, match="make some with `cfviz probes`"):
        explain_blocks(Image.new("RGB", (64, 64)), tiny_model(), size=64)
