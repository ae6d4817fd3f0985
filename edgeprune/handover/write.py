"""Writes the `handover/` folder of a run: the file, how to feed it, how to check it.

Inputs with the outputs that the file gave here lie beside it, raw where it is known how
raw values become inputs, so that the same numbers can be looked for in any language.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray
from onnx import helper

from edgeprune.data import Splits
from edgeprune.export.session import OnnxModel
from edgeprune.handover.beside import Beside
from edgeprune.onnx_files.portable import oldest_for
from edgeprune.onnx_files.providers import Taken, advice
from edgeprune.tasks import Classification

HERE = Path(__file__).parent
SAMPLES = 8
IMAGE = 4  # axes of a batch of images
EXACT = 1e-5
PAGE, LABELS, PREPARES = "README.md", "labels.txt", "preprocessing.json"
REFERENCE, CHECK = "reference.npz", "check.py"
KOTLIN = {"float32": "Float", "int64": "Long", "int32": "Int"}
SWIFT = {"float32": "float", "int64": "int64", "int32": "int32"}
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


def handover(
    delivered: Delivered, splits: Splits, others: Sequence[Beside] = ()
) -> dict[str, bytes]:
    """All files of the folder by their names.

    Args:
        others: forms of the file that were asked for.
    """
    content = delivered.path.read_bytes()
    proto = onnx.load_from_string(content)
    reference = _reference(delivered.path, splits)
    found = {
        delivered.name: content,
        PREPARES: _described(proto, splits, delivered).encode(),
        REFERENCE: _npz(reference),
        CHECK: (HERE / "check.py.txt").read_bytes(),
        PAGE: _page(proto, delivered, splits, reference, others).encode(),
        **{item.name: item.content for item in others},
    }
    if splits.class_names:
        found[LABELS] = ("\n".join(splits.class_names) + "\n").encode()
    return found


def _reference(path: Path, splits: Splits) -> dict[str, NDArray[Any]]:
    """Some validation inputs, raw where that is known, and the file's outputs."""
    model = OnnxModel(path)
    x = next(iter(splits.validation))[0][:SAMPLES]
    found = {f"input {name}": value for name, value in model.named_inputs(x).items()}
    found |= {f"output {name}": value for name, value in model.named_outputs(x).items()}
    how = splits.preparation
    if how is not None and how.bytes and x.ndim == IMAGE:
        inputs = x.numpy().astype(np.float32)
        raw = how.undone(inputs)
        if np.abs(how.done(raw) - inputs).max() < EXACT:
            found["raw"] = raw.transpose(0, 2, 3, 1)  # as decoders give them
    return found


def _npz(arrays: dict[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    save: Any = np.savez_compressed
    save(buffer, **arrays)
    return buffer.getvalue()


def _described(proto: onnx.ModelProto, splits: Splits, delivered: Delivered) -> str:
    """How an input is made, as JSON."""
    how = splits.preparation
    held = {
        "model": delivered.name,
        "inputs": [
            {"name": item.name, "shape": item.shape, "type": item.kind}
            for item in _ends(proto.graph.input)
        ],
        "outputs": [item.name for item in proto.graph.output],
        "task": splits.task.name,
        "classes": splits.classes,
        "preprocessing": None if how is None else asdict(how),
        "tolerance": TOLERANCE[delivered.precision],
        "made_by": f"edgeprune {version('edgeprune')}",
    }
    return json.dumps(held, indent=2) + "\n"


@dataclass(frozen=True)
class End:
    """An input or output of the file.

    Attributes:
        shape: None for a length that is open.
        kind: such as float32.
    """

    name: str
    shape: list[int | None]
    kind: str

    @property
    def sizes(self) -> list[int]:
        """The shape of one call."""
        return [size or 1 for size in self.shape]


def _ends(infos: Iterable[onnx.ValueInfoProto]) -> list[End]:
    found: list[End] = []
    for item in infos:
        kind = item.type.tensor_type
        shape = [axis.dim_value or None for axis in kind.shape.dim]
        name = str(helper.tensor_dtype_to_np_dtype(kind.elem_type))
        found.append(End(item.name, shape, name))
    return found


def _page(
    proto: onnx.ModelProto,
    delivered: Delivered,
    splits: Splits,
    reference: dict[str, NDArray[Any]],
    others: Sequence[Beside],
) -> str:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return environment.get_template("README.md.jinja").render(
        item=delivered,
        inputs=_ends(proto.graph.input),
        outputs=(outputs := _ends(proto.graph.output)),
        scores=isinstance(splits.task, Classification) and outputs[0].sizes[-1] > 1,
        metric=splits.task.metric,
        arrays={kind: f"{name}Array" for kind, name in KOTLIN.items()},
        buffers={kind: f"{name}Buffer" for kind, name in KOTLIN.items()},
        swift=SWIFT,
        how=splits.preparation,
        labels=bool(splits.class_names),
        raw="raw" in reference,
        others=others,
        samples=len(next(iter(reference.values()))),
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
