"""Which layers run in int8? Those where that wins milliseconds and loses little.

An operator in int8 is not always faster: it depends on its shape, on the kernels of the
runtime, and on what its neighbours compute in, since values are converted at every
border. So both forms are profiled on the device, and the nodes that are better left in
float come out of a program (`edgeprune.quantize.node_times`). A profile is not all of
the truth, so a few solutions are written and timed, and the fastest file that is
accurate enough counts. Where none is, the program also has a limit on the error: what
each part alone adds to that of the outputs is measured, and the squares add up. So it
has where the fastest is far off: parts that spoil the outputs may win no time that can
be measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import onnx
from torch import Tensor

from edgeprune.devices.runner import NodeTime, Runner
from edgeprune.errors import DeviceError
from edgeprune.files import write_whole
from edgeprune.graph.forward import quiet
from edgeprune.quantize.form import AS_USUAL, Int8Form
from edgeprune.quantize.node_times import NodeTimes
from edgeprune.quantize.quantize import (
    SAMPLES,
    SHORT,
    Candidate,
    FloatNetwork,
    Weigh,
    refusing,
)
from edgeprune.temporary import temporary_folder

BORDERS = (1.0, 3.0, 0.3)  # times as much as conversions seem to take
LIMITS = (0.5, 0.25, 0.1, 0.03, 0.01)  # of the squared error of all in int8
EVEN = 0.02  # of a time: less is not told from nothing
Accepts = Callable[[Path], bool]


@dataclass(frozen=True)
class DeviceClock:
    """Times files on a device."""

    runner: Runner

    def nodes(self, path: Path) -> list[NodeTime]:
        """The operators of a file as they ran; none where the device cannot tell."""
        try:
            return self.runner.profile(path)
        except DeviceError as error:
            if error.failure != "unsupported":
                raise
            return []

    def together(self, paths: Sequence[Path]) -> list[float]:
        """Times of files in shares of the first one's, in one measurement."""
        first, *others = self.runner.time(paths)
        return [1.0, *(item.median_ms / first.median_ms for item in others)]


@dataclass(frozen=True)
class Mixed:
    """What came of it.

    Attributes:
        share: the file's time as a share of the float file's.
        in_float: nodes that stay in float though they could be int8.
        nodes: how many could be.
        accepted: whether it is accurate enough.
    """

    share: float
    in_float: tuple[str, ...]
    nodes: int
    accepted: bool = True

    @property
    def text(self) -> str:
        """How many nodes stay in float."""
        if not self.in_float:
            return "none"
        return f"{len(self.in_float)} of {self.nodes}"


def mixed(  # noqa: PLR0913  what is written, and how it is judged
    source: Path,
    target: Path,
    batches: Iterable[tuple[Tensor, Tensor]],
    clock: DeviceClock,
    *,
    form: Int8Form = AS_USUAL,
    accepts: Accepts | None = None,
    weigh: Weigh | None = None,
) -> Mixed:
    """Write the fastest int8 version of an ONNX file that is accurate enough.

    Args:
        accepts: whether a file is; all are by default.
        weigh: how much each number of a single output counts; all alike by default.

    Raises:
        ExportError: ONNX Runtime refuses.
        DeviceError: the device does.
    """
    with temporary_folder() as folder, quiet():
        with refusing(source):
            network = FloatNetwork.of(source, batches, SAMPLES, folder, weigh)
            how = network.best(form)
        choice = _Choice(source, network, how, form, clock, folder)
        found, path = choice.fastest(accepts or (lambda _: True))
        write_whole(target, path.read_bytes())
    return found


@dataclass(frozen=True)
class _Choice:
    """Writes a network with some nodes in float, and chooses which.

    Attributes:
        how: all else is quantised.
    """

    source: Path
    network: FloatNetwork
    how: Candidate
    form: Int8Form
    clock: DeviceClock
    folder: Path

    def fastest(self, accepts: Accepts) -> tuple[Mixed, Path]:
        """The fastest file that is accepted; where none is, the most accurate one."""
        sets = [frozenset[str]()]
        for borders in BORDERS:
            found = self.times.slow_in_int8(borders)
            if found not in sets and len(found) < len(self.times.able):
                sets.append(found)
        shares = dict(self._shares(sets))
        best = min(sets, key=lambda item: shares[item])
        if best != sets[0]:  # which has to be true twice
            for held, share in self._shares([sets[0], best]).items():
                shares[held] = (shares[held] + share) / 2
        for held in sorted(sets, key=lambda item: shares[item]):
            if accepts(self.fitted(held)):
                held, share = self._spared(held, shares[held], accepts)
                return self._outcome(held, share), self.fitted(held)
        return self._accurate(accepts, sets[0])

    def _spared(
        self, held: frozenset[str], share: float, accepts: Accepts
    ) -> tuple[frozenset[str], float]:
        """The most accurate of those that take no longer than one that is far off."""
        error = self._error(self.fitted(held))
        if error < SHORT:
            return held, share
        sets = [*dict.fromkeys([held, *self._lifted()])]
        shares = self._shares(sets)
        for other in reversed(sets):
            longer = shares[other] / shares[held]
            if longer > 1 + EVEN or self._error(self.written(other)) >= error:
                continue
            if accepts(self.fitted(other)):
                return other, share * longer
        return held, share

    def _accurate(self, accepts: Accepts, last: frozenset[str]) -> tuple[Mixed, Path]:
        """The same with less and less error."""
        accepted = False
        for held in self._lifted():
            if held == last:
                continue
            last, accepted = held, accepts(self.fitted(held))
            if accepted:
                break
        share = self._shares([last])[last]
        outcome = replace(self._outcome(last, share), accepted=accepted)
        return outcome, self.fitted(last)

    def _lifted(self) -> Iterator[frozenset[str]]:
        """Choices of less and less error."""
        whole = sum(error**2 for error in self.errors.values())
        for limit in LIMITS:
            yield self.times.slow_in_int8(1.0, self.errors, limit * whole)

    def _error(self, path: Path) -> float:
        with refusing(self.source):
            return self.network.error(onnx.load(path))

    def _shares(self, sets: Sequence[frozenset[str]]) -> Mapping[frozenset[str], float]:
        paths = [self.written(held) for held in sets]
        shares = self.clock.together([self.source, *paths])[1:]
        return dict(zip(sets, shares, strict=True))

    def _outcome(self, held: frozenset[str], share: float) -> Mixed:
        return Mixed(share, tuple(sorted(held)), len(self.times.able))

    @cached_property
    def times(self) -> NodeTimes:
        """What nodes take in both forms."""
        plain = self.folder / "float.onnx"
        onnx.save(self.network.proto, plain)
        small = self.clock.nodes(self.written(frozenset()))
        return NodeTimes(self.network.proto, self.clock.nodes(plain), small)

    @cached_property
    def errors(self) -> dict[str, float]:
        """What each unit alone adds to the error of the outputs."""
        times, found = self.times, dict[str, float]()
        members: dict[str, set[str]] = {}
        for name in times.able:
            members.setdefault(times.unit(name), set()).add(name)
        for unit, own in members.items():
            form = replace(self.form, in_float=(*self.form.in_float, *times.able - own))
            with refusing(self.source):
                found[unit] = self.network.error(self.network.quantized(form, self.how))
        return found

    def fitted(self, held: frozenset[str]) -> Path:
        """The same with its layers fitted, where it falls short without."""
        path = self.written(held).with_suffix(".fitted.onnx")
        if not path.exists():
            with refusing(self.source):
                proto = onnx.load(self.written(held))
                onnx.save(self.network.improved(proto, self.form), path)
        return path

    def written(self, held: frozenset[str]) -> Path:
        """The file with these nodes in float."""
        path = self.folder / f"{abs(hash(held)):x}.onnx"
        if not path.exists():
            form = replace(self.form, in_float=(*self.form.in_float, *held))
            with refusing(self.source):
                onnx.save(self.network.delivered(form, self.how), path)
        return path
