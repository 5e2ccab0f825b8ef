"""What a component in the browser may send: one form each, checked before anything reads the message.

Any client that speaks the protocol can send a message, not only our own code in the browser: a missing field,
a string in place of a number, three thousand million for a stage. A message that does not fit its form is
dropped with a line in the log, and the page stays as it was. A form bounds every value individually; whether
a place exists in this model is for the page to decide, as it is for links.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

from cfviz.data.brush import from_url, to_url
from cfviz.figures.live.embedding import MEASURES
from cfviz.models.interventions.language import FILLS

from . import log

__all__ = [
    "ANSWER", "ATTENTION", "BIAS", "BIAS_ANSWER", "BRUSH", "COMPARE", "CROP", "DENSE", "EMBEDDING", "LAB",
    "PARTS", "PICTURE", "SIMILAR", "STORED", "SURVEY", "VIEW_ASKED", "WHOLE", "Form", "accepted",
    "row_picked",
]  # fmt: skip

Field = Callable[[Any], Any]  # returns the value to use, or raises ValueError

STAGES, BLOCKS, HEADS, SIDE = 16, 256, 256, 4096  # more than any model or map here has
LONGEST = 20_000  # characters of a text
_log = log.paced(__name__)
_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60


def whole(below: int, least: int = 0) -> Field:
    """A whole number of at least `least` and less than `below`."""

    def check(value: Any) -> int:
        if type(value) not in (int, float) or not least <= value < below or value != int(value):
            raise ValueError(f"expected a whole number from {least} to {below - 1}")
        return int(value)

    return check


def share(value: Any) -> float:
    """A number from 0 to 1."""
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise ValueError("expected a number from 0 to 1")
    return float(value)


def flag(value: Any) -> bool:
    """True or false; 1 and 0 are accepted too."""
    if type(value) not in (bool, int) or value not in (0, 1):
        raise ValueError("expected true or false")
    return bool(value)


def one_of(*words: str) -> Field:
    """One of the given words."""

    def check(value: Any) -> str:
        if type(value) is not str or value not in words:
            raise ValueError(f"expected one of {', '.join(words)}")
        return value

    return check


def text(most: int, pattern: str = "") -> Field:
    """A string of at most `most` characters, optionally matching a pattern."""

    def check(value: Any) -> str:
        if type(value) is not str or len(value) > most or (pattern and not re.fullmatch(pattern, value)):
            raise ValueError(f"expected a text of at most {most} characters")
        return value

    return check


def several(most: int, field: Field) -> Field:
    """A list of at most `most` values."""

    def check(value: Any) -> list[Any]:
        if type(value) is not list or len(value) > most:
            raise ValueError(f"expected a list of at most {most}")
        return [field(one) for one in value]

    return check


def strokes(value: Any) -> str:
    """Strokes of a brush, as a link writes them."""
    return to_url(from_url(text(LONGEST)(value)))


class Form:
    """The form of a component's message: a mapping with these fields, or one value if `fields` is a function.

    Args:
        fields: Name -> check of the value; fields not named here are dropped.
        maybe: The same for optional fields.
    """

    def __init__(self, fields: Mapping[str, Field] | Field, maybe: Mapping[str, Field] | None = None) -> None:
        self.fields, self.maybe = fields, maybe or {}

    def read(self, value: Any) -> Any:
        """The checked value, each field ready for use.

        Raises:
            ValueError: If something does not fit; the message names the field.
        """
        if not isinstance(self.fields, Mapping):
            return self.fields(value)
        if not isinstance(value, Mapping):
            raise ValueError("expected named fields")
        given = dict(self.fields) | {name: field for name, field in self.maybe.items() if name in value}
        read: dict[str, Any] = {}
        for name, field in given.items():
            try:
                read[name] = field(value.get(name))
            except ValueError as error:
                raise ValueError(f"{name} is {_short.repr(value.get(name))}; {error}") from None
        return read


def accepted(name: str, form: Form, value: Any) -> Any:
    """A component's message if it fits its form; otherwise None, and a line in the log.

    Args:
        name: The component's name, for the log.
        form: The form to check against.
        value: The message; None if the component sent nothing.
    """
    if value is None:
        return None
    try:
        return form.read(value)
    except ValueError as error:
        _log.warning("dropped what a browser said of %s: %s", name, error)
        return None


def row_picked(name: str, value: Any, rows: int) -> int | None:
    """The row chosen in a table; None if none is chosen or the table has no such row.

    Args:
        name: The table's name, for the log.
        value: The table's state, as Streamlit keeps it.
        rows: The number of rows.
    """
    chosen = value.get("selection") if isinstance(value, Mapping) else None
    picked = accepted(name, Form({"rows": several(1, whole(rows))}), chosen)
    return picked["rows"][0] if picked and picked["rows"] else None


# ---------------------------------------------------------------- the forms

_TOKEN = {"row": whole(SIDE), "col": whole(SIDE)}

ATTENTION = Form(
    {"stage": whole(STAGES), "block": whole(BLOCKS), "head": whole(HEADS), **_TOKEN},
    {"locked": flag, "need": flag},
)
COMPARE = Form(
    {"stage": whole(4), "H": whole(SIDE, 1), "W": whole(SIDE, 1), **_TOKEN, "held": flag},
    {"block": whole(BLOCKS), "side": whole(2)},
)
_MAYBE_AT = {name: whole(SIDE, -1) for name in ("box", "row", "col")}  # -1 for none
DENSE = Form(
    {
        "threshold": whole(96, 5), "view": whole(STAGES), "show": whole(STAGES), "held": flag, "truth": flag,
        "sort": one_of("score", "size", "class"), **_MAYBE_AT,
    },
    {"stage": whole(STAGES), "block": whole(BLOCKS), "head": whole(HEADS)},
)  # fmt: skip
EMBEDDING = Form({"cel": whole(4), "measure": one_of(*MEASURES), **_TOKEN})
BIAS = Form(
    {"block": whole(BLOCKS), "head": whole(HEADS)},
    {name: whole(100) for name in ("scale", "order", "Gh", "Gw")}
    | dict.fromkeys(("raw", "reach", "less", "large"), flag),
)
BIAS_ANSWER = Form({"down": whole(101), "across": whole(101), "less": flag})
BRUSH = Form({"strokes": strokes, "seq": whole(2**53)})
LAB = Form({"do": text(LONGEST), "how": one_of(*FILLS), "seq": whole(2**53)})
PARTS = Form({"place": text(40, r"\d{1,5}(\.\d{1,5})?\.[a-z]+\d{0,5}")})  # of a part to ablate
# The answer to a lesson's question; the same figures also send a place, which a lesson does not use.
ANSWER = Form({}, {"quiz": text(64), "picked": several(512, text(64))})
WHOLE = Form(
    {"page": text(40, r"[a-z_]+"), "stage": whole(STAGES), "block": whole(BLOCKS), "x": share, "y": share}
)
CROP = Form({"x": share, "y": share})  # its centre, from the left and from the top
PICTURE = Form(text(200))  # a photo's id
SIMILAR = Form({"stage": whole(STAGES), "x": share, "y": share})
SURVEY = Form({"place": text(24, r"fields|channel(\.\d{1,4}){3}|head(\.\d{1,3}){3}")})
STORED = Form(text(LONGEST))  # a student's progress
VIEW_ASKED = Form(one_of("photo", "input", "full", "leave", "next", "back"))
