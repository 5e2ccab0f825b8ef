"""A question about dense prediction: which of the backbone's maps the labels of a scene's pixels rest on."""

from __future__ import annotations

import numpy as np

from cfviz.words import percent

from .question import Option, Question, QuestionKind, Scene, State
from .tensors import Said, equals, firsts, ranks

SEGMENTER = "semantic_fpn_crossformer_nano"  # the bundled one
ALIKE = 0.001  # share of the pixels: smaller differences come from rounding


def stage_matters(scene: Scene, state: State, after: State) -> Question:
    """The stage without whose map most pixels of a scene get another class."""
    subject, told = scene.segmented(state["scene"])
    first, *others = told.answer.views
    known = subject.truth
    assert known is not None  # the subject is a scene
    assert known.map is not None  # of the input's size
    changed = np.array([float((view.labels != first.labels).mean()) for view in others])
    right = [float((view.labels == known.map).mean()) for view in (first, *others)]
    stages = [1 + int(view.without or 0) for view in others]
    best, least = int(changed.argmax()), int(changed.argmin())
    options = tuple(Option(str(s), "option.stage", {"n": s, "text": s}) for s in stages)
    good = firsts((o.code for o in options), ranks(changed, ALIKE))
    strides = [subject.input[0] // subject.groupings[s - 1][0].H for s in (stages[0], stages[-1])]
    fields = {
        "n": len(stages), "fine": strides[0], "coarse": strides[1], "whole": percent(right[0]),
        "best": stages[best], "share": percent(changed[best]), "left": percent(right[1 + best]),
        "least": stages[least], "least_share": percent(changed[least]),
    }  # fmt: skip
    said: Said = {
        o.code: {"its": percent(share), "now": percent(p)}
        for o, share, p in zip(options, changed, right[1:], strict=True)
    }
    return Question(
        "one", good, fields, options, equals(said, good, {"best": "code", "share": "its", "left": "now"})
    )


PIXELS: dict[str, QuestionKind] = {
    "stage_matters": QuestionKind(
        stage_matters,
        ("n", "fine", "coarse", "whole", "best", "share", "left", "least", "least_share"),
        ("scene",), ("its", "now"), frozenset(["scene"]),
    ),
}  # fmt: skip
