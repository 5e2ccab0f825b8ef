"""The models on offer, opened once for all readers, and the weights behind each name."""

from __future__ import annotations

import logging
import threading
from functools import lru_cache
from typing import Any, Literal, cast
from weakref import WeakKeyDictionary

import numpy as np
import streamlit as st

from cfviz.data.samples import by_digest
from cfviz.geometry import Lda, lsda, map_sizes
from cfviz.models import variants
from cfviz.models.crossformer import CrossFormer, recorded, settled
from cfviz.models.factory import create_model
from cfviz.models.forms import in_form
from cfviz.models.variants import OFFICIAL, OURS, VARIANTS, list_models
from cfviz.models.weights.checkpoints import model_card
from cfviz.models.weights.download import cache_dir
from cfviz.provenance import DATASETS, Provenance
from cfviz.run import inspect, load, name_of, placed, shown_classes
from cfviz.ui.session import budget, queue, state
from cfviz.ui.session.plain import file_title
from cfviz.words import Translator

Source = Literal["own", "bundled", "official", "random"]
_log = logging.getLogger(__name__)
_OWN, _PLACED = "cfviz.own_models", "cfviz.placed"
_regrouped: WeakKeyDictionary[CrossFormer, CrossFormer] = WeakKeyDictionary()  # in the form not its own
_regrouping = threading.Lock()


def names() -> list[str]:
    """Names of the variants, then of the models the reader added in this session."""
    return [*list_models(), *own()]


def own() -> dict[str, Any]:
    """The reader's own models by id; they live as long as the session."""
    return st.session_state.setdefault(_OWN, {})


def title(name: str) -> str:
    """`crossformer_pp_small` -> `CrossFormer++ small`; for a reader's own model, the file's name."""
    if name in own():
        return file_title(own()[name].provenance.source, name)
    return variants.title(name)


def model(settings: state.Settings) -> CrossFormer:
    """The model of these settings with the best weights at hand: bundled, else the authors', else random."""
    found = weights_source(settings.model)
    if found == "own":
        net = _own_placed(settings.model, settings)
    else:
        net = opened(settings.model, found, settings.device, settings.dtype)
    return net if settings.lda in (state.AS_TRAINED, net.lda) else _in_other_form(net, settings)


def _in_other_form(net: CrossFormer, settings: state.Settings) -> CrossFormer:
    """A model in the form of long distance attention that its weights do not imply, made once."""
    with _regrouping:
        if net not in _regrouped:
            _regrouped[net] = settled(in_form(net, cast(Lda, settings.lda)))
        return _regrouped[net]


def implied_form(name: str) -> Lda:
    """The form of long distance attention that the weights behind a name need."""
    return own()[name].lda if name in own() else "regions"


def form_of(settings: state.Settings) -> str:
    """The form of long distance attention under these settings: the reader's choice, or what weights need."""
    return implied_form(settings.model) if settings.lda == state.AS_TRAINED else settings.lda


def same_groups(name: str, size: tuple[int, int]) -> bool:
    """Whether both forms of long distance attention give a model the same groups, without opening it.

    Args:
        name: The model's name.
        size: (height, width) of the input in pixels.
    """
    net, variant = own().get(name), VARIANTS.get(name, {})
    G = variant["group_size"] if net is None else net.group_size
    I = variant["interval"] if net is None else net.interval  # noqa: E741
    each = zip(map_sizes(*size), G, (I,) * len(G) if isinstance(I, str) else I, strict=True)
    return all(
        lsda(H, W, block, g, i, "regions") == lsda(H, W, block, g, i, "whole")
        for (H, W), g, i in each
        for block in range(2)
    )


def chosen_form(net: CrossFormer) -> Lda | None:
    """The form of long distance attention that the reader chose for a model; None if its weights imply it."""
    return net.lda if any(net is one for one in list(_regrouped.values())) else None


def weights_source(name: str) -> Source:
    """Where the weights behind a name come from, without opening them."""
    if name in own():
        return "own"
    if name in OURS:
        return "bundled"
    return "official" if is_downloaded(name) else "random"


def marked(t: Translator, name: str) -> str:
    """A model's title and the origin of its weights, such as "bundled" or "random weights"."""
    found = weights_source(name)
    mark = "download" if found == "random" and name in OFFICIAL else found
    return f"{title(name)} · {t(f'common.weights_are_{mark}')}"


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
    return _shown(name, found, photo)


@lru_cache(maxsize=512)  # every page asks for all photos of the gallery, three times
def _shown(name: str, found: Source, photo: str) -> tuple[int, ...] | None:
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
        return _warmed(settled(load(name, device, dtype)), dtype)
    net = create_model(name, None if found == "random" else found)  # the banner says which are random
    return _warmed(settled(placed(net, device, dtype)), dtype)


def _own_placed(name: str, settings: state.Settings) -> CrossFormer:
    """One of the reader's own models on its device; the copy is kept until another is requested."""
    key = (name, settings.device, settings.dtype)
    kept, net = st.session_state.get(_PLACED, (None, None))
    if kept != key:
        net = settled(placed(own()[name], settings.device, settings.dtype))
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
        call: The call's template; its braces take the variant's name, the weights and any
            chosen form of long distance attention, then the number format.
    """
    cast = {"torch.bfloat16": ".bfloat16()", "torch.float16": ".half()"}
    named = weights_argument(net)
    weights = {None: "", "none": ", weights=None", "official": ', weights="official"'}
    note = {None: "", "none": "  # random weights", "official": "  # the authors', downloaded once"}
    said = weights.get(named, f", weights={named!r}")
    if (form := chosen_form(net)) is not None:
        said += f', lda="{form}"'
    opened = call.format(f'"{name_of(net)}"{said}', cast.get(str(next(net.parameters()).dtype), ""))
    return opened + note.get(named, "  # your file")
