"""The start of a run: the model with its initial weights, and the optimiser with its parameter groups."""

from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import timm
import torch
from timm.optim import create_optimizer_v2, list_optimizers, param_groups_weight_decay
from torch import nn

import cfviz.models.registry  # noqa: F401  (registers the variants with timm)
from cfviz.geometry import Lda
from cfviz.models.crossformer import CrossFormer
from cfviz.models.factory import named_source
from cfviz.models.variants import VARIANTS
from cfviz.models.weights.checkpoints import load_checkpoint

from .data import seed_all
from .distill import Student
from .positions import is_position_bias
from .recipe import Phase, Recipe


def build_model(recipe: Recipe) -> CrossFormer:
    """The recipe's model, with random weights drawn from its seed, or with `start_weights`.

    Raises:
        ValueError: If `model_args` or the weights do not fit the model, or a pattern of `redraw` matches no
            layer.
    """
    seed_all(recipe.seed)
    last = recipe.phases[-1]
    group_size, interval, lda = groups_of(recipe, last)
    extra: dict[str, Any] = {**recipe.model_args, "interval": interval, "lda": lda}
    try:
        model = timm.create_model(
            recipe.model,
            pretrained=False,
            num_classes=recipe.num_classes,
            drop_path_rate=recipe.drop_path,
            group_size=group_size,
            position_bias=recipe.position_bias,
            **extra,
        )
    except Exception as error:  # arguments of any kind may stand in a recipe
        if not recipe.model_args:
            raise
        raise ValueError(f"model_args {recipe.model_args} do not fit {recipe.model}: {error}") from error
    assert isinstance(model, CrossFormer)
    if recipe.start_weights is not None:
        _take(model, recipe.start_weights, last.lda or recipe.model_args.get("lda"))
    _redraw(model, recipe.redraw)
    return model


def groups_of(recipe: Recipe, phase: Phase) -> tuple[Any, Any, Lda]:
    """G, I and the form of long distance attention in a phase."""
    own = {**VARIANTS[recipe.model], "lda": "regions", **recipe.model_args}
    return phase.group_size, phase.interval or own["interval"], phase.lda or own["lda"]


def settled(recipe: Recipe) -> Recipe:
    """The recipe with the form of long distance attention that its initial weights imply."""
    if recipe.start_weights is None or "lda" in recipe.model_args:
        return recipe
    found = load_checkpoint(named_source(recipe.start_weights)).lda
    return replace(recipe, model_args={**recipe.model_args, "lda": found}) if found == "whole" else recipe


def _take(model: CrossFormer, source: str, lda: Lda | None) -> None:
    """Load the initial weights; unless the recipe names a form of long distance attention, theirs is kept."""
    found = load_checkpoint(named_source(source))
    try:
        model.load_state_dict(found.state_dict, strict=True)
    except RuntimeError as error:
        detail = str(error).splitlines()[1].strip()
        raise ValueError(f"start_weights {source!r} do not fit the recipe's model: {detail}") from None
    model.set_grouping(lda=lda or found.lda)


def _redraw(model: CrossFormer, patterns: list[str]) -> None:
    """Reset layers (linear or LayerNorm) to PyTorch's default initialisation, biases included.

    Linear layers here start with small weights and zero biases. The three hidden units of a narrow position
    bias then die easily, and a dead unit gets no gradient to recover with.
    """
    for pattern in patterns:
        layers = [
            layer
            for name, layer in model.named_modules()
            if isinstance(layer, nn.Linear | nn.LayerNorm) and fnmatchcase(name, pattern)
        ]
        if not layers:
            raise ValueError(f"redraw: no linear or LayerNorm layer matches {pattern!r}")
        for layer in layers:
            layer.reset_parameters()


def make_optimizer(recipe: Recipe, student: CrossFormer | Student) -> torch.optim.Optimizer:
    """The recipe's optimiser, with position biases in separate groups scaled by `position_lr`.

    Muon updates the position biases with its fallback, AdamW: a table of biases is not a linear map.

    Raises:
        ValueError: If timm has no such optimiser, or it does not take these arguments.
    """
    position = {id(p) for name, p in student.named_parameters() if is_position_bias(name)}
    groups = []
    for group in param_groups_weight_decay(
        student, recipe.weight_decay, no_weight_decay_list=student.no_weight_decay()
    ):
        for scale, inside in ((1.0, False), (recipe.position_lr, True)):
            chosen = [p for p in group["params"] if (id(p) in position) == inside]
            if chosen:
                groups.append({**group, "params": chosen, "lr_scale": scale, "use_fallback": inside})
    try:
        return create_optimizer_v2(
            groups, opt=recipe.optimizer, lr=recipe.lr, weight_decay=0.0, betas=tuple(recipe.betas)
        )
    except Exception as error:  # the name is unknown, or the optimiser does not take these arguments
        name = recipe.optimizer
        near = get_close_matches(name, list_optimizers(), 1)
        hint = (
            f"did you mean {near[0]}?"
            if near and near[0] != name
            else "expected one of timm's, such as adamw"
        )
        raise ValueError(f"the optimizer {name!r} cannot be used ({error}); {hint}") from error
