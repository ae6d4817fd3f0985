"""What all runs have in common: whose settings, which data, when and with what."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgeprune.config import Settings, parse_settings
from edgeprune.data import Splits
from edgeprune.records import (
    DataFacts,
)
from edgeprune.run_files import (
    versions,
)
from edgeprune.workload import Workload


def parsed(model: Any, data: Any, given: dict[str, Any], origin: str) -> Settings:
    """Settings of a Python caller.

    Raises:
        ConfigError: which of them is wrong.
    """
    given = {key: value for key, value in given.items() if value is not None}
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
