"""What a round may take of the time, and when it is undone."""

from dataclasses import replace

import pytest

from edgeprune.errors import TraceError
from edgeprune.pipeline import rounds as rounds_module
from edgeprune.pipeline.checkpoint import PrunedModel
from edgeprune.pipeline.job import RunLog
from edgeprune.pipeline.rounds import Rounds
from edgeprune.pipeline.training import Trainings
from edgeprune.prune.growth import doubled, widened
from edgeprune.records import Budget, Plan, Surgery
from tests.contexts import context_of, small_net

BEFORE = 0.5  # of the baseline's time, what the round's start takes


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return context_of(tmp_path_factory.mktemp("run"), growth="wider", epochs=2)


@pytest.fixture
def fresh(context):
    """The same, with nothing taken down yet."""
    return replace(context, log=RunLog())


def told(context, **settings):
    """The same with other settings."""
    asked = context.settings.model_copy(update=settings)
    return replace(context, job=replace(context.job, settings=asked))


def with_accuracy(snapshot, accuracy):
    return replace(
        snapshot, figures=replace(snapshot.figures, validation_accuracy=accuracy)
    )


@pytest.mark.parametrize(
    ("budget", "slowest"),
    [
        (Budget(latency_ms=3.0), BEFORE),
        (Budget(latency_ratio=0.4), BEFORE),
        (Budget(), BEFORE),  # until the floor: time is what is saved
        (Budget(params=100), 1.0),
        (Budget(latency_ms=3.0, params=100), BEFORE),
    ],
)
def test_only_where_time_is_asked_for_each_round_must_save_some(fresh, budget, slowest):
    start = fresh.start
    start = replace(start, costs=replace(start.costs, latency_ratio=BEFORE))
    assert Rounds(replace(fresh, budget=budget)).slowest(start) == slowest


@pytest.mark.parametrize(
    ("int8", "goal", "enough"),
    [
        (None, 1.0, 0.9),
        (0.93, 1.0, 0.92),  # what quantizing costs is asked for on top
        (0.96, 1.0, 0.9),
        (0.93, 1.5, 0.92),
        (0.85, 1.5, 0.95),  # on the way, no more than the original has
    ],
)
def test_training_ends_where_the_deployed_file_is_at_the_floor(
    fresh, int8, goal, enough
):
    baseline = with_accuracy(fresh.baseline, 0.95)
    start = with_accuracy(fresh.start, 0.95 if int8 is None else int8)
    held = told(fresh, stop_at_floor=True, distil="no", growth="no")
    held = replace(held, baseline=baseline, start=start, floor=0.9)
    found = Trainings(held).finetune_config("x", goal).enough
    assert found == pytest.approx(enough)


@pytest.mark.parametrize(
    ("accuracy", "epochs", "said"),
    [
        (0.9, 0, "left out"),
        (0.95, 0, "left out"),
        (0.89, 1, "short"),  # a standard error of 60 samples is 3.9 points
        (0.5, 3, ""),
    ],
)
def test_training_is_in_proportion_to_what_is_missing(fresh, accuracy, epochs, said):
    held = told(fresh, epochs=None, growth="no")
    held = replace(held, baseline=with_accuracy(fresh.baseline, 0.9))
    usual = Trainings(held).finetune_config("x", 1.0).epochs
    trainings = Trainings(held)
    assert trainings.in_proportion
    found = trainings.finetune_config("x", 1.0, accuracy).epochs
    assert found == {0: 0, 1: -(-usual // 3), 3: usual}[epochs]
    assert any(said in note for note in held.log.notes) == bool(said)


@pytest.mark.parametrize(
    "asked",
    [
        {"epochs": 3},
        {"minutes": 1.0, "epochs": None},
        {"effort": "best", "epochs": None},
        {"train": False, "epochs": None},
    ],
)
def test_training_is_as_long_as_was_asked_for(fresh, asked):
    assert not Trainings(told(fresh, growth="no", **asked)).in_proportion


@pytest.mark.parametrize(("most", "kept"), [(8.0, True), (1.0, False)])
def test_growth_over_the_budget_is_undone(fresh, most, kept):
    """The measured network decides, whatever was predicted."""
    wide, able = widened(small_net(), fresh.profile.graph)
    assert able
    plan = Plan({}, copies=doubled(fresh.profile.graph, able))
    pruned = PrunedModel(wide, Surgery(), plan, fits=True)
    start = with_accuracy(fresh.start, 0.0)
    grown = Rounds(fresh).grow(start, pruned, Budget(latency_ratio=most))
    assert (grown is not None) == kept
    assert any("was undone" in note for note in fresh.log.notes) != kept


def test_a_network_that_cannot_be_fitted_goes_on_as_it_is(fresh, monkeypatch):
    """Said to a reader, and not taken for a reconstruction."""

    def refuse(*_):
        raise TraceError("it takes another way")

    from edgeprune.pipeline.candidate import Candidate

    monkeypatch.setattr(rounds_module, "reconstruct", refuse)
    plan = Plan({"0": tuple(range(16))})
    cut = Candidate(fresh.start.model, fresh.profile.graph, plan)
    pruned = PrunedModel(cut.network, cut.surgery, plan, fits=True, finished=False)
    found = Rounds(fresh)._reconstructed("round 1", fresh.start, pruned)
    assert found is pruned.model
    assert not fresh.log.reconstructions
    assert fresh.log.notes == ["not reconstructed: it takes another way"]
