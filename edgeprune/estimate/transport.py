"""A device that is not connected: it answers by what is known of it, and says so."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from edgeprune.devices.transports import Answer, FakeTransport, Job
from edgeprune.devices.transports.fake import Operator
from edgeprune.estimate.known import KnownDevice, known_device
from edgeprune.estimate.posterior import DeviceCosts, Interval
from edgeprune.estimate.work import KINDS, work_of, work_of_operator
from edgeprune.files import sha256
from edgeprune.records import Measurements
from edgeprune.records.measurement import ESTIMATED, TOLD
from edgeprune.targets import Target


class EstimatedTransport:
    """Answers as a device would, by its costs.

    Args:
        measurements: of files that somebody timed there: they are taken as they are,
            and correct the estimates of all others.
    """

    def __init__(
        self, target: Target, measurements: Measurements | None = None
    ) -> None:
        self._target = target
        files = measurements.files if measurements is not None else ()
        known = {item.sha256: item for item in files if item.sha256 is not None}
        self._told = {digest: item.median_ms for digest, item in known.items()}
        self._works = {
            digest: np.array(item.work)
            for digest, item in known.items()
            if item.work is not None and len(item.work) == len(KINDS)
        }
        self._answering = FakeTransport(self._operator_ms)

    def run(self, job: Job, files: Sequence[Path]) -> Answer:
        """Answer by what is known."""
        self._recognize(files, job.batch)
        answer = self._answering.run(job, files)
        if job.mode == "time":
            for path, result in zip(files, answer["results"], strict=True):
                if (ms := self._told.get(sha256(path))) is not None:
                    result["rounds_ms"] = [[ms] for _ in result["rounds_ms"]]
                    result["runtime"] = TOLD
        if job.mode == "memory":
            answer["results"] = [{"process_peak_bytes": 0, "run_peak_bytes": None}]
        return {
            **answer,
            "runtime": f"{ESTIMATED} from {self._basis}",
            "machine": {
                "system": "not connected",
                "architecture": "unknown",
                "cpu": f"{self._target.name}, not connected",
                "cores": self._target.runtime.threads,
                "memory_bytes": None,
            },
        }

    def close(self) -> None:
        """Nothing is held."""

    def interval(self, path: Path, batch: int = 1) -> Interval:
        """A file's time, with the interval that holds it four times of five."""
        if (ms := self._told.get(sha256(path))) is not None:
            return Interval(ms, ms, ms)
        return self._costs.interval(work_of(path, batch))

    def is_told(self, path: Path) -> bool:
        """Whether somebody timed that very file there."""
        return sha256(path) in self._told

    @cached_property
    def _device(self) -> KnownDevice:
        return known_device(self._target)

    @property
    def _basis(self) -> str:
        if not self._works:
            return self._device.basis
        return f"{self._device.basis}, corrected by {len(self._works)} timed there"

    @property
    def unknown(self) -> int:
        """How many files were timed of which nobody knows what they compute."""
        return len(self._told) - len(self._works)

    def _operator_ms(self, item: Operator) -> float:
        return self._costs.ms(work_of_operator(item))

    @cached_property
    def _costs(self) -> DeviceCosts:
        """The costs there, as files that were timed have corrected them."""
        if not self._works:
            return self._device.costs
        times = [self._told[digest] for digest in self._works]
        return self._device.costs.corrected(list(self._works.values()), times)

    def _recognize(self, files: Sequence[Path], batch: int) -> None:
        """See what files compute that somebody timed, where that was not told."""
        for path in files:
            digest = sha256(path)
            if digest in self._told and digest not in self._works:
                self._works[digest] = work_of(path, batch)
                self.__dict__.pop("_costs", None)  # they are known better now
