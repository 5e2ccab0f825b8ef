"""The code shown in the lab: each piece runs on its own and computes what its figure shows."""

from __future__ import annotations

from collections.abc import Sequence

from cfviz import point_names
from cfviz.data.brush import Stroke, to_url
from cfviz.data.samples import gallery
from cfviz.models.interventions.language import dump
from cfviz.ui.compute.models import model_code
from cfviz.ui.session.photos import photo_code
from cfviz.ui.session.state import Settings

from .experiment import Experiment


def changed(experiment: Experiment, watch: Sequence[str] = ()) -> str:
    """The answer before and after the changes.

    Args:
        experiment: The experiment.
        watch: Points whose activations to keep as well.
    """
    s = experiment.ctx.settings
    photo, size, other = photo_code(s.photo), f"size={s.framing_code}", f"size={s.elsewhere.framing_code}"
    extra, arguments, more = "", "", ""
    if any(one.how == "mean" for one in experiment.active):
        extra += f"{_means(s)}means = collect(model, images, do)\n"
        arguments += ", means=means"
    if any(one.how == "replace" and one.value is None for one in experiment.active):
        extra += f"""
from cfviz.models.interventions.apply import needed
with apply(model, [part for part in do if part.structural]):      # the other photo, partitioned the same way
    points = needed(model, do, "replace")
    donor = cfviz.inspect({photo_code(experiment.other)}, model, {other}, watch=points).arrays
"""
        arguments += ", donor=donor"
    if watch:
        listed = ",\n    ".join(f'"{point}"' for point in watch)
        extra += f"watch = [\n    {listed},\n]\n"
        more = ", watch=watch"
    return f"""
import cfviz
from cfviz.data.samples import sample
from cfviz.models.interventions.apply import apply
from cfviz.models.interventions.language import parse

model = {model_code(experiment.model)}
do = parse('{dump(experiment.active)}')
{extra}
before = cfviz.inspect({photo}, model, {size}{more})
with apply(model, do{arguments}):
    after = cfviz.inspect({photo}, model, {size}{more})
print(after.top(5), after.logits - before.logits)
"""


def _means(settings: Settings) -> str:
    """Code for the means over the gallery."""
    framing = settings.elsewhere.framing_code
    return f"""
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import gallery
from cfviz.models.interventions.effects import collect
images = [prepare(load_image(entry.path), {framing}).tensor for entry in gallery()]  # {len(gallery())} photos
"""


def brushed(experiment: Experiment, strokes: Sequence[Stroke]) -> str:
    """The answer and the attention before and after strokes of the brush."""
    s, points = experiment.ctx.settings, experiment.watch[len(experiment.model.depths) :]
    listed = "".join(f'    "{point}",\n' for point in points)
    return f"""
import cfviz
from cfviz.analysis.lab import attention_received
from cfviz.data.samples import sample

model = {model_code(experiment.model)}
photo = cfviz.load_image({photo_code(s.photo)})
brushed = photo.brushed("{to_url(strokes)}")   # or a list of dicts: brushed.strokes[0].to_dict()
watch = [
{listed}]
before, after = (cfviz.inspect(one, model, size={s.framing_code}, watch=watch) for one in (photo, brushed))
print(after.top(5), after.logits - before.logits)
after.crop.show()  # the pixels that the model saw
for point in watch:
    stage, block = int(point.split(".")[1]), int(point.split(".")[3])
    maps = [attention_received(trace[point], trace.grouping(stage, block)) for trace in (before, after)]
    print(stage + 1, abs(maps[1] - maps[0]).mean())
"""


def effects(experiment: Experiment) -> str:
    """The effect of every part on the answer."""
    s = experiment.ctx.settings
    photo, other = photo_code(s.photo), photo_code(experiment.other)
    extra, arguments = {
        "mean": (f"{_means(s)}means = collect(model, images, every)\n", ", means=means"),
        "replace": (
            f"""
from cfviz.models.interventions.apply import needed
watch = needed(model, every, "replace")
donor = cfviz.inspect({other}, model, size={s.elsewhere.framing_code}, watch=watch).arrays
""",
            ", donor=donor",
        ),
    }.get(experiment.how, ("", ""))
    target = "plain.argmax()" if experiment.chosen < 0 else experiment.target
    measure = {
        "probability": "100 * (softmax(logits)[target] - softmax(plain)[target])",
        "logit": "logits[target] - plain[target]",
    }[experiment.by]
    return f"""
import cfviz
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import sample
from cfviz.models.interventions.effects import effects, parts
from cfviz.stats import softmax

model = {model_code(experiment.model)}
x = prepare(load_image({photo}), {s.framing_code}).tensor
every = parts(model, "{experiment.how}", {s.sides})
{extra}
plain, *changed = effects(model, x, [(), *((part,) for part in every)]{arguments})
target = {target}
found = [({measure}, part) for logits, part in zip(changed, every)]
for change, part in sorted(found, key=lambda one: -abs(one[0]))[:10]:
    print(part.to_url(), change)
"""


def stages(experiment: Experiment) -> str:
    """The change of each stage's tokens and of the attention they receive."""
    count = len(experiment.model.depths)
    return f"""{changed(experiment, experiment.watch)}
from cfviz.analysis.embedding import relative_change
from cfviz.analysis.lab import attention_received

ends, attention = watch[:{count}], watch[{count}:]           # the stages' outputs; their attention
for end, point in zip(ends, attention):
    s, b = int(point.split(".")[1]), int(point.split(".")[3])
    moved = relative_change(after[end], before[end])       # H, W: relative change of every token
    maps = [  # H, W: 1 on average
        attention_received(trace[point], trace.grouping(s, b)) for trace in (before, after)
    ]
    print(s + 1, moved.mean(), abs(maps[1] - maps[0]).mean())
"""


def heads(experiment: Experiment, point: str) -> str:
    """Where each head of one block attends, before and after.

    Args:
        experiment: The experiment.
        point: The point of the block's attention.
    """
    s, b, _ = point_names.parse(point)
    return f"""{changed(experiment, [point])}
from cfviz.analysis.lab import attention_received

for head in range(before[watch[0]].shape[1]):
    maps = [  # H, W: 1 on average
        attention_received(trace[watch[0]][:, head : head + 1], trace.grouping({s}, {b}))
        for trace in (before, after)
    ]
    print(head + 1, abs(maps[1] - maps[0]).mean())
"""
