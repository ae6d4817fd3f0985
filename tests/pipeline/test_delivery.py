"""What is said of files that were not what counted."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from edgeprune.export import deliver
from edgeprune.graph.cost import count
from edgeprune.graph.trace import trace
from edgeprune.measure.benchmark import Exported
from edgeprune.pipeline.delivery import note_denormals, note_drift, note_int8
from edgeprune.pipeline.job import Journal
from edgeprune.pipeline.trials import Trials
from edgeprune.records import Budget
from tests.figures import figures_of, timing_of

X = (torch.randn(1, 3, 8, 8),)
IN_TIME, HINT = "the int8 file is within the budget", "--precision int8"


@pytest.mark.parametrize(
    ("budget", "met", "pruned", "said"),
    [
        (Budget(latency_ms=5.0), True, True, [HINT]),
        (Budget(latency_ms=5.0), False, True, [IN_TIME, HINT]),
        (Budget(latency_ms=5.0), False, False, [IN_TIME]),  # pruning fell below a floor
        (Budget(latency_ms=1.0), False, True, [HINT]),
        (Budget(macs=10**9), True, True, []),
        (Budget(latency_ms=5.0, memory_bytes=10**6), False, True, []),
    ],
)
def test_a_run_in_fp32_says_that_int8_could_have_counted(budget, met, pruned, said):
    ground = SimpleNamespace(budget=budget, journal=Journal())
    cost = count(trace(nn.Conv2d(3, 4, 3).eval(), X))
    note_int8(ground, figures_of(cost, 2.0), met=met, pruned=pruned)
    notes = ground.journal.notes
    assert len(notes) == len(said)
    assert all(piece in note for piece, note in zip(said, notes, strict=True))


@pytest.mark.parametrize(
    ("limit_ms", "found_ms", "said"),
    [(20.0, 20.1, ["19.90 ms"]), (20.0, 19.9, []), (None, 20.1, [])],
)
def test_a_budget_that_is_met_by_a_time_above_it_is_explained(limit_ms, found_ms, said):
    trials = Trials(None, None, [24.75])
    budget = Budget(latency_ms=limit_ms)
    ground = SimpleNamespace(budget=budget, journal=Journal(), trials=trials)
    cost = count(trace(nn.Conv2d(3, 4, 3).eval(), X))
    result = SimpleNamespace(
        figures=figures_of(cost, found_ms), beside=timing_of(25.0, 25.0)
    )
    note_drift(ground, result)
    notes = ground.journal.notes
    assert len(notes) == len(said)
    assert all(note.endswith(piece) for piece, note in zip(said, notes, strict=True))


def test_what_denormals_cost_is_measured_in_fp32(monkeypatch):
    """An int8 file beside an fp32 one would take all that int8 gains for it."""
    plain, small = Path("round1.onnx"), Path("round1.int8.onnx")
    seen = []

    def timed(item, bench):
        seen.append((item.path, item.precision))
        return timing_of(4.0), timing_of(3.0)

    monkeypatch.setattr(deliver, "with_denormals", timed)
    ground = SimpleNamespace(bench=None, journal=Journal())
    item = Exported(nn.Identity(), small, None, "int8", denormals=2, made_of=plain)
    note_denormals(ground, SimpleNamespace(exported=item))
    assert seen == [(plain, "fp32")]
    assert "4.00 ms -> 3.00 ms" in ground.journal.notes[0]
