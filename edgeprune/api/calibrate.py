"""Gets to know a device: what the operators of usual networks take there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import torch
import torchvision

from edgeprune import targets
from edgeprune.devices.runner import Runner, runner_for
from edgeprune.estimate.known import OwnTime, keep_own_times
from edgeprune.estimate.work import work_of
from edgeprune.graph.survey import survey
from edgeprune.measure.benchmark import Benchmark
from edgeprune.profile.latency_table import measure_latency_table
from edgeprune.profile.network import profile_network
from edgeprune.progress import SILENT, Progress
from edgeprune.temporary import temporary_folder
from edgeprune.units import milliseconds

# Networks whose operators most others have, and the sides of their inputs: small ones,
# too, where the time is in how many operators there are and not in what they multiply.
USUAL = (
    ("resnet18", 224),
    ("mobilenet_v2", 224),
    ("mobilenet_v2", 64),
    ("resnet18", 32),
)
OPERATORS_OF = 2  # of them, the first: the others have the same ones


def calibrate(target: str, progress: Progress = SILENT) -> Sequence[str]:
    """Measure the operators of usual networks on a device, for all later networks.

    What operators take is kept: a network whose operators are known needs fewer
    measurements of its own.

    Returns:
        A line for each network.

    Raises:
        TargetError: there is no such target.
        MeasurementError: its device cannot be measured.
    """
    with closing(runner_for(targets.load(target))) as runner:
        found = [
            _calibrated(runner, *item, progress, table=number < OPERATORS_OF)
            for number, item in enumerate(USUAL)
        ]
        keep_own_times(runner.target, tuple(time for time, _ in found))
    return [line for _, line in found]


def _calibrated(
    runner: Runner, name: str, side: int, progress: Progress, *, table: bool
) -> tuple[OwnTime, str]:
    model = torchvision.models.get_model(name, weights=None).eval()
    inputs = (torch.randn(1, 3, side, side),)
    with temporary_folder() as folder:
        profile = profile_network(model, Benchmark(runner, inputs, folder), progress)
        amounts = work_of(profile.exported.path)
        ms = profile.figures.summary.median_ms
        line = f"{name} at {side}x{side}: {milliseconds(ms)}"
        if table:
            graph = survey(model, inputs)
            held = measure_latency_table(model, graph, profile.benchmark, progress)
            line = f"{line}, {len(held.operators)} operators"
    own = OwnTime(
        f"{name} at {side}", ms, runner.device.runtime, tuple(amounts.tolist())
    )
    return own, line
