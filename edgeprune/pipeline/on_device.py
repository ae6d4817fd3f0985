"""What only the device itself can say: its answers, and its times once it is warm.

Kernels differ between processors, so a file that is right here may answer otherwise
there; and a phone that is fast for a second may be slow after some minutes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgeprune.devices.runner import Runner
from edgeprune.errors import DeviceError
from edgeprune.export.parity import compare_outputs
from edgeprune.export.session import OnnxModel
from edgeprune.measure.benchmark import Exported
from edgeprune.onnx_files.feeds import joined
from edgeprune.pipeline.context import RunContext
from edgeprune.records import Parity

SAMPLES = 16  # a handful: each is sent, and so is each answer
FP32_TOLERANCE = 1e-3  # of the largest output: sums in another order
INT8_TOLERANCE = 5e-2  # kernels round otherwise where an x86 would saturate
HERE = ("host",)  # transports that reach this machine's own runtime


def answers_on_device(
    context: RunContext, plain: Exported, int8: Path | None
) -> tuple[Parity, ...]:
    """Compare the device's answers with those here, on validation samples.

    Args:
        plain: the fp32 file.
        int8: the other one that is delivered, if there is one.
    """
    runner = context.job.runner
    if runner.target.transport in HERE or runner.estimates:
        return ()
    samples = _first(context)
    files = [(plain.path, FP32_TOLERANCE)]
    if int8 is not None:
        files.append((int8, INT8_TOLERANCE))
    try:
        return tuple(_compared(runner, *file, samples) for file in files)
    except DeviceError as error:
        if error.failure != "unsupported":
            raise
        context.log.note(f"the device's answers were not compared: {error}")
        return ()


def note_sustained(context: RunContext, path: Path) -> None:
    """Run the file that counts for as long as it was asked for."""
    seconds = context.settings.sustained
    if seconds is None or context.job.runner.estimates:
        return
    context.progress.start("sustained run", 1)
    found = context.job.runner.sustained(path, seconds)
    context.log.sustained = found
    context.progress.finish(found.text)


def _first(context: RunContext) -> Tensor:
    """The first validation samples, as many whole batches as the file takes."""
    batch = len(context.job.workload.inputs[0])
    parts: list[Tensor] = []
    for x, _ in context.data.validation:
        parts.append(x)
        if sum(map(len, parts)) >= SAMPLES:
            break
    held = torch.cat(parts)[:SAMPLES]
    whole = max(1, len(held) // batch) * batch
    return held.repeat(-(-whole // len(held)), *[1] * (held.dim() - 1))[:whole]


def _compared(runner: Runner, path: Path, tolerance: float, samples: Tensor) -> Parity:
    batch = runner.batch
    here = OnnxModel(path)
    parts = [here.feeds(part) for part in samples.split(batch)]
    made = [joined(outputs) for outputs in runner.outputs([path], parts)[0]]
    found = torch.from_numpy(np.concatenate(made))
    return compare_outputs(path.name, here(samples), found, tolerance)
