"""Records where a result comes from: settings, data, time and versions."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, TypeVar

from edgeprune.api.task import with_metric
from edgeprune.api.versions import versions
from edgeprune.data import Splits
from edgeprune.errors import ConfigError
from edgeprune.records import DataFacts
from edgeprune.settings import SettingsModel, settings_of_call
from edgeprune.tasks import Task
from edgeprune.workload import Workload

Model = TypeVar("Model", bound=SettingsModel)


def call_settings(
    model: Any, data: Any, given: dict[str, Any], command: type[Model]
) -> Model:
    """Settings of a Python caller, who may describe the model and the data by text.

    Raises:
        ConfigError: which of them is wrong.
    """
    given |= {"model": model} if isinstance(model, str) else {}
    given |= {"data": data} if isinstance(data, str) else {}
    return settings_of_call(given, f"{command.COMMAND}()", command)


def own_task(given: dict[str, Any]) -> Task | None:
    """The task that a Python caller hands over himself; settings know its name.

    Raises:
        ConfigError: it is a class, or its metric is none.
    """
    task = given.get("task")
    if isinstance(task, type) and issubclass(task, Task):
        raise ConfigError(f"--task takes a task itself: task={task.__name__}().")
    if not isinstance(task, Task):
        return None
    given["task"] = task.name
    return with_metric(task)


def origin_of(
    workload: Workload, settings: SettingsModel, seconds: float
) -> dict[str, Any]:
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
    """Describe the data for a report."""
    return DataFacts(
        splits.name,
        *splits.sizes,
        splits.classes,
        splits.sample_shape,
        splits.note,
        splits.preprocessing,
    )
