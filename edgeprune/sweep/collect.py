"""From finished cells to one table: all files timed in turn, and what is worth it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeprune.api.devices import measure_files
from edgeprune.api.several import BASELINE_FILE
from edgeprune.progress import Progress
from edgeprune.records import FileTiming, RunReport
from edgeprune.records.sweep import CellEnd, SweepCell
from edgeprune.report.files import JSON_NAME, read_report
from edgeprune.sweep.cells import Cell
from edgeprune.units import milliseconds

DOUBT = 2  # standard errors within which two accuracies are the same


@dataclass(frozen=True)
class Collected:
    """What all cells have come to.

    Attributes:
        reports: of those that have a result, by name.
        baseline_ms: of the original, by target, timed in turn with the others.
    """

    cells: tuple[SweepCell, ...]
    reports: Mapping[str, RunReport]
    baseline_ms: Mapping[str, float]


def collected(
    cells: Sequence[Cell],
    folder: Path,
    ends: Mapping[str, CellEnd],
    progress: Progress,
) -> Collected:
    """Time the files of all cells on their targets, in turn, and compare them.

    Raises:
        MeasurementError: a target does not answer.
    """
    reports = {
        cell.name: read_report(folder / cell.name)
        for cell in cells
        if (folder / cell.name / JSON_NAME).is_file()
    }
    targets = dict.fromkeys(cell.settings.target for cell in cells)
    progress.start("time all files in turn", len(targets))
    found: dict[str, SweepCell] = {}
    baseline_ms: dict[str, float] = {}
    for target in targets:
        own = [cell for cell in cells if cell.settings.target == target]
        with_results = [cell.name for cell in own if cell.name in reports]
        timed = _timed(with_results, folder, reports, target)
        for cell in own:
            end = ends.get(cell.name)
            found[cell.name] = _cell(cell, reports.get(cell.name), timed, end)
        if with_results:
            original = reports[with_results[0]].baseline.sha256
            baseline_ms[target] = timed[original].median_ms
        progress.advance(target)
    progress.finish(f"{len(reports)} of {len(cells)} cells have a result")
    return Collected(
        tuple(with_frontier([found[cell.name] for cell in cells])),
        reports,
        baseline_ms,
    )


def _timed(
    names: Sequence[str],
    folder: Path,
    reports: Mapping[str, RunReport],
    target: str,
) -> dict[str, FileTiming]:
    """The time of each file, by its hash: originals, and what counts of each cell."""
    paths: dict[str, Path] = {}
    for name in names:
        report = reports[name]
        paths.setdefault(report.baseline.sha256, folder / name / BASELINE_FILE)
        paths.setdefault(report.counted.sha256, folder / name / report.counted.file)
    if not paths:
        return {}
    measured = measure_files(list(paths.values()), target=target)
    return dict(zip(paths, measured.files, strict=True))


def _cell(
    cell: Cell,
    report: RunReport | None,
    timed: Mapping[str, FileTiming],
    end: CellEnd | None,
) -> SweepCell:
    """One row."""
    target = cell.settings.target
    if report is None:
        status = "refused" if end is not None and end.refused else "failed"
        sentence = "it was not run" if end is None else end.sentence
        return SweepCell(cell.name, cell.changes, target, status, sentence)
    small = report.counted
    ms = timed[small.sha256].median_ms
    return SweepCell(
        name=cell.name,
        changes=cell.changes,
        target=target,
        status=report.status,
        sentence=report.sentence,
        file=f"{cell.name}/{small.file}",
        accuracy=small.test_accuracy,
        latency_ms=ms,
        latency_ratio=ms / timed[report.baseline.sha256].median_ms,
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
    return ". ".join(told) + "."
