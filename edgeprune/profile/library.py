"""Operator times that earlier runs have seen on a device.

The same operator, at the same positions, takes the same time in every network: what one
run has measured, the next need not measure again.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from edgeprune.devices.runner import Runner
from edgeprune.files import cache_folder, write_cache
from edgeprune.profile.fit import Known, Library
from edgeprune.profile.operators import Operator, Sample, Signature, widths_at
from edgeprune.records import from_json, to_json

ROWS = 48  # kept of a signature
SIGNATURES = 4000  # kept of a device
Row = tuple[float, float, float, float]  # width read, width made, ms, bytes of weights


@dataclass(frozen=True)
class SeenOperator:
    """The times of all operators of one signature, in any network."""

    signature: Signature
    rows: tuple[Row, ...]


class OperatorLibrary:
    """What is known of one device, with one runtime and number of threads."""

    def __init__(self, runner: Runner) -> None:
        key = hashlib.sha256(runner.key().encode()).hexdigest()[:32]
        self._path = cache_folder() / "operators" / f"{key}.json"
        self._held: dict[Signature, tuple[Row, ...]] = {}
        with suppress(OSError, ValidationError):
            held = from_json(tuple[SeenOperator, ...], self._path.read_bytes())
            self._held = {item.signature: item.rows for item in held}

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return self._path

    def of(self, reference_ms: float) -> Library:
        """What is known, in shares of a network's time."""
        return {
            signature: Known(*np.array(rows).T, reference_ms=reference_ms)
            for signature, rows in self._held.items()
        }

    def remember(
        self, operators: Sequence[Operator], samples: Sequence[Sample]
    ) -> None:
        """Add what was measured of a network; the newest rows are kept."""
        found: defaultdict[Signature, list[Row]] = defaultdict(list)
        reference_ms = np.array([sample.probe.reference_ms for sample in samples])
        sizes = np.array([float(sample.weight_bytes) for sample in samples])
        for item in operators:
            read, made = (widths_at(samples, at, 0) for at in (item.read, item.made))
            columns = np.stack([read, made, item.seen.time * reference_ms, sizes], 1)
            found[item.signature] += map(tuple, columns.tolist())
        rng = np.random.default_rng(0)
        for signature, rows in found.items():
            drawn = rng.permutation(len(rows))[:ROWS]
            before = self._held.pop(signature, ())
            self._held[signature] = (*(rows[at] for at in drawn), *before)[:ROWS]
        newest = list(self._held.items())[-SIGNATURES:]
        held = tuple(SeenOperator(signature, rows) for signature, rows in newest)
        write_cache(self._path, to_json(held, indent=None))
