"""Links: every parameter that a page reads, with nonsense as its value; the page runs as in Streamlit."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path

from streamlit.testing.v1 import AppTest

from cfviz.figures.live import grouping
from cfviz.ui.session.state import SHARED
from tests.fuzz.harness import Case
from tests.fuzz.mutate import LONGS, Rng

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("home", *sorted(path.stem for path in (ROOT / "pages").glob("[!_]*.py")))
HARMLESS = {"model": ("crossformer_nano",), "size": ("160", "64x160"), "dtype": ("float32",)}  # of known cost
NUMBERS = ("0", "1", "-1", "2", "3", "7", "1e9", "nan", "inf", "-inf", "1_0", "+3", "٣", "²", "0x10", "1.5")
TEXTS = (
    "", " ", " 3 ", "0" * 5000, "9" * 5000, "9" * 310, "x" * 100_000, "../../../etc/passwd", "/etc/passwd",
    "own-", "own-0123456789", "<script>alert(1)</script>", "{0}", "{value.__class__}", "%s%n", "a\0b", "a\nb",
    "\ud7ff", "\U0001f9c0" * 50, "\u202eabc", "**b** [x](javascript:1) $x^2$ :material/home:",
    "None", "true", "[]", "null", "en", "zh-Hant", "berlin-cathedral", "lemurs", "zero", "mean", "shuffle",
    "replace", "all", "scaled", "first", "sda", "lda", "56x56", "112x1", "1x112", "0x0", "20.20",
    "mean-60-500.500", "blur-rect-1.1-9.9_copy-10-7.8-1.2", "copy-500-0.0", "mean-60-1001.1", "3,0.5,0.5",
    "999.999", "adaptive", "resize", "pad", "0.2,0.9", "0.2,0.9,1", "1e9x2",
)  # fmt: skip
PLACES = (
    "1.1.h1", "2.x.h2", "3.2.attn", "1.k4", "x.x.mlp", "4.1.block", "3.2.G", "2.1.I", "1.2.kind",
    "1.1.bias1", "9.9.h9",
)  # fmt: skip
DEEDS = (
    "", "zero", "mean", "shuffle", "shuffle7", "replace", "replace1e30", "5", "0", "-3", "sda", "nan",
    "1e999",
)  # fmt: skip


@lru_cache(maxsize=1)
def parameters() -> tuple[str, ...]:
    """The parameters that pages read, found in the code, and one that no page reads."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "cfviz/ui").rglob("*.py")))
    found = re.findall(r"""ctx\.get\(\s*["'](\w+)["']""", code)
    return tuple(sorted({*found, *SHARED, *grouping.DEFAULTS, "nobody"}))


def make(rng: Rng) -> Case:
    """Make a page and up to six parameters."""
    page = PAGES[int(rng.integers(len(PAGES)))]
    names = rng.choice(parameters(), size=int(rng.integers(1, 7)), replace=False)
    query: dict[str, str | list[str]] = {str(name): _value(str(name), rng) for name in names}
    if rng.random() < 0.1:
        name = str(names[0])
        query[name] = [_value(name, rng), _value(name, rng)]
    query = {"size": "160", **query}
    return Case(json.dumps([page, query]).encode(), f"{page} {str(query)[:600]}", (page, query))


def check(case: Case) -> str:
    """Check that the page completes with a title and no exception; wrong values are reported or ignored."""
    page, query = case.extra
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    if page != "home":
        app.switch_page(f"pages/{page}.py")
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception, app.exception[0].stack_trace
    assert not app.error, [box.value for box in app.error]
    assert len(app.title) == 1
    for box in app.info:
        assert len(box.value) < 1000, box.value[:200]
    return "said" if any("link_off" in box.icon for box in app.info) else "passed over"


def warm() -> None:
    """Do in advance what would otherwise count as time of the first input."""
    for page in PAGES:
        check(Case(b"", "", (page, {"size": "160"})))


def _value(name: str, rng: Rng) -> str:
    """A possible value of a parameter."""
    kind = int(rng.integers(6))
    if kind == 0 and name in HARMLESS:
        return str(rng.choice(HARMLESS[name]))
    if kind <= 1:
        return str(int(rng.choice(LONGS)) * int(rng.choice((1, -1))))
    if kind == 2:
        return str(rng.choice(NUMBERS))
    if kind == 3 or name == "do":
        return _edits(rng)
    if kind == 4:
        return "".join(chr(int(code)) for code in rng.integers(1, 0x2FFF, size=int(rng.integers(1, 30))))
    return TEXTS[int(rng.integers(len(TEXTS)))]


def _edits(rng: Rng) -> str:
    """Words of the lab's links, some of them damaged."""
    words = [
        "~" * int(rng.random() < 0.2) + str(rng.choice(PLACES)) + "-" + str(rng.choice(DEEDS))
        for _ in range(int(rng.integers(1, 5)))
    ]
    text = "_".join(words)
    at = int(rng.integers(len(text) + 1))
    return text if rng.random() < 0.6 else text[:at] + chr(int(rng.integers(32, 127))) + text[at + 1 :]
