"""The code shown in the lab: each piece runs on its own and computes what its figure shows."""

from __future__ import annotations

from collections.abc import Sequence

from cfviz import point_names
from cfviz.data.samples import gallery
from cfviz.models.interventions.language import dump
from cfviz.ui.compute.models import model_code
from cfviz.ui.session.photos import photo_code

from .bench import Bench


def changed(bench: Bench, watch: Sequence[str] = ()) -> str:
    """The answer before and after the changes.

    Args:
        bench: The bench.
        watch: Points whose activations to keep as well.
    """
    s = bench.ctx.settings
    photo, size = photo_code(s.photo), f"size={s.size}"
    extra, arguments, more = "", "", ""
    if any(one.how == "mean" for one in bench.active):
        extra += f"{_means(s.size)}means = collect(model, images, do)\n"
        arguments += ", means=means"
    if any(one.how == "replace" and one.value is None for one in bench.active):
        extra += f"""
from cfviz.models.interventions.apply import needed
with apply(model, [part for part in do if part.structural]):      # the other photo, partitioned the same way
    donor = cfviz.inspect({photo_code(bench.other)}, model, {size}, watch=needed(model, do, "replace")).arrays
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

model = {model_code(bench.model)}
do = parse('{dump(bench.active)}')
{extra}
before = cfviz.inspect({photo}, model, {size}{more})
with apply(model, do{arguments}):
    after = cfviz.inspect({photo}, model, {size}{more})
print(after.top(5), after.logits - before.logits)
"""


def _means(size: int) -> str:
    """Code for the means over the gallery."""
    return f"""
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import gallery
from cfviz.models.interventions.effects import collect
images = [prepare(load_image(entry.path), {size}).tensor for entry in gallery()]     # {len(gallery())} photos
"""


def effects(bench: Bench) -> str:
    """The effect of every part on the answer."""
    s = bench.ctx.settings
    extra, arguments = {
        "mean": (f"{_means(s.size)}means = collect(model, images, every)\n", ", means=means"),
        "replace": (
            f"""
from cfviz.models.interventions.apply import needed
watch = needed(model, every, "replace")
donor = cfviz.inspect({photo_code(bench.other)}, model, size={s.size}, watch=watch).arrays
""",
            ", donor=donor",
        ),
    }.get(bench.how, ("", ""))
    return f"""
import cfviz
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import sample
from cfviz.models.interventions.effects import effects, parts

model = {model_code(bench.model)}
x = prepare(load_image({photo_code(s.photo)}), {s.size}).tensor
every = parts(model, "{bench.how}", ({s.size}, {s.size}))
{extra}
plain, *changed = effects(model, x, [(), *((part,) for part in every)]{arguments})
winner = plain.argmax()
order = sorted(zip(changed, every), key=lambda pair: pair[0][winner])
for logits, part in order[:10]:
    print(part.to_url(), logits[winner] - plain[winner])
"""


def stages(bench: Bench) -> str:
    """The change of each stage's tokens and of the attention they receive."""
    count = len(bench.model.depths)
    return f"""{changed(bench, bench.watch)}
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


def heads(bench: Bench, point: str) -> str:
    """Where each head of one block attends, before and after.

    Args:
        bench: The bench.
        point: The point of the block's attention.
    """
    s, b, _ = point_names.parse(point)
    return f"""{changed(bench, [point])}
from cfviz.analysis.lab import attention_received

for head in range(before[watch[0]].shape[1]):
    maps = [  # H, W: 1 on average
        attention_received(trace[watch[0]][:, head : head + 1], trace.grouping({s}, {b}))
        for trace in (before, after)
    ]
    print(head + 1, abs(maps[1] - maps[0]).mean())
"""
