"""A made-up report, for tests that run nothing."""

from dataclasses import replace

import torch

from edgeprune.graph.cost import count
from edgeprune.graph.trace import trace
from edgeprune.records import (
    REPORT_SCHEMA,
    Attempt,
    Budget,
    DataFacts,
    GroupLoss,
    LatencySummary,
    Parity,
    Plan,
    Quantisation,
    RefusedGroup,
    RunReport,
    Sensitivity,
    Step,
    TimingSummary,
)
from tests.figures import MACHINE, figures_of, timing_of
from tests.nets import Bottom

_COUNT = None


def _count():
    global _COUNT
    if _COUNT is None:
        _COUNT = count(trace(Bottom(), (torch.zeros(1, 3, 8, 8),)))
    return _COUNT


def figures(latency_ms=10.0, accuracy=0.9):
    return figures_of(
        _count(), latency_ms, validation_accuracy=accuracy, test_accuracy=accuracy
    )


def report(**more):
    base = RunReport(
        schema_version=REPORT_SCHEMA,
        status="met",
        sentence="Met: 6 ms.",
        created="2026-01-01T00:00:00+00:00",
        seconds=12.5,
        versions={"edgeprune": "0.1.0", "torch": "2.9"},
        machine=MACHINE,
        settings={"model": "<b>nets:net</b>", "seed": 0},
        target="host",
        budget=Budget(latency_ms=6.0),
        accuracy_floor=0.88,
        data=DataFacts("digits", 80, 10, 10, 4, (3, 8, 8)),
        baseline=figures(10.0, 0.9),
        result=figures(5.5, 0.89),
        quantisation=Quantisation(kept=False, reason="fp32 is faster here"),
        parity=(Parity("model.onnx", 10, 1e-6, 1e-7, 1.0, 1e-3, passed=True),),
        latency_model=LatencySummary(16, 2e6, 40, 64, (0.01, -0.02, 0.004), 50.0),
        scores=None,
        sensitivity=Sensitivity((GroupLoss("first", 4, 0.1),), {"block": 0.2}, 64, 2.0),
        attempts=(
            Attempt(
                round=1,
                widths={"first": 8},
                bypassed=("block",),
                kept_share=0.5,
                predicted_ms=5.0,
                latency_ms=5.5,
                macs=10,
                params=10,
                size_bytes=40,
                memory_bytes=80,
                within_budget=True,
                gap=0.004,
            ),
        ),
        steps=(
            Step("baseline", 10.0, 100, 10, 0.9, 0.9, valid=True),
            Step("round 1", 5.5, 50, 5, 0.4, 0.89, valid=True),
        ),
        training=(),
        refused=(RefusedGroup("head", 4, "output of the network"),),
        plans=(Plan({"first": (0, 1)}),),
    )
    return replace(base, **more)


def noisy(model):
    timing = timing_of(1.0, 9.0, 1.0, 9.0)
    return replace(model, timing=timing, summary=TimingSummary.of(timing))
