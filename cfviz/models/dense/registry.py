"""The detectors and segmenters in timm's registry; imported with that of the classifiers."""

from __future__ import annotations

from typing import Any

from timm.models import generate_default_cfgs, register_model

from cfviz.options import MEAN, STD

from .variants import CLASSES, DENSE, DenseVariant

_HEADS = {
    "retinanet": "bbox_head.retina_cls",
    "mask_rcnn": "roi_head.bbox_head.fc_cls",
    "semantic_fpn": "decode_head.conv_seg",
    "upernet": "decode_head.conv_seg",
}
_INPUTS = {"detect": (3, 800, 1344), "segment": (3, 512, 512)}
_OWN_INPUT = (3, 224, 224)


def _cfg(variant: DenseVariant) -> dict[str, Any]:
    return {
        "num_classes": CLASSES[variant.dataset],
        "input_size": _INPUTS[variant.task] if variant.drive else _OWN_INPUT,
        "interpolation": "bilinear",
        "mean": MEAN,
        "std": STD,
        "first_conv": tuple(f"backbone.patch_embed.projs.{i}" for i in range(4)),
        "classifier": _HEADS[variant.kind],
        "paper_ids": "arXiv:2108.00154",
        "paper_name": "CrossFormer: A Versatile Vision Transformer Hinging on Cross-scale Attention",
        "origin_url": "https://github.com/cheerss/CrossFormer",
    }


default_cfgs = generate_default_cfgs({name: _cfg(variant) for name, variant in DENSE.items()})


def _register(name: str, variant: DenseVariant) -> None:
    def make(pretrained: bool = False, **kwargs: Any) -> Any:
        return _made(name, pretrained, **kwargs)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"{variant.kind} on {variant.backbone}, {variant.parameters}M parameters."
    register_model(make)


def _made(name: str, pretrained: bool, **kwargs: Any) -> Any:
    """Make a model for timm, in training mode as timm's are, with the authors' weights if `pretrained`.

    Raises:
        ValueError: If `features_only` is asked for.
    """
    from .factory import make_dense, opened_dense  # deferred: it imports the model and the formats of weights

    if kwargs.pop("features_only", False):
        form = DENSE[name].settings.get("lda", "whole")
        raise ValueError(
            f"{name} returns detections or labels; for feature maps make its backbone: "
            f'timm.create_model("{DENSE[name].backbone}", features_only=True, lda="{form}")'
        )
    for timms in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
        kwargs.pop(timms, None)
    source = f"official:{name}" if DENSE[name].drive else f"bundled:{name}"
    model = opened_dense(source, name, **kwargs).train() if pretrained else make_dense(name, **kwargs)
    model.pretrained_cfg = model.default_cfg = {**default_cfgs[name].default.to_dict(), "architecture": name}
    model._model_args = kwargs
    return model


for _name, _variant in DENSE.items():
    _register(_name, _variant)
