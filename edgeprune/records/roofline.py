"""What a device can do at most, and how near a layer comes to it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Roofline:
    """What the runtime of a device reaches where all goes well.

    Attributes:
        macs_per_ms: of a large product of matrices in fp32.
        moves: (bytes that an operator reads and writes, ms that this takes), rising;
            small ones stay in caches, and take as long as starting an operator.
    """

    macs_per_ms: float
    moves: tuple[tuple[float, float], ...]

    @property
    def bytes_per_ms(self) -> float:
        """Of the largest move, which no cache holds."""
        moved, ms = self.moves[-1]
        return moved / ms

    def compute_ms(self, macs: float) -> float:
        """What so many multiply-accumulates take at least."""
        return macs / self.macs_per_ms

    def least_ms(self, macs: float, moved: float) -> float:
        """The longer of both."""
        return max(self.compute_ms(macs), self.memory_ms(moved))

    def memory_ms(self, moved: float) -> float:
        """What moving so many bytes takes at least."""
        (before, ms), *later = self.moves
        if moved <= before:
            return ms
        for size, longer in later:
            if moved <= size:
                return ms + (longer - ms) * (moved - before) / (size - before)
            before, ms = size, longer
        return ms * moved / before
