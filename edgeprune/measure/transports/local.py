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
from contextlib import suppress
from pathlib import Path

from edgeprune.errors import MeasurementError
from edgeprune.measure import worker
from edgeprune.measure.transports.base import Answer, Job
from edgeprune.temporary import temporary_folder

TIMEOUT_S = 900


class LocalTransport:
    """Runs the worker here."""

    def run(self, job: Job, files: Sequence[Path]) -> Answer:
        """Start the worker, hand it the job and read its answer."""
        message = job.message([str(path.resolve()) for path in files])
        output = _output_of_worker(json.dumps({**message, "held": True}))
        return json.loads(output.rpartition(worker.SENTINEL)[2])


def _output_of_worker(message: str) -> str:
    with temporary_folder() as folder:
        output, errors = folder / "output", folder / "errors"
        own = {"ORT_DISABLE_TELEMETRY": "1", "TMPDIR": str(folder)}
        with output.open("wb") as out, errors.open("wb") as err:
            # -P keeps the worker's folder off the path: its files would shadow the
            # stdlib.
            process = subprocess.Popen(
                [sys.executable, "-P", worker.__file__],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                env={**os.environ, **own},
            )
        code = _ended(process, message)
        said, complaint = (
            path.read_text(encoding="utf-8", errors="replace")
            for path in (output, errors)
        )
    if worker.SENTINEL not in said:
        tail = complaint.strip().splitlines()[-1:] or ["no output"]
        reason = f"The measuring process ended with code {code}: {tail[0]}"
        raise MeasurementError(reason)
    return said


def _ended(process: subprocess.Popen[bytes], message: str) -> int:
    """Hand over the job and wait; the open pipe tells the worker that we live."""
    assert process.stdin is not None  # piped by the caller
    with process:
        try:
            with suppress(BrokenPipeError):  # it ended early: its output says why
                process.stdin.write(message.encode() + b"\n")
            return process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            reason = f"The measurement did not end within {TIMEOUT_S} s."
            raise MeasurementError(reason) from error
        finally:
            process.kill()
