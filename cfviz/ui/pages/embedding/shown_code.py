"""The code shown on the cross-scale embedding page: each piece computes what its figure shows."""

from __future__ import annotations

from cfviz.ui.compute.models import model_code
from cfviz.ui.context import Context
from cfviz.ui.session import photos

from .subject import EmbeddingSubject


def shares(ctx: Context) -> str:
    """Each kernel's contribution to the tokens of the first layer."""
    photo = photos.photo_code(ctx.settings.photo)
    return f"""
import cfviz
from cfviz.analysis.embedding import carried_shares, caused_shares, kernel_norms, normalised
from cfviz.data.samples import sample

model = {model_code(ctx.model)}
trace = cfviz.inspect({photo}, model, size={ctx.settings.framing_code}, watch="patch_embed.concat")
x = trace["patch_embed.concat"]                               # H, W, C: the kernels side by side
channels = [conv.out_channels for conv in model.patch_embed.projs]   # D/2, D/4, D/8, D/8
gain = model.patch_embed.norm.weight.detach().float().numpy()

kernel_norms(x, channels)                       # K, H, W: norm of each kernel's part, before the LayerNorm
carried_shares(normalised(x, gain), channels)   # K, H, W: share of the normalised token's energy, sums to 1
caused_shares(x, channels, gain)                # K, H, W: share that each kernel contributes, sums to 1
"""


def _knocked(ctx: Context, method: str, other: str) -> str:
    framing, other_framing = ctx.settings.framing_code, ctx.settings.elsewhere.framing_code
    filling = {
        "zero": "fill = {}    # no activations: zeros",
        "mean": """images = [prepare(load_image(entry.path), 224).tensor for entry in gallery()]
fill = {point: x.mean((0, 1, 2)) for point, x in responses(model, images).items()}   # gallery mean""",
        "photo": f"""image_b = prepare(load_image({photos.photo_code(other)}), {other_framing}).tensor
fill = {{point: x[0] for point, x in responses(model, [image_b]).items()}}  # from another photo""",
    }[method]
    return f"""
import cfviz
from cfviz.analysis.embedding import prediction_changes, relative_change
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import gallery, sample
from cfviz.models.probes.embedding import knock_outs, responses

model = {model_code(ctx.model)}
image = prepare(load_image({photos.photo_code(ctx.settings.photo)}), {framing}).tensor
{filling}
"""


def knock(ctx: Context, method: str, other: str, points: list[str], target: int = -1) -> str:
    """What the answer loses without each kernel.

    Args:
        ctx: The page.
        method: What replaces a kernel's output: zero, mean or photo.
        other: Id of the photo whose activations replace the kernel's.
        points: The kernels' points.
        target: Index of the class to explain; -1 for the predicted one.
    """
    asked = "" if target < 0 else f", {target}"
    listed = ",\n    ".join(f'"{point}"' for point in points)
    return f"""{_knocked(ctx, method, other)}points = [
    {listed},
]
changes = [{{point: fill.get(point, 0.0)}} for point in points]
logits = knock_outs(model, image, [*changes, {{}}], [])["logits"]       # the last one is unchanged
prediction_changes(logits[:-1], logits[-1]{asked})   # logit, probability, winner, kl: one value per kernel
"""


def later(ctx: Context, method: str, other: str, point: str, ends: tuple[str, ...]) -> str:
    """How far the tokens of each stage move without one kernel.

    Args:
        ctx: The page.
        method: As for `knock`.
        other: As for `knock`.
        point: The kernel's point.
        ends: The points where the stages end.
    """
    return f"""{_knocked(ctx, method, other)}ends = {list(ends)}
found = knock_outs(model, image, [{{"{point}": fill.get("{point}", 0.0)}}, {{}}], ends)
[relative_change(found[end][0], found[end][1]) for end in ends]   # H, W: relative change of every token
"""


def reads(ctx: Context, stage: int) -> str:
    """How much of query, key and value reads each kernel of one layer."""
    return f"""
import cfviz
from cfviz.analysis.embedding import read_shares
from cfviz.models.probes.embedding import layer

model = {model_code(ctx.model)}
cel = layer(model, {stage})                              # CEL {stage + 1} as arrays
for weight, gain in list(zip(cel.qkv, cel.norm1))[:2]:   # blocks 1 and 2
    print(read_shares(weight, gain, cel.channels))       # 3, K: query, key, value; each sums to 1
"""


def places(ctx: Context) -> str:
    """Where the kernels of the later layers read within their windows."""
    return f"""
import cfviz
from cfviz.analysis.embedding import tap_strengths

model = {model_code(ctx.model)}
for stage in model.stages[:3]:
    for conv in stage.downsample.reductions:
        print(tap_strengths(conv.weight.detach().float().numpy()))   # D_i, C_in, k, k -> k, k
"""


def filters(ctx: Context) -> str:
    """The first layer's filters as pictures."""
    return f"""
import cfviz
from cfviz.analysis.spectrum import filter_images, image_sheet

model = {model_code(ctx.model)}
for conv in model.patch_embed.projs:
    weight = conv.weight.detach().float().numpy()     # D_i, 3, k, k
    picture = image_sheet(filter_images(weight), columns=6)  # each scaled to its largest weight; grey is 0
"""


def spectra(ctx: Context) -> str:
    """The radial power of the first layer's filters."""
    return f"""
import cfviz
from cfviz.analysis.spectrum import radial_power

model = {model_code(ctx.model)}
for conv in model.patch_embed.projs:
    weight = conv.weight.detach().float().numpy()     # D_i, 3, k, k
    frequency, power = radial_power(weight)           # padded to 64 x 64, mean over rings
"""


def patches(ctx: Context, point: str, stage: int, channel: int) -> str:
    """The places in the gallery that excite one channel most."""
    return f"""
import cfviz
from cfviz.analysis.embedding import strongest_positions
from cfviz.data.images import load_image, prepare
from cfviz.data.samples import gallery
from cfviz.models.probes.embedding import responses

model = {model_code(ctx.model)}
images = [prepare(load_image(photo.path), 224).tensor for photo in gallery()]
maps = responses(model, images, stages=({stage},))["{point}"][..., {channel}]   # n, H, W
strongest_positions(maps, 10)                             # photo, row, column, response
"""


def patterns(ctx: Context, name: str, stage: int) -> str:
    """Contribution against scale on a test pattern."""
    return f"""
import cfviz
import numpy as np
from cfviz.analysis.embedding import box_mean, carried_shares, normalised
from cfviz.data.patterns import SCALES, pattern
from cfviz.models.probes.embedding import layer, normalise, responses

model = {model_code(ctx.model)}
cel = layer(model, {stage})
pictures = np.stack([pattern("{name}", scale, 224) for scale in SCALES])
seen = responses(model, normalise(model, pictures), stages=({stage},))
tokens = np.concatenate([seen[point] for point in cel.points], -1)
shares = carried_shares(normalised(tokens, cel.gain, cel.eps), cel.channels)   # K, scales, H, W
box_mean(shares, (0.2, 0.8), (0.2, 0.8))                                 # the middle, away from the padding
"""


def others(subject: EmbeddingSubject, stage: int) -> str:
    """Other embeddings and their costs."""
    layer = subject.layers[stage]
    return f"""
from cfviz.analysis.embedding_cost import at_equal_cost, embeddings

designs = embeddings(stage={stage}, inputs={layer.weights[0].shape[1]}, dim={sum(layer.channels)})
for design in designs:  # multiply-adds per token; channels that the first design's cost pays for
    print(design.name, design.kernels, design.macs, at_equal_cost(design, designs[0].macs))
"""
