"""A file in ONNX Runtime's own format, for builds that read no other."""

from __future__ import annotations

from pathlib import Path

from onnxruntime.tools.convert_onnx_models_to_ort import (
    OptimizationStyle,
    convert_onnx_models_to_ort,
)

from edgeprune.errors import ExportError, first_line
from edgeprune.graph.forward import quiet
from edgeprune.temporary import temporary_folder

ARM = ("arm", "aarch64")


def in_ort_format(path: Path, architecture: str) -> dict[str, bytes]:
    """The file, and the operators that a reduced build needs for it, by their names.

    Args:
        path: of an ONNX file.
        architecture: of the target's processor; of an empty one nothing is assumed.

    Raises:
        ExportError: ONNX Runtime refuses.
    """
    platform = "arm" if architecture.lower().startswith(ARM) else "amd64"
    with temporary_folder() as folder:
        source = folder / path.name
        source.write_bytes(path.read_bytes())
        try:
            with quiet():
                convert_onnx_models_to_ort(
                    source,
                    optimization_styles=[OptimizationStyle.Fixed],
                    target_platform=platform if architecture else None,
                )
        except Exception as error:
            message = f"{path.name} has no ORT format: {first_line(error)}."
            raise ExportError(message) from error
        made = [one for one in folder.iterdir() if one.suffix in (".ort", ".config")]
        return {one.name: one.read_bytes() for one in made}
