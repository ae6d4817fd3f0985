"""Data sets by name: each loader is a file here and a line in `SOURCES`.

A data set is three splits of batches. Training data are shuffled anew each epoch, the
validation split steers decisions, the test split is read once, at the end.
"""

from __future__ import annotations

from edgeprune.data.load import SOURCES, load_data
from edgeprune.data.splits import Batches, Reading, Scale, Splits, TensorBatches

__all__ = [
    "SOURCES",
    "Batches",
    "Reading",
    "Scale",
    "Splits",
    "TensorBatches",
    "load_data",
]
