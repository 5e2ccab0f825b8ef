"""The message of the figures on position bias: every block's table, its MLP and its measures.

The layout is that of `cfviz/figures/live/message.py`: a JSON header and arrays behind it. The header:

    id, name, source (messages with the same one share the reader's choices), part: surfaces, made or resized
    palette, strings, start {"block" (number in blocks), "head", and the figure's view}
    blocks [{"s", "b", "kind", "G" (of the table), "trained" (the largest G of training or null), "heads",
             "table" float32 (nH, (2G-1)^2): the bias itself, in the order of the offsets,
             "mlp" null or {"proj": [W, b], "layers": [[gain, shift, W, b] three times], "eps"},
             "twin" null or float32 like table: the learned table of the baseline model,
             "characters" [nH], "orders" {name: [nH]}, "even": mean distance under even weights,
             "measures" [{"spread", "distance", "decay" or null, "centre" [down, right], "shift", "nearness",
                          "anisotropy", "diagonality"}]}]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import message

PARTS = ("surfaces", "made", "resized")


@dataclass(frozen=True)
class BlockBias:
    """One block's position bias.

    Attributes:
        stage: From 0.
        block: From 0.
        kind: "sda" or "lda".
        G: Side of the model's own groups.
        table: The bias at every offset, float32 (nH, 2G-1, 2G-1).
        mlp: From `models.probes.position_bias.mlp_of`; None if the table itself was learned.
        baseline: The same block's table in the baseline model, like `table`; None if there is no such model.
        characters: What each head prefers, in one word.
        orders: By name of the order, the heads in that order.
        measures: One dict per head, see above.
        even: Mean distance of a key in tokens if all keys weigh the same.
        trained: Side of the largest groups in training; 0 for G, None if it is not known.
    """

    stage: int
    block: int
    kind: str
    G: int
    table: np.ndarray
    mlp: Mapping[str, Any] | None = None
    baseline: np.ndarray | None = None
    characters: Sequence[str] = ()
    orders: Mapping[str, Sequence[int]] = field(default_factory=dict)
    measures: Sequence[Mapping[str, Any]] = ()
    even: float = 0.0
    trained: int | None = 0


def pack(
    blocks: Sequence[BlockBias],
    part: str,
    *,
    strings: Mapping[str, str],
    start: Mapping[str, Any] | None = None,
    source: str = "",
    name: str = "",
) -> bytes:
    """Pack the message of one figure.

    Args:
        blocks: At least one.
        part: One of `PARTS`.
        strings: The figure's words.
        start: Any of `block`, `head` and the figure's own choices.
        source: The model that the blocks belong to.
        name: The name by which Python moves the figure to a place, if it does.
    """
    if part not in PARTS:
        raise ValueError(f"part is {part!r}; expected one of {', '.join(PARTS)}")
    if not blocks:
        raise ValueError("there is no block to show; expected at least one BlockBias")
    arrays = message.Arrays()
    header: dict[str, Any] = {
        "part": part,
        "name": name,
        "source": source,
        "blocks": [_block(block, arrays) for block in blocks],
    }
    return message.pack(header, arrays, strings=strings, start=start).data


def _block(block: BlockBias, arrays: message.Arrays) -> dict[str, Any]:
    def add(values: np.ndarray) -> dict[str, Any]:
        return arrays.array(np.asarray(values, np.float32))

    mlp = block.mlp and {
        "eps": block.mlp["eps"],
        "proj": [add(x) for x in block.mlp["proj"]],
        "layers": [[add(x) for x in layer] for layer in block.mlp["layers"]],
    }
    return {
        "s": block.stage,
        "b": block.block,
        "kind": block.kind,
        "G": block.G,
        "trained": block.G if block.trained == 0 else block.trained,
        "heads": len(block.table),
        "table": add(block.table.reshape(len(block.table), -1)),
        "mlp": mlp,
        "twin": None if block.baseline is None else add(block.baseline.reshape(len(block.baseline), -1)),
        "characters": list(block.characters),
        "orders": {name: [int(h) for h in heads] for name, heads in block.orders.items()},
        "measures": [dict(m) for m in block.measures],
        "even": block.even,
    }
