"""The sizes that torch's own layers write down beside their weights."""

from __future__ import annotations

from torch import nn

CONVOLUTIONS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)


def write_sizes_(layer: nn.Module, per_group: int | None = None) -> None:
    """Bring what a layer says of its sizes in line with its weight.

    Args:
        per_group: output channels of each group of a convolution that lost whole
            groups; None if the number of groups stays.
    """
    if isinstance(layer, CONVOLUTIONS):
        if per_group is not None:
            layer.groups = layer.weight.shape[0] // per_group
        first, second = layer.weight.shape[:2]
        if layer.transposed:
            first, second = second * layer.groups, first // layer.groups
        layer.out_channels, layer.in_channels = first, second * layer.groups
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, NORMS):
        held = layer.weight if layer.affine else layer.running_mean
        if held is not None:
            layer.num_features = held.shape[0]
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = layer.weight.shape[0]
