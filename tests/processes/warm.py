"""New processes that begin with what takes seconds to import: each is a copy of one that has imported it.

`python -m cfviz evaluate` on eight small photos spends four of its five seconds on importing PyTorch. A
process of `Warm` does what a new one would do, apart from that: it has memory, signals, environment, folder,
standard streams and exit code of its own; `sys.argv` and `__main__` are those of `python -m` or `python -c`.

What is tested with a real process instead: how long something takes to start, what it imports, and what must
hold although nothing was imported.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
import types
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 280.0  # seconds, less than the limit of a test: a loaded machine is no failure

# ---------------------------------------------------------------- the side of the tests


class Process:
    """A running process, with the part of `subprocess.Popen` that tests use; its output goes into files."""

    def __init__(self, args: Sequence[str], connection: socket.socket, out: Path, err: Path) -> None:
        self.args, self.returncode, self._out, self._err = list(args), None, out, err
        self._answers = connection.makefile("r")
        self._connection = connection
        self.pid = int(self._answers.readline())
        self.returncode: int | None

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return self._out.read_text()

    @property
    def stderr(self) -> str:
        """What it has printed to its standard error so far."""
        return self._err.read_text()

    def poll(self) -> int | None:
        """Its exit code as in `subprocess`, None while it runs."""
        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self.returncode = int(self._answers.readline() or "1")
        return self.returncode

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for its end; a process that has not ended by then is killed."""
        select.select([self._connection], [], [], timeout)
        if (code := self.poll()) is None:
            self.send_signal(signal.SIGKILL)
            raise subprocess.TimeoutExpired(self.args, timeout, self.stdout, self.stderr)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


# Imports as little as can be, hands its own streams on, and ends as the process does that was started.
EXECUTABLE = """
import json, os, socket, sys
from array import array

args = [one for one in sys.argv[1:] if one != "-u"]
connection = socket.socket(socket.AF_UNIX)
connection.connect(DOOR)
connection.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [0, 1, 2]))])
message = json.dumps([args, dict(os.environ), os.getcwd(), False]).encode()
connection.sendall(len(message).to_bytes(8, "little") + message)
pid, code = (int(line) for line in connection.makefile())
sys.exit(code if code >= 0 else 128 - code)
"""


class Warm:
    """Starts processes in which some modules are imported already.

    Args:
        modules: Names of modules.
        path: A folder in which the modules are looked for too.
        env: Variables that the modules find when they are imported, beside those of the tests.
    """

    def __init__(self, *modules: str, path: Path | None = None, env: Mapping[str, str] | None = None) -> None:
        self._folder = TemporaryDirectory(prefix="warm")
        door = f"{self._folder.name}/door"
        command = [sys.executable, __file__, door, str(path or ""), *modules]
        self._process = subprocess.Popen(
            command, cwd=self._folder.name, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", f"{modules} cannot be imported"
        self._door, self._made = door, 0

    def popen(
        self,
        args: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        stdin: int | None = None,
        start_new_session: bool = False,
    ) -> Process:
        """Start `python *args`, which begin with `-m MODULE` or `-c CODE`.

        There is nothing to read, unless a file descriptor is given for it.
        """
        self._made += 1
        out, err = (Path(self._folder.name) / f"{self._made}.{name}" for name in ("out", "err"))
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._door)
        wanted = [list(args), dict(os.environ if env is None else env), str(cwd), start_new_session]
        message = json.dumps(wanted).encode()
        with open(os.devnull) as nothing, out.open("w") as one, err.open("w") as two:
            rights = array("i", [nothing.fileno() if stdin is None else stdin, one.fileno(), two.fileno()])
            connection.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        connection.sendall(len(message).to_bytes(8, "little") + message)
        return Process(args, connection, out, err)

    def run(
        self, args: Sequence[str], *, timeout: float = PATIENCE, check: bool = False, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Start a process as `popen` does, wait for it, and return its output as `subprocess.run` does."""
        process = self.popen(args, **options)
        code = process.wait(timeout)
        if check and code:
            raise subprocess.CalledProcessError(code, list(args), process.stdout, process.stderr)
        return subprocess.CompletedProcess(list(args), code, process.stdout, process.stderr)

    def ranks(self, n: int, args: Sequence[str], *, env: Mapping[str, str]) -> list[Process]:
        """Start the same n times, as one group of PyTorch, with the variables that `torchrun` sets."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(n)}
        group["LOCAL_WORLD_SIZE"] = str(n)
        return [
            self.popen(args, env={**env, **group, "RANK": str(i), "LOCAL_RANK": str(i)}) for i in range(n)
        ]

    @cached_property
    def executable(self) -> str:
        """A program that takes the arguments of `python`, for what starts processes as `torchrun` does."""
        path = Path(self._folder.name) / "python"
        path.write_text(f"#!{sys.executable} -IS\nDOOR = {self._door!r}\n{EXECUTABLE}")
        path.chmod(0o700)
        return str(path)

    def close(self) -> None:
        """Let no further process start; those that run are not stopped."""
        assert self._process.stdin is not None
        self._process.stdin.close()  # the end of its leash
        self._process.wait(20)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._folder.cleanup()


# ---------------------------------------------------------------- the other side


def serve(door: str) -> list[str]:
    """Fork for every request; returns in the new process only, with its arguments.

    Each request gets a nanny, which waits for the new process and tells its exit code. This process has one
    thread: a copy of several would lack all but one of them, and whatever the others hold.
    """
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(door)
    listener.listen(16)
    assert len(os.listdir("/proc/self/task")) == 1, "it must have one thread"
    print("ready", flush=True)
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        with suppress(ChildProcessError):  # there is none
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if os.fork():
            connection.close()
            continue
        listener.close()
        _, rights, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(3 * array("i").itemsize))
        streams = array("i", rights[0][2])
        with connection.makefile("rb") as asked:
            size = int.from_bytes(asked.read(8), "little")
            args, env, cwd, own_session = json.loads(asked.read(size))
        if child := os.fork():
            for stream in streams:
                os.close(stream)
            connection.sendall(f"{child}\n".encode())
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            with suppress(OSError):  # nobody may ask any more
                connection.sendall(f"{code}\n".encode())
            os._exit(0)
        connection.close()
        if own_session:
            os.setsid()
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
            os.close(stream)
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        return args
    os._exit(0)


def become(args: list[str]) -> NoReturn:
    """Run `python *args` in this process, which is new, and end it.

    Threads, exit functions and buffers are seen to; the modules are left as they are. Taking them down
    touches all memory that this process shares with the one it was copied from, and takes over a second.
    """
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    added = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
    sys.path[1:1] = [one for one in added if one not in sys.path]
    try:
        code = _run(*args)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)


def _run(option: str, what: str, *rest: str) -> int:
    """Run a module or code as `__main__`; returns the exit code."""
    try:
        if option == "-m":
            sys.path[0], sys.argv = os.getcwd(), ["-m", *rest]
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            sys.path[0], sys.argv = "", ["-c", *rest]
            sys.modules["__main__"] = main = types.ModuleType("__main__")
            exec(compile(what, "<string>", "exec"), vars(main))
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.path[0] = sys.argv[2]
    gc.disable()
    for name in sys.argv[3:]:
        import_module(name)
    gc.freeze(), gc.enable()  # a collection would touch, and so copy, all memory
    become(serve(sys.argv[1]))
