"""Several values of a sample as one row of numbers, and back.

All stages work on one tensor of inputs and one of outputs. What a network takes or
gives beyond that is packed in rows of float32; whole numbers up to 2^24 stay the same.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edgeprune.errors import ConfigError, WorkloadError

Named = dict[str, Tensor]


@dataclass(frozen=True)
class Part:
    """One value.

    Attributes:
        shape: of a sample.
        dtype: such as float32, as torch names it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Structure:
    """The values of a sample, in their order.

    Attributes:
        keyed: they are given by name, not by position.
        mixed: beside them there are values that are no tensors, which are left out.
    """

    parts: tuple[Part, ...]
    keyed: bool
    mixed: bool = False

    @classmethod
    def of(cls, value: Any, names: str) -> Structure:
        """Of a batch: a dict, or a list, tuple or data class of tensors, of any depth.

        Args:
            names: of values that have none, before their number.

        Raises:
            WorkloadError: there is no tensor in it, or samples are not along the first
                axis of all.
        """
        found = named_tensors(value, names)
        lengths = {len(item) if item.ndim else 0 for item in found.values()}
        if len(lengths) != 1 or 0 in lengths:
            shapes = {name: tuple(item.shape) for name, item in found.items()}
            message = "The first axis of all inputs and outputs must be the samples"
            raise WorkloadError(f"{message}, found {shapes or 'no tensor'}.")
        return cls(
            tuple(
                Part(
                    name, tuple(item.shape[1:]), str(item.dtype).removeprefix("torch.")
                )
                for name, item in found.items()
            ),
            isinstance(value, Mapping),
            _mixed(value),
        )

    @classmethod
    def single(cls, value: Tensor) -> Structure:
        """Of one tensor of whole numbers, which stages work on in float32."""
        dtype = str(value.dtype).removeprefix("torch.")
        return cls((Part("input", tuple(value.shape[1:]), dtype),), keyed=False)

    @classmethod
    def of_shapes(cls, shapes: Mapping[str, tuple[int, ...]]) -> Structure:
        """Of values by name, all in float32.

        Args:
            shapes: of a sample.
        """
        parts = (Part(name, shape, "float32") for name, shape in shapes.items())
        return cls(tuple(parts), keyed=True)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all values."""
        return tuple(part.name for part in self.parts)

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse shapes by name that are others than these.

        Raises:
            ConfigError: the first that differs.
        """
        own = {part.name: part.shape for part in self.parts}
        for name, shape in shapes.items():
            if own.get(name) != shape:
                told = "x".join(map(str, shape))
                found = ", ".join(
                    f"{name}={'x'.join(map(str, size)) or '1 number'}"
                    for name, size in own.items()
                )
                message = f"--input {name}={told} does not fit the data"
                raise ConfigError(f"{message}, whose samples are {found}.")

    @property
    def size(self) -> int:
        """Numbers of a sample."""
        return sum(part.size for part in self.parts)

    def packed(self, value: Any) -> Tensor:
        """A batch as rows, shape (N, numbers), without what other names stand for.

        A single value stays in its shape, as a file with one output gives it.
        """
        if self.keyed and all(isinstance(key, str) for key, _ in entries(value)):
            held = named_tensors(value, "")  # in whatever order they are
            found = [held[name] for name in self.names]
        else:
            found = tensors_in(value)
        if len(found) == 1:
            return found[0].float()
        return torch.cat([item.reshape(len(item), -1).float() for item in found], 1)

    def unpacked(self, rows: Tensor) -> tuple[Tensor, ...]:
        """The values of a batch, each in its own shape and type.

        Raises:
            WorkloadError: there are more or fewer numbers.
        """
        sizes = [part.size for part in self.parts]
        if rows.numel() != len(rows) * sum(sizes):
            message = f"{', '.join(self.names)} are {sum(sizes)} numbers of a sample"
            found = rows.numel() // max(len(rows), 1)
            raise WorkloadError(f"{message}, found {found}.")
        found = rows.split(sizes, 1) if len(sizes) > 1 else [rows]
        return tuple(
            item.reshape(len(rows), *part.shape).to(getattr(torch, part.dtype))
            for item, part in zip(found, self.parts, strict=True)
        )

    def named(self, rows: Tensor) -> Named | tuple[Tensor, ...]:
        """The same, by name where they are given by name."""
        found = self.unpacked(rows)
        return dict(zip(self.names, found, strict=True)) if self.keyed else found


def named_tensors(value: Any, name: str) -> Named:
    """All tensors in a value, in order, by where they stand."""
    if isinstance(value, Tensor):
        return {name: value}
    return {
        inner: tensor
        for key, part in entries(value)
        for inner, tensor in named_tensors(
            part, key if isinstance(key, str) else f"{name}_{key}"
        ).items()
    }


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors in a value, in order."""
    if isinstance(value, Tensor):
        return [value]
    return [item for _, part in entries(value) for item in tensors_in(part)]


def _mixed(value: Any) -> bool:
    """Whether there is something in a value that is no tensor, as a number."""
    held = list(entries(value))
    if held or isinstance(value, Tensor | Mapping | list | tuple) or value is None:
        return any(_mixed(part) for _, part in held)
    return not dataclasses.is_dataclass(value)


def entries(value: Any) -> Iterable[tuple[str | int, Any]]:
    """What a dict, list, tuple or data class holds, by key, number or field."""
    if isinstance(value, Mapping):
        return [(str(key), part) for key, part in value.items()]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [item.name for item in dataclasses.fields(value)]
        return [(name, getattr(value, name)) for name in fields]
    names = getattr(value, "_fields", None)  # of a named tuple
    if isinstance(value, list | tuple):
        return list(zip(names or range(len(value)), value, strict=True))
    return []
