"""Calculations that do not ask for each other's results, each on a core of its own.

Threads that share one operator wait for each other at the end of it: with the short
ones of a narrow network for much of the time, and on a busy machine for everybody else
who has work to do. A network for each core never waits.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

import torch

from edgeprune.graph.device import CPU

MOST = 8  # at a time: between operators Python runs only one of them
TOGETHER = 1024**3  # bytes that they may take at a time, about
SHARED = 2**20  # numbers: an operator on so many is shared by all threads

Item = TypeVar("Item")
Result = TypeVar("Result")


@cache
def sleep_while_waiting() -> None:
    """Let OpenMP's threads wait asleep, where others want their cores.

    What edgeprune says in the environment comes too late where torch was imported
    before. But GNU's threads soon sleep where there are more of them than cores
    (libgomp's manual, GOMP_SPINCOUNT), so a thread that does nothing holds a team.
    """
    if not _busy():
        return
    begun = threading.Event()

    def hold() -> None:
        torch.zeros(SHARED).add_(1)
        begun.set()
        threading.Event().wait()

    threading.Thread(target=hold, name="team", daemon=True).start()
    begun.wait()


def _busy() -> bool:
    """Whether more wants to run on this machine now than it has cores."""
    load = Path("/proc/loadavg")
    if not load.exists():
        return False
    running, _, _ = load.read_text().split()[3].partition("/")
    return int(running) > (os.cpu_count() or 1)


def on_cores(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    each_bytes: float = 0.0,
    device: torch.device = CPU,
) -> Iterator[Result]:
    """Yield a function's results in the order of the items.

    One after another where there is one core, where two of them take too much memory,
    or on an accelerator. Items are made here, a few ahead.

    Args:
        function: runs operators, but no code of the user's, who may share what he
            likes between calls; nothing is differentiated.
        each_bytes: of memory for a call, about.
    """
    threads = torch.get_num_threads()
    count = min(threads, MOST, int(TOGETHER / max(each_bytes, 1.0)))
    if count < 2 or device != CPU:
        yield from map(function, items)
        return
    ahead: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(count, "core", partial(torch.set_num_threads, 1))
    try:
        for item in items:
            if len(ahead) > count:
                yield ahead.popleft().result()
            ahead.append(pool.submit(function, item))
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # threads to come are given the last number
