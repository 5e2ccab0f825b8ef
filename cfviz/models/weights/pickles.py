"""A pickle, read as data: nothing that it names is imported, and nothing in it is ever called.

A pickle is a small program: it names classes and functions and asks for them to be called. `Machine` follows
the program as far as lists, dicts, numbers, text and tensors go. An object of any other class becomes a
`StandIn`, which holds what was stored in the object and can do nothing. A call of a function that neither
weights nor the settings beside them need is refused, so that a hostile file is named as such.
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
# what stands beside weights and is written as a call: settings, paths, dates, numpy's numbers and states
_HARMLESS = re.compile(
    r"cfviz\.[\w.]+|functools\.partial|argparse\.Namespace|yacs\.config\.CfgNode|omegaconf\.[\w.]+|collections\.(defaultdict|deque)"
    r"|pathlib\.(_local\.)?(Pure)?(Posix|Windows)?Path|datetime\.\w+|decimal\.Decimal|fractions\.Fraction"
    r"|uuid\.UUID|builtins\.(slice|x?range|bytearray)|torch\.(dtype|Generator)|torch\._utils\._rebuild_\w+"
    r"|numpy\.(dtype|ndarray)|numpy\._?core\.(multiarray|numeric)\.(_reconstruct|_frombuffer|scalar)"
    r"|numpy\.random\._pickle\.__\w+_ctor"
)
_NUMPY_SCALAR = re.compile(r"numpy\._?core\.multiarray\.scalar")


class RefusedError(Exception):
    """A call that is refused; its text is the name of what was to be called."""


class TooLongError(Exception):
    """A pickle of more steps than any weights need."""


@dataclass(frozen=True)
class Named:
    """A class or function that a pickle names: its name and nothing else."""

    name: str


class StandIn(dict[Any, Any]):
    """In the place of an object of some class: what was stored in the object, without the class.

    Attributes:
        kind: The name of the class.
        args: What the class would have been called with.
        attributes: What would have become the attributes of the object.
        listed: What would have been appended to the object.
    """

    def __init__(self, kind: str, args: tuple[Any, ...] = ()) -> None:
        super().__init__()
        self.kind, self.args = kind, args
        self.attributes: dict[str, Any] = {}
        self.listed: list[Any] = []

    __hash__ = object.__hash__  # type: ignore[assignment]  # settings may be keys: each is like itself alone

    def __eq__(self, other: object) -> bool:
        return self is other


_PLAIN = (str, int, float, bytes, type(None), Named, StandIn)


class Machine:
    """Follows one pickle.

    Args:
        storage: Gives the numbers behind a persistent id as a flat tensor, or a `StandIn` for those of a type
            that weights do not have.
    """

    def __init__(self, storage: Callable[[Any], Any]) -> None:
        self.storage = storage
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def read(self, program: BinaryIO) -> Any:
        """The object that the pickle at the file's position describes; the position is then behind it.

        Raises:
            RefusedError: If something was to be called that neither weights nor settings need.
            TooLongError: If it has more than `MAX_STEPS` steps.
            Exception: Any other, where it is no whole pickle.
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
        """Takes what was put on the stack since the last mark."""
        start = self.marks.pop()
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def gather(self, count: int | None, make: Callable[[list[Any]], Any]) -> None:
        """Makes one thing of the last `count` on the stack, or of those since the mark."""
        taken = self.since_mark() if count is None else self.stack[-count:]
        if count is not None:
            del self.stack[-count:]
        self.stack.append(make(taken))

    def remember(self, place: int | None) -> None:
        self.memo[len(self.memo) if place is None else place] = self.stack[-1]

    def fill(self, items: list[Any]) -> None:
        """Appends to the list or set on top of the stack."""
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
        """Fills the dict on top of the stack."""
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise TypeError(f"it sets items of a {type(target).__name__}")
        target.update(_pairs(items))

    def name(self, module: Any, attribute: Any) -> None:
        if not isinstance(module, str) or not isinstance(attribute, str):
            raise TypeError(f"it names a class by a {type(attribute).__name__}")
        self.stack.append(Named(f"{_MODULES.get(module, module)}.{attribute}"))

    def new(self, cls: Any, args: Any) -> None:
        """An object that was made without a call of the class's `__init__`."""
        name = _name_of(cls)
        self.stack.append(args[0] if name == _PARAMETER and args else StandIn(name, tuple(args)))

    def drop(self, _: Any = None) -> None:
        """Takes the last thing off the stack, which may be a mark."""
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
        """The attributes of the object on top of the stack; tensors and plain dicts have none that count."""
        target = self.stack[-1]
        if isinstance(target, StandIn):
            parts = state if isinstance(state, tuple) else (state,)
            for part in parts:
                if isinstance(part, dict):
                    target.attributes.update(part)
            if isinstance(state, tuple):
                target.args = (*target.args, *state)


def _key(value: Any) -> Any:
    """A key of a dict or a member of a set; what is nested deeply would overflow where it is hashed."""
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


# ---------------------------------------------------------------- what is made instead of calling


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> Any:
    if isinstance(storage, StandIn):
        return storage
    return torch.as_strided(storage, tuple(size), tuple(stride), offset)


def _subclass(function: Any, kind: Any, args: Any, *_: Any) -> Any:
    """A tensor of a class of its own, as the plain tensor in it."""
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
    """An object as Python pickled it before protocol 2."""
    made = StandIn(_name_of(cls))
    if type(content) in (dict, OrderedDict):
        made.update(content)
    return made


def _numpy_number(dtype: Any = None, raw: Any = b"", *_: Any) -> Any:
    """A number that numpy wrote, as Python's; None where it is something else than a number."""
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
    """An object as Python 2 pickled it: its class and arguments in one step."""
    args = machine.since_mark()
    machine.name(*arg.split(" ", 1))
    machine.call(machine.stack.pop(), args)


def _object(machine: Machine, _: Any) -> None:
    cls, *args = machine.since_mark()
    machine.call(cls, args)


def _two(step: Callable[[Machine, Any, Any], None]) -> Callable[[Machine, Any], None]:
    """A step that takes the last two objects, in the order in which they were put down."""

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
