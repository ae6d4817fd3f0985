"""One array of samples as what each input of a file takes, and its outputs as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

Array = NDArray[Any]
TYPES = {"float": "float32", "double": "float64"}


@dataclass(frozen=True)
class Given:
    """One input of a file.

    Attributes:
        shape: of a sample; an open axis has the length 1.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def inputs_of(session: ort.InferenceSession) -> list[Given]:
    """What a session takes."""
    found: list[Given] = []
    for item in session.get_inputs():
        name = item.type.removeprefix("tensor(").removesuffix(")")
        axes = [axis if isinstance(axis, int) else 1 for axis in item.shape[1:]]
        found.append(Given(item.name, tuple(axes), np.dtype(TYPES.get(name, name))))
    return found


def feeds_of(given: Sequence[Given], x: Array) -> dict[str, Array]:
    """Samples of shape (N, ...) as what each input takes.

    Several inputs are packed in rows of numbers, one behind the other.
    """
    if len(given) == 1:
        return {given[0].name: np.ascontiguousarray(x, dtype=given[0].dtype)}
    ends = np.cumsum([math.prod(item.shape) for item in given])[:-1]
    return {
        item.name: part.reshape(len(x), *item.shape).astype(item.dtype)
        for item, part in zip(given, np.split(x, ends, axis=1), strict=True)
    }


def joined(outputs: Sequence[Any]) -> Array:
    """The outputs of a file as one: several are packed in rows of numbers."""
    if len(outputs) == 1:
        return np.asarray(outputs[0])
    rows = [np.asarray(item, dtype=np.float32) for item in outputs]
    return np.concatenate([item.reshape(len(item), -1) for item in rows], axis=1)
