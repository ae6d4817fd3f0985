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

from edgeprune.devices import worker
from edgeprune.devices.transports.base import Answer, Job
from edgeprune.errors import DeviceError
from edgeprune.targets import Target
from edgeprune.temporary import temporary_folder


class LocalTransport:
    """Runs the worker here.

    Args:
        target: with how long a job may take.
    """

    def __init__(self, target: Target) -> None:
        self._target = target

    def run(self, job: Job, files: Sequence[Path]) -> Answer:
        """Start the worker, hand it the job and read its answer."""
        message = job.message([str(path.resolve()) for path in files])
        limit_s = self._target.limits.job_s + job.sustained_s
        output = _output_of_worker(json.dumps({**message, "held": True}), limit_s)
        return json.loads(output.rpartition(worker.SENTINEL)[2])

    def close(self) -> None:
        """Nothing is held between jobs."""


def _output_of_worker(message: str, limit_s: float) -> str:
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
        code = _ended(process, message, limit_s)
        said, complaint = (
            path.read_text(encoding="utf-8", errors="replace")
            for path in (output, errors)
        )
    if worker.SENTINEL not in said:
        tail = complaint.strip().splitlines()[-1:] or ["no output"]
        reason = f"The measuring process ended with code {code}: {tail[0]}"
        raise DeviceError("killed", reason)
    return said


def _ended(process: subprocess.Popen[bytes], message: str, limit_s: float) -> int:
    """Hand over the job and wait; the open pipe tells the worker that we live."""
    assert process.stdin is not None  # piped by the caller
    with process:
        try:
            with suppress(BrokenPipeError):  # it ended early: its output says why
                process.stdin.write(message.encode() + b"\n")
            return process.wait(limit_s)
        except subprocess.TimeoutExpired as error:
            reason = f"The measurement did not end within {limit_s:g} s."
            raise DeviceError("timeout", reason) from error
        finally:
            process.kill()
