"""Downloads from a loopback server that breaks off, changes its file or refuses."""

from __future__ import annotations

import io
import json
import re
import socket
import threading
from pathlib import Path

import pytest
import requests
import torch
from platformdirs.macos import MacOS
from platformdirs.unix import Unix
from platformdirs.windows import Windows

from cfviz.models.crossformer import CrossFormer
from cfviz.models.variants import VARIANTS
from cfviz.models.weights import download
from cfviz.models.weights.checkpoints import CheckpointError, load_checkpoint
from cfviz.models.weights.download import cache_dir, fetch, fetch_official, sha256_of

NANO = "crossformer_nano"


@pytest.fixture(scope="module")
def weights() -> bytes:
    """A checkpoint in the authors' form, with other numbers."""
    return _saved(0)


def _saved(seed: int) -> bytes:
    torch.manual_seed(seed)
    buffer = io.BytesIO()
    state = CrossFormer(**VARIANTS[NANO], num_classes=3).state_dict()
    torch.save({"model": {key: value.contiguous() for key, value in state.items()}}, buffer)
    return buffer.getvalue()


class Shop:
    """What the server offers, and how badly it behaves.

    Attributes:
        content: The file.
        breaks: How many answers break off half-way.
        ranges: Whether it can resume in the middle.
        status: The status code it answers with.
        log: The `Range` of each request, None without one.
    """

    def __init__(self, content: bytes):
        self.content, self.breaks, self.ranges, self.status = content, 0, True, 200
        self.etag = True
        self.headers = {"Content-Type": "application/octet-stream"}
        self.log: list[str | None] = []

    def __call__(self, request) -> None:
        asked = request.headers.get("Range")
        self.log.append(asked)
        if self.status != 200:
            request.send_error(self.status)
            return
        start = self._start(request, asked)
        if start >= len(self.content):
            request.send_error(416)
            return
        body = self.content[start:]
        request.send_response(206 if start else 200)
        for key, value in self.headers.items():
            request.send_header(key, value)
        if start:
            last = len(self.content) - 1
            request.send_header("Content-Range", f"bytes {start}-{last}/{len(self.content)}")
        if self.etag:
            request.send_header("ETag", self._etag())
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        self._send(request, body)

    def _etag(self) -> str:
        return f'"{hash(self.content)}"'

    def _start(self, request, asked: str | None) -> int:
        unchanged = request.headers.get("If-Range") in (None, self._etag())
        return int(asked[6:-1]) if asked and self.ranges and unchanged else 0

    def _send(self, request, body: bytes) -> None:
        try:
            if self.breaks:
                self.breaks -= 1
                request.wfile.write(body[: len(body) // 2])
                request.wfile.flush()
                request.connection.shutdown(socket.SHUT_RDWR)
            else:
                request.wfile.write(body)
        except OSError:
            pass  # the client has disconnected
        request.close_connection = True


@pytest.fixture
def shop(weights) -> Shop:
    return Shop(weights)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Do not wait between tries, and read in small pieces, so that a broken answer leaves something."""
    monkeypatch.setattr("random.uniform", lambda low, high: 0.0)
    monkeypatch.setattr(download, "RETRIES", 1)


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "weights" / "file.pth"


def _refused(code: str, url: str, target: Path, **options) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        fetch(url, target, **options)
    assert caught.value.code == code, str(caught.value)
    assert "\n" not in str(caught.value)
    assert not target.exists(), "a file appears under its name only when it is whole"
    return caught.value


def _recorded(target: Path) -> str:
    return json.loads(target.with_name(f"{target.name}.json").read_text())["sha256"]


@pytest.mark.slow
def test_a_download_is_complete_recorded_and_done_once(serve, shop, target, weights):
    seen: list[tuple[int, int | None]] = []
    url = serve(shop)
    first = fetch(url, target, lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == weights
    assert first.sha256 == sha256_of(weights) == _recorded(target)
    assert seen == sorted(seen)
    assert seen[-1] == (len(weights), len(weights))
    requests_so_far = len(shop.log)
    assert fetch(url, target) == first
    assert len(shop.log) == requests_so_far, "the second time nothing is asked for"
    assert {path.name for path in target.parent.iterdir()} <= {target.name, "file.pth.json", "file.pth.lock"}
    assert load_checkpoint(target).variant == NANO


@pytest.mark.slow
def test_a_connection_that_breaks_once_is_resumed(serve, shop, target, weights):
    shop.breaks = 1
    fetch(serve(shop), target)
    assert target.read_bytes() == weights
    assert [asked for asked in shop.log if asked], "it went on in the middle"


def test_a_connection_that_keeps_breaking_is_resumed_next_time(serve, shop, target, weights):
    shop.breaks = 2
    url = serve(shop)
    error = _refused("interrupted", url, target)
    assert re.search(r"\d+\.\d MB", error.fields["done"])
    before = len(shop.log)
    fetch(url, target)
    assert target.read_bytes() == weights
    (resumed,) = (int(asked[6:-1]) for asked in shop.log[before:] if asked)
    assert len(weights) // 2 < resumed <= len(weights) * 3 // 4, "two answers broke off half-way"


def test_a_server_that_cannot_resume_starts_again(serve, shop, target, weights):
    shop.breaks = 2
    url = serve(shop)
    _refused("interrupted", url, target)
    shop.ranges = False
    fetch(url, target)
    assert target.read_bytes() == weights


@pytest.mark.slow
@pytest.mark.parametrize("etag", [True, False])
def test_half_of_one_file_is_never_joined_to_half_of_another(serve, shop, target, weights, etag):
    shop.breaks, shop.etag = 2, etag
    url = serve(shop)
    _refused("interrupted", url, target)
    shop.content = _saved(1)
    assert len(shop.content) == len(weights), "only the numbers differ"
    fetch(url, target)
    assert target.read_bytes() == shop.content


def test_a_partial_file_may_already_be_complete(serve, shop, target, weights):
    target.parent.mkdir()
    target.with_name("file.pth.newabcdefgh.part").write_bytes(weights)
    fetch(serve(shop), target)
    assert target.read_bytes() == weights


def test_a_copy_changed_on_disk_is_named_and_fetched_again(serve, shop, target, weights, caplog):
    url = serve(shop)
    fetch(url, target)
    damaged = bytearray(weights)
    damaged[len(damaged) // 2] ^= 1
    target.write_bytes(damaged)
    assert fetch(url, target).repaired
    assert target.read_bytes() == weights
    assert str(target) in caplog.text


@pytest.mark.slow
def test_a_source_that_changed_is_refused(serve, shop, target):
    url = serve(shop)
    fetch(url, target)
    target.unlink()
    shop.content = _saved(2)
    error = _refused("changed", url, target)
    assert error.fields["now"] == sha256_of(shop.content)[:12]
    Path(error.fields["record"]).unlink()
    fetch(url, target)
    assert target.read_bytes() == shop.content


def test_a_file_put_there_by_hand_is_recorded(serve, shop, target, weights):
    target.parent.mkdir()
    target.write_bytes(weights)
    assert fetch(serve(shop), target).sha256 == _recorded(target)
    assert shop.log == []


def test_a_download_can_be_cancelled_and_resumed(serve, shop, target, weights):
    cancel = threading.Event()
    url = serve(shop)
    _refused("cancelled", url, target, progress=lambda done, total: cancel.set(), cancel=cancel)
    fetch(url, target)
    assert target.read_bytes() == weights


def test_simultaneous_downloads_wait_for_each_other(serve, shop, target, weights):
    url, results = serve(shop), []
    threads = [threading.Thread(target=lambda: results.append(fetch(url, target))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [results[0]] * 3
    assert target.read_bytes() == weights


@pytest.mark.parametrize("status", [404, 403, 503])
def test_refusals_are_reported_with_their_status(serve, shop, target, status):
    shop.status = status
    assert _refused("http", serve(shop), target).fields["status"] == status


def test_an_unreachable_server_is_one_sentence(target):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert str(port) in str(_refused("no_network", f"http://127.0.0.1:{port}/w.pth", target))


@pytest.mark.slow
def test_a_silent_server_is_one_sentence(serve, target, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", (0.2, 0.2))
    release = threading.Event()
    url = serve(lambda request: release.wait(5))
    _refused("no_network", url, target)
    release.set()


@pytest.mark.parametrize(("content", "code"), [(b"<html>sign in</html>", "web_page"), (b"", "empty")])
def test_answers_that_are_not_weights_are_not_kept(serve, shop, target, content, code):
    shop.content = content or b"x"
    if not content:
        shop = _nothing
    _refused(code, serve(shop), target)
    assert not list(target.parent.glob("*.new*"))


def _nothing(request) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "0")
    request.end_headers()


def test_a_folder_that_cannot_be_written_is_named(serve, shop, tmp_path):
    (tmp_path / "weights").write_text("a file where a folder should be")
    _refused("disk", serve(shop), tmp_path / "weights" / "sub" / "file.pth")


# ---------------------------------------------------------------- Google Drive


@pytest.fixture
def drive(monkeypatch):
    """A function that redirects requests for Google Drive to a local server."""

    def redirect(url: str) -> None:
        get = requests.Session.get

        def local(self, address, **options):
            asked = re.sub(r"https://(drive|docs)\.google\.com", url, address)
            assert asked.startswith(url), f"a request to {address}"
            return get(self, asked, **options)

        monkeypatch.setattr(requests.Session, "get", local)

    return redirect


@pytest.mark.slow
@pytest.mark.parametrize("variant", list(download.OFFICIAL))
def test_the_authors_weights_come_from_drive_once(serve, shop, drive, variant, monkeypatch, tmp_path):
    monkeypatch.setenv("CFVIZ_CACHE", str(tmp_path))
    shop.headers["Content-Disposition"] = 'attachment; filename="crossformer.pth"'
    drive(serve(shop))
    checkpoint = load_checkpoint(f"official:{variant}")
    assert (checkpoint.source, checkpoint.dataset) == ("official", "imagenet-1k")
    assert f"{download.OFFICIAL[variant][1]}\u00a0%" in str(checkpoint.trained)
    kept = tmp_path / "weights" / f"{variant}.pth"
    assert _recorded(kept) == checkpoint.sha256
    kept.write_bytes(b"PK" + kept.read_bytes()[3:])
    assert load_checkpoint(variant).meta["notes"] == ("cache_repaired",)


def test_drives_virus_warning_is_passed(serve, shop, drive, tmp_path, monkeypatch, weights):
    monkeypatch.setenv("CFVIZ_CACHE", str(tmp_path))
    shop.headers["Content-Disposition"] = 'attachment; filename="crossformer.pth"'
    page = b'<html><form id="download-form" action="https://drive.google.com/download"><input type="hidden"'
    page += b' name="confirm" value="t"></form></html>'

    def respond(request) -> None:
        if "confirm=t" in request.path:
            shop(request)
        else:
            _page(request, page)

    drive(serve(respond))
    assert fetch_official("crossformer_tiny").sha256 == sha256_of(weights)


def test_drives_quota_page_is_reported(serve, drive, tmp_path, monkeypatch):
    monkeypatch.setenv("CFVIZ_CACHE", str(tmp_path))
    page = b'<html><p class="uc-error-subcaption">Too many users have viewed this file recently.</p></html>'
    drive(serve(lambda request: _page(request, page)))
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint("official:crossformer_tiny")
    assert caught.value.code == "quota"
    assert "Too many users have viewed this file recently" in str(caught.value)
    assert caught.value.fields["url"].startswith("https://drive.google.com/")
    assert "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "weights").iterdir() if path.suffix != ".lock"] == []


def _page(request, page: bytes) -> None:
    request.send_response(200)
    request.send_header("Content-Type", "text/html; charset=utf-8")
    request.send_header("Content-Length", str(len(page)))
    request.end_headers()
    request.wfile.write(page)


# ---------------------------------------------------------------- the Hugging Face Hub


@pytest.fixture
def hub(monkeypatch, tmp_path, serve):
    """A function that puts a local server in the Hub's place, with the files of one repository."""
    import huggingface_hub.constants as constants

    def start(files: dict[str, bytes] | None) -> None:
        def respond(request) -> None:
            name = request.path.partition("?")[0].rpartition("/")[2]
            if files is None or name not in files:
                missing = "RepoNotFound" if files is None else "EntryNotFound"
                request.send_response(404)
                request.send_header("X-Error-Code", missing)
                request.send_header("Content-Length", "0")
                request.end_headers()
                return
            request.send_response(200)
            request.send_header("X-Repo-Commit", "0" * 40)
            request.send_header("ETag", f'"{sha256_of(files[name])}"')
            request.send_header("Content-Length", str(len(files[name])))
            request.end_headers()
            if request.command == "GET":
                request.wfile.write(files[name])

        url = serve(respond)
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
        )

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    return start


@pytest.mark.parametrize("name", download.HUB_FILES)
def test_weights_of_a_hub_repository_open(hub, weights, name):
    import safetensors.torch

    state = torch.load(io.BytesIO(weights), weights_only=True)["model"]
    content = safetensors.torch.save(state) if name.endswith(".safetensors") else weights
    hub({name: content, "config.json": b'{"architecture": "crossformer_nano", "num_classes": 3}'})
    checkpoint = load_checkpoint("hf-hub:someone/crossformer")
    assert (checkpoint.variant, checkpoint.source) == (NANO, "someone/crossformer")
    assert checkpoint.sha256 == sha256_of(content)
    assert checkpoint.meta["config"]["architecture"] == NANO


@pytest.mark.parametrize(
    ("files", "repo", "code"),
    [
        ({"README.md": b""}, "someone/nothing", "hub"),
        (None, "someone/nowhere", "hub"),
        ({}, "not a/repository/name", "hub"),
        ({}, "", "hub"),
    ],
)
def test_hub_repositories_without_weights_are_refused(hub, files, repo, code):
    hub(files)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(f"hf-hub:{repo}")
    assert caught.value.code == code, str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_an_unreachable_hub_is_one_sentence(hub, monkeypatch):
    import huggingface_hub.constants as constants

    hub({})
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    nowhere = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", nowhere)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint("hf-hub:someone/crossformer")
    assert caught.value.code == "no_network", str(caught.value)


# ---------------------------------------------------------------- the cache folder


def test_where_downloads_are_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("CFVIZ_CACHE", str(tmp_path / "mine"))
    assert cache_dir() == tmp_path / "mine"
    monkeypatch.delenv("CFVIZ_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "cfviz"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    local = str(tmp_path / "AppData" / "Local")
    monkeypatch.setattr("platformdirs.windows.get_win_folder", lambda _: local)  # Windows is asked for it
    for system, expected in (
        (Unix, tmp_path / ".cache" / "cfviz"),
        (MacOS, tmp_path / "Library" / "Caches" / "cfviz"),
        (Windows, tmp_path / "AppData" / "Local" / "cfviz" / "Cache"),
    ):
        monkeypatch.setattr("platformdirs.PlatformDirs", system)
        assert cache_dir() == expected
