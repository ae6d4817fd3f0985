"""An exported file run here, in this process: its outputs, not its speed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeprune.errors import ExportError


class OnnxModel:
    """Outputs of an ONNX file for any number of samples.

    A file with a fixed batch gets its samples in such batches, the last one filled up
    with repetitions that are cut off again.
    """

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            message = f"{path.name} does not load in ONNX Runtime: {error}."
            raise ExportError(message) from error
        self._input = self._session.get_inputs()[0]

    def __call__(self, x: Tensor) -> Tensor:
        """Outputs, shape (N, ...), for inputs of shape (N, ...)."""
        batch = self._input.shape[0]
        values = x.numpy().astype(np.float32)
        if not isinstance(batch, int):
            return torch.from_numpy(self._run(values))
        parts = [
            self._run(_filled(values[start : start + batch], batch))
            for start in range(0, len(values), batch)
        ]
        return torch.from_numpy(np.concatenate(parts)[: len(values)])

    def _run(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self._session.run(None, {self._input.name: values})[0])


def _filled(values: NDArray[np.float32], batch: int) -> NDArray[np.float32]:
    """Repeat the last sample until the batch is full."""
    missing = batch - len(values)
    return np.concatenate([values, values[-1:].repeat(missing, axis=0)])
