"""No data at all: noise like pictures, labelled by the network itself."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeprune.data.splits import Reading, Splits, TensorBatches, shuffling
from edgeprune.tasks import Structure, TopAgreement, agreement_with

NOISE = "noise"  # as a description of data
SIZES = (2048, 512, 512)  # training, validation, test; of a small network
HALVED = 3  # times at most, for a slow one
KEPT = 2**28  # numbers of outputs, 1 GB
LEAST = 16  # samples, however large outputs are
LABELLING = 4e12  # operations for all labels: half a minute on two cores, about
NOTE = (
    "no data: noise; agreement is with what the original network answers to it, "
    "estimated, and on real data may be far lower"
)
MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def noise(count: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Inputs whose power falls with the square of the frequency, as in pictures.

    Torralba and Oliva, "Statistics of Natural Image Categories", 2003. Each has mean
    and contrast of its own, about those of inputs that were brought to mean 0 and
    deviation 1.

    Returns:
        Shape (count, *shape).
    """
    channels, *sides = shape
    found = torch.zeros(count, *shape)
    if not sides:
        return torch.randn(count, channels, generator=generator)
    octave = 1
    while octave <= max(sides):
        coarse = [min(octave, side) for side in sides]
        part = torch.randn(count, channels, *coarse, generator=generator)
        mode = MODES.get(len(sides), "nearest")
        found += functional.interpolate(part, tuple(sides), mode=mode) / octave**0.5
        octave *= 2
    flat = found.flatten(1)
    flat = (flat - flat.mean(1, keepdim=True)) / flat.std(1, keepdim=True)
    contrast = 0.5 + torch.rand(count, 1, generator=generator)
    shift = 0.5 * torch.randn(count, 1, generator=generator)
    return (flat * contrast + shift).reshape(found.shape)


@dataclass(frozen=True)
class Answering:
    """How a network answers to one sample.

    Attributes:
        operations: that it takes; of more there are fewer samples.
        at_once: samples that are labelled together.
        numbers: of its outputs.
        several: these are several outputs in a row, no scores of classes.
    """

    operations: float = 0.0
    at_once: int = 64
    numbers: int = 0
    several: bool = False


def noise_of(
    sample: tuple[int, ...] | Structure, count: int, generator: torch.Generator
) -> Tensor:
    """Noise for one input, or for several that are packed in rows."""
    if not isinstance(sample, Structure):
        return noise(count, sample, generator)
    parts = [noise(count, part.shape or (1,), generator) for part in sample.parts]
    return torch.cat([part.flatten(1) for part in parts], 1)


def noise_splits(
    model: nn.Module,
    sample: tuple[int, ...] | Structure,
    reading: Reading,
    answering: Answering,
) -> Splits:
    """Splits of noise with what a network answers to it.

    Args:
        sample: shape of the input, (C, ...), or what several inputs are.
    """
    generator = torch.Generator().manual_seed(reading.seed)
    held: list[TensorBatches] = []
    classes, task = 0, agreement_with(None, labelled=True)
    sizes = _sizes(answering.operations, answering.numbers)
    training = model.training
    model.eval()
    for count in sizes:
        x = noise_of(sample, count, generator)
        with torch.no_grad():
            outputs = torch.cat([model(part) for part in x.split(answering.at_once)])
        task = agreement_with(None if answering.several else outputs, labelled=True)
        task = task.adapted(outputs)
        y = task.answers(outputs)
        classes = outputs.shape[1] if isinstance(task, TopAgreement) else 0
        held.append(TensorBatches(x, y, Reading(reading.batch_size)))
    model.train(training)
    train, validation, test = held
    return Splits(
        name=NOISE,
        train=TensorBatches(train.x, train.y, reading, shuffling(reading)),
        validation=validation,
        test=test,
        calibration=train,
        classes=classes,
        sample_shape=tuple(train.x.shape[1:]),
        sizes=sizes,
        note=NOTE,
        task=task,
    )


def _sizes(each: float, numbers: int) -> tuple[int, int, int]:
    """How many samples each split has, by the operations that one takes.

    And by what is kept of it, which fits in memory.
    """
    train, validation, test = SIZES
    for number in itertools.count():
        count = train + validation + test
        slow = each * count > LABELLING and number < HALVED
        if not (slow or (numbers * count > KEPT and test > LEAST)):
            break
        train, validation, test = train // 2, validation // 2, test // 2
    return train, validation, test
