"""A training on disk after each epoch: parts, each of named tensors, and facts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from edgeprune.tensor_file import read_tensors, write_tensors

SEPARATOR = "::"  # between the part that a tensor belongs to and its name
Parts = Mapping[str, Mapping[str, Tensor]]
Saved = tuple[dict[str, dict[str, Tensor]], dict[str, Any]]


def save_state(path: Path, parts: Parts, facts: Mapping[str, Any]) -> None:
    """Write named parts, each of named tensors, and facts that JSON can hold.

    Raises:
        OutputError: the folder cannot be written.
    """
    tensors = {
        f"{part}{SEPARATOR}{name}": value
        for part, held in parts.items()
        for name, value in held.items()
    }
    write_tensors(path, tensors, json.dumps(facts))


def load_state(path: Path) -> Saved | None:
    """Parts and facts, if there are any; nothing is unpickled.

    Raises:
        DamagedFileError: the file is not what was written.
    """
    if not path.is_file():
        return None
    tensors, facts = read_tensors(path)
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        part, _, name = key.partition(SEPARATOR)
        parts.setdefault(part, {})[name] = value
    return parts, json.loads(facts)
