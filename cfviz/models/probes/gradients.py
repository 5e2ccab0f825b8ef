"""Gradients through a shared model, which stays unchanged.

Only `torch.autograd.grad` is used, so no `.grad` is ever written.
"""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy

import numpy as np
import torch

from cfviz import point_names
from cfviz.hooks import capture, edit
from cfviz.models.crossformer import CrossFormer
from cfviz.models.inputs import input_for


def _own_input(model: CrossFormer, image: torch.Tensor) -> torch.Tensor:
    """Copy an image for the model, so that gradients reach the copy and not the caller's tensor."""
    return input_for(model, image.detach().clone())


class _ReachedError(Exception):
    """Ends a forward at the point whose gradient is wanted."""


def _stop(x: torch.Tensor) -> torch.Tensor:
    raise _ReachedError


def receptive_field(model: CrossFormer, image: torch.Tensor, point: str, row: int, col: int) -> np.ndarray:
    """Compute how strongly each pixel affects one token: the gradient of half the token's squared norm.

    This is the effective receptive field of Luo et al. (2016), with each channel weighted by its activation
    rather than by one, so that a LayerNorm, which fixes the sum of the channels, hides nothing.

    Args:
        model: In eval mode.
        image: (3, H, W), normalised.
        point: A point whose tensors are maps, (B, H', W', C), such as `layers.2.blocks.5.out`.
        row: Row of the token in that map.
        col: Column of the token in that map.

    Returns:
        Absolute gradients summed over the colours, float32 (H, W).
    """
    x = _own_input(model, image)[None].requires_grad_()
    with torch.enable_grad(), capture(model, point, graph=True) as seen:
        with (
            edit(model, {point: _stop}),
            suppress(_ReachedError),
        ):  # what comes after the point changes nothing
            model(x)
        maps = seen[point]
        if maps.ndim != 4 or not (0 <= row < maps.shape[1] and 0 <= col < maps.shape[2]):
            raise ValueError(f"{point} is {tuple(maps.shape)}; there is no token ({row}, {col}) in it")
        (gradient,) = torch.autograd.grad(maps[0, row, col].float().square().sum() / 2, x)
    return gradient[0].abs().sum(0).float().cpu().numpy()


def attention_gradients(
    model: CrossFormer, image: torch.Tensor, target: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Compute the attention of every block, and the gradient of one class's logit with respect to it.

    Args:
        model: In eval mode.
        image: (3, H, W), normalised.
        target: Index of the class.

    Returns:
        For each block's point `attn.probs`, (probabilities, gradients), each float32 (nG, nH, N, N).
    """
    x = _own_input(model, image)[None].requires_grad_()
    with torch.enable_grad(), capture(model, point_names.attention(), graph=True) as seen:
        logit = model(x)[0, target]
        gradients = torch.autograd.grad(logit, list(seen.values()))
    return {
        name: (p.detach().float().cpu().numpy(), g.float().cpu().numpy())
        for (name, p), g in zip(seen.items(), gradients, strict=True)
    }


def integrated_gradients(
    model: CrossFormer, image: torch.Tensor, target: int, steps: int = 24
) -> tuple[np.ndarray, float]:
    """Compute integrated gradients of one class's logit (Sundararajan et al., 2017) with captum.

    Args:
        model: In eval mode.
        image: (3, H, W), normalised. The baseline is zero, a grey image in the data set's mean colour.
        target: Index of the class.
        steps: Points on the path from the baseline to the image.

    Returns:
        The attribution summed over the colours, float32 (H, W); and the completeness error: the gap between
        the sum of the attribution and the difference of the two logits, as a fraction of that difference.
    """
    from captum.attr import IntegratedGradients

    x = _own_input(model, image)[None]
    with torch.enable_grad():
        given, _ = IntegratedGradients(model).attribute(
            x,
            torch.zeros_like(x),
            target,
            n_steps=steps,
            return_convergence_delta=True,
            internal_batch_size=4,
        )
    with torch.inference_mode():
        ends = model(torch.cat([torch.zeros_like(x), x]))[:, target]
    rise = float(ends[1] - ends[0])
    missing = abs(float(given.sum()) - rise) / max(abs(rise), 1e-12)
    return given[0].sum(0).float().cpu().numpy(), missing


@torch.inference_mode()
def class_probability(model: CrossFormer, images: torch.Tensor, target: int, batch: int = 8) -> np.ndarray:
    """Compute the probability of one class for many images: (n, 3, H, W) -> float32 (n,)."""
    parts = [
        model(input_for(model, part)).float().softmax(-1)[:, target].cpu() for part in images.split(batch)
    ]
    return torch.cat(parts).numpy()


def replaced(image: torch.Tensor, by: torch.Tensor, masks: np.ndarray) -> torch.Tensor:
    """Copy an image once per mask, with the masked pixels replaced by those of another image.

    Args:
        image: (3, H, W).
        by: (3, H, W).
        masks: bool (n, H, W), true where `by` replaces `image`.

    Returns:
        (n, 3, H, W).
    """
    return torch.where(torch.from_numpy(masks)[:, None], by[None], image[None])


def blurred(image: torch.Tensor, sigma: float = 12.0) -> torch.Tensor:
    """Blur away the details of an image, (3, H, W): the end of deletion and the start of insertion."""
    reach = int(2.5 * sigma)
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    line = (line / line.sum()).to(image)
    x = torch.nn.functional.pad(image[None], (reach,) * 4, mode="replicate")[0][:, None]  # 3, 1, H', W'
    x = torch.nn.functional.conv2d(x, line.view(1, 1, 1, -1))
    return torch.nn.functional.conv2d(x, line.view(1, 1, -1, 1))[:, 0]


def shuffled(model: CrossFormer, seed: int = 0) -> CrossFormer:
    """Copy a model with the weights permuted within each tensor: same statistics, nothing learned."""
    copy = deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in copy.parameters():
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return copy.eval()
