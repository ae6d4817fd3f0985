"""Rounds on disk until a run is finished, for the same command to go on from.

What took long is kept: what was found out of a network, as its scores; a round's plan
with the network that surgery, and then reconstruction, made of it; and its training, by
the training loop. Everything on disk says what it belongs to, and what does not fit or
is damaged is found anew. Times are measured anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from torch import nn

from edgeprune.errors import EdgepruneError, OutputError
from edgeprune.files import write_cache
from edgeprune.graph.model_copy import copied
from edgeprune.graph.surgery import apply_surgery_
from edgeprune.pipeline.job import RunLog
from edgeprune.records import PairedTiming, Plan, Surgery, from_json, to_json
from edgeprune.tensor_file import fingerprint, read_tensors, write_tensors

Found = TypeVar("Found")
REPLAYED = frozenset(["steps", "training"])  # of a log, by rounds that go on


@dataclass(frozen=True)
class PrunedModel:
    """The network that a round prunes, before training.

    Attributes:
        surgery: from that network to this one.
        fits: whether it is within the round's limits.
        finished: whether its layers were fitted, where they are to be.
        paired: the time of its file, whatever the weights; not kept on disk.
    """

    model: nn.Module
    surgery: Surgery
    plan: Plan
    fits: bool
    finished: bool = True
    paired: PairedTiming | None = None


@dataclass(frozen=True)
class _Record:
    """All that is kept beside the weights.

    Attributes:
        start: hash of the network that the round began with.
    """

    start: str
    surgery: Surgery
    plan: Plan
    fits: bool
    finished: bool
    log: RunLog


@dataclass(frozen=True)
class _Finding:
    """What was found out of a network.

    Attributes:
        start: hash of the network.
        content: a record as JSON.
        digest: hash of that.
    """

    start: str
    content: str
    digest: str


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

    def keep(
        self, number: int, start: nn.Module, pruned: PrunedModel, log: RunLog
    ) -> None:
        """Write a round, so that a later process has all of it or nothing."""
        if self.folder is None:
            return
        record = _Record(
            fingerprint(start.state_dict()),
            pruned.surgery,
            pruned.plan,
            pruned.fits,
            pruned.finished,
            log,
        )
        with suppress(OutputError):  # the run itself needs none of it
            facts = to_json(record, indent=None)
            write_tensors(self._path(number), pruned.model.state_dict(), facts)

    def resume(self, number: int, start: nn.Module, log: RunLog) -> PrunedModel | None:
        """Take up a round that an earlier process has kept, made of the same start.

        The log is brought to where it was then. A file that is damaged, or of
        another version or another start, is none.
        """
        if self.folder is None or not self._path(number).is_file():
            return None
        try:
            tensors, facts = read_tensors(self._path(number))
            record = from_json(_Record, facts)
            if record.start != fingerprint(start.state_dict()):
                return None
            model = copied(start)
            apply_surgery_(model, record.surgery)
            model.load_state_dict(tensors)
        except (EdgepruneError, ValidationError, RuntimeError) as error:
            log.note(f"round {number} of an earlier process is not used: {error}")
            return None
        for item in fields(RunLog):
            if item.name not in REPLAYED:
                setattr(log, item.name, getattr(record.log, item.name))
        plan = record.plan
        return PrunedModel(model, record.surgery, plan, record.fits, record.finished)

    def found(
        self, name: str, start: nn.Module, kind: type[Found], find: Callable[[], Found]
    ) -> Found:
        """What an earlier process has found out of the same network, or find it.

        Args:
            kind: the record's type.
        """
        if self.folder is None:
            return find()
        path, whose = self.folder / f"{name}.json", fingerprint(start.state_dict())
        with suppress(OSError, ValidationError):
            known = from_json(_Finding, path.read_bytes())
            if (known.start, known.digest) == (whose, _digest(known.content)):
                return from_json(kind, known.content)
        result = find()
        content = to_json(result, indent=None)
        finding = _Finding(whose, content, _digest(content))
        write_cache(path, to_json(finding, indent=None))
        return result

    def _path(self, number: int) -> Path:
        assert self.folder is not None  # checked by the caller
        return self.folder / f"round {number}.safetensors"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
