"""Make a detector or segmenter with weights and a record of their origin."""

from __future__ import annotations

from functools import partial
from typing import Any

from cfviz.models.crossformer import CrossFormer
from cfviz.models.opening import check_fit, opened_as
from cfviz.models.variants import VARIANTS
from cfviz.models.weights.download import Progress

from .checkpoints import DenseCheckpoint, load_dense
from .model import MODELS, DenseModel
from .variants import CLASSES, DENSE


def make_dense(name: str, **kwargs: Any) -> DenseModel:
    """Make a registered model with random weights, in training mode.

    Args:
        name: A key of `DENSE`.
        **kwargs: `num_classes`, and arguments of `CrossFormer` for the backbone.
    """
    variant = DENSE[name]
    num_classes = kwargs.pop("num_classes", CLASSES[variant.dataset])
    settings = {**VARIANTS[variant.backbone], "lda": "whole", **variant.settings, **kwargs}
    backbone = CrossFormer(**{**settings, "num_classes": 0, "global_pool": ""})
    model = MODELS[variant.kind](backbone, num_classes, **variant.heads)
    model.sides = variant.sides
    model.pretrained_cfg = {"architecture": name}
    return model


def opened_dense(
    source: Any, name: str | None, progress: Progress | None = None, **kwargs: Any
) -> DenseModel:
    """Make a detector or segmenter with the weights from a source, in eval mode.

    Args:
        source: As in `load_dense`; None for random weights, the same every time.
        name: The model that the weights must belong to; None accepts any.
        progress: As in `load_checkpoint`.
        **kwargs: As in `make_dense`.

    Raises:
        CheckpointError: If the weights cannot be opened, or belong to another model.
    """
    made, built = partial(make_dense, **kwargs), partial(build_dense, **kwargs)
    return opened_as(source, name, made, load_dense, built, progress)


def build_dense(checkpoint: DenseCheckpoint, **kwargs: Any) -> DenseModel:
    """Build the model that a checkpoint belongs to, with its weights, in eval mode."""
    model = make_dense(checkpoint.variant, **{**checkpoint.config, **kwargs})
    take_dense(model, checkpoint)
    return model.eval()


def take_dense(model: DenseModel, checkpoint: DenseCheckpoint) -> None:
    """Load a checkpoint's weights into a model that was built for them.

    Raises:
        CheckpointError: "does_not_fit", with the first parameter that does not fit.
    """
    check_fit(model, checkpoint.state_dict, checkpoint.source)
    model.load_state_dict(checkpoint.state_dict, strict=True)
    told = checkpoint.backbone
    model.backbone.trained_group = told.trained_group or told.group_size or model.backbone.trained_group
    model.provenance = checkpoint.provenance
    model.backbone.provenance = told.provenance


def load_into(model: DenseModel, path: str) -> None:
    """Load a file into a model that timm made; its groups apply unless others were given to the model."""
    checkpoint = load_dense(path)
    given = getattr(model, "_model_args", {})
    model.backbone.set_grouping(**{k: v for k, v in checkpoint.settings.items() if k not in given})
    take_dense(model, checkpoint)
