"""The downloads below a figure: its code, the picture as PNG and SVG, its data as CSV or NPZ.

Plotly's own export draws the pictures in the reader's browser, offline; files are made on request.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from io import BytesIO, StringIO
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

from cfviz import web
from cfviz.figures.plots.cards import contact, contact_svg
from cfviz.ui.context import Context

Table = tuple[Sequence[str], Iterable[Sequence[Any]]]
Sheet = tuple[Sequence[Image.Image], Sequence[str], int]  # pictures, captions, pictures per row
ARRAYS = ("x", "y", "z", "text", "customdata")  # of a plotly trace

_take = st.components.v2.component(
    "cfviz.take",
    html='<div class="take"></div>',
    css=web.text("save/save.css"),
    js=web.script("save/main.js"),
)


def take_away(
    ctx: Context,
    name: str,
    *,
    code: str | None = None,
    table: Table | Callable[[], Table] | None = None,
    fig: Any = None,
    chart: str | None = None,
    live: str | None = None,
    sheet: Callable[[], Sheet] | None = None,
) -> None:
    """The quiet row of downloads below a figure.

    Args:
        ctx: The page.
        name: A name unique on the page, also used for the files.
        code: Python code to show, and to copy with one click.
        table: Column names and rows, for a CSV; long tables as a function, called on request.
        fig: The plotly figure; without a table, its arrays are offered as NPZ.
        chart: Key of the `st.plotly_chart` whose picture is saved as PNG or SVG.
        live: Key of one of our own figures, made of DOM elements and saved as it is on screen.
        sheet: Returns pictures, captions and the number of pictures per row; called on request.
    """
    with st.container(
        horizontal=True, key=f"cf-take-{ctx.name}-{name}", gap="small", vertical_alignment="center"
    ):
        if code is not None:
            with st.popover(ctx.t("common.show_code"), icon=":material/code:", type="tertiary"):
                st.code(code.strip(), language="python", wrap_lines=True)
        if any(one is not None for one in (code, chart, live)):
            _in_browser(ctx, name, code, chart, live)
        if sheet is not None:
            save = partial(_save, ctx, name)
            save("png", lambda: contact(*_themed(sheet(), ctx)), "image/png", "image")
            save("svg", lambda: contact_svg(*_themed(sheet(), ctx)), "image/svg+xml", "shape_line")
        if table is not None:
            give = _on_demand(table)
            _save(ctx, name, "csv", lambda: to_csv(*give()), "text/csv", "table_view")
        elif fig is not None:
            _save(ctx, name, "npz", partial(to_npz, fig), "application/octet-stream", "data_array")


def _on_demand(table: Table | Callable[[], Table]) -> Callable[[], Table]:
    """A table as a function; rows passed directly are copied, because an iterator yields them only once."""
    if callable(table):
        return table
    columns, rows = table[0], [list(row) for row in table[1]]
    return lambda: (columns, rows)


def _themed(sheet: Sheet, ctx: Context) -> tuple[Any, ...]:
    pictures, captions, columns = sheet
    return pictures, captions, ctx.theme, columns


def _in_browser(ctx: Context, name: str, code: str | None, chart: str | None, live: str | None) -> None:
    """The buttons that work without the server: copy the code, save the chart or figure as PNG or SVG."""
    words = {
        key: ctx.t(f"common.{key}") for key in ("copy_code", "copied", "png", "svg", "png_help", "svg_help")
    }
    data = {
        "code": (code or "").strip(), "chart": chart or "", "live": live or "",
        "file": f"cfviz-{name}", "words": words,
    }  # fmt: skip
    _take(key=f"take.{ctx.name}.{name}", data=data, width="content")


def _save(ctx: Context, name: str, form: str, make: Callable[[], bytes], mime: str, icon: str) -> None:
    st.download_button(
        ctx.t(f"common.{form}"), make, f"cfviz-{name}.{form}", mime, type="tertiary",
        icon=f":material/{icon}:", on_click="ignore", key=f"{form}.{ctx.name}.{name}",
    )  # fmt: skip


def to_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """A table as CSV that a spreadsheet opens with Chinese text intact (UTF-8 with a byte-order mark).

    Text that it would take for a formula, such as a photo's name, begins with an apostrophe.
    """
    out = StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerows([_plain_text(cell) for cell in row] for row in (columns, *rows))
    return b"\xef\xbb\xbf" + out.getvalue().encode()


def _plain_text(cell: Any) -> Any:
    """A cell that no spreadsheet computes; `web/save/files.js` does the same."""
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return cell
    with suppress(ValueError):
        float(cell)
        return cell
    return f"'{cell}"


def to_npz(fig: Any) -> bytes:
    """Every array of a plotly figure, readable by `numpy.load` without pickle: `0.name.x`, `0.name.y`, …

    Args:
        fig: The figure. Its traces are counted from 0; evenly spaced values (x0, dx) are written out.
    """
    arrays: dict[str, np.ndarray] = {}
    for n, trace in enumerate(fig.data):
        head = f"{n}.{trace.name}" if trace.name else str(n)
        for key in ARRAYS:
            values = getattr(trace, key, None)
            if values is not None:
                arrays[f"{head}.{key}"] = _plain(values)
        for axis, size in (("x", 1), ("y", 0)):
            if f"{head}.z" in arrays and f"{head}.{axis}" not in arrays and trace[f"d{axis}"] is not None:
                steps = np.arange(arrays[f"{head}.z"].shape[size])
                arrays[f"{head}.{axis}"] = trace[f"{axis}0"] + trace[f"d{axis}"] * steps
    out = BytesIO()
    np.savez_compressed(out, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def _plain(values: Any) -> np.ndarray:
    array = np.asarray(values)
    return array.astype(str) if array.dtype == object else array
