"""The lab's board in the colours of the page."""

from __future__ import annotations

from typing import Any

from cfviz.measured import board
from cfviz.ui.context import Context


def board_frame(ctx: Context) -> dict[str, Any]:
    """The constant content of the board: the model's parts, words and colours."""
    frame = board.board_frame(ctx.model, ctx.settings.sides, ctx.lang)
    return {**frame, "dark": ctx.theme.dark, "css": ctx.theme.css()}
