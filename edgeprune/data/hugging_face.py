"""Data sets of Hugging Face's `datasets`, and lists of dicts, from Python.

Nothing of that library is imported: whoever hands one over has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from edgeprune.errors import DataError

# What the column of targets is called.
TARGETS = ("label", "labels", "target", "targets", "fine_label", "y")
NAMED = TARGETS[:4]  # in a list of dicts, where a network may take a `y`


def adapted(made: Any) -> Any:
    """Splits, or a dict of them, in which such data sets are torch's; others stay."""
    if isinstance(made, Mapping):
        return {key: adapted(part) for key, part in made.items()}
    if _is_rows(made):
        return Rows(made)
    if isinstance(made, tuple | list):
        return type(made)(adapted(part) for part in made) if _any(made) else made
    return made


def class_names(made: Any) -> tuple[str, ...]:
    """What the classes are called, where the data say it."""
    parts = made.values() if isinstance(made, Mapping) else made
    parts = parts if isinstance(parts, Sequence) else list(parts)
    for part in parts:
        if isinstance(part, Rows):
            return part.class_names
    return ()


class Rows(Dataset[Any]):
    """Rows with named columns as samples: inputs, or inputs with a target.

    One column of inputs is a tensor, several are a dict. Images in bytes become 0..1,
    channels first; columns of text are left out.

    Args:
        held: the data set.
    """

    def __init__(self, held: Any) -> None:
        self._held = held
        first = held[0] if len(held) else {}  # which a transform may have made
        names = list(first)
        self._target = next((name for name in TARGETS if name in names), None)
        found = [name for name in first if name != self._target]
        self._inputs = [name for name in found if _tensor(first[name]) is not None]
        if len(held) and not self._inputs:
            message = f"The data set has no column of numbers or images among {names}"
            raise DataError(f"{message}: add one with set_transform.")

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the column of targets."""
        features = getattr(self._held, "features", None) or {}
        return tuple(getattr(features.get(self._target), "names", None) or ())

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._held)

    def __getitem__(self, at: int) -> Any:
        """One sample."""
        row = self._held[int(at)]
        held = {name: _tensor(row[name]) for name in self._inputs}
        x: Any = held if len(held) > 1 else held[self._inputs[0]]
        if self._target is None:
            return x if isinstance(x, dict) else (x,)
        return x, torch.as_tensor(row[self._target])


def _is_rows(part: Any) -> bool:
    if isinstance(part, Sequence) and len(part) and isinstance(part[0], Mapping):
        return any(name in part[0] for name in NAMED)
    names = ("column_names", "__getitem__", "__len__")
    return not isinstance(part, Dataset) and all(hasattr(part, name) for name in names)


def _any(parts: Sequence[Any]) -> bool:
    return any(_is_rows(part) for part in parts)


def _tensor(value: Any) -> Tensor | None:
    """A value as a tensor; None of what is no number."""
    if isinstance(value, Image.Image):
        mode = "L" if value.mode in ("1", "L") else "RGB"
        pixels = np.atleast_3d(np.asarray(value.convert(mode)))
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float() / 255
    if isinstance(value, Tensor):
        return value
    try:
        return torch.as_tensor(np.asarray(value))
    except (TypeError, ValueError):
        return None
