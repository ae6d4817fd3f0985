"""One operator of a file, as the code that makes a module of it reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper
from torch import nn

from edgeprune.onnx_files.graph import Constants

Value = str | float  # the name of one, or a number
TEXT = onnx.AttributeProto.STRING


class UnknownFormError(Exception):
    """This operator, or what is asked of it, has no counterpart here."""


@dataclass(frozen=True)
class Built:
    """The module of one operator.

    Attributes:
        inputs: the values that it is called with.
        pads: of the first one, as `torch.nn.functional.pad` takes them.
        bias_from: the node behind it whose constant is its bias; -1 for none.
    """

    module: nn.Module
    inputs: tuple[Value, ...]
    pads: tuple[int, ...] = ()
    bias_from: int = -1


@dataclass(frozen=True)
class Node:
    """An operator with its attributes, and what is constant of its inputs.

    Attributes:
        shapes: of values, for one sample; those that are not known are absent.
        opset: of the file.
    """

    proto: onnx.NodeProto
    constants: Constants
    shapes: Mapping[str, tuple[int, ...]]
    opset: int
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def of(
        cls,
        proto: onnx.NodeProto,
        constants: Constants,
        shapes: Mapping[str, tuple[int, ...]],
        opset: int,
    ) -> Node:
        """The node with its attributes as Python has them."""
        attributes = {
            item.name: item.s.decode()
            if item.type == TEXT
            else helper.get_attribute_value(item)
            for item in proto.attribute
        }
        return cls(proto, constants, shapes, opset, attributes)

    @property
    def kind(self) -> str:
        """Such as Conv."""
        return self.proto.op_type

    @property
    def inputs(self) -> list[str]:
        """The names of what it is given; an empty one where an input is left out."""
        return list(self.proto.input)

    def has(self, at: int) -> bool:
        """Whether an input is given."""
        return len(self.inputs) > at and self.inputs[at] != ""

    def constant(self, at: int) -> NDArray[Any] | None:
        """An input that is constant; None where it is not, or is left out."""
        return self.constants.get(self.inputs[at]) if self.has(at) else None

    def numbers(self, at: int, name: str) -> tuple[int, ...] | None:
        """Whole numbers that older operators take as an attribute, newer as an input.

        Raises:
            UnknownFormError: they are computed by the network.
        """
        if name in self.attributes:
            found = self.attributes[name]
            return (found,) if isinstance(found, int) else tuple(found)
        if not self.has(at):
            return None
        held = self.constant(at)
        if held is None:
            raise UnknownFormError(f"{name} is computed")
        return tuple(int(item) for item in np.atleast_1d(held))

    def axes(self, at: int, name: str = "axes") -> tuple[int, ...] | None:
        """Axes, from 0, of the first input."""
        found = self.numbers(at, name)
        rank = self.rank()
        return None if found is None else tuple(axis % rank for axis in found)

    def number(self, at: int, name: str, default: float) -> float:
        """One number, given as a constant input or as an attribute.

        Raises:
            UnknownFormError: it is computed by the network.
        """
        if self.has(at):
            held = self.constant(at)
            if held is None:
                raise UnknownFormError(f"{name} is computed")
            return held.reshape(-1)[0].item()
        return self.attributes.get(name, default)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a value, or a constant.

        Raises:
            UnknownFormError: nobody knows.
        """
        if name in self.constants:
            return self.constants[name].shape
        if name not in self.shapes:
            raise UnknownFormError("its shape is not known")
        return self.shapes[name]

    def rank(self) -> int:
        """How many axes the first input has."""
        return len(self.shape(self.inputs[0]))

    def values(self) -> tuple[Value, ...]:
        """All inputs; constants of one value as numbers, which broadcast anyhow."""
        found: list[Value] = []
        for at, name in enumerate(self.inputs):
            held = self.constant(at)
            if held is not None and held.size == 1 and held.ndim <= 1:
                found.append(held.item())
            else:
                found.append(name)
        return tuple(found)

    def weight(self, at: int) -> torch.Tensor:
        """A constant input as a tensor of its own.

        Raises:
            UnknownFormError: it is computed by the network.
        """
        held = self.constant(at)
        if held is None:
            raise UnknownFormError("a weight is computed")
        return torch.from_numpy(np.array(held))

    def expects(self, **defaults: Any) -> None:
        """Refuse attributes that have another value than the one that is known.

        Raises:
            UnknownFormError: one has.
        """
        for name, value in defaults.items():
            if self.attributes.get(name, value) != value:
                raise UnknownFormError(f"{name} is {self.attributes[name]}")
