"""Static int8 quantisation in QDQ form, calibrated on training data.

It stands with measuring: where the int8 file is the one that counts, every attempt of
the planner is timed in int8.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor

from edgeprune.errors import ExportError, first_line
from edgeprune.files import write_whole
from edgeprune.graph.forward import quiet
from edgeprune.measure.int8_forms import masked_nodes, rewrite_for_int8_
from edgeprune.measure.portable import make_portable_
from edgeprune.temporary import temporary_folder

SAMPLES = 128  # that ranges of activations are taken from
GLITCH = 8.0  # times the largest value of the median sample: of another scale
GLITCHES = 0.05  # of all samples; more are no glitches
FEW = 8  # where only the file's speed matters


class _Reader(CalibrationDataReader):
    """Feeds calibration samples in batches of the size that the file takes."""

    def __init__(
        self, path: Path, batches: Iterable[tuple[Tensor, Tensor]], samples: int
    ) -> None:
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        first = session.get_inputs()[0]
        batch = first.shape[0] if isinstance(first.shape[0], int) else 1
        held = _first_samples(batches, samples)
        count = max(batch, len(held) // batch * batch)
        held = np.resize(held, (count, *held.shape[1:]))
        self._feeds = iter(
            [
                {first.name: held[start : start + batch]}
                for start in range(0, count, batch)
            ]
        )

    def get_next(self) -> dict[str, NDArray[np.float32]]:
        """The next batch; None at the end, as the base class asks."""
        return next(self._feeds, None)  # type: ignore[return-value]


def quantize(
    source: Path,
    target: Path,
    batches: Iterable[tuple[Tensor, Tensor]],
    samples: int = SAMPLES,
    *,
    signed: bool = False,
) -> None:
    """Write an int8 version of an ONNX file: weights per channel, static activations.

    Args:
        samples: of the batches, that the ranges of activations are taken from.
        signed: whether activations are.

    Raises:
        ExportError: ONNX Runtime refuses.
    """
    with temporary_folder() as folder, quiet():
        prepared, written = folder / "prepared.onnx", folder / "int8.onnx"
        try:
            quant_pre_process(str(source), str(prepared))
            proto = onnx.load(prepared)
            rewrite_for_int8_(proto)
            onnx.save(proto, prepared)
            quantize_static(
                str(prepared),
                str(written),
                _Reader(prepared, batches, samples),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QInt8 if signed else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                nodes_to_exclude=masked_nodes(proto.graph),
            )
            proto = onnx.load(written)
            make_portable_(proto)
            content = proto.SerializeToString()
        except Exception as error:
            message = f"{source.name} cannot be quantised: {first_line(error)}."
            raise ExportError(message) from error
    write_whole(target, content)


def _first_samples(
    batches: Iterable[tuple[Tensor, Tensor]], count: int
) -> NDArray[np.float32]:
    """Inputs of the first samples, shape (count, ...), but for glitches.

    A raw image among normalised ones would make every step of all ranges as many times
    as wide as its values are larger.
    """
    held: list[Any] = []
    for x, _ in batches:
        held.append(x.numpy().astype(np.float32))
        if sum(len(part) for part in held) >= count:
            break
    samples = np.concatenate(held)[:count]
    largest = np.abs(samples).reshape(len(samples), -1).max(1)
    usual = largest <= GLITCH * np.median(largest)
    return samples[usual] if usual.mean() > 1 - GLITCHES else samples
