"""The CrossFormer variants, under their names in timm's registry.

Widths and depths are those of the papers (CrossFormer, table 1; CrossFormer++, table 2), and
`crossformer_nano` is ours: small enough to be trained on a laptop and shipped. `crossformer_nano_rpb` is its
baseline: a learned table (RPB) replaces the dynamic position bias; the training is the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

from cfviz.bundled import ASSETS

from .crossformer import CrossFormer
from .weights.state_dict import strip

WEIGHTS = ASSETS / "weights"
BUNDLED = "crossformer_nano"
OURS = (BUNDLED, f"{BUNDLED}_rpb")  # trained on 20 classes, not by the authors

_CLASSIC = dict(group_size=(7, 7, 7, 7), interval=(8, 4, 2, 1))
_PLUS = dict(group_size=(4, 4, 14, 7), interval=(4, 2, 1, 1), cooling=True)

_NANO = dict(embed_dim=48, depths=(2, 2, 2, 1), num_heads=(3, 6, 12, 24), drop_path_rate=0.05, **_CLASSIC)

VARIANTS: dict[str, dict[str, Any]] = {
    "crossformer_nano": _NANO,
    "crossformer_nano_rpb": dict(position_bias="rpb", **_NANO),
    "crossformer_tiny": dict(
        embed_dim=64, depths=(1, 1, 8, 6), num_heads=(2, 4, 8, 16), drop_path_rate=0.1, **_CLASSIC
    ),
    "crossformer_small": dict(
        embed_dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), drop_path_rate=0.2, **_CLASSIC
    ),
    "crossformer_base": dict(
        embed_dim=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24), drop_path_rate=0.3, **_CLASSIC
    ),
    "crossformer_large": dict(
        embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32), drop_path_rate=0.5, **_CLASSIC
    ),
    "crossformer_pp_small": dict(
        embed_dim=64, depths=(2, 2, 18, 2), num_heads=(2, 4, 8, 16), drop_path_rate=0.2, **_PLUS
    ),
    "crossformer_pp_base": dict(
        embed_dim=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24), drop_path_rate=0.3, **_PLUS
    ),
    "crossformer_pp_large": dict(
        embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32), drop_path_rate=0.5, **_PLUS
    ),
    "crossformer_pp_huge": dict(
        embed_dim=128, depths=(6, 6, 18, 2), num_heads=(4, 8, 16, 32), drop_path_rate=0.5, **_PLUS
    ),
}


def _cfg(**overrides: Any) -> dict[str, Any]:
    return {
        "num_classes": 1000,
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


def shipped(name: str) -> Path | None:
    """The weights that come with the package for a variant, or None."""
    file = WEIGHTS / f"{name}.safetensors"
    return file if file.is_file() else None


def _bundled_cfg(name: str) -> dict[str, Any]:
    file = shipped(name)
    return _cfg(num_classes=20, **({"file": str(file)} if file else {}))


default_cfgs = generate_default_cfgs(
    {name: _bundled_cfg(name) if name in OURS else _cfg() for name in VARIANTS},
)


def checkpoint_filter_fn(state_dict: dict[str, Any], model: Any) -> dict[str, Any]:
    """Any checkpoint of a CrossFormer, in the parameter names of `model`; used by timm."""
    return strip(state_dict)


def _create(name: str, pretrained: bool, **kwargs: Any) -> CrossFormer:
    return build_model_with_cfg(
        CrossFormer,
        name,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg=dict(out_indices=(0, 1, 2, 3), feature_cls="getter"),
        **{**VARIANTS[name], **kwargs},
    )


@register_model
def crossformer_nano(pretrained: bool = False, **kwargs: Any) -> CrossFormer:
    """The smallest CrossFormer, trained here on 20 classes and shipped with its weights."""
    return _create("crossformer_nano", pretrained, **kwargs)


@register_model
def crossformer_nano_rpb(pretrained: bool = False, **kwargs: Any) -> CrossFormer:
    """`crossformer_nano` with a learned table (RPB) instead of the dynamic position bias."""
    return _create("crossformer_nano_rpb", pretrained, **kwargs)


@register_model
def crossformer_tiny(pretrained: bool = False, **kwargs: Any) -> CrossFormer:
    """CrossFormer-T, 27.8M parameters."""
    return _create("crossformer_tiny", pretrained, **kwargs)


@register_model
def crossformer_small(pretrained: bool = False, **kwargs: Any) -> CrossFormer:
    """CrossFormer-S, 30.7M parameters."""
    return _create("crossformer_small", pretrained, **kwargs)


@register_model
def crossformer_base(pretrained: bool = False, **kwargs: Any) -> CrossFormer:
    """CrossFormer-B, 52.0M parameters."""
    return _create("crossformer_base", pretrained, **kwargs)


@register_model
def crossformer_large(pretrained: bool = False, **kwargs: Any) -> CrossFormer:
    """CrossFormer-L, 92.0M parameters."""
    return _create("crossformer_large", pretrained, **kwargs)


@register_model
def crossformer_pp_small(pretrained: bool = False, **kwargs: Any) -> CrossFormer:
    """CrossFormer++-S, 23.3M parameters."""
    return _create("crossformer_pp_small", pretrained, **kwargs)


@register_model
def crossformer_pp_base(pretrained: bool = False, **kwargs: Any) -> CrossFormer:
    """CrossFormer++-B, 52.0M parameters."""
    return _create("crossformer_pp_base", pretrained, **kwargs)


@register_model
def crossformer_pp_large(pretrained: bool = False, **kwargs: Any) -> CrossFormer:
    """CrossFormer++-L, 92.0M parameters."""
    return _create("crossformer_pp_large", pretrained, **kwargs)


@register_model
def crossformer_pp_huge(pretrained: bool = False, **kwargs: Any) -> CrossFormer:
    """CrossFormer++-H, 96.0M parameters."""
    return _create("crossformer_pp_huge", pretrained, **kwargs)


def list_models() -> list[str]:
    """Names of the variants, smallest family first."""
    return list(VARIANTS)
