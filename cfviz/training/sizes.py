"""How well a trained model carries over to other input sizes, and what its position bias does for it."""

import copy
from datetime import date
from typing import Any

import numpy as np
import torch

from cfviz.geometry import offsets
from cfviz.models.crossformer import CrossFormer, CrossFormerBlock, PositionBias
from cfviz.training import evaluation
from cfviz.training.data import Photos
from cfviz.training.export import commit

TRAINED_SIZE = 224


def parse(text: str) -> list[int]:
    """``"160,224"`` -> [160, 224].

    Raises:
        ValueError: for what is not a positive multiple of 32.
    """
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) and int(part) % 32 == 0 for part in parts):
        raise ValueError(f"got sizes {text!r}, expected multiples of 32 such as 160,224,448")
    return [int(part) for part in parts]


@torch.no_grad()
def as_table(model: CrossFormer) -> CrossFormer:
    """The same model with its dynamic bias frozen into a learned table, as an RPB model would have it.

    At the trained G both give the same bias; at another G the table is resized bicubically where the dynamic
    bias is evaluated anew.
    """
    twin = _twin(model, "rpb")
    for (G, source), (_, target) in zip(_biases(model), _biases(twin), strict=True):
        pairs = torch.from_numpy(offsets(G, G)).to(source.pos_proj.weight)
        target.table.copy_(source(pairs))
    return twin


def _biases(model: CrossFormer) -> list[tuple[int, Any]]:
    """Every block's G and the module of its position bias."""
    blocks = [
        block for stage in model.layers.children() for block in stage.get_submodule("blocks").children()
    ]
    return [(block.G, block.attn.pos) for block in blocks if isinstance(block, CrossFormerBlock)]


def without_bias(model: CrossFormer) -> CrossFormer:
    """The same model with no position bias at all."""
    return _twin(model, "none")


def _twin(model: CrossFormer, kind: PositionBias) -> CrossFormer:
    twin = CrossFormer(
        num_classes=model.num_classes,
        embed_dim=model.embed_dim,
        depths=model.depths,
        num_heads=model.num_heads,
        group_size=model.group_size,
        interval=model.interval,
        cooling=model.cooling,
        position_bias=kind,
    )
    shared = {name: value for name, value in model.state_dict().items() if ".attn.pos." not in name}
    twin.load_state_dict(shared, strict=False)
    return twin.eval()


def windows(size: int, trained_G: int) -> dict[str, tuple[int, Any]]:
    """Ways to cut a larger map: name -> (G, I).

    ``fixed``: the trained G and I; ``adaptive``: the trained G, I grows with the map; ``scaled``: G grows
    with the map, I as trained.
    """
    return {
        "fixed": (trained_G, None),
        "adaptive": (trained_G, "adaptive"),
        "scaled": (max(1, round(trained_G * size / TRAINED_SIZE)), None),
    }


def measure(
    model: CrossFormer,
    photos: Photos,
    model_ids: list[str],
    sizes: list[int],
    limit: int | None = None,
    **engine: Any,
) -> dict[str, Any]:
    """Top-1 for every size, window and position bias.

    Args:
        model: trained at 224 px with one G for all stages.
        photos: a folder or a cache.
        model_ids: WordNet ids in the order of the model's outputs.
        sizes: input sides in pixels.
        limit: at most so many photos a class.
        **engine: passed on to ``evaluate``.

    Returns:
        ``rows``: dicts of bias, window, size, G, I and a score; and the commit, the date, the photos.
    """
    G, I = max(model.group_size), model.interval  # noqa: E741
    if len(set(model.group_size)) > 1:
        raise ValueError(f"got G {model.group_size}, expected one G for all stages")
    models: dict[str, CrossFormer] = {model.position_bias: model, "none": without_bias(model)}
    if model.position_bias == "dpb":
        models["dpb as a table"] = as_table(model)
    indices = evaluation.spread(photos.labels, limit)
    rows = []
    for kind, subject in models.items():
        subject = copy.deepcopy(subject)
        for size in sizes:
            for window, (side, interval) in windows(size, G).items():
                subject.set_grouping(side, interval or I)
                result = evaluation.evaluate(subject, photos, model_ids, size, indices=indices, **engine)
                place = {"bias": kind, "window": window, "size": size, "group_size": side}
                rows.append({**place, "interval": interval or list(I), **result["top1"]})
    n = len(photos) if indices is None else len(np.unique(indices))
    return {"commit": commit(), "date": date.today().isoformat(), "photos": n, "rows": rows}


def table(result: dict[str, Any]) -> str:
    """The rows as aligned text, percent with 95 % intervals."""
    line = "{bias:<15} {window:<9} {size:>4} px  G {group_size:>2}  {v:6.2f} %  [{l:6.2f}, {h:6.2f}]"
    return "\n".join(
        line.format(**row, v=100 * row["value"], l=100 * row["low"], h=100 * row["high"])
        for row in result["rows"]
    )
