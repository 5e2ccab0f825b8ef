"""Benchmarks of the model: against the authors' code, watched against unwatched, large against small."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any, cast
from unittest.mock import patch

import timm
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.rivals import rivals
from bench.timing import Row, at_most, interleaved, ms, ratio
from cfviz import capture, points
from cfviz.hooks import HookPoint
from cfviz.models import CrossFormer
from cfviz.models.crossformer import attend
from cfviz.models.crossformer.linear import _FUSED
from cfviz.models.probes.cost import cost
from cfviz.models.probes.formats import multiplies_bfloat16
from cfviz.models.variants import VARIANTS

FP32, BF16 = torch.float32, torch.bfloat16


def against_reference(checkout: Path, variant: str, rounds: int) -> Iterator[Row]:
    """Time of our model over that of the authors' code, and of whatever else runs it: same weights, 224 px.

    All take turns, so each finds the processor's cache as the others left it.
    """
    ours = _model(variant)
    theirs = reference(checkout, variant, ours)
    half = _model(variant, BF16)
    half.load_state_dict(ours.state_dict())
    for batch, targets in ((1, (0.70, 0.52)), (8, (0.68, 0.43))):
        x = torch.randn(batch, 3, 224, 224)
        others = {"the authors' code": forward_of(theirs, x), **rivals(theirs, x)}
        run = {name: call for name, call in others.items() if not isinstance(call, str)}
        with torch.inference_mode():
            logits = ours(x)
            for name, call in run.items():
                worst = (logits - call()).abs().max() / logits.abs().max()
                assert worst < 1e-4, f"{name} differs by {worst:.1e}"
        calls = {"fp32": forward_of(ours, x), "bf16": forward_of(half, x.to(BF16)), **run}
        times = interleaved(calls, max(3, rounds // batch))
        authors = "the authors' code"
        what = f"{variant}, batch {batch}"
        for name, target in zip(("fp32", "bf16"), targets, strict=True):
            note = f"{ms(times, name):.1f} ms, theirs {ms(times, authors):.1f} ms"
            row, share = f"{what}: our {name} over {authors}", ratio(times, name, authors)
            if name == "fp32" or multiplies_bfloat16("cpu"):
                yield at_most(row, share, target, note=note)
            else:
                yield Row(row, f"{share:.2f}x  ({note}; no target: no instructions for bfloat16 here)")
        for name, found in others.items():
            if name == authors:
                continue
            if isinstance(found, str):
                yield Row(f"{what}: our fp32 over theirs, {name}", found)
                continue
            note = f"{ms(times, name):.1f} ms; over {authors} {ratio(times, name, authors):.2f}x"
            yield at_most(f"{what}: our fp32 over theirs, {name}", ratio(times, "fp32", name), 1, note=note)
        rate, peak = 2 * cost(ours)["total"].macs * batch / ms(times, "fp32") / 1e6, _peak()  # GFLOP/s
        yield Row(
            f"{what}: our fp32, share of the peak", f"{rate / peak:.0%}  ({rate:.0f} of {peak:.0f} GFLOP/s)"
        )


def _peak() -> float:
    """The fastest float32 matrix product that PyTorch computes here, in GFLOP/s."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    calls: dict[str, Callable[[], object]] = {"mm": lambda: a @ b}
    if _FUSED is not None:
        calls["oneDNN"] = lambda: _FUSED(a, b, None, "none", [], "none")
    with torch.inference_mode():
        times = interleaved(calls, 5)
    return 2 * 2048**3 / min(min(each) for each in times.values()) / 1e9


def watching(rounds: int) -> Iterator[Row]:
    """The cost of watching points, and of having them when none is watched."""
    model, x = _model("crossformer_tiny"), torch.randn(1, 3, 224, 224)

    def watched() -> None:
        with torch.inference_mode(), capture(model, "layers.*.blocks.*.attn.probs"):
            model(x)

    times = interleaved({"watched": watched, "plain": forward_of(model, x)}, rounds)
    cost = 100 * (ratio(times, "watched", "plain") - 1)
    yield at_most("Tiny, watching all probabilities", cost, 35, 0, " % of the forward")
    point, calls, n = HookPoint(), len(points(model)), 100_000
    start = perf_counter()
    for _ in range(n):
        point(x)
    seconds = (perf_counter() - start) / n * calls
    idle = 100 * seconds * 1e3 / ms(times, "plain")
    note = f"{calls} points, {seconds * 1e6:.0f} µs"
    yield at_most("Tiny, points that nobody watches", idle, 0.5, 2, " % of the forward", note)


def scaling(rounds: int) -> Iterator[Row]:
    """Time and memory from 224 to 1024 px: 20.9 times the pixels."""
    model = _model("crossformer_small")
    small, large = torch.randn(1, 3, 224, 224), torch.randn(1, 3, 1024, 1024)
    times = interleaved(
        {"large": forward_of(model, large), "small": forward_of(model, small)}, max(3, rounds // 8)
    )
    note = f"{ms(times, 'large') / 1e3:.2f} s"
    yield at_most("Small, 1024 px over 224 px", ratio(times, "large", "small"), 21, 1, note=note)
    fresh = _model("crossformer_small")
    forward_of(fresh, large)()
    held = sum(block.attn.cache.nbytes for stage in fresh.stages for block in stage.block_list)
    yield at_most("Small at 1024 px, masks and biases kept", held / 1e6, 20, 1, " MB")


def whole(rounds: int) -> Iterator[Row]:
    """Time of long distance attention over the whole map over that within regions, at 800 x 1216 px.

    At most that of the multiply-adds. With more than one thread it depends on what else runs: a thread that
    waits for a processor holds up all others at the end of each step.
    """
    height, width = 800, 1216
    x = torch.randn(1, 3, height, width)
    for variant in ("crossformer_small", "crossformer_nano"):
        regions, over = _model(variant), _model(variant)
        over.load_state_dict(regions.state_dict())
        over.set_grouping(lda="whole")
        times = interleaved(
            {"whole": forward_of(over, x), "regions": forward_of(regions, x)}, max(3, rounds // 4)
        )
        allowed = cost(over, height, width)["total"].macs / cost(regions, height, width)["total"].macs
        ratios = [a / b for a, b in zip(times["whole"], times["regions"], strict=True)]
        note = f"{min(ratios):.2f} to {max(ratios):.2f}, {torch.get_num_threads()} threads"
        what = f"{variant}, {height} x {width} px: whole map over regions"
        yield at_most(what, ratio(times, "whole", "regions"), round(allowed, 2), note=note)


def halves(rounds: int) -> Iterator[Row]:
    """Time of bf16 over float32 for the bundled variant."""
    model, half = _model("crossformer_nano"), _model("crossformer_nano", BF16)
    x = torch.randn(1, 3, 224, 224)
    times = interleaved({"bf16": forward_of(half, x.to(BF16)), "fp32": forward_of(model, x)}, rounds)
    yield Row(
        "nano bf16 over fp32, batch 1",
        f"{ratio(times, 'bf16', 'fp32'):.2f}x  ({ms(times, 'bf16'):.1f} ms, fp32 {ms(times, 'fp32'):.1f} ms)",
    )


def training(rounds: int) -> Iterator[Row]:
    """Forward and backward of a training step over the same with PyTorch's own attention, in bf16."""
    model, x = timm.create_model("crossformer_nano"), torch.randn(8, 3, 224, 224)

    def step() -> None:
        with torch.autocast("cpu", dtype=BF16):
            loss = model(x).float().logsumexp(1).mean()
        loss.backward()

    def plain() -> None:
        with patch.object(attend, "_written_out", _scaled_dot_product):
            step()

    times = interleaved({"ours": step, "plain": plain}, max(5, rounds // 3))
    note = f"{ms(times, 'ours'):.0f} ms, PyTorch's {ms(times, 'plain'):.0f} ms"
    yield at_most("nano, batch 8, training on a CPU", ratio(times, "ours", "plain"), 0.9, note=note)


def _scaled_dot_product(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)


def _model(variant: str, dtype: torch.dtype = FP32) -> CrossFormer:
    return cast(CrossFormer, timm.create_model(variant)).eval().to(dtype)


def forward_of(model: Any, x: torch.Tensor) -> Callable[[], Any]:
    """A call that runs the model without gradients."""

    def call() -> Any:
        with torch.inference_mode():
            return model(x)

    return call


def reference(checkout: Path, variant: str, ours: CrossFormer, size: int = 224) -> Any:
    """The authors' model with our weights, for one input size, from a checkout of their repository."""
    path = checkout / "models" / "crossformer.py"
    if not path.is_file():
        raise ValueError(f"{checkout} is no checkout of the authors' code: it has no models/crossformer.py")
    spec = importlib.util.spec_from_file_location("reference_crossformer", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    config = VARIANTS[variant]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        spec.loader.exec_module(module)
        theirs = module.CrossFormer(
            img_size=size,
            num_classes=ours.num_classes,
            patch_size=[4, 8, 16, 32],
            merge_size=[[2, 4]] * 3,
            mlp_ratio=[4.0] * 4,
            embed_dim=config["embed_dim"],
            depths=list(config["depths"]),
            num_heads=list(config["num_heads"]),
            group_size=list(config["group_size"]),
            crs_interval=list(config["interval"]),
            use_acl=config.get("cooling", False),
        ).eval()
    missing = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert not missing.missing_keys, missing
    return theirs
