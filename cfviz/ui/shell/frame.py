"""How pages look: navigation, header, banner, and a figure with its sentence, its code and its data."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from cfviz import web
from cfviz.bundled import APP, bundled
from cfviz.figures.theme import plotly_config
from cfviz.ui.session.plain import plain, plain_fields
from cfviz.ui.widgets import weights
from cfviz.ui.widgets.takeaway import take_away
from cfviz.ui.widgets.trained import trained

if TYPE_CHECKING:
    from .page import Context

BREATH = 0.5  # seconds in which a browser with a core to itself loads, decodes and paints a figure
ICON = str(bundled("icon.svg"))
CSS = web.text("shell/style.css")

# group -> pages in reading order; only those whose file exists are linked
NAVIGATION = {
    "start": ("home", "learn", "predict"),
    "look_inside": ("grouping", "attention", "embedding", "position_bias"),
    "experiment": ("lab", "compare", "study"),
}
ICONS = {
    "home": "home", "predict": "photo_camera", "learn": "school", "grouping": "grid_view",
    "attention": "visibility", "embedding": "layers", "position_bias": "my_location", "lab": "science",
    "compare": "compare", "study": "stacks",
}  # fmt: skip


def script(page: str) -> str:
    """A page's file, relative to the project: ``home`` is ``app.py``."""
    return "app.py" if page == "home" else f"pages/{page}.py"


def exists(page: str) -> bool:
    """Whether a page is there to be linked."""
    return (APP / script(page)).is_file()


def navigation(ctx: Context) -> None:
    """Our own links, grouped and translated; each carries the settings to the next page."""
    with st.container(key="cf-nav", gap=None):
        st.html(f'<div class="cf-brand"><b>cfviz</b><span>{ctx.t("common.brand")}</span></div>')
        for group, pages in NAVIGATION.items():
            there = [page for page in pages if exists(page)]
            if there:
                st.html(f'<div class="cf-nav-group">{ctx.t(f"common.nav_{group}")}</div>')
            for page in there:
                st.page_link(
                    script(page),
                    label=ctx.t(f"common.page_{page}"),
                    icon=f":material/{ICONS[page]}:",
                    query_params=ctx.settings.query(),
                    width="stretch",
                )


# The page's language, for screen readers; and a rerun when the system turns dark or light, which Streamlit
# alone does not do: figures drawn here would keep the colours of the other theme.
_document = st.components.v2.component(
    "cfviz.document",
    js="""export default ({ data, setTriggerValue }) => {
      const html = document.documentElement;
      [html.lang, html.dataset.theme] = [data.lang, data.theme];
      const scheme = matchMedia("(prefers-color-scheme: dark)");
      const tell = () => setTriggerValue("scheme", scheme.matches ? "dark" : "light");
      const changed = () => setTimeout(tell, 100); // once Streamlit has changed its own colours
      scheme.addEventListener("change", changed);
      return () => scheme.removeEventListener("change", changed);
    };""",
)


def style(ctx: Context) -> None:
    """The few rules that Streamlit's theme has no option for, and the page's language for screen readers."""
    words = {"browse": ctx.t("common.browse"), "limits": ctx.t("common.limits")}
    variables = "".join(f'--cf-{name}: "{text}";' for name, text in words.items())
    colours = {
        "paper": ctx.theme.paper,
        "muted": ctx.theme.muted,
        "good": ctx.theme.good,
        "warn": ctx.theme.warn,
    }
    variables += "".join(f"--cf-{name}: {colour};" for name, colour in colours.items())
    st.html(f"<style>:root {{ {variables} }} {CSS}</style>")
    with st.container(key="cf-document"):
        data = {"lang": ctx.lang, "theme": ctx.theme.name}
        _document(key="document", data=data, height=1, on_scheme_change=lambda: None)


def header(ctx: Context) -> None:
    """The title and, under it, the one sentence that says what the page is for."""
    back = ctx.get("back", "", lambda text: re.fullmatch(r"\d{1,2}\.\d{1,2}", text) is not None)
    if back and ctx.name != "learn":  # the reader came here from a step of a lesson
        lesson, step = back.split(".")
        st.page_link(
            script("learn"), label=ctx.t("common.to_lesson", lesson=lesson, step=step),
            icon=":material/arrow_back:",
            query_params=ctx.settings.query() | {"lesson": lesson, "step": step},
        )  # fmt: skip
    st.title(ctx.t(f"{ctx.name}.title"), anchor=False)
    st.markdown(f'<p class="cf-lede">{ctx.t(f"{ctx.name}.lede")}</p>', unsafe_allow_html=True)


def weights_banner(ctx: Context) -> None:
    """Announce random weights above the page: what they show is structure, never knowledge."""
    if ctx._banner is None or ctx.model.provenance.trained is not None:
        return
    name = plain(weights.title(ctx.settings.model))
    with ctx._banner:
        st.warning(ctx.t("common.random_weights", model=name), icon=":material/casino:")
        weights.offer(ctx)


def weights_line(ctx: Context, markdown: bool = True) -> str:
    """One sentence on where the weights come from and what they were trained on.

    Args:
        ctx: the page.
        markdown: whether it is for Markdown; what the file says of itself is made plain then.
    """
    its = ctx.model.provenance
    if its.trained is None:
        return ctx.t("common.weights_random")
    key = "weights_bundled" if its.source == "bundled" else "weights_other"
    said = {"source": its.source, "trained": trained(ctx.t, its.trained)}
    return ctx.t(f"common.{key}", **(plain_fields(said) if markdown else said))


def breathe() -> None:
    """Between a figure that has just appeared and the rest of its page: let the browser draw it first.

    What follows (plots, tables, dozens of labels) keeps the browser busy for a second or more, and a figure
    whose picture is still being decoded would wait for all of it. Only browsers are waited for.
    """
    if st.context.headers.get("User-Agent"):
        time.sleep(BREATH)


def look(text: str) -> None:
    """The sentence above a figure that says what to look at (Markdown)."""
    st.markdown(f'<div class="cf-look">\n\n{text}\n\n</div>', unsafe_allow_html=True)


def figure(
    ctx: Context,
    fig: Any,
    name: str,
    key: str = "",
    /,
    *,
    code: str | None = None,
    table: tuple[Sequence[str], Iterable[Sequence[Any]]] | None = None,
    **fields: object,
) -> None:
    """A plotly figure with its sentence above and, below, its code and its data.

    The texts are ``<page>.<name>_look`` and ``<page>.<name>_alt`` of the translations.

    Args:
        ctx: the page.
        fig: the plotly figure.
        name: short, also the name of the files taken away.
        key: tells several figures of one name apart.
        code: the few lines of Python that compute it.
        table: column names and rows, for the CSV.
        **fields: what fills the texts.
    """
    look(ctx.t(f"{ctx.name}.{name}_look", **fields))
    alt = ctx.t(f"{ctx.name}.{name}_alt", **fields)
    chart(ctx, fig, name + key, alt)
    take_away(ctx, name + key, code=code, table=table, fig=fig, chart=chart_key(ctx, name + key))


def chart(ctx: Context, fig: Any, name: str, alt: str) -> None:
    """A plotly figure alone; `take_away` puts under it what can be taken away.

    Args:
        ctx: the page.
        fig: the plotly figure.
        name: unique on the page, also the name of the file.
        alt: what it shows, for those who do not see it.
    """
    st.plotly_chart(
        fig,
        theme=None,
        width="stretch",
        key=chart_key(ctx, name),
        alt=alt,
        config=plotly_config(f"cfviz-{name}"),
    )


def chart_key(ctx: Context, name: str) -> str:
    """The key of a `chart`."""
    return f"fig.{ctx.name}.{name}"


def taken(ctx: Context, fig: Any, name: str, alt: str, code: str | None = None) -> None:
    """A plotly figure and, under it, its picture and data to take away.

    Args:
        ctx: the page.
        fig: the plotly figure.
        name: unique on the page, also the name of the files.
        alt: what it shows, for those who do not see it.
        code: the few lines of Python that compute it.
    """
    chart(ctx, fig, name, alt)
    take_away(ctx, name, code=code, fig=fig, chart=chart_key(ctx, name))
