"""How much of what a network is judged by may be lost."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from edgeprune.errors import ConfigError
from edgeprune.metric import ACCURACY, Metric
from edgeprune.settings.option import Option, Panel, SettingsModel, flag
from edgeprune.settings.values import Positive

# What each floor can be of.
FLOORS: dict[str, Callable[[Metric], bool]] = {
    "accuracy_floor": lambda metric: bool(metric.in_points),
    "min_agreement": lambda metric: metric.name == "agreement",
    "min_psnr": lambda metric: metric.name == "PSNR",
}


class FloorSettings(SettingsModel):
    """How much accuracy may be lost."""

    accuracy_floor: Annotated[
        float | None,
        Field(ge=0, le=1),
        Option(
            "Lowest validation accuracy, 0 to 1.",
            Panel.ACCURACY,
            expected="a share from 0 to 1 is expected, such as 0.92",
        ),
    ] = None
    min_agreement: Annotated[
        float | None,
        Field(ge=0, le=1),
        Option(
            "Lowest agreement with the original, 0 to 1, where there are no labels.",
            Panel.ACCURACY,
            default="not limited",
            expected="a share from 0 to 1 is expected, such as 0.98",
        ),
    ] = None
    min_psnr: Annotated[
        Positive | None,
        Option("Lowest PSNR of images in dB.", Panel.ACCURACY, default="not limited"),
    ] = None
    max_drop: Annotated[
        float | None,
        Field(ge=0),
        Option(
            "Points that the validation metric may lie below the baseline's; of a "
            "metric with a unit, such as dB, in that.",
            Panel.ACCURACY,
            default=f"{ACCURACY.usual_drop:g} (0.5 dB), unless a floor is given",
        ),
    ] = None

    @property
    def has_floor(self) -> bool:
        """Whether a floor was given, and no drop from the baseline."""
        return any(getattr(self, name) is not None for name in FLOORS)

    def floor(self, baseline: float, metric: Metric) -> float:
        """The lowest value of the metric that is accepted on the validation split.

        Raises:
            ConfigError: a floor was given of another metric, or more than there is.
        """
        for name, is_meant in FLOORS.items():
            value = getattr(self, name)
            if value is not None and not is_meant(metric):
                message = f"{flag(name)} does not go with the metric {metric.name}"
                raise ConfigError(f"{message}: see --task.")
            if value is not None:
                return value
        if metric.in_points and (self.max_drop or 0.0) > metric.points:
            message = f"--max-drop: {metric.name} has 100 points at most, found"
            raise ConfigError(f"{message} {self.max_drop:g}.")
        drop = metric.usual_drop if self.max_drop is None else self.max_drop
        lowest = 0.0 if metric.in_points and baseline >= 0 else -math.inf
        return max(lowest, baseline - drop / metric.points)

    def check(self) -> None:
        """Refuse two floors."""
        super().check()
        names = (*FLOORS, "max_drop")
        given = [flag(name) for name in names if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigError(f"Give {given[0]} or {given[1]}, not both.")
