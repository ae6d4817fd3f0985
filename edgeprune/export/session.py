"""An exported file run here, in this process: its outputs, not its speed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
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
    with repetitions that are cut off again. Several run at once, each on one core:
    a file made for one sample at a time has too little work to share.
    """

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        try:
            self._session = ort.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            message = f"{path.name} does not load in ONNX Runtime: {error}."
            raise ExportError(message) from error
        self._input = self._session.get_inputs()[0]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample; an open axis has the length 1."""
        axes = self._input.shape[1:]
        return tuple(axis if isinstance(axis, int) else 1 for axis in axes)

    def __call__(self, x: Tensor) -> Tensor:
        """Outputs, shape (N, ...), for inputs of shape (N, ...)."""
        batch, cores = self._input.shape[0], torch.get_num_threads()
        values = x.numpy().astype(np.float32)
        if not isinstance(batch, int):
            batch = -(-len(values) // cores)
        parts = [
            _filled(values[start : start + batch], batch)
            for start in range(0, len(values), batch)
        ]
        with ThreadPoolExecutor(cores) as pool:
            found = list(pool.map(self._run, parts))
        return torch.from_numpy(np.concatenate(found)[: len(values)])

    def _run(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self._session.run(None, {self._input.name: values})[0])


def _filled(values: NDArray[np.float32], batch: int) -> NDArray[np.float32]:
    """Repeat the last sample until the batch is full."""
    missing = batch - len(values)
    return np.concatenate([values, values[-1:].repeat(missing, axis=0)])
