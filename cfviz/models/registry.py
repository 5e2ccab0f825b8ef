"""Register the variants with timm, with weights loaded by `load_checkpoint` as everywhere else.

`timm.create_model(name, pretrained=True)` loads the same weights as `load_checkpoint(name)`, and
`checkpoint_path=` accepts whatever `load_checkpoint` accepts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import (
    _factory,
    build_model_with_cfg,
    generate_default_cfgs,
    register_model,
    resolve_pretrained_cfg,
)

from cfviz.models.weights.checkpoints import Checkpoint, load_checkpoint
from cfviz.models.weights.errors import CheckpointError
from cfviz.models.weights.state_dict import strip

from .crossformer import CrossFormer, with_new_head
from .variants import OURS, VARIANTS, WEIGHTS


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


default_cfgs = generate_default_cfgs(
    {
        name: _cfg(num_classes=20, file=str(WEIGHTS / f"{name}.safetensors")) if name in OURS else _cfg()
        for name in VARIANTS
    },
)


def checkpoint_filter_fn(state_dict: dict[str, Any], model: Any) -> dict[str, Any]:
    """Convert any CrossFormer checkpoint to the parameter names of `model`; used by timm."""
    return strip(state_dict)


def take(model: CrossFormer, checkpoint: Checkpoint) -> None:
    """Load a checkpoint's weights into a model that was built for them.

    Raises:
        CheckpointError: "does_not_fit", with the first parameter that does not fit.
    """
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in checkpoint.state_dict.items()}
    if wanted != found:
        name = next(name for name in (*wanted, *found) if wanted.get(name) != found.get(name))
        said = [" x ".join(map(str, shapes.get(name, ("no",)))) for shapes in (found, wanted)]
        raise CheckpointError(
            "does_not_fit", source=checkpoint.source, key=name, got=said[0], expected=said[1]
        )
    model.load_state_dict(checkpoint.state_dict, strict=True)
    _note_origin(model, checkpoint)


def _note_origin(model: CrossFormer, checkpoint: Checkpoint) -> None:
    model.trained_group = checkpoint.trained_group or checkpoint.group_size or model.trained_group
    told = checkpoint.provenance
    if model.lda != checkpoint.lda:  # chosen by the caller, so a note on the file's own no longer holds
        told = replace(told, notes=tuple(note for note in told.notes if note.code != "whole_map"))
    model.provenance = told
    if model.num_classes != checkpoint.num_classes:
        model.provenance = with_new_head(model.provenance, model.num_classes)


def _create(name: str, pretrained: bool, **kwargs: Any) -> CrossFormer:
    checkpoint = _pretrained(name, kwargs) if pretrained else None
    config = {**VARIANTS[name]}
    if checkpoint is not None:
        known = checkpoint.config
        config |= {key: value for key, value in known.items() if key not in ("num_classes", "in_chans")}
        overlay = dict(state_dict=dict(checkpoint.state_dict), num_classes=checkpoint.num_classes)
        overlay |= dict(input_size=(checkpoint.in_chans, 224, 224))
        kwargs["pretrained_cfg_overlay"] = {**(kwargs.get("pretrained_cfg_overlay") or {}), **overlay}
    model: Any = build_model_with_cfg(
        CrossFormer,
        name,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg=dict(out_indices=(0, 1, 2, 3), feature_cls="getter"),
        **{**config, **kwargs},
    )
    if checkpoint is not None:
        for cfg in (model.pretrained_cfg, model.default_cfg):
            cfg.pop("state_dict", None)  # timm would keep a second copy of the weights
        if isinstance(model, CrossFormer):
            _note_origin(model, checkpoint)
    return cast(CrossFormer, model)


def _pretrained(name: str, kwargs: dict[str, Any]) -> Checkpoint | None:
    """Load the weights for `pretrained=True`; None if timm was given others by a hub, a link or a dict."""
    told = {key: kwargs.get(key) for key in ("pretrained_cfg", "pretrained_cfg_overlay")}
    cfg = resolve_pretrained_cfg(name, **told).to_dict()
    if cfg.get("source") in ("hf-hub", "local-dir") or cfg.get("state_dict") or cfg.get("hf_hub_id"):
        return None
    file = cfg.get("file")
    if not file and cfg.get("url"):
        return None
    own = default_cfgs[name].default.file
    checkpoint = load_checkpoint(file if file and file != own else name)
    if checkpoint.variant != name:
        raise CheckpointError(
            "wrong_variant", source=checkpoint.source, found=checkpoint.variant, wanted=name
        )
    return checkpoint


_load_as_timm = _factory.load_checkpoint


def _load(model: Any, checkpoint_path: str, *args: Any, **kwargs: Any) -> Any:
    """Stand in for timm's loader of `checkpoint_path=`; the file's G and I apply unless others were given."""
    if not isinstance(model, CrossFormer):
        return _load_as_timm(model, checkpoint_path, *args, **kwargs)
    checkpoint = load_checkpoint(checkpoint_path)
    given = getattr(model, "_model_args", {})
    model.set_grouping(
        None if "group_size" in given else checkpoint.group_size,
        None if "interval" in given else cast(Any, checkpoint.interval),
        None if "lda" in given else checkpoint.lda,
    )
    take(model, checkpoint)
    return None


# timm reads the file before it asks the model, so this is the only place to hook in
_factory.load_checkpoint = _load


@register_model
def crossformer_nano(pretrained: bool = False, **kwargs: Any) -> CrossFormer:
    """The smallest CrossFormer, trained by this project on 20 classes and shipped with its weights."""
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
