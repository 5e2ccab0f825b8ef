"""The models on offer: one set of weights serves both forms of long distance attention."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch

from cfviz.models.crossformer import CrossFormer
from cfviz.models.factory import create_model
from cfviz.models.forms import in_form
from cfviz.models.variants import VARIANTS
from cfviz.provenance import Note
from cfviz.ui.compute import models
from cfviz.ui.session.state import Settings

NANO = "crossformer_nano"


@pytest.fixture
def nano(monkeypatch: pytest.MonkeyPatch) -> CrossFormer:
    net = create_model(NANO)
    monkeypatch.setattr(models, "opened", lambda *_: net)
    return net


@pytest.mark.slow
def test_both_forms_share_their_weights_and_each_has_its_groups(nano: CrossFormer) -> None:
    whole = models.model(Settings(lda="whole"))
    assert models.model(Settings()) is models.model(Settings(lda="regions")) is nano
    assert models.model(Settings(lda="whole")) is whole
    assert [a is b for a, b in zip(nano.parameters(), whole.parameters(), strict=True)].count(False) == 0
    assert (nano.lda, whole.lda) == ("regions", "whole")
    assert [g.size for g in whole.groupings(448, 448)[0]] == ["7 x 7", "14 x 14"]
    assert [g.size for g in nano.groupings(448, 448)[0]] == ["7 x 7", "7 x 7"]
    assert whole.provenance == nano.provenance
    x = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(whole(x), create_model(NANO, lda="whole")(x))
        assert not torch.equal(whole(x), nano(x))


@pytest.mark.slow
def test_shown_code_names_a_form_that_the_reader_chose(nano: CrossFormer) -> None:
    assert models.model_code(models.model(Settings())) == f'cfviz.create_model("{NANO}")'
    whole = models.model(Settings(lda="whole"))
    code = models.model_code(whole)
    assert code == f'cfviz.create_model("{NANO}", lda="whole")'
    opened: Any = eval(code, {"cfviz": __import__("cfviz")})
    assert opened.lda == "whole"


@pytest.mark.slow
def test_weights_of_a_detector_lose_the_note_with_the_form() -> None:
    net = create_model(NANO, weights=None, lda="whole")
    net.provenance = net.provenance.__class__(
        "file", "0" * 64, "a test", notes=(Note.of("left_out", names="neck"), Note.of("whole_map"))
    )
    assert in_form(net, "whole") is net
    other = in_form(net, "regions")
    assert [note.code for note in other.provenance.notes] == ["left_out"]
    assert [note.code for note in net.provenance.notes] == ["left_out", "whole_map"]
    assert other.provenance.sha256 == net.provenance.sha256


@pytest.mark.slow
def test_a_form_goes_with_its_model() -> None:
    net = create_model(NANO, weights=None)
    other = weakref.ref(models._in_other_form(net, Settings(lda="whole")))
    assert other() is not None
    del net
    gc.collect()
    assert other() is None


SIZES = [(160, 160), (224, 224), (448, 448), (192, 640)]


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_whether_the_forms_differ_is_known_without_the_model(name: str) -> None:
    with torch.device("meta"):
        net = CrossFormer(**VARIANTS[name], num_classes=3)
    regions = [net.groupings(*size) for size in SIZES]
    net.set_grouping(lda="whole")
    for size, before in zip(SIZES, regions, strict=True):
        assert models.same_groups(name, size) == (before == net.groupings(*size)), size
