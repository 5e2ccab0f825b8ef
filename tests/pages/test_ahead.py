"""What was computed ahead is what the pages ask for, to the bit, and the pages then compute nothing of it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from bench.load import TURN
from cfviz.data.images import load_image
from cfviz.data.samples import gallery, sample
from cfviz.run import inspect, load
from cfviz.ui import ahead
from cfviz.ui.compute import cache
from cfviz.ui.pages.attention.measures import WATCH
from cfviz.ui.session import queue
from cfviz.ui.session.photos import bundled
from cfviz.ui.session.state import Settings

APP = Path(__file__).resolve().parents[2] / "app.py"


@pytest.mark.slow
def test_pages_find_their_work_done(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    photo = Settings().photo
    monkeypatch.setattr(ahead, "gallery", lambda: [entry for entry in gallery() if entry.id == photo])
    for work in ahead.works():
        work()
    caplog.set_level(logging.DEBUG, queue.__name__)
    for page in ("home", "predict", "embedding", "position_bias", "attention"):
        app = AppTest.from_file(str(APP), default_timeout=120)
        if page != "home":
            app.switch_page(f"pages/{page}.py")
        assert not app.run().exception
    computed = {name for name, *_ in TURN.findall(caplog.text)}
    ready = {
        "trace", "derived.pictures", "derived.attention-sent",
        "attention.measures.fidelity", "attention.measures.head_measures", "embedding.figure.cels",
        "embedding.figure.packed_message", "embedding.ablation.ablated",
        "position_bias.ablation.changed", "position_bias.ablation.shares",
    }  # fmt: skip
    assert not computed & ready
    noise = np.random.default_rng().integers(256, size=(64, 64, 3), dtype=np.uint8)
    cache.trace(Settings(), load_image(Image.fromarray(noise)), net=load("crossformer_nano"))
    assert "trace" in {name for name, *_ in TURN.findall(caplog.text)}, "the log tells what is computed"
    kept = cache.trace(Settings(), bundled(photo), WATCH, net=load("crossformer_nano"))
    anew = inspect(sample(photo).path, load("crossformer_nano"), 224, WATCH)
    assert all(np.array_equal(kept[point], array) for point, array in anew.arrays.items())
