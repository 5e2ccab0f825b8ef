"""The input's shape, how the photo is fitted to it, and what of the photo the model then sees."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from cfviz.framing import (
    LARGEST,
    SMALLEST,
    STEP,
    Frame,
    Size,
    as_pair,
    as_size,
    frame,
    shape_of_photo,
    size_code,
    size_text,
)
from cfviz.models.room import KEPT, SHARED, attention_weights, check_room, forward_bytes
from cfviz.options import MODES, RECTANGLES, SIZES, TRAINED_SIZE
from cfviz.ui.compute import models
from cfviz.ui.context import Context
from cfviz.ui.session import forms, photos, state
from cfviz.ui.session.plain import plain
from cfviz.ui.widgets.figure import CROP, committed
from cfviz.words import quantity, together

FLOAT = 4  # bytes of an attention weight
SMALL = 200  # height of the figure in the sidebar, at most


def show_framing(ctx: Context, choose: Callable[..., None]) -> None:
    """The input's size, a popover with its shape and the fitting, and one sentence on what the model sees.

    Args:
        ctx: The page.
        choose: Draws a select box that changes one setting.
    """
    t, size = ctx.t, ctx.settings.size
    own = as_size(*shape_of_photo(photos.size_of(ctx.settings.photo)))

    def title(one: Size) -> str:
        if one == own and not isinstance(one, int):
            return t("framing.own_shape", size=size_text(one))
        return quantity(size_text(one), "px")

    choose(t("common.size"), "size", presets(own, size), size, title)
    with st.popover(t("framing.shape"), icon=":material/crop:", width="stretch"):
        fields, photo = st.columns(2, gap="medium")  # beside each other, so that all of it is in sight
        with fields:
            _sides(ctx)
            _mode(ctx)
        with photo:
            show_crop(ctx, "crop.side", SMALL)
    st.caption(shown(ctx).sentence(t))


def show_crop(ctx: Context, name: str, most: int) -> None:
    """The whole photo with what the model sees drawn on it; a crop can be moved.

    Args:
        ctx: The page.
        name: The widget's key.
        most: Height of the figure at most, in CSS pixels.
    """
    seen = shown(ctx)
    try:
        whole = photos.whole(ctx.settings.photo)
    except (ValueError, OSError):
        return  # the page reports a photo that cannot be opened
    movable = seen.movable if seen.mode == "crop" else (False, False)
    data = {
        "src": whole,
        "wide": seen.photo[0],
        "high": seen.photo[1],
        "box": seen.box,
        "movable": movable,
        "label": ctx.t("framing.crop_label" if any(movable) else "framing.frame_label"),
        "css": {"ink": ctx.theme.ink, "most": f"{most}px"},
    }
    CROP.show(data, name=name, on_commit=lambda: _move(name))


def _move(name: str) -> None:
    """Move the crop before the page runs."""
    if to := committed(name, forms.CROP):
        state.change(centre=(to["x"], to["y"]))


def presets(own: Size, chosen: Size) -> list[Size]:
    """The sizes on offer: squares, the photo's own shape, further rectangles, and the chosen one."""
    return list(dict.fromkeys([*SIZES, own, *RECTANGLES, chosen]))


def shown(ctx: Context) -> Frame:
    """What the model sees of the chosen photo."""
    s = ctx.settings
    return frame(photos.size_of(s.photo), s.size, s.mode, s.centre)


@st.fragment
def _sides(ctx: Context) -> None:
    """Height and width, and what they cost; a size for which there is no room is refused."""
    t, code = ctx.t, size_code(ctx.settings.size)  # in the keys: another size starts the fields anew
    with st.form("size", border=False):  # Enter in a field submits it
        with st.container(horizontal=True, gap="small"):
            height, width = (
                st.number_input(t(f"framing.{name}"), SMALLEST, LARGEST, side, STEP, key=f"w.{name}.{code}")
                for name, side in zip(("height", "width"), ctx.settings.sides, strict=True)
            )
        used = st.form_submit_button(t("framing.use"), key="w.size.use", width="stretch")
    sides = [round(side / STEP) * STEP for side in (height, width)]  # typed numbers may lie between the steps
    size = as_size(*sides)
    if _costs(ctx, size) and used and size != ctx.settings.size:
        state.change(size=size)
        st.rerun()


def _costs(ctx: Context, size: Size) -> bool:
    """Say what an input takes, unless it is of the usual size; return whether there is room for it."""
    t, sides = ctx.t, as_pair(size)
    if size == TRAINED_SIZE:
        return True  # what costs are compared with
    try:
        net = models.model(ctx.settings)
    except (ValueError, FileNotFoundError):
        return True  # the page reports a faulty model
    try:
        check_room(net, *sides, forward=SHARED)
    except ValueError:
        if size == ctx.settings.size:
            return False  # the page refuses it
        name = plain(models.title(ctx.settings.model))
        st.error(t("errors.size_room", model=name, size=size_text(size)), icon=":material/memory:")
        return False
    weights, forward = attention_weights(net, *sides), forward_bytes(net, *sides)
    times = sides[0] * sides[1] / TRAINED_SIZE**2
    fields = {"rows": sides[0] // 4, "cols": sides[1] // 4, "forward": f"{forward / 1e6:.0f}"}
    costs = t("framing.costs", times=f"{times:.2g}", megabytes=f"{FLOAT * weights / 1e6:.0f}", **fields)
    st.caption(together(costs, "" if weights <= KEPT else t("framing.costs_kept")))
    return True


def _mode(ctx: Context) -> None:
    """Crop, squeeze or pad, and what each does."""
    t, mode = ctx.t, ctx.settings.mode
    st.session_state["w.mode"] = mode
    st.segmented_control(
        t("framing.mode"), list(MODES), format_func=lambda code: t(f"framing.mode_{code}"), key="w.mode",
        required=True, on_change=state.adopt, args=("mode",), width="stretch",
    )  # fmt: skip
    st.caption(t(f"framing.mode_{mode}_does"))
