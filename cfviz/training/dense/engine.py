"""Train neck and heads of a detector or segmenter on a frozen backbone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F

from cfviz.jobs import replacing
from cfviz.models.dense.factory import make_dense
from cfviz.models.dense.model import DenseModel, RetinaNet, SemanticFPN
from cfviz.models.dense.variants import DENSE
from cfviz.models.seeded import seeded
from cfviz.models.weights.checkpoints import Checkpoint, load_checkpoint
from cfviz.models.weights.recognise import HEADLESS
from cfviz.training import cache as photo_cache
from cfviz.training import state as states
from cfviz.training.folder import PhotoFolder, identity

from .features import SceneCache, cached, check_classes
from .measure import measured
from .recipe import DenseRecipe

CACHE_SIDE = 224  # short side of the photos in the cache
HELD = 1_000_000  # first seed of the scenes of photos held out
Tell = Callable[[str], None]


def begun(name: str, seed: int) -> tuple[DenseModel, Checkpoint]:
    """Make a model of ours with the bundled backbone, frozen, and random heads."""
    backbone = load_checkpoint(f"bundled:{DENSE[name].backbone}")
    with seeded(seed):
        model = make_dense(name)
    kept = {key: value for key, value in backbone.state_dict.items() if key not in HEADLESS}
    model.backbone.load_state_dict(kept, strict=True)
    model.backbone.requires_grad_(False).eval()
    return model, backbone


def heads(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the parameters and statistics that are not the backbone's."""
    return {key: value for key, value in state.items() if not key.startswith("backbone.")}


def loss_of(
    model: DenseModel, scenes: SceneCache, chosen: list[int], rng: np.random.Generator
) -> torch.Tensor:
    """Return the loss of the heads on some scenes.

    A segmenter's logits have a quarter of the scene's side; each is compared with one pixel, drawn anew each
    time, of the sixteen that it stands for.
    """
    maps = scenes.maps(chosen)
    with torch.autocast("cpu", torch.bfloat16):
        if isinstance(model, RetinaNet):
            levels = model.neck(maps[1:])
            losses = model.losses_of(levels, scenes.targets(chosen))
            return cast(torch.Tensor, sum(losses.values()))
        assert isinstance(model, SemanticFPN)
        logits = model.decode_head(model.neck(maps))
    y, x = rng.integers(0, 4, 2)
    return F.cross_entropy(logits.float(), scenes.label_map(chosen)[:, y::4, x::4])


def rate(recipe: DenseRecipe, step: int) -> float:
    """Return the learning rate of a step: a linear warm-up, then half a cosine."""
    if step < recipe.warmup:
        return recipe.lr * (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.min_lr + (recipe.lr - recipe.min_lr) * (1 + math.cos(math.pi * done)) / 2


def order(recipe: DenseRecipe, scenes: int, step: int) -> list[int]:
    """Return the scenes of a step: each is seen once before any is seen again."""
    per_pass = max(1, scenes // recipe.batch_size)
    mixed = np.random.default_rng((recipe.seed, step // per_pass)).permutation(scenes)
    start = step % per_pass * recipe.batch_size
    return [int(i) for i in mixed[start : start + recipe.batch_size]]


def fit(recipe: DenseRecipe, out: str | Path, tell: Tell = print, commit: str = "unknown") -> Path:
    """Train, or resume a run; return the run's folder.

    Args:
        recipe: All settings.
        out: The run's folder.
        tell: Called with a line of progress now and then.
        commit: The Git commit of the code that runs, kept in the run's state.

    Raises:
        ValueError: If the photos are not imagenette20's, the run's folder is one of another recipe, or a
            cache does not fit.
    """
    check_classes(PhotoFolder(recipe.data))  # before any is decoded
    run = Path(out)
    run.mkdir(parents=True, exist_ok=True)
    model, backbone = begun(recipe.model, recipe.seed)
    photos = photo_cache.build(recipe.data, recipe.cache or run / "photos", CACHE_SIDE, tell=tell)
    held = photo_cache.held_out(photos.names, recipe.hold_out)
    if held.all() or not held.any():
        raise ValueError(
            f"hold_out is {recipe.hold_out:g}, which leaves {held.sum()} of {len(photos)} photos to follow "
            "the training with; expected some, and others to train on"
        )
    about = {"backbone": backbone.sha256, "photos": identity(photos), "hold_out": recipe.hold_out}
    folder = Path(recipe.scenes_cache or run / "scenes")
    seen, unseen = range(recipe.scenes), range(HELD, HELD + recipe.held_out)
    follow = cached(folder / "held", model, photos, np.flatnonzero(held), unseen, recipe.side, about, tell)
    scenes = cached(folder / "train", model, photos, np.flatnonzero(~held), seen, recipe.side, about, tell)
    _train(recipe, run, model, scenes, follow, tell, commit)
    return run


def _train(
    recipe: DenseRecipe,
    run: Path,
    model: DenseModel,
    scenes: SceneCache,
    follow: SceneCache,
    tell: Tell,
    commit: str,
) -> None:
    learning = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in learning if p.dim() > 1]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": [p for p in learning if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.lr)
    average = {key: value.clone() for key, value in heads(model.state_dict()).items()}
    begin, before, commits = 0, 0.0, [commit]
    if (run / states.NAME).exists():
        found = states.read(run)
        if _weights_of(found["recipe"]) != _weights_of(recipe.as_dict()):
            raise ValueError(f"{run} is a run of another recipe; name another folder")
        model.load_state_dict(found["model"], strict=False)
        optimizer.load_state_dict(found["optimizer"])
        average, begin, before = found["ema"], found["step"], found["seconds"]
        commits = list(dict.fromkeys([*found.get("commits", ["unknown"]), commit]))
    start = saved = spoken = time.monotonic()

    def save(step: int) -> None:
        seconds = before + time.monotonic() - start
        told = {"epoch": 0, "step_in_epoch": step, "step": step, "seconds": seconds}
        own = heads(model.state_dict())
        kept = {"model": own, "ema": average, "optimizer": optimizer.state_dict()}
        states.write(run, {**kept, **told, "recipe": recipe.as_dict(), "commits": commits})

    losses: list[float] = []
    for step in range(begin, recipe.steps):
        _learning(model)
        for group in optimizer.param_groups:
            group["lr"] = rate(recipe, step)
        torch.manual_seed(recipe.seed * 1_000_003 + step)  # of dropout, so that a resumed run is the same
        chosen = order(recipe, len(scenes), step)
        loss = loss_of(model, scenes, chosen, np.random.default_rng((recipe.seed, 7, step)))
        if not torch.isfinite(loss):
            raise ValueError(f"the loss is {loss.item()} at step {step}: lower lr with --set lr=...")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, recipe.clip_grad)
        optimizer.step()
        decay = min(recipe.ema_decay, (1 + step) / (10 + step))
        for key, value in heads(model.state_dict()).items():
            average[key].lerp_(value, 1 - decay) if value.is_floating_point() else average[key].copy_(value)
        losses.append(loss.item())
        done = step + 1
        if time.monotonic() - spoken > 15:
            spoken = time.monotonic()
            tell(f"step {done} of {recipe.steps}, loss {loss.item():.3f}")
        if done % recipe.evaluate_every == 0 or done == recipe.steps:
            mean = float(np.mean(losses))
            losses.clear()
            figures = _follow(model, average, follow)
            minutes = (before + time.monotonic() - start) / 60
            line = {"step": done, "minutes": minutes, "loss": mean, **figures}
            _log(run / "log.csv", line)
            tell(", ".join(f"{key} {value:.4g}" for key, value in line.items()))
        if time.monotonic() - saved > 60 * recipe.checkpoint_minutes or done == recipe.steps:
            save(done)
            saved = time.monotonic()


def _weights_of(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that decide about the weights."""
    elsewhere = ("data", "cache", "scenes_cache", "evaluate_every", "checkpoint_minutes", "held_out")
    return {key: value for key, value in recipe.items() if key not in elsewhere}


def _learning(model: DenseModel) -> None:
    """Put the heads into training mode; the backbone stays as it is."""
    model.train()
    model.backbone.eval()


def _follow(model: DenseModel, average: dict[str, torch.Tensor], follow: SceneCache) -> dict[str, float]:
    """Measure the moving average on the scenes held out."""
    own = {key: value.clone() for key, value in heads(model.state_dict()).items()}
    model.load_state_dict(average, strict=False)
    model.eval()
    try:
        return measured(model, follow)
    finally:
        model.load_state_dict(own, strict=False)


def _log(path: Path, line: dict[str, float]) -> None:
    text = path.read_text("utf-8") if path.exists() else ",".join(line) + "\n"
    with replacing(path) as part:
        part.write_text(text + ",".join(f"{value:.6g}" for value in line.values()) + "\n", "utf-8")
