"""Files that appear whole or not at all, and folders that lose nothing."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import platformdirs

from edgeprune.errors import OutputError
from edgeprune.records.json import from_json, to_json

Choice = TypeVar("Choice")

FINISHED = {
    "report.json": "a run",
    "score.json": "scores",
    "sparsity.json": "a run",
}  # what marks a folder
PUBLIC = 0o644  # mkstemp makes files that only their owner may read


def write_whole(path: Path, content: bytes | str) -> None:
    """Write aside, sync and rename, so that no half file is ever seen.

    Raises:
        OutputError: the folder cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(aside).chmod(PUBLIC)
        Path(aside).replace(path)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error}.") from error


def cache_folder() -> Path:
    """The folder of results that later runs use again; `EDGEPRUNE_CACHE` moves it."""
    return Path(
        os.environ.get("EDGEPRUNE_CACHE") or platformdirs.user_cache_dir("edgeprune")
    )


def cached_choice(
    kind: str, facts: str, choices: Sequence[Choice], find: Callable[[], Choice]
) -> Choice:
    """Return what was found when it was first looked for on this machine.

    Two choices that are about as fast must not take turns: a run is to be repeatable.

    Args:
        kind: of choice, as its file in the cache is called.
        facts: that it depends on.
        choices: any other that the file holds is found anew.
    """
    key = hashlib.sha256(facts.encode()).hexdigest()[:16]
    path = cache_folder() / f"{kind}-{key}.json"
    with suppress(OSError, ValueError):
        known = from_json(type(choices[0]), path.read_bytes())
        if known in choices:
            return known
    found = find()
    with suppress(OutputError):  # it is found anew next time
        write_whole(path, to_json(found, indent=None))
    return found


def check_folder(folder: Path) -> None:
    """Refuse an output folder before any work if it could not be written later.

    Raises:
        OutputError: it holds a run already, is a file, or cannot be written.
    """
    for name, what in FINISHED.items():
        if (folder / name).exists():
            message = (
                f"{folder} already holds {what}: choose another --out or move it away."
            )
            raise OutputError(message)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise OutputError(f"Cannot write to {folder}: {existing} is no folder.")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        message = f"Cannot write to {folder}: {error.strerror or error}."
        raise OutputError(message) from error


def publish(staged: Path, folder: Path) -> None:
    """Move a finished folder's files where they belong, all that are there.

    Raises:
        OutputError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(staged.iterdir()):
            path.replace(folder / path.name)
    except OSError as error:
        raise OutputError(f"Cannot write {folder}: {error}.") from error


def sha256(path: Path) -> str:
    """Hash a file's content; hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
