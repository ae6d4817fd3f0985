"""What makes the file slow on the target: layouts, shapes, fallbacks?"""

from __future__ import annotations

from collections.abc import Iterator

from edgeprune.doctor.examined import Examined
from edgeprune.errors import DeviceError
from edgeprune.measure.memory import activations
from edgeprune.onnx_files.operators import onnx_operator
from edgeprune.onnx_files.providers import advice
from edgeprune.onnx_files.shapes import open_axes
from edgeprune.records.doctor import Finding
from edgeprune.units import megabytes

BLOCK = 8  # channels that processors compute together, at the least
MUCH = 0.05  # of a file's time
TOLD_MS = 0.02  # of less the runtime\'s profiler, which counts in us, says little
LAYOUTS = ("Transpose", "ReorderInput", "ReorderOutput")


def not_measured(file: Examined) -> Iterator[Finding]:
    """The target does not run it, or cannot be reached."""
    if not isinstance(file.timing, DeviceError) or file.refused is not None:
        return
    failure = file.timing.failure
    name = "falls_back" if failure == "provider" else "not_measured"
    broken = failure in ("load", "run", "provider")
    yield Finding(
        name,
        "blocker" if broken else "note",
        str(file.timing).rstrip("."),
        "give their lengths with --input, such as --input 3x640x640"
        if failure == "open"
        else "choose another provider, or change the operators that it lacks"
        if broken
        else "without the device nothing was timed",
    )


def partitions(file: Examined) -> Iterator[Finding]:
    """Operators that the target's provider leaves to another one."""
    provider = file.runner.target.runtime.provider
    others = [item for item in file.nodes if item.provider not in ("", provider)]
    if others:
        ms = sum(item.latency_ms for item in others)
        kinds = sorted({item.operator for item in others})
        yield Finding(
            "left_to_another_provider",
            "warning",
            f"{len(others)} of {len(file.nodes)} operators run elsewhere than on "
            f"{provider}: {', '.join(kinds[:6])}",
            "values go there and back: replace these operators, or take the other "
            "provider for all",
            ms,
        )


def phone_providers(file: Examined) -> Iterator[Finding]:
    """What NNAPI and CoreML would leave to the processor, by static lists."""
    if file.runner.target.transport != "adb" or file.fixed is None:
        return
    for item in advice(file.fixed):
        if item.supported < item.operators:
            yield Finding(
                "phone_providers",
                "note",
                f"{item.provider} knows {item.supported} of {item.operators} "
                f"operators, in {item.partitions} part(s), by ONNX Runtime's own list",
                "advice, not a measurement: time it with that provider",
            )


def weights_as_inputs(file: Examined) -> Iterator[Finding]:
    """Weights that a caller could replace, which nothing can be folded into."""
    inputs = {item.name for item in file.graph.input}
    found = [name for name in file.weights if name in inputs]
    if found:
        yield Finding(
            "weights_as_inputs",
            "warning",
            f"{len(found)} weights are inputs as well, so that the runtime folds and "
            "lays out nothing of them ahead",
            "take their names out of graph.input "
            "(export with keep_initializers_as_inputs=False)",
        )


def open_shapes(file: Examined) -> Iterator[Finding]:
    """Axes without a length."""
    found = open_axes(file.proto)
    opened = [f"{name}[{at}]" for name, axes in found.items() for at in axes if at]
    if opened:
        yield Finding(
            "open_shapes",
            "warning",
            f"{', '.join(opened)} have no fixed length: memory is planned at every "
            "run, and NNAPI, QNN and CoreML refuse such files",
            "export with fixed shapes, or fix them with "
            "onnxruntime.tools.make_dynamic_shape_fixed",
        )
    elif any(found.values()):
        yield Finding(
            "open_batch",
            "note",
            "the number of samples is open, which some providers of phones refuse",
            "fix it to 1 where one sample comes at a time",
        )


def widths(file: Examined) -> Iterator[Finding]:
    """Channels that do not fill the blocks in which processors compute."""
    found: list[str] = []
    for node in file.graph.node:
        weight = file.weights.get(node.input[1]) if len(node.input) > 1 else None
        if not onnx_operator(node.op_type).convolution or weight is None:
            continue
        made = weight.dims[0]
        if made > BLOCK and made % BLOCK:
            found.append(f"{weight.name or node.name} ({made})")
    if found:
        more = f" and {len(found) - 4} more" if len(found) > 4 else ""
        yield Finding(
            "uneven_widths",
            "note",
            f"{len(found)} convolutions make channels that are no multiple of {BLOCK}, "
            f"which are computed as if they were: {', '.join(found[:4])}{more}",
            "choose widths by measured time: edgeprune compress",
        )


def layouts(file: Examined) -> Iterator[Finding]:
    """Time that goes into laying values out anew."""
    ms = file.ms_of(*LAYOUTS)
    if ms is not None and file.ms and ms > max(MUCH * file.ms, TOLD_MS):
        yield Finding(
            "layouts",
            "warning",
            f"{ms / file.ms:.0%} of the time goes into laying values out anew "
            f"({', '.join(LAYOUTS)})",
            "export in channels-first form, without transposes between layers",
            ms,
        )


def norms(file: Examined) -> Iterator[Finding]:
    """Batch norms that were not folded into a layer."""
    if file.refused is not None or file.quantized:
        return
    found = [n for n in file.optimized.node if n.op_type == "BatchNormalization"]
    if found:
        yield Finding(
            "unfolded_norms",
            "warning",
            f"{len(found)} batch norms run by themselves, since no layer before them "
            "can take them",
            "put the norm behind its convolution",
            file.ms_of("BatchNormalization"),
        )


def memory(file: Examined) -> Iterator[Finding]:
    """More memory than the target has."""
    limit = file.runner.target.limits.memory_mb
    if limit is None or file.refused is not None:
        return
    size = activations(file.path).peak_bytes + file.path.stat().st_size
    if size > limit * 1e6:
        yield Finding(
            "too_much_memory",
            "blocker",
            f"weights and values need {megabytes(size)}, and limits.memory_mb is "
            f"{limit:g}",
            "prune it: edgeprune compress --max-memory-mb",
        )


CHECKS = (
    not_measured,
    partitions,
    phone_providers,
    weights_as_inputs,
    open_shapes,
    widths,
    layouts,
    norms,
    memory,
)
