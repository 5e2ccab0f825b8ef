"""The gallery's results with the bundled model, computed while nobody waits: see `cfviz.ui.compute.ahead`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from cfviz import point_names
from cfviz.data.decode import Photo
from cfviz.data.samples import gallery
from cfviz.figures import theme
from cfviz.framing import Size
from cfviz.models.probes.position_bias import CHANGES
from cfviz.models.variants import shipped
from cfviz.run import load, pick_device
from cfviz.trace import Trace
from cfviz.words import translator

from .compute import ahead, cache
from .context import Context
from .figures import position_bias
from .pages import home
from .pages.attention import measures, view
from .pages.embedding import ablation, figure, subject
from .pages.position_bias import ablation as bias_ablation
from .session import photos, state

Work = Callable[[], object]


def run() -> str:
    """Compute ahead until everything is done or the memory is full; for a thread of its own."""
    return ahead.run(works())


def works() -> Iterator[Work]:
    """Short pieces of work: for all photos what the page shows first, then what stands further down."""
    settings = state.Settings(device=pick_device())
    if shipped(settings.model) is None:
        return
    ids = [entry.id for entry in gallery()]
    first = sorted(ids, key=lambda id: id != settings.photo)
    for id in first:
        yield from _top(_page(replace(settings, photo=id)))
    for id in first:
        yield from _below(_page(replace(settings, photo=id)))


@dataclass
class _Unseen(Context):
    """A page that nobody sees: photo and trace without a session."""

    @property
    def photo(self) -> Photo:
        return photos.bundled(self.settings.photo)

    def trace(self, *watch: str, size: Size | None = None) -> Trace:
        assert size is None  # nothing is computed ahead at other sizes
        return cache.trace(self.settings, self.photo, watch, net=self.model)


def _page(settings: state.Settings) -> _Unseen:
    net = load(settings.model, settings.device, settings.dtype)
    return _Unseen("ahead", translator("en"), "en", theme.LIGHT, settings, _model=net)


def _top(page: _Unseen) -> Iterator[Work]:
    """The prediction, the common trace, and each page's first figure."""
    outputs = point_names.stage_outputs(page.model.depths)
    yield page.trace
    yield partial(page.trace, *outputs)
    yield lambda: home.pictures(page.trace(*outputs), page.model.depths)
    for s, depth in enumerate(page.model.depths):
        for b in range(depth):
            yield partial(_encode, page, s, b)
    about = subject.subject_of(page)
    yield lambda: figure.packed_message(about.source, about)


def _encode(page: _Unseen, stage: int, block: int) -> object:
    return view.block_of(page.trace(*measures.WATCH), stage, block).encoded()


def _below(page: _Unseen) -> Iterator[Work]:
    """What is measured further down on each page."""
    attention = measures.subject_of(page)
    yield lambda: measures.fidelity(attention.source, attention)
    yield lambda: measures.head_measures(attention.source, attention)
    about = subject.subject_of(page)
    yield lambda: ablation.ablated(about.source, "zero", "", about)
    bias = position_bias.on_photo(page, position_bias.subject_of(page))
    everywhere = tuple(bias.places)
    for how in CHANGES:
        yield partial(bias_ablation.changed, bias.source, how, everywhere, bias, page.photo)
    yield lambda: bias_ablation.shares(bias.source, page, bias)
