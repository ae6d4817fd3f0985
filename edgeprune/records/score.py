"""The findings of `edgeprune score`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeprune.metric import ACCURACY, Metric
from edgeprune.records.run import Scores, Sensitivity
from edgeprune.records.spectrum import Spectra

SCORE_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class BlockScore:
    """The score of a block.

    Attributes:
        score: by the criterion, in the unit of channels' scores; those of criteria
            without a common unit are divided by their group's mean.
        loss: measured without the block, as `Sensitivity` says.
    """

    name: str
    score: float | None
    loss: float | None


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """The content of `score.json`.

    Attributes:
        criterion: as it was asked for: one, or two with a comma between.
        sizes: channels by group.
        titles: what each group is called where people read of it.
        variance: that significant dimensions explain.
    """

    schema_version: int
    model: str
    data: str | None
    created: str
    versions: Mapping[str, str]
    criterion: str
    sizes: Mapping[str, int]
    scores: Scores
    blocks: tuple[BlockScore, ...]
    sensitivity: Sensitivity | None
    spectra: Spectra | None
    variance: float
    notes: tuple[str, ...] = ()
    metric: Metric = ACCURACY
    titles: Mapping[str, str] = field(default_factory=dict[str, str])

    def title(self, group: str) -> str:
        """What a group is called where people read of it."""
        return self.titles.get(group, group)
