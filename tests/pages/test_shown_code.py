"""Shown code computes what is on screen, with the weights in use."""

from __future__ import annotations

from functools import cache as remembered
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from streamlit.testing.v1 import AppTest

from cfviz.analysis.lab import by_magnitude
from cfviz.data import samples
from cfviz.data.images import load_image, prepare
from cfviz.data.labels import labels
from cfviz.data.samples import gallery, sample
from cfviz.figures.live import attention
from cfviz.models.factory import build, create_model
from cfviz.models.interventions.apply import needed
from cfviz.models.interventions.effects import collect, effects, parts
from cfviz.models.interventions.language import FILLS
from cfviz.models.others.sides import Side, open_side
from cfviz.models.weights.checkpoints import load_checkpoint
from cfviz.provenance import Provenance
from cfviz.run import inspect, inspect_prepared
from cfviz.trace import Trace
from cfviz.ui.compute import cache, models
from cfviz.ui.pages.attention import view
from cfviz.ui.pages.attention.measures import WATCH, AttentionSubject
from cfviz.ui.pages.compare.tables import open_side_code
from cfviz.ui.pages.lab import experiment, shown_code
from cfviz.ui.pages.position_bias import ablation, answer
from cfviz.ui.session import photos
from cfviz.ui.session.state import Settings
from cfviz.words import figure_words

ROOT = Path(__file__).resolve().parents[2]
LINK = {"photo": "cat", "size": "96", "lang": "en", "open": "all"}
MINE = """it's "mine" {size} %s.safetensors"""
NANO = "crossformer_nano"
PIECES = {"home": 1, "predict": 1, "attention": 2, "embedding": 8, "position_bias": 6, "lab": 8, "compare": 5}


@remembered
def random_state(name: str, **config: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    made = timm.create_model(name, **config).state_dict()
    return {key: value.contiguous() for key, value in made.items()}


def mine(folder: Path, **config: Any) -> Any:
    """A reader's own file, and the model that the app makes from its upload."""
    path = folder / MINE
    safetensors.torch.save_file(random_state(NANO, **config), path)
    return build(load_checkpoint(path.read_bytes(), name=MINE, allow_pickle=False))


def page(name: str, own: Any = None, files: dict[str, photos.Own] | None = None, **query: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    if name != "home":
        app.switch_page(f"pages/{name}.py")
    if own is not None:
        app.session_state["cfviz.own_models"] = {"own-0": own}
    app.session_state["cfviz.own"] = files or {}
    for key, value in {**LINK, **query}.items():
        app.query_params[key] = value
    return app.run()


def few_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the gallery has three photos: code that goes through it does the same with sixteen."""
    few = tuple(sample(id) for id in ("cat", "lemurs", "berlin-cathedral"))
    monkeypatch.setattr(samples, "_gallery", lambda: few)


def execute(code: str) -> dict[str, Any]:
    known: dict[str, Any] = {}
    exec(compile(code, "shown", "exec"), known)
    return known


@pytest.fixture
def on_screen(monkeypatch: pytest.MonkeyPatch) -> list[Trace]:
    """A list that collects the traces that pages compute, in order."""
    made: list[Trace] = []
    kept = cache.TraceCache()

    def watched(*args: Any, **kwargs: Any) -> Trace:
        made.append(inspect_prepared(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(cache, "inspect_prepared", watched)
    monkeypatch.setattr(cache, "trace_cache", lambda: kept)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", ["predict", "attention"])
def test_shown_code_uses_a_readers_own_weights(name: str, tmp_path: Path, monkeypatch, on_screen) -> None:
    app = page(name, mine(tmp_path, num_classes=4), model="own-0")
    assert not app.exception
    monkeypatch.chdir(tmp_path)
    assert "# your file" in app.code[0].value
    for code in app.code:
        trace = execute(code.value).get("trace")
        assert trace is None or np.array_equal(trace.logits, on_screen[-1].logits)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["predict", "attention", "embedding"])
def test_shown_code_uses_the_number_format_on_screen(name: str, on_screen) -> None:
    app = page(name, dtype="bfloat16")
    assert not app.exception
    trace = execute(app.code[0].value)["trace"]
    assert trace.dtype == "bfloat16"
    assert np.array_equal(trace.logits, on_screen[-1].logits)


@pytest.mark.slow
def test_the_labs_code_uses_the_number_format_on_screen() -> None:
    app = page("lab", dtype="bfloat16", do="2.1.h1-zero")
    assert not app.exception
    known = next(execute(code.value) for code in app.code if "after =" in code.value)
    assert known["before"].dtype == known["after"].dtype == "bfloat16"
    assert not np.array_equal(known["before"].logits, known["after"].logits)


@remembered
def on_the_board(how: str) -> tuple[list[Any], np.ndarray, list[np.ndarray]]:
    """All parts, the logits, and those after the loss of each; means are those of three photos."""
    net, every = create_model(NANO), parts(create_model(NANO), how, (96, 96))
    images = [prepare(load_image(entry.path), 96).tensor for entry in gallery()]
    assert len(images) == 3
    means = collect(net, images, every) if how == "mean" else {}
    points = needed(net, every, "replace")
    given = inspect(photos.bundled("lemurs"), net, 96, points).arrays if how == "replace" else {}
    image = prepare(photos.bundled("cat"), 96).tensor
    before, *after = effects(net, image, [(), *((part,) for part in every)], means, given)
    return every, before, after


@pytest.mark.slow
@pytest.mark.parametrize("how", FILLS)
@pytest.mark.parametrize(("by", "chosen"), [("probability", -1), ("logit", 4)])
def test_the_labs_code_ranks_parts_like_the_board(
    how: str, by: str, chosen: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few_photos(monkeypatch)
    net, photo = create_model(NANO), photos.bundled("cat")
    donor = photos.bundled("lemurs")
    trace = partial(inspect, photo, net, 96)
    ctx = context(96, model=net, trace=lambda *watch: trace(watch), prepared=prepare(photo, 96))
    here = experiment.Experiment(ctx, (), how, "lemurs", "last", by, chosen, photo, donor)
    execute(shown_code.effects(here))
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    every, before, after = on_the_board(how)
    ranking = experiment.Ranking(
        tuple(every), np.stack(after), np.zeros(0), False, np.zeros(0), np.zeros(0), 0.0, 0.0
    )
    shown = ranking.shown(by, before, here.target)
    best = shown[by_magnitude(shown)][:10]
    assert [float(number) for _, number in said] == pytest.approx(best.tolist(), abs=1e-3)


@pytest.mark.slow
def test_the_comparisons_code_uses_the_number_format_on_screen() -> None:
    image = prepare(photos.bundled("cat"), 96).tensor
    for name in (NANO, "pvt_v2_b0"):
        plain = open_side(name, 96)
        side = Side(name, plain.model.bfloat16(), plain.other)
        shown = eval(open_side_code(side, 96), {"open_side": open_side})
        assert np.array_equal(shown.outputs(image).logits, side.outputs(image).logits)
        assert next(shown.model.parameters()).dtype == torch.bfloat16


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("home", {}),
        ("predict", {}),
        ("attention", {"stage": "2", "block": "2"}),
        ("embedding", {}),
        ("embedding", {"way": "mean"}),
        ("position_bias", {"stage": "3", "block": "2", "Gh": "9", "dtype": "float32"}),
        ("lab", {"do": "2.1.h1-mean_1.2.kind-sda", "how": "mean", "dtype": "float32"}),
        ("lab", {"do": "2.1.attn-replace", "how": "replace", "other": "lemurs", "at": "first"}),
        ("compare", {"other": "pvt_v2_b0", "dtype": "float32"}),
    ],
)
def test_every_piece_of_shown_code_runs_by_itself(
    name: str, query: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = page(name, **{"dtype": "bfloat16", **query})  # which has fewer pieces than float32 on some pages
    assert not app.exception
    pieces = [code.value for code in app.code if not code.value.startswith("python -m")]
    assert len(pieces) >= PIECES[name]
    few_photos(monkeypatch)
    for code in pieces:
        execute(code)
    assert "tensor(" not in capsys.readouterr().out


@pytest.mark.slow
def test_the_code_of_a_logits_parts_runs_by_itself() -> None:
    """It is shown in float32 only."""
    app = page("lab", dtype="float32", open="parts")
    (code,) = (one.value for one in app.code if "logit_parts" in one.value)
    found = execute(code)["found"]
    assert sum(part.value for part in found.parts) == pytest.approx(found.logit, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["predict", "attention"])
def test_shown_code_uses_the_authors_weights(name: str, tmp_path: Path, monkeypatch, on_screen) -> None:
    monkeypatch.setenv("CFVIZ_CACHE", str(tmp_path))
    models.opened.clear()
    (tmp_path / "weights").mkdir()
    torch.save({"model": random_state("crossformer_tiny")}, tmp_path / "weights" / "crossformer_tiny.pth")
    app = page(name, model="crossformer_tiny")
    assert not app.exception
    assert 'weights="official"' in app.code[0].value
    assert np.array_equal(execute(app.code[0].value)["trace"].logits, on_screen[-1].logits)
    models.opened.clear()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("bundled", 'cfviz.create_model("crossformer_nano")'),
        ("random", 'cfviz.create_model("crossformer_nano", weights=None)  # random weights'),
        (
            "official",
            'cfviz.create_model("crossformer_nano", weights="official")  # the authors\', downloaded',
        ),
        (MINE, f'cfviz.create_model("crossformer_nano", weights={MINE!r})  # your file'),
    ],
)
def test_shown_code_names_weights_by_origin(source: str, said: str) -> None:
    net = create_model(NANO)
    net.provenance = Provenance(source, trained=None)
    assert models.model_code(net).startswith(said)
    side = open_side_code(Side("own-0", net, False), 160, ",")
    assert side == models.model_code(net, "open_side({}, size=160),")
    assert open_side_code(Side("pvt_v2_b0", net, True), 160, ",") == 'open_side("pvt_v2_b0", 160),'


@pytest.mark.slow
def test_shown_code_shuffles_the_model_too(on_screen) -> None:
    app = page("attention", shuffled="1")
    trace, plain = execute(app.code[0].value)["trace"], on_screen[-1]
    assert not np.allclose(trace.logits, plain.logits)
    net = view.measures.gradients.shuffled(create_model(NANO))
    assert np.array_equal(trace.logits, inspect(sample("cat").path, net, 96).logits)


# ---------------------------------------------------------------- position bias


def context(size: int = 160, **values: Any) -> Any:
    settings = Settings(photo="cat", size=size, dtype="float32", model=NANO)
    return SimpleNamespace(settings=settings, **values)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), [(NANO, "adaptive"), (NANO, "scaled"), ("pp", "scaled")])
def test_shown_code_uses_the_window_of_the_answers(name: str, kind: str) -> None:
    plus = {"group_size": (4, 4, 14, 7), "interval": (4, 2, 1, 1)} if name == "pp" else {}
    net = create_model(NANO, **plus)
    subject = SimpleNamespace(model=net, baseline=None)
    window = answer._cut(subject, 256, kind)  # type: ignore[arg-type]
    code = answer.code(context(), subject, window)  # type: ignore[arg-type]
    made = f"create_model({NANO!r}, **{plus})"
    logits = execute(code.replace(f'create_model("{NANO}")', made))["logits"]
    with answer.regrouped(net, window.G, window.interval):
        image = prepare(photos.bundled("cat"), 256).tensor
        plain = answer.forward(net, image)[0]["logits"]
    assert list(logits) == answer.shown_methods(subject)  # type: ignore[arg-type]
    assert np.array_equal(logits["own"], plain)


@pytest.mark.slow
@pytest.mark.parametrize(("where", "how"), [("all", "zero"), ("lda", "zero"), ("each", "swap")])
def test_shown_code_gives_the_bias_ablations_on_screen(
    where: str, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    net = create_model(NANO)
    trace, kinds = inspect(sample("cat").path, net, 160), net.groupings(224, 224)
    subject = SimpleNamespace(model=net, trace=trace, size=trace.size, source=f"test {where}")
    ctx = context(labels=labels("imagenette20"), get=lambda name, default, allowed: default)
    execute(ablation._code(ctx, subject, where, how))  # type: ignore[arg-type]
    said = [float(line.rpartition(" ")[2]) for line in capsys.readouterr().out.splitlines()]
    places = [
        (s, b)
        for s, stage in enumerate(kinds)
        for b, g in enumerate(stage)
        if where in ("all", "each", g.kind)
    ]
    plan = (
        [(how, (one,)) for one in places]
        if where == "each"
        else [(way, tuple(places)) for way in ablation.CHANGES]
    )
    photo = photos.bundled("cat")
    drawn = [ablation.changed(subject.source, *one, subject, photo) for one in plan]  # type: ignore[arg-type]
    first = trace.logits.argmax()
    assert said == pytest.approx([float(one[first] - trace.logits[first]) for one in drawn], abs=1e-4)


# ---------------------------------------------------------------- languages, one class


@pytest.mark.slow
def test_the_offline_page_is_in_the_readers_language() -> None:
    net = create_model(NANO)
    about = AttentionSubject(
        net, inspect(sample("cat").path, net, 64, WATCH), None, "test of languages", False
    )
    for lang in ("zh-Hant", "en", "zh-Hant"):
        ctx = context(lang=lang, get=lambda name, default, allowed: default)
        html = view.offline_page(ctx, about, view.selection_from_link(ctx, about.trace))
        packed = view.packed_message(about.source, (0, 0), "whole", None, about.trace, lang)
        assert html == attention.html(
            packed.at(view.selection_from_link(ctx, about.trace), figure_words("attention", lang)),
            f"cfviz {NANO} {about.trace.photo}", lang,
        ).encode()  # fmt: skip


@pytest.mark.slow
def test_a_model_with_one_class_has_no_runner_up(tmp_path: Path) -> None:
    data = {id: sample(id).path.read_bytes() for id in ("cat", "bison")}
    files = {
        f"own-{id}": photos.Own(f"{id}.jpg", content, id, "data:,", sample(id).size, "data:,")
        for id, content in data.items()
    }
    app = page("predict", mine(tmp_path, num_classes=1), files, model="own-0")
    assert not app.exception
    table = app.dataframe[-1].value
    assert list(table["p_first"]) == [100, 100]
    assert table["second"].isna().all()
