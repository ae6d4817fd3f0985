"""How many channels must go before this runtime gets faster? Measured, not assumed.

Runtimes compute channels in blocks: 63 channels may take longer than 64. A probe of
three convolutions is timed at a few channel counts.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from edgeprune.measure.onnx_file import write_probe
from edgeprune.measure.runner import BRIEF, Runner
from edgeprune.records import ChannelStep

FULL = 64
STEPS = (1, 2, 4, 8, 16, 32)
WORTHWHILE = 0.5  # of the time that work in proportion would save


def measure_channel_step(runner: Runner, folder: Path) -> ChannelStep:
    """The smallest step that saves at least half of what it should.

    All probes are timed in one call, in turn.
    """
    counts = [FULL, *(FULL - step for step in STEPS)]
    with tempfile.TemporaryDirectory(dir=folder) as held:
        paths = [Path(held) / f"probe{count}.onnx" for count in counts]
        for path, count in zip(paths, counts, strict=True):
            write_probe(path, count)
        timings = runner.time(paths, BRIEF)
    found = {
        count: timing.median_ms for count, timing in zip(counts, timings, strict=True)
    }
    return ChannelStep(choose_step(found), found)


def choose_step(latency_ms: dict[int, float]) -> int:
    """The smallest worthwhile step; the largest one where none is."""
    for step in STEPS:
        saved = 1 - latency_ms[FULL - step] / latency_ms[FULL]
        if saved >= WORTHWHILE * step / FULL:
            return step
    return STEPS[-1]
