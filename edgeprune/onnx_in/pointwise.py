"""Operators on single values, sums over axes, and pooling."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from onnx import helper
from torch import Tensor
from torch.nn import functional

from edgeprune.onnx_in.layers import FIRST_TWO, of_rank, pads_of, window
from edgeprune.onnx_in.node import Built, Node, UnknownFormError
from edgeprune.onnx_in.positions import Function, alone

UNARY: dict[str, Callable[..., Tensor]] = {
    "Abs": torch.abs,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": functional.hardswish,
    "Log": torch.log,
    "Mish": functional.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": functional.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Softplus": functional.softplus,
    "Softsign": functional.softsign,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
}
BINARY: dict[str, Callable[..., Any]] = {
    "Add": torch.add,
    "And": torch.logical_and,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Mul": torch.mul,
    "Or": torch.logical_or,
    "Pow": torch.pow,
    "Sub": torch.sub,
    "Xor": torch.logical_xor,
}


def identity(x: Tensor) -> Tensor:
    """The value itself."""
    return x


def same(node: Node) -> Built:
    """An operator that changes nothing when a network is used."""
    return alone(node, identity)


def unary(node: Node) -> Built:
    """A function of each value."""
    return alone(node, UNARY[node.kind])


def with_tensors(*given: Any, run: Callable[..., Tensor]) -> Tensor:
    """Call a function that takes no number in front."""
    first, second = given
    if not isinstance(first, Tensor):
        first = torch.tensor(first, dtype=second.dtype, device=second.device)
    return run(first, second)


def binary(node: Node) -> Built:
    """A function of two values, which broadcast."""
    run = BINARY[node.kind]
    return Built(Function(partial(with_tensors, run=run)), node.values())


def quotient(first: Any, second: Any) -> Tensor:
    """Div, which leaves no rest of whole numbers."""
    held = first if isinstance(first, Tensor) else second
    if held.is_floating_point():
        return first / second
    return torch.div(first, second, rounding_mode="trunc")


def division(node: Node) -> Built:
    """Div."""
    return Built(Function(quotient), node.values())


def of_several(*given: Tensor, run: Callable[..., Tensor], share: bool) -> Tensor:
    """A function of two values for any number of them."""
    found = functools.reduce(run, given)
    return found / len(given) if share else found


def several(node: Node) -> Built:
    """Sum, Mean, Max or Min of tensors."""
    kinds = {"Max": torch.maximum, "Min": torch.minimum}
    run = kinds.get(node.kind, torch.add)
    share = node.kind == "Mean"
    module = Function(partial(of_several, run=run, share=share))
    return Built(module, tuple(node.inputs))


def clip(node: Node) -> Built:
    """Values between two numbers."""
    low = node.number(1, "min", float("-inf"))
    high = node.number(2, "max", float("inf"))
    if (low, high) == (0, 6):
        return alone(node, functional.relu6)
    return alone(node, partial(torch.clamp, min=low, max=high))


def hard_sigmoid(x: Tensor, alpha: float, beta: float) -> Tensor:
    """A line between 0 and 1."""
    return torch.clamp(alpha * x + beta, 0.0, 1.0)


def activation(node: Node) -> Built:
    """Non-linearities with numbers of their own."""
    alpha = node.attributes.get
    runs: dict[str, Callable[[], Callable[..., Tensor]]] = {
        "LeakyRelu": lambda: partial(
            functional.leaky_relu, negative_slope=alpha("alpha", 0.01)
        ),
        "Elu": lambda: partial(functional.elu, alpha=alpha("alpha", 1.0)),
        "Celu": lambda: partial(functional.celu, alpha=alpha("alpha", 1.0)),
        "HardSigmoid": lambda: partial(
            hard_sigmoid, alpha=alpha("alpha", 0.2), beta=alpha("beta", 0.5)
        ),
        "Gelu": lambda: partial(
            functional.gelu, approximate=alpha("approximate", "none")
        ),
    }
    return alone(node, runs[node.kind]())


def soft(node: Node) -> Built:
    """Softmax or its logarithm; before version 13 over all axes from one on."""
    rank = node.rank()
    usual = -1 if node.opset >= 13 else 1
    axis = node.attributes.get("axis", usual) % rank
    behind = node.shape(node.inputs[0])[axis + 1 :]
    if node.opset < 13 and any(length != 1 for length in behind):
        raise UnknownFormError("over several axes")
    run = torch.softmax if node.kind == "Softmax" else torch.log_softmax
    return alone(node, partial(run, dim=axis))


def power_sum(x: Tensor, axes: tuple[int, ...], *, keeps: bool, power: int) -> Tensor:
    """Sum of squares, or of absolute values."""
    return (x.abs() if power == 1 else x * x).sum(axes, keeps)


def root(x: Tensor, axes: tuple[int, ...], *, keeps: bool) -> Tensor:
    """Square root of the sum of squares."""
    return (x * x).sum(axes, keeps).sqrt()


def reduction(node: Node) -> Built:
    """A sum, mean, largest or smallest value over axes."""
    axes = node.axes(1)
    if not axes:
        if node.attributes.get("noop_with_empty_axes", 0):
            return alone(node, identity)
        axes = tuple(range(node.rank()))
    keeps = bool(node.attributes.get("keepdims", 1))
    named = {"dim": axes, "keepdim": keeps}
    own: dict[str, Callable[..., Tensor]] = {
        "ReduceMean": partial(torch.mean, **named),
        "ReduceSum": partial(torch.sum, **named),
        "ReduceMax": partial(torch.amax, **named),
        "ReduceMin": partial(torch.amin, **named),
        "ReduceL1": partial(power_sum, axes=axes, keeps=keeps, power=1),
        "ReduceSumSquare": partial(power_sum, axes=axes, keeps=keeps, power=2),
        "ReduceL2": partial(root, axes=axes, keeps=keeps),
        "ReduceLogSumExp": partial(torch.logsumexp, **named),
    }
    return alone(node, own[node.kind])


def extreme(node: Node) -> Built:
    """Where the largest or smallest value is."""
    node.expects(select_last_index=0)
    run = torch.argmax if node.kind == "ArgMax" else torch.argmin
    keeps = bool(node.attributes.get("keepdims", 1))
    axis = node.attributes.get("axis", 0)
    return alone(node, partial(run, dim=axis, keepdim=keeps))


MAX_POOLS = {
    1: functional.max_pool1d,
    2: functional.max_pool2d,
    3: functional.max_pool3d,
}
AVERAGE_POOLS = {
    1: functional.avg_pool1d,
    2: functional.avg_pool2d,
    3: functional.avg_pool3d,
}


def max_pool(node: Node) -> Built:
    """MaxPool; what is added before it never is the largest."""
    if len(node.proto.output) > 1:
        raise UnknownFormError("its places are asked for")
    return _pool(node, MAX_POOLS, float("-inf"))


def average_pool(node: Node) -> Built:
    """AveragePool with even padding, or one that is counted."""
    node.expects(dilations=None)
    counted = bool(node.attributes.get("count_include_pad", 0))
    fill = 0.0 if counted and not node.attributes.get("ceil_mode", 0) else None
    return _pool(node, AVERAGE_POOLS, fill, count_include_pad=counted)


def _pool(node: Node, kinds: dict[int, Any], fill: float | None, **more: Any) -> Built:
    """A pool, with what is added unevenly added before it.

    Args:
        fill: what is added; None where that would count.
    """
    kernel = tuple(node.attributes["kernel_shape"])
    strides, dilations, before, after = window(node, len(kernel))
    half = all(2 * pad <= size for pad, size in zip(before, kernel, strict=True))
    even = before == after and half
    if not even and fill is None:
        raise UnknownFormError("uneven padding that does not count")
    if kinds is MAX_POOLS:
        more["dilation"] = dilations
    run = partial(
        of_rank(kinds, len(kernel)),
        kernel_size=kernel,
        stride=strides,
        padding=before if even else 0,
        ceil_mode=bool(node.attributes.get("ceil_mode", 0)),
        **more,
    )
    if even or fill is None:
        return alone(node, run)
    return alone(
        node, partial(padded, pads=pads_of(before, after), value=fill, run=run)
    )


def padded(
    x: Tensor, pads: tuple[int, ...], value: float, run: Callable[..., Tensor]
) -> Tensor:
    """A function of what has something added at its ends."""
    return run(functional.pad(x, pads, value=value))


def whole_pool(node: Node) -> Built:
    """GlobalAveragePool or GlobalMaxPool."""
    axes = tuple(range(FIRST_TWO, node.rank()))
    run = torch.mean if node.kind == "GlobalAveragePool" else torch.amax
    return alone(node, partial(run, dim=axes, keepdim=True))


def cast(node: Node) -> Built:
    """Values of another type."""
    found = helper.tensor_dtype_to_np_dtype(node.attributes["to"])
    dtype = torch.from_numpy(np.empty(0, found)).dtype
    return alone(node, partial(Tensor.to, dtype=dtype))


def chosen(node: Node) -> Built:
    """Where."""
    return Built(Function(torch.where), node.values())


def equation(*given: Tensor, text: str) -> Tensor:
    """Einsum of its factors."""
    return torch.einsum(text, *given)


def einsum(node: Node) -> Built:
    """Einsum."""
    run = partial(equation, text=node.attributes["equation"])
    return Built(Function(run), tuple(node.inputs))


def _each(names: str, build: Callable[[Node], Built]) -> dict[str, Any]:
    return dict.fromkeys(names.split(), build)


POINTWISE: dict[str, Callable[[Node], Built]] = {
    **dict.fromkeys(UNARY, unary),
    **dict.fromkeys(BINARY, binary),
    **_each("Identity Dropout", same),
    **_each("Sum Mean Max Min", several),
    **_each("LeakyRelu Elu Celu HardSigmoid Gelu", activation),
    **_each("Softmax LogSoftmax", soft),
    **_each(
        "ReduceMean ReduceSum ReduceMax ReduceMin ReduceL1 ReduceL2 ReduceSumSquare "
        "ReduceLogSumExp",
        reduction,
    ),
    **_each("ArgMax ArgMin", extreme),
    **_each("GlobalAveragePool GlobalMaxPool", whole_pool),
    "Div": division,
    "Clip": clip,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "Cast": cast,
    "Where": chosen,
    "Einsum": einsum,
}
