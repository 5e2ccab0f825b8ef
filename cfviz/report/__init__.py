"""A session as one HTML file that opens offline, for a CrossFormer or a model of timm."""

from typing import Any

from cfviz.measured.survey import Survey
from cfviz.trace import Trace

from . import others, page
from .page import ADDRESS, WATCH, Origin

__all__ = ["ADDRESS", "WATCH", "Origin", "html"]


def html(
    trace: Trace,
    model: Any,
    origin: Origin,
    lang: str = "en",
    parts: bool | None = None,
    survey: Survey | None = None,
    operations: bool | None = None,
) -> str:
    """Build the report of a CrossFormer (see `page.html`) or of a model of timm (see `others.html`).

    Raises:
        ValueError: As they do; and if a survey is given with a model of timm.
    """
    if not trace.schemes:
        return page.html(trace, model, origin, lang, parts, survey, operations)
    if survey is not None:
        raise ValueError(
            "a survey looks into CrossFormer's embedding kernels, stages and position bias, but "
            f"{trace.model} is one of timm's models: leave the survey out"
        )
    return others.html(trace, model, origin, lang, parts, timed=operations)
