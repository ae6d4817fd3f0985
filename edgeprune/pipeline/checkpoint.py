"""Rounds on disk until a run is finished, for the same command to go on from.

What took long is kept: a round's plan with the network that surgery and reconstruction
made of it, here, and its training, by the training loop. Times are measured anew.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from edgeprune.errors import EdgepruneError
from edgeprune.files import write_whole
from edgeprune.graph.surgery import apply_surgery_
from edgeprune.pipeline.job import RunLog
from edgeprune.records import Plan, Surgery, from_json, to_json

RECORD = "record"
REPLAYED = frozenset(["steps", "training"])  # of a log, by rounds that go on


@dataclass(frozen=True)
class PrunedModel:
    """The network that a round prunes, before training.

    Attributes:
        surgery: from that network to this one.
        fits: whether it is within the round's limits.
    """

    model: nn.Module
    surgery: Surgery
    plan: Plan
    fits: bool


@dataclass(frozen=True)
class _Record:
    """All that is kept beside the weights.

    Attributes:
        before: rounds that the network had behind it.
    """

    before: int
    surgery: Surgery
    plan: Plan
    fits: bool
    log: RunLog


@dataclass(frozen=True)
class RunCheckpoint:
    """The rounds of one run on disk.

    Attributes:
        folder: None keeps nothing.
    """

    folder: Path | None = None

    def training(self, purpose: str) -> Path | None:
        """Where a training is kept."""
        return self.folder and self.folder / f"{purpose}.safetensors"

    def keep(self, number: int, before: int, pruned: PrunedModel, log: RunLog) -> None:
        """Write a round, so that a later process has all of it or nothing."""
        if self.folder is None:
            return
        record = _Record(before, pruned.surgery, pruned.plan, pruned.fits, log)
        held = {
            key: value.detach().clone().contiguous()
            for key, value in pruned.model.state_dict().items()
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        facts = {RECORD: to_json(record, indent=None)}
        write_whole(self._path(number), save(held, facts))

    def resume(
        self, number: int, before: int, start: nn.Module, log: RunLog
    ) -> PrunedModel | None:
        """Take up a round that an earlier process has kept, made of the same start.

        The log is brought to where it was then. A file that is damaged, or of
        another version or another start, is none.
        """
        if self.folder is None or not self._path(number).is_file():
            return None
        try:
            record, tensors = _read(self._path(number))
            model = copy.deepcopy(start)
            apply_surgery_(model, record.surgery)
            model.load_state_dict(tensors)
        except (EdgepruneError, ValidationError, SafetensorError, OSError, KeyError):
            return None
        except RuntimeError:  # torch's, of tensors that do not fit
            return None
        if record.before != before:
            return None
        for item in fields(RunLog):
            if item.name not in REPLAYED:
                setattr(log, item.name, getattr(record.log, item.name))
        return PrunedModel(model, record.surgery, record.plan, record.fits)

    def _path(self, number: int) -> Path:
        assert self.folder is not None  # checked by the caller
        return self.folder / f"round {number}.safetensors"


def _read(path: Path) -> tuple[_Record, Mapping[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        record = from_json(_Record, (file.metadata() or {})[RECORD])
        keys = file.keys()
        return record, {key: file.get_tensor(key) for key in keys}
