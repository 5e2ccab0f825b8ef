"""The reader's own photo on the site: the browser's input, logits and figures are the library's."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.base import AXE_SCRIPT
from PIL import Image
from playwright.sync_api import expect

from cfviz import point_names
from cfviz.data.decode import load_image
from cfviz.data.images import prepare
from cfviz.data.samples import gallery, sample
from cfviz.figures.live import embedding, message
from cfviz.figures.uris import opened
from cfviz.lessons import Scene, load_lessons
from cfviz.lessons.course import QUESTION_KINDS
from cfviz.measured import cel, stage_pictures
from cfviz.models.probes.embedding import layer
from cfviz.models.variants import BUNDLED
from cfviz.run import about_answer, class_names, inspect, load
from cfviz.site import Built, build, own, runtime
from cfviz.site.lessons import COMPUTED
from cfviz.trace import Trace
from cfviz.web import script
from cfviz.words import translator
from tests.e2e.test_accessibility import violations
from tests.site.test_site import ATTENTION, FIGURE, Visitor

LOGITS = 1e-3  # largest difference from the library's
pytestmark = [pytest.mark.browser, pytest.mark.slow(8)]
# What a host sends that forbids everything that it can: then the model may use several threads, too.
STRICT = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; worker-src 'self'",
}
ASKED = {
    f"runtime/{runtime.CODE}", f"runtime/{runtime.MODULE}", "runtime/ort-wasm-simd-threaded.bin",
    "own/model.bin", "own/template.bin",
}  # fmt: skip
SIZES = [(300, 200), (200, 300), (256, 256), (101, 340), (64, 50), (2100, 2001)]  # the last in two strips
NOISE = """(width, height) => Uint8Array.from({ length: 3 * width * height },
  (_, i) => Math.imul(i + 1, 2654435761) >>> 24)"""


def noise(width: int, height: int) -> np.ndarray:
    """What `NOISE` makes, too."""
    numbers = np.arange(1, 3 * width * height + 1, dtype=np.uint32) * np.uint32(2654435761)
    return (numbers >> 24).astype(np.uint8).reshape(height, width, 3)


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    window = browser.new_context()
    yield window.new_page()
    window.close()


def test_pixels_of_the_input_are_the_librarys(page: Any) -> None:
    """Every pixel of the crop, and the normalised numbers bit for bit."""
    known = own.about("home", load(BUNDLED), "en", str, (0, 0))["input"]
    page.goto("about:blank")
    for size in SIZES:
        prepared = prepare(load_image(noise(*size)), known["size"])
        found = page.evaluate(
            f"""([width, height, {{ size, keep, mean, std }}]) => {{
              {script("site/own/resize.js")}
              const rgb = ({NOISE})(width, height);
              const rows = (top, count) => rgb.subarray(3 * width * top, 3 * width * (top + count));
              const input = cropped({{ width, height, rows }}, size, keep);
              const tensor = normalised(input, mean, std);
              return [input.rgb, new Uint8Array(tensor.buffer)].map((bytes) =>
                bytes.reduce((all, byte) => all + String.fromCharCode(byte), ""));
            }}""",
            [*size, known],
        )
        rgb, tensor = (text.encode("latin-1") for text in found)
        assert rgb == prepared.crop.tobytes(), size
        assert tensor == prepared.tensor.numpy().tobytes(), size


def test_the_size_that_a_file_states_is_read_before_it_is_decoded(page: Any) -> None:
    picture, files = Image.new("RGB", (301, 77), "teal"), []
    exif = picture.getexif()
    exif[0x010E] = "a" * 20_000  # stands before the size
    for kind, more in (
        ("JPEG", {}), ("JPEG", {"progressive": True, "exif": exif}), ("PNG", {}), ("GIF", {}), ("BMP", {}),
        ("WEBP", {}), ("WEBP", {"lossless": True}), ("WEBP", {"exif": exif}), ("TIFF", {}),
    ):  # fmt: skip
        out = BytesIO()
        picture.save(out, kind, **more)
        files.append((kind, list(out.getvalue())))
    page.goto("about:blank")
    found = page.evaluate(
        f"""(files) => {{
          {script("site/own/sizes.js")}
          return files.map((data) => statedSize(Uint8Array.from(data)));
        }}""",
        [*(data for _, data in files), [255, 216, 255]],
    )
    assert found == [*(None if kind == "TIFF" else [301, 77] for kind, _ in files), None]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Built]:
    """The site with one photo, and the model for the reader's own."""
    try:
        place = runtime.there(runtime.folder())
    except ValueError as error:
        pytest.fail(f"{error}; `make test` fetches it")
    out = tmp_path_factory.mktemp("site") / "dist"
    with pytest.MonkeyPatch.context() as patch:  # as small as can be takes five seconds
        patch.setattr(own, "packed", lambda data: gzip.compress(data, 1, mtime=0))
        return out, build(out, photos=[sample("cat")], runtime=place)


class Host(Visitor):
    """A site whose host sends `STRICT`.

    Attributes:
        asked: Path and query of each request, but for those with which the browser, when it likes, looks for
            a newer service worker.
    """

    def __init__(self, out: Path, serve: Any, browser: Any) -> None:
        self.asked: list[str] = []
        super().__init__(out, serve, browser)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        if (request.path, request.headers["Service-Worker"]) != ("/offline.js", "script"):
            self.asked.append(request.path)
        send = request.end_headers

        def end() -> None:
            for name, value in STRICT.items():
                request.send_header(name, value)
            send()

        request.end_headers = end  # type: ignore[method-assign]  # for this one answer
        super().answer(request)


@pytest.fixture
def visit(built: tuple[Path, Built], serve: Any, browser: Any) -> Iterator[Host]:
    visitor = Host(built[0], serve, browser)
    yield visitor
    visitor.leave()


def give(page: Any, file: Path | dict[str, Any]) -> None:
    """Choose a file as one's own photo, and wait for its figure."""
    page.locator(".figure[data-photo]").wait_for(timeout=120_000)  # one that is kept may come first
    before = page.evaluate("document.getElementById('own').photos.known.size")
    page.locator("#own:enabled").set_input_files(file)
    page.wait_for_function(
        """(n) => {
          const said = document.getElementById("own");
          const shown = [...said.photos.known.keys()].at(-1);
          return said.photos.known.size > n && !said.disabled
            && document.querySelector(`.figure[data-photo="${shown}"]`);
        }""",
        arg=before,
        timeout=120_000,
    )


MESSAGES = """async () => {
  const { photos } = document.getElementById("own");
  const id = [...photos.known.keys()].at(-1);
  const found = [];
  for (const file of ["embedding.bin", "home.bin"]) {
    const data = await photos.of(id, file);
    found.push(data.reduce((all, byte) => all + String.fromCharCode(byte), ""));
  }
  return found;
}"""


def check_figures(page: Any, trace: Trace) -> None:
    """The figures of the embedding layers and of the whole model, of the photo that was given last."""
    model = load(BUNDLED)
    layers, maps = (message.opened(text.encode("latin-1")) for text in page.evaluate(MESSAGES))

    def array(entry: dict[str, Any]) -> np.ndarray:
        return np.frombuffer(layers.body[entry["at"] :][: entry["bytes"]], entry["type"])

    for s, one in enumerate(layers.header["cels"]):
        wanted = cel(layer(model, s), trace[point_names.embedding(s)])
        H, W, C = wanted.tokens.shape
        _, step = embedding.quantise(wanted.tokens)
        np.testing.assert_allclose(array(one["step"]), step, rtol=1e-4)
        tokens = array(one["codes"]).reshape(H, W, C) * array(one["step"])
        assert (np.abs(tokens - wanted.tokens) <= 0.51 * step + 1e-6).all()
        for name in embedding.MEASURES:
            values = getattr(wanted, name)
            np.testing.assert_allclose(array(one[name]).reshape(values.shape), values, rtol=1e-4, atol=1e-4)
    for uri, entry in zip(stage_pictures(trace, model.depths)[:-1], maps.header["pictures"], strict=True):
        png = maps.body[entry["at"] : entry["at"] + entry["bytes"]]
        both = Image.open(BytesIO(png)), opened(uri)
        there, here = (np.asarray(one.convert("RGB"), int) for one in both)
        assert np.abs(there - here).max() <= 1, "of 255"


def seen(page: Any) -> np.ndarray:
    """The input's pixels of the photo that was given last."""
    known = "[...document.getElementById('own').photos.known.values()]"
    png = bytes(page.evaluate(f"() => [...{known}.at(-1).png]"))
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"), int)


@pytest.mark.timeout(900)
def test_logits_are_the_librarys_on_the_whole_gallery_and_figures_in_every_stage(visit: Host) -> None:
    """And no byte of a photo leaves the page: there is no request after the model has come."""
    model, rng = load(BUNDLED), np.random.default_rng(3)
    page = visit("attention.html")
    photos, off, apart = gallery(), [], []
    maps = (*point_names.embeddings(), *point_names.stage_outputs(model.depths))
    for s, one in enumerate(photos[: len(model.depths)]):
        trace = inspect(one.path, model, watch=(point_names.attention(s), *maps))
        give(page, one.path)
        if not s:
            page.wait_for_function("() => navigator.serviceWorker.controller !== null")  # all is kept
            visit.asked.clear()
        b = int(rng.integers(len(trace.groupings[s])))
        g, probs = trace.groupings[s][b], trace[point_names.attention(s, b)]
        at = [s, b, *(int(rng.integers(n)) for n in (probs.shape[1], g.H, g.W))]
        found = page.evaluate(ATTENTION, at)
        group, slot = g.group_of(*at[3:])
        assert found["group"] == group
        off.append(float(np.abs(np.array(found["probs"]) - probs[group, at[2], slot]).max()))
        assert off[-1] <= found["error"] == own.ERROR, (one.id, at)
        name = class_names(model)[int(np.argmax(trace.logits))]
        expect(page.locator("#own-said")).to_contain_text(f"The model's answer: {name} ")
        assert "own-" not in page.url
        logits = page.evaluate("[...[...document.getElementById('own').photos.known.values()].at(-1).logits]")
        apart.append(float(np.abs(np.array(logits) - trace.logits).max()))
        if not s:
            check_figures(page, trace)
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<input type=file multiple id=many>')")
    others = photos[len(model.depths) :]
    page.locator("#many").set_input_files([one.path for one in others])
    answers = page.evaluate(
        """async () => {
          const { photos } = document.getElementById("own");
          const found = [];
          for (const file of document.getElementById("many").files) {
            const { logits, ms, threads } = photos.known.get(await photos.add(file, () => {}));
            found.push({ logits: [...logits], ms, threads });
          }
          return found;
        }"""
    )
    for one, answer in zip(others, answers, strict=True):
        apart.append(float(np.abs(np.array(answer["logits"]) - inspect(one.path, model).logits).max()))
    times = np.median([answer["ms"] for answer in answers])
    print(f"off by {max(apart):.1e} in a logit, by {max(off):.1e} of attention; {times:.0f} ms a forward")
    assert max(apart) < LOGITS
    assert all(answer["threads"] > 1 for answer in answers), "the page is isolated"
    # the browser asks for the icon again when the address changes
    more = [one for one in visit.asked if not re.fullmatch(r"/icon\.svg\?v=\w+", one)]
    assert not more, "the model was there after the first photo"


def kinds() -> dict[str, bytes]:
    """A photo as cameras, scanners and drawing programs write it."""
    picture = Image.open(sample("cat").path).convert("RGB").resize((320, 260))
    exif = picture.getexif()
    exif[0x0112] = 6
    clear = picture.copy()
    clear.putalpha(Image.linear_gradient("L").resize(picture.size))
    files = {
        "rotated.jpg": (picture, {"format": "JPEG", "quality": 95, "exif": exif}),
        "clear.png": (clear, {"format": "PNG"}),
        "print.jpg": (picture.convert("CMYK"), {"format": "JPEG", "quality": 95}),
        "grey.png": (picture.convert("L"), {"format": "PNG"}),
        "few.gif": (picture.convert("P"), {"format": "GIF"}),
    }
    found = {}
    for name, (image, more) in files.items():
        out = BytesIO()
        image.save(out, **more)
        found[name] = out.getvalue()
    return found


def refused() -> dict[str, tuple[bytes, str]]:
    t, sized = translator("en"), BytesIO()
    Image.new("RGB", (40, 40)).save(sized, "PNG")

    def stating(width: int, height: int) -> bytes:
        raw = sized.getvalue()
        return raw[:16] + width.to_bytes(4, "big") + height.to_bytes(4, "big") + raw[24:]

    return {
        "a.jpg": (b"not a photo", t("site.own_unreadable")),
        "b.jpg": (b"", t("images.error_empty")),
        "c.png": (
            stating(60_000, 60_000),
            t("images.error_too_many_pixels", megapixels=3600, limit=50),
        ),
        "d.png": (stating(3300, 100), t("images.error_too_narrow", width=3300, height=100, limit=32)),
    }


def test_other_photos_are_read_as_by_the_library_and_the_rest_refused_in_a_sentence(visit: Visitor) -> None:
    page = visit("zh-Hant/index.html", width=390, theme="dark", has_touch=True, bypass_csp=True)
    for name, data in kinds().items():
        give(page, {"name": name, "mimeType": "image/*", "buffer": data})
        wanted = np.asarray(prepare(load_image(data), 224).crop, int)
        most = {"clear.png": 1, "print.jpg": 1}.get(name, 0)
        assert np.abs(seen(page) - wanted).max() <= most, name
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.evaluate(AXE_SCRIPT)
    assert not violations(page)
    trace, t = inspect(kinds()["few.gif"], load(BUNDLED)), translator("zh-Hant")
    texts = page.locator(".whole .answer ol li").all_inner_texts()
    names = class_names(load(BUNDLED), "zh-Hant")
    assert [text.split() for text in texts] == [[names[i], f"{100 * p:.1f}", "%"] for i, _, p in trace.top(5)]
    line = page.locator(".whole .answer > .note").first
    expect(line).to_have_text(about_answer(trace, names, t))
    expect(page.locator("#own-said")).to_contain_text(t("site.own_there", forget=t("site.own_forget")))

    page = visit("embedding.html")
    for name, (data, sentence) in refused().items():
        page.locator("#own:enabled").set_input_files({"name": name, "mimeType": "image/*", "buffer": data})
        expect(page.locator("#own-said")).to_have_text(sentence, timeout=30_000)
    assert page.locator(".figure").get_attribute("data-photo") == "cat"
    give(page, {"name": "few.gif", "mimeType": "image/gif", "buffer": kinds()["few.gif"]})
    trace = inspect(kinds()["few.gif"], load(BUNDLED), watch=point_names.embeddings())
    wanted = cel(layer(load(BUNDLED), 2), trace[point_names.embedding(2)])
    found = page.evaluate(
        f"""() => new Promise((done) => {{
          const figure = ({FIGURE})("embedding");
          figure.choose(2);
          figure.set({{ row: 3, col: 5, measure: "caused" }}, true);
          requestAnimationFrame(() => requestAnimationFrame(() => done([...figure.values])));
        }})"""
    )
    assert found == pytest.approx(wanted.caused[:, 3, 5].tolist(), abs=1e-5)


def test_the_model_is_there_without_a_connection(visit: Visitor) -> None:
    """Once it was used; reaching the button loads nothing, looking for a file does."""
    page = visit("attention.html")
    page.wait_for_load_state("networkidle")
    assert not any(name.startswith(own.ON_DEMAND) for name, _ in visit.sent)
    page.locator("#own:enabled").focus()
    ring = page.locator(".own label").evaluate("(one) => getComputedStyle(one).outlineStyle")
    assert ring == "solid"
    page.locator(".own label").hover()
    page.wait_for_load_state("networkidle")
    assert not any(name.startswith(own.ON_DEMAND) for name, _ in visit.sent)
    with page.expect_file_chooser():
        page.locator("#own").click()
    page.wait_for_function("() => document.getElementById('own').photos.open")
    assert {name for name, _ in visit.sent if name.startswith(own.ON_DEMAND)} == ASKED
    give(page, sample("cat").path)
    visit.sent.clear()
    page.reload()  # what came before the service worker is fetched through it
    page.wait_for_function(f"() => ({FIGURE})('attention')?.block.ready")
    page.wait_for_load_state("networkidle")
    page.context.set_offline(True)
    page.reload()
    page.locator('.figure[data-photo^="own-"]').wait_for()
    give(page, sample("cat").path)
    page.locator('[data-figure="picker"]').get_by_role("radio").last.click()  # the gallery's
    expect(page.locator("#own-said")).to_contain_text("Nothing is uploaded")
    assert not any(name.startswith(own.ON_DEMAND) for name, _ in visit.sent), "they were kept at once"


STRIP = "[data-figure='picker'] [role=radio]"
LOGITS_NOW = "() => [...[...document.getElementById('own').photos.known.values()].at(-1).logits]"


def test_a_photo_stays_in_the_browser_until_it_is_forgotten(visit: Visitor) -> None:
    """On other pages and after a reload it is there with the same numbers."""
    t = translator("en")
    page = visit("attention.html")
    expect(page.locator("#forget")).to_be_hidden()
    give(page, sample("cat").path)
    expect(page.locator("#own-said")).to_contain_text(t("site.own_there", forget=t("site.own_forget")))
    expect(page.locator("#own-said")).to_contain_text(
        re.compile(r"took \d+\xa0ms on the processor \(WebAssembly\)")
    )
    told = page.wait_for_function("() => document.documentElement.dataset.graphics").json_value()
    tried = any(name.startswith("webgpu/") for name, _ in visit.sent)
    assert tried == (told != "none"), "its program comes only where there is a graphics processor"
    before, mine = page.evaluate(LOGITS_NOW), page.locator('.figure[data-photo^="own-"]')
    page.get_by_role("link", name=t("common.page_embedding"), exact=True).click()
    page.wait_for_url("**/embedding.html")
    mine.wait_for()
    assert page.evaluate(LOGITS_NOW) == before
    page.goto(page.url + "?photo=cat")  # a link that names a photo shows that one, and offers the reader's
    page.locator('.figure[data-photo="cat"]').wait_for()
    page.get_by_role("radio", name=t("common.yours", name="cat.jpg")).click()
    mine.wait_for()
    other = page.context.new_page()
    other.goto(page.url)
    other.get_by_role("radio", name=t("common.yours", name="cat.jpg")).wait_for()
    page.reload()
    mine.wait_for()
    assert page.evaluate(LOGITS_NOW) == before
    page.get_by_role("button", name=t("site.own_forget")).click()
    expect(page.locator("#own-said")).to_have_text(t("site.own_forgotten"))
    expect(page.locator("#own")).to_be_focused()
    page.locator('.figure[data-photo="cat"]').wait_for()
    expect(other.locator(STRIP)).to_have_count(1)
    page.reload()
    page.locator('.figure[data-photo="cat"]').wait_for()
    expect(page.locator(STRIP)).to_have_count(1)
    kept = page.evaluate(
        f"""async () => {{
          {script("site/own/kept.js")}
          const kept = new Kept(2);
          const before = await kept.list();
          for (const n of [1, 2, 3]) {{
            const file = new File([`photo ${{n}}`], `${{n}}.jpg`, {{ type: "image/jpeg" }});
            await kept.add(`own-${{n}}`, file, null);
          }}
          const [listed, file] = [await kept.list(), await kept.file("own-2")];
          const found = [before, listed.map(({{ name }}) => name), file.name, file.type, await file.text()];
          const gone = await kept.file("own-1");
          await kept.forget();
          return [...found, gone, await kept.list(), await kept.file("own-2")];
        }}"""
    )
    assert kept == [[], ["3.jpg", "2.jpg"], "2.jpg", "image/jpeg", "photo 2", None, [], None]


def test_a_browser_that_stores_nothing_says_so(visit: Visitor, page: Any) -> None:
    page.goto("about:blank")  # which has no storage
    withheld = f"""async () => {{
      {script("site/own/kept.js")}
      const kept = new Kept(2);
      kept.chosen = "own-1";
      const added = await kept.add("own-1", new File(["x"], "x.jpg"), null);
      await kept.forget();
      return [added, await kept.list(), await kept.file("own-1"), kept.chosen];
    }}"""
    assert page.evaluate(withheld) == [False, [], None, None]
    mine = visit("attention.html")
    mine.evaluate("Object.defineProperty(window, 'indexedDB', { get() { throw new Error('withheld') } })")
    give(mine, sample("cat").path)
    expect(mine.locator("#own-said")).to_contain_text(translator("en")("site.own_there_unkept"))
    mine.get_by_role("button", name=translator("en")("site.own_forget")).click()
    mine.locator('.figure[data-photo="cat"]').wait_for()


def test_lessons_ask_about_the_readers_own_photo(visit: Visitor, built: tuple[Path, Built]) -> None:
    """What depends on the photo is computed as in the app; what cannot be is said to be the gallery's."""
    t, course, model = translator("en"), load_lessons(), load(BUNDLED)
    page = visit("learn.html?lesson=2&step=4")
    photo = kinds()["few.gif"]
    page.locator(".lesson .figure[data-drawn]").wait_for()
    page.locator("#own:enabled").set_input_files(
        {"name": "few.gif", "mimeType": "image/gif", "buffer": photo}
    )
    page.wait_for_function(f"() => ({FIGURE})('attention')?.header.photo?.of.startsWith('own-')")
    watch = [f"layers.*.blocks.*.attn.{name}" for name in ("q", "k", "bias", "probs")]
    trace = inspect(photo, model, watch=[*watch, *point_names.embeddings()])
    scene = Scene(model, trace.size, lambda *watch: trace, class_names(model, "en"))
    steps = {
        f"{lesson.id}.{step.id}": step
        for lesson in course.lessons for step in lesson.steps if step.ask in COMPUTED
    }  # fmt: skip
    found = page.evaluate(
        f"""async (steps) => {{
          {script("site/own/questions.js")}
          const {{ photos }} = document.getElementById("own");
          const id = [...photos.known.keys()].at(-1);
          const packed = (await fetch("photos/cat/lessons-en.bin")).body;
          const asked = await new Response(packed.pipeThrough(new DecompressionStream("gzip"))).json();
          const found = {{}};
          for (const [name, ask] of Object.entries(steps))
            found[name] = await COMPUTED[ask](asked[name], (file) => photos.of(id, file));
          return found;
        }}""",
        {name: step.ask for name, step in steps.items()},
    )
    assert {step.ask for step in steps.values()} == set(COMPUTED)
    for name, step in steps.items():
        wanted = QUESTION_KINDS[step.ask].make(scene, step.state, step.after)
        assert found[name]["good"] == sorted(wanted.good), name
        assert found[name]["fields"] == json.loads(json.dumps(wanted.fields)), name
        assert found[name]["said"] == json.loads(json.dumps(wanted.said)), name
        assert found[name]["why"] == json.loads(json.dumps(wanted.why)), name
    note = t("site.lesson_gallery", photo=t("answer.unknown_photo", photo=t("gallery.cat")))
    expect(page.locator(".say")).not_to_contain_text(note)
    page.goto(f"{visit.base}/learn.html?lesson=5&step=2")
    expect(page.locator(".say")).to_contain_text(note)
    page.locator('.steps [data-step="5.1"]').click()
    page.wait_for_function(f"() => ({FIGURE})('attention')?.block.ready")
    assert page.evaluate(f"() => ({FIGURE})('attention').header.photo.of.startsWith('own-')")
    expect(page.locator(".say")).not_to_contain_text(note)


def test_the_model_waits_once_until_the_service_worker_keeps_what_is_loaded(page: Any) -> None:
    page.goto("about:blank")
    assert page.evaluate(
        f"""async () => {{
          {script("site/own/own.js")}
          let tell;
          const ready_ = new Promise((done) => (tell = done));
          Object.defineProperty(navigator, "serviceWorker", {{ value: {{ ready: ready_ }} }});
          const own = new OwnPhotos({{ files: {{}}, graphics: {{}}, most: 1 }});
          let ready = false;
          const waits = own.controlled().then(() => (ready = true));
          await new Promise((done) => setTimeout(done));
          const before = ready;
          tell();
          await waits;
          return [before, ready, own.kept instanceof Kept];
        }}"""
    ) == [False, True, True]
