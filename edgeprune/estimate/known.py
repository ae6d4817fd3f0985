"""What is known of a device that is not connected: published times, and our own."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from edgeprune.errors import TargetError
from edgeprune.estimate.posterior import DeviceCosts, Prior, costs_of
from edgeprune.estimate.work import KINDS, Floats
from edgeprune.files import cache_folder, write_whole
from edgeprune.records import from_json, to_json
from edgeprune.targets import Target

PUBLISHED = Path(__file__).parent / "published.json"


@dataclass(frozen=True)
class OwnTime:
    """The time of a network that `edgeprune targets calibrate` measured on a device.

    Attributes:
        work: of the network, by kind.
    """

    network: str
    ms: float
    runtime: str
    work: tuple[float, ...]


@dataclass(frozen=True)
class KnownDevice:
    """A device as far as times of it are known.

    Attributes:
        basis: in words, for the report.
    """

    costs: DeviceCosts
    basis: str


@dataclass(frozen=True)
class _Shipped:
    source: str
    kinds: list[str]
    mean: list[float]
    covariance: list[list[float]]
    noise: float
    other_runtime: float
    deviations: float
    networks: dict[str, list[float]]


@cache
def _shipped() -> _Shipped:
    held = TypeAdapter(_Shipped).validate_json(PUBLISHED.read_bytes())
    assert tuple(held.kinds) == KINDS  # `python -m benchmarks.estimates --fit`
    return held


def shipped_prior() -> Prior:
    """What devices have in common, learned from published times."""
    held = _shipped()
    return Prior(
        np.array(held.mean),
        np.array(held.covariance),
        held.noise,
        held.other_runtime,
        held.deviations,
    )


def shipped_networks() -> dict[str, Floats]:
    """The work of networks whose times are published, by name."""
    return {name: np.array(amounts) for name, amounts in _shipped().networks.items()}


def known_device(target: Target) -> KnownDevice:
    """The costs of a target's device.

    Raises:
        TargetError: no time of it is known.
    """
    prior = shipped_prior()
    if own := own_times(target):
        works = [np.array(item.work) for item in own]
        costs = costs_of(prior, works, [item.ms for item in own])
        return KnownDevice(
            costs, f"{len(own)} networks that were measured there before"
        )
    works = shipped_networks()
    told = [
        item
        for item in target.published
        if item.model in works and item.threads == target.runtime.threads
    ]
    if not told:
        message = (
            f"Target {target.name!r}: no time of it is known that an estimate could go "
            "by: connect it once, and run `edgeprune targets calibrate "
            f"{target.name}`."
        )
        raise TargetError(message)
    costs = costs_of(
        prior, [works[item.model] for item in told], [item.latency_ms for item in told]
    )
    noise = math.hypot(prior.noise, prior.other_runtime)
    runtimes = ", ".join(sorted({item.runtime for item in told}))
    return KnownDevice(
        replace(costs, noise=noise), f"{len(told)} published times of {runtimes}"
    )


def own_times(target: Target) -> tuple[OwnTime, ...]:
    """What was measured there before, if anything was."""
    with suppress(OSError, ValidationError):
        return from_json(tuple[OwnTime, ...], _own(target).read_bytes())
    return ()


def keep_own_times(target: Target, times: tuple[OwnTime, ...]) -> None:
    """Keep what was measured there.

    Raises:
        OutputError: it cannot be written.
    """
    write_whole(_own(target), to_json(times))


def _own(target: Target) -> Path:
    name = f"{target.name}-{target.runtime.provider}-{target.runtime.threads}.json"
    return cache_folder() / "calibrated" / name
