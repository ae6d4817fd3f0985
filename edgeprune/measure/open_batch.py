"""Files that take any number of samples: are they right for other numbers, too?

Code such as `int(windows.shape[0] / count)` makes a constant of the batch, which the
exporter does not see.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeprune.errors import ExportError
from edgeprune.graph.forward import evaluating
from edgeprune.graph.trace import Inputs, tensors_in

TRIED = (1, 3)  # numbers of samples
TOLERANCE = 1e-3  # of the largest output: float32 sums in another order


def some_samples(inputs: Inputs, count: int) -> Inputs:
    """As many samples as are asked for, of those that there are, not two alike."""

    def some(x: Tensor) -> Tensor:
        taken = x[torch.arange(count) % len(x)]
        if not x.is_floating_point():
            return taken
        scales = torch.linspace(1.0, 0.5, count, dtype=x.dtype)
        return taken * scales.reshape(-1, *[1] * (x.ndim - 1))

    return tuple(some(x) for x in inputs)


def check_open_batch(model: nn.Module, inputs: Inputs, proto: onnx.ModelProto) -> None:
    """Refuse a file that computes what its model does for the example's batch only.

    Raises:
        ExportError: for how many samples it fails.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [item.name for item in session.get_inputs()]
    for count in TRIED:
        some = some_samples(inputs, count)
        feeds = {name: x.numpy() for name, x in zip(names, some, strict=True)}
        with evaluating(model), torch.no_grad():
            expected = [x.numpy() for x in tensors_in(model(*some))]
        try:
            found = [np.asarray(item) for item in session.run(None, feeds)]
        except Exception:  # noqa: BLE001  ONNX Runtime raises classes of its own
            found = []
        if len(found) != len(expected) or not all(map(_alike, expected, found)):
            message = (
                f"{type(model).__name__} cannot be written for any number of samples: "
                f"with {count} the file does not compute what the network does, as "
                "where int(...) makes a fixed number of the batch. Leave out "
                "--dynamic-batch, or let the code take x.shape[0] as it is."
            )
            raise ExportError(message)


def _alike(expected: NDArray[Any], found: NDArray[Any]) -> bool:
    if expected.shape != found.shape:
        return False
    largest = float(np.abs(expected).max(initial=0.0))
    return bool((np.abs(expected - found) <= TOLERANCE * max(largest, 1e-12)).all())
