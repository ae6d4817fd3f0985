"""A device that is made up: its times follow from the files and from nothing else.

For tests, and for studies that must come out the same every time. It says of itself,
in every report, that it is no machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from edgeprune.devices.transports.base import Answer, Job, sent
from edgeprune.devices.worker import turns
from edgeprune.onnx_files.feeds import inputs_of
from edgeprune.onnx_files.operators import onnx_operator

BLOCK = 8  # channels that the device computes together
MACS_PER_MS = 20e6
ELEMENTS_PER_MS = 2e6  # of operators that only move values
LAUNCH_MS = 1e-3  # of each operator
INT8_GAIN = 2.0
MACHINE = {
    "system": "made up",
    "architecture": "x86_64",
    "cores": 4,
    "memory_bytes": 2**30,
}


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of an ONNX file.

    Attributes:
        kind: such as Conv.
        read: shape of its first input.
        made: shape of its first output.
        quantized: whether it reads int8 values.
        weights: how many it has.
        kernel: at how many positions a convolution reads.
        groups: of a convolution.
    """

    name: str
    kind: str
    read: tuple[int, ...]
    made: tuple[int, ...]
    macs: int
    quantized: bool
    weights: int = 0
    kernel: int = 1
    groups: int = 1


def blocked_ms(item: Operator) -> float:
    """A time with steps: channels count in whole blocks, int8 is twice as fast."""
    if onnx_operator(item.kind).free:
        return 0.0
    if not item.macs:
        return LAUNCH_MS + math.prod(item.made) / ELEMENTS_PER_MS
    waste = 1.0
    for shape in (item.read, item.made):
        channels = shape[1 if len(shape) > 2 else -1]
        waste *= math.ceil(channels / BLOCK) * BLOCK / channels
    gain = INT8_GAIN if item.quantized else 1.0
    return LAUNCH_MS + item.macs * waste / MACS_PER_MS / gain


def steady(turn: int) -> float:  # noqa: ARG001  other loads change with it
    """The load of a machine that does nothing else."""
    return 1.0


class FakeTransport:
    """Answers as the worker would, by a formula.

    Args:
        operator_ms: the time of one operator on an idle machine.
        load: by how much the machine is slower than that; it is asked at every turn
            of a model in a measurement, with the number of turns before it.
        cpu: what it calls itself; two that differ need two names.
    """

    def __init__(
        self,
        operator_ms: Callable[[Operator], float] = blocked_ms,
        load: Callable[[int], float] = steady,
        cpu: str = "made-up device",
    ) -> None:
        self._operator_ms, self._load = operator_ms, load
        self._machine = {**MACHINE, "cpu": cpu}
        self.turns = 0
        self.jobs: list[tuple[Job, tuple[Path, ...]]] = []

    def run(self, job: Job, files: Sequence[Path]) -> Answer:
        """Answer as the worker would."""
        self.jobs.append((job, tuple(files)))
        answers = {
            "describe": self._describe,
            "time": self._time,
            "profile": self._profile,
            "probe": self._probe,
            "memory": self._memory,
            "outputs": self._outputs,
            "sustain": self._sustain,
        }
        return {
            "ok": True,
            "results": answers[job.mode](job, files),
            "runtime": "made-up runtime 1",
            "pinned_cpus": [],
            "machine": self._machine,
            "conditions": [],
            "providers": [job.runtime.provider],
        }

    def close(self) -> None:
        """Nothing is held."""

    def latency_ms(self, path: Path, batch: int = 1) -> float:
        """Return the time of a file on the idle machine."""
        return sum(map(self._operator_ms, operators_of(path, batch)))

    def _describe(self, job: Job, files: Sequence[Path]) -> list[Any]:  # noqa: ARG002
        return []

    def _time(self, job: Job, files: Sequence[Path]) -> list[Any]:
        each = [self.latency_ms(path, job.batch) for path in files]
        rounds: list[list[list[float]]] = [[] for _ in files]
        for index in turns(len(files), job.recipe.rounds):
            rounds[index].append(self._samples(job, each[index]))
        return [
            {
                "rounds_ms": samples,
                "warmup_ms": [ms],
                "load_ms": 1.0,
                "provider": job.runtime.provider,
            }
            for ms, samples in zip(each, rounds, strict=True)
        ]

    def _samples(self, job: Job, ms: float) -> list[float]:
        load, self.turns = self._load(self.turns), self.turns + 1
        return [ms * load] * max(1, job.recipe.iterations)

    def _profile(self, job: Job, files: Sequence[Path]) -> list[Any]:
        return [{"nodes": self._nodes(path, job)} for path in files]

    def _nodes(self, path: Path, job: Job) -> list[dict[str, Any]]:
        return [
            {
                "name": item.name,
                "operator": item.kind,
                "read": list(item.read),
                "made": list(item.made),
                "ms": self._operator_ms(item),
            }
            for item in operators_of(path, job.batch)
        ]

    def _probe(self, job: Job, files: Sequence[Path]) -> list[Any]:
        reference, *models = files
        whole = self.latency_ms(reference, job.batch)
        rounds = range(job.recipe.rounds)
        return [
            {
                "reference_ms": [[whole] for _ in rounds],
                "samples_ms": [[self.latency_ms(path, job.batch)] for _ in rounds],
                "nodes": [self._nodes(path, job) for _ in rounds],
            }
            for path in models
        ]

    def _memory(self, job: Job, files: Sequence[Path]) -> list[Any]:  # noqa: ARG002
        size = files[0].stat().st_size
        return [{"process_peak_bytes": 2 * size, "run_peak_bytes": size}]

    def _outputs(self, job: Job, files: Sequence[Path]) -> list[Any]:
        """What the runtime here makes of them: a made-up device computes right."""
        return [{"outputs": _run_here(path, job)} for path in files]

    def _sustain(self, job: Job, files: Sequence[Path]) -> list[Any]:
        minutes = max(1, round(job.sustained_s / 60))
        ms = self.latency_ms(files[0], job.batch)
        return [{"median_ms": ms, "runs": 1, "after": {}} for _ in range(minutes)]


def _run_here(path: Path, job: Job) -> list[list[dict[str, Any]]]:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = inputs_of(session)
    feeds = [
        {
            item.name: value.astype(item.dtype)
            for item, value in zip(given, sample, strict=True)
        }
        for sample in job.inputs
    ]
    return [
        [sent(np.asarray(made)) for made in session.run(None, held)] for held in feeds
    ]


def operators_of(path: Path, batch: int = 1) -> list[Operator]:
    """The operators of an ONNX file in the order in which they run.

    Args:
        batch: length of an axis that the file leaves open.
    """
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    shapes = {item.name: tuple(item.dims) for item in graph.initializer}
    for item in (*graph.input, *graph.value_info, *graph.output):
        sizes = item.type.tensor_type.shape.dim
        shapes[item.name] = tuple(size.dim_value or batch for size in sizes)
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    return [
        Operator(
            node.name or node.output[0],
            node.op_type,
            shapes.get(node.input[0], ()) if node.input else (),
            shapes.get(node.output[0], ()),
            _macs(node, shapes),
            bool(node.input) and made_by.get(node.input[0]) == "DequantizeLinear",
            *_kernel(node, shapes),
        )
        for node in graph.node
    ]


def _kernel(
    node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]
) -> tuple[int, int, int]:
    """How many weights a layer has, how large its kernel is, in how many groups."""
    if not onnx_operator(node.op_type).layer:
        return 0, 1, 1
    weight = shapes.get(node.input[1], ())
    groups = next((item.i for item in node.attribute if item.name == "group"), 1)
    return math.prod(weight), math.prod(weight[2:]), groups


def _macs(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    if not onnx_operator(node.op_type).layer:
        return 0
    read, weight = (shapes.get(name, ()) for name in node.input[:2])
    made = shapes.get(node.output[0], ())
    if node.op_type == "Conv":
        return math.prod(made) * math.prod(weight[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(read) * math.prod(weight[1:])
    return math.prod(made) * (read[-1] if read else 0)
