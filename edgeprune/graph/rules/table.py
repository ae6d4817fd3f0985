"""The table from ATen operator to rule. Add an operator: write its rule, add a line.

Names are plain: `relu` stands for every overload of it, in place or not. An operator
that is missing here freezes all that it touches and is reported by name.
"""

from __future__ import annotations

from collections.abc import Callable

from edgeprune.graph.labels import Labels
from edgeprune.graph.rules import layout, norms, parts, pointwise, products, weighted
from edgeprune.graph.rules.call import Call

Rule = Callable[[Call], Labels | tuple[Labels, ...]]


def _all(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


RULES: dict[str, Rule] = {
    **_all(
        "abs acos acosh add addcdiv addcmul alias alpha_dropout asin asinh atan atan2 "
        "atanh bitwise_and bitwise_not bitwise_or ceil celu clamp clamp_max clamp_min "
        "clip clone contiguous copy copysign cos cosh deg2rad detach div divide "
        "dropout elu eq erf erfc exp exp2 expm1 feature_alpha_dropout feature_dropout "
        "fill float_power floor floor_divide fmax fmin fmod frac full_like ge gelu "
        "greater gt hardshrink hardsigmoid hardswish hardtanh isfinite isinf isnan le "
        "leaky_relu lerp lift_fresh_copy log log10 log1p log2 log_sigmoid logical_and "
        "logical_not logical_or logical_xor logit lt masked_fill maximum minimum mish "
        "mul multiply nan_to_num ne neg ones_like positive pow rand_like randn_like "
        "reciprocal relu relu6 remainder round rrelu rsqrt rsub selu sgn sigmoid sign "
        "silu sin sinh softplus softshrink sqrt square sub subtract tan tanh "
        "threshold to _to_copy true_divide trunc type_as where xlogy zero zeros_like",
        pointwise.elementwise,
    ),
    **_all(
        "arange empty eye full linspace new_empty new_full new_ones new_zeros ones "
        "rand randn scalar_tensor zeros",
        pointwise.constant,
    ),
    **_all("_assert_tensor_metadata", pointwise.detached),
    **_all("conv1d conv2d conv3d", weighted.convolution),
    **_all(
        "conv_transpose1d conv_transpose2d conv_transpose3d",
        weighted.transposed_convolution,
    ),
    "deform_conv2d": weighted.deformable_convolution,
    "linear": weighted.linear,
    "embedding": weighted.embedding,
    **_all("lstm gru rnn_tanh rnn_relu", weighted.recurrent),
    **_all("batch_norm instance_norm", norms.batch_norm),
    "prelu": norms.prelu,
    **_all("layer_norm rms_norm", norms.layer_norm),
    "group_norm": norms.group_norm,
    "_weight_norm": norms.weight_norm,
    **_all("matmul mm bmm mv dot", products.matrix_product),
    **_all("addmm baddbmm", products.biased_product),
    "einsum": products.einsum,
    "scaled_dot_product_attention": products.attention,
    **_all(
        "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d "
        "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d "
        "upsample_nearest1d upsample_nearest2d upsample_nearest3d "
        "upsample_bilinear2d upsample_bicubic2d upsample_linear1d upsample_trilinear3d "
        "_upsample_nearest_exact1d _upsample_nearest_exact2d "
        "_upsample_bilinear2d_aa _upsample_bicubic2d_aa reflection_pad1d "
        "reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d "
        "replication_pad3d grid_sampler roi_align roi_pool",
        pointwise.spatial,
    ),
    **_all(
        "max_pool2d_with_indices max_pool3d_with_indices max_pool1d_with_indices "
        "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d",
        pointwise.spatial_with_indices,
    ),
    **_all(
        "mean sum amax amin var std prod logsumexp norm linalg_vector_norm var_mean "
        "std_mean all any median nansum nanmean count_nonzero",
        pointwise.reduction,
    ),
    **_all("max min", pointwise.extremum),
    **_all("argmax argmin", pointwise.positions),
    **_all("softmax log_softmax _softmax", pointwise.softmax),
    **_all("cumsum cumprod cummax sort argsort topk", pointwise.running),
    **_all("roll flip", pointwise.moved),
    **_all("cat concat concatenate", parts.concatenate),
    "stack": parts.stack,
    **_all("chunk split split_with_sizes tensor_split unsafe_chunk", parts.chunk),
    "glu": parts.glu,
    "slice": parts.slice_axis,
    "narrow": parts.narrow,
    "select": parts.select,
    "unbind": parts.unbind,
    "index": parts.index,
    "index_put": parts.index_put,
    "index_select": parts.index_select,
    **_all("repeat tile", parts.repeat),
    "repeat_interleave": parts.repeat_each,
    **_all("pad constant_pad_nd", parts.pad),
    **_all(
        "view reshape flatten ravel unflatten squeeze unsqueeze _unsafe_view view_as "
        "reshape_as",
        layout.reshape,
    ),
    "permute": layout.permute,
    **_all("transpose swapaxes swapdims", layout.transpose),
    **_all("t numpy_T", layout.transpose_matrix),
    **_all("mT adjoint matrix_H", layout.swap),
    **_all("movedim moveaxis", layout.move_axes),
    **_all("expand expand_as broadcast_to", layout.expand),
    "pixel_shuffle": layout.pixel_shuffle,
    "pixel_unshuffle": layout.pixel_unshuffle,
    "channel_shuffle": layout.channel_shuffle,
    "im2col": layout.unfold,
    "col2im": layout.fold,
    "unfold": layout.windows,
}


# What these make may carry channels although nothing that they are given does.
MAKERS = frozenset(
    _all(
        "broadcast_to empty expand full new_empty new_full new_ones new_zeros ones "
        "rand randn zeros",
        pointwise.constant,
    )
)


def rule_for(name: str) -> Rule:
    """The rule of an operator by its plain name."""
    return RULES.get(name, Call.refuse)
