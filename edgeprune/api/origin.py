"""What all runs have in common: whose settings, which data, when and with what."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgeprune.config import Settings, parse_settings
from edgeprune.data import Splits
from edgeprune.errors import ConfigError
from edgeprune.records import (
    DataFacts,
)
from edgeprune.run_files import (
    versions,
)
from edgeprune.workload import Workload


def parsed(
    model: Any,
    data: Any,
    given: dict[str, Any],
    origin: str,
    foreign: Collection[str],
) -> Settings:
    """Settings of a Python caller.

    Args:
        foreign: those of other commands.

    Raises:
        ConfigError: which of them is wrong.
    """
    given = {key: value for key, value in given.items() if value is not None}
    if unknown := sorted(set(given) & set(foreign)):
        raise ConfigError(f"{origin} has no {unknown[0]!r}.")
    given |= {"model": model} if isinstance(model, str) else {}
    given |= {"data": data} if isinstance(data, str) else {}
    return parse_settings(given, set(given), Path(origin))


def origin_of(workload: Workload, settings: Settings, seconds: float) -> dict[str, Any]:
    """How a run came about."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": seconds,
        "versions": versions(),
        "settings": {
            **json.loads(settings.model_dump_json()),
            "model": workload.name,
            "data": workload.data.name,
        },
    }


def facts_of(splits: Splits) -> DataFacts:
    """What a report says of the data."""
    return DataFacts(
        splits.name, *splits.sizes, splits.classes, splits.sample_shape, splits.note
    )
