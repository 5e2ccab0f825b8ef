"""What a forward computes: a tree of its operations, with shapes, counts and measured time.

The operations are those of real forwards, recorded by a `TorchFunctionMode`: it sees the calls of one thread
only, and registers nothing on the model, so that a model takes the same shortcuts as in a prediction (fused
products, cached position biases, attention a few groups at a time). The first recorded pass says what every
operation is and where it was called from; later passes only take the time.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path as File
from statistics import fmean, quantiles
from time import perf_counter_ns
from types import CodeType, FrameType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from cfviz.hooks import HookPoint
from cfviz.models.crossformer import CrossFormer, attend, linear
from cfviz.models.crossformer import model as crossformer
from cfviz.models.inputs import check_eval, input_for
from cfviz.models.others.reading import Place, layers_of

PASSES = 9
CPU = File("/proc/cpuinfo")  # Linux only
Shape = tuple[int, ...]
Path = tuple[str, ...]

_LINEAR = {"linear", "_linear_pointwise"}
_LAYOUT = {
    "__getitem__", "__len__", "__setitem__", "chunk", "contiguous", "element_size", "expand",
    "expand_as", "flatten", "flip", "is_contiguous", "movedim", "new_empty", "numel", "permute",
    "repeat", "reshape", "roll", "size", "split", "squeeze", "stack", "stride", "swapaxes", "tolist",
    "transpose", "unbind", "unflatten", "unsqueeze", "view",
}  # fmt: skip
_ROLES = {"add": "residual", "__add__": "residual", "__radd__": "residual", "cat": "concat"}
_ROLES |= {"mean": "pool", "amax": "pool", "baddbmm": "qk", "softmax": "softmax", "bmm": "weighted"}
_ROLES |= {"scaled_dot_product_attention": "fused"} | dict.fromkeys(_LAYOUT, "layout")
_SOFTMAX = {"sub_", "amax", "exp2_", "sum", "div"}
_CALLS = ("_call_impl", "_wrapped_call_impl", "__call__")  # frames of every module's call


@dataclass(frozen=True)
class Operation:
    """One operation, or the operations of one part together.

    Attributes:
        path: Where it stands: `("stage.0", "block.1", "attn", "qkv")`; empty for the whole model.
        kind: What it is, in neutral words: "stage", "cel", "block", "norm", "qkv", "group", "attend", "qk",
            "softmax", "weighted", ...; in other models, the class of the module or PyTorch's function.
        inputs: Shapes of the tensors that the first call takes, with the batch of one photo.
        output: Shape of what the last call returns; empty if that is no tensor.
        calls: How often PyTorch was called.
        params: Parameters of the modules in it.
        macs: Multiply-adds of its matrix products and convolutions.
        written: Bytes of the tensors it writes, views left out; what PyTorch needs inside a call is not
            counted.
        seconds: The mean of the middle third of the passes, by the time of the whole forward; so that what
            is in an operation adds up to it, and one disturbed pass changes nothing.
        low, high: The quartiles of all passes, in seconds.
        children: The operations in it.
        module: Name of the module that it is, as in `model.named_modules()`; empty for a step that is none.
        place: Stage and block, from 0, of a block of a CrossFormer or of a model of timm whose attention can
            be read, as in `trace.schemes`; None for all else.
    """

    path: Path
    kind: str
    inputs: tuple[Shape, ...]
    output: Shape
    calls: int
    params: int
    macs: int
    written: int
    seconds: float
    low: float
    high: float
    children: tuple[Operation, ...]
    module: str = ""
    place: Place | None = None

    @property
    def rest(self) -> float:
        """Seconds that no child takes: Python between the operations."""
        return self.seconds - sum(child.seconds for child in self.children) if self.children else 0.0

    @property
    def number(self) -> int | None:
        """The number in the name, from 0: of a stage, a block or a kernel."""
        _, _, number = (self.path[-1] if self.path else "").rpartition(".")
        return int(number) if number.isdigit() else None

    def walk(self) -> Iterator[Operation]:
        """This operation and all in it, in the order of the forward."""
        yield self
        for child in self.children:
            yield from child.walk()

    def sum_of(self, kind: str) -> float:
        """Seconds of all operations of one kind."""
        return sum(one.seconds for one in self.walk() if one.kind == kind)


@dataclass(frozen=True)
class Operations:
    """The operations of a model's forward on one photo, and how they were measured.

    Attributes:
        root: The whole forward.
        size: (height, width) of the input in pixels.
        dtype: Number format of the parameters.
        device: Where it ran: the name of the processor or of the GPU.
        threads: PyTorch's threads.
        passes: How many passes were timed.
        plain: Seconds of the forward that nothing records, from as many passes; the difference to
            `root.seconds` is the cost of measuring.
        plain_low, plain_high: The quartiles of these passes.
    """

    root: Operation
    size: tuple[int, int]
    dtype: str
    device: str
    threads: int
    passes: int
    plain: float
    plain_low: float
    plain_high: float

    @cached_property
    def stages(self) -> tuple[Operation, ...]:
        """The stages of a CrossFormer, also of one inside another model; empty where there is none."""
        return tuple(one for one in self.root.walk() if one.kind == "stage")

    def share(self, kind: str) -> float:
        """The share of the time that operations of one kind take, 0 to 1."""
        return self.root.sum_of(kind) / self.root.seconds

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per operation, in the order of the forward, for a table."""
        return [
            {
                "path": "/".join(one.path),
                "module": one.module,
                "stage": None if one.place is None else one.place[0],
                "block": None if one.place is None else one.place[1],
                "kind": one.kind,
                "inputs": "; ".join("x".join(map(str, shape)) for shape in one.inputs),
                "output": "x".join(map(str, one.output)),
                "calls": one.calls,
                "params": one.params,
                "macs": one.macs,
                "written_bytes": one.written,
                "ms": 1e3 * one.seconds,
                "ms_low": 1e3 * one.low,
                "ms_high": 1e3 * one.high,
                "ms_rest": 1e3 * one.rest,
            }
            for one in self.root.walk()
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for a JSON file."""
        names = ("size", "dtype", "device", "threads", "passes")
        facts = {name: getattr(self, name) for name in names}
        plain = {"ms": self.plain, "ms_low": self.plain_low, "ms_high": self.plain_high}
        return facts | {
            "plain": {key: 1e3 * value for key, value in plain.items()},
            "operations": self.rows(),
        }


def operations(model: nn.Module, image: torch.Tensor, passes: int = PASSES) -> Operations:
    """Record the operations of a model's forward on one photo, and measure their time.

    The passes alternate with passes that nothing records. On a GPU, the processor waits for each operation.
    Another reader of the same model notices nothing; what else runs on the machine lengthens the times.

    Args:
        model: In eval mode: a CrossFormer, whose stages, blocks and steps of attention are named, or any
            other model that takes a batch of photos.
        image: (3, H, W), normalised, or as many channels as the model takes.
        passes: How many passes to time, at least 3.

    Raises:
        ValueError: If the model is in training mode, the image is no single photo, there are too few passes,
            or the passes differ in what they compute.

    Example:
        >>> found = operations(model, prepare(photo, 224).tensor)
        >>> found.root.seconds, found.root.sum_of("attend"), found.stages[2].seconds
    """
    check_eval(model)
    if image.ndim != 3:
        raise ValueError(f"the image is {tuple(image.shape)}; expected one photo, (channels, H, W)")
    if passes < 3:
        raise ValueError(f"passes is {passes}; the middle and its spread need at least 3")
    like = next(model.parameters())
    x = input_for(model, image[None])
    wait = _waiting(like.device)
    timings: list[_Timing] = []
    plain: list[int] = []
    with torch.inference_mode():
        model(x)  # fills the caches that later passes use
        record = _Record(model, _blocks(model, *x.shape[-2:]))
        with record:
            model(x)
        wait()
        for _ in range(passes):
            start = perf_counter_ns()
            model(x)
            wait()
            plain.append(perf_counter_ns() - start)
            timings.append(_timed(model, x, wait))
    if any(one.names != record.names for one in timings):
        raise ValueError("the model does not compute the same operations in every pass")
    root = _tree(model, record, timings)
    low, high = _quartiles(plain)
    middle = fmean(plain[p] for p in _middle(plain)) / 1e9
    return Operations(
        root, (int(x.shape[-2]), int(x.shape[-1])), str(like.dtype).removeprefix("torch."),
        _device_name(like.device),
        torch.get_num_threads(), passes, middle, low / 1e9, high / 1e9,
    )  # fmt: skip


def _blocks(model: nn.Module, height: int, width: int) -> dict[int, Place]:
    """Stage and block by the identity of each block of a model of timm; of another model none."""
    with suppress(ValueError):
        layers = layers_of(model, height, width)
        return {id(layer.block): (s, b) for s, stage in enumerate(layers) for b, layer in enumerate(stage)}
    return {}


def _waiting(device: torch.device) -> Callable[[], None]:
    """Return a function that waits until the device has finished."""
    if device.type != "cuda":
        return lambda: None
    return lambda: torch.cuda.synchronize(device)


def _device_name(device: torch.device) -> str:
    """The name of a GPU or of the processor, as far as the system tells it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        with suppress(OSError):
            names = re.search(r"model name\s*:\s*(.+)", CPU.read_text())
            if names:
                return names[1].strip()
        return platform.processor() or platform.machine()
    return device.type


# ---------------------------------------------------------------- timing


class _Timing(TorchFunctionMode):
    """The time at which each call of PyTorch began and ended, in nanoseconds.

    Reading an attribute, such as a shape, is a call, too; those are left out.
    """

    def __init__(self, wait: Callable[[], None]) -> None:
        super().__init__()
        self.wait = wait
        self.names: list[str] = []
        self.begun: list[int] = []
        self.ended: list[int] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func.__name__ == "__get__":
            return func(*args)
        self.begun.append(perf_counter_ns())
        result = func(*args, **(kwargs or {}))
        self.wait()
        self.ended.append(perf_counter_ns())
        self.names.append(func.__name__)
        return result


def _timed(model: nn.Module, x: torch.Tensor, wait: Callable[[], None]) -> _Timing:
    """One pass; the first and the last entry of the lists are the beginning and the end of the forward."""
    timing = _Timing(wait)
    start = perf_counter_ns()
    with timing:
        model(x)
    wait()
    end = perf_counter_ns()
    timing.ended.insert(0, start)
    timing.begun.append(end)
    return timing


# ---------------------------------------------------------------- what each call is


@dataclass
class _Call:
    """What one call of PyTorch did."""

    path: Path
    kind: str
    inputs: tuple[Shape, ...]
    output: Shape
    macs: int
    written: int


class _Products(TorchDispatchMode):
    """Count the multiply-adds inside one call by PyTorch's own formulas."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        formula = flop_registry.get(func._overloadpacket)
        if formula is None:
            with self:
                inner = func.decompose(*args, **options)
            return func(*args, **options) if inner is NotImplemented else inner
        out = func(*args, **options)
        self.macs += formula(*args, **options, out_val=out) // 2
        return out


class _Record(TorchFunctionMode):
    """What every call of one pass was: its place in the model, shapes and counts."""

    def __init__(self, model: nn.Module, blocks: Mapping[int, Place]) -> None:
        super().__init__()
        self.places = _Places(model, blocks)
        self.names: list[str] = []
        self.calls: list[_Call] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        name = func.__name__
        if name == "__get__":
            return func(*args)
        path, kind = self.places.of(sys._getframe(1), name, args)
        inputs = list(_tensors((args, options)))
        before = {one.untyped_storage().data_ptr() for one in inputs}
        shapes = tuple(tuple(one.shape) for one in inputs)
        result, macs = _counted(func, name, args, options)
        outputs = list(_tensors(result))
        if name == "__setitem__":
            written = prod(_assigned(args)) * args[0].element_size()
        elif (name.endswith("_") and not name.endswith("__")) or "out" in options:
            written = sum(map(_bytes, outputs))
        else:
            fresh = [one for one in outputs if one.untyped_storage().data_ptr() not in before]
            written = sum(map(_bytes, fresh))
        output = tuple(outputs[0].shape) if outputs else ()
        self.names.append(name)
        self.calls.append(_Call(path, kind, shapes, output, macs, written))
        return result


def _assigned(args: tuple) -> Shape:
    """The shape of the part that an assignment writes."""
    return tuple(args[0][args[1]].shape)


def _counted(func: Any, name: str, args: tuple, options: dict[str, Any]) -> tuple[Any, int]:
    """Call a function and count its multiply-adds."""
    if name in _LINEAR:  # oneDNN's product is in no list of PyTorch's
        out = func(*args, **options)
        return out, out.numel() * args[0].shape[-1]
    if name == "scaled_dot_product_attention":
        out = func(*args, **options)
        q, k = args[0], args[1]
        return out, (q.numel() + out.numel()) * k.shape[-2]
    with _Products() as products:
        out = func(*args, **options)
    return out, products.macs


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in arguments or results."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _tensors(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


# ---------------------------------------------------------------- where a call belongs

# functions that are steps of a CrossFormer, and those that call a layer without its `forward`
_STEPS: dict[CodeType, str] = {
    crossformer.group.__code__: "group",
    crossformer.ungroup.__code__: "ungroup",
    crossformer.Attention._logit_bias.__code__: "bias",
    crossformer.Attention._windows.__code__: "bias",
    attend.attend.__code__: "attend",
    attend.attend_by_head.__code__: "attend",
}
_LAYERS: dict[CodeType, str] = {
    linear.linear.__code__: "layer",
    linear.product.__code__: "layer",
    crossformer._conv.__code__: "conv",
}
_CONTAINERS = nn.Sequential | nn.ModuleList
_LEAVES = {"group", "ungroup", "bias"}
_KINDS = {"norm1": "norm", "norm2": "norm", "ex_ln": "norm", "ex_conv": "cooling", "act": "gelu"}


class _Places:
    """Where in the tree a call belongs, from the frames that led to it."""

    def __init__(self, model: nn.Module, blocks: Mapping[int, Place]) -> None:
        modules = dict(model.named_modules())
        inner = [name for name, one in modules.items() if isinstance(one, CrossFormer)]
        self.inner = inner[0] if inner else None
        self.names = {id(one): name for name, one in modules.items() if not isinstance(one, HookPoint)}
        self.paths = {name: self._path(name, modules) for name in self.names.values()}
        self.kinds: dict[Path, str] = {}
        for name, path in self.paths.items():  # a container stands where what contains it stands
            self.kinds.setdefault(path, self._kind(path, modules[name]))
        own = {name: one for name, one in modules.items() if name in self.paths and name}
        self.modules: dict[Path, str] = {}
        for name, one in own.items():
            if not isinstance(one, _CONTAINERS):
                self.modules.setdefault(self.paths[name], name)
        self.blocks = {self.paths[name]: blocks[id(one)] for name, one in own.items() if id(one) in blocks}
        self.leaves = {
            self.paths[name]
            for name in self.names.values()
            if name
            and not isinstance(modules[name], _CONTAINERS)
            and all(isinstance(c, HookPoint) for c in modules[name].children())
        }
        self.asked: dict[Path, tuple[Shape, Shape]] = {}  # of attention: shapes of q and of the bias

    def _path(self, name: str, modules: Mapping[str, nn.Module]) -> Path:
        """Where a module stands; containers stand for nothing."""
        own = self.inner
        if own is not None and (name == own or not own or name.startswith(own + ".")):
            above = self._generic(own, modules) if own else ()
            return above + _in_crossformer(name[len(own) :].lstrip("."))
        return self._generic(name, modules)

    def _generic(self, name: str, modules: Mapping[str, nn.Module]) -> Path:
        parts, path = name.split(".") if name else [], []
        for i, part in enumerate(parts):
            above = ".".join(parts[: i + 1])
            if isinstance(modules[above], _CONTAINERS):
                continue
            named = i > 0 and part.isdigit()
            path.append(f"{parts[i - 1]}.{part}" if named else part)
        return tuple(path)

    def _kind(self, path: Path, module: nn.Module) -> str:
        if not path:
            return "model"
        last = path[-1].rpartition(".")[0] if path[-1].rpartition(".")[2].isdigit() else path[-1]
        if self.inner is not None and _is_ours(path):
            return _KINDS.get(last, last)
        return type(module).__name__

    def block_at(self, path: Path) -> Place | None:
        """Stage and block of a path that is a block's."""
        if self.inner is not None and len(path) > 1 and _is_ours(path) and path[-1].startswith("block."):
            return int(path[-2].rpartition(".")[2]), int(path[-1].rpartition(".")[2])
        return self.blocks.get(path)

    def of(self, frame: FrameType | None, name: str, args: tuple) -> tuple[Path, str]:
        """The path of a call's leaf, and its kind.

        Args:
            frame: The frame that called PyTorch.
            name: The function's name.
            args: Its arguments.
        """
        chain: list[FrameType] = []
        while frame is not None and frame.f_code is not operations.__code__:
            chain.append(frame)
            frame = frame.f_back
        path: Path = ()
        for one in reversed(chain):
            path = self._inside(path, one)
            if path in self.leaves or (path and path[-1] in _LEAVES):
                return path, self.kinds.get(path, path[-1])
        role = self._role(path, chain, name, args)
        if path == () and role == "pool":
            path = ("head",)
        return (*path, role), role

    def _inside(self, path: Path, frame: FrameType) -> Path:
        """The path inside a frame."""
        code = frame.f_code
        if code in _STEPS:
            path = (*path, _STEPS[code]) if _STEPS[code] not in path else path
            if _STEPS[code] == "attend":
                self._remember(path, frame)
            return path
        owner = frame.f_locals.get(_LAYERS.get(code, "self"))
        if code.co_name in _CALLS or id(owner) not in self.names:
            return path
        found = self.paths[self.names[id(owner)]]
        return found if len(found) > len(path) and found[: len(path)] == path else path

    def _remember(self, path: Path, frame: FrameType) -> None:
        q, bias = frame.f_locals["q"], frame.f_locals["bias"]
        self.asked.setdefault(
            path, (tuple(q.shape), tuple(bias.shape) if isinstance(bias, torch.Tensor) else ())
        )

    def _role(self, path: Path, chain: list[FrameType], name: str, args: tuple) -> str:
        """What a call is that belongs to no module of its own."""
        if not path or path[-1] != "attend":
            return _ROLES.get(name, name) if self.inner is not None else name
        frame = next(f for f in chain if f.f_code.co_name in _ATTEND)
        if name in ("_linear_pointwise", "__matmul__", "matmul"):
            return "weighted" if frame.f_locals.get("logits") is not None else "qk"
        if any(f.f_code is attend._in_range.__code__ for f in chain) or name in _SOFTMAX:
            return "softmax"  # with the question whether a power overflowed without it
        return "qk" if name in ("add_", "mul", "__mul__") else _ROLES.get(name, name)


_ATTEND = ("attend", "attend_by_head", "_sums", "_in_parts", "_written_out", "_with_one_bias", "_by_pattern")


def _is_ours(path: Path) -> bool:
    return any(re.fullmatch(r"stage\.\d+|head", part) for part in path)


def _in_crossformer(name: str) -> Path:
    """Where a CrossFormer's module stands: each stage begins with the embedding layer that leads to it."""
    if found := re.match(r"layers\.(\d+)\.downsample\.?(.*)", name):
        return (f"stage.{int(found[1]) + 1}", "cel", *_in_part(found[2]))
    if found := re.match(r"layers\.(\d+)\.blocks\.(\d+)\.?(.*)", name):
        return (f"stage.{found[1]}", f"block.{found[2]}", *_in_part(found[3]))
    if found := re.match(r"patch_embed\.?(.*)", name):
        return ("stage.0", "cel", *_in_part(found[1]))
    if name in ("norm", "head", "head_drop"):
        return ("head", {"head": "classifier", "head_drop": "dropout"}.get(name, name))
    return ()  # the model itself, and what contains its stages


def _in_part(name: str) -> Path:
    if name.startswith("attn.pos"):
        return ("attn", "bias")
    name = re.sub(r"^(mlp\.)drop[12]$", r"\1dropout", name)
    name = re.sub(r"^(?:projs|reductions)\.", "conv.", name)
    if name in ("projs", "reductions"):
        return ()
    return (name,) if name.startswith("conv.") else tuple(part for part in name.split(".") if part)


# ---------------------------------------------------------------- the tree


@dataclass
class _Node:
    """An operation while the tree grows; times in nanoseconds, one per pass."""

    path: Path
    kind: str = ""
    first: _Call | None = None
    last: _Call | None = None
    calls: int = 0
    macs: int = 0
    written: int = 0
    params: int = 0
    times: list[int] = field(default_factory=list)
    children: dict[str, _Node] = field(default_factory=dict)

    def child(self, name: str, passes: int) -> _Node:
        """Return a child, new if there is none of this name."""
        if name not in self.children:
            self.children[name] = _Node((*self.path, name), times=[0] * passes)
        return self.children[name]


def _tree(model: nn.Module, record: _Record, timings: list[_Timing]) -> Operation:
    """Sum calls and times up to the whole forward."""
    passes = len(timings)
    root = _Node((), "model", times=[0] * passes)
    lines = [_line(root, call, passes) for call in record.calls]
    for i, (call, line) in enumerate(zip(record.calls, lines, strict=True)):
        for node in line:
            node.first, node.last = node.first or call, call
            node.calls, node.macs = node.calls + 1, node.macs + call.macs
            node.written += call.written
            for p, timing in enumerate(timings):
                node.times[p] += timing.ended[i + 1] - timing.begun[i]
        line[-1].kind = call.kind
    for i in range(len(lines) + 1):  # the time between two calls belongs to what contains both
        around = lines[i - 1] if i > 0 else [root]
        following = lines[i] if i < len(lines) else [root]
        both = [a for a, b in zip(around, following, strict=False) if a is b]
        for node in both:
            for p, timing in enumerate(timings):
                node.times[p] += timing.begun[i] - timing.ended[i]
    _add_parameters(model, record.places, root)
    return _frozen(root, record.places, _middle(root.times))


def _middle(times: list[int]) -> list[int]:
    """The numbers of the passes in the middle third."""
    third = (len(times) - 1) // 3
    return sorted(range(len(times)), key=times.__getitem__)[third : len(times) - third]


def _line(root: _Node, call: _Call, passes: int) -> list[_Node]:
    """The nodes from the root to a call's leaf."""
    line = [root]
    for name in call.path:
        line.append(line[-1].child(name, passes))
    return line


def _add_parameters(model: nn.Module, places: _Places, root: _Node) -> None:
    for name, tensor in model.named_parameters():
        node: _Node | None = root
        for part in ("", *places.paths[name.rpartition(".")[0]]):
            node = node.children.get(part) if part and node is not None else node
            if node is None:
                break  # a module that this forward does not use
            node.params += tensor.numel()


def _frozen(node: _Node, places: _Places, middle: list[int]) -> Operation:
    kind = node.kind or places.kinds.get(node.path) or node.path[-1].partition(".")[0]
    low, high = _quartiles(node.times)
    inputs, output = _shapes(node, places)
    if kind == "bias" and node.params and not node.macs:
        kind = "bias_kept"
    return Operation(
        node.path, kind, inputs, output, node.calls, node.params, node.macs, node.written,
        fmean(node.times[p] for p in middle) / 1e9, low / 1e9, high / 1e9,
        tuple(_frozen(child, places, middle) for child in node.children.values()),
        places.modules.get(node.path, ""), places.block_at(node.path),
    )  # fmt: skip


def _shapes(node: _Node, places: _Places) -> tuple[tuple[Shape, ...], Shape]:
    """What an operation takes and returns; nothing for the many views and copies of a part together."""
    assert node.first is not None
    assert node.last is not None
    if node.kind == "layout":
        return (), ()
    if node.path[-1:] == ("attend",):
        q, _ = places.asked[node.path]
        return (q,), q
    if node.path[-1:] == ("bias",) and (asked := places.asked.get((*node.path[:-1], "attend"))):
        return (), asked[1]
    if node.path[-2:-1] == ("attend",):  # a few groups at a time: those of the first call
        return node.first.inputs, node.first.output
    return node.first.inputs[:1] if node.children else node.first.inputs, node.last.output


def _quartiles(times: list[int]) -> tuple[float, float]:
    low, _, high = quantiles(times, n=4, method="inclusive")
    return low, high
