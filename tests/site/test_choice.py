"""The site runs the model on the graphics processor only where that gives the same, and sooner."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from itertools import combinations
from typing import Any

import pytest

from cfviz.models.variants import BUNDLED
from cfviz.run import load
from cfviz.site import own
from cfviz.web import script

pytestmark = [pytest.mark.browser, pytest.mark.slow]
# A model that takes a while and gives what it got; `ways` says what each run on the graphics processor does.
CHOICE = """async ([ways, equal]) => {
  %s
  const after = (ms, out) => new Promise((done) => setTimeout(() => done(out), ms));
  const ended = [];
  const wasm = (values) => after(60, { logits: values, by: "wasm" });
  const graphics = {
    async run(values) {
      const way = ways.shift();
      if (way === "throws") throw new Error("the device is lost");
      return after(way, { logits: values, by: "webgpu" });
    },
    end() { ended.push(true); },
  };
  const started = () => {
    if (ways[0] === "refused") throw new Error("no worker");
    return graphics;
  };
  const choice = new Choice(wasm);
  const first = await choice.run([1]);
  const found = await choice.compare(started, [1], first.out, () => equal);
  const later = [];
  for (const value of [2, 3]) later.push(await choice.run([value]));
  const told = later.map(({ on, out }) => [on, out.by, ...out.logits]);
  return { first: first.on, found, ended: ended.length, later: told };
}"""
WASM = [["wasm", "wasm", 2], ["wasm", "wasm", 3]]


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    window = browser.new_context()
    yield window.new_page()
    window.close()


@pytest.mark.parametrize(
    ("ways", "equal", "found", "later", "ended"),
    [
        # the first run compiles the programs, which says nothing about the next
        ([300, 1, 1, 1], True, "faster", [["webgpu", "webgpu", 2], ["webgpu", "webgpu", 3]], 0),
        ([1, 1], False, "unequal", WASM, 1),
        ([1, 300], True, "slower", WASM, 1),
        (["refused"], True, "failed", WASM, 0),
        (["throws"], True, "failed", WASM, 1),
        ([1, "throws"], True, "failed", WASM, 1),
        ([1, 1, 1, "throws"], True, "faster", [["webgpu", "webgpu", 2], ["wasm", "wasm", 3]], 1),
        ([1, 1, "throws"], True, "faster", WASM, 1),
    ],
)
def test_the_graphics_processor_is_used_only_where_it_is_equal_and_faster(
    page: Any, ways: list[Any], equal: bool, found: str, later: list[Any], ended: int
) -> None:
    """And no photo is lost when it fails."""
    answer = page.evaluate(CHOICE % script("site/own/choice.js"), [ways, equal])
    assert answer == {"first": "wasm", "found": found, "ended": ended, "later": later}


def test_only_a_true_graphics_processor_is_tried(page: Any) -> None:
    real = {"info": {"vendor": "apple", "architecture": "metal-3", "isFallbackAdapter": False}}
    cases = {
        "none": None,
        "no adapter": {"adapter": None},
        "fallback": {"adapter": {"info": real["info"] | {"isFallbackAdapter": True}}},
        "nothing is said": {"adapter": {"info": {"vendor": "apple"}}},
        "software": {"adapter": {"info": real["info"] | {"architecture": "swiftshader"}}},
        "older": {"adapter": {"isFallbackAdapter": False}},
        "real": {"adapter": real},
    }
    found = page.evaluate(
        f"""async (cases) => {{
          {script("site/own/graphics.js")}
          const found = {{}};
          for (const [name, one] of Object.entries(cases)) {{
            const gpu = one && {{ requestAdapter: async () => one.adapter }};
            const both = [{{ Suspending: 1 }}, {{}}].map((assembly) => hasGraphics({{ gpu }}, assembly));
            found[name] = await Promise.all(both);
          }}
          const broken = {{ gpu: {{ requestAdapter: async () => {{ throw new Error("no"); }} }} }};
          return [found, await hasGraphics(broken, {{ Suspending: 1 }})];
        }}""",
        cases,
    )
    assert found == [{name: [name in ("older", "real"), False] for name in cases}, False]


def test_a_worker_that_fails_ends_its_runs_and_no_other(page: Any, serve: Any) -> None:
    """One that cannot be loaded, one that throws, one that says what is wrong."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()

    page.goto(serve(answer))  # workers have to come from somewhere
    code = {
        "nowhere": "",
        "throws": "throw new Error('broken');",
        "says": "onmessage = () => postMessage({ n: 0, error: 'the device is lost' });",
        "works": "onmessage = ({ data: { n, values } }) => n && postMessage({ n, out: { logits: values } });",
    }
    found = page.evaluate(
        f"""async (code) => {{
          {script("site/own/graphics.js")}
          const found = {{}};
          for (const [name, text] of Object.entries(code)) {{
            const blob = new Blob([text], {{ type: "text/javascript" }});
            const url = URL.createObjectURL(blob);
            if (!text) URL.revokeObjectURL(url);
            const graphics = new Graphics(url, {{}});
            const said = ({{ message }}) => message;
            found[name] = [await graphics.run([3]).catch(said), typeof (await graphics.run([4]).catch(said))];
          }}
          return found;
        }}""",
        code,
    )
    assert found.pop("works") == [{"logits": [3]}, "object"]
    assert {name: second for name, (_, second) in found.items()} == dict.fromkeys(found, "string")
    assert found["says"][0] == "the device is lost"


def test_runs_are_compared_in_every_output_that_a_figure_draws(page: Any) -> None:
    """By as much as a figure can show, and a number that is none is a difference.

    Each output differs in three of seven runs, no two in the same three: of any two, each differs once
    without the other.
    """
    codes = list(combinations(range(7), 3))
    template = b64encode(own._template(load(BUNDLED))).decode()
    found = page.evaluate(
        f"""async ([template, within, codes]) => {{
          {script("site/own/same.js")}
          {script("shared/payload.js")}
          const bytes = Uint8Array.from(atob(template), (one) => one.charCodeAt(0));
          const known = decode(bytes);
          const some = (length, seed) =>
            Float32Array.from({{ length }}, (_, i) => Math.sin(seed + 7.3 * i));
          const here = {{ logits: some(20, 1) }};
          for (const {{ s, H, W, heads, blocks }} of known.header.attention.stages) {{
            for (const {{ b, grouping }} of blocks) {{
              const {{ Gh, Gw }} = known.header.attention.groupings[grouping];
              here[`content_${{s}}_${{b}}`] = some(H * W * heads * Gh * Gw, s + b);
            }}
            here[`cel_${{s}}`] = some(H * W * 8, s);
            here[`stage_${{s}}`] = some(H * W * 8, s + 9);
          }}
          const names = Object.keys(here);
          const moved = (which, by) => {{
            const there = {{ ...here }};
            for (const name of which) {{
              there[name] = Float32Array.from(here[name]);
              there[name][40 % here[name].length] += by;
            }}
            return differences(there, here, within, known).map(([one]) => one);
          }};
          const small = moved(names, 1e-5);
          const sets = [0, 1, 2, 3, 4, 5, 6].map((run) => names.filter((_, i) => codes[i].includes(run)));
          const large = sets.map((set) => moved(set, 0.02));
          const none = [moved(["logits"], NaN), moved(names, NaN)];
          const {{ logits: _, ...missing }} = here;
          return [names, sets, small, large, none, differences(missing, here, within, known).length];
        }}""",
        [template, own.WITHIN, codes],
    )
    names, sets, small, large, none, missing = found
    assert len(names) == 1 + sum(load(BUNDLED).depths) + 2 * len(load(BUNDLED).depths)
    assert (small, missing) == ([], 1)
    assert (large, none) == (sets, [["logits"], names])
