"""What a network is for, and how it is called: by the settings, or as both look."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.data import Reading, Splits
from edgeprune.data.answered import Answered
from edgeprune.data.factory import import_factory
from edgeprune.data.noise import Answering, noise_splits
from edgeprune.errors import (
    ConfigError,
    DataError,
    EdgepruneError,
    WorkloadError,
    first_line,
)
from edgeprune.export.session import OnnxModel
from edgeprune.graph.forward import evaluating
from edgeprune.graph.operations import operations, samples_at_once
from edgeprune.metric import Metric
from edgeprune.onnx_files.shapes import sample_text
from edgeprune.settings import DataSettings, WorkloadSettings
from edgeprune.tasks import (
    TASKS,
    Classification,
    Detection,
    Structure,
    Task,
    Unpacking,
    agreement_with,
    are_boxes,
    inferred,
    one_hot,
    task_named,
)
from edgeprune.workload.packed import packed, structure_of_outputs
from edgeprune.workload.part import ending_of, finishing, whole_of

AUTO, AGREEMENT = "auto", "agreement"
SHOWN = 32  # samples whose outputs tell what they are
MAIN = ("out", "logits", "output")  # what the output that counts is called
Prepared = tuple[nn.Module, Splits]
Predict = Callable[[Tensor], Tensor]


def prepared(
    model: nn.Module,
    splits: Splits,
    settings: WorkloadSettings,
    task: Task | None = None,
) -> Prepared:
    """A network that takes and gives one tensor, and data with their task.

    A model that does not run is left as it is: its trace explains why.

    Args:
        task: in place of what settings say.

    Raises:
        WorkloadError: what it returns fits no task.
        ConfigError: there is no such task.
    """
    task = task or _asked(settings)
    x, y = next(iter(splits.validation))
    splits = _in_whole_numbers(model, splits, x[:1])
    given: Any = (x[:1],)
    if splits.structure is not None:
        given = splits.structure.named(x[:1])
    task = _finishing(task, model, splits.sample_shape, y)
    try:
        with evaluating(model), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            several = structure_of_outputs(model, given)
            model = packed(model, splits.structure, several)
            outputs = _answers(model, x[:1])
    except WorkloadError:
        raise
    except Exception:  # noqa: BLE001  of the user's code
        held = replace(splits, task=task or splits.task)
        return packed(model, splits.structure, None), held
    if settings.task == AGREEMENT or not splits.labelled:
        return model, _agreeing(model, splits, outputs, several, task)
    taught = _taught(task, (outputs, y), several, splits.targets)
    taught = _adapted(taught, outputs, partial(_answers, model), x)
    scored = isinstance(getattr(taught, "task", taught), Classification)
    return model, replace(splits, task=taught, classes=splits.classes if scored else 0)


def _adapted(task: Task, one: Tensor, predict: Predict, x: Tensor) -> Task:
    """The task as outputs show it: those of one sample, and of more where they do."""
    if task.adapted(one) is task:
        return task
    return task.adapted(torch.cat([predict(item) for item in x[:SHOWN].split(1)]))


def _finishing(
    task: Task | None, model: nn.Module, sample_shape: tuple[int, ...], y: Tensor
) -> Task | None:
    """The task; of a detector's part, with what the rest makes of its outputs."""
    end = ending_of(model)
    boxes = type(task) is Detection or (task is None and are_boxes(y))
    if end is None or not boxes:
        return task
    return Detection(decode=finishing(whole_of(model), end, sample_shape))


def _in_whole_numbers(model: nn.Module, splits: Splits, x: Tensor) -> Splits:
    """Inputs as whole numbers where the network takes nothing else, as an embedding."""
    if splits.structure is not None or not torch.equal(x, x.round()):
        return splits
    for values in (x, x.long()):
        try:
            _answers(model, values)
        except Exception:  # noqa: BLE001  of the user's code
            continue
        if values is x:
            return splits
        return replace(splits, structure=Structure.single(values))
    return splits


def _taught(
    task: Task | None,
    first: tuple[Tensor, Tensor],
    several: Structure | None,
    wanted: Structure | None = None,
) -> Task:
    """The task of data with targets."""
    outputs, targets = first
    if are_boxes(targets) if task is None else _knows_all(task):
        return _unpacking(task or Detection(), several, wanted)
    main = None if several is None else _main(several, asked=task is not None)
    if several is not None and main is not None:
        outputs = several.unpacked(outputs)[main]
    if task is None and one_hot(targets):
        message = "The targets are one-hot rows: give class numbers of shape (N,), or"
        raise WorkloadError(f"{message} say --task multilabel.")
    task = inferred(outputs, targets) if task is None else task
    return task if several is None else Unpacking(task, several, None, main)


def _knows_all(task: Task) -> bool:
    """Whether all outputs are a task's own business, not one that counts."""
    return isinstance(task, Detection) or type(task) not in TASKS.values()


def _main(several: Structure, *, asked: bool) -> int:
    """The output that is judged: the one with a usual name, or the first if asked."""
    names = [name for name in MAIN if name in several.names]
    if names:
        return several.names.index(names[0])
    if not asked:
        told = ", ".join(several.names)
        message = f"The model returns several tensors ({told}): say with --task"
        raise WorkloadError(f"{message} what for, or --task agreement.")
    return 0


def task_of_file(model: OnnxModel, splits: Splits, settings: DataSettings) -> Task:
    """What a file is judged by on data with targets.

    Raises:
        ConfigError: there is no such task, or the data have no targets.
        WorkloadError: what the file returns fits no task.
    """
    x, y = next(iter(splits.test))
    named = {
        name: torch.from_numpy(found)
        for name, found in model.named_outputs(x[:1]).items()
    }
    several = Structure.of(named, "output") if len(named) > 1 else None
    asked = _asked(settings)
    if asked is not None and not splits.labelled:
        raise ConfigError(f"--task {asked.name} needs targets, the data have none.")
    one = model(x[:1])
    return _adapted(_taught(asked, (one, y), several), one, model, x)


def _asked(settings: DataSettings) -> Task | None:
    """The task that the settings name; None where they leave it open."""
    name = settings.task
    return None if name in (AUTO, AGREEMENT) else task_of(name)


def task_of(name: str) -> Task:
    """A task by its name, or what a factory makes.

    Raises:
        ConfigError: there is none.
    """
    if ":" not in name:
        return task_named(name)
    try:
        made = import_factory(name)()
    except DataError as error:
        raise ConfigError(str(error)) from error
    if not isinstance(made, Task):
        kind = type(made).__name__
        raise ConfigError(f"--task {name} must give an edgeprune.Task, found {kind}.")
    return with_metric(made)


def with_metric(task: Task) -> Task:
    """A task of one's own, which must have a metric.

    Raises:
        ConfigError: it has none.
    """
    metric: Any = task.metric
    if not isinstance(metric, Metric):
        message = f"`metric` of task {task.name!r} must be an edgeprune.Metric, such as"
        raise ConfigError(f"{message} edgeprune.Metric('error', 'mm', False).")
    return task


def _agreeing(
    model: nn.Module,
    splits: Splits,
    outputs: Tensor,
    several: Structure | None,
    task: Task | None,
) -> Splits:
    """Data whose targets are what the original answers, in all or as a task has it."""
    if task is None:
        task = agreement_with(None if several else outputs, labelled=False)
        task = _unpacking(task, several, several)
    else:
        task = task.answered()
        if several is not None:
            main = None if _knows_all(task) else _main(several, asked=True)
            task = Unpacking(task, several, None, main)
        _check_answers(task, outputs)
    original = copy.deepcopy(model).eval()
    x, _ = next(iter(splits.validation))
    task = _adapted(task, outputs, partial(_answers, original), x)
    step = samples_at_once(original, x[:1])

    def answer(x: Tensor) -> Tensor:
        parts = [_answers(original, part) for part in x.split(step)]
        return task.answers(torch.cat(parts))

    parts = {
        name: Answered(getattr(splits, name), answer)
        for name in ("validation", "test", "calibration")
    }
    return replace(splits, **parts, task=task, classes=0, labelled=False, largest=())


def _check_answers(task: Task, outputs: Tensor) -> None:
    """Refuse a task of which outputs make no targets.

    Raises:
        WorkloadError: the outputs are of another form.
        ConfigError: no outputs make any.
    """
    try:
        task.check(outputs, task.answers(outputs))
    except EdgepruneError:
        raise
    except Exception as error:
        shape = tuple(outputs.shape)
        message = f"--task {task.name} does not fit outputs of shape {shape}"
        raise WorkloadError(f"{message}: see --task agreement.") from error


def with_noise(
    model: nn.Module, settings: WorkloadSettings, reading: Reading
) -> Prepared:
    """A network that gives one tensor, and noise with what it answers."""
    assert settings.input is not None  # the caller has asked for it
    called = called_with(model, settings.input)
    model, one = called.model, torch.zeros(1, *called.sample_shape)
    answering = Answering(
        operations(model, one),
        samples_at_once(model, one),
        _answers(model, one).numel(),
        several=called.outputs is not None,
    )
    with evaluating(model):
        sample = called.inputs or called.sample_shape
        splits = noise_splits(model, sample, reading, answering)
    task = _unpacking(splits.task, called.outputs, called.outputs)
    return model, replace(splits, task=task, structure=called.inputs)


@dataclass(frozen=True)
class Called:
    """A network as it is called without data.

    Attributes:
        model: takes and gives one tensor.
        sample_shape: of what it takes.
        inputs, outputs: how they are packed; None where they are one tensor.
    """

    model: nn.Module
    sample_shape: tuple[int, ...]
    inputs: Structure | None
    outputs: Structure | None


def called_with(
    model: nn.Module, given: tuple[int, ...] | Mapping[str, tuple[int, ...]]
) -> Called:
    """A network called with inputs of given shapes.

    Args:
        given: shape of a sample, or shapes by the names of inputs.

    Raises:
        WorkloadError: it takes no inputs by these names.
    """
    if isinstance(given, Mapping):
        inputs, told = Structure.of_shapes(given), ", ".join(given)
        sample_shape: tuple[int, ...] = (inputs.size,)
        one: Any = inputs.named(torch.zeros(1, inputs.size))
    else:
        inputs, told, sample_shape = None, sample_text(given), given
        one = (torch.zeros(1, *given),)
    try:
        with evaluating(model):
            outputs = structure_of_outputs(model, one)
    except WorkloadError:
        raise
    except Exception as error:
        message = f"{type(model).__name__} cannot be called with {told}"
        message += f" of random numbers: {first_line(error)}"
        raise WorkloadError(f"{message.removesuffix('.')}.") from error
    return Called(packed(model, inputs, outputs), sample_shape, inputs, outputs)


def _answers(model: nn.Module, x: Tensor) -> Tensor:
    with evaluating(model), torch.no_grad():
        return model(x)


def _unpacking(
    task: Task, outputs: Structure | None, targets: Structure | None
) -> Task:
    single = outputs is None and targets is None
    return task if single else Unpacking(task, outputs, targets)
