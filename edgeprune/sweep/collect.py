"""From finished cells to one table: all files timed in turn, and what is worth it."""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from edgeprune.api.access import access_to
from edgeprune.api.devices import measured_in_turn
from edgeprune.api.loading import batch_of
from edgeprune.api.several import BASELINE_FILE
from edgeprune.errors import EdgepruneError
from edgeprune.progress import Progress
from edgeprune.records import PairedTiming, RunReport
from edgeprune.records.sweep import CellEnd, SweepCell, SweepOriginal
from edgeprune.report.files import JSON_NAME, read_report
from edgeprune.sweep.cells import Cell
from edgeprune.units import milliseconds

TOGETHER = 6  # files that are timed beside an original in one measurement
DOUBT = 2  # standard errors within which two accuracies are the same


@dataclass(frozen=True)
class Collected:
    """What all cells have come to.

    Attributes:
        reports: of those that have a result, by name.
        notes: what is to be known of their times.
    """

    cells: tuple[SweepCell, ...]
    reports: Mapping[str, RunReport]
    originals: tuple[SweepOriginal, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Timed:
    """A cell's file, timed in turn with its original.

    Attributes:
        ratio: as a share of the original's time.
    """

    ms: float
    ratio: float


def collected(
    cells: Sequence[Cell],
    folder: Path,
    ends: Mapping[str, CellEnd],
    progress: Progress,
) -> Collected:
    """Time the files of all cells on their targets, in turn, and compare them.

    Where a target does not answer, each cell has the times of its own run.
    """
    reports = {
        cell.name: read_report(folder / cell.name)
        for cell in cells
        if (folder / cell.name / JSON_NAME).is_file()
    }
    targets = dict.fromkeys(cell.settings.target for cell in cells)
    progress.start("time all files in turn", len(targets))
    timed: dict[str, Timed] = {}
    originals: list[SweepOriginal] = []
    notes: list[str] = []
    for target in targets:
        own = [cell for cell in cells if cell.settings.target == target]
        groups: dict[Hashable, list[Cell]] = {}
        for cell in own:
            if cell.name in reports:
                groups.setdefault(_original(reports[cell.name]), []).append(cell)
        for group in groups.values():
            try:
                original, times = _timed(group, folder, reports)
            except EdgepruneError as error:
                original, times = _as_run(group, reports)
                notes.append(f"On {target} times are those of each run: {error}")
            originals.append(original)
            timed |= times
        known = [reports[cell.name] for cell in own if cell.name in reports]
        if any(report.counted.is_estimate for report in known):
            notes.append(f"On {target} times are estimates.")
        progress.advance(target)
    progress.finish(f"{len(reports)} of {len(cells)} cells have a result")
    rows = [
        _cell(cell, reports.get(cell.name), timed, ends.get(cell.name))
        for cell in cells
    ]
    ranked = tuple(with_frontier(rows))
    return Collected(ranked, reports, tuple(originals), tuple(notes))


def _original(report: RunReport) -> Hashable:
    """What tells originals apart: the network, and what one call of it is."""
    held, whole = report.settings, report.baseline
    call = (held.get("batch"), held.get("dynamic_batch"), held.get("input_format"))
    return held.get("model"), whole.macs, whole.params, *call


def _timed(
    cells: Sequence[Cell], folder: Path, reports: Mapping[str, RunReport]
) -> tuple[SweepOriginal, dict[str, Timed]]:
    """The time of one original, and of what counts of each of its cells.

    A few files at a time beside it, which any device has memory for.
    """
    settings, first = cells[0].settings, reports[cells[0].name]
    whole = folder / cells[0].name / BASELINE_FILE
    originals_ms: list[float] = []
    ratios: dict[str, float] = {}
    with closing(access_to(settings).runner(batch_of(settings))) as runner:
        for start in range(0, len(cells), TOGETHER):
            names = [cell.name for cell in cells[start : start + TOGETHER]]
            paths = [folder / name / reports[name].counted.file for name in names]
            original, *others = measured_in_turn(runner, [whole, *paths])
            originals_ms.append(original.median_ms)
            for name, timing in zip(names, others, strict=True):
                ratios[name] = PairedTiming(timing, original).ratio
    ms = statistics.median(originals_ms)
    held = {name: Timed(ms * ratio, ratio) for name, ratio in ratios.items()}
    return _whole(cells[0], first, ms), held


def _as_run(
    cells: Sequence[Cell], reports: Mapping[str, RunReport]
) -> tuple[SweepOriginal, dict[str, Timed]]:
    """The times that the runs themselves took."""
    first = reports[cells[0].name]
    held: dict[str, Timed] = {}
    for cell in cells:
        report = reports[cell.name]
        ms, whole_ms = report.counted.latency_ms, report.baseline.latency_ms
        held[cell.name] = Timed(ms, ms / whole_ms)
    return _whole(cells[0], first, first.baseline.latency_ms), held


def _whole(cell: Cell, report: RunReport, ms: float) -> SweepOriginal:
    return SweepOriginal(
        target=cell.settings.target,
        model=str(report.settings["model"]),
        latency_ms=ms,
        accuracy=report.baseline.test_accuracy,
    )


def _cell(
    cell: Cell,
    report: RunReport | None,
    timed: Mapping[str, Timed],
    end: CellEnd | None,
) -> SweepCell:
    """One row."""
    target = cell.settings.target
    if report is None:
        status = "refused" if end is not None and end.refused else "failed"
        sentence = "it was not run" if end is None else end.sentence
        return SweepCell(cell.name, cell.changes, target, status, sentence)
    small, time = report.counted, timed[cell.name]
    return SweepCell(
        name=cell.name,
        changes=cell.changes,
        target=target,
        status=report.status,
        sentence=report.sentence,
        file=f"{cell.name}/{small.file}",
        accuracy=small.test_accuracy,
        latency_ms=time.ms,
        latency_ratio=time.ratio,
        size_bytes=small.size_bytes,
        macs=small.macs,
    )


def with_frontier(cells: Sequence[SweepCell]) -> Iterable[SweepCell]:
    """The same, with those marked that no other one beats."""
    for cell in cells:
        own = (cell.latency_ms, cell.accuracy)
        if cell.latency_ms is None or cell.accuracy is None:
            yield cell
            continue
        beaten = any(
            other.latency_ms <= cell.latency_ms
            and other.accuracy >= cell.accuracy
            and (other.latency_ms, other.accuracy) != own
            for other in cells
            if other.target == cell.target
            and other.latency_ms is not None
            and other.accuracy is not None
        )
        yield replace(cell, on_frontier=not beaten)


def to_ship(found: Collected, target: str) -> SweepCell | None:
    """The fastest of those that met their budget and are as accurate as the best.

    As far as the samples of the test split can tell them apart.
    """
    met = [
        cell
        for cell in found.cells
        if cell.target == target and cell.status == "met" and cell.accuracy is not None
    ]
    if not met:
        return None
    best = max(met, key=lambda cell: (cell.accuracy or 0.0, -(cell.latency_ms or 0.0)))
    report = found.reports[best.name]
    assert best.accuracy is not None
    doubt = DOUBT * report.metric.chance(best.accuracy, report.data.test)
    alike = [cell for cell in met if (cell.accuracy or 0.0) >= best.accuracy - doubt]
    return min(alike, key=lambda cell: cell.latency_ms or 0.0)


def sentence_of(found: Collected) -> str:
    """Which point to ship, on each target."""
    told: list[str] = []
    for target in dict.fromkeys(cell.target for cell in found.cells):
        cell = to_ship(found, target)
        if cell is None:
            told.append(f"On {target} no cell met its budget")
            continue
        assert cell.accuracy is not None
        assert cell.latency_ms is not None
        metric = found.reports[cell.name].metric
        told.append(
            f"On {target} ship {cell.told}: {milliseconds(cell.latency_ms)}, test "
            f"{metric.told(cell.accuracy)}; the fastest of those that met their budget "
            "and are as accurate as the best, as far as the test samples can tell"
        )
    return " ".join([". ".join(told) + ".", *found.notes])
