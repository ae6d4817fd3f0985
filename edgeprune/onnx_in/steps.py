"""A module that calls others one after another, on values by name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from edgeprune.onnx_in.node import Value


@dataclass(frozen=True)
class Step:
    """One call of a module.

    Attributes:
        layer: its name.
        node: the number of the operator in the file.
        bias_from: the number of the operator whose constant is the layer's bias.
        pads: of what it is given.
        rank: of the first value, where it is known.
        constants: the tensors among its inputs that the file holds.
        done: values that nothing needs afterwards.
        inner: the steps of a block.
    """

    layer: str
    node: int
    inputs: tuple[Value, ...]
    outputs: tuple[str, ...]
    pads: tuple[int, ...] = ()
    bias_from: int = -1
    rank: int = 0
    constants: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    inner: tuple[Step, ...] = ()

    @property
    def values(self) -> list[str]:
        """The inputs that the network computes."""
        return [
            item
            for item in self.inputs
            if isinstance(item, str) and item not in self.constants
        ]

    @property
    def nodes(self) -> list[int]:
        """The numbers of all operators that it stands for."""
        own = [self.node, self.bias_from] if self.bias_from >= 0 else [self.node]
        return own if not self.inner else [n for step in self.inner for n in step.nodes]


class Steps(nn.Module):
    """Runs steps.

    Attributes:
        constant_names: the buffer that holds each constant tensor.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        layers: dict[str, nn.Module],
        constants: dict[str, Tensor],
        outputs: Collection[str],
    ) -> None:
        super().__init__()
        self.steps = freed(steps, outputs)
        self.layers = nn.ModuleDict(layers)
        self.constant_names = {
            name: f"constant_{number}" for number, name in enumerate(constants)
        }
        for name, value in constants.items():
            self.register_buffer(self.constant_names[name], value)

    def run(self, values: dict[str, Tensor]) -> None:
        """All steps; what they make is put with the values."""
        for step in self.steps:
            taken = [self.value(values, item) for item in step.inputs]
            if step.pads:
                taken[0] = functional.pad(taken[0], step.pads)
            made = self.layers[step.layer](*taken)
            several = isinstance(made, tuple)
            values.update(zip(step.outputs, made if several else (made,), strict=False))
            for name in step.done:
                values.pop(name, None)

    def value(self, values: dict[str, Tensor], item: Value) -> Any:
        """A value by its name, or a number itself."""
        if not isinstance(item, str):
            return item
        if item in values:
            return values[item]
        return getattr(self, self.constant_names[item])


class Block(Steps):
    """A residual block: one value in, one out."""

    def __init__(
        self,
        steps: Sequence[Step],
        layers: dict[str, nn.Module],
        constants: dict[str, Tensor],
        given: str,
    ) -> None:
        self_made = steps[-1].outputs[0]
        super().__init__(steps, layers, constants, [self_made])
        self.given, self.made = given, self_made

    def forward(self, x: Tensor) -> Tensor:
        """What the block makes of a value."""
        values = {self.given: x}
        self.run(values)
        return values[self.made]


def freed(steps: Sequence[Step], outputs: Collection[str]) -> list[Step]:
    """The same steps; each says which values nothing needs any more."""
    last: dict[str, int] = {}
    for at, step in enumerate(steps):
        for name in (*step.values, *step.outputs):
            last[name] = at
    done: dict[int, list[str]] = {}
    for name, at in last.items():
        if name not in outputs:
            done.setdefault(at, []).append(name)
    return [
        replace(step, done=tuple(done.get(at, ()))) for at, step in enumerate(steps)
    ]
