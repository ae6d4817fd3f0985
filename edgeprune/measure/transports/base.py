"""The job for a device, and the one method that sends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from edgeprune.targets import Runtime, TimingRecipe

Mode = Literal["describe", "time", "profile", "probe", "memory"]
Answer = dict[str, Any]  # the worker's JSON: see `edgeprune.measure.worker`


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement.

    Attributes:
        mode: `describe` asks what the device is and needs no file; `time` times files
            in turn; `profile` times every operator; `probe` times many files briefly
            beside the first one; `memory` loads and runs a single file.
        recipe: how often and for how long.
        seed: of the inputs.
        batch: length of an axis that a file leaves open.
    """

    mode: Mode
    runtime: Runtime
    recipe: TimingRecipe
    seed: int = 0
    batch: int = 1

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
            "provider": self.runtime.provider,
            "optimization": self.runtime.optimization,
            "seed": self.seed,
            "batch": self.batch,
        }


class Transport(Protocol):
    """Carries jobs to one device."""

    def run(self, job: Job, files: Sequence[Path]) -> Answer:
        """Let the device do a job with some files, and return what it answers.

        Raises:
            MeasurementError: no answer came back.
        """
        ...
