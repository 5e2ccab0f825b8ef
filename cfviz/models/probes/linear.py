"""Linear probes of the blocks of a model: what class could be read from the tokens of each.

`cfviz.training.probes` makes them; this module opens a file of them and reads the blocks of a trace. A block
has two: `photo`, learned on the mean of a photo's normalised tokens, and `token`, learned on single tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from cfviz import point_names
from cfviz.bundled import ASSETS
from cfviz.framing import size_text
from cfviz.models.crossformer import CrossFormer
from cfviz.stats import softmax
from cfviz.trace import Trace

FOLDER = ASSETS / "probes"
FORMAT, ABOUT = 1, "cfviz_probes"  # of the file, and the entry of its header
KINDS = ("photo", "token")
EPS = 1e-5  # as in the normalisation that they were learned with


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear layer from normalised tokens to classes: `weight` (classes, C) and `bias` (classes,)."""

    weight: np.ndarray
    bias: np.ndarray

    def probs(self, tokens: np.ndarray) -> np.ndarray:
        """Return the probabilities of the classes, (..., classes), for normalised tokens, (..., C)."""
        return softmax(tokens @ self.weight.T + self.bias)


@dataclass(frozen=True, eq=False)
class BlockReading:
    """What the probes of one block read on a photo.

    Attributes:
        stage, block: From 0.
        photo: Probabilities of the classes read from the mean token, float64 (classes,).
        tokens: Probabilities read from each token alone, float64 (H, W, classes).
    """

    stage: int
    block: int
    photo: np.ndarray
    tokens: np.ndarray


@dataclass(frozen=True, eq=False)
class LinearProbes:
    """The probes of all blocks of one model.

    Attributes:
        probes: By the name of a block's point `out`, then by kind.
        weights: SHA-256 of the weights that they belong to.
        about: The facts in the file: size, photos, accuracy of each block, with 95 % bounds.
    """

    probes: Mapping[str, Mapping[str, Probe]]
    weights: str
    about: Mapping[str, Any]

    @property
    def points(self) -> tuple[str, ...]:
        """The points that a trace must have watched, in the model's order."""
        return tuple(self.probes)

    def accuracy(self, stage: int, block: int, kind: str = "photo") -> Mapping[str, float]:
        """Return the measured accuracy of a probe: `value`, `low` and `high`, 0 to 1, and `n` photos."""
        found: Mapping[str, float] = self.about["accuracy"][point_names.block(stage, block)][kind]
        return found

    def read(self, trace: Trace) -> tuple[BlockReading, ...]:
        """Read what each block of a trace knows.

        Args:
            trace: Made with `watch=probes.points`.

        Raises:
            ValueError: If the trace is of other weights, or a point was not watched.
        """
        if trace.weights.sha256 != self.weights:
            raise ValueError(
                "these probes were made for other weights than the trace's; make some for yours with "
                "`cfviz probes`"
            )
        return tuple(self._read(trace[point], point) for point in self.probes)

    def _read(self, tokens: np.ndarray, point: str) -> BlockReading:
        stage, block, _ = point_names.parse(point)
        assert block is not None
        flat = normalised(tokens)
        mine = self.probes[point]
        return BlockReading(stage, block, mine["photo"].probs(flat.mean((0, 1))), mine["token"].probs(flat))


def normalised(tokens: np.ndarray) -> np.ndarray:
    """Normalise each token, without gain and bias: (..., C) -> float64 (..., C)."""
    x = tokens.astype(np.float64)
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS)


def open_probes(path: str | PathLike[str]) -> LinearProbes:
    """Open a file of probes.

    Raises:
        ValueError: If it is no such file.
    """
    try:
        with safe_open(path, "numpy") as file:
            about = json.loads((file.metadata() or {}).get(ABOUT, "null"))
            arrays = {name: file.get_tensor(name).astype(np.float64) for name in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"{path} cannot be opened as linear probes ({error})") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ValueError(f"{path} holds no linear probes; `cfviz probes` makes a file of them")
    try:
        classes, blocks = _facts(about)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: its facts are incomplete ({error})") from error
    shapes, probes = (2, classes, classes), dict[str, dict[str, Probe]]()  # dimensions, rows, biases
    for point in blocks:
        probes[point] = {}
        for kind in KINDS:
            weight, bias = (arrays.get(f"{point}.{kind}.{name}") for name in ("weight", "bias"))
            if weight is None or bias is None or (weight.ndim, *weight.shape[:1], *bias.shape) != shapes:
                raise ValueError(f"{path} is damaged: the probe {point}.{kind} is missing or misshapen")
            probes[point][kind] = Probe(weight, bias)
    return LinearProbes(probes, about["weights"], about)


def _facts(about: Mapping[str, Any]) -> tuple[int, list[str]]:
    """How many classes the probes know, and the names of their blocks.

    Raises:
        KeyError, TypeError, ValueError: If a fact that is read later is missing or of another kind.
    """
    blocks = list(about["blocks"])
    for block in blocks:
        if point_names.parse(block).block is None:
            raise ValueError(f"{block!r} is no block")
        for kind in KINDS:
            score = about["accuracy"][block][kind]
            for name in ("n", "value", "low", "high"):
                float(score[name])
    if not isinstance(about["weights"], str):
        raise TypeError("weights is no SHA-256")
    size_text(about["size"])
    for name in ("learned", "measured"):
        int(about[name])
    return len(about["classes"]), blocks


def probes_for(model: CrossFormer) -> LinearProbes | None:
    """Return the probes that come with cfviz for a model with these weights, or None."""
    return next((one for one in _bundled() if one.weights == model.provenance.sha256), None)


@lru_cache(maxsize=1)
def _bundled() -> Sequence[LinearProbes]:
    return tuple(open_probes(path) for path in sorted(Path(FOLDER).glob("*.safetensors")))
