"""Where a browser's messages come in: values that a widget cannot have are values that did not come.

Streamlit trusts what a browser sends of its own widgets: a number for a select box, a text that is no option,
half a JSON text. The widget's reader then fails in every run of the session, and the page is one redacted
sentence until the reader leaves. Streamlit has no place to check values before that, so the one method that
reads them is wrapped.
"""

from __future__ import annotations

import logging
import reprlib
from functools import cache, wraps
from typing import Any

from streamlit.runtime.state import session_state
from streamlit.runtime.state.session_state import Serialized, Value, WStates

__all__ = ["guard"]

_log = logging.getLogger(__name__)


@cache
def guard() -> None:
    """Once a process: let every value of a widget be checked when it is first read."""
    read = WStates.__getitem__

    @wraps(read)
    def checked(states: WStates, widget: str) -> Any:
        kept, about = states.states.get(widget), states.widget_metadata.get(widget)
        if about is None or not isinstance(kept, Serialized):
            return read(states, widget)
        try:
            came = kept.value.WhichOneof("value")
            if came is not None and came != about.value_type:
                raise ValueError(f"expected {about.value_type}, got {came}")
            value = about.deserializer(session_state.unpack_widget_state_value(kept.value))
            _of_the_options(about.deserializer, value)
        except Exception as error:  # whatever a reader of values meets in one that was made up
            _log.warning("dropped what a browser said of %s: %s", widget[-60:], reprlib.repr(str(error)))
            value = about.deserializer(None)
        states.states[widget] = Value(value)
        return value

    WStates.__getitem__ = checked  # type: ignore[method-assign]


def _of_the_options(reader: Any, value: Any) -> None:
    """Refuse a choice that was not on offer; Streamlit hands a text that is no option through."""
    options = getattr(getattr(reader, "__self__", None), "options", None)
    if options is None:
        return
    for one in value if isinstance(value, list) else [value]:
        if one is not None and one not in options:
            raise ValueError("not one of the options")
