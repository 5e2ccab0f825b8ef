"""Work that nobody has asked for yet, done while nobody waits: a class that comes later finds it done.

It goes through the same functions, models and caches as a page's own work, so that what it leaves is what the
page would have computed. A reader who wants a result that is being made gets it as soon as it is there.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from streamlit.runtime import exists

from cfviz.ui.session import queue
from cfviz.ui.session.budget import machine_memory

SWITCH = "CFVIZ_AHEAD"  # set to 0: nothing is computed ahead
CALM = 1.0  # seconds without a click after which nobody counts as waiting
LOOK = 0.2  # seconds between two looks at whether it is calm
MOST = 1536 * 2**20  # bytes of this process above which nothing more is computed ahead
PART = 4  # or a quarter of the machine's memory, if that is less
_log = logging.getLogger(__name__)


def wanted() -> bool:
    """Whether to compute ahead: in a server, unless `CFVIZ_AHEAD` is 0."""
    return exists() and os.environ.get(SWITCH, "") != "0"


def run(
    works: Iterable[Callable[[], object]],
    calm: Callable[[float], bool] = queue.calm,
    memory: Callable[[], int] | None = None,
) -> str:
    """Do one piece of work after another while it is calm, in this thread; return why it ended.

    Args:
        works: Short pieces, the most wanted first.
        calm: Whether nobody has waited for some seconds.
        memory: The bytes that this process takes.

    Returns:
        "done", "full" or "failed".
    """
    queue.stand(queue.IDLE)
    end, begun, most = "done", time.monotonic(), limit()
    try:
        for work in works:
            while not calm(CALM):
                time.sleep(LOOK)
            if (memory or resident)() > most:
                end = "full"
                break
            work()
    except Exception:  # a page that needs it will say so
        _log.exception("computing ahead ended")
        end = "failed"
    _log.info("computed ahead: %s after %.0f s", end, time.monotonic() - begun)
    return end


def limit() -> int:
    """Bytes of this process above which nothing is computed ahead."""
    memory = machine_memory()
    return MOST if memory is None else min(MOST, memory // PART)


def resident() -> int:
    """Bytes of memory that this process takes; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
