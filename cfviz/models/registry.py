"""The variants in timm's registry, with weights loaded by `load_checkpoint` as everywhere else.

`timm.create_model(name, pretrained=True)` loads the same weights as `load_checkpoint(name)`, so do names that
begin with `hf-hub:` or `local-dir:`, and `checkpoint_path=` accepts whatever `load_checkpoint` accepts.

This module is imported as soon as timm and cfviz both are; the model follows when one is made.
"""

from __future__ import annotations

from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import _factory, generate_default_cfgs, register_model

import cfviz.models.dense.registry  # noqa: F401  (registers the detectors and segmenters)

from .variants import OURS, VARIANTS, WEIGHTS, classes_of


def _cfg(**overrides: Any) -> dict[str, Any]:
    return {
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": tuple(f"patch_embed.projs.{i}" for i in range(4)),
        "classifier": "head",
        "paper_ids": ("arXiv:2108.00154", "arXiv:2303.06908"),
        "paper_name": "CrossFormer: A Versatile Vision Transformer Hinging on Cross-scale Attention",
        "origin_url": "https://github.com/cheerss/CrossFormer",
        **overrides,
    }


default_cfgs = generate_default_cfgs(
    {
        name: _cfg(
            num_classes=classes_of(name),
            **({"file": str(WEIGHTS / f"{name}.safetensors")} if name in OURS else {}),
        )
        for name in VARIANTS
    },
)


def _made(name: str, pretrained: bool, **kwargs: Any) -> Any:
    from .pretrained import create  # deferred: it imports the model and the formats of weights

    return create(name, pretrained, **kwargs)


_load_as_timm = _factory.load_checkpoint


def _load(model: Any, checkpoint_path: str, *args: Any, **kwargs: Any) -> Any:
    """Stand in for timm's loader of `checkpoint_path=`."""
    from .crossformer import CrossFormer  # deferred, as above
    from .dense import factory as dense
    from .dense.model import DenseModel
    from .pretrained import load_into

    if isinstance(model, DenseModel):
        dense.load_into(model, checkpoint_path)
    elif isinstance(model, CrossFormer):
        load_into(model, checkpoint_path)
    else:
        return _load_as_timm(model, checkpoint_path, *args, **kwargs)
    return None


# timm reads the file before it asks the model, so this is the only place to hook in
_factory.load_checkpoint = _load


@register_model
def crossformer_nano(pretrained: bool = False, **kwargs: Any) -> Any:
    """The smallest CrossFormer, trained by this project on 20 classes and shipped with its weights."""
    return _made("crossformer_nano", pretrained, **kwargs)


@register_model
def crossformer_nano_rpb(pretrained: bool = False, **kwargs: Any) -> Any:
    """`crossformer_nano` with a learned table (RPB) instead of the dynamic position bias."""
    return _made("crossformer_nano_rpb", pretrained, **kwargs)


@register_model
def crossformer_tiny(pretrained: bool = False, **kwargs: Any) -> Any:
    """CrossFormer-T, 27.8M parameters."""
    return _made("crossformer_tiny", pretrained, **kwargs)


@register_model
def crossformer_small(pretrained: bool = False, **kwargs: Any) -> Any:
    """CrossFormer-S, 30.7M parameters."""
    return _made("crossformer_small", pretrained, **kwargs)


@register_model
def crossformer_base(pretrained: bool = False, **kwargs: Any) -> Any:
    """CrossFormer-B, 52.0M parameters."""
    return _made("crossformer_base", pretrained, **kwargs)


@register_model
def crossformer_large(pretrained: bool = False, **kwargs: Any) -> Any:
    """CrossFormer-L, 92.0M parameters."""
    return _made("crossformer_large", pretrained, **kwargs)


@register_model
def crossformer_pp_small(pretrained: bool = False, **kwargs: Any) -> Any:
    """CrossFormer++-S, 23.3M parameters."""
    return _made("crossformer_pp_small", pretrained, **kwargs)


@register_model
def crossformer_pp_base(pretrained: bool = False, **kwargs: Any) -> Any:
    """CrossFormer++-B, 52.0M parameters."""
    return _made("crossformer_pp_base", pretrained, **kwargs)


@register_model
def crossformer_pp_large(pretrained: bool = False, **kwargs: Any) -> Any:
    """CrossFormer++-L, 92.0M parameters."""
    return _made("crossformer_pp_large", pretrained, **kwargs)


@register_model
def crossformer_pp_huge(pretrained: bool = False, **kwargs: Any) -> Any:
    """CrossFormer++-H, 96.0M parameters."""
    return _made("crossformer_pp_huge", pretrained, **kwargs)
