"""This machine as a device: one child process for each job.

A process of its own, so that this one's threads and memory do not disturb what is
measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeprune.errors import MeasurementError
from edgeprune.measure import worker
from edgeprune.measure.transports.base import Answer, Job

TIMEOUT_S = 900


class LocalTransport:
    """Runs the worker here."""

    def run(self, job: Job, files: Sequence[Path]) -> Answer:
        """Start the worker, hand it the job and read its answer."""
        message = job.message([str(path.resolve()) for path in files])
        output = _output_of_worker(json.dumps(message))
        return json.loads(output.rpartition(worker.SENTINEL)[2])


def _output_of_worker(message: str) -> str:
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}
    try:
        # -P keeps the worker's folder off the path: its files would shadow the stdlib.
        done = subprocess.run(
            [sys.executable, "-P", worker.__file__],
            input=message,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        reason = f"The measurement did not end within {TIMEOUT_S} s."
        raise MeasurementError(reason) from error
    if worker.SENTINEL not in done.stdout:
        tail = done.stderr.strip().splitlines()[-1:] or ["no output"]
        reason = f"The measuring process ended with code {done.returncode}: {tail[0]}"
        raise MeasurementError(reason)
    return done.stdout
