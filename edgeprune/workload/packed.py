"""Networks that take or give several tensors, in the form that all stages work on."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.errors import WorkloadError
from edgeprune.tasks.structure import Structure, entries

PACKING = "_edgeprune_packing"


@dataclass(frozen=True)
class Packing:
    """How a network is called.

    Attributes:
        own: its own class.
        inputs, outputs: what is packed; None where it is one tensor.
    """

    own: type[nn.Module]
    inputs: Structure | None
    outputs: Structure | None

    def call(self, model: nn.Module, x: Tensor) -> Tensor:
        """Rows of inputs to rows of outputs."""
        if self.inputs is None:
            made = self.own.forward(model, x)
        elif self.inputs.keyed:
            made = self.own.forward(model, **self.inputs.named(x))  # type: ignore[arg-type]
        else:
            made = self.own.forward(model, *self.inputs.unpacked(x))
        return made if self.outputs is None else self.outputs.packed(made)


def packed(
    model: nn.Module, inputs: Structure | None, outputs: Structure | None
) -> nn.Module:
    """The same network, with the same modules, that takes and gives one tensor.

    It is of another class, and holds the same: paths of parameters stay.
    """
    if inputs is None and outputs is None:
        return model
    own = type(model)

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        return vars(self)[PACKING].call(self, x)

    facts = {"forward": forward, "__module__": own.__module__}
    made = copy.copy(model)  # whoever has handed it over calls it as before
    setattr(made, PACKING, Packing(own, inputs, outputs))
    made.__class__ = type(own.__name__, (own,), facts)
    return made


def packing_of(model: nn.Module) -> Packing | None:
    """How a network is packed; None where it is not."""
    return vars(model).get(PACKING)


def unpacked(model: nn.Module) -> nn.Module:
    """The network as it was handed over, with the same modules and tensors."""
    packing = packing_of(model)
    if packing is None:
        return model
    made = copy.copy(model)
    made.__class__ = packing.own
    delattr(made, PACKING)
    return made


def unpacked_inputs(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """What the network itself is called with."""
    packing = packing_of(model)
    if packing is None or packing.inputs is None:
        return inputs
    return packing.inputs.unpacked(inputs[0])


def inputs_by_name(
    packing: Packing | None, names: Sequence[str], inputs: tuple[Any, ...]
) -> dict[str, Any]:
    """What a network itself is called with, by the names of a file's inputs.

    Args:
        names: of the file, in its order; inputs of the data may stand otherwise.
        inputs: as the network itself takes them.
    """
    if packing is not None and packing.inputs is not None and packing.inputs.keyed:
        names = packing.inputs.names
    return dict(zip(names, inputs, strict=True))


def structure_of_outputs(model: nn.Module, given: Any) -> Structure | None:
    """How the outputs of a network are packed; None where they are one tensor.

    Args:
        model: in evaluation mode.
        given: a batch, as the network itself takes it.

    Raises:
        WorkloadError: it gives no tensors, or not one for each sample.
    """
    with torch.no_grad():
        made = model(**given) if isinstance(given, dict) else model(*given)
    if isinstance(made, Tensor):
        if made.ndim == 0:
            message = f"{type(model).__name__} returns one number for a whole batch"
            raise WorkloadError(f"{message}: its first axis must be that of samples.")
        return None
    if isinstance(made, list) and all(isinstance(one, Mapping) for one in made):
        message = (
            f"{type(model).__name__} returns a list of dicts, one for each sample, as "
            "detectors do that choose boxes: name the module whose outputs are to be "
            "in the file, such as --export-output head"
        )
        children = ", ".join(name for name, _ in model.named_children())
        raise WorkloadError(f"{message}; its own are {children}.")
    names = getattr(model, "output_names", None)  # of an ONNX file
    if isinstance(made, tuple) and isinstance(names, tuple) and len(names) == len(made):
        made = dict(zip(names, made, strict=True))
    structure = Structure.of(made, "output")
    _let_exporter_know(made)
    return structure


def _let_exporter_know(value: Any) -> None:
    """Tell torch of the data classes in an output, which it does not look into."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        with suppress(ValueError):  # known already
            torch.export.register_dataclass(type(value))
    for _, part in entries(value):
        _let_exporter_know(part)
