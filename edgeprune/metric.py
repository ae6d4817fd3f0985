"""What a network is judged by: a number with a name and a unit."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that says how good outputs are.

    Values are kept so that a larger one is better: those of an error are negative, and
    shown without the sign.

    Attributes:
        unit: what stands behind the number, such as dB; "%" of shares of 0..1.
        usual_drop: what may be lost where nobody says: in the unit, or in points.
        in_points: 1 is the best there is, and what is lost is said in hundredths; by
            default of shares, and of what has no unit.

    Example:
        >>> import edgeprune
        >>> error = edgeprune.Metric("error", "px", higher_is_better=False)
        >>> error.text(-3.5), error.change(0.5)
        ('3.5 px', '-0.50 px')
    """

    name: str = "accuracy"
    unit: str = "%"
    higher_is_better: bool = True
    usual_drop: float = 2.0
    in_points: bool | None = None

    def __post_init__(self) -> None:
        if self.in_points is None:
            object.__setattr__(self, "in_points", self.unit in ("", "%"))

    @property
    def points(self) -> float:
        """How many of what may be lost a value of 1 is."""
        return 100.0 if self.in_points else 1.0

    @property
    def word(self) -> str:
        """What is lost, in words."""
        return "points" if self.in_points else self.unit

    @property
    def axis(self) -> str:
        """What stands at the axis of a plot."""
        return f"{self.name}, {self.unit}".rstrip(", ")

    def shown(self, value: float) -> float:
        """A value in its unit."""
        scale = 100.0 if self.unit == "%" else 1.0
        return (value if self.higher_is_better else -value) * scale

    def chance(self, value: float, samples: int) -> float:
        """The standard error of a share of so many samples; 0 of what is no share."""
        if self.unit != "%":
            return 0.0
        return math.sqrt(max(value * (1 - value), 0.0) / max(samples, 1))

    def text(self, value: float) -> str:
        """A value with its unit."""
        if self.unit == "%":
            return f"{self.shown(value):.2f}%"
        return f"{self.shown(value):.4g} {self.unit}".rstrip()

    def told(self, value: float) -> str:
        """A value with what it is."""
        return f"{self.name} {self.text(value)}"

    def change(self, gained: float, error: float | None = None) -> str:
        """The difference of two values, with what it may be off 19 times of 20.

        Args:
            gained: more than 0 where the later one is better.
            error: the standard error of that.
        """
        signed = gained if self.higher_is_better else -gained
        digits = 2
        if not self.in_points and 0 < abs(gained) < 1:  # as of a metric in metres
            digits = max(digits, 1 - math.floor(math.log10(abs(gained))))
        found = round(signed * self.points, digits) + 0.0  # which makes -0.0 to 0.0
        doubt = "" if error is None else f" ± {1.96 * self.points * error:.{digits}f}"
        return f"{found:+.{digits}f}{doubt} {self.word}".rstrip()


ACCURACY = Metric()
