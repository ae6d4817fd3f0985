"""Channel groups and data as reports describe them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RefusedGroup:
    """Channels that were left alone, and why.

    Attributes:
        layers: the weights that make them.
        latency_ms: the part of these layers' time that is spent on them.
    """

    name: str
    channels: int
    reason: str
    layers: tuple[str, ...] = ()
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True)
class PrunableGroup:
    """Channels that go together, one by one.

    Attributes:
        granularity: positions of the producing layer that one channel spans.
        layers: the weights that make them, and then those that read them.
        approximate: why the removal of one changes what the others compute; empty
            where it does not.
    """

    name: str
    channels: int
    granularity: int
    layers: tuple[str, ...]
    readers: tuple[str, ...]
    approximate: str


@dataclass(frozen=True, slots=True)
class GroupsReport:
    """The output of `edgeprune groups --json`.

    Attributes:
        blocks: modules that could become an identity.
        by_value: the network looks at values, so another input may take another way.
    """

    groups: tuple[PrunableGroup, ...]
    blocks: tuple[str, ...]
    refused: tuple[RefusedGroup, ...]
    by_value: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DataFacts:
    """The data that accuracy was measured on."""

    name: str
    train: int
    validation: int
    test: int
    classes: int
    sample_shape: tuple[int, ...]
    note: str = ""
    preprocessing: str = ""
