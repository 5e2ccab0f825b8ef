"""Which Chromium the tests and the benchmarks drive."""

from __future__ import annotations

import os
import shutil

SHELL = "chromium-headless-shell"  # without windows: a page costs two thirds of the processor time
FULL = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def installed(*names: str) -> str | None:
    """Find `$CHROMIUM`, or the first of these programs that is installed; None: Playwright's own build.

    Raises:
        FileNotFoundError: `$CHROMIUM` is no program here.
    """
    wanted = os.environ.get("CHROMIUM")
    if wanted:
        if not (path := shutil.which(wanted)):
            raise FileNotFoundError(f"CHROMIUM is {wanted!r}, which is no program here")
        return path
    return next((path for name in names if (path := shutil.which(name))), None)
