"""A process of `tests/processes/warm.py` is a new one in all that other tests rely on."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import until
from tests.processes.warm import Process, Warm


@pytest.fixture(scope="module")
def bare() -> Iterator[Warm]:
    """Without any module: it is there at once."""
    made = Warm("json")
    yield made
    made.close()


def test_it_has_the_arguments_environment_folder_and_output_of_a_new_process(
    bare: Warm, tmp_path: Path
) -> None:
    code = (
        "import os, sys; from one import word; import __main__\n"
        "print(sys.argv, os.environ['SAID'], 'HOME' in os.environ, os.getcwd(), word, __main__.code)\n"
        "print('wrong', file=sys.stderr)"
    )
    (tmp_path / "one.py").write_text("word = 'found'")
    env = {"SAID": "so", "PYTHONPATH": str(tmp_path)}
    done = bare.run(["-c", f"code = 7\n{code}", "a", "b"], env=env, cwd=tmp_path.parent)
    assert done.stdout == f"['-c', 'a', 'b'] so False {tmp_path.parent} found 7\n"
    assert (done.returncode, done.stderr) == (0, "wrong\n")
    (tmp_path / "two.py").write_text("import sys; print(__name__, sys.argv); sys.exit(3)")
    done = bare.run(["-m", "two", "x"], cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, f"__main__ ['{tmp_path / 'two.py'}', 'x']\n")


def test_what_one_leaves_behind_no_other_sees(bare: Warm) -> None:
    code = "import json, os, random; print(hasattr(json, 'mark'), os.environ.get('MARK'), random.random())\n"
    first, second = (bare.run(["-c", f"{code}json.mark = 1; os.environ['MARK'] = '1'"]) for _ in range(2))
    assert first.stdout.split()[:2] == second.stdout.split()[:2] == ["False", "None"]
    assert first.stdout.split()[2] != second.stdout.split()[2], "they draw the same random numbers"


def test_errors_and_signals_end_it_as_any_process(bare: Warm) -> None:
    done = bare.run(["-c", "raise KeyError('lost')"])
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "KeyError: 'lost'"
    with pytest.raises(subprocess.CalledProcessError):
        bare.run(["-c", "raise SystemExit(2)"], check=True)
    code = "import os, time; print(os.getpid(), os.getpgid(0), flush=True); time.sleep(60)"
    for number in (signal.SIGKILL, signal.SIGTERM):
        process = bare.popen(["-c", code], start_new_session=True)
        until(lambda process=process: process.stdout.endswith("\n"))
        assert process.stdout.split() == [str(process.pid)] * 2
        assert process.poll() is None
        os.killpg(process.pid, number)
        assert process.wait(20) == process.poll() == -number


def test_it_ends_as_any_process_with_its_threads_and_what_it_has_yet_to_write(bare: Warm) -> None:
    code = "import threading, time; print('a'); threading.Timer(0.05, print, 'b').start()"
    assert bare.run(["-c", code]).stdout == "a\nb\n"


def test_one_that_hangs_is_ended_with_the_error_of_a_new_process(bare: Warm) -> None:
    process = bare.popen(["-c", "import time; time.sleep(60)"])
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.05)
    until(lambda: not Path(f"/proc/{process.pid}").exists())


def test_processes_form_one_group(bare: Warm) -> None:
    code = "import os; print(*(os.environ[n] for n in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_PORT')))"
    group: list[Process] = bare.ranks(2, ["-c", code], env={})
    assert [process.wait() for process in group] == [0, 0]
    (*one, door), (*two, same) = (process.stdout.split() for process in group)
    assert (one, two, door) == (["0", "0", "2"], ["1", "1", "2"], same)


def test_another_program_can_start_them(bare: Warm, tmp_path: Path) -> None:
    code = "import json, sys; print(sys.argv, 'argparse' in sys.modules, sys.stdin.read()); sys.exit(3)"
    done = subprocess.run(
        [bare.executable, "-u", "-c", code, "a"], input="read", capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "['-c', 'a'] False read\n", "")


def test_one_reads_what_it_is_given(bare: Warm) -> None:
    ours, theirs = os.pipe()[::-1]
    process = bare.popen(["-c", "import sys; print(sys.stdin.readline())"], stdin=theirs)
    os.close(theirs)
    assert process.poll() is None
    os.write(ours, b"leash\n")
    os.close(ours)
    assert process.wait(20) == 0
    assert process.stdout == "leash\n\n"
