"""Where a model's weights come from: bundled, the authors' (downloaded on request), or the reader's."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import streamlit as st

from cfviz.models.factory import build, create_model
from cfviz.models.variants import OURS, WEIGHTS, list_models
from cfviz.models.weights.checkpoints import load_checkpoint
from cfviz.models.weights.download import OFFICIAL, cache_dir
from cfviz.models.weights.errors import CheckpointError, readable_size
from cfviz.run import inspect, load, name_of, placed
from cfviz.ui.compute import queue
from cfviz.ui.session import state
from cfviz.ui.session.plain import explain

if TYPE_CHECKING:
    from cfviz.ui.shell.page import Context

TYPES = ["safetensors"]  # from a browser: a format that can hold nothing but numbers
MAX_MB = 400
MAX_OWN = 3
_log = logging.getLogger(__name__)
_OWN, _PLACED, _REFUSED = "cfviz.own_models", "cfviz.placed", "cfviz.refused_weights"


def names() -> list[str]:
    """The variants, then the reader's own models of this session."""
    return [*list_models(), *own()]


def own() -> dict[str, Any]:
    """The reader's own models by id; they live as long as the session."""
    return st.session_state.setdefault(_OWN, {})


def title(name: str) -> str:
    """``crossformer_pp_small`` -> ``CrossFormer++ small``; for the reader's own the file's name.

    Of that letters and digits alone, for a title stands in figures and tables, too.
    """
    if name in own():
        return re.sub(r"[^\w .+-]", "", own()[name].provenance.source)[:80].strip() or name
    name, twin = name.removesuffix("_rpb"), name.endswith("_rpb")
    family, _, size = name.rpartition("_")
    size += " (RPB)" if twin else ""
    return f"{'CrossFormer++' if family.endswith('_pp') else 'CrossFormer'} {size}"


def model(settings: state.Settings) -> Any:
    """The model of these settings, with the best weights at hand: bundled, else the authors', else random."""
    name = settings.model
    if name in own():
        return _own_placed(name, settings)
    if downloaded(name) and not (WEIGHTS / f"{name}.safetensors").is_file():
        return _official(name, settings.device, settings.dtype)
    return _shared(name, settings.device, settings.dtype)


def downloaded(name: str) -> bool:
    """Whether the authors' weights are on this machine."""
    return name in OFFICIAL and (cache_dir() / "weights" / f"{name}.pth").is_file()


@st.cache_resource(show_spinner=False, max_entries=4)
def _shared(name: str, device: str, dtype: str) -> Any:
    random = name not in OURS  # the banner says so
    net = placed(create_model(name, None), device, dtype) if random else load(name, device, dtype)
    return _warmed(net, dtype)


@st.cache_resource(show_spinner=False, max_entries=4)
def _official(name: str, device: str, dtype: str) -> Any:
    return _warmed(placed(create_model(name, "official"), device, dtype), dtype)


def _own_placed(name: str, settings: state.Settings) -> Any:
    """One of the reader's own on its device; the copy is kept until another is wanted."""
    key = (name, settings.device, settings.dtype)
    kept, net = st.session_state.get(_PLACED, (None, None))
    if kept != key:
        net = placed(own()[name], settings.device, settings.dtype)
        st.session_state[_PLACED] = (key, net)
    return net


def _warmed(net: Any, dtype: str) -> Any:
    """One forward on nothing, so that the first reader's photo is timed like everybody's."""
    import numpy as np

    with queue.turn():
        inspect(np.zeros((64, 64, 3), np.uint8), net, 224, dtype=dtype)
    _log.info("model ready: %s in %s", name_of(net), dtype)
    return net


def given(net: Any) -> str | None:
    """What the command line calls a model's weights; None for those it takes by itself."""
    source: str = net.provenance.source
    return {"random": "none", "bundled": None}.get(source, source)


def code(net: Any, call: str = "cfviz.create_model({}){}") -> str:
    """The rest of a line of Python that opens a model with the very weights that are on screen.

    Args:
        net: the model, in the number format on screen.
        call: what is called; braces stand for the variant's name and the weights, then for the number format.
    """
    cast = {"torch.bfloat16": ".bfloat16()", "torch.float16": ".half()"}
    named = given(net)
    weights = {None: "", "none": ", weights=None", "official": ', weights="official"'}
    note = {None: "", "none": "  # random weights", "official": "  # the authors', downloaded once"}
    said = weights.get(named, f", weights={named!r}")
    opened = call.format(f'"{name_of(net)}"{said}', cast.get(str(next(net.parameters()).dtype), ""))
    return opened + note.get(named, "  # your file")


# ------------------------------------------------------------------ the reader's own


def take(ctx: Context) -> None:
    """A place to drop a checkpoint; what is refused is refused with a reason."""
    t = ctx.t
    file = st.file_uploader(
        t("common.weights_upload"),
        TYPES,
        key="w.weights",
        help=t("common.weights_help"),
        max_upload_size=MAX_MB,
    )
    st.caption(t("common.weights_convert"))
    if file is not None and st.session_state.get("cfviz.weights_seen") != file.file_id:
        st.session_state["cfviz.weights_seen"] = file.file_id
        st.session_state.pop(_REFUSED, None)
        try:
            checkpoint = _opened(file)
            net = build(checkpoint)
        except CheckpointError as error:
            st.session_state[_REFUSED] = error
        else:
            _keep(state.OWN + checkpoint.sha256[:10], net)
            st.rerun()
    if (refused := st.session_state.get(_REFUSED)) is not None and file is not None:
        st.error(explain(t, refused), icon=":material/error:")


def _opened(file: Any) -> Any:
    """The checkpoint in an upload, whose size and kind nobody but the browser has checked."""
    if file.size > MAX_MB * 2**20:
        limit, size = f"{MAX_MB} MB", readable_size(file.size)
        raise CheckpointError("too_heavy", source=file.name, size=size, limit=limit)
    checkpoint = load_checkpoint(file.getvalue(), name=file.name, allow_pickle=False)
    if checkpoint.in_chans != 3:
        raise CheckpointError("channels", source=checkpoint.source, channels=checkpoint.in_chans)
    return checkpoint


def _keep(key: str, net: Any) -> None:
    mine = own()
    mine[key] = net
    while len(mine) > MAX_OWN:
        del mine[next(iter(mine))]
    state.change(model=key)


# ------------------------------------------------------------------ the authors'


@dataclass
class Download:
    """One running download."""

    cancel: threading.Event = field(default_factory=threading.Event)
    done: int = 0
    total: int | None = None
    future: Future[Any] | None = None

    def report(self, done: int, total: int | None) -> None:
        """Called by the downloader."""
        self.done, self.total = done, total


@st.cache_resource(show_spinner=False)
def _worker() -> tuple[ThreadPoolExecutor, dict[str, Download]]:
    return ThreadPoolExecutor(1, "download"), {}


def offer(ctx: Context, name: str | None = None) -> None:
    """Under the banner of random weights: fetch the authors', with progress, where they can be had.

    Args:
        ctx: the page.
        name: the variant; the chosen model if left out.
    """
    name = name or ctx.settings.model
    if name in OFFICIAL:
        label = ctx.t("common.official_get", model=title(name), accuracy=OFFICIAL[name][1])
        source = f"official:{name}"
        fetch(ctx, name, label, lambda job: load_checkpoint(source, progress=job.report, cancel=job.cancel))


def fetch(ctx: Context, name: str, label: str, work: Callable[[Download], Any]) -> None:
    """A button that starts a download in the background, and how far it is.

    Args:
        ctx: the page.
        name: of the model.
        label: on the button.
        work: does it; may report to the `Download`, and heed its `cancel`.
    """
    executor, running = _worker()
    if name not in running:
        if not st.button(label, icon=":material/download:", key=f"official.get.{name}"):
            return
        job = running[name] = Download()
        job.future = executor.submit(work, job)
    _follow(ctx, name)


@st.fragment(run_every=0.5)
def _follow(ctx: Context, name: str) -> None:
    """The progress of a download; at its end the page runs again."""
    _, running = _worker()
    job = running.get(name)
    if job is None or job.future is None:
        return
    if not job.future.done():
        share = min(1.0, job.done / job.total) if job.total else 0.0
        said = ctx.t("common.official_progress", done=readable_size(job.done))
        st.progress(share, said if job.done else ctx.t("common.official_wait"))
        if name in OFFICIAL and st.button(ctx.t("common.cancel"), key=f"official.cancel.{name}"):
            job.cancel.set()
        return
    error = job.future.exception()
    if error is None:
        running.pop(name, None)
        st.rerun()
    st.error(explain(ctx.t, error), icon=":material/error:")
    if st.button(ctx.t("common.again"), key=f"official.again.{name}"):
        running.pop(name, None)
        st.rerun()
