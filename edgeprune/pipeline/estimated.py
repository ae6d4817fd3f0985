"""What a run says, and what counts, where its device is not connected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeprune import stop
from edgeprune.estimate.transport import EstimatedTransport
from edgeprune.pipeline.context import RunContext
from edgeprune.pipeline.job import ModelSnapshot
from edgeprune.units import milliseconds


def held_on_estimate(
    context: RunContext, decision: stop.Decision, result: ModelSnapshot
) -> stop.Decision:
    """Say how sure an estimate is; it meets no budget that was not to go by one.

    With times that somebody took by hand, only a file that is among them counts.
    """
    transport = context.job.runner.transport
    if not isinstance(transport, EstimatedTransport):
        return decision
    path = result.exported.path
    if unknown := transport.unknown:
        context.log.note(
            f"{unknown} files of {context.settings.measurements} correct no estimate: "
            "what they compute is not known; add them with `edgeprune measure`"
        )
    if transport.is_told(path):
        return decision
    _note(context, transport, path)
    allowed = context.settings.allow_estimate or not context.limits.limits_time
    if decision.verdict != "met" or allowed:
        return decision
    baseline = context.baseline.exported.path
    first = "" if transport.is_told(baseline) else "baseline.onnx and "
    reason = (
        f"the result was not timed on {context.settings.target} yet: time {first}"
        f"model.onnx there, add that to {context.settings.measurements}, and give the "
        "same command with another --out, which goes on from here"
    )
    return replace(decision, verdict="untimed", reason=reason)


def _note(context: RunContext, transport: EstimatedTransport, path: Path) -> None:
    batch = context.job.runner.batch
    found = transport.interval(path, batch)
    context.log.note(
        f"{context.settings.target} was not connected: times that nobody took there "
        "are estimated; that of the result lies between "
        f"{milliseconds(found.low_ms)} and {milliseconds(found.high_ms)} four times of "
        "five"
    )
