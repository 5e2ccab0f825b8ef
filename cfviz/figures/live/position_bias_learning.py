"""The message of the figure of position biases while they learn: every block after each recorded step.

The layout is that of `cfviz/figures/live/message.py`: a JSON header and arrays behind it. The header:

    id, source, part: learning, palette, strings, start {}
    steps [n]: after which the MLPs were recorded; held [[step, accuracy from 0 to 1]]: on held-out photos
    blocks [{"s", "b", "kind", "G": side of the groups that learned, "heads", "eps",
             "proj": [W, b], "layers": [[gain, shift, W, b] three times]}]
        each of these arrays (n, ...), float16, sent as the uint16 of its bits
    twin {"held", "tables": of each block (n, (2G-1)^2, heads), float16 as above}: a run with learned tables
        instead, if there is one
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import message

PROJ = ("pos_proj.weight", "pos_proj.bias")
LAYERS = tuple(
    tuple(f"pos{i}.{part}" for part in ("0.weight", "0.bias", "2.weight", "2.bias")) for i in (1, 2, 3)
)


@dataclass(frozen=True)
class LearningBlock:
    """One block's DPB while it learned.

    Attributes:
        stage: From 0.
        block: From 0.
        kind: "sda" or "lda", in the run.
        G: Side of the block's groups in the run.
        parameters: Name within the position bias ("pos_proj.weight") -> float16 (n, ...), one per record.
        eps: Of the LayerNorms.
    """

    stage: int
    block: int
    kind: str
    G: int
    parameters: Mapping[str, np.ndarray]
    eps: float = 1e-5


@dataclass(frozen=True)
class LearningTables:
    """The learned tables of the same blocks in another run, after the same steps.

    Attributes:
        held: Steps and accuracies on held-out photos, rising.
        tables: Of each block, at the offsets of its groups: float16 (n, (2G-1)^2, heads), one per record.
    """

    held: Sequence[tuple[int, float]]
    tables: Sequence[np.ndarray]


def pack(
    blocks: Sequence[LearningBlock],
    steps: Sequence[int],
    held: Sequence[tuple[int, float]],
    *,
    strings: Mapping[str, str],
    source: str = "",
    twin: LearningTables | None = None,
) -> bytes:
    """Pack the message.

    Args:
        blocks: At least one.
        steps: Of the records, rising.
        held: Steps and accuracies on held-out photos, rising.
        strings: The figure's words.
        source: The run.
        twin: A run with learned tables, measured after the same steps.
    """
    if not blocks or not len(steps):
        raise ValueError(f"got {len(blocks)} blocks and {len(steps)} records; expected at least one of each")
    arrays = message.Arrays()
    header: dict[str, Any] = {
        "part": "learning",
        "name": "",
        "source": source,
        "steps": [int(step) for step in steps],
        "held": [[int(step), float(top1)] for step, top1 in held],
        "blocks": [_block(block, len(steps), arrays) for block in blocks],
    }
    if twin is not None:
        if [step for step, _ in twin.held] != [step for step, _ in held] or len(twin.tables) != len(blocks):
            raise ValueError("the twin was measured after other steps or has other blocks; expected the same")
        pairs = zip(blocks, twin.tables, strict=True)
        header["twin"] = {
            "held": [[int(step), float(top1)] for step, top1 in twin.held],
            "tables": [_table(block, table, len(steps), arrays) for block, table in pairs],
        }
    return message.pack(header, arrays, strings=strings).data


def _table(block: LearningBlock, table: np.ndarray, n: int, arrays: message.Arrays) -> dict[str, Any]:
    expected = (n, (2 * block.G - 1) ** 2, block.parameters[LAYERS[-1][-1]].shape[1])
    if table.dtype != np.float16 or table.shape != expected:
        raise ValueError(f"a table is {table.dtype} {table.shape}; expected float16 {expected}")
    return arrays.array(np.ascontiguousarray(table).view(np.uint16))


def _block(block: LearningBlock, n: int, arrays: message.Arrays) -> dict[str, Any]:
    def add(name: str) -> dict[str, Any]:
        values = block.parameters[name]
        if values.dtype != np.float16 or len(values) != n:
            raise ValueError(f"{name} is {values.dtype} {values.shape}; expected float16, {n} records")
        return arrays.array(np.ascontiguousarray(values).view(np.uint16))

    return {
        "s": block.stage,
        "b": block.block,
        "kind": block.kind,
        "G": block.G,
        "heads": block.parameters[LAYERS[-1][-1]].shape[1],
        "eps": block.eps,
        "proj": [add(name) for name in PROJ],
        "layers": [[add(name) for name in layer] for layer in LAYERS],
    }
