"""A training that is killed goes on where it was."""

import pytest
import torch
from torch import nn

from edgeprune.finetune import loop
from edgeprune.finetune.config import TrainingConfig
from edgeprune.finetune.constraint import Schedule
from edgeprune.finetune.loop import train
from edgeprune.finetune.process_group import ProcessGroup
from edgeprune.finetune.resume import CheckpointSelector, keep, resume_
from edgeprune.finetune.state import load_state
from edgeprune.finetune.trainer import Trainer
from edgeprune.graph.channels import Channels
from edgeprune.graph.survey import survey
from edgeprune.sparse import masks
from edgeprune.sparse.bayesian import Variational
from edgeprune.sparse.masked import Masked
from edgeprune.sparse.penalised import Penalised
from edgeprune.sparse.penalties import Blocks
from tests.commands import KilledError
from tests.data_sets import splits
from tests.nets import Bottom


def constraints(model):
    graph = survey(model, (torch.randn(2, 3, 8, 8),))
    channels = Channels(model, graph.groups)
    yield lambda: Masked(masks.magnitude(model, graph), Schedule(0.8))
    yield lambda: Penalised(Blocks(channels, channels.made, even=True), 0.5)
    yield lambda: Variational(
        channels, 240, 0.5, generator=torch.Generator().manual_seed(0)
    )


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_killed_training_goes_on_with_its_zeros(
    monkeypatch, tmp_path, optimizer, number
):
    torch.manual_seed(0)
    model = Bottom(8)
    make = list(constraints(model))[number]
    path = tmp_path / "deep" / "state.safetensors"
    settings = {
        "learning_rate": 0.02 if optimizer == "sgd" else 2e-3,
        "optimizer": optimizer,
        "average": 0.5,
        "state": path,
    }
    epochs = []
    whole = Trainer.epoch

    def dying(self, data, number):
        if len(epochs) == 4:
            raise KilledError
        epochs.append(1)
        return whole(self, data, number)

    monkeypatch.setattr(loop, "fastest_format", lambda *_: loop.PLAIN)
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "epoch", dying)
        with pytest.raises(KilledError):
            train(
                model, splits(), TrainingConfig("x", 6, constraint=make(), **settings)
            )
    assert path.is_file()
    again = make()
    monkeypatch.setattr(Trainer, "epoch", counted := _counting(whole))
    trained, history = train(
        model, splits(), TrainingConfig("x", 6, constraint=again, **settings)
    )
    assert counted.calls == 2
    assert [epoch.number for epoch in history.epochs] == [1, 2, 3, 4, 5, 6]
    at_once = TrainingConfig("x", 6, constraint=make(), **{**settings, "state": None})
    expected, uninterrupted = train(model, splits(), at_once)
    assert _found(history) == _found(uninterrupted)
    for one, other in zip(trained.parameters(), expected.parameters(), strict=True):
        assert torch.equal(one, other)
    frozen = {
        name.removeprefix("mask/"): mask
        for name, mask in again.state().items()
        if name.startswith("mask/")
    }
    assert frozen
    tensors = dict(trained.named_parameters())
    assert all((tensors[name][~mask] == 0).all() for name, mask in frozen.items())


def _found(training):
    return [(item.loss, item.validation_accuracy) for item in training.epochs]


def _counting(method):
    def counted(self, data, number):
        counted.calls += 1
        return method(self, data, number)

    counted.calls = 0
    return counted


@pytest.mark.parametrize(
    ("start", "found", "samples", "floor", "kept"),
    [
        (0.5, [0.90, 0.92, 0.915], 1000, 0.0, 3),  # a standard error is 0.0086
        (0.5, [0.90, 0.92, 0.915], 100_000, 0.0, 2),  # and here a tenth of that
        (0.5, [0.90, 0.92, 0.92], 100_000, 0.0, 3),
        (0.95, [0.94, 0.949], 100, 0.0, 0),  # worse than the start
        (0.95, [0.94, 0.951, 0.949], 100, 0.0, 2),
        (0.5, [0.900, 0.895, 0.889, 0.884], 1000, 0.0, 2),  # little by little, too
        (0.5, [0.90, 0.93, 0.92], 100, 0.93, 2),  # the floor was reached
        (0.5, [0.90, 0.93, 0.92], 100, 0.95, 3),  # and here it was not
        (0.5, [1.0, 0.99], 60, 0.0, 1),
        (-1.0, [0.2, 0.19], 100, 0.0, 2),  # a start that does not count
    ],
)
def test_the_last_epoch_is_kept_unless_an_earlier_one_is_better_than_by_chance(
    start, found, samples, floor, kept
):
    best = CheckpointSelector(nn.Linear(1, 1), start, samples, floor)
    states = [nn.Linear(1, 1) for _ in found]
    for number, (state, accuracy) in enumerate(zip(states, found, strict=True), 1):
        best.compete(state, accuracy, number)
    assert best.epoch == kept
    assert best.accuracy == [start, *found][kept]
    if kept:
        assert torch.equal(best.model.weight, states[kept - 1].weight)


@pytest.mark.parametrize(
    ("found", "floor", "kept"),
    [
        ([0.97, 0.96], 0.0, 2),  # worse on samples that the start may know
        ([0.97, 0.90], 0.0, 1),  # which explains no such loss
        ([0.97, 0.96], 0.965, 1),  # a floor is a floor
    ],
)
def test_known_samples_do_not_choose_the_epoch(found, floor, kept):
    start = 0.98
    best = CheckpointSelector(nn.Linear(1, 1), start, 10_000, floor, known=True)
    for number, accuracy in enumerate(found, 1):
        best.compete(nn.Linear(1, 1), accuracy, number)
    assert best.epoch == kept


class Told:
    """Remembers the sentence that was said last beside losses and times."""

    last = ""

    def start(self, step, total): ...

    def advance(self, detail=""):
        if " " in detail and "loss" not in detail:
            self.last = detail

    def finish(self, outcome=""): ...


def test_momentum_and_learning_rate_go_on_too(tmp_path):
    torch.manual_seed(0)
    model, data = Bottom(8), splits()
    path = tmp_path / "state.safetensors"
    config = TrainingConfig("x", 3, state=path)
    x, team = next(iter(data.train))[0], ProcessGroup()
    first = Trainer(model, config, loop.PLAIN, x, 45, team)
    first.epoch(data.train, 1)
    best = CheckpointSelector(model, 0.5, 100)
    keep(first, config, "start", [], best)
    second = Trainer(model, config, loop.PLAIN, x, 45, team)
    resume_(second, config, best, load_state(path))
    assert second.rate == first.rate
    pairs = zip(
        first._optimizer.state.values(), second._optimizer.state.values(), strict=True
    )
    for one, other in pairs:
        assert torch.equal(one["momentum_buffer"], other["momentum_buffer"])
    for one, other in zip(
        first._model.parameters(), second._model.parameters(), strict=True
    ):
        assert torch.equal(one, other)


def test_the_state_of_another_training_is_not_taken(tmp_path):
    torch.manual_seed(0)
    path, model = tmp_path / "state.safetensors", Bottom(8)
    train(model, splits(), TrainingConfig("x", 1, state=path))
    _, history = train(model, splits(), TrainingConfig("x", 2, state=path))
    assert len(history.epochs) == 2
    assert history.epochs[0].seconds > 0
    _, again = train(model, splits(), TrainingConfig("x", 2, state=path))
    assert again.epochs == history.epochs  # finished: nothing is trained


def test_the_state_of_another_network_is_not_taken(tmp_path):
    """As two runs with one cache leave it, one of which has another plan."""
    path, told = tmp_path / "state.safetensors", Told()
    train(Bottom(8), splits(), TrainingConfig("x", 1, state=path))
    for other in (Bottom(8), Bottom(6)):
        config = TrainingConfig("x", 1, state=path, progress=told)
        _, history = train(other, splits(), config)
        assert history.epochs[0].seconds > 0
        assert "another network" in told.last


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_a_state_with_a_flipped_bit_is_thrown_away_with_a_sentence(tmp_path, place):
    torch.manual_seed(0)
    path, model, told = tmp_path / "state.safetensors", Bottom(8), Told()
    _, history = train(model, splits(), TrainingConfig("x", 1, state=path))
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 4
    path.write_bytes(content)
    config = TrainingConfig("x", 1, state=path, progress=told)
    _, again = train(model, splits(), config)
    assert again.epochs[0].loss == history.epochs[0].loss
    assert again.epochs[0].seconds != history.epochs[0].seconds
    assert "begins anew" in told.last


def test_a_state_that_cannot_be_kept_costs_no_training(tmp_path):
    (tmp_path / "file").write_text("")
    path, told = tmp_path / "file" / "state.safetensors", Told()
    config = TrainingConfig("x", 1, state=path, progress=told)
    _, history = train(Bottom(8), splits(), config)
    assert len(history.epochs) == 1
    assert "not kept" in told.last
