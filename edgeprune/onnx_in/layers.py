"""Operators with weights, as torch's own layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from edgeprune.onnx_in.node import Built, Node, UnknownFormError

CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, Any] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
BATCH_NORMS: dict[int, Any] = {
    0: nn.BatchNorm1d,
    1: nn.BatchNorm1d,
    2: nn.BatchNorm2d,
    3: nn.BatchNorm3d,
}
INSTANCE_NORMS: dict[int, Any] = {
    1: nn.InstanceNorm1d,
    2: nn.InstanceNorm2d,
    3: nn.InstanceNorm3d,
}
FIRST_TWO = 2  # axes: samples and channels, or those of a matrix


def of_rank(kinds: dict[int, Any], spatial: int) -> Any:
    """The layer for a number of spatial axes.

    Raises:
        UnknownFormError: torch has none.
    """
    if spatial not in kinds:
        raise UnknownFormError(f"{spatial} spatial axes")
    return kinds[spatial]


def put(layer: nn.Module, **values: torch.Tensor | None) -> None:
    """Give a layer its weights."""
    for name, value in values.items():
        if value is not None:
            getattr(layer, name).data = value


def window(node: Node, spatial: int) -> tuple[Any, ...]:
    """Strides, dilations, and what is added before and after each axis.

    Raises:
        UnknownFormError: the padding depends on a shape that is not known.
    """
    ones = (1,) * spatial
    strides = tuple(node.attributes.get("strides", ones))
    dilations = tuple(node.attributes.get("dilations", ones))
    kind = node.attributes.get("auto_pad", "NOTSET")
    if kind in ("NOTSET", "VALID"):
        pads = tuple(node.attributes.get("pads", ())) if kind == "NOTSET" else ()
        pads = pads or (0,) * 2 * spatial
        return strides, dilations, pads[:spatial], pads[spatial:]
    kernel = node.attributes.get("kernel_shape") or node.weight(1).shape[FIRST_TWO:]
    before: list[int] = []
    after: list[int] = []
    lengths = node.shape(node.inputs[0])[FIRST_TWO:]
    for length, size, step, wide in zip(
        lengths, kernel, strides, dilations, strict=True
    ):
        missing = max(
            (-(-length // step) - 1) * step + (size - 1) * wide + 1 - length, 0
        )
        less, more = missing // 2, missing - missing // 2
        before.append(more if kind == "SAME_LOWER" else less)
        after.append(less if kind == "SAME_LOWER" else more)
    return strides, dilations, tuple(before), tuple(after)


def pads_of(before: tuple[int, ...], after: tuple[int, ...]) -> tuple[int, ...]:
    """As torch takes them: of the last axis first."""
    pairs = zip(reversed(before), reversed(after), strict=True)
    return tuple(length for pair in pairs for length in pair)


def convolution(node: Node) -> Built:
    """Conv, with what is added unevenly added before it."""
    weight = node.weight(1)
    bias = node.weight(2) if node.has(2) else None
    spatial = weight.dim() - FIRST_TWO
    strides, dilations, before, after = window(node, spatial)
    even = before == after
    groups = node.attributes.get("group", 1)
    layer = of_rank(CONVOLUTIONS, spatial)(
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(weight.shape[FIRST_TWO:]),
        strides,
        before if even else 0,
        dilations,
        groups,
        bias is not None,
    )
    put(layer, weight=weight, bias=bias)
    pads = () if even else pads_of(before, after)
    return Built(layer, (node.inputs[0],), pads)


def transposed_convolution(node: Node) -> Built:
    """ConvTranspose with even padding."""
    node.expects(auto_pad="NOTSET", output_shape=None)
    weight = node.weight(1)
    bias = node.weight(2) if node.has(2) else None
    spatial = weight.dim() - FIRST_TWO
    strides, dilations, before, after = window(node, spatial)
    if before != after:
        raise UnknownFormError("uneven padding")
    groups = node.attributes.get("group", 1)
    layer = of_rank(TRANSPOSED, spatial)(
        weight.shape[0],
        weight.shape[1] * groups,
        tuple(weight.shape[FIRST_TWO:]),
        strides,
        before,
        tuple(node.attributes.get("output_padding", (0,) * spatial)),
        groups,
        bias is not None,
        dilations,
    )
    put(layer, weight=weight, bias=bias)
    return Built(layer, (node.inputs[0],))


def linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    """The layer of a weight, shape (outputs, inputs)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    put(layer, weight=weight.contiguous(), bias=bias)
    return layer


def product_and_sum(node: Node) -> Built:
    """Gemm with a constant matrix."""
    node.expects(transA=0)
    weight = node.weight(1) * node.attributes.get("alpha", 1.0)
    if not node.attributes.get("transB", 0):
        weight = weight.T
    bias = None
    if node.has(2):
        given = node.weight(2) * node.attributes.get("beta", 1.0)
        if given.numel() not in (1, given.shape[-1]):
            raise UnknownFormError("what is added differs by row")
        bias = given.reshape(-1).expand(len(weight)).contiguous()
    return Built(linear(weight, bias), (node.inputs[0],))


def batch_norm(node: Node) -> Built:
    """BatchNormalization by the statistics that the file holds."""
    node.expects(training_mode=0, spatial=1)
    layer = of_rank(BATCH_NORMS, node.rank() - FIRST_TWO)(
        len(node.weight(1)), node.attributes.get("epsilon", 1e-5)
    )
    names = ("weight", "bias", "running_mean", "running_var")
    put(layer, **{name: node.weight(1 + at) for at, name in enumerate(names)})
    return Built(layer, (node.inputs[0],))


def instance_norm(node: Node) -> Built:
    """InstanceNormalization."""
    layer = of_rank(INSTANCE_NORMS, node.rank() - FIRST_TWO)(
        len(node.weight(1)), node.attributes.get("epsilon", 1e-5), affine=True
    )
    put(layer, weight=node.weight(1), bias=node.weight(2))
    return Built(layer, (node.inputs[0],))


def layer_norm(node: Node) -> Built:
    """LayerNormalization over the last axes."""
    axis = node.attributes.get("axis", -1) % node.rank()
    shape = node.shape(node.inputs[0])[axis:]
    weight, bias = node.weight(1), node.weight(2) if node.has(2) else None
    layer = nn.LayerNorm(
        list(shape), node.attributes.get("epsilon", 1e-5), bias=bias is not None
    )
    put(layer, weight=weight.reshape(shape), bias=bias)
    return Built(layer, (node.inputs[0],))


def prelu(node: Node) -> Built:
    """PRelu with a slope of each channel, or one for all."""
    slope = node.weight(1)
    count, axes = slope.numel(), node.rank() - FIRST_TWO
    shape = tuple(slope.shape)
    shape = shape[1:] if len(shape) == axes + FIRST_TWO else shape
    lying = count == 1 or shape == (count, *(1,) * axes)
    if not lying:
        raise UnknownFormError("slopes of single positions")
    layer = nn.PReLU(count)
    put(layer, weight=slope.reshape(-1))
    return Built(layer, (node.inputs[0],))


def embedding(node: Node) -> Built:
    """Gather from a constant table by what the network is given."""
    table = node.constant(0)
    if table is None or table.ndim != FIRST_TWO or node.attributes.get("axis", 0):
        raise UnknownFormError("no table of rows")
    weight = node.weight(0)
    layer = nn.Embedding(weight.shape[0], weight.shape[1])
    put(layer, weight=weight)
    return Built(layer, (node.inputs[1],))


LAYERS: dict[str, Callable[[Node], Built]] = {
    "Conv": convolution,
    "ConvTranspose": transposed_convolution,
    "Gemm": product_and_sum,
    "BatchNormalization": batch_norm,
    "InstanceNormalization": instance_norm,
    "LayerNormalization": layer_norm,
    "PRelu": prelu,
}
