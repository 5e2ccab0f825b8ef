"""The CrossFormer variants and their configurations.

Widths and depths are those of the papers (CrossFormer, table 1; CrossFormer++, table 2). `crossformer_nano`
is ours: small enough to train on a laptop and to ship. `crossformer_nano_rpb` is its baseline: a learned
table (RPB) replaces the dynamic position bias; the training is the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from cfviz.bundled import ASSETS
from cfviz.options import MEAN, STD

from .dense.variants import DATASETS, DENSE, Task, list_dense

WEIGHTS = ASSETS / "weights"
BUNDLED = "crossformer_nano"
PAPERS = (  # CrossFormer, CrossFormer++
    "https://arxiv.org/abs/2108.00154",
    "https://arxiv.org/abs/2303.06908",
)
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


OFFICIAL: dict[str, tuple[str, float]] = {  # Google Drive file id, published ImageNet-1K top-1 at 224 px
    "crossformer_tiny": ("1YSkU9enn-ITyrbxLH13zNcBYvWSEidfq", 81.5),
    "crossformer_small": ("1RAkigsgr33va0RZ85S2Shs2BhXYcS6U8", 82.5),
    "crossformer_base": ("1bK8biVCi17nz_nkt7rBfio_kywUpllSU", 83.4),
    "crossformer_large": ("1zRWByVW_KIZ87NgaBkDIm60DAsGJErdG", 84.0),
}


def _ships(name: str) -> bool:
    return name in OURS or (name in DENSE and shipped(name) is not None)


def shipped(name: str) -> Path | None:
    """Return the path of the weights that come with the package for a variant, or None."""
    file = WEIGHTS / f"{name}.safetensors"
    return file if file.is_file() else None


SHIPPED = tuple(name for name in (*OURS, *DENSE) if _ships(name))  # whose weights come with the package


def title(name: str) -> str:
    """`crossformer_pp_small` -> `CrossFormer++ small`."""
    name, twin = name.removesuffix("_rpb"), name.endswith("_rpb")
    family, _, size = name.rpartition("_")
    size += " (RPB)" if twin else ""
    return f"{'CrossFormer++' if family.endswith('_pp') else 'CrossFormer'} {size}"


def list_models(task: Literal["classify"] | Task = "classify") -> list[str]:
    """List the names of the variants, smallest family first.

    Args:
        task: "classify" for CrossFormer itself; "detect" or "segment" for models with one inside.

    Raises:
        ValueError: If there is no such task.
    """
    if task == "classify":
        return list(VARIANTS)
    if task not in DATASETS:
        raise ValueError(f"task is {task!r}; expected 'classify', {' or '.join(map(repr, DATASETS))}")
    return list_dense(task)


def classes_of(name: str) -> int:
    """Return the number of classes that a variant's weights were trained on."""
    return 20 if name in OURS else 1000


def data_config(name: str) -> dict[str, Any]:
    """Return what timm records of a variant's weights: their input, its normalisation and their file."""
    return {
        "num_classes": classes_of(name),
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": MEAN,
        "std": STD,
        "first_conv": tuple(f"patch_embed.projs.{i}" for i in range(4)),
        "classifier": "head",
        "paper_ids": ("arXiv:2108.00154", "arXiv:2303.06908"),
        "paper_name": "CrossFormer: A Versatile Vision Transformer Hinging on Cross-scale Attention",
        "origin_url": "https://github.com/cheerss/CrossFormer",
        **({"file": str(WEIGHTS / f"{name}.safetensors")} if name in OURS else {}),
    }


def parameters(name: str) -> int:
    """Count a variant's parameters, with the classes of its weights, without making the model."""
    from cfviz.geometry import CEL_KERNELS  # deferred: it imports NumPy, and a list of names needs none

    config = VARIANTS[name]
    D, kind = config["embed_dim"], config.get("position_bias", "dpb")
    total = _embedding(3, D, CEL_KERNELS[0]) + 2 * D
    for s, (depth, heads, G) in enumerate(
        zip(config["depths"], config["num_heads"], config["group_size"], strict=True)
    ):
        C = D * 2**s
        if s:
            total += C + _embedding(C // 2, C, CEL_KERNELS[s])  # with the norm before it, C // 2 wide
        P = C // 16
        bias = {"dpb": 2 * P + P + 2 * (P * P + 3 * P) + 2 * P + (P + 1) * heads}
        bias["rpb"] = (2 * G - 1) ** 2 * heads
        block = 12 * C * C + 13 * C  # qkv, proj, the MLP's two layers, and two norms
        total += depth * (block + bias[kind])
        total += (depth - 1) // 3 * 12 * C if config.get("cooling") else 0  # depthwise 3 x 3, and a norm
    return total + 2 * C + (C + 1) * classes_of(name)


def _embedding(channels: int, C: int, kernels: tuple[int, ...]) -> int:
    """Count the weights and biases of one CEL, which shares C output channels among its kernels."""
    shares = [C // 2 ** min(i + 1, len(kernels) - 1) for i in range(len(kernels))]
    return sum(share * (channels * k * k + 1) for share, k in zip(shares, kernels, strict=True))
