"""Cache keys: different results never share a key."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from cfviz.data.decode import load_image
from cfviz.data.samples import sample
from cfviz.trace import Provenance
from cfviz.ui.compute import keys
from cfviz.ui.session.state import Settings

SETTINGS = Settings()


def model(source: str = "bundled", sha256: str | None = "a" * 64) -> Any:
    return SimpleNamespace(provenance=Provenance(source, sha256))


@pytest.mark.parametrize(
    "other",
    [
        keys.weights(replace(SETTINGS, model="crossformer_tiny"), model()),
        keys.weights(replace(SETTINGS, dtype="bfloat16"), model()),
        keys.weights(replace(SETTINGS, lda="whole"), model()),
        keys.weights(replace(SETTINGS, device="cuda"), model()),
        keys.weights(SETTINGS, model(sha256="b" * 64)),
        keys.weights(SETTINGS, model("random", None)),
        keys.weights(SETTINGS, model("timm/swin", None)),
        keys.weights(SETTINGS, model(), "pvt_v2_b0"),
    ],
)
def test_other_weights_have_another_key(other: str) -> None:
    assert other != keys.weights(SETTINGS, model())


def test_weights_without_a_file_are_identified_by_their_origin() -> None:
    assert keys.weights(SETTINGS, model("random", None)) != keys.weights(SETTINGS, model("timm/swin", None))


def test_irrelevant_settings_do_not_change_the_key() -> None:
    assert keys.weights(replace(SETTINGS, lang="zh-Hant", photo="bison", size=448), model()) == keys.weights(
        SETTINGS, model()
    )


def test_another_photo_or_size_has_another_key() -> None:
    cat, bison = (load_image(sample(id).path) for id in ("cat", "bison"))
    here = keys.on_photo(SETTINGS, model(), cat)
    assert here != keys.on_photo(SETTINGS, model(), bison)
    assert here != keys.on_photo(replace(SETTINGS, size=160), model(), cat)
    assert here == keys.on_photo(replace(SETTINGS, lang="zh-Hant"), model(), cat)
