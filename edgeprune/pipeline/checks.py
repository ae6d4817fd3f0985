"""A look at a model and its data before any work, for what makes figures worthless."""

from __future__ import annotations

import math
from dataclasses import astuple
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from edgeprune.errors import (
    ConfigError,
    EdgepruneError,
    TraceError,
    WorkloadError,
    first_line,
)
from edgeprune.graph.forward import evaluating
from edgeprune.graph.layers import zero_share
from edgeprune.graph.model_copy import copied
from edgeprune.graph.trace import failure
from edgeprune.onnx_in.network import ImportedNetwork
from edgeprune.onnx_in.opaque import without_gradient
from edgeprune.pipeline.job import Job, ModelSnapshot, RunLog
from edgeprune.tasks import (
    Classification,
    Image,
    Task,
    Unpacking,
    counts_of,
    scalar_loss,
    scores_of,
)
from edgeprune.workload import Workload
from edgeprune.workload.packed import (
    inputs_by_name,
    packing_of,
    unpacked,
    unpacked_inputs,
)

IMAGE = 3  # axes of one
FEW = 50  # validation samples; with fewer, one answer is more than the default drop
TOLERATED = 0.1  # beyond 0 and 1, of the values of pictures
MANY_ZEROS = 0.05  # of all weights: worth a note
CHANCE = 1.5  # times the accuracy of guessing; a trained baseline is above


def check_answers(workload: Workload, *, trains: bool = False) -> int | None:
    """Refuse a model that does not answer its data with scores that are numbers.

    Args:
        trains: it is to be trained, and must answer in the same way then.

    Returns:
        How many scores it gives for each sample; None where there are no classes.

    Raises:
        TraceError: it does not run on its data.
        WorkloadError: what it returned, and what was expected.
    """
    data, model = workload.data, workload.model
    x, y = next(iter(data.validation))
    _check_whole_numbers(model, x)
    try:
        with evaluating(model), torch.no_grad():
            outputs = model(x)
    except Exception as error:
        given = unpacked_inputs(model, (x,))
        raise TraceError(failure(unpacked(model), given, error)) from error
    data.task.check(outputs, y)
    for target in data.largest:
        data.task.check(outputs[:1], target)
    _check_task(data.task, outputs, y, trains=trains)
    if data.classes:
        data.task.check(outputs, torch.full_like(y, data.classes - 1))
    if not torch.isfinite(outputs).all():
        message = f"{type(model).__name__} returns NaN or infinity for samples of "
        raise WorkloadError(f"{message}{data.name!r}: its weights or its code do it.")
    if trains:
        if kinds := ", ".join(without_gradient(model)):
            message = f"{kinds} of an ONNX file has no gradient to train by"
            raise WorkloadError(f"{message}: give --no-train.")
        _check_training(copied(model), x[:2], outputs.ndim)
    return _scores(data.task, outputs) if data.classes else None


def _scores(task: Task, outputs: Tensor) -> int | None:
    """How many scores of classes a sample has; None where no output has them."""
    scores = task.counted(outputs) if isinstance(task, Unpacking) else outputs
    if not isinstance(scores, Tensor):
        return None
    return max(2, scores[0].numel() if scores.ndim <= 2 else scores.shape[1])


def _check_task(task: Task, outputs: Tensor, y: Tensor, *, trains: bool) -> None:
    """Refuse a task that cannot judge or teach a batch, before anything is measured.

    Raises:
        WorkloadError: what its code says.
    """
    try:
        float(task.value(counts_of(task, outputs, y)))
        loss = None
        if trains and task.learns and outputs.is_floating_point():
            given = outputs.detach().clone().requires_grad_()
            loss = scalar_loss(task, given, y)
    except EdgepruneError:
        raise
    except Exception as error:
        shapes = f"outputs {tuple(outputs.shape)} and targets {tuple(y.shape)}"
        message = f"Task {task.name!r} does not take {shapes}"
        raise WorkloadError(f"{message}: {first_line(error)}") from error
    if loss is not None and not loss.requires_grad:
        message = f"`loss` of task {task.name!r} does not depend on outputs in a way"
        raise WorkloadError(f"{message} that has a gradient.")


def _check_whole_numbers(model: nn.Module, x: Tensor) -> None:
    """Refuse values that an input of a file cannot hold, as parts of a byte.

    Raises:
        WorkloadError: what it takes, and one that it does not.
    """
    file, inputs = unpacked(model), unpacked_inputs(model, (x,))
    if not isinstance(file, ImportedNetwork):
        return
    given = inputs_by_name(packing_of(model), file.input_names, inputs)
    for name, kind in file.whole_numbers.items():
        values = given[name]
        held = np.iinfo(kind)
        fits = (values == values.round()) & (values >= held.min) & (values <= held.max)
        if not fits.all():
            message = (
                f"Input {name!r} of the file takes {kind} ({held.min}..{held.max})"
            )
            raise WorkloadError(f"{message}, the data hold {values[~fits][0]:g}.")


def check_formats(job: Job) -> None:
    """Refuse a file that takes raw images where nobody knows how inputs are made.

    Raises:
        ConfigError: what is missing.
    """
    data = job.data
    if job.settings.input_format == "float":
        return
    how = data.preparation
    images = len(data.sample_shape) == IMAGE and data.structure is None
    if how is None or not how.bytes or not images:
        raise ConfigError(
            "--input-format uint8 puts the preprocessing of images into the file; "
            f"how inputs of {data.name!r} are made of bytes is not known here: give "
            "images in folders or as bytes."
        )


def _check_training(model: nn.Module, x: Tensor, axes: int) -> None:
    """Refuse a model that returns something else in training.

    Raises:
        WorkloadError: what it returns then.
    """
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=()):
            outputs = model.train()(x)
    except Exception:  # noqa: BLE001  as of batch norm, which two samples are too few for
        return
    if not isinstance(outputs, Tensor) or outputs.ndim != axes:
        kind, found = type(model).__name__, type(outputs).__name__
        raise WorkloadError(
            f"{kind} returns a {found} in training, where further heads run: give it "
            "without them (such as aux_logits=False), or --no-train."
        )


def note_scale(job: Job, log: RunLog) -> None:
    """Say so where the network is better by far on inputs of another scale.

    Only where the scale of images was a guess. Told by validation samples, of which
    another scale must get more right by three standard errors.
    """
    guess, model, task = job.data.guessed_scale, job.workload.model, job.data.task
    if guess is None or not isinstance(task, Classification):
        return
    x, y = next(iter(job.data.validation))
    mean, std = (torch.tensor(part).reshape(1, -1, 1, 1) for part in astuple(guess))
    stored = x * std + mean

    def right(inputs: torch.Tensor) -> float:
        with evaluating(model), torch.no_grad():
            return float(task.each(model(inputs), y).mean())

    now, channels = right(x), x.shape[1]
    for offset, width, name in ((0.0, 1.0, "0..1"), (0.5, 0.5, "-1..1")):
        found = right((stored - offset) / width)
        error = math.sqrt(max(found * (1 - found), now * (1 - now)) / len(y))
        if found - now > max(3 * error, 1 / len(y)):
            values = [",".join([f"{value:g}"] * channels) for value in (offset, width)]
            log.note(
                f"the original is right on {found:.0%} of the first validation images "
                f"if they are scaled to {name}, on {now:.0%} as they are: try --mean "
                f"{values[0]} --std {values[1]}"
            )


def knows_validation(job: Job, log: RunLog, baseline: ModelSnapshot) -> bool:
    """Whether the original may have been trained on the validation samples.

    They were cut from training data, and it is no better on other training samples, by
    two standard errors, as it would be if only those were known.
    """
    data, found = job.data, baseline.accuracy
    if not data.classes:
        return False
    trained = found >= CHANCE / data.classes and not job.settings.from_scratch
    if not trained or "validation" not in data.cut_from_training:
        return False
    model, count = job.workload.model, data.sizes[1]
    with evaluating(model):
        batches = islice(data.calibration, math.ceil(count / job.settings.batch_size))
        trained_on = scores_of(data.task, model, batches)
    assert trained_on is not None  # of classes
    before = float(trained_on[:count].mean())
    error = math.sqrt((found * (1 - found) + before * (1 - before)) / max(count, 1))
    if before - found > 2 * error:
        return False
    both = " and ".join(data.cut_from_training)
    log.note(
        f"the {both} samples were cut from the training data, which the given weights "
        f"may know: they are right on {found:.1%} of the validation samples, on "
        f"{before:.1%} of the training samples. Epochs are not chosen by them; data "
        "with a validation split of its own judge better"
    )
    return True


def note_floor(job: Job, log: RunLog, found: float, floor: float) -> None:
    """Say before any work that the original is below the floor."""
    metric = job.data.task.metric
    if found < floor:
        how = "only training can bring" if job.settings.train else "nothing brings"
        log.note(
            f"the original's validation {metric.told(found)} is below the floor "
            f"{metric.text(floor)}: {how} a smaller network above it"
        )


def note_doubts(
    job: Job, log: RunLog, baseline: ModelSnapshot, outputs: int | None
) -> None:
    """Say what makes a reader doubt the figures that follow."""
    if outputs is not None and outputs > job.data.classes:
        log.note(
            f"the model has {outputs} outputs, the data have {job.data.classes} "
            "classes, numbered from 0: where class 0 is not output 0, --classes says "
            "which output each class folder is"
        )
    if baseline.accuracy < CHANCE / max(job.data.classes, 1) and job.data.classes:
        log.note(
            f"the baseline guesses (accuracy {baseline.accuracy:.1%}): is --weights "
            "missing?"
        )
    if isinstance(job.data.task, Image):
        _, y = next(iter(job.data.validation))
        low, high = float(y.min()), float(y.max())
        if low < -TOLERATED or high > 1 + TOLERATED:
            log.note(
                f"targets go from {low:.3g} to {high:.3g}: PSNR is told as of pictures "
                "from 0 to 1"
            )
    zeros = zero_share(job.workload.model)
    if zeros > MANY_ZEROS:
        log.note(
            f"{zeros:.0%} of the weights were zero at first; they are trained again"
        )
    if (count := job.data.sizes[1]) < FEW:
        each = f": each is {1 / count:.1%}" if job.data.classes else ""
        log.note(f"validation has {count} samples only{each}")
