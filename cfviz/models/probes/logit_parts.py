"""A logit as a sum of what the parts of the model wrote into the stream of tokens.

From the first embedding to the classifier the tokens are a stream: every head and every MLP adds to it, and
between two blocks lie only normalisations, convolutions, a mean over tokens and a linear layer. With the
deviation by which each normalisation divides held at its value in this forward, all of these are linear, so
the logit is exactly a sum over heads, MLPs, kernels and biases, token by token ("direct logit attribution",
Elhage et al., 2021, https://transformer-circuits.pub/2021/framework). Nothing is linearised beyond that, and
what remains is rounding: it is kept as `rest`, and a sum that misses the logit is refused.

These are direct effects. A part also changes what later parts compute, which only an ablation measures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cfviz import point_names
from cfviz.geometry import Grouping
from cfviz.hooks import capture
from cfviz.models.crossformer import CrossFormer
from cfviz.models.crossformer.model import POOLS, CrossFormerBlock, PatchMerging, ungroup
from cfviz.models.inputs import check_eval, input_for

TOLERANCE = 1e-4  # of the logit, or absolute for logits below 1


@dataclass(frozen=True, eq=False)
class Part:
    """One addend of a logit.

    Attributes:
        kind: "kernel" (of an embedding layer), "head", "mlp", or what is added whatever the tokens are:
            "bias", and "shift", the bias of the normalisation before an embedding layer, which passes it.
        stage: From 0; an embedding layer belongs to the stage it leads into. None for the last layers.
        block: From 0; None outside blocks.
        index: Head or kernel, from 0.
        map: What each token of the stage's map adds: float64 (H, W).
    """

    kind: str
    stage: int | None
    block: int | None
    index: int | None
    map: np.ndarray

    @property
    def value(self) -> float:
        """The part's share of the logit: the sum over its tokens."""
        return float(self.map.sum())


@dataclass(frozen=True, eq=False)
class LogitParts:
    """A logit, or the difference of two, and the parts it is the sum of.

    Attributes:
        target: The class.
        minus: The class whose logit is subtracted; None if none is.
        logit: The model's own number.
        parts: In the order of the model; with `rest` they add up to `logit`.
        passed: What reaches the logit through each kernel of the embedding layers after the first. It is no
            further addend: everything before such a layer, except biases, goes through its kernels.
    """

    target: int
    minus: int | None
    logit: float
    parts: tuple[Part, ...]
    passed: tuple[Part, ...]

    @property
    def rest(self) -> float:
        """What the parts miss of the logit, by rounding."""
        return self.logit - sum(part.value for part in self.parts)

    def since(self, stage: int) -> tuple[Part, ...]:
        """Return the addends of the same sum if it begins at the embedding layer before a stage.

        What all earlier parts wrote is then counted by the kernel that it goes through.

        Raises:
            ValueError: If there is no such stage.
        """
        stages = 1 + max(part.stage or 0 for part in self.parts)
        if not 0 <= stage < stages:
            raise ValueError(f"the stage is {stage}; expected 0 to {stages - 1}")
        if stage == 0:
            return self.parts
        later = (
            part
            for part in self.parts
            if part.stage is None or part.stage > stage or (part.stage == stage and part.kind != "shift")
        )
        return (*(part for part in self.passed if part.stage == stage), *later)


def logit_parts(
    model: CrossFormer, image: torch.Tensor, target: int | None = None, minus: int | None = None
) -> LogitParts:
    """Split the logit of a class into the parts that it is the sum of.

    Args:
        model: In eval mode; not written to.
        image: (3, H, W), normalised.
        target: Index of the class; the predicted one by default.
        minus: Index of a class whose logit is subtracted: why the one and not the other.

    Raises:
        ValueError: If the model has no linear classifier or no such class, its layers are not those of a
            CrossFormer any more, or the parts do not add up to the logit.

    Example:
        >>> found = logit_parts(model, prepare(photo, 224).tensor, target=3)
        >>> max(found.parts, key=lambda part: part.value)
    """
    head = _checked(model, target, minus)
    with torch.inference_mode(), capture(model, *_points(model)) as seen:
        x = input_for(model, image[None])
        logits = model(x)[0].double().cpu()
    groupings = model.groupings(*x.shape[-2:])
    tokens = {name: tensor.detach().double().cpu() for name, tensor in seen.items()}
    target = int(logits.argmax()) if target is None else target
    with torch.no_grad():
        found = list(_backwards(model, head, tokens, groupings, target, minus))
    passed = tuple(part for part in reversed(found) if part.kind == "kernel" and part.stage)
    parts = tuple(part for part in reversed(found) if part.kind != "kernel" or not part.stage)
    logit = float(logits[target]) - (0.0 if minus is None else float(logits[minus]))
    whole = LogitParts(target, minus, logit, parts, passed)
    if not abs(whole.rest) <= TOLERANCE * max(1.0, abs(logit)):
        kind = str(next(model.parameters()).dtype).removeprefix("torch.")
        raise ValueError(
            f"the parts add up to {logit - whole.rest:.5g}, and the logit is {logit:.5g}: the model computes "
            f"something that is not split here, or too coarsely in {kind}; use float32 and unchanged layers"
        )
    return whole


def _checked(model: CrossFormer, target: int | None, minus: int | None) -> nn.Linear:
    """The classifier, if the logit can be split."""
    head = model.head
    if not isinstance(head, nn.Linear) or not isinstance(model.norm, nn.LayerNorm) or not model.global_pool:
        raise ValueError(
            f"this model ends in {type(model.norm).__name__}, pooling {model.global_pool!r} and "
            f"{type(head).__name__}; only the logit of LayerNorm, pooling and one linear layer can be split"
        )
    for name, one in (("target", target), ("minus", minus)):
        if one is not None and not 0 <= one < head.out_features:
            raise ValueError(f"{name} is {one}; the model has classes 0 to {head.out_features - 1}")
    check_eval(model)
    return head


def _points(model: CrossFormer) -> Iterator[str]:
    """The points whose tensors are needed."""
    yield point_names.embedding(0)
    yield point_names.embedding(0, "out")
    yield point_names.block(point="mlp_branch")
    yield point_names.attention(point="heads")
    yield from (point_names.block(s, b) for s, n in enumerate(model.depths) for b in range(n))


class _Frozen:
    """A LayerNorm of some tokens, with the deviation it divided by held."""

    def __init__(self, norm: nn.Module, x: torch.Tensor) -> None:
        assert isinstance(norm, nn.LayerNorm)
        C = x.shape[-1]
        deviation = (x.var(-1, unbiased=False, keepdim=True) + norm.eps).sqrt()
        gain = torch.ones(C) if norm.weight is None else norm.weight
        self.scale = _double(gain) / deviation  # ..., C
        self.shift = torch.zeros(C).double() if norm.bias is None else _double(norm.bias)
        self.x = x

    def centred(self) -> torch.Tensor:
        """The normalised tokens without the shift."""
        return self.scale * (self.x - self.x.mean(-1, keepdim=True))

    def back(self, g: torch.Tensor) -> torch.Tensor:
        """The gradient at the input, given the one at the output: (..., C) both."""
        g = g * self.scale
        return g - g.mean(-1, keepdim=True)

    def bias(self, g: torch.Tensor) -> torch.Tensor:
        """What the shift adds at each token."""
        return g @ self.shift


def _double(values: torch.Tensor) -> torch.Tensor:
    return values.detach().double().cpu()


def _bias(layer: nn.Linear | nn.Conv2d) -> torch.Tensor:
    """The bias of a layer, zeros if it has none."""
    none = torch.zeros(layer.weight.shape[0]).double()
    return none if layer.bias is None else _double(layer.bias)


def _first(x: torch.Tensor) -> torch.Tensor:
    """Channels first, as a convolution needs them: (H, W, C) -> (1, C, H, W)."""
    return x.permute(2, 0, 1)[None]


def _last(x: torch.Tensor) -> torch.Tensor:
    """Channels last, without the batch: (1, C, H, W) -> (H, W, C)."""
    return x[0].permute(1, 2, 0)


def _backwards(
    model: CrossFormer,
    head: nn.Linear,
    seen: dict[str, torch.Tensor],
    groupings: list[list[Grouping]],
    target: int,
    minus: int | None,
) -> Iterator[Part]:
    """Follow the gradient of the logit back along the stream; yields each part that it meets."""
    row, bias = _double(head.weight[target]), _bias(head)[target]
    if minus is not None:
        row, bias = row - _double(head.weight[minus]), bias - _bias(head)[minus]
    last = len(model.depths) - 1
    x = _leaving(model, seen, last)
    norm = _Frozen(model.norm, x)
    g = _pooled_back(model, norm.centred() + norm.shift, row)
    even = (bias / (x.shape[0] * x.shape[1])).expand(x.shape[:2])
    yield Part("bias", None, None, None, (norm.bias(g) + even).numpy())
    g = norm.back(g)
    for s in range(last, -1, -1):
        for b in range(model.depths[s] - 1, -1, -1):
            before = point_names.block(s, b - 1) if b else None
            block, groups = model.stages[s].block_list[b], groupings[s][b]
            entering = _entering(model, seen, s) if before is None else seen[before][0]
            g, found = _block_back(block, groups, seen, s, b, entering, g)
            yield from found
        if s:
            merging = model.stages[s - 1].downsample
            assert merging is not None  # only the last stage has none
            g, found = _merging_back(
                merging, seen[point_names.block(s - 1, model.depths[s - 1] - 1)][0], s, g
            )
            yield from found
    yield from _embedding_back(model, seen, g)


def _pooled_back(model: CrossFormer, features: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """The gradient of the logit at the normalised tokens, (H, W, C); every pooling here is homogeneous."""
    with torch.enable_grad():
        at = features.clone().requires_grad_()
        (g,) = torch.autograd.grad(POOLS[model.global_pool](at[None])[0] @ row, at)
    return g


def _leaving(model: CrossFormer, seen: dict[str, torch.Tensor], s: int) -> torch.Tensor:
    """The tokens after the last block of a stage, (H, W, C)."""
    return seen[point_names.block(s, model.depths[s] - 1)][0]


def _entering(model: CrossFormer, seen: dict[str, torch.Tensor], s: int) -> torch.Tensor:
    """The tokens that enter a stage, (H, W, C)."""
    if s == 0:
        return seen[point_names.embedding(0, "out")][0]
    merging = model.stages[s - 1].downsample
    assert merging is not None
    norm = _Frozen(merging.norm, _leaving(model, seen, s - 1))
    n = _first(norm.centred() + norm.shift)
    return torch.cat([_last(_convolved(n, conv)) for conv in _convs(merging)], -1)


def _convs(merging: PatchMerging) -> list[nn.Conv2d]:
    return cast(list[nn.Conv2d], list(merging.reductions))


def _convolved(x: torch.Tensor, conv: nn.Conv2d, bias: bool = True) -> torch.Tensor:
    add = _bias(conv) if bias else None
    how: Any = {"stride": conv.stride, "padding": conv.padding, "groups": conv.groups}
    return F.conv2d(x, _double(conv.weight), add, **how)


def _transposed(g: torch.Tensor, conv: nn.Conv2d) -> torch.Tensor:
    how: Any = {"stride": conv.stride, "padding": conv.padding, "groups": conv.groups}
    return F.conv_transpose2d(g, _double(conv.weight), **how)


def _block_back(
    block: CrossFormerBlock,
    groups: Grouping,
    seen: dict[str, torch.Tensor],
    s: int,
    b: int,
    entering: torch.Tensor,
    g: torch.Tensor,
) -> tuple[torch.Tensor, list[Part]]:
    """The parts of a block, last first, and the gradient before it, which its two branches only add to."""
    mlp = seen[point_names.block(s, b, "mlp_branch")][0]
    joined = seen[point_names.attention(s, b, "heads")].transpose(1, 2).flatten(2)  # nG, N, C
    z = ungroup(joined, groups)[0]  # H, W, C
    proj = block.attn.proj
    bias = _bias(proj)
    found = []
    constant = torch.zeros(z.shape[:2]).double()
    if block.cooling:
        written = entering + z @ _double(proj.weight).T + bias + mlp
        u = _last(_convolved(_first(written), block.ex_conv))
        norm = _Frozen(block.ex_ln, u)
        constant = norm.bias(g)
        g = norm.back(g)
        constant = constant + g @ _bias(block.ex_conv)
        g = _last(_transposed(_first(g), block.ex_conv))
    found.append(Part("mlp", s, b, None, (g * mlp).sum(-1).numpy()))
    found.append(Part("bias", s, b, None, (constant + g @ bias).numpy()))
    heads = (g @ _double(proj.weight)) * z
    each = heads.unflatten(-1, (block.attn.num_heads, -1)).sum(-1).permute(2, 0, 1).numpy()
    found += [Part("head", s, b, h, each[h]) for h in range(len(each) - 1, -1, -1)]
    return g, found


def _merging_back(
    merging: PatchMerging, x: torch.Tensor, s: int, g: torch.Tensor
) -> tuple[torch.Tensor, list[Part]]:
    """What passes each kernel of a later embedding layer, its biases, and the gradient before it."""
    norm = _Frozen(merging.norm, x)
    n, convs = _first(norm.centred() + norm.shift), _convs(merging)
    split = g.split([conv.out_channels for conv in convs], -1)
    bias = torch.stack([part @ _bias(conv) for part, conv in zip(split, convs, strict=True)]).sum(0)
    back = [_transposed(_first(part), conv) for part, conv in zip(split, convs, strict=True)]
    passed = []
    for k, (part, conv) in enumerate(zip(split, convs, strict=True)):
        through = (part * _last(_convolved(n, conv, bias=False))).sum(-1)
        passed.append(Part("kernel", s, None, k, through.numpy()))
    whole = _last(torch.stack(back).sum(0))
    return norm.back(whole), [
        Part("bias", s, None, None, bias.numpy()),
        *reversed(passed),  # with the shift
        Part("shift", s, None, None, norm.bias(whole).numpy()),
    ]


def _embedding_back(model: CrossFormer, seen: dict[str, torch.Tensor], g: torch.Tensor) -> Iterator[Part]:
    """The parts of the first embedding layer."""
    norm = _Frozen(model.patch_embed.norm, seen[point_names.embedding(0)][0])
    yield Part("bias", 0, None, None, norm.bias(g).numpy())
    each = norm.back(g) * norm.x
    channels = [cast(nn.Conv2d, conv).out_channels for conv in model.patch_embed.projs]
    for k, part in reversed(list(enumerate(each.split(channels, -1)))):
        yield Part("kernel", 0, None, k, part.sum(-1).numpy())
