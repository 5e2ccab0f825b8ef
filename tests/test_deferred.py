"""`import cfviz` waits for nothing heavy, and everything is there all the same when it is used."""

from __future__ import annotations

import gc
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from cfviz.deferred import after_import, import_uncollected
from tests.processes.warm import Warm

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "timm", "numpy", "PIL", "streamlit", "plotly", "accelerate", "pandas")
SAY = f"import sys; print([name for name in {HEAVY} if name in sys.modules])"


Run = Callable[..., str]


def python(code: str) -> str:
    """The last line that a new process prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()[-1]


@pytest.fixture
def with_torch(warm_torch: Warm) -> Run:
    """A function like `python` for code that needs PyTorch; more arguments are the code's."""

    def run(code: str, *arguments: str) -> str:
        done = warm_torch.run(["-c", code, *arguments])
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.splitlines()[-1]

    return run


@pytest.mark.slow
def test_nothing_here_knows_of_cfviz_beforehand(with_torch: Run) -> None:
    assert with_torch("import sys; print({'timm', 'cfviz'} & set(sys.modules))") == "set()"


@pytest.mark.parametrize(
    "code",
    [
        "import cfviz; cfviz.__version__, cfviz.__all__, dir(cfviz)",
        "from cfviz.models import list_models; list_models()",
        "import cfviz.cli; cfviz.cli.main(['models'])",
        "import cfviz.cli; cfviz.cli.main(['models', '--json'])",
        *(
            f"import cfviz.cli\ntry: cfviz.cli.main({[*command, '--help']})\nexcept SystemExit: pass"
            for command in ([], ["predict"], ["train"], ["app"])
        ),
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    heavy = set(python(f"{code}\n{SAY}").strip("[]").replace("'", "").split(", ")) - {""}
    assert heavy <= ({"numpy"} if "models'" in code else set()), f"{code} imports {heavy}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "before",
    [
        "import cfviz; import timm",
        "import timm; import cfviz",
        "import cfviz; from timm.models import create_model; import timm",
        "import cfviz; cfviz.load_image; import timm",
        "import cfviz; cfviz.load_checkpoint; import timm",
        "from cfviz.models.crossformer import CrossFormer; import timm",
        "from cfviz.models.weights.checkpoints import load_checkpoint; import timm",
        "import cfviz, importlib.util; importlib.util.find_spec('timm'); import timm",
    ],
)
def test_the_variants_are_registered_in_any_order(before: str, with_torch: Run) -> None:
    code = "model = timm.create_model('crossformer_nano', pretrained=True); print(model.provenance.source)"
    assert with_torch(f"{before}; {code}") == "bundled"


@pytest.mark.slow
def test_making_models_of_others_does_not_import_ours(with_torch: Run) -> None:
    code = "import cfviz, timm, sys; timm.create_model('test_vit')"
    assert with_torch(f"{code}; print('cfviz.models.crossformer' in sys.modules)") == "False"


@pytest.mark.slow
def test_public_names_work_in_every_form_of_import(with_torch: Run) -> None:
    code = (
        "from cfviz import inspect, Trace; from cfviz import *; import cfviz, pickle\n"
        "assert cfviz.inspect is inspect and cfviz.run.inspect is inspect\n"
        "assert set(cfviz.__all__) < set(dir(cfviz)) and '__version__' in dir(cfviz)\n"
        "assert pickle.loads(pickle.dumps(inspect)) is inspect and points is cfviz.hooks.points\n"
        "try: cfviz.nothing\n"
        "except AttributeError as error: print(error)"
    )
    assert with_torch(code) == "module 'cfviz' has no attribute 'nothing'"


@pytest.mark.slow
def test_a_trace_from_any_door_shows_itself(with_torch: Run) -> None:
    code = (
        "from cfviz.run import inspect; import numpy as np, pickle\n"
        "trace = inspect(np.zeros((64, 64, 3), np.uint8), size=64)\n"
        "print(trace._repr_html_().count('<table>'))"
    )
    assert with_torch(code) == "1"


@pytest.mark.slow
def test_a_whole_model_is_unpickled_where_nothing_was_imported(tmp_path: Path, with_torch: Run) -> None:
    file = str(tmp_path / "model.pickle")
    with_torch(
        "import cfviz, pickle, sys; model = cfviz.create_model('crossformer_nano', None)\n"
        "pickle.dump(model, open(sys.argv[1], 'wb')); print('done')",
        file,
    )
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).provenance.source)"
    assert with_torch(code, file) == "random"


def test_what_waits_for_a_module_is_called_once_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, called = "cfviz_waited_for", []
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / f"{name}.py"
    file.write_text("raise ValueError('not yet')\n")
    after_import(name, lambda: called.append(getattr(sys.modules[name], "whole", None)))
    with pytest.raises(ValueError, match="not yet"):
        __import__(name)
    assert called == [], "an import that failed is no import"
    file.write_text("whole = True  # now\n")
    __import__(name)
    assert called == [True]
    assert "exec_module" not in vars(sys.modules[name].__loader__)
    monkeypatch.delitem(sys.modules, name)
    __import__(name)
    monkeypatch.delitem(sys.modules, name)
    assert called == [True]
    monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    after_import(name, lambda: called.append("at once"))
    assert called[-1] == "at once"


def test_several_may_wait_for_one_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two asked each other for ever."""
    name, called = "cfviz_test_awaited_twice", []
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"{name}.py").write_text("whole = True")
    for which in ("first", "second", "third"):
        after_import(name, lambda which=which: called.append(which))  # type: ignore[misc]
    __import__(name)
    assert sorted(called) == ["first", "second", "third"]
    assert "exec_module" not in vars(sys.modules[name].__loader__)
    monkeypatch.delitem(sys.modules, name)


@pytest.mark.slow
def test_the_home_page_and_a_prediction_need_neither_timm_nor_the_compiler() -> None:
    """Together they take 1.4 s to import."""
    late = "{'timm', 'torchvision', 'torch._dynamo'} & set(sys.modules)"
    code = f"""
import sys
from streamlit.testing.v1 import AppTest
page = AppTest.from_file({str(ROOT / "app.py")!r}, default_timeout=60).run()
assert not page.exception and not page.error, page.exception
import cfviz
model = cfviz.create_model("crossformer_nano")
first = cfviz.inspect("gallery:coffee", model, size=64)
early = {late}
import timm, torch
from timm.layers._fx import is_notrace_module
from cfviz.models.crossformer import model as ours
assert all(map(is_notrace_module, (ours.Attention, ours.PatchMerging, ours.Mlp)))
theirs = timm.create_model("crossformer_nano", pretrained=True).eval()
cfg = ("mean", "std", "crop_pct", "interpolation", "input_size", "num_classes", "architecture", "file")
assert all(theirs.pretrained_cfg[name] == model.pretrained_cfg[name] for name in cfg)
again = cfviz.inspect("gallery:coffee", theirs, size=64)
assert (first.logits == again.logits).all()
print(early)
"""
    assert python(code) == "set()"


@pytest.mark.parametrize("collecting", [True, False])
def test_a_large_package_is_imported_without_looking_for_garbage_in_it(
    collecting: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"cfviz_test_uncollected_{collecting}"
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"{name}.py").write_text("import gc\ncollecting = gc.isenabled()\nraise SystemExit")
    import_uncollected(name)
    was = gc.isenabled()
    try:
        (gc.enable if collecting else gc.disable)()
        with pytest.raises(SystemExit):
            __import__(name)
        assert gc.isenabled() is collecting, "as it was, also when the import fails"
        (tmp_path / f"{name}.py").write_text("import gc; collecting = gc.isenabled()  # whole now")
        assert not __import__(name).collecting
        assert gc.isenabled() is collecting
    finally:
        (gc.enable if was else gc.disable)()
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.slow
def test_torch_and_timm_are_imported_uncollected() -> None:
    code = "import gc, cfviz; import timm; print(gc.get_stats()[2]['collections'])"
    assert int(python(code)) <= 2  # 6 otherwise; one may follow when collections go on
