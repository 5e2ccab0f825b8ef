"""The weights on a page: where they come from, a place to drop a file, the download of the authors'."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from cfviz.models.crossformer import CrossFormer, recorded, settled
from cfviz.models.factory import build
from cfviz.models.room import KEPT, MOST_CLASSES, check_room
from cfviz.models.variants import OFFICIAL
from cfviz.models.weights.checkpoints import load_checkpoint
from cfviz.models.weights.errors import CheckpointError, readable_size
from cfviz.options import SIZES
from cfviz.ui.compute import models
from cfviz.ui.context import Context
from cfviz.ui.session import budget, state
from cfviz.ui.session.plain import explain, plain
from cfviz.words import quantity, together

TYPES = ["safetensors"]  # accepted from a browser: a format that can hold nothing but numbers
MAX_MB = 400
MAX_OWN = 3
OWN_TIMM = "t_own"  # in a link to the attention page: its place for weights of timm's models is open


def weights_banner(ctx: Context) -> None:
    """Announce random weights above the page: they show the model's structure, nothing it has learnt."""
    if models.is_trained(ctx.settings.model):
        return
    name = plain(models.title(ctx.settings.model))
    with ctx.banner:
        st.warning(ctx.t("common.random_weights", model=name), icon=":material/casino:")
        offer(ctx)


def weights_line(ctx: Context) -> str:
    """Where the weights come from and what they were trained on, its words explained, for Markdown."""
    known = recorded(ctx.model)
    return together(known.sentence(ctx.t, plain), known.terms(ctx.t))


def warn_without_answer(ctx: Context) -> bool:
    """Say, in place of the model's answer, why it has none: no classifier, or random weights.

    Returns:
        Whether that is so.
    """
    if warn_without_classes(ctx, ctx.model):
        return True
    if recorded(ctx.model).predicts:
        return False
    st.info(ctx.t("answer.random"), icon=":material/casino:")
    return True


def warn_without_classes(ctx: Context, model: CrossFormer) -> bool:
    """Say, in place of a model's classes, that it has no classifier; return whether that is so."""
    if model.num_classes > 0:
        return False
    error = CheckpointError("no_classes", source=model.provenance.source)
    st.info(explain(ctx.t, error), icon=":material/label_off:")
    return True


# ------------------------------------------------------------------ the reader's own


def upload_weights(ctx: Context) -> None:
    """A place to drop a checkpoint; a refused file gets a reason."""
    t = ctx.t
    receive(
        ctx,
        "weights",
        t("common.weights_upload"),
        t("common.weights_help"),
        _take,
        t("common.weights_convert"),
    )


def receive(
    ctx: Context, name: str, label: str, tip: str, take: Callable[[Any], None], below: str = "",
    told: str = "",
) -> None:  # fmt: skip
    """A place to drop a file of weights; each file is taken once, and a refused one gets a reason.

    Args:
        ctx: The page.
        name: Distinguishes this place from others.
        label: What it says.
        tip: Its tooltip.
        take: Takes the file; a `ValueError` is the reason.
        below: A line below it.
        told: What else the reader said of the file; the same file is taken again if that changes.
    """
    seen, refused = f"cfviz.seen.{name}", f"cfviz.refused.{name}"
    file = st.file_uploader(label, TYPES, key=f"w.{name}", help=tip, max_upload_size=MAX_MB)
    if below:
        st.caption(below)
    if file is not None and st.session_state.get(seen) != (file.file_id, told):
        st.session_state[seen] = (file.file_id, told)
        st.session_state.pop(refused, None)
        try:
            take(file)
        except ValueError as error:
            st.session_state[refused] = error
        else:
            st.rerun()
    if (reason := st.session_state.get(refused)) is not None and file is not None:
        st.error(explain(ctx.t, reason), icon=":material/error:")
        if getattr(reason, "code", "") == "timm_weights":
            st.page_link(
                "pages/attention.py", label=ctx.t("common.weights_timm"), icon=":material/upload_file:",
                query_params=ctx.settings.query() | {OWN_TIMM: "1"},
            )  # fmt: skip


def check_size(file: Any) -> None:
    """Refuse a file that is too large; only the browser has checked so far."""
    if file.size > MAX_MB * 2**20:
        limit, size = quantity(MAX_MB, "MB"), readable_size(file.size)
        raise CheckpointError("too_heavy", source=file.name, size=size, limit=limit)


def check_shape(source: str, channels: int, classes: int, most: int) -> None:
    """Refuse weights for other pictures than colour photos, or with more than `most` classes."""
    if channels != 3:
        raise CheckpointError("channels", source=source, channels=channels)
    if classes > most:
        found, limit = f"{classes:,}", f"{most:,}"
        raise CheckpointError("too_many_classes", source=source, found=found, limit=limit)


def hold(net: Any, source: str) -> None:
    """Count a reader's model for as long as it lives; refuse it if all readers have sent too much."""
    hold_bytes(net, sum(p.nbytes for p in net.parameters()), source)


def hold_bytes(thing: Any, size: int, source: str) -> None:
    """Count what a reader has sent for as long as it lives; refuse it if all readers have sent too much."""
    try:
        budget.shared().hold(thing, size)
    except budget.FullError as full:
        raise CheckpointError("no_room", source=source, limit=full.limit) from None


def _take(file: Any) -> None:
    checkpoint = _opened(file)
    _keep(state.OWN + checkpoint.sha256[:10], _built(checkpoint))


def _opened(file: Any) -> Any:
    """The checkpoint in an upload."""
    check_size(file)
    checkpoint = load_checkpoint(file.getvalue(), name=file.name, allow_pickle=False)
    check_shape(checkpoint.source, checkpoint.in_chans, checkpoint.num_classes, MOST_CLASSES)
    return checkpoint


def _built(checkpoint: Any) -> Any:
    """The model of a checkpoint, if the group sizes in the file fit in memory at every size on offer."""
    net = build(checkpoint)
    for size in SIZES:
        check_room(net, size, size, KEPT)
    hold(net, checkpoint.source)
    return net


def _keep(key: str, net: CrossFormer) -> None:
    mine = models.own()
    mine[key] = settled(net)
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
    """Offer the authors' weights, if there are any, below the banner about random weights.

    Args:
        ctx: The page.
        name: The variant; by default the chosen model.
    """
    name = name or ctx.settings.model
    if name in OFFICIAL:
        label = ctx.t("common.official_get", model=models.title(name), accuracy=OFFICIAL[name][1])
        source = f"official:{name}"
        fetch(ctx, name, label, lambda job: load_checkpoint(source, progress=job.report, cancel=job.cancel))


def fetch(ctx: Context, name: str, label: str, work: Callable[[Download], Any]) -> None:
    """A button that starts a download in the background, and the download's progress.

    Args:
        ctx: The page.
        name: The model's name.
        label: The button's label.
        work: Downloads the file; may report to the `Download` and should heed its `cancel`.
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
    """The progress of a download; when it ends, the page runs again."""
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
