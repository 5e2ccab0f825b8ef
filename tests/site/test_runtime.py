"""The pinned onnxruntime-web: npm's settings, the digest, and that it is fetched once."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
from base64 import b64encode
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from cfviz.cli import main
from cfviz.data.decode import load_image
from cfviz.data.header import MAX_BYTES, MAX_PIXELS
from cfviz.data.images import prepare
from cfviz.data.samples import gallery
from cfviz.figures.live import message
from cfviz.models.variants import BUNDLED
from cfviz.run import load
from cfviz.site import own, runtime
from cfviz.words import LANGUAGES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> bytes:
    """A small package in place of npm's, and no npm settings but those of a test."""
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name in (*runtime.FILES, "other.js"):
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(name)
            archive.addfile(member, BytesIO(name.encode()))
    data = out.getvalue()
    monkeypatch.setattr(runtime, "INTEGRITY", f"sha512-{b64encode(hashlib.sha512(data).digest()).decode()}")
    monkeypatch.setattr(runtime, "folder", lambda: tmp_path / "environment" / "kept")
    for name in ("USERCONFIG", "GLOBALCONFIG"):
        monkeypatch.setenv(f"npm_config_{name.lower()}", str(tmp_path / name))
    monkeypatch.chdir(tmp_path)
    return data


def test_it_is_fetched_once_from_the_registry_that_npm_is_set_to(
    package: bytes, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        request.send_response(200)
        request.end_headers()
        request.wfile.write(package)

    (tmp_path / "USERCONFIG").write_text(f"; mine\nregistry = {serve(answer)}/mirror/\n")
    place = runtime.fetched()
    assert asked == [f"/mirror/onnxruntime-web/-/onnxruntime-web-{runtime.VERSION}.tgz"]
    assert {path.name: path.read_text() for path in place.iterdir()} == {n: n for n in runtime.FILES}
    assert [path.name for path in place.parent.iterdir()] == ["kept"], "nothing else is left"
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:1/")
    assert runtime.fetched() == place, "what is there is not fetched again"
    assert len(asked) == 1


def test_another_file_than_the_pinned_one_is_not_used(
    package: bytes, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(package[:-1])

    monkeypatch.setenv("npm_config_registry", serve(answer))
    with pytest.raises(ValueError, match=r"is not onnxruntime-web .* so it is not used"):
        runtime.fetched()
    assert not runtime.folder().exists()


@pytest.mark.parametrize(
    ("registry", "said"),
    [("http://127.0.0.1:1/", "cannot be fetched"), ("nonsense", "npm's registry is 'nonsense', expected")],
)
def test_without_it_the_site_is_made_and_one_sentence_says_so(
    registry: str, said: str, package: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    given: dict[str, Any] = {}

    def build(out: Path, app: str, runtime: Path | None, tests: list[str]) -> Any:
        given["runtime"] = runtime
        raise ValueError("far enough")

    monkeypatch.setattr("cfviz.site.build", build)
    monkeypatch.setenv("npm_config_registry", registry)
    main(["site", "--out", str(tmp_path / "dist")])
    first, second = capsys.readouterr().err.splitlines()
    assert "readers cannot open photos of their own on this site, and it tells them: " in first
    assert said in first
    assert "far enough" in second
    assert given == {"runtime": None}


def test_make_test_fetches_it_without_loading_pytorch() -> None:
    """Where the registry cannot be reached, one sentence says so, and the tests go on to fail."""
    command = "$(PY) -P cfviz/site/runtime.py"
    assert f"PYTHONPATH=. {command}" in (ROOT / "Makefile").read_text("utf-8")
    environ = {**os.environ, "PYTHONPATH": ".", "npm_config_registry": "http://127.0.0.1:1/"}
    asked = [sys.executable, "-P", "-X", "importtime", *command.split()[2:]]
    done = subprocess.run(asked, env=environ, cwd=ROOT, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert len(said) == done.returncode, done.stderr
    assert not re.search(r"\| +torch$", done.stderr, re.MULTILINE)


def test_settings_of_npm_come_from_the_environment_before_its_files(tmp_path: Path) -> None:
    files = {"user": "registry=https://user.test/\nproxy=http://p.test:1\n", "global": "cafile=${CA}/a.pem\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    places = {f"NPM_CONFIG_{n.upper()}CONFIG": str(tmp_path / n) for n in files}
    found = runtime.npm_settings({**places, "CA": "/etc"})
    assert found == {
        "registry": "https://user.test/", "proxy": "http://p.test:1", "cafile": "/etc/a.pem"
    }  # fmt: skip
    found = runtime.npm_settings({**places, "npm_config_registry": "https://mine.test/"})
    assert found["registry"] == "https://mine.test/"
    nowhere = {f"npm_config_{name}config": str(tmp_path / "none") for name in files}
    assert runtime.npm_settings(nowhere) == {"registry": runtime.REGISTRY}


def test_a_folder_that_is_no_runtime_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["site", "--out", str(tmp_path / "dist"), "--runtime", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "has no ort.wasm.min.mjs; expected the folder dist of the npm package onnxruntime-web" in said
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize("page", own.PAGES)
@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_page_is_told_the_librarys_own_numbers(lang: str, page: str) -> None:
    model = load(BUNDLED)
    known = own.about(page, model, lang, str, (13, 4))
    seen, told = prepare(load_image(gallery()[0].path), model.img_size), known["input"]
    assert (told["mean"], told["std"]) == (seen.mean, seen.std)
    assert (told["size"], told["size"]) == seen.frame.size
    assert known["limits"] == {"bytes": MAX_BYTES, "pixels": MAX_PIXELS, "ratio": 32}
    assert len(known["labels"]) == model.num_classes
    filled = ("{limit}", "{size}", "{more}", "{most}", "{forget}")
    left = {name for name, text in known["words"].items() if any(one in text for one in filled)}
    assert not left


def test_the_template_holds_every_block_and_its_bias() -> None:
    model = load(BUNDLED)
    header = message.opened(own._template(model)).header
    stages = header["attention"]["stages"]
    blocks = [f"{stage['s'] + 1}-{block['b'] + 1}" for stage in stages for block in stage["blocks"]]
    assert list(header["biases"]) == blocks
    assert len(blocks) == sum(model.depths)
