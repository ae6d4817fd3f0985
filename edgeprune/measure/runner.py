"""Asks a device to measure, and returns its answers as records.

A runner knows a target and a transport that reaches its device; it is the same for all
devices. All that it says of one, the device itself has answered.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import truediv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.errors import DeviceError
from edgeprune.measure.refusals import refusal
from edgeprune.measure.transports import (
    TRANSPORTS,
    Answer,
    Job,
    Mode,
    Transport,
)
from edgeprune.measure.transports.base import received
from edgeprune.progress import LOGGER
from edgeprune.records import Conditions, Device, Machine, Sustained, Timing
from edgeprune.records.measurement import quick_ms
from edgeprune.targets import ProbingRecipe, Target, TimingRecipe

Array = NDArray[np.float32]
PASSING = frozenset(["lost", "server_lost"])  # failures that may be over soon
X86 = frozenset(["x86_64", "amd64", "i686"])
AGAIN_S = (2.0, 10.0, 30.0)  # until a job is tried again


@dataclass(frozen=True, slots=True)
class NodeTime:
    """One operator as the runtime ran it.

    Attributes:
        operator: its kind, such as Conv.
        read: shape of its first input.
        made: shape of its first output.
    """

    name: str
    latency_ms: float
    operator: str = ""
    read: tuple[int, ...] = ()
    made: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Probe:
    """The time of one model, whole and by operator, in shares of a reference model.

    Attributes:
        reference_ms: the time of that.
    """

    share: float
    nodes: tuple[NodeTime, ...]
    reference_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """Resident sizes of a process that runs one model.

    Attributes:
        process_peak_bytes: the highest, less that with the runtime imported.
        run_peak_bytes: the highest while it runs, less that after loading; None where
            the system does not tell.
    """

    process_peak_bytes: int
    run_peak_bytes: int | None


@dataclass(frozen=True)
class Runner:
    """Measures files on the device of a target.

    Attributes:
        seed: of the inputs.
        batch: length of an axis that a file leaves open.
    """

    target: Target
    transport: Transport
    seed: int = 0
    batch: int = 1

    def time(
        self, models: Sequence[Path], recipe: TimingRecipe | None = None
    ) -> list[Timing]:
        """Time models against each other: their rounds alternate on the device.

        Args:
            recipe: how long and how often; the target's own by default.
        """
        answer = self._ask("time", models, recipe)
        return [
            Timing(
                rounds_ms=tuple(tuple(samples) for samples in result["rounds_ms"]),
                warmup_ms=tuple(result["warmup_ms"]),
                load_ms=result["load_ms"],
                threads=self.threads,
                provider=result["provider"],
                runtime=answer["runtime"],
                pinned_cpus=tuple(answer["pinned_cpus"]),
                machine=Machine(**answer["machine"]),
                seed=self.seed,
                conditions=tuple(Conditions(**item) for item in answer["conditions"]),
            )
            for result in answer["results"]
        ]

    def profile(self, model: Path) -> list[NodeTime]:
        """Time every operator by the runtime's own profiler, in the order they ran."""
        return _nodes(self._ask("profile", [model])["results"][0]["nodes"])

    def probe(self, models: Sequence[Path], reference: Path) -> list[Probe]:
        """Time many models briefly, each whole and by operator, beside a reference."""
        results = self._ask("probe", [reference, *models], self.probing)["results"]
        return [_probe(result) for result in results]

    def peak_memory(self, model: Path) -> PeakMemory:
        """Load and run just this model, and see what the system says of the process."""
        return PeakMemory(**self._ask("memory", [model])["results"][0])

    def outputs(
        self, models: Sequence[Path], inputs: Sequence[Sequence[Array]]
    ) -> list[list[list[Array]]]:
        """What the device makes of inputs: for each model and sample, each output.

        Args:
            inputs: for each sample an array for each of the models' inputs.
        """
        given = tuple(tuple(sample) for sample in inputs)
        job = replace(self._job("outputs"), inputs=given)
        return [
            [[received(item) for item in sample] for sample in result["outputs"]]
            for result in self._answer(job, models)["results"]
        ]

    def sustained(self, model: Path, seconds: float) -> Sustained:
        """Run a model without a pause, and say what it took in each minute."""
        job = replace(self._job("sustain"), sustained_s=seconds)
        minutes = self._answer(job, [model])["results"]
        return Sustained(
            seconds,
            tuple(item["median_ms"] for item in minutes),
            tuple(Conditions(**item["after"]) for item in minutes),
        )

    def close(self) -> None:
        """Let go of the device."""
        self.transport.close()

    @cached_property
    def device(self) -> Device:
        """The device, as it describes itself."""
        answer = self._ask("describe", [])
        return Device(Machine(**answer["machine"]), answer["runtime"])

    @property
    def signed_activations(self) -> bool:
        """How int8 files for it store activations: unsigned on x86, if not said.

        Signed ones have no fast kernel there.
        """
        said = self.target.runtime.int8_activations
        if said is None:
            return self.device.machine.architecture.lower() not in X86
        return said == "signed"

    @property
    def probing(self) -> ProbingRecipe:
        """How the target wants many models to be timed."""
        return self.target.probing

    @property
    def threads(self) -> int:
        """How many the runtime may use."""
        return self.target.runtime.threads

    def with_threads(self, threads: int) -> Runner:
        """The same device with another number of threads."""
        runtime = self.target.runtime.model_copy(update={"threads": threads})
        target = self.target.model_copy(update={"runtime": runtime})
        return replace(self, target=target)

    def key(self) -> str:
        """Device, runtime and settings: what must be equal for times to be."""
        runtime, machine = self.target.runtime, self.device.machine
        return "|".join(
            [
                machine.cpu or machine.architecture,
                self.device.runtime,
                f"{runtime.provider} x{runtime.threads} {runtime.optimization}",
            ]
        )

    def _ask(
        self, mode: Mode, files: Sequence[Path], recipe: TimingRecipe | None = None
    ) -> Answer:
        return self._answer(self._job(mode, recipe), files)

    def _job(self, mode: Mode, recipe: TimingRecipe | None = None) -> Job:
        return Job(
            mode,
            self.target.runtime,
            recipe or self.target.timing,
            self.seed,
            self.batch,
        )

    def _answer(self, job: Job, files: Sequence[Path]) -> Answer:
        """Have a job done; again where the way to the device broke in the middle."""
        waits = iter(AGAIN_S)
        while True:
            try:
                answer = self.transport.run(job, files)
            except DeviceError as error:
                wait_s = next(waits, None)
                if error.failure not in PASSING or wait_s is None:
                    raise
                LOGGER.info("%s It is tried again in %g s.", error, wait_s)
                time.sleep(wait_s)
                continue
            if not answer["ok"]:
                raise refusal(self.target, answer, files)
            return answer


def runner_for(target: Target, *, seed: int = 0, batch: int = 1) -> Runner:
    """The runner that reaches a target's device."""
    return Runner(target, TRANSPORTS[target.transport](target), seed, batch)


def _probe(result: Mapping[str, Any]) -> Probe:
    """Medians over the rounds of what each took beside the reference."""
    reference = [quick_ms(samples) for samples in result["reference_ms"]]
    whole = [quick_ms(samples) for samples in result["samples_ms"]]
    rounds = zip(*map(_nodes, result["nodes"]), strict=True)
    return Probe(
        statistics.median(map(truediv, whole, reference)),
        tuple(
            replace(
                same[0],
                latency_ms=statistics.median(
                    map(truediv, (node.latency_ms for node in same), reference)
                ),
            )
            for same in rounds
        ),
        statistics.median(reference),
    )


def _nodes(nodes: Sequence[Mapping[str, Any]]) -> list[NodeTime]:
    return [
        NodeTime(
            node["name"],
            node["ms"],
            node["operator"],
            tuple(node["read"]),
            tuple(node["made"]),
        )
        for node in nodes
    ]
