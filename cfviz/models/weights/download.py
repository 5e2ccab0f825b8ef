"""Download weights once into the user's cache: the authors' from Google Drive, others from a hub.

gdown handles Google Drive, and the Hugging Face Hub has its own client. This module adds trust: the authors
publish no checksums, so the SHA-256 of the first download is recorded beside the file and compared on every
use. A file that changed on disk is reported and downloaded again; a source that changed is refused.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, NoReturn

import platformdirs

from cfviz.jobs import replacing
from cfviz.models.dense.variants import DENSE
from cfviz.models.variants import OFFICIAL

from .containers import sniff
from .errors import CheckpointError, readable_size

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in total (None if unknown)

AUTHORS_PAGE = "https://github.com/cheerss/CrossFormer"
DRIVE = "https://drive.google.com/uc?id={}"
HUB_FILES = ("model.safetensors",)  # timm's name; no pickle is accepted from a site where anyone can upload

RETRIES = 3
TIMEOUT = (10.0, 30.0)  # seconds to connect, and between two chunks
_UNUSABLE = ("damaged", "truncated", "web_page", "not_weights", "empty")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fetched:
    """A downloaded file.

    Attributes:
        repaired: Whether the copy in the cache was damaged and had to be downloaded again.
    """

    path: Path
    sha256: str
    repaired: bool = False


def cache_dir() -> Path:
    """Return the folder for downloads: `CFVIZ_CACHE`, or the user's cache folder on this system."""
    if chosen := os.environ.get("CFVIZ_CACHE"):
        return Path(chosen).expanduser()
    return platformdirs.PlatformDirs("cfviz", appauthor=False).user_cache_path


def sha256_of(source: Path | bytes) -> str:
    """Return the SHA-256 of a file or of bytes, as 64 hexadecimal digits."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    digest = hashlib.sha256()
    with source.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def fetch_official(variant: str, progress: Progress | None = None, cancel: Event | None = None) -> Fetched:
    """Return the authors' weights of a variant, from the cache or from Google Drive.

    Args:
        variant: A name in `OFFICIAL` (classifiers, ImageNet-1K) or `DENSE` (detectors and segmenters).
        progress: Called with the bytes so far and the total (None if unknown).
        cancel: Set it to stop; a partial download is kept and resumed next time.

    Raises:
        CheckpointError: If the variant has no official weights, or they cannot be downloaded.
    """
    if variant.startswith("crossformer_pp_"):
        raise CheckpointError("needs_person", variant=variant, page=AUTHORS_PAGE)
    drive = {name: id for name, (id, _) in OFFICIAL.items()} | {
        n: d.drive for n, d in DENSE.items() if d.drive
    }
    if variant not in drive:
        raise CheckpointError("no_official", variant=variant, available=", ".join(drive))
    url = DRIVE.format(drive[variant])
    return fetch(url, cache_dir() / "weights" / f"{variant}.pth", progress, cancel)


def fetch(url: str, target: Path, progress: Progress | None = None, cancel: Event | None = None) -> Fetched:
    """Download a weights file to `target` once, and check it against its record every time.

    The file appears under its name only when it is complete. Two processes that want the same file wait for
    each other.
    """
    from filelock import FileLock

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            return _fetch_locked(url, target, progress, cancel)
    except OSError as error:
        if target.is_file() and _read_record(target) in (None, digest := sha256_of(target)):
            return Fetched(target, digest)  # complete, in a read-only folder
        raise CheckpointError("disk", path=target, detail=error.strerror or error) from None


def _fetch_locked(url: str, target: Path, progress: Progress | None, cancel: Event | None) -> Fetched:
    recorded, repaired = _read_record(target), False
    if target.exists():
        digest = sha256_of(target)
        if recorded in (None, digest):
            _write_record(target, digest, url)
            return Fetched(target, digest)
        _log.warning("%s is damaged (its SHA-256 is not the recorded one); fetching it again", target)
        target.unlink()
        repaired = True
    staged = target.with_name(f"{target.name}.new")
    try:
        _download(url, staged, progress, cancel)
    except CheckpointError as error:
        if repaired and error.code != "cancelled":
            raise CheckpointError("lost", path=target, reason=error) from None
        raise
    digest = sha256_of(staged)
    if recorded not in (None, digest):
        staged.unlink()
        record = _record_path(target)
        raise CheckpointError("changed", url=url, now=digest[:12], recorded=recorded[:12], record=record)
    _write_record(target, digest, url)
    staged.replace(target)
    return Fetched(target, digest, repaired)


def _record_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")


def _read_record(target: Path) -> str | None:
    try:
        return str(json.loads(_record_path(target).read_text("utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _write_record(target: Path, digest: str, url: str) -> None:
    if _read_record(target) == digest:
        return
    recorded = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    record = {"sha256": digest, "url": url, "recorded": recorded}
    with replacing(_record_path(target)) as draft:
        draft.write_text(json.dumps(record, indent=2) + "\n", "utf-8")


def _download(url: str, staged: Path, progress: Progress | None, cancel: Event | None) -> None:
    """Download to `staged`, resuming an earlier attempt, or from the start if its remains do not fit.

    The remains may belong to another version of the file than the server has now, so complete archives are
    checked against their own checksums.
    """
    for last in (False, True):
        resumed = staged.exists() or bool(_parts(staged))
        try:
            _gdown(url, staged, progress, cancel)
            _check_whole(staged, url)
            return
        except CheckpointError as error:
            if error.code not in _UNUSABLE:
                raise
            for leftover in (staged, *_parts(staged)):
                leftover.unlink(missing_ok=True)
            if last or not resumed:
                raise


def _parts(staged: Path) -> list[Path]:
    return sorted(staged.parent.glob(f"{staged.name}*.part"))


def _gdown(url: str, staged: Path, progress: Progress | None, cancel: Event | None) -> None:
    import gdown  # slow to import, and needed only for a download
    from gdown.exceptions import DownloadCancelled, DownloadError, FileURLRetrievalError
    from requests.exceptions import RequestException

    options: dict[str, Any] = dict(quiet=True, use_cookies=False, resume=True)
    options |= dict(retries=RETRIES, timeout=TIMEOUT, progress=progress, cancel=cancel)
    try:
        gdown.download(url, str(staged), **options)
    except DownloadCancelled:
        raise CheckpointError("cancelled") from None
    except FileURLRetrievalError as error:
        reason = " ".join(str(error).split()).removeprefix("Failed to retrieve file url: ")
        reason = reason.partition(" You may still")[0].rstrip(".")
        raise CheckpointError("quota", url=url, detail=reason) from None
    except (DownloadError, RequestException, KeyError) as error:  # a KeyError: a missing header
        _explain(error, url, staged)


def _explain(error: Exception, url: str, staged: Path) -> NoReturn:
    """Raise the cause of a failed download: no connection, a broken one, a refusal, or mismatched parts."""
    from requests.exceptions import ConnectionError, HTTPError, Timeout

    cause = error.__cause__ or error
    if isinstance(cause, HTTPError) and cause.response is not None:
        raise CheckpointError("http", url=url, status=cause.response.status_code) from None
    done = sum(part.stat().st_size for part in _parts(staged))
    if done and (isinstance(cause, ConnectionError | Timeout) or "incomplete" in str(error)):
        raise CheckpointError("interrupted", url=url, done=readable_size(done)) from None
    if isinstance(cause, ConnectionError | Timeout):
        raise CheckpointError("no_network", url=url, detail=type(cause).__name__) from None
    raise CheckpointError("damaged", source=url, detail=str(error).splitlines()[0]) from None


def _check_whole(staged: Path, url: str) -> None:
    with staged.open("rb") as file:
        if sniff(file, staged.stat().st_size, url) != "zip":
            return
    try:
        with zipfile.ZipFile(staged) as archive:
            broken = archive.testzip()
    except zipfile.BadZipFile as error:
        raise CheckpointError("truncated", source=url, detail=error) from None
    if broken:
        raise CheckpointError("damaged", source=url, detail=f"the checksum of {broken} does not fit")


def fetch_hub(repo: str) -> tuple[Path, dict[str, Any]]:
    """Download weights and `config.json` from a repository on the Hugging Face Hub, into the Hub's own cache.

    Args:
        repo: "org/name", optionally followed by "@revision".

    Raises:
        CheckpointError: "hub" or "no_network".
    """
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for name in HUB_FILES:
        try:
            path = _from_hub(repo, name)
        except LocalEntryNotFoundError:
            detail = "and it is not in the cache"
            raise CheckpointError("no_network", url=f"huggingface.co/{repo}", detail=detail) from None
        except EntryNotFoundError:
            continue
        try:
            config = json.loads(_from_hub(repo, "config.json").read_text("utf-8"))
        except (EntryNotFoundError, ValueError, RecursionError):
            config = {}
        return path, config if isinstance(config, dict) else {}
    raise CheckpointError("hub", repo=repo, detail=f"it has none of {', '.join(HUB_FILES)}")


def _from_hub(repo: str, name: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

    repo_id, _, revision = repo.partition("@")
    try:
        return Path(hf_hub_download(repo_id, name, revision=revision or None))
    except EntryNotFoundError:
        raise
    except (HfHubHTTPError, HFValidationError) as error:
        detail = str(error).strip().splitlines()[0].rstrip(".")
        raise CheckpointError("hub", repo=repo, detail=detail) from None
    except OSError as error:
        detail = type(error).__name__
        raise CheckpointError("no_network", url=f"huggingface.co/{repo}", detail=detail) from None
