"""The files for running a server: what they name exists, and what they promise is true."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from cfviz.cli import main

ROOT = Path(__file__).resolve().parents[1]
CONTAINER = (ROOT / "Containerfile").read_text(encoding="utf-8")
NGINX = (ROOT / "docs/nginx.conf").read_text(encoding="utf-8")
SERVER = (ROOT / "docs/server.md").read_text(encoding="utf-8")
CONFIG = (ROOT / ".streamlit/config.toml").read_text(encoding="utf-8")


def instructions() -> list[str]:
    joined = CONTAINER.replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def test_the_container_runs_as_an_ordinary_user_with_a_health_check() -> None:
    kinds = [line.split()[0] for line in instructions()]
    users = [line.split()[1] for line in instructions() if line.startswith("USER")]
    assert users == ["10001:10001"]
    assert kinds.index("USER") < kinds.index("ENTRYPOINT")
    assert not any(line.startswith("RUN") for line in instructions()[kinds.index("USER") :])
    (check,) = (line for line in instructions() if line.startswith("HEALTHCHECK"))
    assert "/_stcore/health" in check
    port = re.search(r"--server\.port=(\d+)", CONTAINER)
    assert port
    assert f":{port[1]}/_stcore/health" in check
    assert f"EXPOSE {port[1]}" in CONTAINER


def test_the_container_copies_what_the_app_needs() -> None:
    copied = {word for line in instructions() if line.startswith("COPY") for word in line.split()[1:-1]}
    ignored = (ROOT / ".containerignore").read_text().split()
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in ignored, f"{name} is kept out of the build"
    assert {"app.py", "pages", "cfviz", "assets", ".streamlit"} <= copied


def test_torch_is_installed_separately_in_the_container() -> None:
    picked = [
        line for line in (ROOT / "requirements.txt").read_text().splitlines() if re.match("torch", line)
    ]
    names = [Requirement(re.sub(" *#.*", "", line)).name for line in picked]
    assert names == ["torch", "torchvision"]


def test_the_proxy_allows_what_the_app_allows() -> None:
    limit = re.search(r"maxUploadSize = (\d+)", CONFIG)
    body = re.search(r"client_max_body_size (\d+)m", NGINX)
    assert limit
    assert body
    assert int(body[1]) == int(limit[1]) + 1
    policy = re.search(r'set \$policy "(.*?)"', NGINX)
    assert policy
    rules = dict(rule.split(" ", 1) for rule in policy[1].split("; "))
    assert rules["script-src"] == "'self' blob:", "no inline script, no eval"
    assert rules["object-src"] == rules["frame-src"] == "'none'"
    assert "upgrade" in NGINX
    assert 'showErrorDetails = "none"' in CONFIG
    assert "postScriptGC = false" in CONFIG


def test_files_are_not_watched_however_the_app_is_started() -> None:
    assert 'fileWatcherType = "none"' in CONFIG
    assert "maxWidgetStateSize = 1 " in CONFIG


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0.0.0.0"])
def test_a_local_app_answers_to_local_names_only(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execve", lambda _path, command, _env: became.append(command))
    main(["app", "--host", host])
    names = [word.partition("=")[2] for word in became[0] if word.startswith("--server.allowedHosts")]
    assert names == ([] if host == "0.0.0.0" else ["localhost", "127.0.0.1", "::1"])
    made = subprocess.run(
        ["make", "-n", "run", f"HOST={host}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    words = re.findall(r"--server.allowedHosts (\S+)", made.stdout)
    assert words == names


def test_documented_limits_are_those_of_the_code() -> None:
    from cfviz import jobs
    from cfviz.data.header import MAX_PIXELS
    from cfviz.ui.compute import cache
    from cfviz.ui.session import budget, door, gate, photos
    from cfviz.ui.widgets import weights

    assert f"Traces: {cache.MAX_BYTES // 2**20} MB" in SERVER
    assert f"{photos.MAX_OPEN_PIXELS // 10**6} million pixels (300 MB)" in SERVER
    one, together = photos.MAX_BYTES // 2**20, photos.MAX_OWN_BYTES // 2**20
    assert f"{photos.MAX_OWN} photos of {one} MB, {together} MB" in SERVER
    assert f"{one} MB, {MAX_PIXELS // 10**6} million pixels" in SERVER
    assert f"`.safetensors`, {weights.MAX_MB} MB" in SERVER
    assert f"maxUploadSize = {weights.MAX_MB}" in CONFIG
    assert f"{gate.MOST_FILES} files and\n  {gate.MOST_UPLOADED // 2**20} MB together" in SERVER
    assert budget.SHARE == 4
    assert "a quarter of the memory (at least 1 GB)" in SERVER
    assert budget.LEAST == 2**30
    assert f"{budget.UPLOADS}=" in SERVER
    assert f"stands still for {gate.STALLED:.0f} seconds" in SERVER
    at_once, later = gate.ARRIVALS
    assert later == 5
    assert f"{gate.MOST_OPEN} connections at a time; from one address {at_once} at once, then five" in SERVER
    assert f"may send {door.BURST} messages at once, then four a second" in SERVER
    assert door.EVERY == 0.25
    assert f"beyond {gate.MESSAGES[1]} messages, or 1 MB, a second" in SERVER
    assert 2**19 < gate.MESSAGES[1] * gate.HEAVY <= 2**20
    assert (jobs.MOST_WAITING, jobs.MOST_OF_ONE) == (8, 3)
    assert f"The newest {jobs.KEPT} that have ended are kept, up to {jobs.KEPT_BYTES // 2**30} GB" in SERVER
