"""What a layer of an ONNX network reads for some of its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgeprune.quantize.ranges import Floats

Places = tuple[NDArray[np.int64], ...]  # one of each axis but channels


@dataclass(frozen=True)
class Window:
    """How a convolution goes over its input, by axis; of a matrix product, no axes.

    Attributes:
        same: padding is what keeps the size, with the odd one "upper" or "lower".
    """

    groups: int
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    same: str = ""

    @classmethod
    def of(cls, node: onnx.NodeProto, weight: Sequence[int]) -> Window:
        """That of a node.

        Args:
            weight: the shape of its weight.
        """
        if node.op_type != "Conv":
            return cls(1, (), (), (), ())
        given: dict[str, Any] = {
            item.name: helper.get_attribute_value(item) for item in node.attribute
        }
        axes = len(weight) - 2
        auto = given.get("auto_pad", b"NOTSET").decode()
        return cls(
            given.get("group", 1),
            tuple(weight[2:]),
            tuple(given.get("strides", [1] * axes)),
            tuple(given.get("dilations", [1] * axes)),
            tuple(given.get("pads", [0] * 2 * axes)),
            auto.removeprefix("SAME_").lower() if auto.startswith("SAME") else "",
        )

    def inputs(self, x: Floats, places: Places) -> Floats:
        """What is read for outputs at some places, shape (groups, places, inputs).

        Args:
            x: shape (N, C, *sizes), or (..., C) of a matrix product.
        """
        if not self.kernel:
            return x[places][None]
        sample, *corners = places
        padded = np.pad(x, [(0, 0), (0, 0), *self._padding(x.shape[2:])])
        grid = np.meshgrid(*map(np.arange, self.kernel), indexing="ij")
        index = [
            corner[:, None] * stride + taps.reshape(-1) * dilation
            for corner, stride, dilation, taps in zip(
                corners, self.strides, self.dilations, grid, strict=True
            )
        ]
        found = padded[(sample[:, None], slice(None), *index)]  # (places, taps, C)
        found = found.transpose(0, 2, 1)
        return found.reshape(len(sample), self.groups, -1).transpose(1, 0, 2)

    def _padding(self, sizes: Sequence[int]) -> list[tuple[int, int]]:
        if not self.same:
            count = len(sizes)
            return list(zip(self.pads[:count], self.pads[count:], strict=True))
        found = []
        for size, taps, stride, dilation in zip(
            sizes, self.kernel, self.strides, self.dilations, strict=True
        ):
            over = (-(-size // stride) - 1) * stride + (taps - 1) * dilation + 1 - size
            small, large = max(over, 0) // 2, -(-max(over, 0) // 2)
            found.append((small, large) if self.same == "upper" else (large, small))
        return found


def some_places(shape: Sequence[int], count: int, seed: int, *, behind: bool) -> Places:
    """Places of a tensor, drawn at random, without its channels.

    Args:
        behind: whether these are the last axis, not the second.
    """
    sizes = tuple(shape[:-1]) if behind else (shape[0], *shape[2:])
    every = int(np.prod(sizes))
    rng = np.random.default_rng(seed)
    drawn = rng.choice(every, min(count, every), replace=False)
    return np.unravel_index(np.sort(drawn), sizes)


def outputs_at(y: Floats, places: Places, *, behind: bool) -> Floats:
    """A tensor at some places, shape (places, C)."""
    if behind:
        return y[places]
    sample, *rest = places
    return y[(sample, slice(None), *rest)]
