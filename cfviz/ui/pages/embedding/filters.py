"""What the kernels respond to: filters, spectra, patches, test patterns; and other embeddings."""

from __future__ import annotations

import base64

import numpy as np
import streamlit as st
from PIL import Image

from cfviz.analysis import spectrum
from cfviz.analysis.embedding import box_mean, carried_shares, normalised, strongest_positions, tap_strengths
from cfviz.analysis.embedding_cost import at_equal_cost, embeddings
from cfviz.data.images import prepare
from cfviz.data.patterns import PATTERNS, SCALES, pattern
from cfviz.data.samples import gallery
from cfviz.figures import uris
from cfviz.figures.plots.cards import squares as squares_picture
from cfviz.figures.plots.embedding import heat, lines, squares
from cfviz.figures.theme import KERNEL_COLOURS
from cfviz.framing import size_text
from cfviz.geometry import cel_box
from cfviz.models.probes.embedding import Layer, normalise, responses
from cfviz.ui.compute.cache import cached
from cfviz.ui.context import Context
from cfviz.ui.session import photos
from cfviz.ui.widgets import chart
from cfviz.ui.widgets.photos import photo_title
from cfviz.ui.widgets.takeaway import Sheet, take_away
from cfviz.words import quantity, signed

from . import shown_code
from .ablation import SIZE, gallery_responses, show_cards
from .subject import EmbeddingSubject

SHOWN, PATCHES, SIDE = 24, 10, 224  # filters per sheet, patches per channel, pixels of a test pattern


def kernel_titles(ctx: Context, subject: EmbeddingSubject, stage: int) -> list[str]:
    """The shortest possible names of one layer's kernels."""
    key = "embedding.kernel_px" if stage == 0 else "embedding.kernel_short"
    return [ctx.t(key, k=k) for k in subject.layers[stage].kernels]


# ---------------------------------------------------------------- filters and what excites them


def show_filters(ctx: Context, subject: EmbeddingSubject) -> None:
    """The first layer's filters as pictures, and their radial power spectra."""
    layer = subject.layers[0]
    if layer.weights[0].shape[1] == 3:
        chart.show_hint(ctx.t("embedding.filters_look"))
        sheets = _sheets(subject.weights, ctx.theme.dark, layer)
        show_cards(sheets, [
            ctx.t("embedding.sheet", k=k, shown=min(SHOWN, d), all=d)
            for k, d in zip(layer.kernels, layer.channels, strict=True)
        ])  # fmt: skip
        columns = ("kernel", "filter", "largest_weight", "length")
        rows = [
            (k, n + 1, float(np.abs(w).max()), float(np.linalg.norm(w)))
            for k, weight in zip(layer.kernels, layer.weights, strict=True)
            for n, w in enumerate(weight)
        ]
        names = [quantity(size_text(k), "px") for k in layer.kernels]
        take_away(
            ctx, "filters", code=shown_code.filters(ctx), table=(columns, rows),
            sheet=lambda: ([uris.opened(one) for one in sheets], names, 4),
        )  # fmt: skip
    show_spectra(ctx, subject)
    show_weight_maps(ctx, subject)


@st.cache_data(show_spinner=False, max_entries=8)
def _sheets(weights: str, dark: bool, _layer: Layer) -> list[str]:
    """One square sheet per kernel, at the size the page shows it."""
    out = []
    for weight in _layer.weights:
        pictures = spectrum.filter_images(weight[:SHOWN])
        count = len(pictures)
        columns = next(n for n in range(1, count + 1) if n * n >= count and count % n == 0)  # no gap left
        gap = max(1, weight.shape[-1] // 8)
        sheet = Image.fromarray(spectrum.image_sheet(pictures, columns, gap, 20 if dark else 252))
        times = max(1, round(400 / sheet.width))
        large = sheet.resize((sheet.width * times, sheet.height * times), Image.Resampling.NEAREST)
        out.append(uris.data_uri(large))
    return out


def show_spectra(ctx: Context, subject: EmbeddingSubject) -> None:
    """The mean radial power of each kernel's filters against wavelength."""
    layer = subject.layers[0]
    found = [spectrum.radial_power(weight) for weight in layer.weights]
    frequency = found[0][0]
    centres = [1 / spectrum.mean_frequency(f, power) for f, power in found]
    wavelengths = 1 / frequency[::-1]
    fig = lines(
        wavelengths,
        [power[::-1] for _, power in found],
        kernel_titles(ctx, subject, 0),
        layer.kernels,
        ctx.theme,
        {"x": ctx.t("embedding.axis_wavelength"), "y": ctx.t("embedding.axis_power")},
        marks=centres,
    )
    rows = [(float(f), *(float(power[i]) for _, power in found)) for i, f in enumerate(frequency)]
    listed = ctx.t("common.comma").join(
        f"{quantity(k, 'px')}: {c:.1f}" for k, c in zip(layer.kernels, centres, strict=True)
    )
    table = (("cycles_a_pixel", *map(str, layer.kernels)), rows)
    chart.show_figure(ctx, fig, "spectra", code=shown_code.spectra(ctx), table=table, list=listed)


def show_weight_maps(ctx: Context, subject: EmbeddingSubject) -> None:
    """Where the kernels of the later layers read; unlike the first layer's, they have no colours to show."""
    later = [(one, k, w) for one in subject.layers[1:] for k, w in zip(one.kernels, one.weights, strict=True)]
    maps = [tap_strengths(weight) for _, _, weight in later]
    pictures, top = heat(maps)
    images = [Image.fromarray(one).resize((240, 240), Image.Resampling.NEAREST) for one in pictures]
    names = [f"CEL {one.stage + 1}, {k} x {k}" for one, k, _ in later]
    notes = [
        f"{name.replace(' x ', ' × ')}<small>{low:.4f} – {high:.4f}</small>"
        for name, low, high in zip(names, (m.min() for m in maps), (m.max() for m in maps), strict=True)
    ]
    grids = f"{later[0][2][:, :, 0, 0].size:,}"
    chart.show_hint(ctx.t("embedding.places_look", grids=grids, top=f"{top:.4f}"))
    show_cards([uris.data_uri(image) for image in images], notes, 6)
    rows = [
        (one.stage + 1, k, row, col, float(value))
        for (one, k, _), places in zip(later, maps, strict=True)
        for (row, col), value in np.ndenumerate(places)
    ]
    table = (("cel", "kernel", "row", "col", "root_mean_square"), rows)
    take_away(ctx, "places", code=shown_code.places(ctx), table=table, sheet=lambda: (images, names, 6))


@st.fragment
def show_patches(ctx: Context, subject: EmbeddingSubject) -> None:
    """The places in the gallery that excite one channel most."""
    with st.container(horizontal=True):
        stage = st.segmented_control(
            ctx.t("embedding.layer"), range(4), default=0, format_func=lambda s: f"CEL {s + 1}",
            key="embedding.patch_cel",
        ) or 0  # fmt: skip
        layer = subject.layers[stage]
        names = kernel_titles(ctx, subject, stage)
        i = st.segmented_control(
            ctx.t("embedding.kernel"), range(len(names)), default=len(names) - 1,
            format_func=lambda n: names[n], key=f"embedding.patch_kernel.{stage}",
        )  # fmt: skip
        i = len(names) - 1 if i is None else i
        channel = st.number_input(
            ctx.t("embedding.channel"), 1, layer.channels[i], 1,
            key=f"embedding.patch_channel.{stage}.{i}", width=140,
        )  # fmt: skip
    k, c = layer.kernels[i], int(channel) - 1
    maps = gallery_responses(subject.weights, (stage,), subject.model)[layer.points[i]][..., c]
    best = strongest_positions(maps, PATCHES)
    chart.show_hint(ctx.t("embedding.patches_look", k=names[i], c=c + 1, n=PATCHES))
    cards = "".join(_card(ctx, stage, k, *one) for one in best)
    st.html(f'<div class="cf-cards em-patches">{cards}</div>')
    ids = [entry.id for entry in gallery()]
    rows = [(ids[n], row, col, value) for n, row, col, value in best]

    def sheet() -> Sheet:
        pictures = [uris.opened(_patch(ids[n], _box(stage, k, row, col))) for n, row, col, _ in best]
        return pictures, [f"{value:+.2f} {id}" for id, _, _, value in rows], 5

    table = (("photo", "row", "column", "response"), rows)
    take_away(
        ctx, "patches", code=shown_code.patches(ctx, layer.points[i], stage, c), table=table, sheet=sheet
    )


def _card(ctx: Context, stage: int, k: int, photo: int, row: int, col: int, value: float) -> str:
    """One patch: the pixels the kernel reads, and its response."""
    entry = gallery()[photo]
    ink, paper = ctx.theme.padding, ctx.theme.panel
    hatching = f"repeating-linear-gradient(-45deg,{ink} 0 1.5px,{paper} 1.5px 7px)"
    source = _patch(entry.id, _box(stage, k, row, col))
    title = photo_title(ctx.t, entry.id)
    return (
        f'<figure class="cf-card"><img src="{source}" alt="{title} ({row}, {col})" '
        f'style="image-rendering:pixelated;aspect-ratio:1;background:{hatching}">'
        f"<figcaption>{signed(value)}<small>{title}</small></figcaption></figure>"
    )


def _box(stage: int, k: int, row: int, col: int) -> tuple[int, int, int, int]:
    """The box that one token's kernel reads, in Pillow's order: left, upper, right, lower."""
    top, left, bottom, right = cel_box(stage, k, row, col)
    return left, top, right, bottom


@st.cache_data(show_spinner=False, max_entries=512)
def _patch(id: str, box: tuple[int, int, int, int]) -> str:
    crop = prepare(photos.photo(id), SIZE).crop
    return uris.data_uri(crop.convert("RGBA").crop(box))  # transparent where the kernel reads padding


# ---------------------------------------------------------------- test patterns


@cached(16)
def pattern_curves(weights: str, name: str, stage: int, _subject: EmbeddingSubject) -> np.ndarray:
    """The mean share each kernel carries in the middle of a test pattern, at every scale, (K, scales)."""
    layer = _subject.layers[stage]
    pictures = np.stack([pattern(name, scale, SIDE) for scale in SCALES])
    seen = responses(_subject.model, normalise(_subject.model, pictures), (stage,))
    tokens = np.concatenate([seen[point] for point in layer.points], -1)
    shares = carried_shares(normalised(tokens, layer.gain, layer.eps), layer.channels)
    return box_mean(shares, (0.2, 0.8), (0.2, 0.8))


@st.fragment
def show_patterns(ctx: Context, subject: EmbeddingSubject) -> None:
    """Contribution against scale, on patterns of known scale."""
    with st.container(horizontal=True):
        name = st.segmented_control(
            ctx.t("embedding.pattern"), PATTERNS, default=PATTERNS[0],
            format_func=lambda p: ctx.t(f"embedding.pattern_{p}"), key="embedding.pattern",
        ) or PATTERNS[0]  # fmt: skip
        stage = st.segmented_control(
            ctx.t("embedding.layer"), range(4), default=0, format_func=lambda s: f"CEL {s + 1}",
            key="embedding.pattern_cel",
        ) or 0  # fmt: skip
    layer, found = subject.layers[stage], pattern_curves(subject.weights, name, stage, subject)
    strip = "".join(
        f'<figure class="cf-card"><img src="{_picture(name, scale)}" alt="{title}">'
        f"<figcaption>{title}</figcaption></figure>"
        for scale, title in ((scale, quantity(scale, "px")) for scale in SCALES[2::2])
    )
    st.html(f'<div class="cf-cards" style="grid-template-columns:repeat(6,minmax(0,6rem))">{strip}</div>')
    fig = lines(
        SCALES,
        found,
        kernel_titles(ctx, subject, stage),
        layer.kernels,
        ctx.theme,
        {"x": ctx.t(f"embedding.axis_{name}"), "y": ctx.t("embedding.axis_share")},
        even=[n / sum(layer.channels) for n in layer.channels],
        share=True,
    )
    rows = [(scale, *map(float, found[:, i])) for i, scale in enumerate(SCALES)]
    peaks = ctx.t("common.comma").join(
        f"{title} → {quantity(SCALES[int(curve.argmax())], 'px')}"
        for title, curve in zip(kernel_titles(ctx, subject, stage), found, strict=True)
    )
    table = (("pixels", *map(str, layer.kernels)), rows)
    chart.show_figure(
        ctx, fig, "patterns", code=shown_code.patterns(ctx, name, stage), table=table, peaks=peaks
    )


@st.cache_data(show_spinner=False, max_entries=64)
def _picture(name: str, scale: float) -> str:
    return uris.data_uri(Image.fromarray(pattern(name, scale, 112)))


# ---------------------------------------------------------------- other embeddings


@st.fragment
def show_other_embeddings(ctx: Context, subject: EmbeddingSubject) -> None:
    """PVT's convolution, Swin's merging and a pyramidal convolution: what a token sees, and at what cost."""
    stage = st.segmented_control(
        ctx.t("embedding.layer"), range(4), default=0, format_func=lambda s: f"CEL {s + 1}",
        key="embedding.others",
    ) or 0  # fmt: skip
    layer = subject.layers[stage]
    designs = embeddings(stage, layer.weights[0].shape[1], sum(layer.channels))
    H, W, _ = subject.concat(stage).shape
    unit = cel_box(stage, layer.kernels[-1], 0, 0)
    pixels = (unit[2] - unit[0]) // layer.kernels[-1]
    budget = designs[0].macs
    reach = 1.12 * pixels * layer.kernels[-1]
    images, pictures, notes, rows = [], [], [], []
    for design in designs:
        total, D = design.macs * H * W, sum(design.channels)
        afford = at_equal_cost(design, budget)
        seen = [
            (k * pixels, d / D, KERNEL_COLOURS[k])
            for k, d in zip(design.kernels, design.channels, strict=True)
        ]
        images.append(svg_uri(squares(seen, reach, ctx.theme)))
        pictures.append(squares_picture(seen, reach, ctx.theme))
        sizes = " · ".join(map(str, design.kernels))
        note = ctx.t("embedding.way_note", kernels=sizes, macs=f"{total / 1e6:.3g} M", d=D, afford=afford)
        notes.append(f"<b>{ctx.t(f'embedding.way_{design.name}')}</b><small>{note}</small>")
        rows.append((design.name, " ".join(map(str, design.kernels)), D, total, afford))
    times, less = f"{designs[0].macs / designs[1].macs:.1f}", f"{designs[3].macs / designs[0].macs:.1f}"
    equal = designs[3].macs == designs[0].macs
    pyramid = ctx.t("embedding.others_even" if equal else "embedding.others_pyramid", less=less)
    chart.show_hint(ctx.t("embedding.others_look", stage=stage + 1, times=times, pyramid=pyramid))
    show_cards(images, notes)
    columns = ("way", "kernels", "channels", "macs", "channels_at_equal_cost")
    names = [f"{row[0]}: {quantity(row[1], 'px')}" for row in rows]
    take_away(
        ctx, "others", code=shown_code.others(subject, stage), table=(columns, rows),
        sheet=lambda: (pictures, names, 4),
    )  # fmt: skip


def svg_uri(svg: str) -> str:
    """An SVG as a data URI."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
