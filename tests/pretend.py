"""A pretended accelerator: tensors that say they are elsewhere, computed on the CPU.

What mixes devices fails there as on a real one. It stays registered until the process
ends, and would be the accelerator of all that follows: run this module by itself,

    python -m tests.pretend FOLDER

which compresses a network on the CPU and there, and prints both outcomes as JSON.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import torch
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

import edgeprune
from tests.data_sets import coloured_parts
from tests.made_up import FAKE
from tests.nets import CifarResNet

NAME = "pretended"
MAY_MIX = {"aten::index.Tensor", "aten::index_put_", "aten::copy_"}
RUN = Counter()  # operators that ran there
WATCHED = ("convolution", "convolution_backward", "linalg_cholesky_ex")


class Elsewhere(torch.Tensor):
    """A tensor on the pretended device."""

    @staticmethod
    def __new__(cls, held):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
            requires_grad=held.requires_grad,
        )

    def __init__(self, held):
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})

    def untyped_storage(self):
        return self.held.untyped_storage()


class Pretending(TorchDispatchMode):
    """Makes the device known to what makes or moves tensors."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


def run(func, args, kwargs):
    """One operator on the CPU; its result is where it would be."""
    leaves, structure = tree_flatten((args, kwargs))
    given = [item for item in leaves if isinstance(item, torch.Tensor)]
    there = [item for item in given if isinstance(item, Elsewhere)]
    here = [item for item in given if not isinstance(item, Elsewhere) and item.ndim]
    if there and here and func.name() not in MAY_MIX:
        raise RuntimeError(f"{func.name()}: tensors on two devices")
    target = kwargs.get("device")
    plain = [item.held if isinstance(item, Elsewhere) else item for item in leaves]
    plain = [torch.device("cpu") if ours(item) else item for item in plain]
    args, kwargs = tree_unflatten(plain, structure)
    result = func(*args, **kwargs)
    moved = ours(target) if target is not None else bool(there)
    if func.name() == "aten::copy_":
        moved = isinstance(given[0], Elsewhere)
    RUN[func.name()] += moved
    known = {id(item.held): item for item in there}

    def wrapped(value):
        if not isinstance(value, torch.Tensor) or isinstance(value, Elsewhere):
            return value
        return known[id(value)] if id(value) in known else Elsewhere(value)

    return tree_map(wrapped, result) if moved else result


def ours(value):
    return isinstance(value, torch.device) and value.type == NAME


def outcome(folder, device, criterion):
    torch.manual_seed(0)
    done = edgeprune.compress(
        CifarResNet(1),
        coloured_parts(),
        budget="60%",
        precision="fp32",
        max_drop=100.0,
        epochs=1,
        criterion=criterion,
        target=FAKE,
        device=device,
        out=folder / f"{criterion} {device}",
    )
    report = done.report
    return {
        "kept": [plan.kept for plan in report.plans],
        "bypassed": [plan.bypassed for plan in report.plans],
        "losses": [item.loss for item in report.sensitivity.groups],
        "fitted": [item.accuracy_after for item in report.reconstructions],
        "epochs": [len(item.epochs) for item in report.training],
        "accuracy": report.result.test_accuracy,
        "devices": [str(next(done.model.parameters()).device)],
    }


def register():
    """Make torch know the device; `torch.tensor` asks for memory by itself."""
    backend_registration._setup_privateuseone_for_python_backend(NAME)
    library = torch.library.Library("aten", "IMPL")

    def empty_strided(size, stride, **options):
        return Elsewhere(torch.empty_strided(size, stride, dtype=options["dtype"]))

    def copy_from(source, target, non_blocking=False):
        target.held.copy_(source.held if isinstance(source, Elsewhere) else source)
        return target

    library.impl("empty_strided", empty_strided, "PrivateUse1")
    library.impl("_copy_from", copy_from, "PrivateUse1")
    return library  # ends with what holds it


def main(folder):
    _held = register()
    found = {}
    for criterion in ("l1", "taylor,obd"):
        found[criterion] = [outcome(folder, "cpu", criterion)]
        before = RUN.copy()
        with Pretending():
            found[criterion].append(outcome(folder, f"{NAME}:0", criterion))
        ran = RUN - before
        found[criterion].append({name: ran[f"aten::{name}"] for name in WATCHED})
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
