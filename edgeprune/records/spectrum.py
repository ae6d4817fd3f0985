"""How many dimensions a layer's activations really have."""

from __future__ import annotations

import bisect
from dataclasses import dataclass

ROWS = 100  # per channel, at least, for components that can be trusted


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Principal components of activations before the non-linearity.

    Attributes:
        name: a group, or a layer that makes channels.
        rows: positions of samples that were looked at.
        explained: share of the variance that the first 1, 2, ... components explain,
            rising to 1; as many as there are channels.
    """

    name: str
    rows: int
    explained: tuple[float, ...]

    def significant(self, variance: float) -> int:
        """The least number of components that explain a share of the variance."""
        return min(bisect.bisect_left(self.explained, variance) + 1, self.channels)

    @property
    def channels(self) -> int:
        """How many there are."""
        return len(self.explained)


@dataclass(frozen=True, slots=True)
class Spectra:
    """Spectra of a network.

    Attributes:
        groups: of channels that go together, over all layers that make them.
        layers: of the single layers that make channels, in the order in which they
            run; of a residual layer behind the sum.
    """

    groups: tuple[Spectrum, ...]
    layers: tuple[Spectrum, ...]
    samples: int
    seconds: float

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings about layers with too few rows."""
        few = [item.name for item in self.layers if item.rows < ROWS * item.channels]
        if not few:
            return ()
        return (
            f"fewer than {ROWS} rows per channel behind the principal components of "
            f"{', '.join(few)}",
        )
