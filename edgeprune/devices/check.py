"""Is a device there, what is it, does the runtime run there, and is it calm?"""

from __future__ import annotations

import re
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgeprune.devices.runner import X86, Runner
from edgeprune.errors import DeviceError
from edgeprune.records import Device, DeviceCheck
from edgeprune.targets import Target, TimingRecipe
from edgeprune.temporary import temporary_folder
from edgeprune.units import megabytes

BRIEF = TimingRecipe(warmup=1, warmup_s=0, iterations=3, seconds=0, rounds=1)
WARM_C = 75.0  # boards slow down from 80 on
BUSY = 0.5  # of the cores
SLOW_GOVERNORS = ("powersave", "conservative", "ondemand")
HASHED = ((1, 24), (1, 26))  # versions that remember convolutions by their inputs


def check_device(runner: Runner) -> DeviceCheck:
    """Reach a device, run a small network on it, and say what is wrong."""
    began = time.monotonic()
    target = runner.target
    device = provider = None
    failure = problem = ""
    with closing(runner), temporary_folder() as folder:
        try:
            device = runner.device
            path = folder / "small.onnx"
            write_small_network(path)
            provider = runner.time([path], BRIEF)[0].provider
        except DeviceError as error:
            failure, problem = error.failure, str(error)
    return DeviceCheck(
        target=target.name,
        transport=target.transport,
        device=device,
        failure=failure,
        problem=problem,
        provider=provider,
        warnings=() if device is None else tuple(_warnings(target, device)),
        seconds=time.monotonic() - began,
    )


def write_small_network(path: Path) -> None:
    """A convolution and an activation, as an ONNX file that old runtimes load."""
    weight = np.full((8, 3, 3, 3), 0.1, dtype=np.float32)
    nodes = [
        helper.make_node("Conv", ["input", "weight"], ["made"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["made"], ["output"]),
    ]
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, 32, 32])
        for name, channels in (("input", 3), ("output", 8))
    ]
    held = [onnx.numpy_helper.from_array(weight, "weight")]
    graph = helper.make_graph(nodes, "small", tensors[:1], tensors[1:], held)
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def version_of(runtime: str) -> tuple[int, ...]:
    """The version in what a runtime is called; empty if there is none."""
    found = re.search(r"(\d+(?:\.\d+)+)", runtime)
    return tuple(map(int, found[1].split("."))) if found else ()


def _warnings(target: Target, device: Device) -> list[str]:
    return [
        *_of_runtime(target, device),
        *_of_processor(target, device),
        *_of_state(device),
    ]


def _of_runtime(target: Target, device: Device) -> list[str]:
    found: list[str] = []
    version, oldest = version_of(device.runtime), version_of(target.runtime.oldest)
    if version and version < oldest:
        found.append(
            f"{device.runtime} is older than {target.runtime.oldest}, which files are "
            "made for: install a newer one, or set runtime.oldest"
        )
    first, last = HASHED
    if "sme" in device.machine.features and first <= version[:2] <= last:
        found.append(
            f"{device.runtime} remembers convolutions by a hash of their inputs on "
            "processors with SME, which makes it faster than any application: install "
            "1.27 or newer"
        )
    return found


def _of_processor(target: Target, device: Device) -> list[str]:
    machine, runtime = device.machine, target.runtime
    found: list[str] = []
    if runtime.threads > machine.cores:
        found.append(
            f"runtime.threads is {runtime.threads}, and there are {machine.cores} cores"
        )
    limit = target.limits.memory_mb
    if limit and machine.memory_bytes and limit * 1e6 > machine.memory_bytes:
        found.append(
            f"limits.memory_mb is {limit:g}, and there are "
            f"{megabytes(machine.memory_bytes)} in all"
        )
    x86 = machine.architecture.lower() in X86
    if x86 and runtime.int8_activations == "signed":
        found.append(
            "int8 files would have signed activations, for which x86 has no fast "
            "kernel: set runtime.int8_activations to unsigned"
        )
    return found


def _of_state(device: Device) -> list[str]:
    state, found = device.conditions, list[str]()
    if state.throttled:
        found.append(
            "it is slowed down, by heat or a weak supply: cool it, and look "
            "at the supply"
        )
    if state.temperature_c is not None and state.temperature_c > WARM_C:
        found.append(f"it has {state.temperature_c:.0f} degrees: let it cool down")
    if state.governor in SLOW_GOVERNORS:
        found.append(
            f"the governor of its clock is {state.governor}: with performance, times "
            "are steadier"
        )
    if state.load is not None and state.load > BUSY * device.machine.cores:
        found.append(f"something else runs there: its load is {state.load:.1f}")
    return found
