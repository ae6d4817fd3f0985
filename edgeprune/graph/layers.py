"""The sizes that torch's own layers write down beside their weights."""

from __future__ import annotations

from torch import nn

from edgeprune.graph.labels import Shape

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


def layer_numbers(layer: nn.Module, shape: Shape, groups: int) -> dict[str, int]:
    """What one of torch's layers says of its sizes when its weight has a shape.

    Args:
        shape: of the weight; of the running mean where a norm has no weight.
        groups: of a convolution.
    """
    if isinstance(layer, CONVOLUTIONS):
        outputs, inputs = shape[0], shape[1] * groups
        if layer.transposed:
            outputs, inputs = shape[1] * groups, shape[0]
        return {"out_channels": outputs, "in_channels": inputs}
    if isinstance(layer, nn.Linear):
        return {"out_features": shape[0], "in_features": shape[1]}
    if isinstance(layer, nn.Embedding):
        return {"num_embeddings": shape[0], "embedding_dim": shape[1]}
    if isinstance(layer, nn.GroupNorm):
        return {"num_channels": shape[0]}
    if isinstance(layer, NORMS):
        return {"num_features": shape[0]}
    if isinstance(layer, nn.PReLU):
        return {"num_parameters": shape[0]}
    return {}


def replace_(model: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module in the place of another, under every name that one has."""
    gone = model.get_submodule(path)
    every = model.named_modules(remove_duplicate=False)
    for found in [other for other, held in every if held is gone]:
        holder, _, name = found.rpartition(".")
        setattr(model.get_submodule(holder), name, module)
