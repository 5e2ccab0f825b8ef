"""Cache keys: everything that determines a result, in one string.

Weights are identified by the SHA-256 of their file, or by their origin if there is no file. A variant's
random weights are the same every time, so equal keys mean equal weights.
"""

from __future__ import annotations

from typing import Any

from cfviz.data.decode import Photo
from cfviz.framing import centre_code, size_code
from cfviz.models.crossformer import recorded
from cfviz.ui.session.state import Settings


def joined(*parts: object) -> str:
    """Join several parts into one key."""
    return "|".join(map(str, parts))


def weights(settings: Settings, model: Any, name: str | None = None) -> str:
    """The key of a model with its weights, form of long distance attention, number format and device.

    Args:
        settings: The form of long distance attention, the number format and the device.
        model: The model.
        name: The model's name, if it is not the model of the settings.
    """
    origin = recorded(model)  # needed many times per run; the app never writes to a model
    named = settings.model if name is None else name
    return joined(named, origin.sha256 or origin.source, settings.lda, settings.dtype, settings.device)


def on_photo(settings: Settings, model: Any, photo: Photo) -> str:
    """The key of a model on a photo, which is fitted to the input as the settings say."""
    return joined(weights(settings, model), photo.sha256, framing(settings))


def framing(settings: Settings) -> str:
    """The key of how the chosen photo is fitted to the input."""
    return joined(size_code(settings.size), settings.mode, centre_code(settings.centre))
