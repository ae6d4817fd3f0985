"""How a device wants numbers of int8 files held."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeprune.devices.runner import Runner
from edgeprune.quantize.ranges import Range

TINY = 1e-30
LEVELS = 127  # of activations around a zero in the middle, on each side


@dataclass(frozen=True)
class Int8Form:
    """How numbers are held.

    Attributes:
        signed: whether activations are.
        narrow: weights of 7 bits, for processors that add up pairs of products in 16
            bits, which 8 of both overflow.
        per_tensor: a layer's weights have one step, not one for each output channel.
        powers_of_two: all steps are, around a zero in the middle, for devices that
            shift instead of multiply. Goes with signed and per_tensor.
        in_float: nodes that stay as they are.
    """

    signed: bool = False
    narrow: bool = False
    per_tensor: bool = False
    powers_of_two: bool = False
    in_float: Collection[str] = field(default_factory=tuple)

    @property
    def weight_levels(self) -> int:
        """The largest number that a weight becomes."""
        return 64 if self.narrow else LEVELS

    def ranges(self, held: Mapping[str, Range]) -> Mapping[str, Range]:
        """Ranges of activations as this form can have them."""
        if not self.powers_of_two:
            return held
        return {name: _symmetric(span) for name, span in held.items()}


AS_USUAL = Int8Form()


def form_for(runner: Runner, in_float: Collection[str] = ()) -> Int8Form:
    """The form that a device wants, by its target and its processor."""
    steps = runner.target.runtime.int8_steps
    shifts = steps == "power_of_two"
    return Int8Form(
        signed=runner.signed_activations or shifts,
        narrow=runner.narrow_weights,
        per_tensor=steps != "channel",
        powers_of_two=shifts,
        in_float=in_float,
    )


def power_of_two(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """The next powers of two that are not smaller."""
    return 2.0 ** np.ceil(np.log2(steps))


def _symmetric(span: Range) -> Range:
    most = max(-span[0], span[1], TINY)
    end = LEVELS * float(power_of_two(np.array(most / LEVELS)))
    return -end, end
