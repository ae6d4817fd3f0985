"""Models by name: of a library, of the user's own module, or the embedded example."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from edgeprune.data.digits import SIZE
from edgeprune.data.factory import import_factory
from edgeprune.errors import DataError, WorkloadError
from edgeprune.onnx_files.shapes import Sample
from edgeprune.onnx_in.reading import load_onnx_model

ONNX = ".onnx"
EXAMPLE = "example:meter"
AUXILIARY = ("googlenet", "inception_v3")  # have heads that run in training only


def load_model(
    source: str,
    *,
    num_classes: int | None,
    seed: int,
    sample: Sample | None = None,
) -> nn.Module:
    """A model by `torchvision:NAME`, `timm:NAME`, `package.module:factory`, or a file.

    Args:
        sample: shape of one, where an ONNX file leaves it open.

    Raises:
        WorkloadError: it cannot be found, imported or made.
    """
    torch.manual_seed(seed)
    if source == EXAMPLE:
        return meter_reader()
    if source.endswith(ONNX):
        return load_onnx_model(Path(source), sample)
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


def load_library_model(source: str, *, num_classes: int | None) -> nn.Module | None:
    """A model that torchvision or timm list under this name, or the embedded example.

    Unlike `load_model` this runs nothing but these libraries' own code and fetches
    nothing, so that the name may come from a file; None for any other name.

    Raises:
        WorkloadError: it cannot be made.
    """
    library, _, name = source.partition(":")
    listed: Sequence[str] = ()
    if library == "torchvision":
        from torchvision import models

        listed = models.list_models()
    elif library == "timm" and importlib.util.find_spec("timm"):
        listed = importlib.import_module("timm").list_models()
    if source != EXAMPLE and name not in listed:
        return None
    return load_model(source, num_classes=num_classes, seed=0)


def output_names(source: str) -> dict[str, int] | None:
    """What the outputs of a torchvision model are called in its published weights."""
    library, _, name = source.partition(":")
    if library != "torchvision":
        return None
    from torchvision import models

    try:
        published = list(models.get_model_weights(name.lower()))
    except ValueError:
        return None
    known = published[-1].meta.get("categories", []) if published else []
    return {name: at for at, name in enumerate(known)} or None


def check_module(model: nn.Module) -> None:
    """Refuse modules that no copy can be made of, or that have no weights yet.

    Raises:
        WorkloadError: what it is, and what to give instead.
    """
    kind = type(model).__name__
    if isinstance(model, torch.jit.ScriptModule):
        message = f"{kind} is TorchScript, whose code cannot be changed"
        raise WorkloadError(f"{message}: give the module that was scripted.")
    if lazy := [
        name
        for name, item in model.named_parameters()
        if isinstance(item, UninitializedParameter)
    ]:
        message = f"{kind} has lazy layers without a size yet ({lazy[0]})"
        raise WorkloadError(f"{message}: call it once on an example input.")
    state = model.state_dict(keep_vars=True)
    if empty := [name for name, item in state.items() if _on_meta(item)]:
        message = f"{kind} has weights without values on the device 'meta'"
        raise WorkloadError(f"{message} ({empty[0]}): load them first.")


def _on_meta(item: object) -> bool:
    return isinstance(item, torch.Tensor) and item.is_meta


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


def _torchvision(name: str, num_classes: int | None) -> nn.Module:
    from torchvision import models

    options: dict[str, Any] = {"weights": None}
    if name.lower() in AUXILIARY:
        options |= {"aux_logits": False, "init_weights": True}
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
