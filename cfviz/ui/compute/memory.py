"""Memory that a forward has freed stays with the process, so that the next one need not ask for it again.

By default glibc hands freed memory back to the system as soon as it is more than twice the largest array so
far, and every forward then gets it anew, page by page: with nano at 192 to 288 px 3,000 to 12,000 page
faults, which take a tenth to a third of the processor time where the attention is kept.
"""

from __future__ import annotations

import ctypes
import sys

TRIM, MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's <malloc.h>
LARGE = 32 * 2**20  # bytes of an array with pages of its own, to which glibc moves this limit at most
KEPT = 2 * LARGE  # bytes of free memory that a heap keeps, as glibc does at that limit


def keep_freed() -> bool:
    """Set glibc's limits at once to where it would move them in time; returns whether this is glibc."""
    if sys.platform != "linux":
        return False
    limit = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return limit is not None and all(limit(name, size) == 1 for name, size in ((MMAP, LARGE), (TRIM, KEPT)))
