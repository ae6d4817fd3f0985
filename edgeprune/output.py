"""Output folders: claimed by one run at its start, and there as a whole at its end.

A run holds a lock on the folder's name from its beginning on, so that of two runs with
one folder the second is refused at once. Its files are written into a folder aside that
is renamed in the end: no half run is ever seen, and no file that was there is replaced.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from filelock import FileLock

from edgeprune.errors import OutputError
from edgeprune.files import locked
from edgeprune.temporary import removed_if_killed, temporary_folder

FINISHED = {
    "report.json": "a run",
    "score.json": "scores",
    "sparsity.json": "a run",
}  # what marks a folder
TARGETS = "targets"  # how the files of several targets are called
SWEEP = ".edgeprune-sweep"  # marks the folder of one
ASIDE = ".edgeprune-"  # a folder whose files are being written


def check_folder(folder: Path) -> None:
    """Refuse an output folder before any work if it could not be written later.

    Raises:
        OutputError: it holds something already, is a file, or cannot be written.
    """
    try:
        existing = next(path for path in (folder, *folder.parents) if _there(path))
        if not existing.is_dir():
            what = "a link that leads nowhere" if existing.is_symlink() else "no folder"
            raise OutputError(f"Cannot write to {folder}: {existing} is {what}.")
        if existing == folder:
            _check_empty(folder)
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise OutputError(_cannot_write(folder, error)) from error


def check_folder_of_runs(folder: Path) -> None:
    """Refuse a folder for the runs of several targets if it holds anything else.

    Such a command, given again, goes on with the runs that have ended.

    Raises:
        OutputError: it does, is a file, or cannot be written.
    """
    if not folder.is_dir():
        check_folder(folder)
        return
    for path in sorted(folder.iterdir()):
        run = path.is_dir() and (path / "report.json").is_file()
        if not (run or path.stem == TARGETS or path.name.startswith(ASIDE)):
            message = f"{folder} holds {path.name}, which is no run for a target"
            raise OutputError(f"{message}: choose a new folder as --out.")


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other runs from an output folder as long as the block runs.

    Raises:
        OutputError: another one holds it, or it could not be written.
    """
    check_folder(folder)
    lock = _lock(folder)
    if lock is None:
        message = f"Another run is about to write {folder}: choose another --out."
        raise OutputError(message)
    with lock:
        yield


@contextmanager
def claimed_sweep(folder: Path) -> Iterator[None]:
    """Keep other sweeps from a folder, which may hold what one has left.

    Raises:
        OutputError: another one holds it, or it is something else than a sweep's.
    """
    if _there(folder) and not (folder.is_dir() and _is_sweep(folder)):
        message = f"{folder} holds something else than a sweep: choose another --out."
        raise OutputError(message)
    lock = _lock(folder)
    if lock is None:
        message = f"Another sweep is writing {folder}: wait, or choose another --out."
        raise OutputError(message)
    with lock:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SWEEP).touch()
        yield


def _is_sweep(folder: Path) -> bool:
    return (folder / SWEEP).exists() or not any(folder.iterdir())


def is_free(folder: Path) -> bool:
    """Whether a folder is not there, and no run is about to write it."""
    lock = _lock(folder)
    if lock is None:
        return False
    lock.release()
    return not _there(folder)


@contextmanager
def aside(folder: Path) -> Iterator[Path]:
    """Yield a folder to write into, for `publish` to move to its place.

    Raises:
        OutputError: it cannot be written.
    """
    missing = [path for path in folder.parents if not path.exists()]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        held = _place_aside(folder)
        shutil.rmtree(held, ignore_errors=True)  # of a machine that went off
        with temporary_folder(held):
            yield held
    except OSError as error:
        raise OutputError(_cannot_write(folder, error)) from error
    finally:
        with suppress(OSError):  # no longer empty
            for path in missing:
                path.rmdir()


def publish(written: Path, folder: Path) -> Path:
    """Move what was written aside to its folder, all at once.

    Where somebody has put a file there since the run began, the result goes to the
    first free name beside it: hours of work are not lost to that.

    Returns:
        Where it is.
    """
    try:
        _check_empty(folder, written.name)
    except OutputError:
        names = (folder.with_name(f"{folder.name}-{number}") for number in count(2))
        folder = next(path for path in names if is_free(path))
    if written.parent == folder:
        moves = [(path, folder / path.name) for path in sorted(written.iterdir())]
        with removed_if_killed(*(there for _, there in moves)):
            for path, there in moves:
                path.replace(there)
        return folder
    if os.name == "nt":  # which renames nothing onto a folder
        with suppress(FileNotFoundError):
            folder.rmdir()
    written.rename(folder)
    return folder


def _check_empty(folder: Path, but: str = "") -> None:
    """Refuse a folder that holds anything else; it may be missing."""
    names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    for name, what in FINISHED.items():
        if name in names:
            message = f"{folder} already holds {what}"
            raise OutputError(f"{message}: choose another --out or move it away.")
    if foreign := [name for name in names if name != but]:
        message = f"{folder} is not empty, it holds {foreign[0]}"
        raise OutputError(f"{message}: choose a new folder as --out.")


def _place_aside(folder: Path) -> Path:
    """Beside the folder, or inside where it cannot be replaced, as a mounted one."""
    beside = os.access(folder.parent, os.W_OK) and not folder.is_mount()
    if folder.is_dir() and not beside:
        return folder / ASIDE.rstrip("-")
    return folder.parent / f"{ASIDE}{folder.name}"


def _lock(folder: Path) -> FileLock | None:
    return locked(f"output {os.path.realpath(folder)}")


def _there(path: Path) -> bool:
    """Whether there is anything of this name, a link that leads nowhere too."""
    return os.path.lexists(path)


def _cannot_write(folder: Path, error: OSError) -> str:
    return f"Cannot write to {folder}: {error.strerror or error}."
