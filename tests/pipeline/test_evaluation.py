"""Measuring in turn with the baseline, on a device that is made up."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from edgeprune.devices.transports import FakeTransport
from edgeprune.graph.channel_graph import build_channel_graph
from edgeprune.graph.cost import count
from edgeprune.graph.trace import trace
from edgeprune.measure.benchmark import Benchmark, Exported
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.pipeline.candidate import Candidate
from edgeprune.pipeline.evaluation import Evaluator, ReferenceTime
from edgeprune.records import Budget, PairedTiming, Plan, pressure_of
from tests.figures import timing_of
from tests.made_up import fake_runner, scripted
from tests.nets import CifarResNet

X = (torch.randn(1, 3, 16, 16),)
TURNS = 6  # of two models in three rounds


@pytest.fixture
def baseline(tmp_path):
    model = CifarResNet(2).eval()
    path = tmp_path / "baseline.onnx"
    write_onnx(model, X, path)
    return Exported(model, path, count(trace(model, X)))


def evaluator(baseline, *loads):
    """On a device that is busy at first, whose idle time is known."""
    transport = FakeTransport(load=scripted(*loads))
    benchmark = Benchmark(fake_runner(transport), X, baseline.path.parent)
    idle_ms = transport.latency_ms(baseline.path)
    found = Evaluator(benchmark, baseline, ReferenceTime([timing_of(idle_ms)] * 5))
    return found, transport, idle_ms


def half(evaluator):
    """A network of about half the width, as a file."""
    graph = build_channel_graph(evaluator.baseline.model, X)
    plan = Plan({g.name: tuple(range(g.size // 2)) for g in graph.groups})
    candidate = Candidate(evaluator.baseline.model, graph, plan)
    return evaluator.benchmark.export(candidate.network, "half")


def test_a_machine_that_is_slower_for_a_while_does_not_count(baseline):
    """All of the measurement at three times the load: the ratio is what counts."""
    held, transport, idle_ms = evaluator(baseline, *[3.0] * TURNS)
    exported = half(held)
    costs = held.costs(exported, held.time(exported))
    true_ms = transport.latency_ms(exported.path)
    assert len(transport.jobs) == 1
    assert costs.latency_ratio == pytest.approx(true_ms / idle_ms)
    assert costs.latency_ms == pytest.approx(true_ms)
    assert pressure_of(costs, Budget(latency_ms=1.01 * true_ms)) < 1


def test_a_load_that_changes_within_a_measurement_does_not_count(baseline):
    held, transport, idle_ms = evaluator(baseline, 1.0, 1.0, 2.0, 2.0, 1.0, 1.0)
    exported = half(held)
    paired = held.time(exported)
    true_ms = transport.latency_ms(exported.path)
    assert paired.ratio == pytest.approx(true_ms / idle_ms)


def test_a_measurement_that_leaves_doubt_goes_on(baseline):
    """The file has the busy turns, but not in the second measurement."""
    held, transport, idle_ms = evaluator(baseline, 1.0, 2.0, 1.0, 2.0, 1.0, 3.0)
    exported = half(held)
    paired = held.time(exported)
    assert len(transport.jobs) == 2
    assert paired.ratio == pytest.approx(transport.latency_ms(exported.path) / idle_ms)
    assert paired.doubt < 0.01


def test_the_baseline_is_its_own_measure(baseline):
    held, _, _ = evaluator(baseline, *[1.3] * 9)
    assert held.time(baseline).ratio == 1.0


def test_an_attempt_counts_what_plan_and_blocks_leave(baseline):
    held, _, _ = evaluator(baseline)
    graph = build_channel_graph(baseline.model, X)
    group = graph.group("layer3.1.conv1")
    plan = Plan({group.name: tuple(range(16))}, ("layer2.1",))
    candidate = Candidate(baseline.model, graph, plan)
    found = held.attempt(candidate, Budget(latency_ratio=0.9))
    whole = sum(item.size for item in graph.groups)
    inner = graph.group("layer2.1.conv1").size
    assert found.kept_share == pytest.approx(1 - (group.size - 16 + inner) / whole)
    assert found.bypassed == ("layer2.1",)
    assert found.macs < baseline.cost.macs
    assert found.memory_bytes > 0
    assert found.within_budget == (found.latency_ratio <= 0.9)
    assert not list(baseline.path.parent.glob("attempt*"))


def test_a_candidate_makes_its_network_once(monkeypatch):
    from edgeprune.pipeline import candidate as module

    made = []
    whole = module.apply

    def counted(*arguments):
        made.append(arguments)
        return whole(*arguments)

    monkeypatch.setattr(module, "apply", counted)
    model = CifarResNet(2).eval()
    graph = build_channel_graph(model, X)
    plan = Plan({"layer3.1.conv1": tuple(range(16))})
    candidate = Candidate(model, graph, plan)
    assert candidate.network is candidate.network
    assert isinstance(candidate.network, nn.Module)
    assert candidate.surgery.kept
    assert len(made) == 1


def test_the_reference_is_what_the_baseline_takes_as_a_rule():
    reference = ReferenceTime([timing_of(20.0)])
    for _ in range(2):
        reference.see(timing_of(10.0))
    assert reference.ms == 10.0


def test_a_ratio_is_the_median_over_pairs_of_rounds():
    """One disturbed round of six does not move it; of all samples it would be 2."""
    baseline, slow = timing_of(1.0), timing_of(2.0)
    assert PairedTiming(slow, baseline).ratio == 2.0
    mine = _rounds((0.5,), (1.0,), (6.0,), (2.0,), (3.0,), (4.0,))
    theirs = _rounds((1.0,), (2.0,), (3.0,), (4.0,), (6.0,), (8.0,))
    assert PairedTiming(mine, theirs).ratio == 0.5


def test_a_load_in_step_with_the_turns_does_not_move_a_ratio():
    """The file runs second, then first: the same turn is slow in every round."""
    paired = PairedTiming(
        _rounds((2.0,), (1.0,), (2.0,)), _rounds((1.0,), (2.0,), (1.0,))
    )
    assert paired.ratio == 1.0


def test_a_longer_run_is_interrupted_more_often_and_that_does_not_count():
    """Half of the original's samples take twice as long, and a tenth of the file's."""
    baseline = _rounds(*[(1.0, 2.0) * 10] * 3)
    file = _rounds(*[(0.5,) * 18 + (1.0,) * 2] * 3)
    assert PairedTiming(file, baseline).ratio == 0.5


def test_one_round_that_is_far_off_leaves_no_doubt():
    steady = _rounds((1.0,), (1.001,), (0.999,), (5.0,), (1.0,))
    assert steady.doubt < 0.001
    assert _rounds((1.0,), (1.1,), (0.9,), (1.2,)).doubt > 0.05
    assert _rounds((1.0,)).doubt == 0.0


def test_rounds_that_disagree_are_not_clear():
    steady = PairedTiming(_rounds((0.5,), (0.5,)), _rounds((1.0,), (1.0,)))
    assert steady.is_clear(0.6)
    assert steady.is_clear(0.4)
    later = PairedTiming(_rounds((0.7,), (0.7,)), _rounds((1.0,), (1.0,)))
    both = steady.followed_by(later)
    assert not both.is_clear(0.6)
    assert len(both.timing.rounds_ms) == 4


def _rounds(*rounds):
    return replace(timing_of(1.0), rounds_ms=rounds)


@pytest.mark.parametrize(("brief", "samples"), [(True, 4), (False, 8)])
def test_a_plan_that_is_measured_again_takes_half_of_the_time(baseline, brief, samples):
    held, _, _ = evaluator(baseline)
    timing = held.benchmark.runner.target.timing.model_copy(update={"iterations": 8})
    target = held.benchmark.runner.target.model_copy(update={"timing": timing})
    runner = replace(held.benchmark.runner, target=target)
    held = replace(held, benchmark=replace(held.benchmark, runner=runner))
    graph = build_channel_graph(baseline.model, X)
    candidate = Candidate(baseline.model, graph, Plan({}, ("layer2.1",)))
    held.attempt(candidate, Budget(latency_ratio=0.9), brief=brief)
    (found,) = candidate.timings
    for timing in (found.timing, found.baseline):
        assert {len(taken) for taken in timing.rounds_ms} == {samples}
