"""The figures as a folder of static files: a site without a server, made from the same parts as the app."""

from __future__ import annotations

from . import runtime
from .build import Built, build

__all__ = ["Built", "build", "runtime"]
