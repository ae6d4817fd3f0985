"""From settings to a finished run folder: for the command line and for Python."""

from edgeprune.api.compress import Finished, compress, compress_settings
from edgeprune.api.sparsify import Sparsified, sparsify, sparsify_settings

__all__ = [
    "Finished",
    "Sparsified",
    "compress",
    "compress_settings",
    "sparsify",
    "sparsify_settings",
]
