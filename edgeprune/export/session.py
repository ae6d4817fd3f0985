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
from edgeprune.onnx_files.feeds import feeds_of, inputs_of, joined


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
        self._batch = self._session.get_inputs()[0].shape[0]
        self._given = inputs_of(self._session)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample of the first input; an open axis has the length 1."""
        return self._given[0].shape

    def feeds(self, x: Tensor) -> list[NDArray[np.float32]]:
        """What each input is given for some samples, in float32."""
        found = feeds_of(self._given, x.numpy().astype(np.float32))
        return [np.ascontiguousarray(item, np.float32) for item in found.values()]

    def __call__(self, x: Tensor) -> Tensor:
        """Outputs, shape (N, ...), for inputs of shape (N, ...)."""
        batch, cores = self._batch, torch.get_num_threads()
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
        return joined(self._session.run(None, feeds_of(self._given, values)))


def _filled(values: NDArray[np.float32], batch: int) -> NDArray[np.float32]:
    """Repeat the last sample until the batch is full."""
    missing = batch - len(values)
    return np.concatenate([values, values[-1:].repeat(missing, axis=0)])
