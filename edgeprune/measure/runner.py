"""One interface to every device: send these models with this recipe, get all samples.

The only runner so far is the host's: a child process, so that this process's threads
and memory do not disturb what is measured.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from operator import truediv
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from edgeprune.errors import MeasurementError, TargetError
from edgeprune.measure.worker import SENTINEL, cpu_name
from edgeprune.records import Machine, Timing
from edgeprune.targets import Probing, Target
from edgeprune.targets import Timing as Recipe

WORKER = Path(__file__).parent / "worker.py"
TIMEOUT_S = 900


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
    """What one model took, whole and by operator, in shares of a reference model."""

    share: float
    nodes: tuple[NodeTime, ...]


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


class Runner(Protocol):
    """What a target must be able to do."""

    def time(
        self, models: Sequence[Path], recipe: Recipe | None = None
    ) -> list[Timing]:
        """Time models against each other: their rounds alternate on the device."""
        ...

    def profile(self, model: Path) -> list[NodeTime]:
        """The runtime's own time per operator, in the order in which they ran."""
        ...

    def probe(self, models: Sequence[Path], reference: Path) -> list[Probe]:
        """Many models, briefly: each whole and by operator, beside a reference."""
        ...

    @property
    def probing(self) -> Probing:
        """How the target wants many models to be timed."""
        ...

    @property
    def threads(self) -> int:
        """How many the runtime may use."""
        ...

    def with_threads(self, threads: int) -> Runner:
        """The same device with another number of threads."""
        ...

    def key(self) -> str:
        """Device, runtime and settings: what must be equal for times to be."""
        ...

    def peak_memory(self, model: Path) -> PeakMemory:
        """What loading and running the model needs, as the system sees it."""
        ...


def runner_for(target: Target, *, seed: int = 0, batch: int = 1) -> Runner:
    """The runner that reaches a target.

    Raises:
        TargetError: nothing reaches it.
    """
    if target.runner == "host":
        return HostRunner(target, seed=seed, batch=batch)
    message = (
        f"Target {target.name!r} is not connected, so no latency can be measured on it "
        "and none is invented: choose --target host, or a target file whose runner "
        "reaches a device."
    )
    raise TargetError(message)


class HostRunner:
    """Measures in child processes of this machine.

    Args:
        seed: of the inputs.
        batch: length of an axis that a file leaves open.
    """

    def __init__(self, target: Target, *, seed: int = 0, batch: int = 1) -> None:
        self.target = target
        self.seed = seed
        self.batch = batch

    def time(
        self, models: Sequence[Path], recipe: Recipe | None = None
    ) -> list[Timing]:
        """Time models in one child process, round by round in turn.

        Args:
            recipe: how long and how often; the target's own by default.
        """
        answer = self._ask(models, "time", recipe)
        return [
            Timing(
                rounds_ms=tuple(tuple(samples) for samples in result["rounds_ms"]),
                warmup_ms=tuple(result["warmup_ms"]),
                load_ms=result["load_ms"],
                threads=self.target.runtime.threads,
                provider=result["provider"],
                runtime=answer["runtime"],
                pinned_cpus=tuple(answer["pinned_cpus"]),
                machine=Machine(**answer["machine"]),
                seed=self.seed,
            )
            for result in answer["results"]
        ]

    def profile(self, model: Path) -> list[NodeTime]:
        """Per-operator times from ONNX Runtime's profiler."""
        return _nodes(self._ask([model], "profile")["results"][0]["nodes"])

    def probe(self, models: Sequence[Path], reference: Path) -> list[Probe]:
        """All models in one child process, one after the other."""
        job = {"reference": str(reference.resolve())}
        results = self._ask(models, "probe", self.probing, job)["results"]
        return [_probe(result) for result in results]

    @property
    def probing(self) -> Probing:
        """The target's own recipe."""
        return self.target.probing

    @property
    def threads(self) -> int:
        """The target's number of threads."""
        return self.target.runtime.threads

    def with_threads(self, threads: int) -> HostRunner:
        """This machine with another number of threads."""
        runtime = self.target.runtime.model_copy(update={"threads": threads})
        target = self.target.model_copy(update={"runtime": runtime})
        return HostRunner(target, seed=self.seed, batch=self.batch)

    def key(self) -> str:
        """This machine's processor, the runtime's version and the target's settings."""
        runtime = self.target.runtime
        return "|".join(
            [
                cpu_name() or platform.machine(),
                f"onnxruntime {version('onnxruntime')}",
                f"{runtime.provider} x{runtime.threads} {runtime.optimization}",
            ]
        )

    def peak_memory(self, model: Path) -> PeakMemory:
        """Resident peaks of a child that loads and runs just this model."""
        return PeakMemory(**self._ask([model], "memory")["results"][0])

    def _ask(
        self,
        models: Sequence[Path],
        mode: str,
        recipe: Recipe | None = None,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> dict[str, Any]:
        job = {
            **more,
            **(recipe or self.target.timing).model_dump(),
            "mode": mode,
            "models": [str(path.resolve()) for path in models],
            "threads": self.target.runtime.threads,
            "provider": self.target.runtime.provider,
            "optimization": self.target.runtime.optimization,
            "seed": self.seed,
            "batch": self.batch,
        }
        return _read_answer(_run_worker(json.dumps(job)), models)


def _probe(result: Mapping[str, Any]) -> Probe:
    """Medians over the rounds of what each was beside the reference.

    What disturbs a machine only ever slows it: of a round the quick samples count.
    """
    reference = [_quick(samples) for samples in result["reference_ms"]]
    whole = [_quick(samples) for samples in result["samples_ms"]]
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
    )


def _quick(samples: Sequence[float]) -> float:
    """The sample that a tenth of them are quicker than."""
    return sorted(samples)[len(samples) // 10]


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


def _run_worker(job: str) -> str:
    """The worker's standard output."""
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}
    try:
        # -P keeps the worker's folder off the path: its files would shadow the stdlib.
        done = subprocess.run(
            [sys.executable, "-P", str(WORKER)],
            input=job,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        message = f"The measurement did not end within {TIMEOUT_S} s."
        raise MeasurementError(message) from error
    if SENTINEL not in done.stdout:
        tail = done.stderr.strip().splitlines()[-1:] or ["no output"]
        message = f"The measuring process ended with code {done.returncode}: {tail[0]}"
        raise MeasurementError(message)
    return done.stdout


def _read_answer(output: str, models: Sequence[Path]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(output.rpartition(SENTINEL)[2])
    if not answer["ok"]:
        names = ", ".join(path.name for path in models)
        message = (
            f"Measuring {names} failed while trying to {answer['stage']}: "
            f"{answer['error'].splitlines()[0]}"
        )
        raise MeasurementError(message)
    return answer
