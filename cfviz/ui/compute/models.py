"""The models on offer, opened once for all readers, and the weights behind each name."""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import streamlit as st

from cfviz.data.samples import by_digest
from cfviz.models.crossformer import CrossFormer, recorded
from cfviz.models.factory import create_model
from cfviz.models.variants import OFFICIAL, OURS, list_models
from cfviz.models.weights.checkpoints import model_card
from cfviz.models.weights.download import cache_dir
from cfviz.provenance import DATASETS, Provenance
from cfviz.run import inspect, load, name_of, placed, shown_classes
from cfviz.ui.session import budget, queue, state

Source = Literal["own", "bundled", "official", "random"]
_log = logging.getLogger(__name__)
_OWN, _PLACED = "cfviz.own_models", "cfviz.placed"


def names() -> list[str]:
    """Names of the variants, then of the models the reader added in this session."""
    return [*list_models(), *own()]


def own() -> dict[str, Any]:
    """The reader's own models by id; they live as long as the session."""
    return st.session_state.setdefault(_OWN, {})


def title(name: str) -> str:
    """`crossformer_pp_small` -> `CrossFormer++ small`; for a reader's own model, the file's name.

    A file's name is reduced to letters, digits and a few harmless characters, because titles also appear in
    figures.
    """
    if name in own():
        return re.sub(r"[^\w .+-]", "", own()[name].provenance.source)[:80].strip() or name
    name, twin = name.removesuffix("_rpb"), name.endswith("_rpb")
    family, _, size = name.rpartition("_")
    size += " (RPB)" if twin else ""
    return f"{'CrossFormer++' if family.endswith('_pp') else 'CrossFormer'} {size}"


def model(settings: state.Settings) -> CrossFormer:
    """The model of these settings with the best weights at hand: bundled, else the authors', else random."""
    found = weights_source(settings.model)
    if found == "own":
        return _own_placed(settings.model, settings)
    return opened(settings.model, found, settings.device, settings.dtype)


def weights_source(name: str) -> Source:
    """Where the weights behind a name come from, without opening them."""
    if name in own():
        return "own"
    if name in OURS:
        return "bundled"
    return "official" if is_downloaded(name) else "random"


def is_downloaded(name: str) -> bool:
    """Whether the authors' weights are on this machine."""
    return name in OFFICIAL and (cache_dir() / "weights" / f"{name}.pth").is_file()


def is_trained(name: str) -> bool:
    """Whether a model's weights are trained rather than random, determined without opening it."""
    found = weights_source(name)
    return own()[name].provenance.trained is not None if found == "own" else found != "random"


def shown(name: str, photo: str) -> tuple[int, ...] | None:
    """Which of a model's classes a gallery photo is known to show, determined without opening the model.

    Returns:
        As `shown_classes`; None for random weights and for the reader's own photos, too.
    """
    found = weights_source(name)
    if photo not in _digests() or found == "random":
        return None
    if found == "own":
        net = own()[name]
        return shown_classes(_digests()[photo], recorded(net), net.num_classes)
    dataset = model_card(name)["dataset"] if found == "bundled" else "imagenet-1k"
    return shown_classes(_digests()[photo], Provenance(found, dataset=dataset), DATASETS[dataset])


@lru_cache(maxsize=1)
def _digests() -> dict[str, str]:
    """SHA-256 of the gallery's files by id."""
    return {entry.id: sha256 for sha256, entry in by_digest().items()}


@st.cache_resource(show_spinner=False, max_entries=8)
def opened(name: str, found: Source, device: str, dtype: str) -> CrossFormer:
    """One model for all readers, with the weights found for it, ready for its first photo."""
    if found == "bundled":
        return _warmed(load(name, device, dtype), dtype)
    net = create_model(name, None if found == "random" else found)  # the banner says which are random
    return _warmed(placed(net, device, dtype), dtype)


def _own_placed(name: str, settings: state.Settings) -> CrossFormer:
    """One of the reader's own models on its device; the copy is kept until another is requested."""
    key = (name, settings.device, settings.dtype)
    kept, net = st.session_state.get(_PLACED, (None, None))
    if kept != key:
        net = placed(own()[name], settings.device, settings.dtype)
        if net is not own()[name]:
            budget.shared().hold(net, sum(p.nbytes for p in net.parameters()), strict=False)
        st.session_state[_PLACED] = (key, net)
    return net


def _warmed(net: CrossFormer, dtype: str) -> CrossFormer:
    """Run one forward pass on dummy input, so that the first photo's timing is like all later ones."""
    with queue.turn("model", (name_of(net), dtype)):
        inspect(np.zeros((64, 64, 3), np.uint8), net, 224, dtype=dtype)
    _log.info("model ready: %s in %s", name_of(net), dtype)
    return net


def weights_argument(net: CrossFormer) -> str | None:
    """The command line's name for a model's weights; None if it uses them by default."""
    source = recorded(net).source  # the checksums of all weights would take as long as a figure
    return {"random": "none", "bundled": None}.get(source, source)


def model_code(net: CrossFormer, call: str = "cfviz.create_model({}){}") -> str:
    """The rest of a line of Python that opens a model with exactly the weights on screen.

    Args:
        net: The model, in the number format on screen.
        call: The call's template; its braces take the variant's name and the weights, then the number format.
    """
    cast = {"torch.bfloat16": ".bfloat16()", "torch.float16": ".half()"}
    named = weights_argument(net)
    weights = {None: "", "none": ", weights=None", "official": ', weights="official"'}
    note = {None: "", "none": "  # random weights", "official": "  # the authors', downloaded once"}
    said = weights.get(named, f", weights={named!r}")
    opened = call.format(f'"{name_of(net)}"{said}', cast.get(str(next(net.parameters()).dtype), ""))
    return opened + note.get(named, "  # your file")
