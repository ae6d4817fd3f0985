"""The table from ATen operator to rule. Add an operator: write its rule, add a line.

Names are plain: `relu` stands for every overload of it, in place or not. An operator
that is missing here freezes all that it touches and is reported by name.
"""

from __future__ import annotations

from collections.abc import Callable

from edgeprune.graph.labels import Labels
from edgeprune.graph.rules import layout, pointwise, weighted
from edgeprune.graph.rules.call import Call

Rule = Callable[[Call], Labels | tuple[Labels, ...]]


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
        pointwise.elementwise,
    ),
    **_all(
        "zeros ones full empty arange eye linspace rand randn new_zeros new_ones "
        "new_full new_empty scalar_tensor lift_fresh _assert_tensor_metadata",
        pointwise.constant,
    ),
    **_all("conv1d conv2d conv3d", weighted.convolution),
    **_all(
        "conv_transpose1d conv_transpose2d conv_transpose3d",
        weighted.transposed_convolution,
    ),
    "linear": weighted.linear,
    "batch_norm": weighted.batch_norm,
    "prelu": weighted.prelu,
    **_all(
        "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d "
        "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d "
        "upsample_nearest1d upsample_nearest2d upsample_nearest3d "
        "upsample_bilinear2d upsample_bicubic2d upsample_linear1d upsample_trilinear3d "
        "_upsample_nearest_exact2d reflection_pad1d reflection_pad2d "
        "replication_pad1d replication_pad2d",
        pointwise.spatial,
    ),
    **_all(
        "max_pool2d_with_indices adaptive_max_pool1d adaptive_max_pool2d "
        "adaptive_max_pool3d",
        pointwise.spatial_with_indices,
    ),
    **_all("mean sum amax amin var std prod", pointwise.reduction),
    **_all("cat concat", layout.concatenate),
    "stack": layout.stack,
    **_all("chunk split split_with_sizes tensor_split", layout.chunk),
    "slice": layout.slice_axis,
    "narrow": layout.narrow,
    "select": layout.select,
    "unbind": layout.unbind,
    **_all(
        "view reshape flatten unflatten squeeze unsqueeze _unsafe_view view_as "
        "reshape_as",
        layout.reshape,
    ),
    "permute": layout.permute,
    "transpose": layout.transpose,
    "t": layout.transpose_matrix,
    **_all("expand expand_as", layout.expand),
    **_all("pad constant_pad_nd", layout.pad),
    "pixel_shuffle": layout.pixel_shuffle,
    "channel_shuffle": layout.channel_shuffle,
}


def rule_for(name: str) -> Rule:
    """The rule of an operator by its plain name."""
    return RULES.get(name, Call.refuse)
