"""The table of operators: one row for all that is known of each.

Names are plain: `relu` stands for every overload of it, in place or not. An operator
that is missing here freezes all that it touches and is reported by name; nothing is
guessed. Add one: write its rule, add a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import fx

from edgeprune.errors import TraceError
from edgeprune.graph import macs
from edgeprune.graph.labels import Labels
from edgeprune.graph.rules import (
    indexing,
    layout,
    norms,
    parts,
    pointwise,
    products,
    weighted,
)
from edgeprune.graph.rules.call import Call, operator_name

Rule = Callable[[Call], Labels | tuple[Labels, ...]]
Count = Callable[[fx.Node], int]
Limits = Callable[[Mapping[str, Any]], tuple[float, float]]


@dataclass(frozen=True)
class Operator:
    """Everything that is known about one ATen operator.

    Attributes:
        rule: what it does to channel labels.
        macs: its multiply-accumulates; None where it has none.
        layer: it reads a weight that makes channels, and counts as a layer.
        fitted: least squares can fit its weight to what it makes.
        nonlinear: channels are looked at before it.
        rectifier: it is nearly linear for what it lets through.
        limits: between which it lets values through, by its arguments.
        scales: it multiplies values by others, as a gate does.
        adds: it adds values to others, as a shortcut does.
        batch_norm: it is one.
        idle: it changes nothing in evaluation mode.
        optional: torch leaves it out where it changes nothing, which the batch may
            decide.
        makes: what it makes may carry channels although nothing that it is given does.
    """

    rule: Rule
    macs: Count | None = None
    layer: bool = False
    fitted: bool = False
    nonlinear: bool = False
    rectifier: bool = False
    limits: Limits | None = None
    scales: bool = False
    adds: bool = False
    batch_norm: bool = False
    idle: bool = False
    optional: bool = False
    makes: bool = False


def _rows(names: str, row: Operator) -> dict[str, Operator]:
    return dict.fromkeys(names.split(), row)


def _between(low: float, high: float) -> Limits:
    return lambda _: (low, high)


def _as_given(arguments: Mapping[str, Any]) -> tuple[float, float]:
    return float(arguments["min_val"]), float(arguments["max_val"])


ELEMENTWISE = Operator(pointwise.elementwise)
RECTIFIER = replace(ELEMENTWISE, nonlinear=True, rectifier=True)
NONLINEAR = replace(ELEMENTWISE, nonlinear=True)
OPTIONAL = replace(ELEMENTWISE, optional=True)
MAKER = Operator(pointwise.constant, makes=True)
PRODUCT = Operator(products.matrix_product, macs=macs.product)
LAYER = Operator(weighted.convolution, macs=macs.convolution, layer=True, fitted=True)

OPERATORS: dict[str, Operator] = {
    **_rows(
        "abs acos acosh addcdiv addcmul alias asin asinh atan atan2 atanh bitwise_and "
        "bitwise_not bitwise_or ceil clamp_max clip clone copy copysign cos cosh "
        "deg2rad div divide eq erf erfc exp exp2 expm1 feature_alpha_dropout fill "
        "float_power floor floor_divide fmax fmin fmod frac full_like ge greater gt "
        "hardshrink isfinite isinf isnan le lerp lift_fresh_copy log log10 log1p log2 "
        "log_sigmoid logical_and logical_not logical_or logical_xor logit lt "
        "masked_fill maximum minimum nan_to_num ne neg ones_like positive pow "
        "rand_like randn_like reciprocal remainder round rsqrt rsub sgn sign sin sinh "
        "softshrink sqrt square sub subtract tan _to_copy true_divide trunc type_as "
        "where xlogy zero zeros_like",
        ELEMENTWISE,
    ),
    "relu": replace(RECTIFIER, limits=_between(0.0, math.inf)),
    "relu6": replace(RECTIFIER, limits=_between(0.0, 6.0)),
    "hardtanh": replace(RECTIFIER, limits=_as_given),
    **_rows(
        "celu clamp clamp_min elu gelu hardswish leaky_relu mish rrelu selu silu "
        "softplus threshold",
        RECTIFIER,
    ),
    **_rows("sigmoid hardsigmoid tanh", NONLINEAR),
    "add": replace(ELEMENTWISE, adds=True),
    **_rows("mul multiply", replace(ELEMENTWISE, scales=True)),
    **_rows("dropout feature_dropout alpha_dropout", replace(ELEMENTWISE, idle=True)),
    **_rows("contiguous to detach", OPTIONAL),
    **_rows(
        "empty full new_empty new_full new_ones new_zeros ones rand randn zeros",
        MAKER,
    ),
    **_rows("arange eye linspace scalar_tensor", replace(MAKER, makes=False)),
    "_assert_tensor_metadata": Operator(pointwise.detached),
    **_rows("conv1d conv2d conv3d", LAYER),
    "linear": replace(LAYER, rule=weighted.linear),
    **_rows(
        "conv_transpose1d conv_transpose2d conv_transpose3d",
        Operator(
            weighted.transposed_convolution,
            macs=macs.transposed_convolution,
            layer=True,
        ),
    ),
    "deform_conv2d": Operator(weighted.deformable_convolution, macs=macs.convolution),
    "embedding": Operator(weighted.embedding),
    **_rows(
        "lstm gru rnn_tanh rnn_relu", Operator(weighted.recurrent, macs=macs.recurrent)
    ),
    "batch_norm": Operator(norms.batch_norm, batch_norm=True),
    "instance_norm": Operator(norms.batch_norm),
    "prelu": Operator(norms.prelu, nonlinear=True, rectifier=True),
    **_rows("layer_norm rms_norm", Operator(norms.layer_norm)),
    "group_norm": Operator(norms.group_norm),
    "_weight_norm": Operator(norms.weight_norm),
    "renorm": Operator(norms.renorm),
    **_rows("matmul mm bmm", PRODUCT),
    **_rows("mv dot vdot", replace(PRODUCT, macs=None)),
    **_rows("addmm baddbmm", replace(PRODUCT, rule=products.biased_product)),
    "einsum": Operator(products.einsum, macs=macs.einsum),
    "scaled_dot_product_attention": Operator(products.attention, macs=macs.attention),
    **_rows(
        "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d "
        "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d "
        "upsample_nearest1d upsample_nearest2d upsample_nearest3d "
        "upsample_bilinear2d upsample_bicubic2d upsample_linear1d upsample_trilinear3d "
        "_upsample_nearest_exact1d _upsample_nearest_exact2d "
        "_upsample_bilinear2d_aa _upsample_bicubic2d_aa reflection_pad1d "
        "reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d "
        "replication_pad3d grid_sampler roi_align roi_pool",
        Operator(pointwise.spatial),
    ),
    **_rows(
        "max_pool2d_with_indices max_pool3d_with_indices max_pool1d_with_indices "
        "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d",
        Operator(pointwise.spatial_with_indices),
    ),
    **_rows(
        "mean sum amax amin var std prod logsumexp norm linalg_vector_norm var_mean "
        "std_mean all any median nansum nanmean count_nonzero",
        Operator(pointwise.reduction),
    ),
    **_rows("max min", Operator(pointwise.extremum)),
    **_rows("argmax argmin", Operator(pointwise.positions)),
    "result_type": Operator(pointwise.of_type),
    "softmax": Operator(pointwise.softmax, nonlinear=True),
    **_rows("log_softmax _softmax", Operator(pointwise.softmax)),
    **_rows("cumsum cumprod cummax sort argsort topk", Operator(pointwise.running)),
    **_rows("roll flip", Operator(pointwise.moved)),
    **_rows("cat concat concatenate", Operator(parts.concatenate)),
    "stack": Operator(parts.stack),
    **_rows(
        "chunk split split_with_sizes tensor_split unsafe_chunk", Operator(parts.chunk)
    ),
    "glu": Operator(parts.glu),
    "slice": Operator(parts.slice_axis),
    "narrow": Operator(parts.narrow),
    "select": Operator(indexing.select),
    "unbind": Operator(indexing.unbind),
    "index": Operator(indexing.index),
    "index_put": Operator(indexing.index_put),
    "index_select": Operator(indexing.index_select),
    **_rows("repeat tile", Operator(parts.repeat)),
    "repeat_interleave": Operator(parts.repeat_each),
    **_rows("pad constant_pad_nd", Operator(parts.pad)),
    **_rows(
        "view reshape flatten ravel unflatten squeeze unsqueeze _unsafe_view view_as "
        "reshape_as",
        Operator(layout.reshape),
    ),
    "permute": Operator(layout.permute),
    **_rows("transpose swapaxes swapdims", Operator(layout.transpose)),
    **_rows("t numpy_T", Operator(layout.transpose_matrix)),
    **_rows("mT adjoint matrix_H", Operator(layout.swap)),
    **_rows("movedim moveaxis", Operator(layout.move_axes)),
    "expand": Operator(layout.expand, optional=True, makes=True),
    "expand_as": Operator(layout.expand),
    "broadcast_to": Operator(layout.expand, makes=True),
    "pixel_shuffle": Operator(layout.pixel_shuffle),
    "pixel_unshuffle": Operator(layout.pixel_unshuffle),
    "channel_shuffle": Operator(layout.channel_shuffle),
    "im2col": Operator(layout.unfold),
    "col2im": Operator(layout.fold),
    "unfold": Operator(layout.windows),
}
UNKNOWN = Operator(Call.refuse)


def operator_of(node: fx.Node) -> Operator:
    """Look up the operator of a node."""
    return operator_named(operator_name(node))


def operator_named(name: str) -> Operator:
    """Look up an operator by its plain name."""
    return OPERATORS.get(name, UNKNOWN)


def register_operator(
    name: str,
    rule: Rule | None = None,
    *,
    like: str | None = None,
    macs: Count | None = None,
) -> None:
    """Teach edgeprune an operator that it does not know, such as one of your own.

    Args:
        name: plain, without its library: `scale` for `torch.ops.mine.scale`.
        rule: what it does to channel labels; see `edgeprune.graph.rules`.
        like: an operator that does the same to channels, in place of a rule: `relu`
            for one that works on each number by itself, `add` for one that joins
            tensors elementwise, `max_pool2d` for one that works on each channel's
            plane.
        macs: from its node in the traced graph to multiply-accumulates, if it has any.

    Raises:
        TraceError: it is known already, neither or both of rule and like are given,
            or what it is to be like is not known.

    Example:
        >>> import edgeprune
        >>> edgeprune.register_operator("my_activation", like="relu")
    """
    if name in OPERATORS:
        raise TraceError(f"The operator {name!r} is known already.")
    if (rule is None) == (like is None):
        raise TraceError(f"Give either a rule for {name!r} or what it is like.")
    if like is not None and like not in OPERATORS:
        raise TraceError(f"{name!r} cannot be like {like!r}, which is not known.")
    known = OPERATORS[like] if like is not None else Operator(rule or Call.refuse)
    OPERATORS[name] = known if macs is None else replace(known, macs=macs)
