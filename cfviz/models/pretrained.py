"""Models with weights for timm's registry and for `create_model`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from timm.models import build_model_with_cfg, resolve_pretrained_cfg

from cfviz.models.weights.checkpoints import Checkpoint, load_checkpoint
from cfviz.models.weights.errors import CheckpointError
from cfviz.models.weights.state_dict import strip
from cfviz.options import TRAINED_SIZE

from .crossformer import CrossFormer
from .factory import note_origin, take
from .variants import OURS, VARIANTS, WEIGHTS

FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")  # what timm and the Hugging Face Hub call weights


def checkpoint_filter_fn(state_dict: dict[str, Any], model: Any) -> dict[str, Any]:
    """Convert any CrossFormer checkpoint to the parameter names of `model`; used by timm."""
    return strip(state_dict)


def create(name: str, pretrained: bool, **kwargs: Any) -> CrossFormer:
    """Make a variant for timm, with the weights that timm's arguments name if `pretrained`."""
    checkpoint = _pretrained(name, kwargs) if pretrained else None
    config = {**VARIANTS[name]}
    if checkpoint is not None:
        known = checkpoint.config
        config |= {key: value for key, value in known.items() if key not in ("num_classes", "in_chans")}
        overlay = dict(state_dict=dict(checkpoint.state_dict), num_classes=checkpoint.num_classes)
        side = checkpoint.img_size or TRAINED_SIZE
        overlay |= dict(input_size=(checkpoint.in_chans, side, side))
        overlay |= dict(source="", hf_hub_id=None)  # timm would prefer these to the weights given here
        kwargs["pretrained_cfg_overlay"] = {**(kwargs.get("pretrained_cfg_overlay") or {}), **overlay}
    model: Any = build_model_with_cfg(
        CrossFormer,
        name,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg=dict(out_indices=(0, 1, 2, 3), feature_cls="getter"),
        **{**config, **kwargs},
    )
    if checkpoint is not None:
        for cfg in (model.pretrained_cfg, model.default_cfg):
            cfg.pop("state_dict", None)  # timm would keep a second copy of the weights
        if isinstance(model, CrossFormer):
            note_origin(model, checkpoint)
    return cast(CrossFormer, model)


def _pretrained(name: str, kwargs: dict[str, Any]) -> Checkpoint | None:
    """Load the weights for `pretrained=True`; None if timm was given others by a link or a dict."""
    told = {key: kwargs.get(key) for key in ("pretrained_cfg", "pretrained_cfg_overlay")}
    cfg = resolve_pretrained_cfg(name, **told).to_dict()
    source = _source(name, cfg)
    if source is None:
        return None
    checkpoint = load_checkpoint(source)
    if checkpoint.variant != name:
        raise CheckpointError(
            "wrong_variant", source=checkpoint.source, found=checkpoint.variant, wanted=name
        )
    return checkpoint


def _source(name: str, cfg: dict[str, Any]) -> Any:
    """Return what `load_checkpoint` is to open for one of timm's configurations; None leaves it to timm."""
    kind, file, hub = cfg.get("source"), cfg.get("file"), cfg.get("hf_hub_id")
    if kind == "local-dir":  # timm's word for a folder with a `config.json`
        files = [Path(str(file)) / weights for weights in FOLDER_FILES]
        return next((path for path in files if path.is_file()), files[0])
    if kind == "hf-hub":
        return f"hf-hub:{hub}"
    if cfg.get("state_dict"):
        return None
    if file and not (name in OURS and file == str(WEIGHTS / f"{name}.safetensors")):
        return file
    if hub:
        return f"hf-hub:{hub}"
    return None if cfg.get("url") else name


def load_into(model: CrossFormer, path: str) -> None:
    """Load a file into a model; its G, I and input size apply unless others were given when it was made."""
    checkpoint = load_checkpoint(path)
    given = getattr(model, "_model_args", {})
    model.set_grouping(
        None if "group_size" in given else checkpoint.group_size,
        None if "interval" in given else cast(Any, checkpoint.interval),
        None if "lda" in given else checkpoint.lda,
    )
    take(model, checkpoint)
    model.set_input_size(None if "img_size" in given else checkpoint.img_size)
