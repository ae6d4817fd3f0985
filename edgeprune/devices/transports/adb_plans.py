"""Jobs as processes of a native runner, and what these printed as answers."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgeprune.devices.transports.adb_script import Case, Ran, conditions_of
from edgeprune.devices.transports.base import Job, Mode
from edgeprune.devices.worker import operators_of, turns

MINUTE_S = 60.0
Iterations = Callable[[str, Job], int]  # that a model on the phone is run for
Planner = Callable[[Job, Sequence[str], Iterations], list[Case]]
Reader = Callable[[Job, int, Sequence[Ran]], list[dict[str, Any]]]


def _nothing(job: Job, models: Sequence[str], iterations: Iterations) -> list[Case]:
    del job, models, iterations
    return []


def _in_turn(job: Job, models: Sequence[str], iterations: Iterations) -> list[Case]:
    """A process for each turn of each model."""
    return [
        _case(job, models[at], iterations, number)
        for number, at in enumerate(turns(len(models), job.recipe.rounds))
    ]


def _profiled(job: Job, models: Sequence[str], iterations: Iterations) -> list[Case]:
    return [
        _case(job, model, iterations, at, profiled=True)
        for at, model in enumerate(models)
    ]


def _probed(job: Job, models: Sequence[str], iterations: Iterations) -> list[Case]:
    """In each round the reference, then each model plain and watched, and it again."""
    reference, *others = models
    found: list[Case] = []
    for _ in range(job.recipe.rounds):
        found.append(_case(job, reference, iterations, len(found)))
        for model in others:
            found.append(_case(job, model, iterations, len(found)))
            found.append(_case(job, model, iterations, len(found), profiled=True))
            found.append(_case(job, reference, iterations, len(found)))
    return found


def _once(job: Job, models: Sequence[str], iterations: Iterations) -> list[Case]:
    del iterations
    return [Case(models[0], 0, 2, job.seed)]


def _for_long(job: Job, models: Sequence[str], iterations: Iterations) -> list[Case]:
    """A process for each minute, one right after the other."""
    minutes = max(1, round(job.sustained_s / MINUTE_S))
    once = iterations(models[0], job)
    return [Case(models[0], 0, once, job.seed + at) for at in range(minutes)]


def _case(
    job: Job,
    model: str,
    iterations: Iterations,
    number: int,
    *,
    profiled: bool = False,
) -> Case:
    count = iterations(model, job)
    return Case(model, job.recipe.warmup, count, job.seed + number, profiled)


PLANS: Mapping[Mode, Planner] = {
    "describe": _nothing,
    "time": _in_turn,
    "profile": _profiled,
    "probe": _probed,
    "memory": _once,
    "sustain": _for_long,
}


def _read_nothing(job: Job, models: int, ran: Sequence[Ran]) -> list[dict[str, Any]]:
    del job, models, ran
    return []


def _read_turns(job: Job, models: int, ran: Sequence[Ran]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"rounds_ms": [], "warmup_ms": [], "provider": job.runtime.provider}
        for _ in range(models)
    ]
    order = turns(models, job.recipe.rounds)
    for at, item in zip(order, ran, strict=True):
        timings = item.report["timings"]
        found[at]["rounds_ms"].append(timings["measured_ms"])
        found[at]["warmup_ms"] += timings["warmup_ms"]
        found[at]["load_ms"] = item.report["load_ms"]
    return found


def _read_profiles(job: Job, models: int, ran: Sequence[Ran]) -> list[dict[str, Any]]:
    del models
    return [{"nodes": _nodes(job, item)} for item in ran]


def _nodes(job: Job, item: Ran) -> list[dict[str, Any]]:
    events = [event for event in item.trace if "cat" in event]
    return operators_of(events, job.recipe.warmup)


def _read_probes(job: Job, models: int, ran: Sequence[Ran]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"reference_ms": [], "samples_ms": [], "nodes": []} for _ in range(models - 1)
    ]
    each = 1 + 3 * (models - 1)
    for start in range(0, len(ran), each):
        part = [item.report["timings"]["measured_ms"] for item in ran[start:][:each]]
        for at, answer in enumerate(found):
            before, plain, after = part[3 * at], part[3 * at + 1], part[3 * at + 3]
            answer["samples_ms"].append(plain)
            answer["reference_ms"].append([*before, *after])
            answer["nodes"].append(_nodes(job, ran[start + 3 * at + 2]))
    return found


def _read_memory(job: Job, models: int, ran: Sequence[Ran]) -> list[dict[str, Any]]:
    del job, models
    held = ran[0].report["memory"]
    weights, working = (
        (held.get(name) or {}).get("pss_bytes") for name in ("weights", "working_set")
    )
    return [
        {
            "process_peak_bytes": (weights or 0) + (working or 0),
            "run_peak_bytes": working,
        }
    ]


def _read_minutes(job: Job, models: int, ran: Sequence[Ran]) -> list[dict[str, Any]]:
    del job, models
    afterwards = [*(item.state for item in ran[1:]), ""]
    return [
        {
            "median_ms": statistics.median(item.report["timings"]["measured_ms"]),
            "runs": len(item.report["timings"]["measured_ms"]),
            "after": conditions_of(after),
        }
        for item, after in zip(ran, afterwards, strict=True)
    ]


READERS: Mapping[Mode, Reader] = {
    "describe": _read_nothing,
    "time": _read_turns,
    "profile": _read_profiles,
    "probe": _read_probes,
    "memory": _read_memory,
    "sustain": _read_minutes,
}
