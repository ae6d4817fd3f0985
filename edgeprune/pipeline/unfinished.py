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
from edgeprune.graph.surgery import operate_
from edgeprune.pipeline.job import Journal
from edgeprune.records import Plan, Surgery, from_json, to_json

RECORD = "record"
REPLAYED = frozenset(["steps", "training"])  # of a journal, by rounds that go on


@dataclass(frozen=True)
class Changed:
    """What a round makes of the network that it starts from, before training.

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
    """What there is beside the weights.

    Attributes:
        before: rounds that the network had behind it.
    """

    before: int
    surgery: Surgery
    plan: Plan
    fits: bool
    journal: Journal


@dataclass(frozen=True)
class Unfinished:
    """The rounds of one run.

    Attributes:
        folder: None keeps nothing.
    """

    folder: Path | None = None

    def training(self, purpose: str) -> Path | None:
        """Where a training is kept."""
        return self.folder and self.folder / f"{purpose}.safetensors"

    def keep(
        self, number: int, before: int, changed: Changed, journal: Journal
    ) -> None:
        """Write a round, so that a later process has all of it or nothing."""
        if self.folder is None:
            return
        record = _Record(before, changed.surgery, changed.plan, changed.fits, journal)
        held = {
            key: value.detach().clone().contiguous()
            for key, value in changed.model.state_dict().items()
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        facts = {RECORD: to_json(record, indent=None)}
        write_whole(self._path(number), save(held, facts))

    def found(
        self, number: int, before: int, start: nn.Module, journal: Journal
    ) -> Changed | None:
        """A round that an earlier process has kept, made of the same start.

        The journal is brought to where it was then. A file that is damaged, or of
        another version or another start, is none.
        """
        if self.folder is None or not self._path(number).is_file():
            return None
        try:
            record, tensors = _read(self._path(number))
            model = copy.deepcopy(start)
            operate_(model, record.surgery)
            model.load_state_dict(tensors)
        except (EdgepruneError, ValidationError, SafetensorError, OSError, KeyError):
            return None
        except RuntimeError:  # torch's, of tensors that do not fit
            return None
        if record.before != before:
            return None
        for item in fields(Journal):
            if item.name not in REPLAYED:
                setattr(journal, item.name, getattr(record.journal, item.name))
        return Changed(model, record.surgery, record.plan, record.fits)

    def _path(self, number: int) -> Path:
        assert self.folder is not None  # checked by the caller
        return self.folder / f"round {number}.safetensors"


def _read(path: Path) -> tuple[_Record, Mapping[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        record = from_json(_Record, (file.metadata() or {})[RECORD])
        keys = file.keys()
        return record, {key: file.get_tensor(key) for key in keys}
