"""A training on disk after each epoch: tensors and facts in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from edgeprune.errors import WorkloadError
from edgeprune.files import write_whole

SEPARATOR = "::"  # between the part that a tensor belongs to and its name
FACTS = "facts"
Parts = Mapping[str, Mapping[str, Tensor]]
Saved = tuple[dict[str, dict[str, Tensor]], dict[str, Any]]


def save_state(path: Path, parts: Parts, facts: Mapping[str, Any]) -> None:
    """Write named parts, each of named tensors, and facts that JSON can hold."""
    tensors = {
        f"{part}{SEPARATOR}{name}": value.detach().clone().contiguous()
        for part, held in parts.items()
        for name, value in held.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, save(tensors, {FACTS: json.dumps(facts)}))


def load_state(path: Path) -> Saved | None:
    """Parts and facts, if there are any; nothing is unpickled.

    Raises:
        WorkloadError: the file is damaged.
    """
    if not path.is_file():
        return None
    parts: dict[str, dict[str, Tensor]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})[FACTS])
            for key in file.keys():  # noqa: SIM118  it is no mapping
                part, _, name = key.partition(SEPARATOR)
                parts.setdefault(part, {})[name] = file.get_tensor(key)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        message = f"{str(path)!r} is damaged: remove it to train anew."
        raise WorkloadError(message) from error
    return parts, facts
