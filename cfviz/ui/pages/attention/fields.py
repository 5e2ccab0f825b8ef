"""How far each stage really sees: effective receptive fields, averaged over the gallery's photos."""

from __future__ import annotations

import numpy as np

from cfviz.analysis.receptive_field import smallest_area, summed_over_squares
from cfviz.data.decode import Photo
from cfviz.data.images import prepare
from cfviz.figures.plots.attention_measures import field_maps
from cfviz.measured.fields import stage_fields
from cfviz.ui.compute import models
from cfviz.ui.context import Context
from cfviz.ui.widgets import chart

from .gallery import OverGallery

CELL = 4  # pixels of the input per cell: a token of the first stage

fields_of_gallery: OverGallery[np.ndarray] = OverGallery("fields")  # of each photo, (stages, H, W) in cells

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
    s, net = ctx.settings.elsewhere, ctx.model

    def measure(photo: Photo) -> np.ndarray:
        image = prepare(photo, s.size, s.mode).tensor
        return np.stack([summed_over_squares(one, CELL) for one in stage_fields(net, image)])

    parts = fields_of_gallery(ctx, measure)
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
