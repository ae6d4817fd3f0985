"""Calculations beside each other: in order, one thread each, within the memory."""

import threading
import time

import pytest
import torch

from edgeprune.graph import cores
from edgeprune.graph.cores import on_cores, sleep_while_waiting


@pytest.fixture
def threads():
    """Three of them, on any machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_items(threads):
    def slower_first(number):
        time.sleep((4 - number) * 0.01)
        return number, threading.current_thread().name

    found = list(on_cores(slower_first, range(5)))
    assert [number for number, _ in found] == [*range(5)]
    assert threading.current_thread().name not in {name for _, name in found}


def test_each_has_one_thread_and_all_are_given_back(threads):
    assert list(on_cores(lambda _: torch.get_num_threads(), range(4))) == [1] * 4
    assert torch.get_num_threads() == threads
    seen = []
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert seen == [threads]


def test_inside_of_one_there_are_no_others(threads):
    def inside(_):
        here = threading.current_thread().name
        names = on_cores(lambda _: threading.current_thread().name, range(3))
        return {*names} == {here}

    assert all(on_cores(inside, range(3)))


@pytest.mark.parametrize(
    ("each_bytes", "device"),
    [(cores.TOGETHER, torch.device("cpu")), (0, torch.device("meta"))],
)
def test_large_ones_and_those_of_accelerators_are_one_after_another(
    threads, each_bytes, device
):
    found = on_cores(
        lambda _: (threading.current_thread().name, torch.get_num_threads()),
        range(3),
        each_bytes=each_bytes,
        device=device,
    )
    assert {*found} == {(threading.current_thread().name, threads)}


def test_an_error_ends_it_and_leaves_nothing_running(threads):
    made = []

    def items():
        for number in range(100):
            made.append(number)
            yield number

    def fails(number):
        if number == 2:
            raise ValueError("the third")
        return number

    with pytest.raises(ValueError, match="the third"):
        list(on_cores(fails, items()))
    assert len(made) < 10  # they are made a few ahead
    assert torch.get_num_threads() == threads
    names = {thread.name for thread in threading.enumerate()}
    assert not {name for name in names if name.startswith("core")}


@pytest.mark.parametrize("busy", [True, False])
def test_a_team_is_held_where_others_want_the_cores(monkeypatch, threads, busy):
    """Of one thread here: one of more would slow the tests that follow."""
    torch.set_num_threads(1)
    monkeypatch.setattr(cores, "_busy", lambda: busy)
    held = []
    thread = threading.Thread

    def started(**named):
        held.append(thread(**named))
        return held[-1]

    monkeypatch.setattr(threading, "Thread", started)
    sleep_while_waiting.cache_clear()
    sleep_while_waiting()
    sleep_while_waiting()
    assert [one.is_alive() for one in held] == [True] * busy
    sleep_while_waiting.cache_clear()
