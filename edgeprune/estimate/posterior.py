"""From a few times of a device to those of any network, with an interval.

A time is the sum over the kinds of work of amount times cost, off by a factor that
nothing explains. What the logarithms of costs are on devices in general is known (the
prior: a normal distribution); a device's scale is not. Its own times then say more: by
Laplace's approximation, the logarithms of its costs are normal around the most likely
ones. (MacKay, "Information Theory, Inference, and Learning Algorithms", 2003, chapter
27.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgeprune.estimate.work import Floats

STEPS = 30  # of Gauss and Newton's method, at most
SETTLED = 1e-6  # of the logarithms, in one step
FORMS = 0.1  # deviation of a time among forms of one network; assumed, not fitted
ANY_SCALE = 10.0  # deviation of the logarithm of a device's scale: as good as unknown
WIDEST = 1.0  # of one step of a logarithm


@dataclass(frozen=True)
class Prior:
    """What is known of devices in general.

    Attributes:
        mean: logarithms of costs, in ms for each unit of work, shape (kinds,).
        covariance: of them, apart from a device's scale, shape (kinds, kinds).
        noise: deviation of a time's logarithm that costs do not explain.
        other_runtime: the same, where times are of another runtime than is asked for.
        deviations: that hold the truth four times of five, on each side.
    """

    mean: Floats
    covariance: Floats
    noise: float
    other_runtime: float
    deviations: float


@dataclass(frozen=True)
class Interval:
    """An estimated time.

    Attributes:
        low_ms, high_ms: the truth is between them four times of five.
    """

    ms: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True)
class DeviceCosts:
    """The costs of one device, as far as they are known.

    Attributes:
        logs: the most likely logarithms of its costs, shape (kinds,).
        covariance: of them.
        noise: deviation of the logarithm of a time that they do not explain.
        deviations: that an interval has on each side.
    """

    logs: Floats
    covariance: Floats
    noise: float
    deviations: float

    def ms(self, work: Floats) -> float:
        """The most likely time of some work."""
        return float(work @ np.exp(self.logs))

    def interval(self, work: Floats) -> Interval:
        """The same with the interval that holds the truth four times of five."""
        ms = self.ms(work)
        factor = math.exp(self.deviations * self.deviation(work))
        return Interval(ms, ms / factor, ms * factor)

    def deviation(self, work: Floats) -> float:
        """Of the logarithm of the time of some work."""
        shares = work * np.exp(self.logs) / self.ms(work)
        return math.sqrt(float(shares @ self.covariance @ shares) + self.noise**2)

    def corrected(
        self, works: Sequence[Floats], times_ms: Sequence[float]
    ) -> DeviceCosts:
        """The same for the forms of one network, some of which were timed there.

        What costs do not explain belongs to the network: all its forms share it, as if
        each of its costs were off by the same factor.
        """
        spread = self.covariance + self.noise**2
        found, covariance = _most_likely(self.logs, spread, FORMS, works, times_ms)
        return replace(self, logs=found, covariance=covariance, noise=FORMS)


def costs_of(
    prior: Prior, works: Sequence[Floats], times_ms: Sequence[float]
) -> DeviceCosts:
    """The costs of a device by the times of some networks there.

    Args:
        works: of the networks, each of shape (kinds,).
    """
    spread = prior.covariance + ANY_SCALE**2  # a scale is the same for all kinds
    found, covariance = _most_likely(prior.mean, spread, prior.noise, works, times_ms)
    return DeviceCosts(found, covariance, prior.noise, prior.deviations)


def _most_likely(
    mean: Floats,
    spread: Floats,
    noise: float,
    works: Sequence[Floats],
    times_ms: Sequence[float],
) -> tuple[Floats, Floats]:
    """The logarithms of costs by some times, and their covariance.

    Args:
        mean, spread: of the logarithms before, and their covariance.
        noise: deviation of a time's logarithm.
    """
    rows, logs = np.stack(works), np.log(np.array(times_ms))
    tight = np.linalg.inv(spread)
    start = mean + np.median(logs - np.log(rows @ np.exp(mean)))
    found, hessian = start, tight
    for _ in range(STEPS):
        parts = rows * np.exp(found)
        whole = parts.sum(1, keepdims=True)
        shares, off = parts / whole, logs - np.log(whole[:, 0])
        hessian = shares.T @ shares / noise**2 + tight
        gradient = shares.T @ off / noise**2 - tight @ (found - mean)
        step = np.clip(np.linalg.solve(hessian, gradient), -WIDEST, WIDEST)
        found = found + step
        if np.abs(step).max() < SETTLED:
            break
    return found, np.linalg.inv(hessian).astype(np.float64)
