"""What is said of files that were not the deployed one."""

from dataclasses import replace

import pytest
import torch

from edgeprune import stop
from edgeprune.pipeline.finalize import held_on_test, note_denormals, note_int8
from edgeprune.pipeline.job import RunLog
from edgeprune.records import AccuracyLoss, Budget
from edgeprune.settings import CompressSettings
from tests.contexts import context_of, small_net

IN_TIME, HINT = "the int8 file is within the budget", "--precision auto"


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return context_of(tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize(
    ("budget", "met", "pruned", "said"),
    [
        (Budget(latency_ms=5.0), True, True, [HINT]),
        (Budget(latency_ratio=0.5), True, True, [HINT]),
        (Budget(latency_ms=5.0), False, True, [IN_TIME, HINT]),
        (Budget(latency_ms=5.0), False, False, [IN_TIME]),  # pruned below a floor
        (Budget(latency_ms=1.0), False, True, [HINT]),
        (Budget(latency_ratio=0.1), False, True, [HINT]),
        (Budget(macs=10**9), True, True, []),
        (Budget(latency_ms=5.0, memory_bytes=10**6), False, True, []),
    ],
)
def test_a_run_in_fp32_says_that_int8_could_be_deployed(
    context, budget, met, pruned, said
):
    held = replace(context, budget=budget, log=RunLog())
    figures = replace(context.start.figures, latency_ratio=0.4, reference_ms=5.0)
    note_int8(held, figures, met=met, pruned=pruned)
    notes = held.log.notes
    assert len(notes) == len(said)
    assert all(piece in note for piece, note in zip(said, notes, strict=True))


def test_what_denormals_cost_is_measured_in_fp32(tmp_path):
    """An int8 file beside an fp32 one would take all that int8 gains for it."""
    model = small_net()
    with torch.no_grad():
        model[0].weight[0] = 1e-40
    context = context_of(tmp_path, model, precision="int8")
    assert context.start.exported.precision == "int8"
    assert context.start.exported.denormals == model[0].weight[0].numel()
    note_denormals(context, context.start)
    job, files = context.evaluator.benchmark.runner.transport.jobs[-1]
    assert job.mode == "time"
    assert [path.name for path in files] == [
        "baseline.onnx",
        "baseline.denormals.onnx",
        "baseline.onnx",
    ]
    assert f"{model[0].weight[0].numel()} denormal weights" in context.log.notes[-1]


@pytest.mark.parametrize(
    ("floor", "lost", "error", "held"),
    [
        ({"max_drop": 5.0}, 0.057, 0.004, False),
        ({"max_drop": 5.0}, 0.057, 0.005, True),  # 1.645 of them: one of twenty
        ({"max_drop": 5.0}, 0.040, 0.0, True),
        ({"max_drop": 5.0}, -0.01, 0.0, True),
        ({"accuracy_floor": 0.86}, 0.05, 0.0, False),  # 85 % of 10,000: 0.36 points
        ({"accuracy_floor": 0.855}, 0.05, 0.0, True),
    ],
)
def test_the_test_split_has_the_last_word_on_the_floor(
    context, floor, lost, error, held
):
    settings = CompressSettings(budget_ms="50%", **floor)
    told = replace(context, job=replace(context.job, settings=settings), known=True)
    figures = replace(context.baseline.figures, test_accuracy=0.9)
    loss = AccuracyLoss(lost, error, 10_000)
    decision = held_on_test(told, stop.met(0), figures, loss)
    assert (decision.verdict == "met") == held
    if not held:
        assert decision.reason.startswith("on 10000 test samples its accuracy 8")
        assert "the weights may know the validation samples" in decision.reason
    unmet = stop.Decision("exhausted", "nothing is left to remove")
    assert held_on_test(told, unmet, figures, loss) is unmet
