"""Networks as users write them, one for each habit that a graph core must bear."""

import torch

from tests.user_nets.blocks import (
    EfficientAttention,
    Einsum,
    Heads,
    Inception,
    LayerNorms,
    Partial,
    Pyramid,
    Scales,
    SelectiveKernel,
    Shuffled,
    SqueezeExcite,
    SuperResolution,
    UNet,
)
from tests.user_nets.habits import (
    Buffers,
    Dicts,
    Embedded,
    Functional,
    Gated,
    Gru,
    Keeping,
    Recurrent,
    ReusedSequential,
    SharedTwice,
    Signal,
    Tied,
    Volume,
)


def image(channels=3, size=8, batch=2):
    return torch.randn(batch, channels, size, size)


# network, inputs, {group: (channels, positions each)}, groups that are approximate
NETWORKS = {
    "shared": (SharedTwice, lambda: (image(),), {"stem": (8, 1)}, ()),
    "functional": (Functional, lambda: (image(),), {"w1": (8, 1), "w2": (12, 1)}, ()),
    "tied": (Tied, lambda: (image(),), {"stem": (6, 1), "encoder": (10, 1)}, ()),
    "reused": (
        ReusedSequential,
        lambda: (image(), image()),
        {"tower.0": (8, 1), "tail.conv": (10, 1)},
        (),
    ),
    "dicts": (
        Dicts,
        lambda: ({"image": image(), "depth": image(1)},),
        {"image": (8, 1), "fuse": (12, 1)},
        ("fuse",),
    ),
    "buffers": (Buffers, lambda: (image(),), {"conv": (8, 1)}, ()),
    "gated": (Gated, lambda: (image(),), {"conv": (8, 2), "second": (6, 2)}, ()),
    "shuffled-pixels": (SuperResolution, lambda: (image(),), {"conv": (4, 4)}, ()),
    "squeeze": (
        SqueezeExcite,
        lambda: (image(),),
        {"conv": (8, 1), "fc.0": (4, 1), "second": (10, 1)},
        ("second",),
    ),
    "eca": (
        EfficientAttention,
        lambda: (image(),),
        {"conv": (8, 1), "second": (6, 1)},
        ("conv",),
    ),
    "scales": (
        Scales,
        lambda: (image(),),
        {"stem": (6, 2), "wide": (3, 4), "convs.2": (3, 1)},
        (),
    ),
    "aspp": (
        Pyramid,
        lambda: (image(),),
        {
            "stem": (8, 1),
            "branches.0.0": (6, 1),
            "branches.1.0": (6, 1),
            "pooled": (6, 1),
            "project": (10, 1),
        },
        (),
    ),
    "inception": (
        Inception,
        lambda: (image(),),
        {
            "stem": (8, 1),
            "one": (4, 1),
            "three.0": (6, 1),
            "three.1": (10, 1),
            "pool": (5, 1),
        },
        (),
    ),
    "unet": (
        UNet,
        lambda: (image(size=9),),
        {"down1": (8, 1), "down2": (16, 1), "up": (8, 1), "merge": (8, 1)},
        (),
    ),
    "einsum": (
        Einsum,
        lambda: (image(),),
        {"conv": (8, 1), "query": (6, 1), "value": (10, 1), "mix": (7, 1)},
        (),
    ),
    "heads": (Heads, lambda: (image(),), {"stem": (12, 1), "qkv": (4, 12)}, ()),
    "norms": (
        LayerNorms,
        lambda: (image(),),
        {
            "stem": (12, 1),
            "wide": (24, 1),
            "second": (8, 4),
            "third": (10, 1),
            "fourth": (4, 2),
        },
        ("stem", "fourth"),
    ),
    "signal": (
        Signal,
        lambda: (torch.randn(2, 2, 16),),
        {"first.parametrizations.weight": (8, 1), "up": (6, 1)},
        (),
    ),
    "volume": (
        Volume,
        lambda: (torch.randn(2, 1, 4, 4, 4),),
        {"stem": (6, 1), "block.0": (8, 1)},
        (),
    ),
    "recurrent": (Recurrent, lambda: (image(),), {"conv": (8, 1)}, ()),
    "selective": (
        SelectiveKernel,
        lambda: (image(),),
        {"convs.0": (8, 1), "squeeze": (4, 1)},
        (),
    ),
    "keeping": (Keeping, lambda: (image(),), {"conv": (8, 1)}, ()),
    "embedded": (
        Embedded,
        lambda: (image(),),
        {"conv": (8, 1), "deform": (6, 1)},
        ("conv",),
    ),
    "gru": (Gru, lambda: (torch.randn(2, 2, 16),), {"conv": (8, 1)}, ()),
    "partial": (
        Partial,
        lambda: (image(),),
        {"stem": (4, 1), "stem#2": (8, 1), "partial": (4, 1), "point": (10, 1)},
        (),
    ),
    "shuffle": (Shuffled, lambda: (image(),), {"first": (6, 2), "second": (6, 2)}, ()),
}
