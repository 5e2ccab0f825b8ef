"""What a model can answer at all, and what that means for its answer to one photo: sentences and a list.

A classifier always answers with one of its classes, even if the photo shows none of them. Wherever an answer
is shown, `sentence` says what is known about it, and `classes_html` lists the classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Literal

from cfviz.words import Translator, percent, together

LONG = 60  # classes above which a list can be searched
UNSURE, SURE = 0.5, 0.8  # what counts as an unsure and as a sure wrong answer, as the sentence says
Verdict = Literal["none", "right", "wrong", "unknown"]


def verdict(first: int, shown: Sequence[int] | None) -> Verdict:
    """Return what is known about an answer.

    Args:
        first: Index of the top class.
        shown: Indices of the classes that the photo shows, as in `Trace.shown`.

    Returns:
        "none" if the photo shows none of the model's classes, so that no answer can be right.
    """
    if shown is None:
        return "unknown"
    if not shown:
        return "none"
    return "right" if first in shown else "wrong"


def sentence(t: Translator, names: Sequence[str], first: int, p: float, shown: Sequence[int] | None) -> str:
    """Return one sentence on what the model can answer and whether its answer can be right.

    Args:
        t: The reader's language.
        names: Names of the model's classes in that language, not empty.
        first: Index of the top class.
        p: Probability of that class.
        shown: Indices of the classes that the photo shows, as in `Trace.shown`.
    """
    found = verdict(first, shown)
    if found == "unknown" and len(names) == 1:
        return t("answer.single", name=names[0])
    truth = t("answer.or").join(names[index] for index in shown or ())
    return t(f"answer.{found}", n=f"{len(names):,}", name=names[first], p=percent(p), truth=truth)


def aside(t: Translator, names: Sequence[str], first: int, shown: Sequence[int] | None) -> str:
    """Return a short sentence for a text that states an answer: why it cannot be, or is not, right.

    Args:
        t: The reader's language.
        names: Names of the model's classes in that language.
        first: Index of the top class.
        shown: Indices of the classes that the photo shows, as in `Trace.shown`.

    Returns:
        The sentence; empty if the answer is right, or if nothing is known.
    """
    found = verdict(first, shown)
    if found == "none":
        return t("answer.aside_none", n=f"{len(names):,}")
    truth = t("answer.or").join(names[index] for index in shown or ())
    return t("answer.wrong", truth=truth) if found == "wrong" else ""


def confidence(t: Translator, found: Mapping[str, Any] | None, p: float, known: Verdict = "unknown") -> str:
    """Return what an answer's probability is worth, as far as it was measured; empty if it was not.

    Args:
        t: The reader's language.
        found: `calibration` of the model's card, as `training.measure.calibration` makes it.
        p: Probability of the answer.
        known: What is known about the answer. How often such answers are right is said of photos that may
            show one of the classes; how sure it was of others, of photos that may show none; how sure it was
            of wrong answers, of a wrong one.
    """
    if found is None:
        return ""
    said = []
    one = _row(found, p)
    if known != "none" and one:
        low, high = (f"{100 * one[name]:.0f}" for name in ("from", "to"))
        n, right = f"{one['photos']:,}", f"{100 * one['right']:.0f}"
        said.append(t("answer.calibrated", low=low, high=high, right=right, n=n))
    if known == "wrong" and (shares := _wrong(found)):
        unsure, sure = (f"{100 * share:.0f}" for share in shares)
        said.append(t("answer.wrong_sure", unsure=unsure, sure=sure))
    if known in ("none", "unknown") and (others := found.get("others")):
        key = "answer.others_none" if known == "none" else "answer.others"
        most, median = (f"{100 * others[name]:.0f}" for name in ("most", "median"))
        said.append(t(key, n=others["pictures"], median=median, most=most))
    return together(*said)


def _wrong(found: Mapping[str, Any]) -> tuple[float, float] | None:
    """Of the wrong answers of the table: the shares given with under 50 %, and with 80 % or more."""
    wrong = [(one["from"], one["to"], one["photos"] * (1 - one["right"])) for one in found["bins"]]
    total = sum(n for _, _, n in wrong)
    if not total:
        return None
    unsure, sure = (
        sum(n for _, to, n in wrong if to <= UNSURE),
        sum(n for low, _, n in wrong if low >= SURE),
    )
    return unsure / total, sure / total


def confidence_help(t: Translator, found: Mapping[str, Any] | None, p: float) -> str | None:
    """Return how the number of `confidence` was measured, and why probabilities are not rescaled."""
    one = _row(found, p)
    if found is None or one is None:
        return None
    low, high = (f"{100 * one[name]:.0f}" for name in ("low", "high"))
    before, after = (f"{100 * value:.1f}" for value in found["ece"])
    n = f"{found['fitted_on'] + found['tested_on']:,}"
    about = {"n": n, "size": found["size"], "temperature": f"{found['temperature']:.2f}"}
    return t("answer.calibrated_help", low=low, high=high, before=before, after=after, **about)


def _row(found: Mapping[str, Any] | None, p: float) -> Mapping[str, Any] | None:
    """The row of the table that a probability belongs to."""
    rows = found["bins"] if found else ()
    return next((one for one in rows if one["from"] <= p < one["to"] or p == one["to"] == 1), None)


def list_title(t: Translator, names: Sequence[str]) -> str:
    """Return the title of the list of classes."""
    return t("answer.list", n=f"{len(names):,}") if len(names) != 1 else t("answer.list_single")


def classes_html(names: Sequence[str]) -> str:
    """Return the names of the classes as an HTML list, in alphabetical order."""
    rows = "".join(f"<li>{escape(name)}</li>" for name in sorted(names, key=str.casefold))
    return f'<ul class="cf-classes">{rows}</ul>'


def folded_list(t: Translator, names: Sequence[str]) -> str:
    """Return the list of classes as an HTML element that one click opens; a long one can be searched.

    The search is the work of `cfviz/web/known/known.js`; without it the list is only not narrowed down.
    """
    label = escape(t("answer.search"))
    search = f'<input type="search" placeholder="{label}" aria-label="{label}">' if len(names) > LONG else ""
    return (
        f'<details class="cf-known"><summary>{escape(list_title(t, names))}</summary>'
        f"{search}{classes_html(names)}</details>"
    )
