"""The wheel contains all that the checkout has, and works without it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.processes.warm import Warm

pytestmark = pytest.mark.slow(2.5)

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 90  # of the app, on a loaded machine


def _pip(*arguments: str) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run([*pip, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    _pip("wheel", str(ROOT), "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder))
    (path,) = folder.glob("cfviz-*.whl")
    return path


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the installed package and nothing else."""
    folder = tmp_path_factory.mktemp("site")
    _pip("install", "--no-deps", "--target", str(folder), str(wheel))
    return folder


@pytest.fixture
def environment(site: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of a process outside the checkout, for a user without any settings."""
    return {**os.environ, "PYTHONPATH": str(site), "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}


Python = Callable[..., str]


@pytest.fixture
def python(environment: dict[str, str], tmp_path: Path, warm_torch: Warm) -> Python:
    """A function that runs `python …` outside the checkout and returns what it prints.

    Python has imported PyTorch by then, and nothing that knows of cfviz.
    """

    def run(*arguments: str) -> str:
        done = warm_torch.run(arguments, env=environment, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return run


def _packaged() -> list[str]:
    """The files of the checkout that belong to the package."""
    files = [ROOT / "app.py", ROOT / ".streamlit" / "config.toml"]
    for folder in ("cfviz", "assets", "pages"):
        files += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    return [path.relative_to(ROOT).as_posix() for path in files if path.parent.name != "__pycache__"]


def _place(name: str) -> str:
    """The place in the wheel of a file of the checkout."""
    if name.startswith("cfviz/"):
        return name
    return f"cfviz/{name}" if name.startswith("assets/") else f"cfviz/app/{name}"


def test_the_wheel_holds_every_file_of_the_checkout_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {_place(name): (ROOT / name).read_bytes() for name in _packaged()}
    assert sorted(held) == sorted(wanted)
    assert [name for name in wanted if held[name] != wanted[name]] == []
    for name in (
        "cfviz/py.typed",
        "cfviz/app/app.py",
        "cfviz/app/.streamlit/config.toml",
        "cfviz/report/page.html",
    ):
        assert name in held
    for ending in (".js", ".css", ".yaml", ".safetensors", ".jpg", ".parquet"):
        assert any(name.endswith(ending) for name in held), ending


def test_the_wheel_installs_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "cfviz = cfviz.cli:main" in archive.read(points).decode()


SCRIPT = "import runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"


def test_the_installed_package_predicts_and_reports(site: Path, python: Python, tmp_path: Path) -> None:
    photo = str(site / "cfviz" / "assets" / "gallery" / "german-shepherd.jpg")
    where = python("-c", "import cfviz; print(cfviz.__file__)")
    assert Path(where.strip()).is_relative_to(site)

    said = json.loads(python("-m", "cfviz", "predict", photo, "--json"))
    assert said["weights"]["source"] == "bundled"
    assert said["weights"]["trained"]
    best = said["predictions"][0]["top"][0]
    assert best["probability"] > 0.3
    assert not best["label"].startswith("class ")

    command = str(site / "bin" / "cfviz")
    python("-c", SCRIPT, command, "report", photo, "--out", "report.html", "--no-parts")
    report = (tmp_path / "report.html").read_text("utf-8")
    assert best["label"] in report
    assert "<script" in report


def test_an_installed_trace_draws_itself_in_a_notebook(python: Python, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes((ROOT / "assets/gallery/german-shepherd.jpg").read_bytes())
    code = (
        "import cfviz; trace = cfviz.inspect('photo.jpg', watch='layers.*.blocks.*.attn.probs');"
        "print(trace.top(1)[0][1]); print(trace._repr_html_())"
    )
    label, html = python("-c", code).split("\n", 1)
    assert label
    assert not label.startswith("class ")
    assert label in html


def _free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def test_the_installed_app_starts_from_any_folder(
    site: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    port, log = _free_port(), tmp_path / "log"
    command = [sys.executable, "-m", "cfviz", "app", "--port", str(port), "--host", "127.0.0.1", "--headless"]
    with log.open("w") as out:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=out, stderr=out)
    try:
        assert _health(port, server) == "ok", log.read_text()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
    assert not re.search("Traceback|not a valid config option", log.read_text())


def _health(port: int, server: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            with urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5) as answer:
                return str(answer.read().decode())
        except (URLError, OSError):
            time.sleep(0.3)
    return "no answer"


def test_the_installed_app_has_its_settings_and_its_pages(site: Path, python: Python) -> None:
    app = site / "cfviz" / "app"
    code = f"""
import json, sys
from streamlit import config
config._main_script_path = {str(app / "app.py")!r}  # as `streamlit run` does
config.get_config_options(force_reparse=True)
sys.path.insert(0, {str(app)!r})
from streamlit.testing.v1 import AppTest
page = AppTest.from_file({str(app / "app.py")!r}, default_timeout=120)
page = page.switch_page("pages/grouping.py").run()
options = {{key: config.get_option(key) for key in ("client.toolbarMode", "theme.light.primaryColor")}}
print(json.dumps([[e.value for e in page.exception], [t.value for t in page.title], options]))
"""
    raised, titles, options = json.loads(python("-c", code).splitlines()[-1])
    texts = json.loads((ROOT / "assets/translations/en/grouping.json").read_text("utf-8"))
    settings = tomllib.loads((ROOT / ".streamlit/config.toml").read_text("utf-8"))
    assert raised == []
    assert titles == [texts["title"]]
    assert options == {
        "client.toolbarMode": settings["client"]["toolbarMode"],
        "theme.light.primaryColor": settings["theme"]["light"]["primaryColor"],
    }
