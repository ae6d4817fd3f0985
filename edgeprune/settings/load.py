"""From `edgeprune.toml` and what a caller gives to the settings of one command."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from edgeprune.errors import ConfigError
from edgeprune.settings.commands import (
    CompressSettings,
    FitSettings,
    GroupsSettings,
    ProfileSettings,
    ScoreSettings,
    SparsifySettings,
)
from edgeprune.settings.floor import FLOORS
from edgeprune.settings.option import SettingsModel, flag

FILE = "edgeprune.toml"
COMMANDS: tuple[type[SettingsModel], ...] = (
    CompressSettings,
    FitSettings,
    SparsifySettings,
    ProfileSettings,
    GroupsSettings,
    ScoreSettings,
)
Model = TypeVar("Model", bound=SettingsModel)


def load_settings(
    given: Mapping[str, Any],
    folder: Path,
    command: type[Model] = CompressSettings,
) -> Model:
    """Read `edgeprune.toml` in a folder; what is given wins.

    The file may hold the settings of every command; those of others are passed over.

    Args:
        given: from the command line; None is not given.

    Raises:
        ConfigError: which setting, what was found and what is expected.
    """
    path = folder / FILE
    held = read_toml(path) if path.exists() else {}
    known = {name for other in COMMANDS for name in other.options()}
    if unknown := sorted(set(held) - known):
        raise ConfigError(_unknown(unknown[0], known, f" in {path}"))
    said = {key: value for key, value in given.items() if value is not None}
    ends = {*FLOORS, "max_drop"}
    if not ends.isdisjoint(said):
        for name in ends:
            held.pop(name, None)
    if said.get("train") is False:
        held.pop("epochs", None)
    own = command.options()
    values = {name: value for name, value in held.items() if name in own} | said
    return _validated(values, command, {name: flag(name) for name in said}, path)


def settings_of_call(
    given: Mapping[str, Any], call: str, command: type[Model]
) -> Model:
    """The settings that a Python caller gives; None is not given.

    Args:
        call: what was called, for messages.

    Raises:
        ConfigError: which of them is wrong.
    """
    said = {key: value for key, value in given.items() if value is not None}
    known = {name for other in COMMANDS for name in other.options()}
    own = set(command.options())
    if foreign := sorted(set(said) & known - own):
        raise ConfigError(f"{call} has no {foreign[0]!r}.")
    if unknown := sorted(set(said) - known):
        raise ConfigError(_unknown(unknown[0], own))
    return _validated(said, command, {name: flag(name) for name in said}, Path(call))


def _validated(
    values: Mapping[str, Any],
    command: type[Model],
    shown: Mapping[str, str],
    path: Path,
) -> Model:
    """Validate; the first fault becomes one sentence that names its origin."""
    try:
        return command.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        name = str(fault["loc"][0])
        origin = shown.get(name, f"{name!r} in {path}")
        own = fault["msg"][0].lower() + fault["msg"][1:]
        expected = command.options()[name].expected or own
        message = f"{origin}: {expected}, found {values.get(name)!r}."
        raise ConfigError(message) from error


def _unknown(name: str, known: set[str], where: str = "") -> str:
    near = get_close_matches(name, known, n=1)
    advice = (
        f"did you mean {near[0]!r}?"
        if near
        else f"choose from {', '.join(sorted(known))}."
    )
    return f"Unknown setting {name!r}{where}: {advice}"


def read_toml(path: Path) -> dict[str, Any]:
    """What a file of settings holds, by their names in Python.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        held = tomllib.loads(path.read_text(encoding="utf-8"))
    except (
        OSError,
        UnicodeDecodeError,
        tomllib.TOMLDecodeError,
        RecursionError,
    ) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from error
    return {key.replace("-", "_"): value for key, value in held.items()}
