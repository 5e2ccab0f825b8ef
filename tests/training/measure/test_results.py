"""The shipped measurements: complete rows only, and the page in docs says what they say."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from cfviz.analysis import accuracy_by_size
from cfviz.bundled import ASSETS
from cfviz.framing import size_text
from cfviz.stats import unpack_hits

FILES = sorted((ASSETS / "results").glob("sizes-*.json"))
PAGE = Path(__file__).parents[3] / "docs" / "resized-windows.md"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_row_is_complete_and_on_the_same_photos(path: Path) -> None:
    found = json.loads(path.read_text("utf-8"))
    assert "unfinished" not in found
    for row in found["rows"]:
        assert row["n"] == found["photos"]
        assert unpack_hits(row["hits"], row["n"]).sum() == row["correct"]
    places = [(r["model"], r["bias"], r["window"], str(r["size"])) for r in found["rows"]]
    assert len(set(places)) == len(places)


def test_the_page_on_resized_windows_says_what_was_measured() -> None:
    """Accuracies, differences with their intervals, discordant photos and the number of comparisons."""
    (found,) = (f for f in (json.loads(p.read_text("utf-8")) for p in FILES) if f["photos"] == 7850)
    text = PAGE.read_text("utf-8")
    for row in found["rows"]:
        assert f"{100 * row['value']:.2f}" in text, row["size"]
    others = [("dpb", bias) for bias in ("rescaled", "bicubic", "clamp", "cut", "none")] + [("rpb", "own")]
    tests = accuracy_by_size.tested(found["rows"], ("dpb", "own"), others)
    assert f"{accuracy_by_size.comparisons(tests)} comparisons" in text
    for d in (d for several in tests.values() for d in several if d.corrected is not None):
        size = size_text(d.size) if isinstance(d.size, tuple) else str(d.size)
        assert f"| {d.window} | {size} | {interval(d)} | {d.won} | {d.lost} |" in text


def interval(d: accuracy_by_size.Difference) -> str:
    """As the page writes it, with a plain hyphen for a minus sign."""
    return f"{100 * d.value:+.2f} [{100 * d.low:+.2f}, {100 * d.high:+.2f}]"


def test_the_lesson_on_new_offsets_says_what_was_measured() -> None:
    """No bias for new offsets loses nothing significant at 320 px, but does at 448; none at all, at both."""
    (found,) = (f for f in (json.loads(p.read_text("utf-8")) for p in FILES) if f["photos"] == 7850)
    others = [("dpb", bias) for bias in ("rescaled", "bicubic", "clamp", "cut", "none")] + [("rpb", "own")]
    tests = accuracy_by_size.tested(found["rows"], ("dpb", "own"), others)
    by = {(bias, d.size): d for bias in ("cut", "none") for d in tests["scaled", ("dpb", bias)]}
    sign = {place: by[place].sign for place in itertools.product(("cut", "none"), (320, 448))}
    assert sign == {("cut", 320): 0, ("cut", 448): 1, ("none", 320): 1, ("none", 448): 1}
    for lang in ("en", "zh-Hant"):
        told = json.loads((ASSETS / "lessons" / f"{lang}.json").read_text("utf-8"))
        assert f"{100 * by['cut', 448].value:.1f}" in told["position.resized.say"]
