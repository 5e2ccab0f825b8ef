"""Linear probes: what each block of a model already knows about the class.

A probe is a linear layer from the tokens of a block, each normalised (a LayerNorm without gain and bias), to
the classes; the model does not learn. Every block gets two, by multinomial logistic regression with a
quadratic penalty:

- `photo`: learned on the mean over a photo's tokens, the usual probe of pooled features (Alain and Bengio,
  2016; Kornblith et al., 2019);
- `token`: learned on single tokens, each with the label of its photo: what one token alone tells.

The penalty is chosen on training photos that were set aside; validation photos are used once, to measure.
`cfviz.models.probes.linear` reads blocks with the result. The features are kept in parts, so a stopped run
goes on at the next part.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from cfviz import point_names
from cfviz.data.left_out import told
from cfviz.framing import size_code
from cfviz.hooks import capture
from cfviz.jobs import replacing, write
from cfviz.models.crossformer import CrossFormer
from cfviz.models.inputs import input_for
from cfviz.models.probes.linear import ABOUT, EPS, FORMAT, KINDS
from cfviz.stats import Z_95

from .data import EvalSet, Marked, Photos, loader
from .folder import account, identity, shown
from .measure.evaluation import Score, columns_of
from .ship.export import commit

PART, BATCH = 256, 32  # photos in one part, and in one forward pass
TOKENS = 8  # of each photo and block, at random places
PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4)  # each fit begins at the result of the one before
ASIDE = 10  # every tenth training photo is set aside to choose the penalty
STEPS, STILL = 100, 1e-6  # of L-BFGS at most, and the change of the loss at which it ends
SEED = 0


@dataclass(frozen=True, eq=False)
class Features:
    """The normalised tokens of some photos, by block.

    Attributes:
        photo: By the name of a block's point `out`, the mean over the tokens: float32 (n, C).
        token: The same of single tokens, float16 (n, TOKENS, C).
        labels: The class of each photo as a column of the model's output, (n,).
        files: What became of every file of the folder (see `folder.account`).
    """

    photo: dict[str, np.ndarray]
    token: dict[str, np.ndarray]
    labels: np.ndarray
    files: dict[str, Any]

    def of(self, kind: str, block: str, chosen: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what a kind of probe learns from: float32 (m, C), and labels (m,)."""
        x = torch.from_numpy(getattr(self, kind)[block][chosen]).float()
        labels = torch.from_numpy(self.labels[chosen])
        return (x, labels) if x.ndim == 2 else (x.flatten(0, 1), labels.repeat_interleave(x.shape[1]))


def order_of(labels: np.ndarray, limit: int | None = None) -> np.ndarray:
    """Order photos in rounds, one of each class in a round; `limit` rounds, all by default."""
    random, turn = np.random.default_rng(SEED), np.empty(len(labels))
    for k in np.unique(labels):
        mine = np.flatnonzero(labels == k)
        turn[mine] = random.permutation(len(mine)) + random.random(len(mine))
    order = np.argsort(turn)
    return order if limit is None else order[: int((turn < limit).sum())]


def features(
    folder: Path,
    model: CrossFormer,
    photos: Photos,
    ids: Sequence[str],
    about: dict[str, Any],
    limit: int | None = None,
    workers: int = 0,
    tell: Callable[[str], None] = lambda line: None,
) -> Features:
    """Compute what is missing of the features of a folder of photos, and read them.

    Args:
        folder: Where they are kept.
        model: In eval mode.
        photos: In one folder for each class.
        ids: WordNet ids or names of the classes, in the order of the model's outputs.
        about: What the features depend on besides the photos; a folder with another record is refused.
        limit: At most so many photos of each class.
        workers: Extra processes that read photos.
        tell: Called with a line of progress now and then.

    Raises:
        ValueError: If the folder holds features of other photos or weights, no photo can be read, or the
            model returns values that are not finite.
    """
    chosen = order_of(photos.labels, limit)
    record = folder / "about.json"
    key = {**about, "photos": identity(photos, contents=True), "tokens": TOKENS, "seed": SEED}  # of any limit
    folder.mkdir(parents=True, exist_ok=True)
    if record.exists() and json.loads(record.read_text("utf-8")) != json.loads(json.dumps(key)):
        raise ValueError(f"{folder} holds features of other photos or weights; name another folder")
    write(record, key)
    columns = columns_of(photos.classes, list(ids))
    parts = []
    for first in range(0, len(chosen), PART):
        mine = chosen[first : first + PART]
        part = folder / f"{first:06}-{len(mine)}.npz"
        if not part.exists():
            items = EvalSet(photos, about["size"], mine)
            found = _computed(model, items, first, workers)
            with replacing(part) as path, path.open("wb") as file:
                np.savez(file, **found)  # type: ignore[arg-type]  # numpy types the keywords as its own
            tell(f"{first + len(mine)} of {len(chosen)} photos")
        parts.append((part, mine))
    held, unreadable = _read(parts, ["labels", *(f"{kind} {b}" for kind in KINDS for b in _blocks(model))])
    photo, token = ({b: held[f"{kind} {b}"] for b in _blocks(model)} for kind in KINDS)
    return Features(photo, token, columns[held["labels"]], account(photos, chosen, unreadable))


@torch.inference_mode()
def _computed(model: CrossFormer, items: EvalSet, first: int, workers: int) -> dict[str, np.ndarray]:
    """The features of one part, and which of its photos could be read; the others are left out."""
    random = np.random.default_rng((SEED, first))
    rows: dict[str, list[np.ndarray]] = {}
    blocks, readable = _blocks(model), []
    for x, label, fine in loader(Marked(items), workers, batch_size=BATCH):
        readable.append(fine.numpy())
        if not fine.any():
            continue
        with capture(model, *blocks) as seen:
            model(input_for(model, x[fine]))
        rows.setdefault("labels", []).append(label[fine].numpy())
        for name in blocks:
            flat = normalised(seen[name].float()).flatten(1, 2).cpu()  # B, H*W, C
            places = random.integers(flat.shape[1], size=(len(flat), TOKENS))
            rows.setdefault(f"photo {name}", []).append(flat.mean(1).numpy())
            picked = flat.numpy()[np.arange(len(flat))[:, None], places]
            rows.setdefault(f"token {name}", []).append(picked.astype(np.float16))
    if not rows:
        first = items.indices[0]
        name, reason = shown(items.photos.names[first]), items.photos.why(first)
        raise ValueError(f"none of these {len(items)} photos can be read; {name}: {reason}")
    found = {name: np.concatenate(arrays) for name, arrays in rows.items()}
    if not all(np.isfinite(array).all() for array in found.values()):
        raise ValueError(
            "the tokens are not all finite numbers: the weights may come from a run that diverged"
        )
    return {**found, "readable": np.concatenate(readable)}


def _blocks(model: CrossFormer) -> list[str]:
    """The points where each block's tokens are, in order."""
    return [point_names.block(s, b) for s, depth in enumerate(model.depths) for b in range(depth)]


def normalised(tokens: torch.Tensor) -> torch.Tensor:
    """Normalise each token, without gain and bias: (..., C) -> (..., C)."""
    return F.layer_norm(tokens, tokens.shape[-1:], eps=EPS)


def _read(
    parts: Sequence[tuple[Path, np.ndarray]], names: Sequence[str]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Read the arrays of these names, and the indices of the photos that could not be read.

    Raises:
        ValueError: If a part left out photos and does not say which, as earlier versions did.
    """
    held: dict[str, list[np.ndarray]] = {name: [] for name in names}
    unreadable = []
    for part, photos in parts:
        with np.load(part) as file:
            for name in names:
                held[name].append(file[name])
            if "readable" in file:
                unreadable.append(photos[~file["readable"]])
            elif len(file["labels"]) < len(photos):
                raise ValueError(f"{part} does not say which photos it left out; delete it and repeat")
    return {name: np.concatenate(arrays) for name, arrays in held.items()}, np.concatenate(
        [*unreadable, np.zeros(0, dtype=int)]
    ).astype(int)


Layer = tuple[torch.Tensor, torch.Tensor]  # weight (classes, C) and bias (classes,)


def fit(
    x: torch.Tensor, labels: torch.Tensor, classes: int, penalty: float, start: Layer | None = None
) -> Layer:
    """Fit a multinomial logistic regression.

    Args:
        x: (n, C).
        labels: (n,).
        classes: Number of classes.
        penalty: Factor of half the squared weights, for channels scaled to a deviation of one.
        start: Where to begin; by default at zero.
    """
    mean, scale = x.mean(0), x.std(0).clamp_min(1e-6)
    z = (x - mean) / scale
    w0, b0 = start or (torch.zeros(classes, x.shape[1]), torch.zeros(classes))
    weight, bias = (w0 * scale).requires_grad_(), (b0 + w0 @ mean).requires_grad_()
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=STEPS, tolerance_change=STILL, line_search_fn="strong_wolfe"
    )

    def loss() -> Any:
        solver.zero_grad()
        value = F.cross_entropy(F.linear(z, weight, bias), labels) + penalty / 2 * weight.square().sum()
        value.backward()
        return value

    solver.step(loss)
    w = (weight / scale).detach()
    return w, (bias - w @ mean).detach()


def best(known: Features, kind: str, block: str, classes: int) -> tuple[Layer, float]:
    """Fit one probe on all photos, with the penalty that does best on those set aside; returns both."""
    every = np.arange(len(known.labels))
    aside = every % ASIDE == 0
    x, labels = known.of(kind, block, every[~aside])
    test, truth = known.of(kind, block, every[aside])

    made: list[tuple[float, float, Layer]] = []
    for penalty in PENALTIES:
        layer = fit(x, labels, classes, penalty, made[-1][2] if made else None)
        made.append((float(F.cross_entropy(F.linear(test, *layer), truth)), penalty, layer))
    _, penalty, layer = min(made, key=lambda one: one[0])
    return fit(*known.of(kind, block, every), classes, penalty, layer), penalty


def measured(
    weight: torch.Tensor, bias: torch.Tensor, held: Features, kind: str, block: str
) -> dict[str, Any]:
    """Measure one probe: the share of photos, or of single tokens, that it reads right, and 95 % bounds.

    Tokens of one photo are not independent: the bounds are those of a mean over photos.
    """
    x, labels = held.of(kind, block, np.arange(len(held.labels)))
    hits = (F.linear(x, weight, bias).argmax(1) == labels).numpy()
    if kind == "photo":
        return asdict(Score.of(hits))
    each = hits.reshape(len(held.labels), -1).mean(1)
    value, error = float(each.mean()), Z_95 * float(each.std(ddof=1)) / len(each) ** 0.5
    return {"n": len(each), "value": value, "low": max(0.0, value - error), "high": min(1.0, value + error)}


def make(
    out: Path,
    run: Path,
    model: CrossFormer,
    weights: str,
    ids: Sequence[str],
    train: Photos,
    val: Photos,
    size: Any,
    limits: tuple[int | None, int | None] = (None, None),
    workers: int = 0,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Learn the probes of all blocks of a model, measure them, and write them with their card.

    Args:
        out: The .safetensors file to write; the card goes beside it.
        run: The folder for the features, where a stopped run goes on.
        model: In eval mode.
        weights: SHA-256 of its weights.
        ids: WordNet ids or names of the classes, in the order of the model's outputs.
        train: Photos to learn from.
        val: Photos to measure on.
        size: Side of the input in pixels, or (height, width).
        limits: At most so many photos of each class, to learn from and to measure on.
        workers: Extra processes that read photos.
        tell: Called with a line of progress now and then.

    Returns:
        The facts in the card.
    """
    about = {"format": FORMAT, "weights": weights, "size": size}
    known, held = (
        features(run / name, model, photos, ids, about, limit, workers, tell)
        for name, photos, limit in (("train", train, limits[0]), ("val", val, limits[1]))
    )
    if len(known.labels) < ASIDE or len(held.labels) < 2:
        raise ValueError(
            f"got {len(known.labels)} photos to learn from and {len(held.labels)} to measure on; expected at "
            f"least {ASIDE} and 2"
        )
    blocks = list(known.photo)
    facts: dict[str, Any] = {**about, "classes": list(ids), "blocks": blocks, "commit": commit()}
    facts |= {"learned": len(known.labels), "measured": len(held.labels), "tokens": TOKENS}
    facts |= {"files": {"learned": known.files, "measured": held.files}}
    facts |= {"accuracy": {block: {} for block in blocks}, "penalty": {block: {} for block in blocks}}
    tensors: dict[str, torch.Tensor] = {}
    for block in blocks:
        for kind in KINDS:
            (weight, bias), penalty = best(known, kind, block, len(ids))
            weight, bias = weight.half(), bias.half()  # as they are kept, and so as they are measured
            score = measured(weight.float(), bias.float(), held, kind, block)
            facts["accuracy"][block][kind], facts["penalty"][block][kind] = score, penalty
            tensors[f"{block}.{kind}.weight"], tensors[f"{block}.{kind}.bias"] = weight, bias
            tell(f"{block} {kind}: {score['value']:.1%} [{score['low']:.1%}, {score['high']:.1%}]")
    with replacing(out) as path:
        save_file(tensors, path, metadata={ABOUT: json.dumps(facts)})
    with replacing(out.with_suffix(".md")) as path:
        path.write_text(card(out.stem, facts), "utf-8")
    return facts


def card(name: str, facts: dict[str, Any]) -> str:
    """The card of some probes, in Markdown."""
    rows = []
    for block, found in facts["accuracy"].items():
        stage, number, _ = point_names.parse(block)
        assert number is not None
        photo, token = (_share(found[kind]) for kind in KINDS)
        rows.append(f"| {stage + 1}.{number + 1} | {photo} | {token} |")
    lines = "\n".join(rows)
    return f"""# Linear probes of {name}

For each block a linear layer from its tokens, each normalised (a LayerNorm without gain and bias), to the
{len(facts["classes"])} classes. The model did not learn. `photo` reads the mean of all tokens of a photo,
`token` one token alone.

- Weights of the model: SHA-256 `{facts["weights"]}`; size {size_code(facts["size"])} px
- Learned from {facts["learned"]:,} training photos, the centre of each once, and {facts["tokens"]} tokens of
  each photo and block at random places, with the label of the photo
- Multinomial logistic regression, L-BFGS, {STEPS} steps at most; the penalty, one of
  {", ".join(f"{penalty:g}" for penalty in PENALTIES)}, did best on every tenth training photo, set aside
- Where the photos are those that the model was trained on, its late blocks know them better than others: only
  what was measured on photos of its validation counts
- Measured once, on {facts["measured"]:,} validation photos; chance is {1 / len(facts["classes"]):.1%}. The
  bounds of `token` are those of a mean over photos, since tokens of one photo are not independent
- Kept in float16, and measured as kept; commit {facts["commit"][:12]}
{_files(facts)}
| block | photo | 95 % interval | token | 95 % interval |
|---|---|---|---|---|
{lines}

A probe shows what could be read from a block by a linear layer, not what the model itself reads from it.
"""


def _files(facts: dict[str, Any]) -> str:
    """The account of both folders; empty for probes of an earlier version, which kept none."""
    kinds = (("learned", "to learn from"), ("measured", "to measure on"))
    return "".join(
        f"- Files {what}: {told(facts['files'][kind])}\n" for kind, what in kinds if "files" in facts
    )


def _share(score: dict[str, Any]) -> str:
    value, low, high = (f"{100 * score[part]:.1f}" for part in ("value", "low", "high"))
    return f"{value} % | {low} to {high}"
