"""`python -m bench.gpu`: our model against the authors' code on one GPU, in a given time.

Run it once on a card: it times forwards, watched forwards and training steps in three number formats,
compares attention with the memory traffic it cannot avoid, checks that nothing waits for the processor, and
trains with what time is left. What there was no time for is counted. `--device cpu --batches 1 --size 64`
tries it anywhere.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT
from time import monotonic, perf_counter
from typing import Any

import torch

from bench.model import forward_of, reference
from bench.timing import Row, at_most, interleaved, ms, ratio, table
from cfviz import capture, create_model
from cfviz.models.crossformer.attend import attend
from cfviz.options import NUMBER_FORMATS

ROUNDS = 20
WATCHED = "layers.*.blocks.*.attn.probs"
STOP = 60  # seconds that training gets to save its state

Call = Callable[[], Any]


@dataclass(frozen=True)
class Place:
    """Where and on what to measure.

    Attributes:
        device: "cuda" or "cpu".
        variant: The model's name.
        size: Side of the input in pixels.
        checkout: A checkout of the authors' code; None to measure ours alone.
    """

    device: str
    variant: str
    size: int
    checkout: Path | None

    def models(self, dtype: torch.dtype) -> dict[str, torch.nn.Module]:
        """Return our model and, if there is a checkout, the authors' with the same weights."""
        ours = create_model(self.variant, weights=None).eval()
        found: dict[str, torch.nn.Module] = {"ours": ours}
        if self.checkout:
            found["authors"] = reference(self.checkout, self.variant, ours, self.size)
        return {name: model.to(self.device, dtype) for name, model in found.items()}

    def pixels(self, batch: int, dtype: torch.dtype) -> torch.Tensor:
        """Return random normalised pixels (B, 3, H, W)."""
        return torch.randn(batch, 3, self.size, self.size, device=self.device, dtype=dtype)

    def finished(self, call: Call) -> Call:
        """Return the call together with waiting for the device."""

        def waited() -> None:
            call()
            if self.device == "cuda":
                torch.cuda.synchronize()

        return waited

    def timed(self, calls: dict[str, Call]) -> dict[str, list[float]]:
        """Time calls in turn, each with its wait for the device."""
        rounds = ROUNDS if self.device == "cuda" else 3
        return interleaved({name: self.finished(call) for name, call in calls.items()}, rounds)


def forwards(place: Place, batch: int, dtype: torch.dtype) -> Iterator[Row]:
    """Time of a forward, and of a forward whose attention is watched."""
    models, x = place.models(dtype), place.pixels(batch, dtype)

    def watched() -> None:
        with torch.inference_mode(), capture(models["ours"], WATCHED):
            models["ours"](x)

    times = place.timed(
        {**{name: forward_of(model, x) for name, model in models.items()}, "watched": watched}
    )
    what = f"{_name(dtype)}, batch {batch}"
    yield _compared(f"{what}: forward", times, batch)
    cost = ratio(times, "watched", "ours")
    yield Row(f"{what}: forward, all attention watched", f"{cost:.2f}x  ({ms(times, 'watched'):.2f} ms)")


def steps(place: Place, batch: int, dtype: torch.dtype) -> Iterator[Row]:
    """Time of a training step's forward and backward, with float32 weights under autocast."""
    models, x = place.models(torch.float32), place.pixels(batch, torch.float32)

    def step(model: torch.nn.Module) -> Call:
        def call() -> None:
            with torch.autocast(place.device, dtype, enabled=dtype != torch.float32):
                loss = model(x).float().logsumexp(1).mean()
            loss.backward()
            model.zero_grad(set_to_none=True)

        return call

    times = place.timed({name: step(model.train()) for name, model in models.items()})
    yield _compared(f"{_name(dtype)}, batch {batch}: training step", times, batch)


def roofline(place: Place, batch: int, dtype: torch.dtype) -> Iterator[Row]:
    """Time of the first stage's attention over the time of reading q, k, v and writing the result once."""
    model = create_model(place.variant, weights=None)
    groups = model.groupings(place.size, place.size)[0][0]
    heads, BG = model.num_heads[0], batch * groups.nG
    d = model.embed_dim // heads
    q, k, v = torch.randn(3, BG, heads, groups.N, d, device=place.device, dtype=dtype).unbind(0)
    bias = torch.randn(1, heads, groups.N, groups.N, device=place.device, dtype=dtype)
    n = 2 * q.numel()  # read and written once each by a copy: as much as q, k, v and the result
    source, target = torch.empty(2, n, device=place.device, dtype=dtype).unbind(0)

    def attention() -> None:
        with torch.inference_mode():
            attend(q, k, v, bias, None, d**-0.5)

    times = place.timed({"attention": attention, "copy": lambda: target.copy_(source)})
    moved = 4 * q.nbytes / 1e6
    note = f"{moved:.0f} MB in {ms(times, 'attention'):.3f} ms; copied in {ms(times, 'copy'):.3f} ms"
    what = f"{_name(dtype)}, batch {batch}: attention of stage 1 over its memory traffic"
    yield Row(what, f"{ratio(times, 'attention', 'copy'):.1f}x  ({note})")


def stays(place: Place, batch: int, dtype: torch.dtype) -> Iterator[Row]:
    """Whether a forward and a watched forward run without waiting for the GPU or copying from it."""
    what = f"{_name(dtype)}, batch {batch}: waits for the device in a forward"
    if place.device != "cuda":
        yield Row(what, "not checked: no GPU")
        return
    model, x = place.models(dtype)["ours"], place.pixels(batch, dtype)
    for name, points in (("", ()), (", watched", (WATCHED,))):
        waits = 0
        with torch.inference_mode(), capture(model, *points):
            model(x)  # makes constants
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error")
            try:
                model(x)
            except RuntimeError as error:
                if "synchroniz" not in str(error).lower():
                    raise
                waits = 1
            finally:
                torch.cuda.set_sync_debug_mode("default")
        yield at_most(what + name, waits, 0, 0, "")


PARTS = {"forward": forwards, "training": steps, "attention": roofline, "waits": stays}


def measured(place: Place, batches: list[int], formats: list[str], end: float) -> Iterator[Row]:
    """Measure every part in every format and batch size until `end`; what is left out is counted."""
    left = 0
    for name, part in PARTS.items():
        for number_format in formats:
            for batch in batches:
                if monotonic() > end:
                    left += 1
                    continue
                try:
                    yield from part(place, batch, getattr(torch, number_format))
                except torch.OutOfMemoryError:
                    yield Row(f"{number_format}, batch {batch}: {name}", "does not fit in memory")
    if left:
        yield Row("left out, the time was over", str(left))


def train(data: Path, out: Path, recipe: str, end: float) -> Row:
    """Train until `end`; the run can be resumed with the same command."""
    told = ["train", "--data", str(data), "--out", str(out), "--config", recipe]
    start = perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "cfviz", *told])
    try:
        process.wait(max(0.0, end - monotonic()))
    except subprocess.TimeoutExpired:
        process.send_signal(SIGINT)
        process.wait(STOP)
    again = " ".join(["cfviz", *told])
    return Row(f"trained with {recipe}", f"{perf_counter() - start:.0f} s; to resume: {again}")


def _compared(what: str, times: dict[str, list[float]], batch: int) -> Row:
    rate = f"{ms(times, 'ours'):.2f} ms, {batch / ms(times, 'ours') * 1e3:.0f} photos/s"
    if "authors" not in times:
        return Row(what, rate)
    note = f"{rate}; theirs {ms(times, 'authors'):.2f} ms"
    return Row(f"{what} over the authors'", f"{ratio(times, 'ours', 'authors'):.2f}x  ({note})")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def main() -> int:
    """Measure and print the table; the exit code is 0 whatever the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--variant", default="crossformer_small")
    parser.add_argument("--size", type=int, default=224, help="side of the input in pixels")
    parser.add_argument("--batches", default="1,64,256", help="photos at once")
    parser.add_argument("--formats", default=",".join(NUMBER_FORMATS), help="number formats")
    parser.add_argument("--minutes", type=float, default=10.0, help="time for everything")
    parser.add_argument(
        "--reference", type=Path, help="a checkout of the authors' repository to compare with"
    )
    parser.add_argument("--data", type=Path, help="photos to train on with what time is left")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="the folder of that run")
    parser.add_argument("--config", default="nano", help="the recipe of that run")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch finds no GPU here; --device cpu tries the script without one")
    end = monotonic() + 60 * args.minutes
    place = Place(args.device, args.variant, args.size, args.reference)
    name = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    print(f"torch {torch.__version__}, {name}", file=sys.stderr)
    rows: list[Row] = []
    for row in measured(place, [int(b) for b in args.batches.split(",")], args.formats.split(","), end):
        print(f"  {row.what}: {row.value}", file=sys.stderr, flush=True)
        rows.append(row)
    if args.data:
        rows.append(train(args.data, args.out, args.config, end))
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
