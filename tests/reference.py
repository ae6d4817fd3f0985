"""Slow, obvious versions of what the package computes fast."""

import copy

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from edgeprune.records import Plan


def random_plan(graph, seed, share=0.5):
    """A random half of every group stays."""
    rng = np.random.default_rng(seed)
    kept = {}
    for group in graph.groups:
        width = max(1, round(group.size * share))
        chosen = rng.choice(group.size, width, replace=False)
        kept[group.name] = tuple(sorted(chosen.tolist()))
    return Plan(kept)


def outermost(blocks, seed, share=0.5):
    """Some of the blocks, none of them inside another."""
    rng = np.random.default_rng(seed)
    drawn = [block for block in blocks if rng.random() < share]
    return tuple(
        block
        for block in drawn
        if not any(block.startswith(f"{other}.") for other in drawn)
    )


def without_blocks(model, blocks):
    """The original with an identity in the place of some modules."""
    left = copy.deepcopy(model)
    for block in blocks:
        left.set_submodule(block, nn.Identity())
    return left


def zero_consumers(model, graph, plan):
    """The original with the removed channels' slices of their consumers at zero.

    Channels that only other channels are multiplied with have no consumer with a
    weight: what makes them is zero instead.
    """
    zeroed = copy.deepcopy(model)
    tensors = dict(zeroed.named_parameters(remove_duplicate=False))
    for name, kept in plan.kept.items():
        group = graph.group(name)
        gone = set(range(group.size)) - set(kept)
        inputs = [member for member in group.members if member.role == "input"]
        for member in inputs or group.members:
            for index, channel in enumerate(member.channel_of.tolist()):
                if channel in gone:
                    with torch.no_grad():
                        tensors[member.parameter].select(member.axis, index).zero_()
    return zeroed


def relative_difference(found, expected):
    """Largest difference as a share of the largest expected value."""
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-30))


def filter_norms(weight, power):
    """Norm of each filter, by loops."""
    norms = []
    for row in weight.detach().double().reshape(len(weight), -1).tolist():
        total = sum(abs(value) ** power for value in row)
        norms.append(total if power == 1 else total ** (1 / power))
    return norms


def loss_with_gate(model, layer, positions, gate, x, y):
    """Loss of one sample when some inputs of a layer are scaled by a gate."""

    def scale(_, arguments):
        value = arguments[0].clone()
        value[:, positions] = value[:, positions] * gate
        return (value,)

    handle = model.get_submodule(layer).register_forward_pre_hook(scale)
    try:
        with torch.no_grad():
            return float(F.cross_entropy(model(x), y))
    finally:
        handle.remove()


def conv_macs(conv, height, width):
    """Multiply-accumulates of a convolution, by the closed form."""
    per_output = conv.in_channels // conv.groups
    for size in conv.kernel_size:
        per_output *= size
    return conv.out_channels * per_output * height * width


def parameter_count(model: nn.Module):
    return sum(parameter.numel() for parameter in model.parameters())
