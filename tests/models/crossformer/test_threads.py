"""Work shared among threads: every part once, on one thread each, and nothing that the caller would miss."""

from __future__ import annotations

import os
from collections.abc import Iterator
from threading import Thread, current_thread, get_ident

import pytest
import torch
from torch.overrides import BaseTorchFunctionMode

from cfviz.models.crossformer import threads
from cfviz.models.crossformer.attend import attend_by_head
from cfviz.models.crossformer.threads import share


@pytest.fixture
def three() -> Iterator[None]:
    """PyTorch with three threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def whose(n: int) -> list[tuple[int, int, bool, bool]]:
    """Share n parts; of each, in its order: its thread, PyTorch's threads there, and the modes."""
    seen: dict[int, tuple[int, int, bool, bool]] = {}

    def work(part: int) -> None:
        torch.ones(8).add_(1)
        assert part not in seen
        modes = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
        seen[part] = (get_ident(), torch.get_num_threads(), *modes)

    share(work, range(n))
    assert sorted(seen) == list(range(n))
    return [seen[i] for i in range(n)]


@pytest.mark.usefixtures("three")
def test_every_part_is_done_once_with_one_thread_and_the_callers_mode() -> None:
    with torch.inference_mode():
        found = whose(50)
    assert {(n, inference, grad) for _, n, inference, grad in found} == {(1, True, False)}
    assert get_ident() not in {ident for ident, *_ in found}
    with torch.no_grad():
        assert {(n, inference, grad) for _, n, inference, grad in whose(50)} == {(1, False, False)}
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three")
def test_threads_that_begin_later_have_as_many_as_before() -> None:
    share(lambda _: None, range(9))
    seen: list[int] = []
    later = Thread(target=lambda: (torch.ones(8).add_(1), seen.append(torch.get_num_threads())))
    later.start()
    later.join()
    assert seen == [3]


def test_one_thread_or_one_part_is_done_where_it_is_asked_for() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert {ident for ident, *_ in whose(5)} == {get_ident()}
        torch.set_num_threads(2)
        assert [(ident, n) for ident, n, *_ in whose(1)] == [(get_ident(), 2)]
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("three")
def test_whoever_watches_a_thread_sees_all_work() -> None:
    with BaseTorchFunctionMode():
        assert {ident for ident, *_ in whose(5)} == {get_ident()}
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]):
        assert {ident for ident, *_ in whose(5)} == {get_ident()}


@pytest.mark.usefixtures("three")
def test_the_first_fault_is_the_callers_and_ends_the_work() -> None:
    begun: list[int] = []

    def work(part: int) -> None:
        begun.append(part)
        raise ValueError(f"part {part}")

    with pytest.raises(ValueError, match="part"):
        share(work, range(1000))
    assert len(begun) <= 3
    assert len(whose(7)) == 7, "the threads are there for the next work"


@pytest.mark.usefixtures("three")
def test_many_callers_and_more_threads_share_at_once() -> None:
    done: list[str] = []

    def caller(n: int) -> None:
        torch.set_num_threads(n)
        share(lambda _: done.append(current_thread().name), range(40))

    callers = [Thread(target=caller, args=(2 + i % 5,)) for i in range(12)]
    for one in callers:
        one.start()
    for one in callers:
        one.join(30)
    assert len(done) == 12 * 40


@pytest.mark.usefixtures("three")
def test_a_forked_process_makes_threads_of_its_own() -> None:
    share(lambda _: None, range(9))
    child = os.fork()
    if child == 0:
        os._exit(0 if not threads._teams and threads._lock.acquire(timeout=1) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.usefixtures("three")
@torch.inference_mode()
def test_attention_is_the_same_bit_for_bit_however_many_threads_share_it() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(9, 12, 3, 4, 8).permute(2, 0, 3, 1, 4).unbind(0)
    q[3] *= 300  # too steep for plain powers, in some groups only
    bias, mask = torch.randn(1, 4, 3, 4, 3, 4), torch.zeros(3, 12)
    mask[1:, :5] = -1e6
    given = q, k, v, bias, torch.tensor([0, 1, 2]), 0.3, mask
    shared = attend_by_head(*given)
    torch.set_num_threads(1)
    torch.testing.assert_close(attend_by_head(*given), shared, rtol=0, atol=0)
    logits = q.double() @ k.double().mT * 0.3 + bias.double().reshape(1, 4, 12, 12)
    logits += mask.double().repeat(3, 1)[:, None, None]
    torch.testing.assert_close(shared.double(), logits.softmax(-1) @ v.double(), rtol=1e-3, atol=1e-3)
