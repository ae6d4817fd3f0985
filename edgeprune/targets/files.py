"""Find, read and validate target files."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import platformdirs
from pydantic import ValidationError

from edgeprune.errors import TargetError
from edgeprune.records.json import fault_text
from edgeprune.targets.schema import Target

Table = Mapping[str, Any]
DEEPEST = 4  # files that stand on each other


def load(name: str) -> Target:
    """A target by its name or the path of a TOML file.

    Raises:
        TargetError: there is none of that name, or the file is not a target.
    """
    path = _find(name)
    text = _text(path)
    own = _toml(path, text)
    content = {**_with_base(path, own, DEEPEST), "name": own.get("name", path.stem)}
    try:
        return Target.model_validate(content)
    except ValidationError as error:
        raise TargetError(_explain(path, text, error)) from error


def available() -> dict[str, Path]:
    """The targets by name, with their files: of this folder, the user's, shipped ones.

    Of two of the same name the first counts.
    """
    found: dict[str, Path] = {}
    for folder in sources():
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def sources() -> tuple[Path, ...]:
    """The folders of target files, in the order in which they are looked through.

    `EDGEPRUNE_CONFIG` moves the user's.
    """
    own = os.environ.get("EDGEPRUNE_CONFIG") or platformdirs.user_config_dir(
        "edgeprune"
    )
    return Path("targets"), Path(own) / "targets", _shipped()


def _shipped() -> Path:
    package = Path(__file__).parents[1]
    packaged = package / "_targets"
    return packaged if packaged.is_dir() else package.parent / "targets"


def _find(name: str) -> Path:
    if name.endswith(".toml"):
        return Path(name)
    known = available()
    if name not in known:
        message = (
            f"Unknown target {name!r}: choose one of {', '.join(known)}, or give the "
            "path of a .toml file."
        )
        raise TargetError(message)
    return known[name]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TargetError(
            f"Target file {str(path)!r} cannot be read: {error}."
        ) from error


def _toml(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise TargetError(f"Target file {path} is not TOML: {error}.") from error


def _with_base(path: Path, content: dict[str, Any], deep: int) -> dict[str, Any]:
    """What a file says, and what the files that it stands on say beside that."""
    base = content.get("base")
    if not isinstance(base, str):
        return content
    if not deep:
        message = f"Target file {path} stands on more than {DEEPEST} others, or itself."
        raise TargetError(message)
    if base == path.stem:  # a file of the user's by the name of a shipped one
        below = _shipped() / f"{base}.toml"
    else:
        named = available().get(base, Path(f"{base}.toml"))
        below = path.parent / base if base.endswith(".toml") else named
    if not below.is_file():
        message = f"{path}:{_line(_text(path), ['base'])}: base: there is no {base!r}."
        raise TargetError(message)
    held = _with_base(below, _toml(below, _text(below)), deep - 1)
    return _merged(held, content)


def _merged(held: Table, own: Table) -> dict[str, Any]:
    found = dict(held)
    for key, value in own.items():
        before = found.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            found[key] = _merged(cast("Table", before), cast("Table", value))
        else:
            found[key] = value
    return found


def _explain(path: Path, text: str, error: ValidationError) -> str:
    """One sentence with the line of the first fault."""
    keys = [str(key) for key in error.errors()[0]["loc"]]
    return f"{path}:{_line(text, keys)}: {fault_text(error)}."


def _line(text: str, keys: list[str]) -> int:
    """The line of a key, or of the innermost table that should hold it."""
    lines = text.splitlines()
    at = 0
    for depth, key in enumerate(keys):
        table = re.compile(rf"\s*\[+\s*{re.escape('.'.join(keys[: depth + 1]))}\s*\]+")
        entry = re.compile(rf"\s*{re.escape(key)}\s*=")
        for number in range(at, len(lines)):
            if table.match(lines[number]) or entry.match(lines[number]):
                at = number
                break
    return at + 1
