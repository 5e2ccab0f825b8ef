"""The message of the figure of position biases while they learn: every block's MLP after each recorded step.

The layout is that of `cfviz/figures/live/message.py`: a JSON header and arrays behind it. The header:

    id, source, part: learning, palette, strings, start {}
    steps [n]: after which the MLPs were recorded; held [[step, accuracy from 0 to 1]]: on held-out photos
    blocks [{"s", "b", "kind", "G": side of the groups that learned, "heads", "eps",
             "proj": [W, b], "layers": [[gain, shift, W, b] three times]}]
        each of these arrays (n, ...), float16, sent as the uint16 of its bits
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


def pack(
    blocks: Sequence[LearningBlock],
    steps: Sequence[int],
    held: Sequence[tuple[int, float]],
    *,
    strings: Mapping[str, str],
    source: str = "",
) -> bytes:
    """Pack the message.

    Args:
        blocks: At least one.
        steps: Of the records, rising.
        held: Steps and accuracies on held-out photos, rising.
        strings: The figure's words.
        source: The run.
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
    return message.pack(header, arrays, strings=strings).data


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
