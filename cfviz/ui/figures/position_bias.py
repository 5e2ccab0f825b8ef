"""The position bias of the chosen model: every block's surfaces, beside those of its baseline."""

from __future__ import annotations

from dataclasses import dataclass

from cfviz.figures.live.position_bias import BlockBias
from cfviz.measured import block_bias
from cfviz.models.crossformer import CrossFormer
from cfviz.models.variants import BUNDLED, shipped
from cfviz.run import load
from cfviz.trace import Trace
from cfviz.ui.compute import keys
from cfviz.ui.compute.cache import cached
from cfviz.ui.context import Context

BASELINE = f"{BUNDLED}_rpb"


@dataclass(frozen=True)
class BiasSubject:
    """The page's subject.

    Attributes:
        model: The model, with the groups it was trained with.
        trace: The model's prediction on the chosen photo.
        blocks: Every block's bias, stage by stage.
        weights: A cache key of model, number format and device.
        source: The same with photo and size.
        twin: The same network with a learned table, or None.
    """

    model: CrossFormer
    trace: Trace
    blocks: tuple[BlockBias, ...]
    weights: str
    source: str
    baseline: CrossFormer | None = None

    @property
    def places(self) -> list[tuple[int, int]]:
        """(stage, block) of every block."""
        return [(block.stage, block.block) for block in self.blocks]


def subject_of(ctx: Context) -> BiasSubject:
    """The chosen model on the chosen photo."""
    s, trace = ctx.settings, ctx.trace("pooled")
    baseline = baseline_of(s.model, s.device, s.dtype)
    weights, source = keys.weights(s, ctx.model), keys.on_photo(s, ctx.model, ctx.photo)
    found = blocks(weights, ctx.model, baseline)
    return BiasSubject(ctx.model, trace, found, weights, source, baseline)


def baseline_of(name: str, device: str, dtype: str) -> CrossFormer | None:
    """The bundled model's twin with a learned table, if its weights are installed."""
    return load(BASELINE, device, dtype) if name == BUNDLED and shipped(BASELINE) else None


@cached(12)
def blocks(weights: str, _model: CrossFormer, _baseline: CrossFormer | None) -> tuple[BlockBias, ...]:
    """Every block's bias at the trained size."""
    kinds = _model.groupings(224, 224)
    return tuple(
        block_bias(_model, s, b, kinds[s][b].kind, _baseline)
        for s, stage in enumerate(_model.stages)
        for b, _ in enumerate(stage.block_list)
    )


def block_name(ctx: Context, block: BlockBias) -> str:
    """ "Stage 2, block 1 (SDA)"."""
    return ctx.t(
        "position_bias.figure.block_name", s=block.stage + 1, b=block.block + 1, kind=block.kind.upper()
    )
