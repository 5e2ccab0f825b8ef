"""Measure the effects of many changes on one prediction: one forward per change, from the changed part on.

Forwards run in batches. Everything before the changed part is as in the plain forward and is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

import numpy as np
import torch

from cfviz import point_names
from cfviz.hooks import capture
from cfviz.models.crossformer import CrossFormer
from cfviz.models.inputs import input_for

from .apply import WHOLE_BATCH, Arrays, apply, apply_each, input_of, needed
from .language import Intervention, places
from .means import Means

BATCH = 16
Interventions = Sequence[Intervention]
Place = tuple[int, int]  # stage and block; -1 is the embedding layer before the stage


def parts(model: CrossFormer, how: str, size: tuple[int, int]) -> list[Intervention]:
    """List one intervention for every part of a model that `how` applies to, and every change of kind.

    Args:
        model: Its stages, blocks, heads and kernels are listed in order.
        how: "zero", "mean", "shuffle" or "replace"; "replace" leaves out position biases, which do not depend
            on the photo.
        size: (height, width) of the input in pixels; if one group covers the whole map, SDA and LDA are the
            same and no change of kind is listed.
    """
    found: list[Intervention] = []
    for s, blocks in enumerate(model.groupings(*size)):
        found += places(model, Intervention("kernel", s, how=how))
        for b, g in enumerate(blocks):
            found += places(model, Intervention("head", s, b, how=how))
            found += [Intervention(part, s, b, how=how) for part in ("attn", "mlp", "block")]
            if how != "replace":
                found.append(Intervention("bias", s, b, how=how))
            if min(g.H, g.W) > model.group_size[s]:
                found.append(Intervention("kind", s, b, how="sda" if g.kind == "lda" else "lda"))
    return found


@torch.inference_mode()
def effects(
    model: CrossFormer,
    image: torch.Tensor,
    changes: Sequence[Interventions],
    means: Arrays | None = None,
    donor: Arrays | None = None,
    batch: int = BATCH,
    progress: Callable[[float], None] | None = None,
) -> np.ndarray:
    """Compute the logits of one image under each of many changes.

    Args:
        model: In eval mode; not written to.
        image: (3, H, W), normalised.
        changes: The interventions for each forward.
        means: As for `cfviz.models.interventions.apply.apply`.
        donor: As for `apply`.
        batch: Forwards at a time.
        progress: Called with the fraction completed, 0 to 1; an exception it raises stops the work.

    Returns:
        float32 (len(changes), classes).

    Raises:
        ValueError: As `apply`.
    """
    begins = [begin_of(model, interventions) for interventions in changes]
    entries = _entries(model, image, set(begins))
    order = sorted(range(len(changes)), key=lambda n: (begins[n], _needs_whole_batch(changes[n])))
    found = np.zeros((len(changes), model.num_classes), np.float32)
    done = 0
    for (begin, alone), same in groupby(order, lambda n: (begins[n], _needs_whole_batch(changes[n]))):
        waiting = list(same)
        step = 1 if alone else batch
        for some in (waiting[i : i + step] for i in range(0, len(waiting), step)):
            rows = [changes[n] for n in some]
            x = entries[begin].expand(len(rows), *[-1] * 3)
            with apply(model, rows[0], means, donor) if alone else apply_each(model, rows, means, donor):
                found[some] = rest_from(model, x, begin).float().cpu().numpy()
            done += len(some)
            if progress is not None:
                progress(done / len(changes))
    return found


def _needs_whole_batch(interventions: Interventions) -> bool:
    return any(intervention.on and intervention.part in WHOLE_BATCH for intervention in interventions)


def begin_of(model: CrossFormer, interventions: Interventions) -> Place:
    """Return the first place that is changed; if nothing is, the last block."""
    found = [
        (one.stage or 0, -1 if one.part == "kernel" else one.block or 0)
        for intervention in interventions
        for one in places(model, intervention)
        if intervention.on
    ]
    return min(found, default=(len(model.depths) - 1, model.depths[-1] - 1))


def point_before(model: CrossFormer, place: Place) -> str | None:
    """Return the point whose output is a place's input; None if the input is the image."""
    s, b = place
    if b >= 0:
        return input_of(s, b)
    return point_names.block(s - 1, model.depths[s - 1] - 1) if s else None


def _entries(model: CrossFormer, image: torch.Tensor, places: set[Place]) -> dict[Place, torch.Tensor]:
    """Return the input of each place in the plain forward."""
    x = input_for(model, image[None])
    points = {place: point_before(model, place) for place in places}
    with capture(model, *{point for point in points.values() if point}) as seen:
        model(x)
    return {place: seen[point] if point else x for place, point in points.items()}


def rest_from(model: CrossFormer, x: torch.Tensor, place: Place) -> torch.Tensor:
    """Compute the logits from the input of a place: (B, H, W, C), or (B, 3, H, W) for the first place."""
    s, b = place
    point = point_before(model, place)
    if point is None:
        return model(x)
    x = model.get_submodule(point)(x)  # edits and captures of this point apply here too
    if b < 0:
        downsample = model.stages[s - 1].downsample
        assert downsample is not None
        x = downsample(x)
    for stage in model.stages[s:]:
        for block in stage.block_list[max(b, 0) :]:
            x = block(x)
        x = x if stage.downsample is None else stage.downsample(x)
        b = 0
    return model.logits(model.forward_head(model.features(model.norm(x))))


@torch.inference_mode()
def collect(
    model: CrossFormer, images: Sequence[torch.Tensor], interventions: Iterable[Intervention], batch: int = 8
) -> dict[str, np.ndarray]:
    """Compute the means that some interventions need, over images of one size.

    Args:
        model: In eval mode.
        images: Each (3, H, W), normalised.
        interventions: Only those with `how="mean"` need means.
        batch: Images at a time.

    Returns:
        As `Means.result`; empty if no means are needed.
    """
    names = needed(model, interventions)
    if not names:
        return {}
    means = Means()
    with capture(model, *names) as seen:
        for start in range(0, len(images), batch):
            x = input_for(model, torch.stack(list(images[start : start + batch])))
            model(x)
            means.add(seen, model.groupings(*x.shape[-2:]))
    return means.result()
