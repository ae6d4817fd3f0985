"""Files that appear whole or not at all, and results that later runs use again."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import platformdirs
from filelock import FileLock, Timeout

from edgeprune.errors import OutputError
from edgeprune.progress import LOGGER
from edgeprune.records.json import from_json, to_json
from edgeprune.temporary import temporary

Found = TypeVar("Found")

PUBLIC = 0o644  # mkstemp makes files that only their owner may read


def write_whole(path: Path, content: bytes | str) -> None:
    """Write aside, sync and rename, so that no half file is ever seen.

    Raises:
        OutputError: the folder cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        aside = Path(name)
        with temporary(aside):
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.chmod(PUBLIC)
            aside.replace(path)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error}.") from error


def cache_folder() -> Path:
    """The folder of results that later runs use again; `EDGEPRUNE_CACHE` moves it."""
    return Path(
        os.environ.get("EDGEPRUNE_CACHE") or platformdirs.user_cache_dir("edgeprune")
    )


def write_cache(path: Path, content: bytes | str) -> bool:
    """Write what a later run can use; a cache that cannot be written costs time only.

    Returns:
        Whether it was written.
    """
    try:
        write_whole(path, content)
    except OutputError as error:
        LOGGER.info("%s", error)
        return False
    return True


def locked(name: str) -> FileLock | None:
    """Lock a name among all of this user's runs; None if another run holds it.

    Raises:
        OutputError: neither the cache nor the folder of temporary files can hold locks.
    """
    file = hashlib.sha256(name.encode()).hexdigest()[:16] + ".lock"
    user = getattr(os, "getuid", lambda: "")()
    for place in (cache_folder(), Path(tempfile.gettempdir()) / f"edgeprune-{user}"):
        with suppress(OSError, NotImplementedError):
            (place / "locks").mkdir(parents=True, exist_ok=True)
            lock = FileLock(place / "locks" / file, blocking=False)
            try:
                lock.acquire()
            except Timeout:
                return None
            return lock
    raise OutputError(f"No file can be locked in {place}.")


def cached(
    kind: str,
    facts: str,
    find: Callable[[], Found],
    of: type[Found],
    valid: Callable[[Found], bool],
) -> Found:
    """Return what was found when it was first looked for on this machine.

    What was timed, and what was chosen by it, must not differ a little every time: a
    run is to be repeatable.

    Args:
        kind: of finding, as its file in the cache is called.
        facts: that it depends on.
        of: its type; where the file holds another one, or what is not valid, it is
            found anew.
    """
    key = hashlib.sha256(facts.encode()).hexdigest()[:16]
    path = cache_folder() / f"{kind}-{key}.json"
    with suppress(OSError, ValueError):
        known = from_json(of, path.read_bytes())
        if valid(known):
            return known
    found = find()
    write_cache(path, to_json(found, indent=None))
    return found


def sha256(path: Path) -> str:
    """Hash a file's content; hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
