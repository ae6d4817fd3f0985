"""What the values of a network are like: seen on samples, one tensor at a time.

A range decides between steps that are too wide and values that are cut off. The whole
range loses nothing off its ends and is as wide as one odd value makes it; so ranges
that leave out a few values are tried too, and the one with the least mean squared error
counts. (Banner et al., "Post training 4-bit quantization of convolutional networks for
rapid-deployment", NeurIPS 2019; Nagel et al., "A white paper on neural network
quantization", arXiv:2106.08295, section 3.1.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

Floats = NDArray[np.float32]
Feeds = Mapping[str, Floats]
Range = tuple[float, float]
VALUES = 2000  # of a tensor that are kept of each run, evenly spaced
LEFT_OUT = (0.0, 1e-5, 1e-4, 1e-3, 5e-3)  # shares of the values, half on each side
LEVELS = 256
CHANNELS = 1  # the axis
CPU = "CPUExecutionProvider"


@dataclass
class Seen:
    """What a tensor was like.

    Attributes:
        least, most: over all samples.
        mean: by channel, shape (channels,); of a tensor without channels, of all.
        values: some of them.
    """

    least: float = np.inf
    most: float = -np.inf
    mean: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    values: list[Floats] = field(default_factory=list)
    runs: int = 0

    def see(self, tensor: Floats) -> None:
        """Take the tensor of another run into account; infinities are no values."""
        if not np.isfinite(tensor).all():
            tensor = np.nan_to_num(tensor, nan=0.0, posinf=0.0, neginf=0.0)
        self.least = min(self.least, float(tensor.min()))
        self.most = max(self.most, float(tensor.max()))
        axes = tuple(axis for axis in range(tensor.ndim) if axis != CHANNELS)
        mean = tensor.mean(axes, dtype=np.float64).reshape(-1)
        self.runs += 1
        if self.runs == 1:
            self.mean = mean
        elif mean.shape == self.mean.shape:
            self.mean = self.mean + (mean - self.mean) / self.runs
        flat = tensor.reshape(-1)
        step = max(1, len(flat) // VALUES)
        first = self.runs % step  # others each time
        self.values.append(flat[first::step].copy())

    @property
    def whole(self) -> Range:
        """All values, and 0, which has to be exact."""
        return min(self.least, 0.0), max(self.most, 0.0)

    def closest(self, levels: int = LEVELS) -> Range:
        """The range whose steps come closest to the values.

        Args:
            levels: how many steps there are.
        """
        values = np.concatenate(self.values).astype(np.float64)
        best, least = self.whole, np.inf
        for share in LEFT_OUT:
            low, high = self.whole
            if share:
                low, high = np.quantile(values, [share / 2, 1 - share / 2])
                low, high = min(float(low), 0.0), max(float(high), 0.0)
            if high <= low:
                continue
            error = float(
                np.square(values - rounded(values, (low, high), levels)).mean()
            )
            if error < least * (1 - 1e-3):  # what is as good leaves out less
                best, least = (low, high), error
        return best


def rounded(
    values: NDArray[np.float64], span: Range, levels: int
) -> NDArray[np.float64]:
    """Values as an integer with so many levels over a range holds them."""
    low, high = span
    step = (high - low) / (levels - 1)
    zero = round(-low / step)
    whole = np.clip(np.rint(values / step) + zero, 0, levels - 1)
    return (whole - zero) * step


def observe(
    proto: onnx.ModelProto, names: Sequence[str], feeds: Iterable[Feeds], folder: Path
) -> dict[str, Seen]:
    """Run a network on samples and look at some of its tensors.

    Args:
        names: of inputs, or of tensors that nodes make.
        folder: where a file may be written.
    """
    inputs = {item.name for item in proto.graph.input}
    found = {name: Seen() for name in names}
    made = [name for name in found if name not in inputs]
    session = ort.InferenceSession(
        str(with_outputs(proto, made, folder)), quiet_options(), [CPU]
    )
    for fed in feeds:
        ran = dict(zip(made, session.run(made, dict(fed)), strict=True))
        held: dict[str, Any] = {**fed, **ran}
        for name, seen in found.items():
            if name in held and held[name].size:
                seen.see(np.asarray(held[name], np.float32))
    return {name: seen for name, seen in found.items() if seen.runs}


def with_outputs(proto: onnx.ModelProto, names: Sequence[str], folder: Path) -> Path:
    """A file that gives out those tensors too."""
    wide = onnx.ModelProto()
    wide.CopyFrom(proto)
    known = {item.name for item in wide.graph.output}
    for name in names:
        if name not in known:
            info = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            wide.graph.output.append(info)
    path = folder / "observed.onnx"
    onnx.save(wide, path)
    return path


def quiet_options() -> Any:
    """Of a session that says nothing."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return options
