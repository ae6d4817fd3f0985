"""An exported file run here, in this process: its outputs, not its speed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

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

    def named_inputs(self, x: Tensor) -> dict[str, NDArray[Any]]:
        """What each input is given for some samples."""
        return feeds_of(self._given, x.numpy().astype(np.float32))

    def named_outputs(self, x: Tensor) -> dict[str, NDArray[Any]]:
        """Each output for some samples, by its name."""
        names = [item.name for item in self._session.get_outputs()]
        made = [self._all(part) for part in self._parts(x)]
        return {
            name: np.concatenate([part[at] for part in made])[: len(x)]
            for at, name in enumerate(names)
        }

    def feeds(self, x: Tensor) -> list[NDArray[np.float32]]:
        """What each input is given for some samples, in float32."""
        found = feeds_of(self._given, x.numpy().astype(np.float32))
        return [np.ascontiguousarray(item, np.float32) for item in found.values()]

    def __call__(self, x: Tensor) -> Tensor:
        """Outputs, shape (N, ...), for inputs of shape (N, ...)."""
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            found = list(pool.map(self._run, self._parts(x)))
        return torch.from_numpy(np.concatenate(found)[: len(x)])

    def _parts(self, x: Tensor) -> list[NDArray[np.float32]]:
        """Samples in batches of the size that the file takes."""
        batch, values = self._batch, x.numpy().astype(np.float32)
        if not isinstance(batch, int):
            batch = -(-len(values) // torch.get_num_threads())
        return [
            _filled(values[start : start + batch], batch)
            for start in range(0, len(values), batch)
        ]

    def _run(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return joined(self._all(values))

    def _all(self, values: NDArray[np.float32]) -> list[Any]:
        return list(self._session.run(None, feeds_of(self._given, values)))


def _filled(values: NDArray[np.float32], batch: int) -> NDArray[np.float32]:
    """Repeat the last sample until the batch is full."""
    missing = batch - len(values)
    return np.concatenate([values, values[-1:].repeat(missing, axis=0)])
