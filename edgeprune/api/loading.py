"""From settings, or from objects of a Python caller, to what is to be compressed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from edgeprune.api.task import (
    Prepared,
    called_with,
    prepared,
    task_of_file,
    with_noise,
)
from edgeprune.data import Reading, Scale, Splits, load_data
from edgeprune.data.classes import read_classes
from edgeprune.data.digits import BATCH
from edgeprune.data.factory import splits_of
from edgeprune.data.noise import NOISE
from edgeprune.errors import ConfigError, DataError, WorkloadError
from edgeprune.export.checkpoint import restore_
from edgeprune.export.session import OnnxModel
from edgeprune.finetune.baseline import trained_example
from edgeprune.graph.cores import sleep_while_waiting
from edgeprune.graph.device import CPU, device_named
from edgeprune.graph.torch_private import inside_of
from edgeprune.graph.trace import Inputs
from edgeprune.launch import is_worker
from edgeprune.metric import Metric
from edgeprune.onnx_files.shapes import Sample
from edgeprune.onnx_in.network import ImportedNetwork
from edgeprune.progress import SILENT, Progress
from edgeprune.records import Surgery
from edgeprune.settings import DataSettings, NetworkSettings, WorkloadSettings
from edgeprune.settings.parts import DeviceSettings
from edgeprune.tasks import Task, judged
from edgeprune.workload import (
    EXAMPLE,
    METER_SHAPE,
    Workload,
    check_module,
    example_inputs,
    example_of,
    load_model,
    load_weights_,
    output_names,
    part_of,
)


def model_and_inputs(settings: NetworkSettings) -> tuple[nn.Module, Inputs]:
    """Load a model, the example by default, and make one random batch for it."""
    name = settings.model or EXAMPLE
    batch = settings.batch or (BATCH if name == EXAMPLE else 1)
    model, _ = loaded_model(name, settings)
    shape = settings.input or (METER_SHAPE if name == EXAMPLE else _own_shape(model))
    if shape is None:
        raise ConfigError("Give --input, such as --input 3x224x224.")
    if isinstance(shape, Mapping):
        called = called_with(model, shape)
        model, shape = called.model, called.sample_shape
    return model, example_inputs(shape, batch, settings.seed)


def load_workload(settings: WorkloadSettings, progress: Progress) -> Workload:
    """Model, weights and data as the settings describe them; the example by default.

    Raises:
        EdgepruneError: one of them is missing or does not fit.
    """
    settings.check_sources()
    example = settings.example
    source = settings.model or EXAMPLE
    progress.start("load", 3 if settings.weights else 2)
    model, surgery = loaded_model(source, settings, progress)
    progress.advance(source)
    model, splits = _with_data(model, settings.data or "digits", settings)
    train, validation, test = splits.sizes
    counts = f"{train} + {validation} + {test} samples"
    inputs = f"; inputs: {splits.preprocessing}" if splits.preprocessing else ""
    progress.finish(f"{source}; {counts} of {splits.name}{inputs}")
    if example and settings.weights is None and not is_worker():
        own = isinstance(settings, DeviceSettings)
        device = device_named(settings.device) if own else CPU
        model = trained_example(model, splits, settings.seed, progress, device)
    if example and settings.weights is None:
        splits = replace(splits, cut_from_training=())  # nor was it trained on them
    found = _workload(source, model, splits, settings, batch_of(settings))
    return replace(found, surgery=surgery)


def batch_of(settings: WorkloadSettings) -> int:
    """Samples in one call of the exported file."""
    return settings.batch or (BATCH if settings.example else 1)


def workload_of_objects(
    model: Any, data: Any, settings: WorkloadSettings, task: Task | None = None
) -> Workload:
    """A workload of what a Python caller holds in his hands.

    Args:
        task: in place of what settings say.
    """
    sleep_while_waiting()
    model, surgery = loaded_model(model, settings)
    if isinstance(data, str):
        model, splits = _with_data(model, data, settings, task)
    else:
        splits = splits_of("data", data, _reading(settings, settings.seed))
        model, splits = prepared(model, splits, settings, task)
    name = settings.model or type(model).__name__
    found = _workload(name, model, splits, settings, settings.batch or 1)
    return replace(found, surgery=surgery)


def loaded_model(
    model: Any, settings: NetworkSettings, progress: Progress = SILENT
) -> tuple[nn.Module, Surgery]:
    """A model, or what its description makes, with the weights that are asked for.

    The weights may be a run's folder: what it made of the model goes on from there.
    """
    if isinstance(model, str):
        model = load_model(
            model,
            num_classes=settings.num_classes,
            seed=settings.seed,
            sample=settings.input,
        )
    if not isinstance(model, nn.Module):
        found = type(model).__name__
        raise WorkloadError(f"The model must be a torch.nn.Module, found {found}.")
    model = inside_of(model)
    check_module(model)
    if settings.export_output is not None:
        model = part_of(model, settings.export_output)
    if settings.weights is None:
        return model, Surgery()
    if settings.weights.is_dir():
        surgery = restore_(model, settings.weights)
        progress.advance(f"what {settings.weights} made of it")
        return model, surgery
    taken = load_weights_(model, settings.weights)
    progress.advance(f"weights: {taken or settings.weights.name}")
    return model, Surgery()


def _with_data(
    model: nn.Module, data: str, settings: WorkloadSettings, task: Task | None = None
) -> Prepared:
    """A network, and a data set by its description, or what it sees in noise."""
    if settings.input is None and (shape := _own_shape(model)) is not None:
        settings = settings.model_copy(update={"input": shape})
    if data != NOISE:
        reading = _reading(settings, settings.seed)
        if settings.num_classes is None:
            reading = replace(reading, names=output_names(settings.model or ""))
        splits = load_data(data, reading, settings.sample_shape)
        return prepared(model, splits, settings, task)
    if settings.mean is not None:
        raise ConfigError("--mean and --std do not go with --data noise.")
    if settings.input is None:
        raise ConfigError("--data noise needs --input, such as --input 3x224x224.")
    return with_noise(model, settings, _reading(settings, settings.seed))


def _own_shape(model: nn.Module) -> Sample | None:
    """The shape of a sample, where the network itself says it, as ONNX files do."""
    return model.sample if isinstance(model, ImportedNetwork) else None


def accuracy_of_file(
    path: Path, settings: DataSettings, sample: tuple[int, ...] | None = None
) -> tuple[float, Metric]:
    """An ONNX file's metric on the test split of a data set, and which one that is.

    Args:
        sample: shape of its input, where the file leaves that open.

    Raises:
        DataError: no such data, or they have no labels.
        ExportError: the file does not load.
    """
    model = OnnxModel(path)
    shape = sample or model.sample_shape
    splits = load_data(settings.data or "", _reading(settings, 0), shape)
    if not splits.labelled:
        message = f"{settings.data} has no labels to judge a file by: leave --data out"
        raise DataError(f"{message}, or give data with targets.")
    task = task_of_file(model, splits, settings)
    return judged(task, model, splits.test), task.metric


def _workload(
    name: str, model: nn.Module, splits: Splits, settings: WorkloadSettings, batch: int
) -> Workload:
    if splits.structure is not None:
        splits.structure.check(settings.named_shapes)
        found = example_of(splits.validation, batch)
        return Workload(name, model, (found,), splits)
    shape = settings.sample_shape or splits.sample_shape
    if settings.named_shapes:
        message = f"--input names {', '.join(settings.named_shapes)}, but the data"
        raise ConfigError(f"{message} have one input: give its shape alone.")
    if tuple(shape) != tuple(splits.sample_shape):
        message = (
            f"--input {'x'.join(map(str, shape))} does not fit the data, whose samples "
            f"are {'x'.join(map(str, splits.sample_shape))}."
        )
        raise ConfigError(message)
    return Workload(name, model, example_inputs(shape, batch, settings.seed), splits)


def _reading(settings: DataSettings, seed: int) -> Reading:
    scale = None
    if settings.mean is not None and settings.std is not None:
        if len(settings.mean) != len(settings.std) or min(settings.std) <= 0:
            raise ConfigError("--mean and --std need as many numbers, --std above 0.")
        scale = Scale(settings.mean, settings.std)
    classes = read_classes(settings.classes) if settings.classes else None
    return Reading(settings.batch_size, seed, scale, classes)
