"""The variants in timm's registry, with weights loaded by `load_checkpoint` as everywhere else.

`timm.create_model(name, pretrained=True)` loads the same weights as `load_checkpoint(name)`, so do names that
begin with `hf-hub:` or `local-dir:`, and `checkpoint_path=` accepts whatever `load_checkpoint` accepts.

This module is imported as soon as timm and cfviz both are; the model follows when one is made.
"""

from __future__ import annotations

from typing import Any

from timm.models import _factory, generate_default_cfgs, register_model, register_notrace_module

import cfviz.models.dense.registry  # noqa: F401  (registers the detectors and segmenters)
from cfviz.deferred import after_import

from .variants import VARIANTS, data_config

default_cfgs = generate_default_cfgs({name: data_config(name) for name in VARIANTS})


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


def _record_as_one_step() -> None:
    """Let timm's feature extraction record our modules that branch on sizes as one step."""
    from .crossformer import model
    from .crossformer.linear import Mlp

    for one in (Mlp, model.Attention, model.PatchMerging):
        register_notrace_module(one)


after_import("cfviz.models.crossformer.model", _record_as_one_step)

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
