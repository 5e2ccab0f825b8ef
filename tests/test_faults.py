"""Faults: a full GPU, a full disk, unwritable folders, killed processes, lost connections."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from bench.load.reader import Reader
from cfviz import jobs, run
from cfviz.models.weights import download
from cfviz.models.weights.checkpoints import CheckpointError
from cfviz.models.weights.download import fetch
from cfviz.ui.session.plain import explain
from cfviz.words import translator
from tests.conftest import ROOT, free_port, serving, until
from tests.processes.warm import Warm

FULL = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


def said(error: BaseException) -> list[str]:
    """The error's sentence in both languages, one line each."""
    sentences = [
        explain(translator(lang), error).replace("\u2060", "").replace("\\", "") for lang in ("en", "zh-Hant")
    ]
    assert sentences[0] != sentences[1]
    assert not any("\n" in sentence or "Traceback" in sentence or "{" in sentence for sentence in sentences)
    return sentences


# ---------------------------------------------------------------- the GPU


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)


def test_the_cpu_takes_over_when_the_gpu_is_full(tiny_model, photo, monkeypatch) -> None:
    net, real, tries = tiny_model(), run.forward, []
    before = run.inspect(photo, net, 64, "logits")

    def forward(model: Any, *args: Any) -> Any:
        tries.append(model)
        if len(tries) == 1:
            raise FULL
        return real(model, *args)

    monkeypatch.setattr(run, "forward", forward)
    trace = run.inspect(photo, net, 64, "logits")
    assert len(tries) == 2
    assert trace.device == "cpu"
    assert np.array_equal(trace.logits, before.logits)


def test_a_model_that_does_not_fit_on_the_gpu_stays_on_the_cpu(tiny_model, monkeypatch) -> None:
    net, real = tiny_model(), torch.nn.Module.to

    def to(self: Any, device: Any, *args: Any) -> Any:
        if str(device) == "meta":  # stands for the GPU
            raise FULL
        return real(self, device, *args)

    monkeypatch.setattr(run, "pick_device", lambda device: device)
    monkeypatch.setattr(torch.nn.Module, "to", to)
    placed = run.placed(net, "meta", "bfloat16")
    first = next(placed.parameters())
    assert (first.device.type, first.dtype) == ("cpu", torch.bfloat16)
    assert next(net.parameters()).dtype == torch.float32, "the caller's model is as it was"


@pytest.mark.slow
@pytest.mark.parametrize("lang", ["en", "zh-Hant"])
def test_the_page_says_that_the_cpu_took_over(lang: str, monkeypatch) -> None:
    monkeypatch.setattr("cfviz.ui.shell.page.pick_device", lambda: "cuda")
    monkeypatch.setattr(
        "cfviz.ui.compute.models.load", lambda name, device, dtype: run.load(name, "cpu", dtype)
    )
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    app.query_params["lang"] = lang
    app.query_params["size"] = "160"
    app.run()
    assert not app.exception
    assert [box.value for box in app.warning] == [translator(lang)("common.gpu_full")]


# ---------------------------------------------------------------- the disk


def offer(content: bytes, pause: float = 0.0, log: list[str | None] | None = None) -> Callable[[Any], None]:
    """Serves a file, from the middle if asked, as slowly as wanted."""

    def respond(request: Any) -> None:
        asked = request.headers.get("Range")
        if log is not None:
            log.append(asked)
        start = int(asked[6:-1]) if asked else 0
        request.send_response(206 if start else 200)
        request.send_header("Content-Type", "application/octet-stream")
        request.send_header("ETag", '"one"')
        request.send_header("Content-Length", str(len(content) - start))
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.end_headers()
        try:
            for at in range(start, len(content), 1 << 18):
                request.wfile.write(content[at : at + (1 << 18)])
                time.sleep(pause)
        except OSError:
            pass  # the other side has disconnected

    return respond


CONTENT = b"\x80\x02" + bytes(range(256)) * 16384  # 4 MB that begin like a pickle


def test_complete_weights_in_an_unwritable_folder_are_used(serve, tmp_path, monkeypatch) -> None:
    target = tmp_path / "weights" / "file.pth"
    url = serve(offer(CONTENT))
    first = fetch(url, target)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    assert fetch(url, target) == first
    other = target.with_name("other.pth")
    with pytest.raises(CheckpointError) as caught:
        fetch(url, other)
    assert caught.value.code == "disk"
    assert all("other.pth" in sentence and "Read-only" in sentence for sentence in said(caught.value))
    target.write_bytes(CONTENT[:-1])
    with pytest.raises(CheckpointError) as caught:
        fetch(url, target)
    assert caught.value.code == "disk", "a damaged one is not used"


@pytest.mark.slow
def test_damaged_weights_that_cannot_be_fetched_again_are_named(serve, tmp_path, monkeypatch) -> None:
    target = tmp_path / "weights" / "file.pth"
    fetch(serve(offer(CONTENT)), target)
    target.write_bytes(b"x" + CONTENT[1:])
    monkeypatch.setattr(download, "RETRIES", 1)
    with pytest.raises(CheckpointError) as caught:
        fetch(f"http://127.0.0.1:{free_port()}/w.pth", target)
    assert caught.value.code == "lost"
    for sentence in said(caught.value):
        assert "file.pth" in sentence
        assert "127.0.0.1" in sentence, "and why"
    assert not target.exists()


@pytest.mark.slow
def test_no_network_is_one_sentence(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(download, "RETRIES", 1)
    with pytest.raises(CheckpointError) as caught:
        fetch(f"http://127.0.0.1:{free_port()}/w.pth", tmp_path / "w.pth")
    assert caught.value.code == "no_network"
    said(caught.value)


def python(code: str, **options: Any) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


# Lets every write beyond 1 MB of a file fail, as on a full disk.
SMALL_FILES = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
"""


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_the_download_resumes_later(serve, tmp_path, warm: Warm) -> None:
    target = tmp_path / "weights" / "file.pth"
    url = serve(offer(CONTENT))
    code = f"""{SMALL_FILES}
from pathlib import Path
from cfviz.models.weights.download import fetch
try:
    fetch({url!r}, Path({str(target)!r}))
except ValueError as error:
    print(error.code, error)
"""
    done = warm.run(["-c", code], timeout=120)
    assert done.stdout.startswith("disk "), done.stdout + done.stderr
    assert str(target) in done.stdout
    assert len(done.stdout.strip().splitlines()) == 1
    assert not target.exists()
    assert fetch(url, target).sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_a_job_on_a_full_disk_is_refused_in_one_sentence(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(jobs.JOBS, str(tmp_path / "jobs"))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        jobs.start("study", ["models"], "out.json")
    monkeypatch.undo()
    monkeypatch.setenv(jobs.JOBS, str(tmp_path / "jobs"))
    assert jobs.listed("study") == [], "nothing half-written is listed"


# ---------------------------------------------------------------- kill -9


@pytest.mark.slow
def test_a_killed_download_resumes(serve, tmp_path, warm: Warm) -> None:
    target, log = tmp_path / "weights" / "file.pth", []
    url = serve(offer(CONTENT, 0.1, log))
    code = f"""
from pathlib import Path
from cfviz.models.weights.download import fetch
fetch({url!r}, Path({str(target)!r}), lambda done, total: print(done, flush=True))
"""
    process = warm.popen(["-c", code])
    until(lambda: any(int(line) > 1 << 20 for line in process.stdout.split("\n")[:-1]))
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    assert not target.exists(), "nothing half-written under its name"
    assert list(target.parent.glob("*.part")), "what arrived is kept"
    fetch(url, target)
    assert target.read_bytes() == CONTENT
    assert any(asked and int(asked[6:-1]) >= 1 << 20 for asked in log), f"it began again: {log}"
    assert not list(target.parent.glob("*.part"))


@pytest.mark.slow
def test_a_study_survives_a_killed_server_and_its_own_death_is_noticed(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(jobs.JOBS, str(tmp_path / "jobs"))
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, time, pathlib\n"
        "if 'study' in sys.orig_argv and '--progress' in sys.orig_argv:\n"
        "    from cfviz.jobs import report\n"
        "    where = sys.orig_argv[sys.orig_argv.index('--progress') + 1]\n"
        "    at = pathlib.Path(sys.orig_argv[sys.orig_argv.index('--out') + 1])\n"
        "    n = int(at.read_text()) if at.exists() else 0\n"
        "    while n < 60:\n"
        "        n += 1; at.write_text(str(n)); report(where, n, 60); time.sleep(0.05)\n"
        "    import os; os._exit(0)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    code = "from cfviz import jobs; import time\n"
    code += (
        "print(jobs.start('study', ['study', '--out', '{job}/n'], 'n').folder, flush=True); time.sleep(600)"
    )
    server = python(code)
    assert server.stdout is not None
    folder = Path(server.stdout.readline().strip())
    server.kill()
    server.wait(20)
    server.stdout.close()

    def now(*states: str) -> jobs.Job:
        end = time.monotonic() + 60
        while (
            (job := jobs.read(folder)) is None
            or (job.state not in states and "moving" not in states)
            or ("moving" in states and job.done < 3)
        ):
            assert time.monotonic() < end, job
            time.sleep(0.05)
        return job

    assert now("moving").state == "running", "the server's death is not the study's"
    os.killpg(json.loads((folder / "state.json").read_text())["group"], signal.SIGKILL)
    stopped = now("interrupted")
    before = int(stopped.result.read_text())
    assert 0 < before < 60
    jobs.resume(stopped)
    assert now("done").result.read_text() == "60"


class Server:
    """The app in a process that can be killed, with its own folders."""

    def __init__(self, folder: Path, warm: Warm) -> None:
        self.folder, self.port, self.warm, self.open = folder, free_port(), warm, ExitStack()
        self.start()

    def start(self) -> None:
        """Start the server, always on the same port."""
        home = {"TMPDIR": "tmp", "XDG_CACHE_HOME": "cache", "XDG_DATA_HOME": "data", "HOME": "home"}
        for name in home.values():
            (self.folder / name).mkdir(exist_ok=True)
        env = {**os.environ, **{key: str(self.folder / name) for key, name in home.items()}}
        served = serving(self.warm, self.port, "--server.fileWatcherType", "none", env=env)
        self.process = self.open.enter_context(served)

    def kill(self) -> None:
        """Kill the server, as the kernel does when memory runs out."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)

    def files(self) -> list[Path]:
        """All files in the server's folders."""
        return [path for path in self.folder.rglob("*") if path.is_file()]


@pytest.fixture
def server(tmp_path: Path, warm: Warm) -> Iterator[Server]:
    made = Server(tmp_path, warm)
    yield made
    made.kill()
    made.open.close()


def half_an_upload(port: int, session: str) -> socket.socket:
    """A connection over which half of an 8 MB photo has arrived."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=20) as answer:
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
    token = cookie.partition("=")[2].strip('"')
    body = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\n\r\n' + bytes(8 << 20)
    head = f"PUT /_stcore/upload_file/{session}/one HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    head += f"Cookie: {cookie}\r\nX-Xsrftoken: {token}\r\n"
    head += f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {len(body)}\r\n\r\n"
    raw = socket.create_connection(("127.0.0.1", port), timeout=20)
    raw.sendall(head.encode() + body[: 4 << 20])
    raw.settimeout(1.0)
    with pytest.raises(TimeoutError):
        raw.recv(1)  # the server waits for the rest: nothing was refused
    return raw


@pytest.mark.slow(6)
def test_a_server_killed_during_an_upload_leaves_nothing_and_readers_come_back(server: Server) -> None:
    address = f"ws://127.0.0.1:{server.port}/_stcore/stream"

    async def before() -> tuple[str, str]:
        async with Reader(address, seed=0) as reader:
            reader.page = "predict"
            assert (await reader.start("predict")).errors == []
            assert (await reader.photo("giant-panda")).errors == []
            session = reader.session
        async with Reader(address, seed=0, session=session) as back:  # only the connection was lost
            back.page, back.query = "predict", "lang=en"
            await back.start("predict")
            assert back.session == session
            assert "photo=giant-panda" in back.query, "its choice is still there"
            with half_an_upload(server.port, session):
                server.kill()
            return session, back.query

    session, query = asyncio.run(before())
    left = [path for path in server.files() if path.stat().st_size > 1 << 20]
    assert left == [], "nothing of the upload is on the disk"
    server.start()

    async def after() -> None:
        async with Reader(address, seed=0, session=session) as reader:
            reader.page, reader.query = "predict", query
            assert (await reader.start("predict")).errors == []
            assert "photo=giant-panda" in reader.query, "the link restores it"

    asyncio.run(after())
