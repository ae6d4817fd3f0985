"""Is the exported file the same function as the model it came from?"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from edgeprune.errors import ParityError
from edgeprune.export.session import OnnxModel
from edgeprune.graph.forward import evaluating
from edgeprune.records import Parity

SAMPLES = 256
TOLERANCE = 1e-3  # of the largest output: float32 sums in another order
NOTHING = 1e-6  # a difference of values, however small all are: the runtime's sigmoid
MOST_OUTPUTS = 2**26  # numbers that are held of each, 256 MB
SCORES = 2  # axes of outputs that may be scores of classes
AGREEMENT = 0.99  # of top-1 answers; ties may fall either way


def prove_parity(
    model: nn.Module, path: Path, batches: Iterable[tuple[Tensor, Tensor]]
) -> Parity:
    """Compare a module with its file on real inputs.

    Raises:
        ParityError: outputs differ by more than float32 rounding explains.
    """
    parity = compare_with_file(model, path, batches, TOLERANCE)
    if not parity.passed:
        message = (
            f"{path.name} differs from the PyTorch model by "
            f"{parity.largest_relative:.2e} of the largest output (allowed "
            f"{TOLERANCE:.0e}), top-1 agreement {parity.top1_agreement:.1%}: it is not "
            "the same function and is not kept."
        )
        raise ParityError(message)
    return parity


def compare_with_file(
    model: nn.Module,
    path: Path,
    batches: Iterable[tuple[Tensor, Tensor]],
    tolerance: float | None = None,
) -> Parity:
    """The differences between a module and a file, whatever they are."""
    exported = OnnxModel(path)
    expected, found = [], []
    seen = 0
    with evaluating(model), torch.no_grad():
        for x, _ in batches:
            if seen >= SAMPLES:
                break
            expected.append(model(x[: SAMPLES - seen]))
            found.append(exported(x[: SAMPLES - seen]))
            seen += len(expected[-1])
            if seen * expected[-1][0].numel() > MOST_OUTPUTS:
                break
    outputs = torch.cat(expected), torch.cat(found)
    return compare_outputs(path.name, *outputs, tolerance)


def compare_outputs(
    name: str, expected: Tensor, found: Tensor, tolerance: float | None
) -> Parity:
    """Largest differences, absolute and relative to the largest expected output."""
    scores = expected.ndim == SCORES
    difference = float((expected - found).abs().max())
    relative = difference / max(float(expected.abs().max()), 1e-12)
    same = relative <= (tolerance or 0) or difference <= NOTHING
    if expected.ndim > 1:
        expected, found = expected.argmax(1), found.argmax(1)
    agreement = float((expected == found).double().mean())
    alike = agreement >= AGREEMENT or not scores
    return Parity(
        file=name,
        samples=len(expected),
        largest_absolute=difference,
        largest_relative=relative,
        top1_agreement=agreement,
        tolerance=tolerance,
        passed=None if tolerance is None else same and alike,
    )
