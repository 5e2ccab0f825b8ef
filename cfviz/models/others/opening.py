"""Models of timm that are offered by name: published figures, weights, and how to open them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import timm

from cfviz.framing import Size
from cfviz.models.seeded import seeded
from cfviz.models.weights.download import fetch_hub
from cfviz.models.weights.timm_families import is_name
from cfviz.provenance import Provenance

from .own import load_own, make


@dataclass(frozen=True)
class Other:
    """A published model.

    Attributes:
        title: Name in papers.
        top1: ImageNet-1K top-1 at 224 px in per cent, published by the authors.
        gflops: Multiply-adds at 224 px in 10⁹, published by the authors.
        source: Address of the authors' publication.
    """

    title: str
    top1: float
    gflops: float
    source: str


_SWIN, _PVT, _TWINS = (
    "https://github.com/microsoft/Swin-Transformer",
    "https://github.com/whai362/PVT",
    "https://github.com/Meituan-AutoML/Twins",
)
OTHERS: dict[str, Other] = {  # by timm's name: those that ours are compared with
    "swin_tiny_patch4_window7_224": Other("Swin-T", 81.2, 4.5, _SWIN),
    "swin_small_patch4_window7_224": Other("Swin-S", 83.2, 8.7, _SWIN),
    "swin_base_patch4_window7_224": Other("Swin-B", 83.5, 15.4, _SWIN),
    "pvt_v2_b0": Other("PVT v2-B0", 70.5, 0.6, _PVT),
    "pvt_v2_b1": Other("PVT v2-B1", 78.7, 2.1, _PVT),
    "pvt_v2_b2": Other("PVT v2-B2", 82.0, 4.0, _PVT),
    "pvt_v2_b3": Other("PVT v2-B3", 83.1, 6.9, _PVT),
    "pvt_v2_b5": Other("PVT v2-B5", 83.8, 11.8, _PVT),
    "twins_svt_small": Other("Twins-SVT-S", 81.7, 2.8, _TWINS),
    "twins_svt_base": Other("Twins-SVT-B", 83.2, 8.3, _TWINS),
    "twins_svt_large": Other("Twins-SVT-L", 83.7, 14.8, _TWINS),
    "twins_pcpvt_small": Other("Twins-PCPVT-S", 81.2, 3.7, _TWINS),
    "twins_pcpvt_base": Other("Twins-PCPVT-B", 82.7, 6.4, _TWINS),
}

OFFERED: dict[str, str] = {  # timm's name: the name in papers, of one model of each family that can be read
    "swin_tiny_patch4_window7_224": OTHERS["swin_tiny_patch4_window7_224"].title,
    "swinv2_tiny_window8_256": "Swin V2-T",
    "twins_svt_small": OTHERS["twins_svt_small"].title,
    "pvt_v2_b0": OTHERS["pvt_v2_b0"].title,
    "maxvit_tiny_tf_224": "MaxViT-T",
    "deit_small_patch16_224": "DeiT-S (ViT)",
}


def repository(name: str) -> str:
    """Return the Hugging Face Hub repository of timm's weights for a model."""
    known: Any = timm.get_pretrained_cfg(name)
    return str(known.hf_hub_id)


def fetch_weights(name: str) -> Path:
    """Download timm's weights for a model once, into the cache of the Hub's client.

    Raises:
        CheckpointError: If they cannot be downloaded.
    """
    return fetch_hub(repository(name))[0]


def weights_here(name: str) -> Path | None:
    """Return timm's weights for a model if they are already on this machine, without using the network."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository(name), "model.safetensors")
    return Path(found) if isinstance(found, str) else None


def open_other(name: str, size: Size | None = 224, weights: Path | None = None) -> Any:
    """Make a model of timm in eval mode.

    Args:
        name: timm's name: one of `OTHERS` or `OFFERED`, or any of their families.
        size: Side of the input in pixels, or its height and width; Swin's masks depend on it. None for the
            size that the model is made for.
        weights: A file from `fetch_weights`; None for random weights, the same in every call.

    Returns:
        The model; `model.provenance` records where its weights come from.

    Raises:
        ValueError: If there is no such model.
    """
    known = name in OTHERS or name in OFFERED
    if not known and not is_name(name):
        raise ValueError(f"there is no model {name!r}; there are: {', '.join({**OTHERS, **OFFERED})}")
    if weights is not None:
        kept = load_own(weights, name)
        model = kept.build(size)
        told = {"trained": "ImageNet-1K", "dataset": "imagenet-1k", "training": None} if known else {}
        model.provenance = replace(model.provenance, source=f"timm/{repository(name)}", **told)
        return model
    with seeded():
        model = make(name, size=size)
    model.provenance = Provenance("random", None, None, None)
    return model.eval()


def open_own(
    source: str | PathLike[str], name: str, size: Size | None = None, classes: Sequence[str] | None = None
) -> Any:
    """Open your own weights of one of timm's models, such as a fine-tune, for `cfviz.inspect`.

    Args:
        source: A file (.safetensors, or what `torch.save` writes), or a repository (`hf-hub:OWNER/NAME`).
        name: timm's name of the model that was trained.
        size: Side of the input in pixels, or its height and width; None for that of the training.
        classes: Names of the classes; by default those in the file, if any. Their number is that of the
            classifier's rows.

    Returns:
        The model in eval mode; `model.provenance` records where its weights come from, and whether tables of
        positions were resized to the size.

    Raises:
        ValueError: If the file is not that model's (a `CheckpointError` says what came), timm has no such
            model, or its attention cannot be read.

    Example:
        >>> model = open_own("mine.safetensors", "swin_tiny_patch4_window7_224", classes=("cat", "dog"))
        >>> cfviz.inspect("cat.jpg", model).top(1)
    """
    return load_own(source, name, classes, size=size).build(size)
