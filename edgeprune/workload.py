"""Workloads: a model with its weights, an example input, data and their metric."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from edgeprune.data import Batches, Splits
from edgeprune.data.digits import SIZE
from edgeprune.data.factory import import_factory
from edgeprune.errors import DataError, WorkloadError
from edgeprune.records import Surgery

EXAMPLE = "example:meter"
SHOWN_KEYS = 4


@dataclass(frozen=True)
class Workload:
    """A model to be compressed, ready to run.

    Attributes:
        inputs: one example batch; its shape is what is exported and timed.
        surgery: from the factory's module to this one, where it was compressed before.
    """

    name: str
    model: nn.Module
    inputs: tuple[Tensor, ...]
    splits: Splits | None
    surgery: Surgery = field(default_factory=Surgery)

    @property
    def data(self) -> Splits:
        """The data set.

        Raises:
            WorkloadError: there is none.
        """
        if self.splits is None:
            raise WorkloadError("This step needs data: give --data.")
        return self.splits


def load_model(source: str, *, num_classes: int | None, seed: int) -> nn.Module:
    """A model by `torchvision:NAME`, `timm:NAME` or `package.module:factory`.

    Raises:
        WorkloadError: it cannot be found, imported or made.
    """
    torch.manual_seed(seed)
    if source == EXAMPLE:
        return meter_reader()
    library, _, name = source.partition(":")
    make = {"torchvision": _torchvision, "timm": _timm}.get(library)
    try:
        if make is not None:
            return make(name, num_classes)
        return _from_factory(source, num_classes)
    except DataError as error:
        raise WorkloadError(
            str(error).replace("Cannot import", "Cannot import model", 1)
        ) from error


def meter_reader() -> nn.Module:
    """The embedded example: VGG-16-BN for 1x32x32 with one 512-unit linear head."""
    from torchvision.models import vgg16_bn

    model = vgg16_bn(num_classes=10)
    features = model.features
    assert isinstance(features, nn.Sequential)
    features[0] = nn.Conv2d(1, 64, 3, padding=1)
    model.avgpool = nn.AdaptiveAvgPool2d(1)
    model.classifier = nn.Sequential(
        nn.Linear(512, 512), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(512, 10)
    )
    return model


METER_SHAPE = (1, SIZE, SIZE)


def load_weights_(model: nn.Module, path: Path) -> None:
    """Load weights strictly; nothing in the file is ever unpickled into objects.

    Raises:
        WorkloadError: missing, corrupt, not a state dict, keys or shapes that do not
            fit, NaN or infinity.
    """
    state = _read_weights(path)
    expected = model.state_dict()
    stripped = {key.removeprefix("module."): value for key, value in state.items()}
    missing = [key for key in expected if key not in stripped and not _optional(key)]
    unknown = [key for key in stripped if key not in expected]
    misfit = [
        f"{key} is {tuple(stripped[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in stripped and stripped[key].shape != expected[key].shape
    ]
    faults = {"missing": missing, "unknown": unknown, "wrong shape": misfit}
    said = [f"{name}: {_few(keys)}" for name, keys in faults.items() if keys]
    if said:
        message = (
            f"Weights in {str(path)!r} do not fit {type(model).__name__}: "
            f"{'; '.join(said)}."
        )
        raise WorkloadError(message)
    if bad := _not_finite(stripped):
        message = f"Weights in {str(path)!r} have NaN or infinity in {_few(bad)}."
        raise WorkloadError(message)
    model.load_state_dict(stripped, strict=False)


def check_weights(model: nn.Module) -> None:
    """Refuse a model whose weights are not finite.

    Raises:
        WorkloadError: which tensors.
    """
    if bad := _not_finite(model.state_dict()):
        message = f"{type(model).__name__} has NaN or infinity in {_few(bad)}."
        raise WorkloadError(message)


def example_inputs(shape: tuple[int, ...], batch: int, seed: int) -> tuple[Tensor, ...]:
    """One random batch, shape (batch, *shape)."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(batch, *shape, generator=generator),)


def accuracy(predict: Callable[[Tensor], Tensor], batches: Batches) -> float:
    """Share of samples whose largest output is at the label, 0..1.

    Args:
        predict: inputs (N, ...) to outputs (N, classes).

    Raises:
        WorkloadError: outputs that are not (N, classes), or too few classes.
    """
    right, seen = count_right(predict, batches)
    return right / max(seen, 1)


def count_right(
    predict: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]]
) -> tuple[int, int]:
    """Samples whose largest output is at the label, and all of them.

    Raises:
        WorkloadError: as of `accuracy`.
    """
    right = seen = 0
    with torch.no_grad():
        for x, y in batches:
            if not len(y):
                continue
            outputs = predict(x)
            check_outputs(outputs, y)
            right += int((outputs.argmax(1).cpu() == y).sum())
            seen += len(y)
    return right, seen


def check_outputs(outputs: object, labels: Tensor) -> None:
    """Refuse outputs that are no class scores for these labels.

    Raises:
        WorkloadError: what the model returned and what was expected.
    """
    if not isinstance(outputs, Tensor) or outputs.ndim != 2:
        found = (
            f"shape {tuple(outputs.shape)}"
            if isinstance(outputs, Tensor)
            else type(outputs).__name__
        )
        message = (
            f"The model must return class scores of shape (N, classes), found {found}."
        )
        raise WorkloadError(message)
    if len(labels) and int(labels.max()) >= outputs.shape[1]:
        message = (
            f"The model has {outputs.shape[1]} outputs, the data have label "
            f"{int(labels.max())}: number the classes from 0 without gaps, or set "
            "--num-classes."
        )
        raise WorkloadError(message)
    if len(outputs) != len(labels):
        message = f"The model returns {len(outputs)} rows for {len(labels)} samples."
        raise WorkloadError(message)


def _torchvision(name: str, num_classes: int | None) -> nn.Module:
    from torchvision import models

    options: dict[str, Any] = {"weights": None}
    if num_classes is not None:
        options["num_classes"] = num_classes
    try:
        builder = models.get_model_builder(name)
        takes = inspect.signature(builder).parameters
        if "init_weights" in takes:
            options["init_weights"] = True
        # Nothing is fetched, not even a detection model's backbone.
        options.update(
            {"weights_backbone": None} if "weights_backbone" in takes else {}
        )
        return models.get_model(name, **options)
    except (ValueError, TypeError) as error:
        message = (
            f"Torchvision model {name!r} cannot be made: {error}. See "
            "torchvision.models.list_models()."
        )
        raise WorkloadError(message) from error


def _timm(name: str, num_classes: int | None) -> nn.Module:
    try:
        timm = importlib.import_module("timm")
    except ImportError as error:
        message = "timm is not installed: pip install 'edgeprune[timm]'."
        raise WorkloadError(message) from error
    options = {} if num_classes is None else {"num_classes": num_classes}
    try:
        return timm.create_model(name, pretrained=False, **options)
    except RuntimeError as error:
        raise WorkloadError(f"Unknown timm model {name!r}: {error}.") from error


def _from_factory(source: str, num_classes: int | None) -> nn.Module:
    if ":" not in source:
        message = (
            f"Unknown model {source!r}: give torchvision:NAME, timm:NAME or "
            "package.module:factory."
        )
        raise WorkloadError(message)
    factory = import_factory(source)
    takes = "num_classes" in inspect.signature(factory).parameters
    options = {"num_classes": num_classes} if takes and num_classes else {}
    try:
        model = factory(**options)
    except Exception as error:
        message = f"{source} failed: {type(error).__name__}: {error}."
        raise WorkloadError(message) from error
    if not isinstance(model, nn.Module):
        message = (
            f"{source} must return a torch.nn.Module, found {type(model).__name__}."
        )
        raise WorkloadError(message)
    return model


def _read_weights(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle versions, none of it useful
            state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WorkloadError(f"Weights file {str(path)!r} does not exist.") from error
    except UnpicklingError as error:
        message = (
            f"Weights file {str(path)!r} is corrupt or holds more than tensors, which "
            "is never unpickled: save model.state_dict()."
        )
        raise WorkloadError(message) from error
    except (OSError, RuntimeError, EOFError, ValueError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"Weights file {str(path)!r} cannot be read: {reason}"
        raise WorkloadError(message) from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(
        isinstance(value, Tensor) for value in state.values()
    ):
        message = (
            f"Weights file {str(path)!r} holds no state dict: save model.state_dict()."
        )
        raise WorkloadError(message)
    return state


def _not_finite(state: Mapping[str, Tensor]) -> list[str]:
    """Keys of tensors with NaN or infinity."""
    return [
        key
        for key, value in state.items()
        if value.is_floating_point() and not torch.isfinite(value).all()
    ]


def _optional(key: str) -> bool:
    """A counter that old checkpoints lack and that no result depends on."""
    return key.endswith("num_batches_tracked")


def _few(keys: list[str]) -> str:
    more = f" and {len(keys) - SHOWN_KEYS} more" if len(keys) > SHOWN_KEYS else ""
    return ", ".join(keys[:SHOWN_KEYS]) + more
