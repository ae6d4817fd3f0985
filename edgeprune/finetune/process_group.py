"""The processes that train together: those of `accelerate launch`, or this one alone.

One of them, the main process, does everything: it profiles, measures, prunes, prints
and writes. The others wait in `work_for_main` until it trains, then take their part of
every batch. So a plan is the same however many there are, and nothing else runs on the
main process's machine while it is timed.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

from edgeprune.data import Batches, Splits
from edgeprune.data.splits import Batch, Divisible
from edgeprune.errors import ConfigError, EdgepruneError
from edgeprune.graph.device import CPU
from edgeprune.launch import launched

PATIENCE = timedelta(days=7)  # that others wait for while the main process measures
Work = Callable[[Splits], object]
T = TypeVar("T")


class ProcessGroup:
    """This process alone.

    Attributes:
        rank: of this process among so many; the main one is the first.
        device: to train on.
    """

    rank, count = 0, 1

    def __init__(self, device: torch.device = CPU) -> None:
        self.device = device

    @property
    def main(self) -> bool:
        """Whether this process measures, writes and prints."""
        return self.rank == 0

    def call(self, work: Work) -> None:
        """Let the others do the same as the main process is about to do."""

    def sums(self, *values: float) -> list[float]:
        """Numbers, added up over all processes."""
        return list(values)

    def average_(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by their means over all processes."""

    def agreed(self, value: Any) -> Any:
        """Send a value of the main process to all of them."""
        return value

    def part(self, batches: Batches) -> Iterator[Batch]:
        """This process's rows of each batch; every row is in one process."""
        return iter(batches)


class Launched(ProcessGroup):
    """One of several processes, as Hugging Face Accelerate has started them."""

    def __init__(self) -> None:
        try:
            from accelerate import Accelerator, InitProcessGroupKwargs
        except ImportError as error:
            message = (
                "Several processes need Accelerate: pip install 'edgeprune[accelerate]'"
            )
            raise ConfigError(f"{message}.") from error
        patient = InitProcessGroupKwargs(timeout=PATIENCE)
        self._accelerator = Accelerator(
            cpu=not torch.cuda.is_available(), kwargs_handlers=[patient]
        )
        atexit.register(_leave)  # else the connections' threads may abort the exit
        self.rank = self._accelerator.process_index
        self.count = self._accelerator.num_processes
        super().__init__(self._accelerator.device)

    def call(self, work: Work) -> None:
        """Hand work to those that wait in `work_for_main`."""
        self.agreed(work)

    def sums(self, *values: float) -> list[float]:
        """In float64, which no number of samples exceeds."""
        held = torch.tensor(values, dtype=torch.float64, device=self.device)
        return self._accelerator.reduce(held, "sum").tolist()  # type: ignore[union-attr]

    def average_(self, tensors: Iterable[Tensor]) -> None:
        """In one message."""
        held = list(tensors)
        flat = torch.cat([item.reshape(-1) for item in held])
        mean = self._accelerator.reduce(flat, "mean")
        assert isinstance(mean, Tensor)  # as it was
        parts = mean.split([item.numel() for item in held])
        for item, part in zip(held, parts, strict=True):
            item.copy_(part.reshape(item.shape))

    def agreed(self, value: Any) -> Any:
        """Sent from process to process, never through a file."""
        import cloudpickle
        from accelerate.utils import broadcast_object_list

        held = [cloudpickle.dumps(value) if self.main else None]
        broadcast_object_list(held)
        assert held[0] is not None  # from the main process
        return value if self.main else cloudpickle.loads(held[0])

    def part(self, batches: Batches) -> Iterator[Batch]:
        """Read by each process for itself where it can be; else by the main one."""
        if isinstance(batches, Divisible):
            yield from batches.part(self.rank, self.count)
            return
        source = iter(batches) if self.main else None
        while True:
            batch = self.agreed(None if source is None else next(source, None))
            if batch is None:
                return
            x, y = batch
            yield x[self.rank :: self.count], y[self.rank :: self.count]


def _leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@dataclass(frozen=True)
class Ended:
    """The end of the main process's work.

    Attributes:
        result: what it came to.
        failure: why it came to nothing.
    """

    result: object = None
    failure: str = ""


@cache
def team() -> ProcessGroup:
    """The processes that this one belongs to.

    Raises:
        ConfigError: there are several, and Accelerate is not installed.
    """
    return Launched() if launched() else ProcessGroup()


def work_for_main(splits: Splits) -> object:
    """Take part in what the main process trains, until that is over.

    Returns:
        What the main process has come to.

    Raises:
        EdgepruneError: it has failed.
    """
    while True:
        work = team().agreed(None)
        if not isinstance(work, Ended):
            work(splits)
        elif work.failure:
            raise EdgepruneError(work.failure)
        else:
            return work.result


def run_as_main(work: Callable[[], T]) -> T:
    """Do the main process's work and let those that wait in `work_for_main` go."""
    ended = Ended(failure="the main process was stopped")
    try:
        result = work()
        ended = Ended(result)
    except EdgepruneError as error:
        ended = Ended(failure=str(error))
        raise
    finally:
        team().agreed(ended)
    return result
