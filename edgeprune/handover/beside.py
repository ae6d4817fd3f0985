"""Other forms of the file that is handed over: raw images in, ONNX Runtime's format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch

from edgeprune.data import Splits
from edgeprune.devices.runner import Runner
from edgeprune.errors import DeviceError, ParityError
from edgeprune.export.ort_format import in_ort_format
from edgeprune.export.session import OnnxModel
from edgeprune.handover.raw_images import of_raw_images
from edgeprune.temporary import temporary_folder

SAMPLES = 8


@dataclass(frozen=True)
class Beside:
    """A file that lies beside the model.

    Attributes:
        text: what it is, in a line of the folder's page.
    """

    name: str
    content: bytes
    text: str


def raw_images(path: Path, splits: Splits, runner: Runner, tolerance: float) -> Beside:
    """The file that takes images as bytes, checked on validation images.

    Args:
        splits: whose inputs were made from bytes, which `check_formats` has seen to.
        runner: times it beside the file, where the target is at hand.
        tolerance: of the largest output.

    Raises:
        ParityError: it answers otherwise.
    """
    how = splits.preparation
    assert how is not None
    proto = of_raw_images(onnx.load(path), how)
    name = f"{path.stem}.uint8.onnx"
    with temporary_folder() as folder:
        held = folder / name
        onnx.save(proto, held)
        x = next(iter(splits.validation))[0][:SAMPLES]
        raw = how.undone(x.numpy().astype(np.float32)).transpose(0, 2, 3, 1)
        wanted = OnnxModel(path).named_outputs(x)
        for key, one in OnnxModel(held).named_outputs(torch.from_numpy(raw)).items():
            most = max(float(np.abs(wanted[key]).max()), 1e-6)
            off = float(np.abs(one - wanted[key]).max()) / most
            if not off <= tolerance:
                message = f"{name}: {key} is off by {off:.1e} of the largest value."
                raise ParityError(message)
        text = f"takes images as bytes, (N, height, width, {how.channels or 'C'})"
        return Beside(name, held.read_bytes(), text + _time(path, held, runner))


def ort_files(path: Path, architecture: str) -> list[Beside]:
    """The file in ONNX Runtime's own format, and what a build needs to read it."""
    texts = {
        ".ort": "the model in ONNX Runtime's own format, for builds that read no other",
        ".config": "the operators that such a build needs",
    }
    return [
        Beside(name, content, texts[Path(name).suffix])
        for name, content in sorted(in_ort_format(path, architecture).items())
    ]


def _time(path: Path, other: Path, runner: Runner) -> str:
    if runner.estimates:
        return ""
    try:
        first, second = runner.time([path, other])
    except DeviceError:
        return ""
    share = second.median_ms / first.median_ms
    return f"; {share:.2f} times the time of {path.name}, measured in turn"
