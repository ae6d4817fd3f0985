"""Does int8 pay: is it static, without islands, of a kind that the processor likes?"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from edgeprune.devices.runner import X86, lacks_vnni
from edgeprune.doctor.examined import QUANTIZES, Examined
from edgeprune.errors import DeviceError
from edgeprune.onnx_files.dequantized import dequantized
from edgeprune.records.doctor import Finding
from edgeprune.units import milliseconds

DYNAMIC = ("DynamicQuantizeLinear", "ConvInteger", "MatMulInteger")


def dynamic_quantisation(file: Examined) -> Iterator[Finding]:
    """Ranges that are found at every run."""
    found = [node for node in file.graph.node if node.op_type in DYNAMIC]
    if found:
        yield Finding(
            "dynamic_quantisation",
            "warning",
            f"{len(found)} operators find the ranges of their inputs at every run; "
            "convolutions of that kind are slower than in float",
            "quantise statically: edgeprune compress --precision int8",
            file.ms_of(*DYNAMIC),
        )


def islands(file: Examined) -> Iterator[Finding]:
    """Float operators between int8 ones: values are converted there and back."""
    if not file.quantized or file.refused is not None:
        return
    graph = file.optimized
    made = {name: node for node in graph.node for name in node.output}
    reads: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            reads.setdefault(name, []).append(node)
    held = {item.name for item in graph.initializer}
    found = [
        node
        for node in graph.node
        if node.op_type not in QUANTIZES
        and any(
            name in made
            and made[name].op_type == "DequantizeLinear"
            and made[name].input[0] not in held
            for name in node.input
        )
        and any(
            reader.op_type == "QuantizeLinear"
            for name in node.output
            for reader in reads.get(name, [])
        )
    ]
    if found:
        kinds = sorted({node.op_type for node in found})
        names = {node.name for node in found}
        around = {n for node in found for n in (*node.input, *node.output)}
        ms = None
        if file.nodes:
            ms = sum(
                item.latency_ms
                for item in file.nodes
                if item.name in names
                or (item.operator in QUANTIZES and _value_of(item.name) in around)
            )
        yield Finding(
            "float_islands",
            "warning",
            f"{len(found)} operators compute in float between int8 ones: "
            f"{', '.join(kinds)}",
            "write them in forms that have int8 kernels, or leave what is around them "
            "in float too",
            ms,
        )


def slower_than_float(file: Examined) -> Iterator[Finding]:
    """An int8 file that is slower than the float one it was made of."""
    if not file.quantized or file.ms is None:
        return
    plain = dequantized(file.proto, file.constants)
    ratio = None if plain is None else file.ratio_to(plain)
    if ratio is not None and ratio > 1:
        yield Finding(
            "slower_than_float",
            "warning",
            f"in float the same network is {ratio:.2f} times as fast here "
            f"({milliseconds(file.ms / ratio)} and {milliseconds(file.ms)})",
            "ship the float file, or leave the layers in float that int8 slows down: "
            "edgeprune compress",
            file.ms * (1 - 1 / ratio),
        )


def signedness(file: Examined) -> Iterator[Finding]:
    """int8 of a kind that the target's processor is slow or inexact with."""
    if not file.quantized or isinstance(file.timing, DeviceError):
        return
    machine = file.runner.device.machine
    x86 = machine.architecture.lower() in X86
    signed = any(
        file.weights[node.input[2]].data_type == onnx.TensorProto.INT8
        for node in file.graph.node
        if node.op_type == "QuantizeLinear"
        and len(node.input) > 2
        and node.input[2] in file.weights
        and node.input[0] not in file.weights
    )
    if x86 and signed:
        yield Finding(
            "signed_activations",
            "warning",
            "its activations are signed, for which x86 has no fast kernels",
            "quantise with unsigned activations (QUInt8)",
        )
    elif lacks_vnni(machine):
        yield Finding(
            "saturates",
            "warning",
            "this processor adds pairs of products in 16 bits (no VNNI), which 8 bits "
            "of both overflow: answers differ from other machines",
            "quantise with reduce_range (weights of 7 bits)",
        )


CHECKS = (dynamic_quantisation, islands, slower_than_float, signedness)


def _value_of(name: str) -> str:
    """The value that a converting operator of a profile is named after."""
    for suffix in ("_QuantizeLinear", "_DequantizeLinear"):
        name = name.removesuffix(suffix)
    return name
