"""Writes the `handover/` folder of a run: the file, how to feed it, how to check it.

Inputs with the outputs that the file gave here lie beside it, raw where it is known how
raw values become inputs, so that the same numbers can be looked for in any language.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray

from edgeprune.data import Splits
from edgeprune.export.session import OnnxModel
from edgeprune.onnx_files.portable import oldest_for
from edgeprune.onnx_files.providers import Taken, advice

HERE = Path(__file__).parent
SAMPLES = 8
IMAGE = 4  # axes of a batch of images
EXACT = 1e-5
PAGE, LABELS, PREPARES = "README.md", "labels.txt", "preprocessing.json"
REFERENCE, CHECK = "reference.npz", "check.py"
TOLERANCE = {"fp32": 1e-3, "int8": 5e-2}  # of the largest output: kernels differ


@dataclass(frozen=True)
class Delivered:
    """The file that is handed over.

    Attributes:
        name: in the folder.
        precision: fp32 or int8.
        ms: on the target, with what it was measured by.
    """

    path: Path
    name: str
    precision: str
    target: str
    ms: float
    runtime: str
    accuracy: float | None


def handover(delivered: Delivered, splits: Splits) -> dict[str, bytes]:
    """All files of the folder by their names."""
    content = delivered.path.read_bytes()
    proto = onnx.load_from_string(content)
    reference = _reference(delivered.path, splits)
    found = {
        delivered.name: content,
        PREPARES: _described(proto, splits, delivered).encode(),
        REFERENCE: _npz(reference),
        CHECK: (HERE / "check.py.txt").read_bytes(),
        PAGE: _page(proto, delivered, splits, reference).encode(),
    }
    if splits.class_names:
        found[LABELS] = ("\n".join(splits.class_names) + "\n").encode()
    return found


def _reference(path: Path, splits: Splits) -> dict[str, NDArray[Any]]:
    """Some validation inputs, raw where that is known, and the file's outputs."""
    x, _ = next(iter(splits.validation))
    x = x[:SAMPLES]
    found: dict[str, NDArray[Any]] = {"inputs": x.numpy().astype(np.float32)}
    found["outputs"] = OnnxModel(path)(x).numpy()
    how = splits.preparation
    if how is not None and how.bytes and x.ndim == IMAGE:
        raw = how.undone(found["inputs"])
        if np.abs(how.done(raw) - found["inputs"]).max() < EXACT:
            found["raw"] = raw.transpose(0, 2, 3, 1)  # as decoders give them
    return found


def _npz(arrays: dict[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    save: Any = np.savez_compressed
    save(buffer, **arrays)
    return buffer.getvalue()


def _described(proto: onnx.ModelProto, splits: Splits, delivered: Delivered) -> str:
    """How an input is made, as JSON."""
    given = proto.graph.input[0]
    shape = [axis.dim_value or None for axis in given.type.tensor_type.shape.dim]
    how = splits.preparation
    held = {
        "model": delivered.name,
        "input": {"name": given.name, "shape": shape, "type": "float32"},
        "outputs": [item.name for item in proto.graph.output],
        "task": "classification",
        "classes": splits.classes,
        "preprocessing": None if how is None else asdict(how),
        "tolerance": TOLERANCE[delivered.precision],
        "made_by": f"edgeprune {version('edgeprune')}",
    }
    return json.dumps(held, indent=2) + "\n"


def _page(
    proto: onnx.ModelProto,
    delivered: Delivered,
    splits: Splits,
    reference: dict[str, NDArray[Any]],
) -> str:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    given = proto.graph.input[0]
    axes = [axis.dim_value or 1 for axis in given.type.tensor_type.shape.dim]
    return environment.get_template("README.md.jinja").render(
        item=delivered,
        input=given.name,
        output=proto.graph.output[0].name,
        shape=axes,
        how=splits.preparation,
        labels=bool(splits.class_names),
        raw="raw" in reference,
        samples=len(reference["inputs"]),
        oldest=oldest_for(proto),
        taken=_told(advice(delivered.path)),
        size=delivered.path.stat().st_size,
        tolerance=TOLERANCE[delivered.precision],
    )


def _told(found: tuple[Taken, ...]) -> list[str]:
    return [
        f"{item.provider}: {item.supported} of {item.operators} operators, in "
        f"{item.partitions} part(s)"
        for item in found
    ]
