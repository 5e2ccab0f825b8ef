"""How far each stage really sees: effective receptive fields, averaged over the gallery's photos."""

from __future__ import annotations

from typing import Any

import numpy as np

from cfviz.analysis.receptive_field import smallest_area, summed_over_squares
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import gallery
from cfviz.figures.plots.attention_measures import field_maps
from cfviz.measured.fields import stage_fields
from cfviz.ui.compute import keys, models
from cfviz.ui.compute.background import in_pieces
from cfviz.ui.compute.cache import cached
from cfviz.ui.context import Context
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.request import requested

ASKED = "cfviz.attention.fields"
CELL = 4  # pixels of the input per cell: a token of the first stage

CODE = """
import cfviz
from cfviz.analysis.receptive_field import smallest_area
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import gallery
from cfviz.measured.fields import mean_stage_fields

model = {model}
paths = [entry.path for entry in gallery()]  # or your own: sorted(pathlib.Path("photos").glob("*.jpg"))
images = (prepare(load_image(path), {size}).tensor for path in paths)
fields = mean_stage_fields(model, images)  # stages, H, W: shares of the pixels
for stage, field in enumerate(fields):
    squares = field.reshape(field.shape[0] // 4, 4, -1, 4).sum((1, 3))  # 4 x 4 px
    print(stage + 1, f"half of it in {{smallest_area(squares):.1%}} of the input")
"""


def show_fields(ctx: Context) -> None:
    """One map per stage, once the reader has asked and all photos are done."""
    parts = _gallery_fields(ctx)
    if parts is None:
        return
    maps = np.mean(list(parts.values()), 0)  # stages, H, W
    areas = [smallest_area(one) for one in maps]
    titles = [ctx.t("attention.fields_stage", n=n, area=f"{100 * a:.1f}") for n, a in enumerate(areas, 1)]
    rows = [
        (stage + 1, row, col, float(values[row, col]))
        for stage, values in enumerate(maps)
        for row, col in np.ndindex(values.shape)
    ]
    chart.show_figure(
        ctx, field_maps(list(maps), titles, CELL, ctx.theme), "fields",
        code=CODE.format(
            model=models.model_code(ctx.model), size=ctx.settings.elsewhere.framing_code
        ),
        table=(("stage", "row", "col", "share"), rows), n=len(parts), first=f"{100 * areas[0]:.1f}",
        last=f"{100 * areas[-1]:.1f}",
    )  # fmt: skip


@cached(4)
def _kept(key: str) -> dict[str, np.ndarray]:
    """What has been computed of the gallery's photos, by id."""
    return {}


def _gallery_fields(ctx: Context) -> dict[str, np.ndarray] | None:
    """Every photo's fields in cells, (stages, H, W); None and a progress bar until they are there."""
    s, net = ctx.settings.elsewhere, ctx.model
    key = keys.joined("fields", keys.weights(s, net), keys.framing(s))
    kept = _kept(key)
    paths = {entry.id: entry.path for entry in gallery()}

    def make(id: str) -> Any:
        if id not in kept:
            image = prepare(load_image(paths[id]), s.size, s.mode).tensor
            kept[id] = np.stack([summed_over_squares(one, CELL) for one in stage_fields(net, image)])
        return True

    if len(kept) == len(paths):
        return kept
    if not requested(ctx.t("attention.fields_run", n=len(paths)), ASKED, key=f"{ASKED}.run"):
        return None
    found = in_pieces(key, tuple(paths), make, ctx.t("attention.fields_wait"))
    return None if found is None else kept
