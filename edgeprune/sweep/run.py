"""A sweep from its file to its table; the same command goes on where it was."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edgeprune.api.run_folder import result_in
from edgeprune.api.versions import versions
from edgeprune.errors import ConfigError
from edgeprune.files import write_whole
from edgeprune.metric import ACCURACY
from edgeprune.output import claimed_sweep
from edgeprune.progress import Progress
from edgeprune.records import to_json
from edgeprune.records.sweep import SWEEP_SCHEMA, CellEnd, SweepReport
from edgeprune.report.files import read_report
from edgeprune.report.sweep import sweep_page
from edgeprune.sweep.cells import Cell, cells_of
from edgeprune.sweep.collect import Collected, collected, sentence_of, to_ship
from edgeprune.sweep.local import SETTINGS, run_here
from edgeprune.sweep.on_ray import run_on_ray

JSON, PAGE = "sweep.json", "sweep.html"
NOTES = ".cells"  # what is known of cells while they run


@dataclass(frozen=True)
class Swept:
    """A finished sweep, and its folder."""

    report: SweepReport
    folder: Path


def sweep(
    file: Path,
    out: Path,
    progress: Progress,
    *,
    jobs: int = 1,
    ray: str | None = None,
) -> Swept:
    """Run all cells that have no result yet, and compare them.

    Args:
        jobs: cells at once on this machine; CPUs of a cell with Ray.
        ray: address of a cluster.

    Raises:
        ConfigError: the file is refused, before anything is run.
        OutputError: the folder holds something else, or another sweep is at it.
    """
    began = time.perf_counter()
    cells = cells_of(file)
    if ray is not None and any("tensorboard" in cell.settings.log for cell in cells):
        message = "TensorBoard's events would stay on the machines of the cluster"
        raise ConfigError(f"{message}: log to mlflow.")
    own = [
        Cell(
            cell.name,
            cell.changes,
            cell.settings.model_copy(update={"out": out.absolute() / cell.name}),
        )
        for cell in cells
    ]
    with claimed_sweep(out):
        ends = _run(own, out, progress, jobs=jobs, ray=ray)
        found = collected(own, out, ends, progress)
        report = report_of(found, time.perf_counter() - began)
        write_whole(out / PAGE, sweep_page(report))
        write_whole(out / JSON, to_json(report))
    return Swept(report, out)


def _run(
    cells: list[Cell], out: Path, progress: Progress, *, jobs: int, ray: str | None
) -> dict[str, CellEnd]:
    """Run what has no result; why cells have none, by name."""
    notes = out / NOTES
    ends: dict[str, CellEnd] = {}
    open_cells = [cell for cell in cells if not has_result(cell, out)]
    progress.start("cells", len(open_cells))

    def done(cell: Cell, end: CellEnd | None) -> None:
        told = end.sentence if end else read_report(out / cell.name).sentence
        if end:
            ends[cell.name] = end
        progress.advance(f"{cell.name}: {told}")

    if open_cells and ray is not None:
        run_on_ray(open_cells, out, notes, ray, jobs, done)
    elif open_cells:
        run_here(open_cells, notes, jobs, done)
    progress.finish(f"{len(cells) - len(ends)} of {len(cells)} have a result")
    return ends


def has_result(cell: Cell, out: Path) -> bool:
    """Whether a cell has ended with a result.

    A report says what the model and the data are called; the settings that the cell
    was begun with say how they were asked for.

    Raises:
        OutputError: it was begun with other settings.
    """
    folder, path = out / cell.name, out / NOTES / cell.name / SETTINGS
    if not path.is_file():
        return result_in(folder, cell.settings, "model", "data") is not None
    begun = json.loads(path.read_bytes())
    return result_in(folder, cell.settings, begun=begun) is not None


def report_of(found: Collected, seconds: float) -> SweepReport:
    """What `sweep.json` holds."""
    reports = list(found.reports.values())
    if len({report.metric.name for report in reports}) > 1:
        raise ConfigError("Cells are judged by several metrics: give one --task.")
    baseline_ms: dict[str, float] = {}
    for original in found.originals:
        baseline_ms.setdefault(original.target, original.latency_ms)
    ship = {
        target: cell.name
        for target in baseline_ms
        if (cell := to_ship(found, target)) is not None
    }
    return SweepReport(
        schema_version=SWEEP_SCHEMA,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=seconds,
        versions=versions(),
        cells=found.cells,
        baseline_ms=baseline_ms,
        baseline_accuracy=reports[0].baseline.test_accuracy if reports else None,
        ship=ship,
        sentence=sentence_of(found),
        metric=reports[0].metric if reports else ACCURACY,
        originals=found.originals,
    )
