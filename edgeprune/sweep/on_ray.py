"""Cells on the machines of a Ray cluster; a machine that goes away loses nothing.

Each cell is a task: it runs in a folder of its own on some machine and comes back as
one archive, so that machines need no disk in common. Times that steer a run are those
of the machine that it runs on; all files are timed again at the end, on one.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeprune.errors import ConfigError
from edgeprune.files import write_whole
from edgeprune.records import from_json, to_json
from edgeprune.records.sweep import CellEnd
from edgeprune.settings import CompressSettings
from edgeprune.sweep.cell import END
from edgeprune.sweep.cells import Cell
from edgeprune.sweep.local import LOG, SETTINGS, Done, run_cell

RETRIES = 5  # of a cell whose machine goes away
RUN = "run"
LEFT_HERE = (".git", "runs", "**/__pycache__")  # of the folder that machines get


def run_on_ray(
    cells: Sequence[Cell],
    folder: Path,
    notes: Path,
    address: str,
    cpus: int,
    done: Done,
) -> None:
    """Run cells on a cluster.

    Args:
        folder: where results belong, a folder for each cell.
        notes: where the logs of those without a result belong, as they do.
        address: of the cluster; "auto" finds the one that was started on this machine.
        cpus: that a cell takes.

    Raises:
        ConfigError: Ray is not installed, or there is no such cluster.
    """
    ray, here = _ray(), Path.cwd()
    left_here = [*LEFT_HERE]
    if folder.absolute().is_relative_to(here):
        left_here.append(str(folder.absolute().relative_to(here)))
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            runtime_env={"working_dir": str(here), "excludes": left_here},
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        message = f"There is no Ray cluster at {address!r}: ray start --head begins one"
        raise ConfigError(f"{message} ({error}).") from error
    try:
        for cell in cells:
            (notes / cell.name).mkdir(parents=True, exist_ok=True)
            write_whole(notes / cell.name / SETTINGS, to_json(cell.settings))
        task = ray.remote(max_retries=RETRIES, num_cpus=cpus)(run_aside)
        waiting = {task.remote(to_json(cell.settings), cpus): cell for cell in cells}
        while waiting:
            (ready,), _ = ray.wait(list(waiting), num_returns=1)
            cell = waiting.pop(ready)
            try:
                ended = unpacked(ray.get(ready), folder / cell.name, notes / cell.name)
            except Exception as error:  # noqa: BLE001  Ray's, of many kinds
                ended = CellEnd(refused=False, sentence=str(error).strip())
            done(cell, ended)
    finally:
        ray.shutdown()


def run_aside(settings: str, cpus: int) -> bytes:
    """One cell, in a folder that nobody else sees, as an archive of what it made."""
    with tempfile.TemporaryDirectory(prefix="edgeprune-cell-") as held:
        run, notes = Path(held) / RUN, Path(held) / "notes"
        own = from_json(CompressSettings, settings).model_copy(update={"out": run})
        shared = Path(tempfile.gettempdir()) / f"edgeprune-timing-{os.getuid()}"
        shared.mkdir(exist_ok=True)
        ended = run_cell(own, notes, shared, threads=cpus)
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(run.rglob("*")) if ended is None else ():
                archive.write(path, path.relative_to(run))
            if ended is not None:
                archive.writestr(END, to_json(ended))
                archive.write(notes / LOG, LOG)
        return made.getvalue()


def unpacked(archive: bytes, folder: Path, notes: Path) -> CellEnd | None:
    """Put what a cell made where it belongs; why there is nothing, if so.

    Args:
        notes: a folder for its log, where it has no result.
    """
    with zipfile.ZipFile(io.BytesIO(archive)) as held:
        if END in held.namelist():
            end = from_json(CellEnd, held.read(END))
            if LOG not in held.namelist():
                return end
            notes.mkdir(parents=True, exist_ok=True)
            write_whole(notes / LOG, held.read(LOG))
            there = re.sub(r"; see \S*$", f"; see {notes / LOG}", end.sentence)
            return replace(end, sentence=there)
        names = [name for name in held.namelist() if not name.endswith("/")]
        names.sort(key=lambda name: name == "report.json")  # which marks it as whole
        for name in names:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, held.read(name))
    return None


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        message = "--ray needs Ray: pip install 'edgeprune[ray]'."
        raise ConfigError(message) from error
