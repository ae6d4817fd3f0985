"""What every file of a run says of itself."""

from __future__ import annotations

import json
from importlib.metadata import version

from edgeprune.pipeline.job import Job

MOST_LABELS = 64 * 1024  # characters; more would be seen in the size of the file


def description(job: Job) -> dict[str, str]:
    """How inputs are made, what outputs mean, and what made the file."""
    data, how = job.data, job.data.preparation
    facts = {
        "task": data.task.name,
        "made_by": f"edgeprune {version('edgeprune')}",
        "run": job.run_id,
    }
    if how is not None:
        facts |= {
            "mean": _listed(how.mean),
            "std": _listed(how.std),
            "divide_by": f"{how.divide_by:g}",
            "channel_order": how.channels,
            "value_range": "0,255" if how.bytes else "",
        }
    labels = json.dumps(data.class_names, ensure_ascii=False)
    if data.class_names and len(labels) <= MOST_LABELS:
        facts["labels"] = labels
    return {key: value for key, value in facts.items() if value}


def _listed(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:.9g}" for value in values)
