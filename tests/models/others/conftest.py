"""Small models of timm with random weights, one per form of attention, each with a size that it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.models import maxxvit, pvt_v2, swin_transformer, swin_transformer_v2, twins, vision_transformer

SMALL: dict[str, Any] = {"embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4), "num_classes": 5}
RECTANGLE = (96, 160)  # maps of 24 x 40 and 12 x 20 tokens: windows of 7 are padded, and shifted


def _maxvit(
    channels_first: bool, bias: str, window: Any = (4, 5), grid: Any = (2, 5), img_size: Any = (64, 160)
) -> Any:
    parts = maxxvit.MaxxVitTransformerCfg(
        dim_head=16, window_size=window, grid_size=grid, rel_pos_type=bias,
        use_nchw_attn=channels_first, head_first=channels_first,
    )  # fmt: skip
    cfg = maxxvit.MaxxVitCfg(
        embed_dim=(32, 64), depths=(1, 1), block_type=("M", "M"), stem_width=16, transformer_cfg=parts
    )
    return maxxvit.MaxxVit(cfg, img_size=img_size, num_classes=5)


def _swin(kind: Any, img_size: Any, **more: Any) -> Any:
    return kind(img_size=img_size, window_size=7, **SMALL, **more)


def _twins(reduction: int) -> Any:
    return twins.Twins(
        img_size=224, embed_dims=(16, 32), num_heads=(1, 2), mlp_ratios=(2, 2), depths=(2, 2),
        sr_ratios=(reduction, 1), wss=(7, 7), num_classes=5,
    )  # fmt: skip


def _pvt() -> Any:
    return pvt_v2.PyramidVisionTransformerV2(
        depths=(1, 1, 1, 1), embed_dims=(16, 32, 32, 64), num_heads=(1, 2, 2, 4), num_classes=5
    )


V1, V2 = swin_transformer.SwinTransformer, swin_transformer_v2.SwinTransformerV2
MODELS: dict[str, tuple[Callable[[], Any], tuple[int, int]]] = {
    "swin, padded": (lambda: _swin(V1, RECTANGLE), RECTANGLE),
    "swin, even": (lambda: _swin(V1, 112), (112, 112)),
    "swin, one window": (lambda: _swin(V1, 56, always_partition=True), (56, 56)),
    "swin, any size": (lambda: _swin(V1, 224, strict_img_size=False), RECTANGLE),
    "swin, window per side": (
        lambda: V1(img_size=RECTANGLE, window_size=((3, 5), (4, 10)), **SMALL),
        RECTANGLE,
    ),
    "swin v2": (lambda: _swin(V2, RECTANGLE), RECTANGLE),
    "swin v2, separate bias": (lambda: _swin(V2, 112, qkv_bias=False), (112, 112)),
    "twins": (lambda: _twins(5), RECTANGLE),
    "pvt v2": (_pvt, RECTANGLE),
    "maxvit": (lambda: _maxvit(False, "bias"), (64, 160)),
    "maxvit, channels first": (lambda: _maxvit(True, "bias_tf"), (64, 160)),
    "vit": (
        lambda: vision_transformer.VisionTransformer(
            img_size=RECTANGLE, embed_dim=32, depth=2, num_heads=2, num_classes=5, reg_tokens=2, qk_norm=True
        ),
        RECTANGLE,
    ),
    "twins, square": (lambda: _twins(4), (112, 112)),
    "pvt v2, square": (_pvt, (64, 64)),
    "maxvit, square": (lambda: _maxvit(False, "bias", (4, 4), (2, 2), (64, 64)), (64, 64)),
    "vit, square": (
        lambda: vision_transformer.VisionTransformer(
            img_size=64, embed_dim=32, depth=2, num_heads=2, num_classes=5
        ),
        (64, 64),
    ),
    "swin, odd": (lambda: _swin(V1, (98, 142)), (98, 142)),  # 24 x 35 and 12 x 18 tokens, 2 rows in none
    "swin v2, odd": (lambda: _swin(V2, (100, 140)), (100, 140)),  # 25 x 35 and 13 x 18 tokens
    "twins, odd": (lambda: _twins(5), (99, 150)),
    "pvt v2, odd": (_pvt, (75, 110)),
    "vit, patches of 14": (
        lambda: vision_transformer.VisionTransformer(
            img_size=(70, 98), patch_size=14, embed_dim=32, depth=2, num_heads=2, num_classes=5
        ),
        (70, 98),
    ),
    "vit, padded": (
        lambda: vision_transformer.VisionTransformer(
            img_size=64, embed_dim=32, depth=2, num_heads=2, num_classes=5, dynamic_img_size=True,
            dynamic_img_pad=True,
        ),
        (50, 75),
    ),
    "vit, any size": (
        lambda: vision_transformer.VisionTransformer(
            img_size=224, embed_dim=32, depth=2, num_heads=2, num_classes=5, dynamic_img_size=True
        ),
        RECTANGLE,
    ),
}  # fmt: skip


@pytest.fixture(scope="session", params=sorted(MODELS))
def other(request: pytest.FixtureRequest) -> tuple[Any, tuple[int, int]]:
    """One of timm's models with random weights, and the height and width of its input."""
    make, size = MODELS[request.param]
    torch.manual_seed(0)
    model = make().eval()
    with torch.no_grad():  # biases and tables begin near 0, where a mistake would not show
        for name, p in model.named_parameters():
            if "table" in name or "rel_pos" in name or name.endswith(("bias", "cls_token", "reg_token")):
                p.normal_(std=0.5)
    return model, size
