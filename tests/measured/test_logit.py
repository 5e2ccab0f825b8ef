"""A logit explained in Python: by name, as a page that needs no server."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from torch import nn

from cfviz.measured.logit import _index, explain_logit, label
from cfviz.models.probes.logit_parts import LogitParts


def test_a_class_is_named_by_one_of_its_names_or_its_index() -> None:
    photo = Image.new("RGB", (64, 96), "gray")
    by_name = explain_logit(photo, target="dingo", minus="Tench", size=(96, 64))
    assert (by_name.found.target, by_name.found.minus) == (
        explain_logit(photo, target=by_name.found.target, size=(96, 64)).found.target,
        0,
    )
    assert len(by_name.largest(3)) == 3
    page = by_name.page("zh-Hant")
    assert '<div class="lp-host">' in page
    assert "零件" in page
    assert explain_logit(photo, target=np.int64(3), size=64).found.target == 3
    with pytest.raises(ValueError, match=r"the class is 2\.5; expected its index or its English name"):
        explain_logit(photo, target=2.5, size=64)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no class 'unicorn'; its classes are tench"):
        explain_logit(photo, target="unicorn", size=64)


def test_a_model_that_cannot_be_read_is_refused_in_a_sentence(tiny_model) -> None:
    photo = Image.new("RGB", (64, 64))
    with pytest.raises(ValueError, match="takes 1 channels; expected 3"):
        explain_logit(photo, tiny_model(in_chans=1), size=64)
    with pytest.raises(ValueError, match="a Linear; only the logit of a CrossFormer"):
        explain_logit(photo, nn.Linear(1, 1))


def test_random_weights_explain_nothing(tiny_model) -> None:
    with pytest.raises(ValueError, match="random weights"):
        explain_logit(Image.new("RGB", (64, 64)), tiny_model(), size=64)


def test_the_label_names_both_classes() -> None:
    assert label(LogitParts(1, None, 0.0, (), ()), ["tench, Tinca", "dog"]) == "dog"
    assert label(LogitParts(1, 0, 0.0, (), ()), ["tench, Tinca", "dog"]) == "dog − tench"


def test_the_whole_name_of_a_class_goes_before_one_of_its_names() -> None:
    assert _index("Dog", ["dog, small", "dog"]) == 1
    assert _index("small", ["dog, small", "dog"]) == 0
    with pytest.raises(ValueError, match="the classes 0, 1 are all called 'dog'; expected the index"):
        _index("dog", ["dog, small", "dog, large"])
