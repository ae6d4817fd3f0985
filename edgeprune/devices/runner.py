"""Asks a device to measure, and returns its answers as records.

A runner knows a target and a transport that reaches its device; it is the same for all
devices. All that it says of one, the device itself has answered.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import truediv
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeprune.devices.alone import alone
from edgeprune.devices.refusals import refusal
from edgeprune.devices.transports import (
    TRANSPORTS,
    Answer,
    Job,
    Mode,
    Transport,
)
from edgeprune.devices.transports.base import received
from edgeprune.errors import DeviceError
from edgeprune.progress import LOGGER
from edgeprune.records import Device, Machine, Sustained, Timing, from_values
from edgeprune.records.measurement import quick_ms
from edgeprune.targets import ProbingRecipe, Target, TimingRecipe

Found = TypeVar("Found")
Array = NDArray[np.float32]
PASSING = frozenset(["lost", "server_lost"])  # failures that may be over soon
# The same, of a device that has answered before: it, or its server, begins anew.
PASSING_LATER = PASSING | {"no_server", "closed", "refused", "route", "silent"}
OF_A_TIMING = ("runtime", "pinned_cpus", "machine", "conditions")
X86 = frozenset(["x86_64", "amd64", "i686"])
MOST_SAMPLES = 500  # of a round that are kept
AGAIN_S = (2.0, 10.0, 30.0)  # until a job is tried again


@dataclass(frozen=True, slots=True)
class NodeTime:
    """One operator as the runtime ran it.

    Attributes:
        operator: its kind, such as Conv.
        read: shape of its first input.
        made: shape of its first output.
        provider: that ran it; empty where the runtime does not say.
    """

    name: str
    latency_ms: float
    operator: str = ""
    read: tuple[int, ...] = ()
    made: tuple[int, ...] = ()
    provider: str = ""


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
        estimates: the device is not there: nothing but times is known of it.
    """

    target: Target
    transport: Transport
    seed: int = 0
    batch: int = 1
    estimates: bool = False

    def time(
        self, models: Sequence[Path], recipe: TimingRecipe | None = None
    ) -> list[Timing]:
        """Time models against each other: their rounds alternate on the device.

        Args:
            recipe: how long and how often; the target's own by default.
        """
        own = {"threads": self.threads, "seed": self.seed}

        def read(answer: Answer) -> list[Timing]:
            same = {**own, **{name: answer[name] for name in OF_A_TIMING}}
            rows = [{**same, **_thinned(result)} for result in answer["results"]]
            return from_values(list[Timing], rows)

        return self._ask(self._job("time", recipe), models, read)

    def profile(
        self, model: Path, recipe: TimingRecipe | None = None
    ) -> list[NodeTime]:
        """Time every operator by the runtime's own profiler, in the order they ran."""

        def read(answer: Answer) -> list[NodeTime]:
            return _nodes(answer["results"][0]["nodes"])

        return self._ask(self._job("profile", recipe), [model], read)

    def probe(self, models: Sequence[Path], reference: Path) -> list[Probe]:
        """Time many models briefly, each whole and by operator, beside a reference."""
        job = self._job("probe", self.probing)

        def read(answer: Answer) -> list[Probe]:
            return [_probe(result) for result in answer["results"]]

        return self._ask(job, [reference, *models], read)

    def peak_memory(self, model: Path) -> PeakMemory:
        """Load and run just this model, and see what the system says of the process."""

        def read(answer: Answer) -> PeakMemory:
            return from_values(PeakMemory, answer["results"][0])

        return self._ask(self._job("memory"), [model], read)

    def outputs(
        self, models: Sequence[Path], inputs: Sequence[Sequence[Array]]
    ) -> list[list[list[Array]]]:
        """What the device makes of inputs: for each model and sample, each output.

        Args:
            inputs: for each sample an array for each of the models' inputs.
        """
        given = tuple(tuple(sample) for sample in inputs)

        def read(answer: Answer) -> list[list[list[Array]]]:
            return [
                [[received(item) for item in sample] for sample in result["outputs"]]
                for result in answer["results"]
            ]

        return self._ask(replace(self._job("outputs"), inputs=given), models, read)

    def sustained(self, model: Path, seconds: float) -> Sustained:
        """Run a model without a pause, and say what it took in each minute."""
        job = replace(self._job("sustain"), sustained_s=seconds)

        def read(answer: Answer) -> Sustained:
            minutes = answer["results"]
            found = {
                "seconds": seconds,
                "minutes_ms": [item["median_ms"] for item in minutes],
                "conditions": [item["after"] for item in minutes],
            }
            return from_values(Sustained, found)

        return self._ask(job, [model], read)

    def close(self) -> None:
        """Let go of the device."""
        self.transport.close()

    @cached_property
    def device(self) -> Device:
        """The device, as it describes itself."""

        def read(answer: Answer) -> Device:
            states = answer["conditions"] or [{}]
            found = {name: answer[name] for name in ("machine", "runtime", "providers")}
            return from_values(Device, {**found, "conditions": states[-1]})

        return self._ask(self._job("describe"), [], read)

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
    def narrow_weights(self) -> bool:
        """Whether weights of int8 files have 7 bits, if not said: x86 without VNNI.

        That adds up pairs of products in 16 bits, which 8 bits of both overflow.
        """
        said = self.target.runtime.int8_weight_bits
        if said is not None:
            return said == 7
        return lacks_vnni(self.device.machine)

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

    def _job(self, mode: Mode, recipe: TimingRecipe | None = None) -> Job:
        return Job(
            mode,
            self.target.runtime,
            recipe or self.target.timing,
            self.seed,
            self.batch,
        )

    def _ask(
        self, job: Job, files: Sequence[Path], read: Callable[[Answer], Found]
    ) -> Found:
        """Have a job done, and read the answer."""
        with alone():
            answer = self._answer(job, files)
        if not answer["ok"]:
            raise refusal(self.target, answer, files)
        try:
            return read(answer)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            message = (
                f"Target {self.target.name!r}: the device's answer cannot be read "
                f"({type(error).__name__}): is its program of another version?"
            )
            raise DeviceError("protocol", message) from error

    def _answer(self, job: Job, files: Sequence[Path]) -> Answer:
        """The device's answer; again where the way to it broke in the middle."""
        waits = iter(AGAIN_S)
        while True:
            try:
                return self.transport.run(job, files)
            except DeviceError as error:
                wait_s = next(waits, None)
                passing = PASSING if job.mode == "describe" else PASSING_LATER
                if error.failure not in passing or wait_s is None:
                    raise
                LOGGER.info("%s It is tried again in %g s.", error, wait_s)
                time.sleep(wait_s)


def lacks_vnni(machine: Machine) -> bool:
    """Whether it is an x86 that is known to add up pairs of products in 16 bits."""
    x86 = machine.architecture.lower() in X86
    fast = any("vnni" in name for name in machine.features)
    return x86 and bool(machine.features) and not fast


def runner_for(target: Target, *, seed: int = 0, batch: int = 1) -> Runner:
    """The runner that reaches a target's device."""
    return Runner(target, TRANSPORTS[target.transport](target), seed, batch)


def _thinned(result: Mapping[str, Any]) -> dict[str, Any]:
    """A timing with at most so many samples of each round, evenly spaced in it.

    A network of some microseconds runs ten thousand times in a round.
    """

    def some(samples: Sequence[float]) -> Sequence[float]:
        return samples[:: -(-len(samples) // MOST_SAMPLES) or 1]

    rounds = [some(samples) for samples in result["rounds_ms"]]
    return {**result, "rounds_ms": rounds, "warmup_ms": some(result["warmup_ms"])}


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
            node.get("provider", ""),
        )
        for node in nodes
    ]
