"""A device that is not connected: it answers by what is known of it, and says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from edgeprune.devices.transports import Answer, FakeTransport, Job
from edgeprune.devices.transports.fake import Operator
from edgeprune.estimate.known import KnownDevice, known_device
from edgeprune.estimate.posterior import DeviceCosts, Interval
from edgeprune.estimate.work import Floats, work_of, work_of_operator
from edgeprune.files import cache_folder, sha256, write_cache
from edgeprune.records import Measurements, from_json, to_json
from edgeprune.records.measurement import ESTIMATED
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
        self._told = {} if measurements is None else told_by(measurements)
        self._answering = FakeTransport(self._operator_ms)

    def run(self, job: Job, files: Sequence[Path]) -> Answer:
        """Answer by what is known."""
        answer = self._answering.run(job, files)
        if job.mode == "time":
            for path, result in zip(files, answer["results"], strict=True):
                self._remember(path, job.batch)
                if (ms := self._told.get(sha256(path))) is not None:
                    result["rounds_ms"] = [[ms] for _ in result["rounds_ms"]]
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
        if not self._known:
            return self._device.basis
        return (
            f"{self._device.basis}, corrected by {len(self._known)} files timed there"
        )

    def _operator_ms(self, item: Operator) -> float:
        return self._costs.ms(work_of_operator(item))

    @cached_property
    def _costs(self) -> DeviceCosts:
        """The costs there, as files that were timed have corrected them."""
        if not self._known:
            return self._device.costs
        works, times = zip(*self._known, strict=True)
        return self._device.costs.corrected(works, times)

    @cached_property
    def _known(self) -> list[tuple[Floats, float]]:
        """Work and time of the files that somebody timed, where their work is known."""
        found: list[tuple[Floats, float]] = []
        for digest, ms in self._told.items():
            with suppress(OSError, ValueError, ValidationError):
                work = from_json(tuple[float, ...], self._kept(digest).read_bytes())
                found.append((np.array(work), ms))
        return found

    def _remember(self, path: Path, batch: int) -> None:
        """Keep what a file consists of, so that its time can correct others later."""
        kept = self._kept(sha256(path))
        if not kept.exists():
            write_cache(kept, to_json(tuple(work_of(path, batch).tolist())))

    def _kept(self, digest: str) -> Path:
        return cache_folder() / "estimated" / self._target.name / f"{digest[:32]}.json"


def told_by(measurements: Measurements) -> Mapping[str, float]:
    """Times of files by their hashes."""
    return {
        item.sha256: item.median_ms
        for item in measurements.files
        if item.sha256 is not None
    }
