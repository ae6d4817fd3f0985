"""The job for a device, and the one method that sends it."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeprune.targets import Runtime, TimingRecipe

Mode = Literal["describe", "time", "profile", "probe", "memory", "outputs", "sustain"]
Answer = dict[str, Any]  # the worker's JSON: see `edgeprune.devices.worker`


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement.

    Attributes:
        mode: `describe` asks what the device is and needs no file; `time` times files
            in turn; `profile` times every operator; `probe` times many files briefly
            beside the first one; `memory` loads and runs a single file; `outputs` runs
            files on given inputs; `sustain` runs a single file for long.
        recipe: how often and for how long.
        seed: of the inputs.
        batch: length of an axis that a file leaves open.
        inputs: that files are run on; for each sample an array for each input.
        sustained_s: how long a single file is run.
    """

    mode: Mode
    runtime: Runtime
    recipe: TimingRecipe
    seed: int = 0
    batch: int = 1
    inputs: tuple[tuple[NDArray[np.float32], ...], ...] = ()
    sustained_s: float = 0.0

    def message(self, models: Sequence[str]) -> dict[str, Any]:
        """The job as the worker reads it.

        Args:
            models: where the files lie on the device.
        """
        return {
            **self.recipe.model_dump(),
            "mode": self.mode,
            "models": list(models),
            "threads": self.runtime.threads,
            "cores": self.runtime.cores,
            "provider": self.runtime.provider,
            "optimization": self.runtime.optimization,
            "seed": self.seed,
            "batch": self.batch,
            "inputs": [[sent(item) for item in sample] for sample in self.inputs],
            "sustained_s": self.sustained_s,
        }


def sent(values: NDArray[np.float32]) -> dict[str, Any]:
    """An array as it is sent in JSON."""
    held = np.ascontiguousarray(values, dtype="<f4")
    return {"shape": list(held.shape), "data": b64encode(held.tobytes()).decode()}


def received(item: Mapping[str, Any]) -> NDArray[np.float32]:
    """The array that was sent."""
    values = np.frombuffer(b64decode(item["data"]), dtype="<f4")
    return values.reshape(item["shape"])


class Transport(Protocol):
    """Carries jobs to one device."""

    def run(self, job: Job, files: Sequence[Path]) -> Answer:
        """Let the device do a job with some files, and return what it answers.

        Raises:
            DeviceError: no answer came back.
        """
        ...

    def close(self) -> None:
        """Let go of the device."""
        ...
