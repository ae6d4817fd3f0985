"""The roofline of a device, measured once by its own runtime and kept.

A layer takes at least as long as its products at the rate of a large product of
matrices or a wide convolution, and as moving what it reads and writes. (Williams,
Waterman and Patterson, "Roofline", CACM 2009; that each size is moved at the rate of
the cache that holds it: Ilic, Pratas and Sousa, "Cache-aware roofline model", IEEE CAL
2014.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeprune.devices.runner import NodeTime, Runner
from edgeprune.errors import EdgepruneError, MeasurementError
from edgeprune.files import cached
from edgeprune.graph.cost import FLOAT_BYTES
from edgeprune.onnx_files.portable import IR_VERSIONS, OPSET
from edgeprune.progress import LOGGER
from edgeprune.records import Roofline
from edgeprune.targets import TimingRecipe
from edgeprune.temporary import temporary_folder

SIDE = 512  # of the matrices
WIDTH, KERNEL, HEIGHT = 64, 3, 56  # of the convolution
CONV_MACS = (WIDTH * HEIGHT * KERNEL) ** 2
MOVED = tuple(4**power for power in range(4, 12))  # numbers, 1 kB to 16 MB
CHAIN = ("Neg", "Abs", "Neg", "Abs")  # of which the first one's input is cold
WITHOUT: set[str] = set()  # devices that have refused in this process
RECIPE = TimingRecipe(warmup=2, warmup_s=0.0, iterations=10, seconds=0.3, rounds=1)


def roofline_of(runner: Runner) -> Roofline | None:
    """What the device does at most; None where that cannot be measured.

    It is measured when it is first asked for, and kept for later runs.
    """
    if runner.estimates or runner.key() in WITHOUT:
        return None

    def measured() -> Roofline:
        with temporary_folder() as folder:
            path = folder / "roofline.onnx"
            write_tasks(path)
            return read_off(runner.profile(path, RECIPE))

    try:
        return cached("roofline", runner.key(), measured, Roofline, _is_plausible)
    except EdgepruneError as error:
        LOGGER.info("no roofline: %s", error)
        WITHOUT.add(runner.key())
        return None


def write_tasks(path: Path) -> None:
    """Write a file of two products, and moves of arrays of several sizes."""
    rng = np.random.default_rng(0)
    image = (1, WIDTH, HEIGHT, HEIGHT)
    given = [_value("rows", SIDE, SIDE), _value("image", *image)]
    made = [_value("products", SIDE, SIDE), _value("maps", *image)]
    held = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in (
            ("matrix", (SIDE, SIDE)),
            ("kernel", (WIDTH, WIDTH, KERNEL, KERNEL)),
        )
    ]
    nodes = [
        helper.make_node("MatMul", ["rows", "matrix"], ["products"]),
        helper.make_node("Conv", ["image", "kernel"], ["maps"], pads=[KERNEL // 2] * 4),
    ]
    for size in MOVED:
        at = f"array_{size}"
        given.append(_value(at, size))
        for number, kind in enumerate(CHAIN):
            to = f"array_{size}_{number}"
            nodes.append(helper.make_node(kind, [at], [to], to))
            at = to
        made.append(_value(at, size))
    graph = helper.make_graph(nodes, "roofline", given, made, held)
    opsets = [helper.make_opsetid("", OPSET)]
    proto = helper.make_model(
        graph, opset_imports=opsets, ir_version=IR_VERSIONS[OPSET]
    )
    onnx.save(proto, path)


def read_off(nodes: Sequence[NodeTime]) -> Roofline:
    """The roofline by the times of the operators of that file.

    Raises:
        MeasurementError: the runtime ran others than those in the file, or in no time.
    """
    ran = {node.operator for node in nodes}
    if not {"MatMul", "Conv", *CHAIN} <= ran:
        message = "the runtime ran other operators than those in the file"
        raise MeasurementError(f"{message}: {', '.join(sorted(ran))}.")
    matrix_ms, conv_ms = (
        sum(node.latency_ms for node in nodes if node.operator == kind)
        for kind in ("MatMul", "Conv")
    )
    moves: defaultdict[int, list[float]] = defaultdict(list)
    for node in nodes:
        if node.operator in CHAIN:
            moves[int(np.prod(node.made))].append(node.latency_ms)
    if any(len(moves[size]) < len(CHAIN) for size in MOVED):
        raise MeasurementError("the runtime does not say what its operators moved.")
    least, found = 0.0, []
    for size in MOVED:
        least = max(least, min(moves[size][1:]))  # more takes no less
        found.append((2.0 * FLOAT_BYTES * size, least))
    if not (matrix_ms > 0 and conv_ms > 0 and least > 0):
        raise MeasurementError("the device says that products or moves take no time.")
    return Roofline(max(SIDE**3 / matrix_ms, CONV_MACS / conv_ms), tuple(found))


def _value(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def _is_plausible(found: Roofline) -> bool:
    return found.macs_per_ms > 0 and len(found.moves) > 0 and found.moves[-1][1] > 0
