"""Attention in groups with few distinct masks: each mask is stored once, however many groups share it."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .shortcuts import recorded

GATHERED = 4_000_000  # bytes; larger masks leave the processor's cache before they are read
GATHERED_ON_GPU = 500_000_000  # bytes; a smaller mask per group costs less than several calls
IN_PARTS = 128  # tokens; for smaller groups on a CPU, plain products beat PyTorch's fused attention
PART = 1_000_000  # bytes of logits that stay in the processor's cache from one product to the next


def spread(bias: torch.Tensor, which: torch.Tensor | None, BG: int) -> torch.Tensor:
    """Return each group's bias: (P, nH, N, N), (nG,) -> (B*nG, nH, N, N); shared if `which` is None."""
    if which is None:
        return bias.expand(BG, -1, -1, -1)
    return bias[which.repeat(BG // which.shape[0])]


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    bias: torch.Tensor,
    which: torch.Tensor | None,
    scale: float,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Compute softmax attention in every group, with the group's bias.

    Neighbouring groups mostly share a padding pattern. Large maps are processed in runs of such groups, so
    that no mask is copied per group. On a CPU, PyTorch's fused attention is slow for small groups and for
    gradients, so there the products are written out.

    Args:
        q: Queries (B*nG, nH, N, d), groups batch-major.
        k: Keys, like `q`.
        v: Values, like `q`.
        bias: The distinct biases, padding masks included, (P, nH, N, N).
        which: Index of each group's bias in one image, (nG,); None if all share one.
        scale: Factor of the products of q and k.
        dropout: Share of the probabilities to drop.

    Returns:
        (B*nG, nH, N, d).
    """
    BG = q.shape[0]  # a trace records this; `len` would become a constant
    if q.device.type == "cpu" and (torch.is_grad_enabled() or torch.jit.is_tracing()):
        if recorded(q) or bias[0].nbytes <= GATHERED:
            return _written_out(q, k, v, spread(bias, which, BG), scale, dropout)
        if which is None:
            return _with_one_bias(q, k, v, bias, scale, dropout)
        return _by_pattern(q, k, v, bias, which, scale, dropout)
    if q.device.type == "cpu" and q.dtype == torch.float32 and q.shape[2] < IN_PARTS and not recorded(q):
        return _in_parts(q, k, v, bias, which, scale, dropout)
    few = GATHERED if q.device.type == "cpu" else GATHERED_ON_GPU
    if which is None or recorded(q) or BG * bias[0].nbytes <= few:
        # one mask for all is broadcast: kernels that align masks would copy an expanded one
        mask = bias if which is None and not recorded(q) else spread(bias, which, BG)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=scale)
    patterns, lengths = torch.unique_consecutive(which.repeat(BG // len(which)), return_counts=True)
    out = torch.empty_like(v)
    start = 0
    for pattern, n in zip(patterns.tolist(), lengths.tolist(), strict=True):
        run = slice(start, start + n)
        mask = bias[pattern].expand(n, -1, -1, -1)
        out[run] = F.scaled_dot_product_attention(
            q[run], k[run], v[run], attn_mask=mask, dropout_p=dropout, scale=scale
        )
        start += n
    return out


def _in_parts(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    bias: torch.Tensor,
    which: torch.Tensor | None,
    scale: float,
    dropout: float,
) -> torch.Tensor:
    """Compute softmax attention a few groups at a time."""
    BG, nH, N, d = q.shape
    n = max(1, PART // bias[0].nbytes)
    if which is None:
        shared = bias.expand(min(n, BG), -1, -1, -1).contiguous()
    else:
        which = which.repeat(BG // len(which))
    out = q.new_empty(BG, N, nH, d).transpose(1, 2)  # as the caller will read it: token by token
    for start in range(0, BG, n):
        run = slice(start, start + n)
        some = shared[: BG - start] if which is None else bias[which[run]]
        out[run] = _written_out(q[run], k[run], v[run], some, scale, dropout)
    return out


def _by_pattern(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    bias: torch.Tensor,
    which: torch.Tensor,
    scale: float,
    dropout: float,
) -> torch.Tensor:
    """Compute softmax attention with large biases, for the groups of each in turn."""
    which = which.repeat(len(q) // len(which))
    places = [torch.nonzero(which == p)[:, 0] for p in range(len(bias))]
    parts = [_with_one_bias(q[at], k[at], v[at], bias[p], scale, dropout) for p, at in enumerate(places)]
    return torch.cat(parts)[torch.cat(places).argsort()]


def _written_out(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor, scale: float, dropout: float
) -> torch.Tensor:
    """Compute softmax attention, (B*nG, nH, N, d), in three calls, with a bias (B*nG, nH, N, N)."""
    shape = q.shape
    q, k, v = (x.reshape(-1, *shape[2:]) for x in (q, k, v))  # BG*nH, N, d
    logits = torch.baddbmm(bias.reshape(-1, *bias.shape[2:]), q, k.transpose(1, 2), alpha=scale)
    return torch.bmm(F.dropout(logits.softmax(-1), dropout), v).view(shape)


def _with_one_bias(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor, scale: float, dropout: float
) -> torch.Tensor:
    """Compute softmax attention, (B*nG, nH, N, d), with a bias that all share, (1, nH, N, N), uncopied."""
    logits = ((q * scale) @ k.transpose(-2, -1)).add_(bias)  # B*nG, nH, N, N
    return F.dropout(logits.softmax(-1), dropout) @ v
