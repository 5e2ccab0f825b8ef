"""Figures that were drawn before: the same arguments give the same figure, without drawing it again.

Building a plotly figure takes 5 to 30 ms of Python, and a page that reruns after a click draws most of its
figures unchanged. The content of the arguments decides, so a figure is never older than its data.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np
from PIL import Image

from .theme import Theme

MOST = 512  # figures, of all functions together
_kept: OrderedDict[bytes, object] = OrderedDict()
_lock = threading.Lock()

P = ParamSpec("P")
R = TypeVar("R")


def cached_figure(draw: Callable[P, R]) -> Callable[P, R]:
    """Make a drawing function remember its figures, by the content of its arguments.

    The figures are shared and must not be changed. Arguments may be numbers, strings, arrays, pictures,
    themes, and lists, tuples and mappings of these; with any other argument the figure is drawn anew.

    Args:
        draw: Returns a figure that depends on nothing but its arguments.
    """
    name = f"{draw.__module__}.{draw.__qualname__}".encode()

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        digest = hashlib.blake2b(name, digest_size=16)
        try:
            _add(digest, (args, kwargs))
        except TypeError:
            return draw(*args, **kwargs)
        key = digest.digest()
        with _lock:
            if key in _kept:
                _kept.move_to_end(key)
                return _kept[key]  # type: ignore[return-value]
        made = draw(*args, **kwargs)
        with _lock:
            _kept[key] = made
            while len(_kept) > MOST:
                _kept.popitem(last=False)
        return made

    return drawn


def _add(digest: hashlib.blake2b, value: object) -> None:
    """Add a value to the digest, with its type, so that 1, "1" and [1] differ."""
    digest.update(type(value).__name__.encode() + b"\0")
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic):
        digest.update(repr(value).encode() + b"\0")
    elif isinstance(value, np.ndarray) and value.dtype.kind in "biufcSU":
        digest.update(f"{value.dtype.str}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Image.Image):
        digest.update(f"{value.mode}{value.size}".encode())
        digest.update(value.tobytes())
    elif isinstance(value, Theme):
        digest.update(repr(value).encode())
    elif isinstance(value, Mapping):
        _add(digest, list(value.items()))
    elif isinstance(value, list | tuple):
        digest.update(str(len(value)).encode())
        for item in value:
            _add(digest, item)
    else:
        raise TypeError(type(value).__name__)
