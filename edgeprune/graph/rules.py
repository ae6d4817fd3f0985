"""What each ATen operator does to channel labels, as one table.

A rule gets a `Call` and returns the labels of the result. It unites what must go
together and freezes what it cannot follow. An operator without a rule freezes all that
it touches and is reported by name. Add an operator: write its rule, add its line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from torch import fx

from edgeprune.graph.labels import (
    SILENT,
    Frozen,
    LabelArray,
    Labels,
    Ledger,
    Shape,
    meet,
    support,
)
from edgeprune.graph.trace import source_line

Role = Literal["input", "output"]


@dataclass(frozen=True)
class Call:
    """One operator call as its rule sees it.

    Attributes:
        node: the operator in the graph.
        arguments: by the names of the ATen schema; labels in place of tensors.
        shape: of the (first) result.
        owners: the dotted path of every placeholder that is a parameter.
        roles: filled in by the rules of weighted layers: what an axis of a parameter
            is for, by (path, axis).
    """

    ledger: Ledger
    node: fx.Node
    arguments: dict[str, Any]
    shape: Shape
    owners: Mapping[str, str]
    roles: dict[tuple[str, int], Role]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def where(self) -> str:
        """The user's source line."""
        return source_line(self.node)

    def tensors(self) -> list[Labels]:
        """All tensor arguments, those inside lists too."""
        found: list[Labels] = []
        for value in self.arguments.values():
            items = value if isinstance(value, list | tuple) else [value]
            found += [item for item in items if isinstance(item, Labels)]
        return found

    def axis(self, tensor: Labels, name: str = "dim") -> int:
        """A single axis argument, counted from the front."""
        return self[name] % max(len(tensor.shape), 1)

    def path(self, name: str) -> str:
        """The dotted path behind a tensor argument; its node's name if computed."""
        source = bound_arguments(self.node)[name]
        return self.owners.get(source.name, source.name)

    def claim(self, name: str, axis: int, role: Role) -> None:
        """Say what an axis of a weight is for."""
        self.roles[self.path(name), axis] = role


Rule = Callable[[Call], Labels | tuple[Labels, ...]]


def elementwise(call: Call) -> Labels:
    """Operands broadcast; what meets is one channel."""
    return meet(call.ledger, call.tensors(), call.where)


def constant(call: Call) -> Labels:
    """A tensor made by the user's code: its size is whatever the code says."""
    return Labels(call.shape)


def refuse(call: Call) -> Labels | tuple[Labels, ...]:
    """Freeze everything: an operator without a rule, or one that mixes channels."""
    name = operator_name(call.node)
    frozen = Frozen(f"operator {name} at {call.where} has no rule for these channels")
    for tensor in call.tensors():
        call.ledger.freeze_all(tensor, frozen)
    value = call.node.meta.get("val")
    if isinstance(value, list | tuple):
        return tuple(Labels(tuple(getattr(item, "shape", ()))) for item in value)
    return Labels(call.shape)


def convolution(call: Call) -> Labels:
    """Input labels claim the weight's axis 1, its axis 0 labels the output."""
    weight: Labels = call["weight"]
    groups = call.arguments.get("groups", 1)
    inputs = _channels(call, call["input"], axis=1)
    _freeze_kernel(call, weight)
    if groups == 1:
        _contract(call, inputs, "weight", axis=1)
        return _produce(call, weight, axis=0)
    outputs = _grouped(call, inputs, groups)
    return _produce(call, outputs, axis=0)


def transposed_convolution(call: Call) -> Labels:
    """As a convolution, with the weight's axes 0 and 1 exchanged."""
    if call.arguments.get("groups", 1) != 1:
        return refuse(call)  # type: ignore[return-value]
    inputs = _channels(call, call["input"], axis=1)
    _freeze_kernel(call, call["weight"])
    _contract(call, inputs, "weight", axis=0)
    return _produce(call, call["weight"], axis=1)


def _grouped(call: Call, inputs: LabelArray | None, groups: int) -> Labels:
    """Keep a grouped convolution's groups alike, at the finer of two granularities.

    Either every group loses the channels at the same offsets and the number of
    groups stays, or whole groups go. Depthwise convolution is the second with one
    channel in each group.
    """
    ledger, weight = call.ledger, call["weight"]
    out_each, in_each = weight.shape[0] // groups, weight.shape[1]
    whole = ledger.choose(
        f"groups of {call.path('weight')}",
        lambda: "whole" if max(in_each, out_each) <= groups else "offset",
    )
    outputs = [factor.reshape(groups, -1) for factor in weight.along(0)]
    incoming = None if inputs is None else inputs.reshape(groups, in_each)
    if whole == "offset":
        if incoming is not None:
            incoming = ledger.tie(incoming, 0).ravel()
        _contract(call, incoming, "weight", axis=1)
        for factor in outputs:
            ledger.tie(factor, 0)
        return weight
    for factor in weight.along(1):
        ledger.freeze(factor, SILENT)
    for factor in outputs:
        first = ledger.tie(factor, 1)
        if incoming is None:
            ledger.freeze(first, Frozen(f"reads fixed channels at {call.where}"))
        else:
            ledger.unite(ledger.tie(incoming, 1), first)
    return weight


def linear(call: Call) -> Labels:
    """Input labels claim the weight's axis 1, its axis 0 labels the last axis."""
    tensor: Labels = call["input"]
    last = len(tensor.shape) - 1
    inputs = _channels(call, tensor, axis=last, freeze_others=False)
    _contract(call, inputs, "weight", axis=1)
    produced = _produce(call, call["weight"], axis=0)
    others = tuple(
        call.ledger.tie(factor, last)
        for factor in tensor.factors
        if factor.shape[last] == 1 or len(support(factor)) > 1
    )
    return Labels(call.shape, produced.factors + others)


def _channels(
    call: Call, tensor: Labels, axis: int, *, freeze_others: bool = True
) -> LabelArray | None:
    """The labels along one axis, shape (channels,); None where there are none."""
    found = [call.ledger.confine(factor, [axis]) for factor in tensor.along(axis)]
    if freeze_others:
        frozen = Frozen(f"labels along an axis that {call.where} slides over")
        for factor in tensor.factors:
            if axis not in support(factor):
                call.ledger.freeze(factor, frozen)
    for other in found[1:]:
        call.ledger.unite(found[0], other)
    return found[0].ravel() if found else None


def _contract(call: Call, inputs: LabelArray | None, name: str, axis: int) -> None:
    """Unite incoming labels with the weight axis that sums over them."""
    call.claim(name, axis, "input")
    for factor in call[name].along(axis):
        if inputs is None:
            reason = f"reads channels of fixed number at {call.where}"
            call.ledger.freeze(factor, Frozen(reason))
        else:
            call.ledger.unite(inputs, factor.ravel())


def _produce(call: Call, weight: Labels, axis: int) -> Labels:
    """The result of a weighted layer: labels of its output axis, united with bias."""
    call.claim("weight", axis, "output")
    channel_axis = 1 if "linear" not in operator_name(call.node) else -1
    ndim = len(call.shape)
    shape = [1] * ndim
    shape[channel_axis] = -1
    factors = [factor.reshape(shape) for factor in weight.along(axis)]
    bias: Labels | None = call.arguments.get("bias")
    if bias is not None:
        for produced in factors:
            for factor in bias.factors:
                call.ledger.unite(produced.ravel(), factor.ravel())
    return Labels(call.shape, tuple(factors))


def _freeze_kernel(call: Call, weight: Labels) -> None:
    for factor in weight.factors:
        if support(factor) - {0, 1}:
            call.ledger.freeze(factor, SILENT)


def batch_norm(call: Call) -> Labels:
    """Scale, shift and running statistics go with the channel on axis 1."""
    tensor: Labels = call["input"]
    ones = (1,) * (len(tensor.shape) - 2)
    operands = [tensor]
    for name in ("weight", "bias", "running_mean", "running_var"):
        parameter: Labels | None = call.arguments.get(name)
        if parameter is not None:
            factors = tuple(item.reshape(-1, *ones) for item in parameter.factors)
            operands.append(Labels(parameter.shape + ones, factors))
    return meet(call.ledger, operands, call.where)


def prelu(call: Call) -> Labels:
    """One slope for all, or one for each channel on axis 1."""
    tensor, weight = call["input"], call["weight"]
    ones = (1,) * max(len(tensor.shape) - 2, 0)
    factors = tuple(item.reshape(-1, *ones) for item in weight.factors)
    slope = Labels(weight.shape + ones, factors)
    return meet(call.ledger, [tensor, slope], call.where)


def spatial(call: Call) -> Labels:
    """Pooling, resizing: acts on each (sample, channel) plane by itself."""
    tensor = call.tensors()[0]
    ndim, planes = len(call.shape), 2
    for factor in tensor.factors:
        if support(factor) - set(range(planes)):
            reason = f"labels along an axis that {call.where} slides over"
            call.ledger.freeze(factor, Frozen(reason))
    kept = [item for item in tensor.factors if support(item) <= set(range(planes))]
    return Labels(call.shape, tuple(kept)) if ndim > 1 else Labels(call.shape)


def pooling_with_indices(call: Call) -> tuple[Labels, ...]:
    """Max pooling that returns positions too: both per plane."""
    values = spatial(call)
    return values, values


def reduce(call: Call) -> Labels:
    """Sum, mean, maximum: free along axes without labels, frozen along the others."""
    tensor = call.tensors()[0]
    ndim = len(tensor.shape)
    axes = call.arguments.get("dim")
    axes = [axes] if isinstance(axes, int) else list(axes or range(ndim))
    reduced = {axis % ndim for axis in axes} if ndim else set()
    kept = []
    for factor in tensor.factors:
        if support(factor) & reduced:
            reason = f"{operator_name(call.node)} at {call.where} mixes channels"
            call.ledger.freeze(factor, Frozen(reason))
        else:
            kept.append(factor)
    if not call.arguments.get("keepdim", False):
        kept = [factor.squeeze(tuple(sorted(reduced))) for factor in kept]
    return Labels(call.shape, tuple(kept))


def concatenate(call: Call) -> Labels:
    """Labels stand behind each other; other axes must agree."""
    tensors: list[Labels] = [item for item in call["tensors"] if item.shape != (0,)]
    axis = call.axis(tensors[0])
    pieces = [_piece(call, tensor, axis) for tensor in tensors]
    others = [
        Labels(
            with_length(tensor.shape, axis, 1),
            tuple(item for item in tensor.factors if item.shape[axis] == 1),
        )
        for tensor in tensors
    ]
    rest = meet(call.ledger, others, call.where)
    if all(not tensor.along(axis) for tensor in tensors):
        return Labels(call.shape, rest.factors)
    common = np.broadcast_shapes(
        *(with_length(piece.shape, axis, 1) for piece in pieces)
    )
    joined = np.concatenate(
        [
            np.broadcast_to(piece, with_length(common, axis, piece.shape[axis]))
            for piece in pieces
        ],
        axis=axis,
    )
    return Labels(call.shape, (joined, *rest.factors))


def _piece(call: Call, tensor: Labels, axis: int) -> LabelArray:
    """The labels of one operand along the axis that is joined; fixed where none."""
    found = tensor.along(axis)
    if len(found) == 1:
        return found[0]
    for factor in found:
        call.ledger.freeze(factor, Frozen(f"labels are tangled at {call.where}"))
    shape = [1] * len(tensor.shape)
    shape[axis] = -1
    return fixed(call, tensor.shape[axis]).reshape(shape)


def fixed(call: Call, count: int) -> LabelArray:
    """Labels for positions that the user's code creates in a fixed number."""
    labels = call.ledger.fresh(count)
    call.ledger.freeze(labels, Frozen(f"positions of fixed number at {call.where}"))
    return labels


def stack(call: Call) -> Labels:
    """A new axis, then concatenation along it."""
    tensors: list[Labels] = call["tensors"]
    axis = call["dim"] % (len(tensors[0].shape) + 1)
    parts = [
        Labels(
            (*tensor.shape[:axis], 1, *tensor.shape[axis:]),
            tuple(np.expand_dims(factor, axis) for factor in tensor.factors),
        )
        for tensor in tensors
    ]
    return Labels(call.shape, meet(call.ledger, parts, call.where).factors)


def chunk(call: Call) -> tuple[Labels, ...]:
    """Cut into parts; each part must keep as many channels as the others."""
    tensor = call.tensors()[0]
    axis = call.axis(tensor)
    sizes = [part.shape[axis] for part in call.node.meta["val"]]
    bounds = np.cumsum([0, *sizes]).tolist()
    return tuple(_cut(call, tensor, axis, *span) for span in pairwise(bounds))


def slice_axis(call: Call) -> Labels:
    """A range of positions: free without labels, else one of several equal parts."""
    tensor = call.tensors()[0]
    axis = call.axis(tensor)
    size, step = tensor.shape[axis], call["step"]
    start, end = (_clamp(call[name], size, name) for name in ("start", "end"))
    if (start, end, step) == (0, size, 1) or not tensor.along(axis):
        return Labels(call.shape, tensor.factors)
    if step != 1:
        return refuse(call)  # type: ignore[return-value]
    return _cut(call, tensor, axis, start, end)


def _clamp(value: int | None, size: int, name: str) -> int:
    if value is None:
        return 0 if name == "start" else size
    return min(max(value + size if value < 0 else value, 0), size)


def _cut(call: Call, tensor: Labels, axis: int, start: int, end: int) -> Labels:
    """Positions start to end; parts of equal length lose the same offsets."""
    size, length = tensor.shape[axis], end - start
    equal = length > 0 and size % length == 0 and start % length == 0
    factors = []
    for factor in tensor.factors:
        if factor.shape[axis] == 1:
            factors.append(factor)
        elif equal:
            parts = factor.reshape(
                *factor.shape[:axis], -1, length, *factor.shape[axis + 1 :]
            )
            call.ledger.tie(parts, axis)
            factors.append(factor.take(range(start, end), axis=axis))
        else:
            reason = f"cut into unequal parts at {call.where}"
            call.ledger.freeze(factor, Frozen(reason))
    return Labels(with_length(tensor.shape, axis, length), tuple(factors))


def select(call: Call) -> Labels:
    """One position of an axis; a labelled axis is frozen, its index is fixed."""
    tensor = call.tensors()[0]
    axis = call.axis(tensor)
    factors = []
    for factor in tensor.factors:
        if factor.shape[axis] > 1:
            call.ledger.freeze(factor, Frozen(f"indexed by number at {call.where}"))
        factors.append(
            factor.take(call["index"] if factor.shape[axis] > 1 else 0, axis)
        )
    return Labels(call.shape, tuple(item for item in factors if support(item)))


def reshape(call: Call) -> Labels:
    """The same elements under other axes.

    An axis of labels that is cut in several is taken to be parts of equal number:
    each part loses the same offsets, as in a channel shuffle.
    """
    tensor = call.tensors()[0]
    segments = _segments(tensor.shape, call.shape)
    if segments is None:
        return refuse(call)  # type: ignore[return-value]
    factors = [_refold(call, tensor, factor, segments) for factor in tensor.factors]
    return Labels(call.shape, tuple(item for item in factors if support(item)))


Segment = tuple[range, range]


def _segments(before: Shape, after: Shape) -> list[Segment] | None:
    """The shortest runs of axes with equal products on both sides; None if none."""
    segments: list[Segment] = []
    i = j = 0
    while i < len(before) or j < len(after):
        stop_i, stop_j = min(i + 1, len(before)), min(j + 1, len(after))
        while (left := math.prod(before[i:stop_i])) != (
            right := math.prod(after[j:stop_j])
        ):
            if left < right and stop_i < len(before):
                stop_i += 1
            elif right < left and stop_j < len(after):
                stop_j += 1
            else:
                return None
        segments.append((range(i, stop_i), range(j, stop_j)))
        i, j = stop_i, stop_j
    return segments


def _refold(
    call: Call, tensor: Labels, factor: LabelArray, segments: list[Segment]
) -> LabelArray:
    """One factor under the new axes, cut segment by segment."""
    full, folded, cuts = list(factor.shape), [1] * len(call.shape), []
    for before, after in segments:
        if all(factor.shape[axis] == 1 for axis in before):
            continue
        for axis in before:
            full[axis] = tensor.shape[axis]
        for axis in after:
            folded[axis] = call.shape[axis]
        cuts.append(after)
    result = _shrunk(np.broadcast_to(factor, full).reshape(folded))
    for after in cuts:
        varying = [axis for axis in after if result.shape[axis] > 1]
        for axis in varying[:-1]:
            result = call.ledger.tie(result, axis)
    return result


def _shrunk(factor: LabelArray) -> LabelArray:
    """The same labels, of length 1 along every axis along which they are equal."""
    for axis in range(factor.ndim):
        first = factor.take([0], axis=axis)
        if (factor == first).all():
            factor = first
    return factor


def permute(call: Call) -> Labels:
    """Axes in another order."""
    tensor = call.tensors()[0]
    order = [axis % len(tensor.shape) for axis in call["dims"]]
    return Labels(call.shape, tuple(item.transpose(order) for item in tensor.factors))


def transpose(call: Call) -> Labels:
    """Two axes exchanged."""
    tensor = call.tensors()[0]
    first, second = (call.axis(tensor, name) for name in ("dim0", "dim1"))
    factors = tuple(item.swapaxes(first, second) for item in tensor.factors)
    return Labels(call.shape, factors)


def transpose_matrix(call: Call) -> Labels:
    """A matrix's axes exchanged."""
    return Labels(call.shape, tuple(item.T for item in call.tensors()[0].factors))


def expand(call: Call) -> Labels:
    """Repetition along axes of length 1, and new axes in front."""
    tensor = call.tensors()[0]
    ahead = (1,) * (len(call.shape) - len(tensor.shape))
    factors = tuple(item.reshape(ahead + item.shape) for item in tensor.factors)
    return Labels(call.shape, factors)


def pad(call: Call) -> Labels:
    """Positions added at the ends of an axis are fixed; the rest keeps its labels."""
    tensor = call.tensors()[0]
    widths: list[int] = call["pad"]
    ndim, factors = len(tensor.shape), list(tensor.factors)
    if min(widths) < 0 and tensor.factors:
        return refuse(call)  # type: ignore[return-value]
    for pair in range(len(widths) // 2):
        axis = ndim - 1 - pair
        before, after = widths[2 * pair], widths[2 * pair + 1]
        if before or after:
            factors = [
                _padded(call, item, axis, before, after)
                if item.shape[axis] > 1
                else item
                for item in factors
            ]
    return Labels(call.shape, tuple(factors))


def _padded(
    call: Call, factor: LabelArray, axis: int, before: int, after: int
) -> LabelArray:
    shape = [1] * factor.ndim
    ends = []
    for count in (before, after):
        shape[axis] = count
        end = fixed(call, count).reshape(shape)
        target = list(factor.shape)
        target[axis] = count
        ends.append(np.broadcast_to(end, target))
    return np.concatenate([ends[0], factor, ends[1]], axis=axis)


def pixel_shuffle(call: Call) -> Labels:
    """Blocks of r*r channels become one channel of r*r positions."""
    tensor = call.tensors()[0]
    block = call["upscale_factor"] ** 2
    factors = []
    for factor in tensor.along(1):
        labels = call.ledger.confine(factor, [1]).reshape(-1, block)
        factors.append(call.ledger.tie(labels, 1).reshape(1, -1, 1, 1))
    return Labels(call.shape, tuple(item for item in factors if support(item)))


def channel_shuffle(call: Call) -> Labels:
    """Channels of each group interleaved; the groups lose the same offsets."""
    tensor = call.tensors()[0]
    groups = call["groups"]
    factors = []
    for factor in tensor.along(1):
        labels = call.ledger.confine(factor, [1]).reshape(groups, -1)
        labels = np.broadcast_to(call.ledger.tie(labels, 0), labels.shape)
        shape = (1, -1) + (1,) * (factor.ndim - 2)
        factors.append(labels.T.reshape(shape))
    return Labels(call.shape, tuple(factors))


def bound_arguments(node: fx.Node) -> dict[str, Any]:
    """A node's arguments by the names of the ATen schema, defaults filled in."""
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    bound = {item.name: item.default_value for item in schema}
    bound.update(zip([item.name for item in schema], node.args, strict=False))
    bound.update(node.kwargs)
    return bound


def with_length(shape: Shape, axis: int, length: int) -> Shape:
    """A shape with another length along one axis."""
    return (*shape[:axis], length, *shape[axis + 1 :])


def operator_name(node: fx.Node) -> str:
    """The operator's plain name: `aten.relu_.default` is `relu`."""
    name = str(node.target).removeprefix("aten.").split(".")[0]
    return name.rstrip("_") if not name.startswith("_") else name


def _all(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


RULES: dict[str, Rule] = {
    **_all(
        "relu relu6 hardtanh sigmoid silu hardswish hardsigmoid gelu elu selu celu "
        "leaky_relu tanh softplus softsign mish log_sigmoid hardshrink softshrink "
        "threshold exp log sqrt rsqrt abs neg sin cos erf floor ceil round reciprocal "
        "square sign clamp clamp_min clamp_max pow dropout feature_dropout "
        "alpha_dropout contiguous clone detach alias lift_fresh_copy to type_as "
        "_to_copy add sub rsub mul div true_divide maximum minimum where lerp addcmul "
        "addcdiv eq ne lt le gt ge logical_and logical_or logical_not bitwise_not "
        "nan_to_num masked_fill fill zeros_like ones_like full_like positive",
        elementwise,
    ),
    **_all(
        "zeros ones full empty arange eye linspace rand randn new_zeros new_ones "
        "new_full new_empty scalar_tensor lift_fresh",
        constant,
    ),
    **_all("conv1d conv2d conv3d", convolution),
    **_all(
        "conv_transpose1d conv_transpose2d conv_transpose3d", transposed_convolution
    ),
    "linear": linear,
    "batch_norm": batch_norm,
    "prelu": prelu,
    **_all(
        "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d "
        "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d "
        "adaptive_max_pool1d upsample_nearest1d upsample_nearest2d upsample_nearest3d "
        "upsample_bilinear2d upsample_bicubic2d upsample_linear1d upsample_trilinear3d "
        "_upsample_nearest_exact2d",
        spatial,
    ),
    **_all(
        "max_pool2d_with_indices adaptive_max_pool2d adaptive_max_pool3d",
        pooling_with_indices,
    ),
    **_all("mean sum amax amin var std prod", reduce),
    "cat": concatenate,
    "concat": concatenate,
    **_all("chunk split split_with_sizes tensor_split", chunk),
    "slice": slice_axis,
    "select": select,
    **_all(
        "view reshape flatten unflatten squeeze unsqueeze _unsafe_view view_as "
        "reshape_as",
        reshape,
    ),
    "permute": permute,
    "transpose": transpose,
    "t": transpose_matrix,
    "expand": expand,
    "expand_as": expand,
    "pad": pad,
    "constant_pad_nd": pad,
    "pixel_shuffle": pixel_shuffle,
    "channel_shuffle": channel_shuffle,
    "_assert_tensor_metadata": constant,
}


def result_shape(node: fx.Node) -> Shape:
    """The shape of a node's (first) tensor result; () where there is none."""
    value = node.meta.get("val")
    if isinstance(value, list | tuple):
        value = value[0] if value else None
    return tuple(int(size) for size in getattr(value, "shape", ()))
