"""Cells on this machine, some of them side by side."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from edgeprune.devices.alone import VARIABLE, beside
from edgeprune.files import write_whole
from edgeprune.records import from_json, to_json
from edgeprune.records.sweep import CellEnd
from edgeprune.settings import CompressSettings
from edgeprune.sweep.cell import END
from edgeprune.sweep.cells import Cell

SETTINGS, LOG = "settings.json", "log.txt"
SHARED = "timing"  # the folder that says which runs stand side by side
Done = Callable[[Cell, CellEnd | None], None]


def run_here(cells: Sequence[Cell], notes: Path, jobs: int, done: Done) -> None:
    """Run cells, so many at once.

    Args:
        notes: a folder for what is known of each while it runs.
        done: called after each, with why it has no result where it has none.
    """
    shared = notes / SHARED
    shared.mkdir(parents=True, exist_ok=True)
    for note in shared.iterdir():  # of a sweep that was killed
        note.unlink()
    threads = max(1, (os.cpu_count() or 1) // jobs)
    running: set[subprocess.Popen[bytes]] = set()

    def run(cell: Cell) -> None:
        ended = run_cell(
            cell.settings, notes / cell.name, shared, threads=threads, running=running
        )
        done(cell, ended)

    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(run, cell) for cell in cells]
        try:
            for future in futures:
                future.result()
        except BaseException:
            for future in futures:
                future.cancel()
            for process in list(running):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            raise


def run_cell(
    settings: CompressSettings,
    notes: Path,
    shared: Path,
    *,
    threads: int = 0,
    running: set[subprocess.Popen[bytes]] | None = None,
) -> CellEnd | None:
    """One cell in a process of its own; why it has no result, if it has none.

    Args:
        shared: the folder that says which runs stand side by side.
        threads: of torch; 0 leaves it open.
        running: where its process stands while it runs.
    """
    notes.mkdir(parents=True, exist_ok=True)
    (notes / END).unlink(missing_ok=True)
    write_whole(notes / SETTINGS, to_json(settings))
    own = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    command = [sys.executable, "-m", "edgeprune.sweep.cell", str(notes / SETTINGS)]
    with (notes / LOG).open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            start_new_session=True,  # so that it can be stopped as a whole
            env={**os.environ, **own, VARIABLE: str(shared.absolute())},
        )
        held = set() if running is None else running
        held.add(process)
        with beside(shared, process.pid):
            code = process.wait()
        held.discard(process)
    if code == 0:
        return None
    if (notes / END).is_file():
        return from_json(CellEnd, (notes / END).read_bytes())
    said = (notes / LOG).read_text(errors="replace").strip().splitlines()
    reason = f"its process ended with {code}" + (f" after: {said[-1]}" if said else "")
    return CellEnd(refused=False, sentence=f"{reason}; see {notes / LOG}")
