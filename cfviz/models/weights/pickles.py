"""Read a pickle as data: nothing it names is imported, and nothing in it is ever called.

A pickle is a small program: it names classes and functions and asks for them to be called. `Machine` executes
only the steps that build lists, dicts, numbers, text and tensors. An object of any other class becomes an
inert `StandIn` that holds the stored contents. A call to a function that neither weights nor their settings
need is refused, so that a hostile file is reported as such.
"""

from __future__ import annotations

import pickletools
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import torch

MAX_STEPS = 8_000_000  # of one pickle: the largest variant with its optimizer needs about 100,000

_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # as Python 2 called them
_STORED = {
    "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16, "Double": torch.float64,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool,
}  # fmt: skip
DTYPES = {f"torch.{name}Storage": dtype for name, dtype in _STORED.items()}
_PARAMETER = "torch.nn.parameter.Parameter"
# found beside weights and pickled as a call: settings, paths, dates, numpy's numbers and states
_HARMLESS = re.compile(
    r"cfviz\.[\w.]+|functools\.partial|argparse\.Namespace|yacs\.config\.CfgNode|omegaconf\.[\w.]+|collections\.(defaultdict|deque)"
    r"|pathlib\.(_local\.)?(Pure)?(Posix|Windows)?Path|datetime\.\w+|decimal\.Decimal|fractions\.Fraction"
    r"|uuid\.UUID|builtins\.(slice|x?range|bytearray)|torch\.(dtype|Generator)|torch\._utils\._rebuild_\w+"
    r"|numpy\.(dtype|ndarray)|numpy\._?core\.(multiarray|numeric)\.(_reconstruct|_frombuffer|scalar)"
    r"|numpy\.random\._pickle\.__\w+_ctor"
)
_NUMPY_SCALAR = re.compile(r"numpy\._?core\.multiarray\.scalar")


class RefusedError(Exception):
    """A refused call; the text is the name of the function or class."""


class TooLongError(Exception):
    """A pickle with more steps than any weights need."""


@dataclass(frozen=True)
class Named:
    """The name of a class or function in a pickle, and nothing else."""

    name: str


class StandIn(dict[Any, Any]):
    """A placeholder for an object: the stored contents without the class.

    Attributes:
        kind: The name of the class.
        args: Arguments for the class.
        attributes: Attributes that would have been set on the object.
        listed: Items that would have been appended to the object.
    """

    def __init__(self, kind: str, args: tuple[Any, ...] = ()) -> None:
        super().__init__()
        self.kind, self.args = kind, args
        self.attributes: dict[str, Any] = {}
        self.listed: list[Any] = []

    __hash__ = object.__hash__  # type: ignore[assignment]  # settings may be keys: each equals only itself

    def __eq__(self, other: object) -> bool:
        return self is other


_PLAIN = (str, int, float, bytes, type(None), Named, StandIn)


class Machine:
    """Interpreter for one pickle.

    Args:
        storage: Returns the numbers behind a persistent id as a flat tensor, or a `StandIn` if their type
            does not occur in weights.
    """

    def __init__(self, storage: Callable[[Any], Any]) -> None:
        self.storage = storage
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def read(self, program: BinaryIO) -> Any:
        """Return the object described by the pickle at the file's position, and move past the pickle.

        Raises:
            RefusedError: If the pickle calls something that neither weights nor settings need.
            TooLongError: If the pickle has more than `MAX_STEPS` steps.
            Exception: Any other, if the pickle is incomplete or damaged.
        """
        for step, (op, arg, _) in enumerate(pickletools.genops(program)):
            if step > MAX_STEPS:
                raise TooLongError
            if op.name == "STOP":
                break
            if op.name in _SAME:
                self.stack.append(arg)
            elif op.name in _CONSTANTS:
                self.stack.append(_CONSTANTS[op.name]())
            else:
                _STEPS[op.name](self, arg)
        return self.stack.pop()

    def since_mark(self) -> list[Any]:
        """Pop everything pushed on the stack since the last mark."""
        start = self.marks.pop()
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def gather(self, count: int | None, make: Callable[[list[Any]], Any]) -> None:
        """Replace the last `count` objects on the stack, or those since the mark, by one made of them."""
        taken = self.since_mark() if count is None else self.stack[-count:]
        if count is not None:
            del self.stack[-count:]
        self.stack.append(make(taken))

    def remember(self, place: int | None) -> None:
        self.memo[len(self.memo) if place is None else place] = self.stack[-1]

    def fill(self, items: list[Any]) -> None:
        """Append to the list or set on top of the stack."""
        target = self.stack[-1]
        if isinstance(target, set):
            target.update(map(_key, items))
        elif isinstance(target, StandIn):
            target.listed.extend(items)
        elif type(target) is list:
            target.extend(items)
        else:
            raise TypeError(f"it appends to a {type(target).__name__}")

    def set_items(self, items: list[Any]) -> None:
        """Fill the dict on top of the stack."""
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise TypeError(f"it sets items of a {type(target).__name__}")
        target.update(_pairs(items))

    def name(self, module: Any, attribute: Any) -> None:
        if not isinstance(module, str) or not isinstance(attribute, str):
            raise TypeError(f"it names a class by a {type(attribute).__name__}")
        self.stack.append(Named(f"{_MODULES.get(module, module)}.{attribute}"))

    def new(self, cls: Any, args: Any) -> None:
        """Push an object that was made without calling the class's `__init__`."""
        name = _name_of(cls)
        self.stack.append(args[0] if name == _PARAMETER and args else StandIn(name, tuple(args)))

    def drop(self, _: Any = None) -> None:
        """Pop the last object off the stack, which may be a mark."""
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def call(self, function: Any, args: Any) -> None:
        name = _name_of(function)
        if name in _CALLS:
            self.stack.append(_CALLS[name](*args))
        elif _HARMLESS.fullmatch(name):
            number = _numpy_number(*args) if _NUMPY_SCALAR.fullmatch(name) else None
            self.stack.append(StandIn(name, tuple(args)) if number is None else number)
        else:
            raise RefusedError(name)

    def build(self, state: Any) -> None:
        """Set attributes of the object on top of the stack; those of tensors and plain dicts are ignored."""
        target = self.stack[-1]
        if isinstance(target, StandIn):
            parts = state if isinstance(state, tuple) else (state,)
            for part in parts:
                if isinstance(part, dict):
                    target.attributes.update(part)
            if isinstance(state, tuple):
                target.args = (*target.args, *state)


def _key(value: Any) -> Any:
    """Check a dict key or set member: hashing a deeply nested one would overflow the stack."""
    parts = value if isinstance(value, tuple) else (value,)
    if any(not isinstance(part, _PLAIN) for part in parts):
        raise TypeError("a key is no plain value")
    return value


def _pairs(items: Any) -> dict[Any, Any]:
    return {_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


def _ordered(items: Any = ()) -> OrderedDict[Any, Any]:
    return OrderedDict((_key(key), value) for key, value in items)


def _name_of(named: Any) -> str:
    if not isinstance(named, Named):
        raise TypeError(f"it calls a {type(named).__name__}")
    return named.name


# ---------------------------------------------------------------- substitutes for calls


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> Any:
    if isinstance(storage, StandIn):
        return storage
    return torch.as_strided(storage, tuple(size), tuple(stride), offset)


def _subclass(function: Any, kind: Any, args: Any, *_: Any) -> Any:
    """Return the plain tensor inside a tensor subclass."""
    call = _CALLS.get(_name_of(function))
    return StandIn(_name_of(kind)) if call is None else call(*args)


def _device(*parts: Any) -> str:
    if not all(isinstance(part, str | int) for part in parts):
        raise TypeError("a device is no text")
    return ":".join(map(str, parts))


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise ValueError(f"it encodes text as {encoding}")
    return text.encode(encoding)


def _reconstructed(cls: Any, _base: Any = None, content: Any = None) -> StandIn:
    """Make a `StandIn` for an object pickled before protocol 2."""
    made = StandIn(_name_of(cls))
    if type(content) in (dict, OrderedDict):
        made.update(content)
    return made


def _numpy_number(dtype: Any = None, raw: Any = b"", *_: Any) -> Any:
    """Convert a pickled numpy scalar to a Python number; None if it is not a number."""
    kind = dtype.args[0] if isinstance(dtype, StandIn) and dtype.args else ""
    if isinstance(kind, str) and re.fullmatch(r"[fiub][1248]", kind) and isinstance(raw, bytes):
        byteorder = ">" if ">" in dtype.args else "<"
        return np.frombuffer(raw, byteorder + kind, 1)[0].item()
    return None


_CALLS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    _PARAMETER: lambda tensor, *_: tensor,
    "torch.Size": lambda sides=(): tuple(sides),
    "torch.device": _device,
    "collections.OrderedDict": _ordered,
    "collections.Counter": lambda items=(): _ordered(items.items() if isinstance(items, dict) else items),
    "builtins.set": lambda items=(): set(map(_key, items)),
    "builtins.frozenset": lambda items=(): frozenset(map(_key, items)),
    "_codecs.encode": _encoded,
    "copyreg._reconstructor": _reconstructed,
}


# ---------------------------------------------------------------- the steps of a pickle

_SAME = frozenset(  # the step's argument is the object
    (
        "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING",
        "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
        "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
    )
)  # fmt: skip
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}


def _instance(machine: Machine, arg: str) -> None:
    """Push an object as Python 2 pickled it: class and arguments in one step."""
    args = machine.since_mark()
    machine.name(*arg.split(" ", 1))
    machine.call(machine.stack.pop(), args)


def _object(machine: Machine, _: Any) -> None:
    cls, *args = machine.since_mark()
    machine.call(cls, args)


def _two(step: Callable[[Machine, Any, Any], None]) -> Callable[[Machine, Any], None]:
    """Make a step that pops the last two objects and passes them on in the order they were pushed."""

    def run(machine: Machine, _: Any) -> None:
        second, first = machine.stack.pop(), machine.stack.pop()
        step(machine, first, second)

    return run


def _new_with_keywords(machine: Machine, _: Any) -> None:
    keywords, args, cls = (machine.stack.pop() for _ in range(3))
    machine.new(cls, args)
    machine.stack[-1].attributes.update(keywords)


def _drop_since_mark(machine: Machine, _: Any) -> None:
    machine.since_mark()


def _extension(_: Machine, code: int) -> None:
    raise RefusedError(f"extension {code}")


_STEPS: dict[str, Callable[[Machine, Any], None]] = {
    "PROTO": lambda m, _: None,
    "FRAME": lambda m, _: None,
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "POP": Machine.drop,
    "POP_MARK": _drop_since_mark,
    "DUP": lambda m, _: m.stack.append(m.stack[-1]),
    "PUT": lambda m, place: m.remember(place),
    "BINPUT": lambda m, place: m.remember(place),
    "LONG_BINPUT": lambda m, place: m.remember(place),
    "MEMOIZE": lambda m, _: m.remember(None),
    "GET": lambda m, place: m.stack.append(m.memo[place]),
    "BINGET": lambda m, place: m.stack.append(m.memo[place]),
    "LONG_BINGET": lambda m, place: m.stack.append(m.memo[place]),
    "TUPLE1": lambda m, _: m.gather(1, tuple),
    "TUPLE2": lambda m, _: m.gather(2, tuple),
    "TUPLE3": lambda m, _: m.gather(3, tuple),
    "TUPLE": lambda m, _: m.gather(None, tuple),
    "LIST": lambda m, _: m.gather(None, list),
    "FROZENSET": lambda m, _: m.gather(None, lambda items: frozenset(map(_key, items))),
    "DICT": lambda m, _: m.gather(None, _pairs),
    "APPEND": lambda m, _: m.fill([m.stack.pop()]),
    "APPENDS": lambda m, _: m.fill(m.since_mark()),
    "ADDITEMS": lambda m, _: m.fill(m.since_mark()),
    "SETITEM": lambda m, _: m.set_items([*reversed([m.stack.pop(), m.stack.pop()])]),
    "SETITEMS": lambda m, _: m.set_items(m.since_mark()),
    "GLOBAL": lambda m, arg: m.name(*arg.split(" ", 1)),
    "STACK_GLOBAL": _two(Machine.name),
    "INST": _instance,
    "OBJ": _object,
    "NEWOBJ": _two(Machine.new),
    "NEWOBJ_EX": _new_with_keywords,
    "REDUCE": _two(Machine.call),
    "BUILD": lambda m, _: m.build(m.stack.pop()),
    "PERSID": lambda m, pid: m.stack.append(m.storage(pid)),
    "BINPERSID": lambda m, _: m.stack.append(m.storage(m.stack.pop())),
    "EXT1": _extension,
    "EXT2": _extension,
    "EXT4": _extension,
}
