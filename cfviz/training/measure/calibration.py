"""How often a model is right at each level of confidence, and whether it notices photos of unknown classes.

The probabilities a model gives are the softmax of its logits; nothing here changes them. `calibration` says
what they are worth on photos of the model's classes, `novelty` whether a score tells such photos from others.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cfviz.stats import ranks, softmax, wilson

BINS = 10  # of equal width, for the table of confidence and accuracy
FINE = 15  # bins of the expected calibration error, as in Guo et al.
SEED = 0  # of the split in halves
FEWEST = 20  # photos below which a bin is left out
ACCEPTED = 0.95  # share of the photos of known classes that a score's threshold accepts


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> float:
    """Return the mean negative log-likelihood of the true classes, in nats.

    Args:
        logits: (n, K).
        labels: The true columns, (n,).
        temperature: The logits are divided by it.
    """
    z = logits.astype(np.float64) / temperature
    z -= z.max(1, keepdims=True)
    return float((np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), labels]).mean())


def calibration_error(logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> float:
    """Return the expected calibration error: the mean distance of confidence and accuracy in 15 equal bins.

    Source: C. Guo et al., "On calibration of modern neural networks", 2017.
    """
    probs = softmax(logits / temperature)
    sure, right = probs.max(1), probs.argmax(1) == labels
    at = np.minimum((sure * FINE).astype(int), FINE - 1)
    members = [at == k for k in np.unique(at)]
    return float(sum(m.mean() * abs(right[m].mean() - sure[m].mean()) for m in members))


def fitted_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature (0.1 to 10) with the smallest negative log-likelihood, to three decimals."""
    low, high = np.log(0.1), np.log(10)
    golden = (np.sqrt(5) - 1) / 2
    while high - low > 1e-4:
        a, b = high - golden * (high - low), low + golden * (high - low)
        at_a, at_b = (negative_log_likelihood(logits, labels, float(np.exp(x))) for x in (a, b))
        low, high = (low, b) if at_a < at_b else (a, high)
    return round(float(np.exp((low + high) / 2)), 3)


def calibration(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Measure how much a model's probabilities are worth.

    Args:
        logits: (n, K) of at least two photos of the model's classes that were not trained on.
        labels: The true columns, (n,).

    Returns:
        `bins`: for each tenth of confidence with at least 20 photos its bounds, number of photos, share of
        right answers and its 95 % interval, on all photos. `temperature`: fitted on a random half
        (`fitted_on`). `nll` and `ece`: on the other half (`tested_on`), without and with that temperature.
    """
    order = np.random.default_rng(SEED).permutation(len(labels))
    fit, test = order[: len(order) // 2], order[len(order) // 2 :]
    temperature = fitted_temperature(logits[fit], labels[fit])
    probs = softmax(logits)
    sure, right = probs.max(1), probs.argmax(1) == labels
    at = np.minimum((sure * BINS).astype(int), BINS - 1)
    bins = []
    for k in range(BINS):
        mine = right[at == k]
        if len(mine) >= FEWEST:
            low, high = wilson(int(mine.sum()), len(mine))
            bins.append(
                {"from": k / BINS, "to": (k + 1) / BINS, "photos": len(mine), "right": float(mine.mean()),
                 "low": low, "high": high}
            )  # fmt: skip
    both = [(logits[test], labels[test], x) for x in (1.0, temperature)]
    return {
        "bins": bins,
        "temperature": temperature,
        "fitted_on": len(fit),
        "tested_on": len(test),
        "nll": [negative_log_likelihood(*one) for one in both],
        "ece": [calibration_error(*one) for one in both],
    }


SCORES = {
    "maximum logit": lambda logits: logits.max(1),
    "energy": lambda logits: np.log(np.exp(logits.astype(np.float64)).sum(1)),
}


def novelty(known: np.ndarray, others: dict[str, np.ndarray]) -> dict[str, Any]:
    """Measure whether a score tells photos of a model's classes from other pictures.

    Args:
        known: Logits (n, K) of photos of the model's classes that were not trained on.
        others: Logits of each set of other pictures, by its name.

    Returns:
        For each score and set: `auroc`, and how many of its `pictures` are `accepted` at the threshold that
        accepts 95 % of the known photos.

    Source: maximum logit: D. Hendrycks et al., "Scaling out-of-distribution detection for real-world
        settings", 2022; energy: W. Liu et al., "Energy-based out-of-distribution detection", 2020.
    """
    found: dict[str, Any] = {}
    for name, score in SCORES.items():
        mine = score(known)
        threshold = float(np.quantile(mine, 1 - ACCEPTED))
        found[name] = {"threshold": threshold, "sets": {}}
        for title, logits in others.items():
            other = score(logits)
            both = ranks(np.concatenate([mine, other]))[: len(mine)].sum()
            auroc = (both - len(mine) * (len(mine) + 1) / 2) / (len(mine) * len(other))
            accepted = int((other >= threshold).sum())
            found[name]["sets"][title] = {"auroc": float(auroc), "accepted": accepted, "pictures": len(other)}
    return found
