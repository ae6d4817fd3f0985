"""The versions that a result is made with; needs none of what they are of."""

from __future__ import annotations

import platform
from importlib.metadata import version

PACKAGES = ("torch", "onnx", "onnxruntime", "numpy")


def versions() -> dict[str, str]:
    """Name the versions that a result was made with."""
    return {
        "edgeprune": version("edgeprune"),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }
