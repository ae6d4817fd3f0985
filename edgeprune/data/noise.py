"""No data at all: noise like pictures, labelled by the network itself."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeprune.data.splits import Reading, Splits, TensorBatches, shuffling
from edgeprune.tasks import TopAgreement, agreement_with, targets_of

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


def noise_splits(
    model: nn.Module,
    shape: tuple[int, ...],
    reading: Reading,
    operations: float = 0.0,
    at_once: int = 64,
    numbers: int = 0,
) -> Splits:
    """Splits of noise with what a network answers to it.

    Args:
        shape: of one input, (C, ...).
        operations: that the network takes for it; of more there are fewer samples.
        at_once: samples that are labelled together.
        numbers: that it answers to each.
    """
    generator = torch.Generator().manual_seed(reading.seed)
    held: list[TensorBatches] = []
    classes, task = 0, agreement_with(None, labelled=True)
    sizes = _sizes(operations, numbers)
    training = model.training
    model.eval()
    for count in sizes:
        x = noise(count, shape, generator)
        with torch.no_grad():
            outputs = torch.cat([model(part) for part in x.split(at_once)])
        task = agreement_with(outputs, labelled=True)
        y = targets_of(task, outputs)
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
        sample_shape=shape,
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
