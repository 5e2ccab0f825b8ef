"""One budget for the bytes that readers bring: uploads that arrive, uploads that are kept, photos, models.

A limit per session does not bound a server: a hundred sessions of 600 MB are 60 GB. All that readers send is
therefore counted together, whatever it has become meanwhile, and what would exceed the budget is refused
before it is kept. The budget is a quarter of the memory unless `CFVIZ_UPLOADS` sets another, in MB.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from streamlit.runtime import exists, get_instance
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager

from cfviz.words import quantity

__all__ = ["Budget", "FullError", "machine_memory", "shared"]

UPLOADS = "CFVIZ_UPLOADS"
SHARE = 4  # readers' files take at most 1/4 of the machine's memory
LEAST = 1024 * 2**20  # where the memory is unknown, and at least: weights of 400 MB as a file and as a model
_log = logging.getLogger(__name__)
_GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container


class FullError(ValueError):
    """The server keeps as many bytes of its readers as it may.

    Attributes:
        limit: The budget in MB.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"all readers together have sent as much as this server keeps ({quantity(limit, 'MB')}); "
            "try again later"
        )
        self.limit = limit


class Budget:
    """Counts the bytes that all readers together have sent.

    Args:
        most: The number of bytes that may be held.
        stored: Returns the number of bytes counted elsewhere, by Streamlit's store of uploads.
    """

    def __init__(self, most: int, stored: Callable[[], int] = lambda: 0) -> None:
        self.most, self._stored = most, stored
        self._held = 0
        self._book = threading.RLock()  # a finaliser may run while this thread holds it

    @property
    def used(self) -> int:
        """Bytes held now."""
        return self._held + self._stored()

    def take(self, size: int) -> None:
        """Count some more bytes, until they are given back.

        Raises:
            FullError: If they do not fit; nothing is counted then.
        """
        with self._book:
            if self.used + size > self.most:
                raise FullError(self.most >> 20)
            self._held += size

    def give(self, size: int) -> None:
        """Give bytes back."""
        with self._book:
            self._held -= size

    def hold(self, thing: object, size: int, strict: bool = True) -> None:
        """Count an object's bytes for as long as the object lives.

        Args:
            thing: The object, which must allow weak references.
            size: Its bytes.
            strict: Whether to refuse it if the budget is exceeded; otherwise it only counts against others.

        Raises:
            FullError: If the bytes do not fit.
        """
        if strict:
            self.take(size)
        else:
            self.give(-size)
        weakref.finalize(thing, self.give, size).atexit = False


def machine_memory() -> int | None:
    """Bytes of memory that this process may use: the machine's, or the container's; None if unknown."""
    found = []
    with suppress(AttributeError, ValueError, OSError):  # a system that does not say
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for group in _GROUPS:
        try:
            found.append(int(Path(group).read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such group, or one without a limit
            continue
    return min(found, default=None)


def most() -> int:
    """The size of the budget in bytes, from `CFVIZ_UPLOADS` or the memory."""
    given = os.environ.get(UPLOADS, "").strip()
    if given.isdecimal() and 0 < int(given) < 10**9:
        return int(given) * 2**20
    if given:
        _log.error("%s is %r, so it is ignored; expected a number of MB, for example 4000", UPLOADS, given)
    memory = machine_memory()
    return LEAST if memory is None else max(LEAST, memory // SHARE)


@cache
def shared() -> Budget:
    """The one budget of this process."""
    return Budget(most(), _stored)


def _stored() -> int:
    """Bytes in Streamlit's store of uploads, which counts them itself."""
    store = getattr(get_instance(), "uploaded_file_mgr", None) if exists() else None
    return store._total_bytes if isinstance(store, MemoryUploadedFileManager) else 0  # not in an AppTest
