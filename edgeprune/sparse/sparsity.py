"""How many of a network's weights and channels are zero."""

from __future__ import annotations

import gzip
from collections.abc import Sequence

from safetensors.torch import save
from torch import nn

from edgeprune.graph.channels import Channels
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.layers import CONVOLUTIONS, weights_of
from edgeprune.graph.trace import state_of
from edgeprune.records import Sparsity
from edgeprune.sparse.zeros import zero_channels


def sparsity_of(model: nn.Module, graph: ChannelGraph) -> Sparsity:
    """Count the zeros of a network."""
    tensors = dict(model.named_parameters())

    def zeros(names: Sequence[str]) -> tuple[int, int]:
        left = sum(int(tensors[name].count_nonzero()) for name in names)
        size = sum(tensors[name].numel() for name in names)
        return size - left, size

    zero, size = zeros(weights_of(model))
    of_convolutions, convolved = zeros(weights_of(model, *CONVOLUTIONS))
    channels = Channels(model, graph.groups)
    throughout = zero_channels(model, channels).float()
    held = {name: value.contiguous() for name, value in state_of(model).items()}
    return Sparsity(
        weights=size,
        overall=zero / max(size, 1),
        convolutions=of_convolutions / convolved if convolved else None,
        channels=float(throughout.mean()) if len(channels) else 0.0,
        gzip_bytes=len(gzip.compress(save(held), compresslevel=6, mtime=0)),
    )
