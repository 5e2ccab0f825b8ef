"""What a change to a model did to its prediction and its maps: arrays in, arrays out."""

from __future__ import annotations

import numpy as np

from cfviz.geometry import Grouping
from cfviz.stats import softmax

TINY = 1e-9


def attention_received(probs: np.ndarray, grouping: Grouping) -> np.ndarray:
    """How much attention each token of a map receives, averaged over heads.

    Args:
        probs: (nG, nH, N, N), queries before keys.
        grouping: How the block cut its map; queries that are padding do not count.

    Returns:
        float64 (H, W): the sum over all queries. The mean is 1, which is what even attention would give.
    """
    from_tokens = probs.astype(np.float64).mean(1) * grouping.valid[:, :, None]  # nG, N, N
    return grouping.scatter(from_tokens.sum(1))


def moved_towards(after: np.ndarray, before: np.ndarray, donor: np.ndarray) -> np.ndarray:
    """How far the prediction for one photo moved towards that for another, whose activations were put in.

    Measured on the difference of two logits, the other photo's first class minus the photo's own (Wang et al.
    2022, https://arxiv.org/abs/2211.00593): 0 is where the photo was, 1 is where the other photo is.

    Args:
        after: Logits with the activations put in, (n, classes).
        before: Logits of the photo itself, (classes,).
        donor: Logits of the other photo, (classes,).

    Returns:
        float64 (n,).

    Raises:
        ValueError: If both photos have the same first class, so that nothing can move.
    """
    own, other = int(before.argmax()), int(donor.argmax())
    if own == other:
        raise ValueError(f"both photos have first class {own}; patching shows nothing between equal answers")

    def lead(logits: np.ndarray) -> np.ndarray:
        return logits[..., other].astype(np.float64) - logits[..., own]

    return (lead(after) - lead(before)) / max(float(lead(donor) - lead(before)), TINY)


def answer_changes(after: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What became of the predicted class.

    Args:
        after: Logits of the changed model, once per change, (n, classes).
        before: Logits of the unchanged model, (classes,).

    Returns:
        The change of its logit (n,), its probability now (n,), and the class predicted now, int (n,).
    """
    top = int(before.argmax())
    return after[:, top].astype(np.float64) - before[top], softmax(after)[:, top], after.argmax(-1)


def by_magnitude(values: np.ndarray) -> np.ndarray:
    """Indices from the largest to the smallest absolute value; equal ones keep their order."""
    return np.argsort(-np.abs(values), kind="stable")
