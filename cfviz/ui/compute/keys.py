"""Keys of what is computed once: all that decides a result, in one string.

Weights are named by their file's SHA-256, or by where they come from if there is no file. Random weights of a
variant are the same every time, so equal keys mean equal weights.
"""

from __future__ import annotations

from typing import Any

from cfviz.data.decode import Photo
from cfviz.models.crossformer import recorded
from cfviz.ui.session.state import Settings


def joined(*parts: object) -> str:
    """Several parts as one key."""
    return "|".join(map(str, parts))


def weights(settings: Settings, model: Any, name: str | None = None) -> str:
    """A model with its weights, number format and device.

    Args:
        settings: The number format and the device.
        model: The model.
        name: What it is called, where it is not the model of the settings.
    """
    origin = recorded(model)  # asked many times a run, and the app writes to no model
    named = settings.model if name is None else name
    return joined(named, origin.sha256 or origin.source, settings.dtype, settings.device)


def on_photo(settings: Settings, model: Any, photo: Photo) -> str:
    """The same, on a photo at the size of the settings."""
    return joined(weights(settings, model), photo.sha256, settings.size)
