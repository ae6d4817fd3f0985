"""Operators that lay out, cut, join and repeat positions.

Lengths are held by modules as numbers, so that surgery can change those that follow
channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeprune.onnx_in.layers import FIRST_TWO, embedding, pads_of
from edgeprune.onnx_in.node import Built, Node, UnknownFormError

Numbers = tuple[int, ...]


class Function(nn.Module):
    """An operator without state."""

    def __init__(self, run: Callable[..., Tensor]) -> None:
        super().__init__()
        self.run = run

    def forward(self, *given: Any) -> Tensor:
        """What the function makes of its values."""
        return self.run(*given)


class Reshape(nn.Module):
    """Other axes: 0 stands for the length that was there, -1 for what is left over."""

    def __init__(self, sizes: Numbers) -> None:
        super().__init__()
        self.sizes = sizes

    def forward(self, x: Tensor) -> Tensor:
        """The same values under other axes."""
        return x.reshape(
            [x.shape[at] if size == 0 else size for at, size in enumerate(self.sizes)]
        )


class Split(nn.Module):
    """Parts of an axis, by their lengths."""

    def __init__(self, sizes: Numbers, axis: int) -> None:
        super().__init__()
        self.sizes, self.axis = sizes, axis

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The parts."""
        return x.split(list(self.sizes), self.axis)


class Slice(nn.Module):
    """Every so many positions from one to another, along some axes."""

    def __init__(
        self, starts: Numbers, ends: Numbers, axes: Numbers, steps: Numbers
    ) -> None:
        super().__init__()
        self.starts, self.ends = starts, ends
        self.axes, self.steps = axes, steps

    def forward(self, x: Tensor) -> Tensor:
        """The positions."""
        taken = [slice(None)] * x.dim()
        for at, axis in enumerate(self.axes):
            taken[axis] = slice(self.starts[at], self.ends[at], self.steps[at])
        return x[tuple(taken)]


def reshape(node: Node) -> Built:
    """Reshape to numbers."""
    sizes = node.numbers(1, "shape")
    if sizes is None or node.attributes.get("allowzero", 0):
        raise UnknownFormError("no sizes")
    return Built(Reshape(sizes), (node.inputs[0],))


def flatten(node: Node) -> Built:
    """Flatten all axes but the first."""
    node.expects(axis=1)
    return alone(node, partial(torch.flatten, start_dim=1))


def alone(node: Node, run: Callable[..., Tensor]) -> Built:
    """A function of the first input."""
    return Built(Function(run), (node.inputs[0],))


def transpose(node: Node) -> Built:
    """Axes in another order."""
    order = node.attributes.get("perm") or tuple(reversed(range(node.rank())))
    return alone(node, partial(torch.permute, dims=tuple(order)))


def squeeze(node: Node) -> Built:
    """Take axes of length 1 away."""
    axes = node.axes(1)
    if axes is None:
        raise UnknownFormError("no axes")
    return alone(node, partial(torch.squeeze, dim=axes))


def with_axes(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """New axes of length 1."""
    for axis in axes:
        x = x.unsqueeze(axis)
    return x


def unsqueeze(node: Node) -> Built:
    """Add axes of length 1."""
    axes = node.numbers(1, "axes") or ()
    rank = node.rank() + len(axes)
    rising = tuple(sorted(axis % rank for axis in axes))
    return alone(node, partial(with_axes, axes=rising))


def spread(x: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """As long as what is asked for, where it has one position."""
    shape = (1,) * (len(sizes) - x.dim()) + tuple(x.shape)
    kept = [
        -1 if size == 1 or size == length else size
        for size, length in zip(sizes, shape, strict=True)
    ]
    return x.reshape(shape).expand(kept)


def expand(node: Node) -> Built:
    """Repeat what has one position."""
    sizes = node.numbers(1, "shape") or ()
    if len(sizes) < node.rank():
        sizes = (1,) * (node.rank() - len(sizes)) + sizes
    return alone(node, partial(spread, sizes=sizes))


def tile(node: Node) -> Built:
    """Repeat the whole."""
    return alone(node, partial(torch.tile, dims=node.numbers(1, "repeats") or ()))


def joined(*parts: Tensor, axis: int) -> Tensor:
    """One behind the other."""
    return torch.cat(parts, axis)


def concatenate(node: Node) -> Built:
    """Concat."""
    run = partial(joined, axis=node.attributes["axis"])
    return Built(Function(run), tuple(node.inputs))


def split(node: Node) -> Built:
    """Split into parts of stated or of equal length."""
    axis = node.attributes.get("axis", 0) % node.rank()
    sizes = node.numbers(1, "split")
    if sizes is None:
        count, length = len(node.proto.output), node.shape(node.inputs[0])[axis]
        part = -(-length // count)
        sizes = (part,) * (count - 1) + (length - part * (count - 1),)
    return Built(Split(sizes, axis), (node.inputs[0],))


def slices(node: Node) -> Built:
    """Slice along some axes."""
    starts, ends = node.numbers(1, "starts") or (), node.numbers(2, "ends") or ()
    steps = node.numbers(4, "steps") or (1,) * len(starts)
    axes = node.axes(3) or tuple(range(len(starts)))
    if min(steps) < 1:
        raise UnknownFormError("a step backwards")
    return Built(Slice(starts, ends, axes, steps), (node.inputs[0],))


def gather(node: Node) -> Built:
    """One position, or some by number, or rows of a table."""
    held = node.constant(1)
    if held is None:
        return embedding(node)
    axis = node.attributes.get("axis", 0) % node.rank()
    if held.ndim == 0:
        return alone(node, partial(torch.select, dim=axis, index=int(held)))
    if held.ndim > 1:
        raise UnknownFormError("a table of numbers")
    length = node.shape(node.inputs[0])[axis]
    index = torch.from_numpy(held.astype(np.int64) % length)
    return alone(node, partial(torch.index_select, dim=axis, index=index))


def pad(node: Node) -> Built:
    """Positions added at the ends of axes."""
    rank, widths = node.rank(), node.numbers(1, "pads") or ()
    axes = node.axes(3) or tuple(range(rank))
    before, after = [0] * rank, [0] * rank
    for at, axis in enumerate(axes):
        before[axis], after[axis] = widths[at], widths[at + len(axes)]
    mode = node.attributes.get("mode", "constant")
    if mode == "constant":
        value = node.number(2, "value", 0.0)
        run = partial(
            functional.pad, pad=pads_of(tuple(before), tuple(after)), value=value
        )
        return alone(node, run)
    known = {"reflect": "reflect", "edge": "replicate"}
    if mode not in known or any((*before[:FIRST_TWO], *after[:FIRST_TWO])):
        raise UnknownFormError(f"mode {mode}")
    ends = pads_of(tuple(before[FIRST_TWO:]), tuple(after[FIRST_TWO:]))
    return alone(node, partial(functional.pad, pad=ends, mode=known[mode]))


def blocks_first(x: Tensor, size: int) -> Tensor:
    """DepthToSpace where a block's positions vary slowest among the channels."""
    n, c, h, w = x.shape
    parts = x.reshape(n, size, size, c // size**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(n, c // size**2, h * size, w * size)


def depth_to_space(node: Node) -> Built:
    """Channels as positions."""
    size = node.attributes["blocksize"]
    if node.attributes.get("mode", "DCR") == "CRD":
        return alone(node, partial(functional.pixel_shuffle, upscale_factor=size))
    return alone(node, partial(blocks_first, size=size))


def depth_first(x: Tensor, size: int) -> Tensor:
    """SpaceToDepth: a block's positions vary slowest among the channels."""
    n, c, h, w = x.shape
    parts = x.reshape(n, c, h // size, size, w // size, size)
    return parts.permute(0, 3, 5, 1, 2, 4).reshape(n, -1, h // size, w // size)


def space_to_depth(node: Node) -> Built:
    """Positions as channels."""
    return alone(node, partial(depth_first, size=node.attributes["blocksize"]))


# By mode and the number of spatial axes, what torch calls it.
MODES = {
    ("nearest", 1): "nearest",
    ("nearest", 2): "nearest",
    ("nearest", 3): "nearest",
    ("linear", 1): "linear",
    ("linear", 2): "bilinear",
    ("linear", 3): "trilinear",
    ("cubic", 2): "bicubic",
}


def _is_floor(where: str, rounding: str, times: set[float]) -> bool:
    """Whether each position shows the one that torch takes: rounded down.

    Args:
        times: as long as before.
    """
    nearest = rounding in ("round_prefer_floor", "round_prefer_ceil")
    if where in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric"):
        return nearest and all(time.is_integer() for time in times)
    if where != "asymmetric":
        return False
    twice = rounding == "round_prefer_floor" and times <= {1.0, 2.0}
    return rounding == "floor" or twice


def resize(node: Node) -> Built:
    """Resize (and Upsample) of the spatial axes."""
    node.expects(antialias=0, exclude_outside=0, keep_aspect_ratio_policy="stretch")
    before, after = node.shape(node.inputs[0]), node.shape(node.proto.output[0])
    mode = MODES.get((node.attributes.get("mode", "nearest"), len(before) - FIRST_TWO))
    if mode is None or before[1:FIRST_TWO] != after[1:FIRST_TWO]:
        raise UnknownFormError("what is resized")
    old = node.kind == "Upsample"
    usual = "asymmetric" if old else "half_pixel"
    where = node.attributes.get("coordinate_transformation_mode", usual)
    size: dict[str, Any] = {"size": after[FIRST_TWO:], "mode": mode}
    if mode == "nearest":
        rounding = node.attributes.get("nearest_mode", "round_prefer_floor")
        rounding = "floor" if old else rounding
        times = {
            long / short
            for short, long in zip(before[FIRST_TWO:], after[FIRST_TWO:], strict=True)
        }
        if not _is_floor(where, rounding, times):
            raise UnknownFormError("which neighbour is the nearest")
    elif where in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        size["align_corners"] = where == "align_corners"
    else:
        raise UnknownFormError(f"coordinates {where}")
    if mode == "bicubic" and not math.isclose(
        node.attributes.get("cubic_coeff_a", -0.75), -0.75
    ):
        raise UnknownFormError("another cubic")
    return alone(node, partial(functional.interpolate, **size))


POSITIONS: dict[str, Callable[[Node], Built]] = {
    "Reshape": reshape,
    "Flatten": flatten,
    "Transpose": transpose,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Expand": expand,
    "Tile": tile,
    "Concat": concatenate,
    "Split": split,
    "Slice": slices,
    "Gather": gather,
    "Pad": pad,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "Resize": resize,
    "Upsample": resize,
}
