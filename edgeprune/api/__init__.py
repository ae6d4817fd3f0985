"""From settings to a finished run folder: for the command line and for Python."""

from edgeprune.api.compressing import Finished, compress, compress_settings
from edgeprune.api.sparsifying import Sparsified, sparsify, sparsify_settings

__all__ = [
    "Finished",
    "Sparsified",
    "compress",
    "compress_settings",
    "sparsify",
    "sparsify_settings",
]
