"""Counts what a forward pass takes: a clock would depend on the machine's load."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from edgeprune.graph.forward import evaluating
from edgeprune.graph.torch_private import TorchDispatchMode, tree_leaves

PER_VALUE = 30  # multiply-accumulates take as long as writing one value, about
AT_ONCE = 16 * 1024**2  # bytes of a value; memory of larger ones is never kept for more
FLOAT_BYTES = 4
MOST_OUTPUTS = 2**14  # of a sample, to tell how far two networks are apart


def operations(model: nn.Module, x: Tensor) -> float:
    """Multiply-accumulates of one sample, and as many as writing its values is worth.

    In evaluation mode: nothing of the model changes.

    Args:
        x: some samples, shape (N, ...).
    """
    with (
        evaluating(model),
        torch.no_grad(),
        FlopCounterMode(display=False) as flops,
        _Values() as made,
    ):
        model(x)
    macs = flops.get_total_flops() / 2
    return (macs + PER_VALUE * made.count) / len(x)


def samples_at_once(model: nn.Module, x: Tensor) -> int:
    """How many samples run fastest together on a CPU, each as large as the given one.

    Args:
        x: one sample, shape (1, ...).
    """
    with evaluating(model), torch.no_grad(), _Values() as made:
        model(x)
    return max(1, AT_ONCE // (FLOAT_BYTES * max(made.largest, 1)))


def thinned(outputs: Tensor) -> Tensor:
    """Outputs by which networks are compared: of large ones every so many positions.

    Args:
        outputs: shape (N, ...).
    """
    each = outputs[0].numel() if len(outputs) else 0
    if each <= MOST_OUTPUTS:
        return outputs
    return outputs.flatten(1)[:, :: -(-each // MOST_OUTPUTS)]


class _Values(TorchDispatchMode):
    """Counts the values that operators make."""

    def __init__(self) -> None:
        super().__init__()
        self.count = self.largest = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        sizes = [item.numel() for item in tree_leaves(made) if isinstance(item, Tensor)]
        self.count += sum(sizes)
        self.largest = max(self.largest, *sizes, 0)
        return made
