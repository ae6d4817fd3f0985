"""Tensors and facts in one safetensors file that is whole, or is none.

safetensors checks shapes and sizes only: a flipped bit of a weight would be trained on.
The file holds a hash of everything in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from edgeprune.errors import DamagedFileError
from edgeprune.files import write_whole

FACTS, DIGEST = "facts", "sha256"
Tensors = Mapping[str, Tensor]


def write_tensors(path: Path, tensors: Tensors, facts: str = "") -> None:
    """Write tensors and a text.

    Raises:
        OutputError: the folder cannot be written.
    """
    held = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    held = {name: value.clone() for name, value in held.items()}  # none may share
    facts_of_file = {FACTS: facts, DIGEST: fingerprint(held, facts)}
    write_whole(path, save(held, facts_of_file))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], str]:
    """Read both; nothing is unpickled.

    Raises:
        DamagedFileError: it cannot be read, or is not what was written.
    """
    try:
        with safe_open(path, framework="pt") as file:
            known = file.metadata() or {}
            held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise DamagedFileError(f"{path.name} cannot be read") from error
    facts = known.get(FACTS, "")
    if known.get(DIGEST) != fingerprint(held, facts):
        raise DamagedFileError(f"{path.name} is damaged")
    return held, facts


def fingerprint(tensors: Tensors, facts: str = "") -> str:
    """Hash the names, types, shapes and values of tensors, and a text; hexadecimal."""
    digest = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
