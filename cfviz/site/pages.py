"""The pages of the site as HTML: the app's titles, sentences and navigation around empty boxes for figures.

What a page's code needs stands in its element `site`, as JSON (`cfviz/web/site/main.js` reads it):

    page, lang      which page this is
    root, version   where the site begins, seen from the page, and what tells this build from others
    figures         name -> {"code", "sheets", "host"}: addresses of the figure's files, the class of its box
    photos          [{"id", "title", "src"}]; empty on pages without photos
    palette         {"light", "dark"}: colours by name
    words           {"failed", "photo"}
    strings         the words of the page's figure
    addresses       home: name of a page -> its address
    data, usual, allowed   grouping: its figure's data, the link's defaults, and what a link may hold
    measures        embedding: the measures that a link may name
    own             where readers open photos of their own: addresses, numbers and words (`own.py`), and at
                    home what its figure shows of any photo; left out if the site takes none
    choices         position bias: name -> [default, lowest, highest]
    app             learn: the address of a running app, or ""
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cfviz
from cfviz import web
from cfviz.figures import theme
from cfviz.figures.live import grouping
from cfviz.figures.live.embedding import MEASURES
from cfviz.figures.plots.architecture import readable
from cfviz.framing import size_text
from cfviz.measured import BIAS_CHOICES, coverage
from cfviz.measured.board import board_frame
from cfviz.models.crossformer import CrossFormer, recorded
from cfviz.models.probes.cost import Cost
from cfviz.models.variants import BUNDLED, PAPERS, title
from cfviz.options import LDA
from cfviz.words import LANGUAGES, figure_words, marked, section_words, together, translator

from . import lessons, own
from .contents import SIZE, Shown

PAGES = ("home", "grouping", "attention", "embedding", "position_bias", "learn")  # as in the app's navigation
WITH_PHOTO = ("home", "attention", "embedding", "learn")
# The figures of other pages.
DRAWN = {"learn": ("attention", "grouping", "embedding", "position_bias", "lab", "dense")}
ELSEWHERE = ("lab", "dense")  # pages of the app alone whose figures the lessons show, too
SECTIONS = ("made", "resized")  # of the page on position bias, opened by the reader
FIGURES = {
    "home": web.HOME, "grouping": web.GROUPING, "attention": web.ATTENTION, "embedding": web.EMBEDDING,
    "position_bias": web.POSITION_BIAS, "lab": web.LAB, "dense": web.DENSE, "picker": web.PICKER,
}  # fmt: skip
# Code, styles and data come from the site alone, and nothing written into a page runs or is a style.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'"
)
TEMPLATE = Path(__file__).with_name("page.html")


@dataclass(frozen=True)
class Site:
    """What all pages share.

    Attributes:
        photos: In the order of the strip.
        model: The model behind all figures.
        costs: The cost of its parts.
        version: Tells this build from others.
        app: The address of a running app, or "".
        own: MB that the reader's first own photo loads, and more for a graphics processor, see
            `own.megabytes`; 0 if the site takes none.
    """

    photos: Sequence[Shown]
    model: CrossFormer
    costs: Mapping[str, Cost]
    version: str
    app: str = ""
    own: tuple[int, int] = (0, 0)


def address(page: str, lang: str) -> str:
    """Where a page lies in the site: English ones at the top, the others in a folder."""
    folder = "" if lang == "en" else f"{lang}/"
    return folder + _file(page)


def _file(page: str) -> str:
    """A page's file: where it lies, seen from any page of the same language."""
    return "index.html" if page == "home" else f"{page}.html"


def code() -> dict[str, bytes]:
    """The files of code and style: one per figure, those of the pages, the colours of both themes."""
    files = {f"code/{name}.js": figure.script for name, figure in FIGURES.items()}
    files |= {f"code/{sheet}": web.text(sheet) for figure in FIGURES.values() for sheet in figure.sheets}
    files["code/first.js"] = web.program("site/first.js", "run(document);")
    files["code/site.js"] = web.program("site/main.js", "run(document);")
    files["embed.js"] = web.program("site/embed.js", "run(window);")
    files["code/own.js"] = web.program("site/own/worker.js", "run(self);")
    files["code/site.css"] = web.text("site/site.css")
    files["code/lessons.css"] = web.text("site/lessons.css")
    files["code/selftest.css"] = web.text("desk/selftest.css")
    files["code/theme.css"] = _themes()
    drawn = {f"code/formulas/{name}": drawing for name, drawing in lessons.formulas().items()}
    return (
        drawn
        | {name: text.encode() for name, text in files.items()}
        | {"icon.svg": theme.icon().read_bytes()}
    )


def kept(files: Iterable[str]) -> list[str]:
    """The files that the service worker keeps from the first visit on; others once they were shown."""
    words = {f"{name}-{lang}.bin" for name in ("lessons", "selftest") for lang in LANGUAGES}
    ends = (".html", "small.webp", "icon.svg", "position_bias.bin", "maps.bin")
    return [name for name in files if name in words or name.startswith("code/") or name.endswith(ends)]


def worker(version: str, files: Mapping[str, bytes]) -> bytes:
    """The service worker, which lies at the top: it serves what is below it.

    Args:
        version: Tells this build from others.
        files: All files of the site.
    """
    html = [files[name] for name in files if name.endswith(".html")]
    digest = hashlib.sha256(b"".join(html)).hexdigest()[:12]
    every = [name if name.endswith(".html") else f"{name}?v={version}" for name in kept(files)]
    listed = json.dumps(sorted(every))
    # A browser that knows the worker takes another one, with the pages, only if its text differs.
    start = f"run(self, {json.dumps(version)}, {listed}); // pages: {digest}\n"
    return web.program("site/offline.js", start).encode()


def _themes() -> str:
    """The colours as variables: those of the system's theme, or those that the reader chose."""

    def rule(selector: str, of: theme.Theme) -> str:
        # Figures look at the ground around them under the name that Streamlit gives it.
        named = {**of.css(), "st-background-color": of.paper}
        lines = "".join(f"  --{name}: {value};\n" for name, value in named.items())
        return f"{selector} {{\n  color-scheme: {of.name};\n{lines}}}\n"

    dark = rule(':root:not([data-theme="light"])', theme.DARK)
    return (
        rule(":root", theme.LIGHT)
        + f"@media (prefers-color-scheme: dark) {{\n{dark}}}\n"
        + rule(':root[data-theme="dark"]', theme.DARK)
    )


def html(page: str, lang: str, site: Site) -> bytes:
    """One page."""
    t = translator(lang)
    root = "" if lang == "en" else "../"
    other = next(one for one in LANGUAGES if one != lang)
    named = {name: f"{root}{file}?v={site.version}" for name, file in _FILES.items()}
    figure = _figure(_drawn(page)[0], root, site.version)
    sheets = [f"{root}code/{one}?v={site.version}" for one in _SHEETS.get(page, ())]
    blanks = {
        "LANG": lang,
        "POLICY": POLICY,
        "ABOUT": escape(t(f"{page}.lede")),
        "TITLE": escape(t(f"{page}.title")),
        "OTHERLANG": other,
        "OTHER": root + address(page, other),
        "PRELOAD": "\n".join(
            [f'<link rel="modulepreload" href="{figure["code"]}">']
            + [f'<link rel="preload" as="style" href="{sheet}">' for sheet in figure["sheets"]]
            + [f'<link rel="stylesheet" href="{sheet}">' for sheet in sheets]
        ),
        # `<` would end the element early
        "SITE": json.dumps(_settings(page, lang, root, site), ensure_ascii=False).replace("<", "\\u003c"),
        "SKIP": escape(t("site.skip")),
        "BRAND": escape(t("common.brand")),
        "PAGES": escape(t("site.pages")),
        "NAVIGATION": "\n".join(_link(one, page, lang) for one in PAGES),
        "TOOLS": _tools(page, lang, other, root),
        "LEDE": marked(t(f"{page}.lede")),
        "NOSCRIPT": escape(t("site.noscript")),
        "DISK": marked(t("site.from_disk")),
        "HERE": _file(page),
        "WHOLE": escape(t("site.whole")),
        "BODY": _BODIES[page](page, lang, site),
        "FOOTER": _footer(page, lang, site),
        **named,
    }
    return web.filled(TEMPLATE.read_text("utf-8"), blanks).encode()


_FILES = {
    "ICON": "icon.svg", "THEME": "code/theme.css", "STYLE": "code/site.css", "FIRST": "code/first.js",
    "CODE": "code/site.js",
}  # fmt: skip


# ---------------------------------------------------------------- what the code is told


def _figure(name: str, root: str, version: str) -> dict[str, Any]:
    def place(file: str) -> str:
        return f"{root}code/{file}?v={version}"

    figure = FIGURES[name]
    return {
        "code": place(f"{name}.js"),
        "sheets": [place(sheet) for sheet in figure.sheets],
        "host": figure.host,
    }


def _drawn(page: str) -> tuple[str, ...]:
    """The figures that a page draws."""
    return DRAWN.get(page, (page,))


def _settings(page: str, lang: str, root: str, site: Site) -> dict[str, Any]:
    t = translator(lang)
    names = (*_drawn(page), "picker") if page in WITH_PHOTO else _drawn(page)
    folder = f"{root}photos"
    found = {
        "page": page,
        "lang": lang,
        "root": root,
        "version": site.version,
        "figures": {name: _figure(name, root, site.version) for name in names},
        "photos": [
            {
                "id": one.sample.id,
                "title": one.title(lang),
                "src": f"{folder}/{one.sample.id}/small.webp?v={site.version}",
            }
            for one in site.photos
        ],
        "palette": {"light": theme.LIGHT.css(), "dark": theme.DARK.css()},
        "words": {"failed": t("site.failed"), "photo": t("common.photo")},
    }
    return found | _OWN[page](lang, site)


def _of_home(lang: str, site: Site) -> dict[str, Any]:
    found = {"addresses": {name: _file(name) for name in PAGES}}
    taken = _of_own("home", lang, site)
    if taken:
        taken["own"]["home"] = own.home(site.model, lang, site.costs)
    return found | taken


def _of_grouping(lang: str, site: Site) -> dict[str, Any]:
    model = site.model
    side = SIZE // 4
    channels, interval = model.feature_info[0]["num_chs"], model.interval
    every = interval if isinstance(interval, str) else interval[0]
    mine = grouping.query_of_stage((side, side), model.group_size[0], every, channels)
    start, _ = grouping.state_from_link(mine)
    allowed = {
        "limits": grouping.LIMITS, "channels": grouping.CHANNELS, "forms": list(LDA),
        "sections": grouping.SECTIONS, "defaults": grouping.DEFAULTS,
    }  # fmt: skip
    return {
        "data": grouping.pack(start, strings=figure_words("grouping", lang)),
        "usual": mine,
        "allowed": allowed,
    }


def _of_attention(lang: str, site: Site) -> dict[str, Any]:
    return {"strings": figure_words("attention", lang)} | _of_own("attention", lang, site)


def _of_embedding(lang: str, site: Site) -> dict[str, Any]:
    found = {"strings": figure_words("embedding", lang), "measures": MEASURES}
    return found | _of_own("embedding", lang, site)


def _of_own(page: str, lang: str, site: Site) -> dict[str, Any]:
    """What a page is told that shows photos of the reader's own; nothing if the site takes none."""
    if not any(site.own):
        return {}
    root = "" if lang == "en" else "../"

    def place(file: str) -> str:
        return f"{root}{file}?v={site.version}"

    return {"own": own.about(page, site.model, lang, place, site.own)}


def _of_position_bias(lang: str, site: Site) -> dict[str, Any]:
    del site
    choices = {name: [usual, min(allowed), max(allowed)] for name, (usual, allowed) in BIAS_CHOICES.items()}
    return {"strings": figure_words("position_bias", lang), "choices": choices}


def _of_learn(lang: str, site: Site) -> dict[str, Any]:
    return {"app": site.app.rstrip("/")} | _of_own("learn", lang, site)


def lessons_data(lang: str, model: CrossFormer) -> bytes:
    """JSON for the page of lessons in one language: too much to stand in the page, which loads it."""
    t, whole = translator(lang), ("grouping", "lab")
    named = [(name, _file(name)) for name in PAGES] + [(name, "") for name in ELSEWHERE]
    found = lessons.course_words(lang) | {
        "strings": {name: figure_words(name, lang) for name in DRAWN["learn"] if name not in whole},
        "grouping": grouping.pack({}, strings=figure_words("grouping", lang), lesson="ask"),
        "board": board_frame(model, SIZE, lang),
        "addresses": {name: [file, t(f"common.page_{name}")] for name, file in named},
    }
    return json.dumps(found, ensure_ascii=False).encode()


_OWN = {
    "home": _of_home, "grouping": _of_grouping, "attention": _of_attention, "embedding": _of_embedding,
    "position_bias": _of_position_bias, "learn": _of_learn,
}  # fmt: skip


# ---------------------------------------------------------------- what stands on a page


def _link(to: str, page: str, lang: str) -> str:
    t, here = translator(lang), ' aria-current="page"' if to == page else ""
    return f'<li><a data-keeps="photo" href="{_file(to)}"{here}>{escape(t(f"common.page_{to}"))}</a></li>'


def _tools(page: str, lang: str, other: str, root: str) -> str:
    t = translator(lang)
    exact = (
        f'<button id="exact" aria-pressed="false" title="{escape(t("common.view_input_help"))}">'
        f"{escape(t('common.view_input'))}</button> "
        if page in WITH_PHOTO
        else ""
    )
    return (
        f'{exact}<button id="theme" aria-pressed="false">{escape(t("site.dark"))}</button> '
        f'<a data-keeps="all" lang="{other}" hreflang="{other}" href="{root}{address(page, other)}">'
        f"{LANGUAGES[other]}</a>"
    )


def _box(figure: str) -> str:
    return f'<div class="figure" data-figure="{figure}"></div>'


def _with_photo(page: str, lang: str, site: Site) -> str:
    t = translator(lang)
    credits = "\n".join(
        f'<p class="small" data-credit="{one.sample.id}" hidden>{marked(one.sample.credit(t))}</p>'
        for one in site.photos
    )
    look = section_words(page, lang).get("look", "")
    return (
        '<div class="strip" data-figure="picker"></div>\n'
        + (_own(lang, site) if page in own.PAGES else "")
        + (f'<p class="look">{marked(look)}</p>\n' if look else "")
        + (credits if page in DRAWN else f"{_box(page)}\n{credits}")
    )


def _own(lang: str, site: Site) -> str:
    """Where a reader opens a photo of their own, or is told that this site takes none."""
    t = translator(lang)
    if not any(site.own):
        return f'<p class="own">{marked(t("site.own_none"))}</p>\n'
    return (
        f'<p class="own"><label class="button">{escape(t("site.own"))}'
        '<input type="file" id="own" accept="image/*" disabled></label>'  # until the code is here
        f' <button type="button" id="forget" class="button" hidden>{escape(t("site.own_forget"))}</button>'
        f' <span id="own-said" role="status">{escape(own.note(lang, site.own))}</span></p>\n'
    )


def _home_body(page: str, lang: str, site: Site) -> str:
    t, total = translator(lang), site.costs["total"]
    summary = t(
        "home.summary", model=title(BUNDLED), size=size_text(SIZE), params=readable(total.params),
        macs=readable(total.macs), covers=coverage(site.model.groupings(SIZE, SIZE), t),
    )  # fmt: skip
    papers = t("home.papers", first=PAPERS[0], second=PAPERS[1])
    return (
        f'<p class="small">{marked(papers)}</p>\n{_with_photo(page, lang, site)}\n'
        f'<p class="small">{marked(summary)}</p>'
    )


def _alone(page: str, lang: str, site: Site) -> str:
    del lang, site
    return _box(page)


def _bias_body(page: str, lang: str, site: Site) -> str:
    del site
    t = translator(lang)
    parts = [f'<p class="look">{marked(t(f"{page}.surfaces_look"))}</p>', _box("surfaces")]
    parts += [
        f'<details data-section="{name}"><summary><h2>{escape(t(f"{page}.{name}_title"))}</h2> '
        f"<span>{escape(t(f'{page}.{name}_inside'))}</span></summary>\n"
        f'<p class="look">{marked(t(f"{page}.{name}_look"))}</p>\n{_box(name)}</details>'
        for name in SECTIONS
    ]
    return "\n".join(parts)


def _learn_body(page: str, lang: str, site: Site) -> str:
    t, here = translator(lang), _file(page)
    links = "".join(
        f'<li><a data-room="{room}" href="{here}{query}">{escape(t(f"learn.room_{room}"))}</a></li>'
        for room, query in (("lessons", ""), ("test", "?room=test"))
    )
    course, glossary = lessons.contents(lang, here), lessons.glossary(lang)
    return (
        f'<nav class="rooms" aria-label="{escape(t("learn.room"))}"><ul>{links}</ul></nav>\n'
        f'<div class="room-lessons">\n{course}\n{_with_photo(page, lang, site)}\n{glossary}\n</div>\n'
        f'<div class="room-test"><p class="lede">{marked(t("learn.lede_test"))}</p>\n'
        '<div class="test"></div></div>'
    )


_SHEETS = {"learn": ("lessons.css", "selftest.css")}
_BODIES = {
    "home": _home_body, "grouping": _alone, "attention": _with_photo, "embedding": _with_photo,
    "position_bias": _bias_body, "learn": _learn_body,
}  # fmt: skip


def _footer(page: str, lang: str, site: Site) -> str:
    t = translator(lang)
    lines = [t("site.about", model=title(BUNDLED), size=size_text(SIZE), version=cfviz.__version__)]
    if page == "grouping":
        lines = [t("site.about_grouping", version=cfviz.__version__)]
    else:
        lines += [recorded(site.model).sentence(t, str), recorded(site.model).terms(t)]
    more = marked(t("site.more"))
    if site.app:
        place = site.app.rstrip("/") + ("/" if page == "home" else f"/{quote(page)}")
        link = f'<a data-keeps="all" data-lang="{lang}" href="{escape(place)}">{escape(t("site.open"))}</a>'
        more = f"{more} {link}"
    return f"<p>{escape(together(*lines))}</p>\n<p>{more}</p>"
