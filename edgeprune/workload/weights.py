"""Weights as people have them: found in a checkpoint, renamed, checked, loaded.

Training scripts put a state dict beside an epoch, an optimizer and their arguments,
under one of many names, and wrappers put their own names before every key. Nothing of a
file is unpickled but tensors and a few plain records, which have no code of their own.
"""

from __future__ import annotations

import argparse
import codecs
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from edgeprune.errors import WorkloadError

SHOWN_KEYS = 4
# Averaged weights come first: they are the ones that were evaluated.
AVERAGED = ("state_dict_ema", "model_ema", "params_ema", "ema_state_dict", "ema")
USUAL = ("state_dict", "model_state_dict", "model", "net", "network", "params")
WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module")  # anywhere in a key
COUNTERS = ("n_averaged", "total_ops", "total_params")  # no layer has these
ORIGINAL, MASK = "_orig", "_mask"  # of a weight that torch.nn.utils.prune masks
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")  # torchvision's heads for training only
QUANTIZED = ("_packed_params", "zero_point", "activation_post_process", "fake_quant")
State = dict[str, Tensor]


def load_weights_(model: nn.Module, path: Path) -> str:
    """Load weights strictly; nothing in the file is ever unpickled into objects.

    Returns:
        What was taken of the file, and what was cut off its keys; empty if all of it
        as it is.

    Raises:
        WorkloadError: missing, corrupt, not a state dict, keys or shapes that do not
            fit, NaN or infinity.
    """
    state, taken = _state_of(_read(path), path)
    _refuse_odd(state, path)
    state = _unmasked(state, model)
    state, renamed = _renamed(state, model)
    _check_fit(state, model, path)
    if bad := _not_finite(state, model):
        message = f"Weights in {str(path)!r} have NaN or infinity in {_few(bad)}."
        raise WorkloadError(message)
    model.load_state_dict(state, strict=False)
    return ", ".join(part for part in (taken, renamed) if part)


def check_weights(model: nn.Module) -> None:
    """Refuse a model whose weights are not finite.

    Raises:
        WorkloadError: which tensors.
    """
    if bad := _not_finite(model.state_dict(), model):
        message = f"{type(model).__name__} has NaN or infinity in {_few(bad)}."
        raise WorkloadError(message)


def _read(path: Path) -> object:
    """All that a file holds of tensors and plain records."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(_harmless()):
            warnings.simplefilter("ignore")  # about pickle versions, none of it useful
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WorkloadError(f"Weights file {str(path)!r} does not exist.") from error
    except UnpicklingError as error:
        message = (
            f"Weights file {str(path)!r} is corrupt or holds more than tensors, which "
            "is never unpickled: save model.state_dict()."
        )
        raise WorkloadError(message) from error
    except Exception as error:  # torch's readers raise anything for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "TorchScript" in str(error):
            reason = "it is a TorchScript archive: save model.state_dict()"
        message = f"Weights file {str(path)!r} cannot be read: {reason}"
        raise WorkloadError(f"{message.rstrip('.')}.") from error


def _harmless() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """The records that checkpoints often hold, which only carry values.

    Paths become pure ones, which touch no disk. Older pickles know other names.
    """
    array = np.empty(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    dtypes = {type(np.dtype(code)) for code in np.typecodes["All"]}
    old, new = "numpy.core.multiarray", "numpy._core.multiarray"
    found: list[Any] = [
        (array, f"{old}._reconstruct"),
        (array, f"{new}._reconstruct"),
        (scalar, f"{old}.scalar"),
        (scalar, f"{new}.scalar"),
        *dtypes,
        np.ndarray,
        np.dtype,
        codecs.encode,
        argparse.Namespace,
        types.SimpleNamespace,
        (_plain_dict, "collections.defaultdict"),
        list,
        set,
    ]
    for place in ("pathlib", "pathlib._local"):
        for kind in (PurePosixPath, PureWindowsPath):
            found += [(kind, f"{place}.{kind.__name__}")]
            found += [(kind, f"{place}.{kind.__name__.removeprefix('Pure')}")]
    return found


def _plain_dict(*_: object) -> dict[object, object]:
    return {}


def _state_of(content: object, path: Path) -> tuple[State, str]:
    """The state dict in a checkpoint, and the name that it has there."""
    taken = ""
    while isinstance(content, Mapping) and (inner := _inner(content)):
        taken, content = inner, content[inner]
    if isinstance(content, Mapping):
        state = {
            str(key): value
            for key, value in content.items()
            if isinstance(value, Tensor)
        }
        if state:
            return state, taken and f"{taken!r} of {path.name}"
    message = (
        f"Weights file {str(path)!r} holds no state dict: save model.state_dict()."
    )
    raise WorkloadError(message)


def _inner(content: Mapping[Any, object]) -> str | None:
    """The key of the mapping that holds the tensors, where they lie deeper."""
    deeper = {
        key: value
        for key, value in content.items()
        if isinstance(key, str) and isinstance(value, Mapping) and _has_tensors(value)
    }
    known = next((key for key in (*AVERAGED, *USUAL) if key in deeper), None)
    if known is not None:
        return known
    flat = any(isinstance(value, Tensor) for value in content.values())
    return next(iter(deeper)) if len(deeper) == 1 and not flat else None


def _has_tensors(content: Mapping[Any, object]) -> bool:
    values = content.values()
    return any(
        isinstance(value, Tensor)
        or (isinstance(value, Mapping) and _has_tensors(value))
        for value in values
    )


def _refuse_odd(state: State, path: Path) -> None:
    """Refuse tensors that are no plain numbers."""
    for key, value in state.items():
        if value.is_meta or value.layout != torch.strided:
            kind = "without values" if value.is_meta else "sparse"
            message = f"Weights in {str(path)!r} hold a tensor that is {kind}: {key}."
            raise WorkloadError(message)
        if value.is_quantized or any(part in key for part in QUANTIZED):
            message = (
                f"Weights in {str(path)!r} are of a quantised model ({key}): give "
                "those of the float model, edgeprune quantises at the end."
            )
            raise WorkloadError(message)


def _unmasked(state: State, model: nn.Module) -> State:
    """Weights times the masks of torch.nn.utils.prune, where a model has none."""
    expected, found = model.state_dict(), dict(state)
    for key in state:
        plain = key.removesuffix(ORIGINAL)
        masked = plain + MASK
        if key.endswith(ORIGINAL) and masked in state and key not in expected:
            found[plain] = found.pop(key) * found.pop(masked)
    return found


def _renamed(state: State, model: nn.Module) -> tuple[State, str]:
    """The state under the model's own keys, and what was cut off, if anything."""
    expected = model.state_dict()
    held = {
        key: value
        for key, value in state.items()
        if key in expected
        or not (key.rpartition(".")[2] in COUNTERS or key.startswith(AUXILIARY))
    }
    wanted = {key for key in expected if not _optional(key)}
    for what, names in _namings(held):
        if wanted <= set(names.values()) and len(set(names.values())) == len(names):
            return {names[key]: value for key, value in held.items()}, what
    return held, ""


def _namings(state: State) -> Iterator[tuple[str, dict[str, str]]]:
    """Ways to read the keys of a state: as they are, and without what wrappers add."""
    yield "", {key: key for key in state}
    cut, names = "", {key: key for key in state}
    while len(heads := {name.partition(".")[0] for name in names.values()}) == 1:
        (head,) = heads
        if any("." not in name for name in names.values()):
            break
        cut += f"{head}."
        names = {key: name.partition(".")[2] for key, name in names.items()}
        yield f"without {cut!r}", names
    inside = {
        key: ".".join(part for part in key.split(".") if part not in WRAPPERS)
        for key in state
    }
    yield f"without {' or '.join(WRAPPERS)} in its keys", inside


def _check_fit(state: State, model: nn.Module, path: Path) -> None:
    expected = model.state_dict()
    missing = [key for key in expected if key not in state and not _optional(key)]
    unknown = [key for key in state if key not in expected]
    misfit = [
        f"{key} is {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    faults = {"missing": missing, "unknown": unknown, "wrong shape": misfit}
    said = [f"{name}: {_few(keys)}" for name, keys in faults.items() if keys]
    if said:
        message = (
            f"Weights in {str(path)!r} do not fit {type(model).__name__}: "
            f"{'; '.join(said)}."
        )
        raise WorkloadError(message)


def _not_finite(state: Mapping[str, Tensor], model: nn.Module) -> list[str]:
    """Keys of tensors with NaN or infinity; a buffer may hold -inf: masks do."""
    weights = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return [
        key
        for key, value in state.items()
        if value.is_floating_point()
        and not (value.isfinite() | (value.isneginf() & (key not in weights))).all()
    ]


def _optional(key: str) -> bool:
    """A counter that old checkpoints lack and that no result depends on."""
    return key.endswith("num_batches_tracked")


def _few(keys: list[str]) -> str:
    more = f" and {len(keys) - SHOWN_KEYS} more" if len(keys) > SHOWN_KEYS else ""
    return ", ".join(keys[:SHOWN_KEYS]) + more
