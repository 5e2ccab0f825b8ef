"""The position bias of the chosen model: every block's surfaces, beside those of its baseline."""

from __future__ import annotations

from dataclasses import dataclass

from cfviz.figures.live.position_bias import BlockBias
from cfviz.measured import block_biases
from cfviz.models.crossformer import CrossFormer, settled
from cfviz.models.variants import BUNDLED, shipped
from cfviz.run import load
from cfviz.trace import Trace
from cfviz.ui.compute import keys
from cfviz.ui.compute.cache import cached
from cfviz.ui.context import Context

BASELINE = f"{BUNDLED}_rpb"


@dataclass(frozen=True)
class BiasSubject:
    """The position bias itself, which no photo changes.

    Attributes:
        model: The model, with the groups it was trained with.
        size: Height and width of the chosen input in pixels.
        blocks: Every block's bias, stage by stage.
        weights: A cache key of model, number format and device.
        baseline: The same network with a learned table, or None.
    """

    model: CrossFormer
    size: tuple[int, int]
    blocks: tuple[BlockBias, ...]
    weights: str
    baseline: CrossFormer | None = None

    @property
    def places(self) -> list[tuple[int, int]]:
        """(stage, block) of every block."""
        return [(block.stage, block.block) for block in self.blocks]


@dataclass(frozen=True, kw_only=True)
class BiasOnPhoto(BiasSubject):
    """The position bias at work on the chosen photo.

    Attributes:
        trace: The model's prediction.
        source: The cache key `weights` with photo and size.
    """

    trace: Trace
    source: str


def subject_of(ctx: Context) -> BiasSubject:
    """The chosen model's position bias; no photo is classified for it."""
    s = ctx.settings
    baseline = baseline_of(s.model, s.device, s.dtype)
    weights = keys.weights(s, ctx.model)
    return BiasSubject(ctx.model, s.sides, blocks(weights, ctx.model, baseline), weights, baseline)


def on_photo(ctx: Context, subject: BiasSubject) -> BiasOnPhoto:
    """The same with the model's prediction on the chosen photo, for the sections that need one."""
    trace, source = ctx.trace("pooled"), keys.on_photo(ctx.settings, subject.model, ctx.photo)
    return BiasOnPhoto(**vars(subject), trace=trace, source=source)


def baseline_of(name: str, device: str, dtype: str) -> CrossFormer | None:
    """The bundled model's twin with a learned table, if its weights are installed."""
    there = name == BUNDLED and shipped(BASELINE)
    return settled(load(BASELINE, device, dtype)) if there else None


@cached(12)
def blocks(weights: str, _model: CrossFormer, _baseline: CrossFormer | None) -> tuple[BlockBias, ...]:
    """Every block's bias, measured once for all readers."""
    return block_biases(_model, _baseline)


def block_name(ctx: Context, block: BlockBias) -> str:
    """ "Stage 2, block 1 (SDA)"."""
    return ctx.t(
        "position_bias.figure.block_name", s=block.stage + 1, b=block.block + 1, kind=block.kind.upper()
    )
