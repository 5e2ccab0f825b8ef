"""The program that runs the model in the browser: onnxruntime-web, fetched from npm once and checked.

It is not part of the repository. One version is pinned by the digest that npm publishes for it, and only the
files that a site serves are kept. The registry, a proxy and certificates are npm's own settings.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import sys
import tarfile
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from http.client import HTTPException
from io import BytesIO
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from urllib.parse import urlsplit

from cfviz.words import quantity

NAME, VERSION = "onnxruntime-web", "1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
CODE, MODULE, WASM = "ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"
# The same for graphics processors, which it waits for by JavaScript Promise Integration (JSPI).
GRAPHICS = (
    "ort.jspi.min.mjs", "ort-wasm-simd-threaded.jspi.mjs", "ort-wasm-simd-threaded.jspi.wasm"
)  # fmt: skip
FILES = (CODE, MODULE, WASM, *GRAPHICS)
REGISTRY = "https://registry.npmjs.org/"
LICENSE = f"""{NAME} {VERSION}, https://github.com/microsoft/onnxruntime

MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.

It contains parts by others, under their own licences:
https://github.com/microsoft/onnxruntime/blob/v{VERSION}/ThirdPartyNotices.txt
"""
SECONDS = 60  # without an answer
MOST_BYTES = 200_000_000


def folder() -> Path:
    """Where the files are kept: inside the environment of this Python."""
    return Path(sys.prefix) / "share" / f"{NAME}-{VERSION}"


def there(place: Path) -> Path:
    """A folder that holds the files.

    Raises:
        ValueError: If a file is missing.
    """
    missing = [name for name in FILES if not (place / name).is_file()]
    if missing:
        raise ValueError(f"{place} has no {missing[0]}; expected the folder dist of the npm package {NAME}")
    return place


def fetched() -> Path:
    """The folder with the files, fetched from npm if they are not there yet.

    Raises:
        ValueError: If they cannot be fetched, are not what was pinned, or cannot be kept.
    """
    place = folder()
    if all((place / name).is_file() for name in FILES):
        return place
    settings = npm_settings(os.environ)
    address = f"{settings['registry'].rstrip('/')}/{NAME}/-/{NAME}-{VERSION}.tgz"
    files = _unpacked(_download(address, settings), address)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        part = Path(mkdtemp(prefix=f"{place.name}.", dir=place.parent))
        try:
            part.chmod(0o755)  # others may share the environment
            for name, data in files.items():
                (part / name).write_bytes(data)
            if place.exists():  # half of it, from another hand
                rmtree(place)
            part.rename(place)
        finally:
            rmtree(part, ignore_errors=True)
    except OSError as error:
        if not all((place / name).is_file() for name in FILES):  # nor has another process kept it meanwhile
            raise ValueError(f"{NAME} cannot be kept in {place}: {error.strerror or error}") from error
    return place


def npm_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Npm's settings for a download: the registry, and a proxy and a file of certificates where they are set.

    As for npm, the environment comes before the files of the project, the user and the machine.

    Args:
        environ: The environment's variables; npm's begin with `npm_config_`, in any case.
    """
    given = {name.lower(): value for name, value in environ.items() if value}
    home = Path(given.get("npm_config_userconfig") or Path.home() / ".npmrc")
    machine = given.get("npm_config_globalconfig")
    machines = [Path(machine)] if machine else [Path("/usr/etc/npmrc"), Path("/usr/local/etc/npmrc")]
    found = {"registry": REGISTRY}
    for file in reversed((Path(".npmrc"), home, *machines)):
        found |= _npmrc(file, environ)
    for name in ("registry", "https-proxy", "proxy", "cafile"):
        value = given.get(f"npm_config_{name.replace('-', '_')}")
        if value:
            found[name] = value
    return {name: value for name, value in found.items() if value and value != "null"}


def _npmrc(file: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The settings of one file that a download needs; none if it cannot be read."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return {}
    found = {}
    for line in lines:
        name, mark, value = (part.strip() for part in line.partition("="))
        if mark and name in ("registry", "https-proxy", "proxy", "cafile"):
            value = value.strip("\"'")
            for known in environ:
                value = value.replace(f"${{{known}}}", environ[known])
            found[name] = value
    return found


def _download(address: str, settings: Mapping[str, str]) -> bytes:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(
            f"npm's registry is {settings['registry']!r}, expected an address such as {REGISTRY}"
        )
    proxy = settings.get("https-proxy") or settings.get("proxy")
    try:
        trusted = ssl.create_default_context(cafile=settings.get("cafile"))
        handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=trusted)]
        if proxy:  # else the one that the environment names
            handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
        with urllib.request.build_opener(*handlers).open(address, timeout=SECONDS) as answer:
            data = answer.read(MOST_BYTES + 1)
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise ValueError(f"{address} cannot be fetched: {reason}") from error
    if len(data) > MOST_BYTES:
        raise ValueError(f"{address} is longer than {quantity(MOST_BYTES // 10**6, 'MB')}, so it is not used")
    return data


def _unpacked(data: bytes, address: str) -> dict[str, bytes]:
    """The files that a site serves, of the package as npm has it."""
    kind, _, wanted = INTEGRITY.partition("-")
    if b64encode(hashlib.new(kind, data).digest()).decode() != wanted:
        raise ValueError(f"{address} is not {NAME} {VERSION} as its authors published it, so it is not used")
    files = {}
    with tarfile.open(fileobj=BytesIO(data)) as archive:
        for name in FILES:
            member = archive.extractfile(f"package/dist/{name}")
            assert member is not None  # the digest was right
            files[name] = member.read()
    return files


if __name__ == "__main__":  # `make test`
    try:
        fetched()
    except ValueError as error:
        sys.exit(str(error))
