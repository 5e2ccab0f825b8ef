"""Attention in groups with few distinct masks: each mask is stored once, however many groups share it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from .linear import can_multiply_rows, rows_times_rows
from .shortcuts import recorded
from .threads import share

GATHERED = 4_000_000  # bytes; larger masks leave the processor's cache before they are read
GATHERED_ON_GPU = 500_000_000  # bytes; a smaller mask per group costs less than several calls
IN_PARTS = 128  # tokens; for smaller groups on a CPU, plain products beat PyTorch's fused attention
PART = 1_000_000  # bytes of logits that stay in the processor's cache from one product to the next
BY_HEAD = 320  # tokens; from here on, products of one group and head are large enough to call for each
ROWS = 4_000_000  # bytes of logits of one group and head between the two products; at least a line's
PARTS = 96  # of the groups of all heads, for threads to share
LOG2_E = math.log2(math.e)
LOWEST, HIGHEST = 2.0**-40, 2.0**60  # sums of powers far from float32's limits, also times a value


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
    that no mask is copied per group. On a CPU, PyTorch's fused attention is slow for small groups, for large
    ones in float32 and for gradients, so there the products are written out.

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
    if not dropout and suits_heads(q):
        return attend_by_head(q, k, v, bias[:, :, :, None], which, scale)
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


def windows(table: torch.Tensor) -> torch.Tensor:
    """Return the position bias of every pair, keys from last to first: (nH, 2Gh-1, 2Gw-1) -> (nH, Gh, Gw, N).

    A query's biases are then a window of the table that moves with the query. Strips of the table, one for
    each column of queries, hold every such window in one piece, which is added in two thirds of the time.
    They take 2/Gh of the bytes of all pairs' biases, of which there may be 100 MB.
    """
    Gh, Gw = (side // 2 + 1 for side in table.shape[1:])
    strips = table.unfold(2, Gw, 1).transpose(1, 2).contiguous()  # nH, Gw, 2Gh-1, Gw
    return strips.flatten(2).unfold(2, Gh * Gw, Gw).transpose(1, 2)


def suits_heads(q: torch.Tensor) -> bool:
    """Whether `attend_by_head` can compute attention for these queries, and is the fastest that can."""
    return q.shape[2] >= BY_HEAD and can_multiply_rows(q)


def attend_by_head(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    bias: torch.Tensor,
    which: torch.Tensor | None,
    scale: float,
    mask: torch.Tensor | None = None,
    backwards: bool = False,
) -> torch.Tensor:
    """Compute softmax attention as `attend` does, one head of one large group at a time, if `suits_heads`.

    Powers of 2 take a third of the time of PyTorch's softmax, and their sums divide the output, which is
    narrower than the logits. A softmax subtracts each row's maximum so that no power overflows or vanishes;
    here only where a sum of powers or an output shows that one might have: that group is computed again.
    Threads share heads and groups (`share`), because operations as short as these do not divide well.

    Args:
        q, k, v, which, scale: As in `attend`.
        bias: The distinct biases, or one for all groups (P or 1, nH, Gh, Gw, N). It is read where it is, so
            position biases can be `windows` of a table.
        mask: To add to each distinct bias, one number per key, (P, N); None if `bias` has it already.
        backwards: Whether keys are from last to first in `bias` and `mask`.

    Returns:
        (B*nG, nH, N, d).
    """
    BG, nH, N, d = q.shape
    Gh, Gw = bias.shape[2:4]
    lines = max(1, ROWS // (Gw * N * q.element_size()))
    patterns = [0] * BG if which is None else which.repeat(BG // len(which)).tolist()
    masks = [one * LOG2_E if one.any() else None for one in mask] if mask is not None else [None] * len(bias)
    out = q.new_empty(BG, N, nH, d).transpose(1, 2)  # as the caller will read it: token by token

    steep: set[int] = set()  # heads

    def some(part: tuple[int, range]) -> None:
        h, groups = part
        for g in groups:
            query, key, value = q[g, h] * (scale * LOG2_E), k[g, h], v[g, h]
            if backwards:
                key, value = key.flip(0), value.flip(0)
            biases = bias[patterns[g] if len(bias) > 1 else 0, h]
            for line in range(0, Gh, lines):
                run = slice(line * Gw, (line + lines) * Gw)
                given = query[run], key, value, biases[line : line + lines], masks[patterns[g]]
                sums, total = _sums(*given, h in steep)
                if h not in steep and not _in_range(sums, total):
                    if g == 0:
                        steep.add(h)  # the head's other groups, too, rather than twice
                    sums, total = _sums(*given, True)
                torch.div(sums, total, out=out[g, h, run])

    heads, n = range(nH), -(-BG // max(1, PARTS // nH))  # groups
    share(some, [(h, range(1)) for h in heads])
    share(some, [(h, range(g, min(g + n, BG))) for g in range(1, BG, n) for h in heads])
    return out


def _sums(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    bias: torch.Tensor,
    mask: torch.Tensor | None,
    steep: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum values weighted by powers of 2, and the powers.

    Args:
        q: Queries, scaled to bits (n, d).
        k: Keys (N, d).
        v: Values (N, d).
        bias: To add to the logits, in nats (n/Gw, Gw, N).
        mask: To add to every query's logits, in bits (N,).
        steep: Whether to subtract each row's largest logit first.

    Returns:
        The sums of values (n, d), and of powers (n, 1).
    """
    logits = rows_times_rows(q, k)  # n, N
    logits.view(bias.shape).add_(bias, alpha=LOG2_E)
    if mask is not None:
        logits.add_(mask)
    if steep:
        logits.sub_(logits.amax(-1, keepdim=True))
    weights = logits.exp2_()
    return rows_times_rows(weights, v.T), weights.sum(-1, keepdim=True)


def _in_range(sums: torch.Tensor, total: torch.Tensor) -> bool:
    """Whether no power of `_sums` overflowed, nor a row's largest vanished; not a number is out of range."""
    low, high = total.aminmax()
    return low.item() >= LOWEST and high.item() <= HIGHEST and math.isfinite(sums.sum().item())


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
