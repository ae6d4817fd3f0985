import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgeprune.data.augment import Augmentation
from edgeprune.errors import WorkloadError
from edgeprune.files import cache_folder
from edgeprune.finetune import formats, loop
from edgeprune.finetune.baseline import trained_example
from edgeprune.finetune.config import TrainingConfig
from edgeprune.finetune.formats import (
    CANDIDATES,
    PLAIN,
    fastest_format,
    measured_format,
)
from edgeprune.finetune.loop import default_epochs, evaluate, train
from edgeprune.finetune.losses import DISTILLED_SHARE, loss_of
from edgeprune.finetune.process_group import ProcessGroup
from edgeprune.finetune.trainer import decay_of, rate_at
from edgeprune.progress import SILENT
from edgeprune.tasks import Classification
from edgeprune.tasks.classes import TEMPERATURE
from tests.data_sets import colours, splits
from tests.nets import Bottom, Signal


def test_training_learns_and_leaves_the_callers_model_alone():
    model = Bottom(8)
    before = copy.deepcopy(model.state_dict())
    trained, history = train(model, splits(), TrainingConfig("test", 6))
    assert evaluate(trained, splits().test) > 0.9 > evaluate(model, splits().test)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert [epoch.number for epoch in history.epochs] == [1, 2, 3, 4, 5, 6]
    assert history.epochs[-1].learning_rate == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("more", [{}, {"inpaint": 0.1, "average": 0.9}])
def test_a_seed_repeats_a_run(more):
    model = Bottom(8)
    config = TrainingConfig(
        "test", 2, seed=3, augment=Augmentation(("crop", "flip")), **more
    )
    (first, one), (second, other) = (
        train(model, splits(size=16), config) for _ in range(2)
    )
    assert [epoch.loss for epoch in one.epochs] == [
        epoch.loss for epoch in other.epochs
    ]
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    third, _ = train(model, splits(size=16), replace(config, seed=4))
    assert not torch.equal(first.first.weight, third.first.weight)


def test_an_average_looks_back_over_its_share_of_the_steps():
    """Steps further back have a weight of one part in e, however many there are."""
    for steps in (100, 1000):
        decay = decay_of(0.1, steps)
        assert decay ** (0.1 * steps) == pytest.approx(1 / math.e, rel=0.06)
    assert decay_of(0.1, 5) == 0.0  # too few to average: the last weights


def test_the_best_validation_epoch_is_kept_and_the_start_competes():
    """Labels of the training split that contradict the validation split do harm."""
    data = splits()
    model, _ = train(Bottom(8), data, TrainingConfig("test", 6))
    before = evaluate(model, data.validation)
    wrong = replace(data, train=[(x, (y + 1) % 4) for x, y in data.calibration])
    kept, history = train(model, wrong, TrainingConfig("harm", 3, learning_rate=0.1))
    assert before > 0.9
    assert history.best_epoch == 0
    assert evaluate(kept, data.validation) == before
    assert min(epoch.validation_accuracy for epoch in history.epochs) < before


def test_distillation_follows_the_teacher_where_labels_mislead():
    """Labels moved on by one: a distilled network still answers as its teacher."""
    data = splits()
    teacher, _ = train(Bottom(8), data, TrainingConfig("teach", 6))
    moved = [(x, (y + 1) % 4) for x, y in data.calibration]
    misled = replace(data, train=moved, validation=data.validation)
    alone, _ = train(Bottom(8), misled, TrainingConfig("learn", 4))
    taught, history = train(
        Bottom(8), misled, TrainingConfig("learn", 4, teacher=teacher)
    )

    def agreement(model):
        with torch.no_grad():
            same = [
                model.eval()(x).argmax(1) == teacher.eval()(x).argmax(1)
                for x, _ in data.test
            ]
        return float(torch.cat(same).float().mean())

    assert history.distilled
    assert agreement(taught) > agreement(alone) + 0.2


def test_the_distillation_loss_is_the_published_formula():
    outputs, soft, y = (
        torch.randn(5, 4),
        torch.randn(5, 4),
        torch.tensor([0, 1, 2, 3, 0]),
    )
    t = TEMPERATURE
    p, q = F.softmax(soft / t, 1), F.softmax(outputs / t, 1)
    divergence = (p * (p / q).log()).sum(1).mean()
    hard = -F.softmax(outputs, 1)[range(5), y].log().mean()
    share = DISTILLED_SHARE
    expected = (1 - share) * hard + share * t * t * divergence
    torch.testing.assert_close(loss_of(Classification(), outputs, y, soft), expected)


def test_the_rate_rises_and_falls_to_zero():
    rates = [rate_at(step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == 1.0
    assert rates[100] == pytest.approx(0)
    assert rates[10:] == sorted(rates[10:], reverse=True)


class Explosive(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(192, 4)

    def forward(self, x):
        return self.head(x.flatten(1)) * torch.inf


def test_a_loss_that_is_no_number_is_refused():
    with pytest.raises(WorkloadError, match="--mean, --std"):
        train(Explosive(), splits(), TrainingConfig("test", 1))


def test_a_last_batch_of_one_does_no_harm():
    data = splits(batch=203)
    assert [len(y) for _, y in data.train] == [203, 1]
    _, history = train(Bottom(8), data, TrainingConfig("test", 1))
    assert len(history.epochs) == 1


def test_epochs_follow_the_size_of_the_data():
    assert default_epochs(100) == 30
    assert default_epochs(10**6) == 3
    assert 3 < default_epochs(1297) < 30


def test_the_format_is_one_of_the_candidates_and_changes_no_weight():
    model = Bottom(8)
    before = copy.deepcopy(model.state_dict())
    assert measured_format(model, next(iter(splits().train))) in CANDIDATES
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    signal = torch.randn(4, 2, 20), torch.tensor([0, 1, 0, 1])
    assert measured_format(Signal(), signal) == PLAIN


def test_a_format_that_was_found_once_is_kept(monkeypatch):
    """Timings differ from run to run; what a seed draws must not."""
    answers = iter(CANDIDATES)
    monkeypatch.setattr(formats, "measured_format", lambda *_: next(answers))
    batch = next(iter(splits().train))
    assert fastest_format(Bottom(8), batch) == CANDIDATES[0]
    assert fastest_format(Bottom(8), batch) == CANDIDATES[0]
    assert fastest_format(Bottom(12), batch) == CANDIDATES[1]
    for path in cache_folder().glob("format*"):
        path.write_text('{"number": "float8"}')
    assert fastest_format(Bottom(8), batch) == CANDIDATES[2]


def test_accuracy_is_that_of_the_exported_file_whatever_trains_fastest(monkeypatch):
    """In bfloat16 some answers would be others: what is judged runs in float32."""
    monkeypatch.setattr(loop, "fastest_format", lambda *_: CANDIDATES[-1])
    data = splits()
    judged = []
    whole = loop.Trainer.accuracy

    def seen(self, batches):
        found = whole(self, batches)
        judged.append((found, evaluate(self.ema_or_model, batches)))
        return found

    monkeypatch.setattr(loop.Trainer, "accuracy", seen)
    _, history = train(Bottom(8), data, TrainingConfig("test", 4, learning_rate=0.005))
    assert history.number_format == "bfloat16"
    assert len(judged) == 5
    assert all(found == expected for found, expected in judged)
    model = loop.Trainer(
        Bottom(8),
        TrainingConfig(),
        CANDIDATES[-1],
        torch.from_numpy(colours(4)[0]),
        1,
        ProcessGroup(torch.device("cpu")),
    )
    dtypes = []
    model.ema_or_model.head.register_forward_hook(
        lambda _, __, made: dtypes.append(made.dtype)
    )
    model.accuracy(data.validation)
    assert set(dtypes) == {torch.float32}


def test_nothing_is_trained_where_the_start_is_good_enough():
    _, history = train(Bottom(8), splits(), TrainingConfig("test", 3, enough=0.0))
    assert (history.epochs, history.best_epoch) == ((), 0)


class Viewing(Bottom):
    """Its view does not bear channels last."""

    def forward(self, x):
        x = F.relu(self.second(F.relu(self.norm(self.first(x)))))
        return self.head(x.view(x.size(0), -1))


def test_a_format_that_the_model_does_not_run_in_is_out():
    batch = next(iter(splits().train))
    assert measured_format(Viewing(8), batch) == PLAIN
    trained, _ = train(Viewing(8), splits(), TrainingConfig("test", 1))
    assert isinstance(trained, Viewing)


def test_the_examples_baseline_is_trained_once_and_reused():
    class Tiny(Bottom):
        pass

    torch.manual_seed(0)
    model = Tiny(8)
    fresh = copy.deepcopy(model)
    first = trained_example(model, splits(), 0, SILENT)
    held = list(cache_folder().glob("baseline*"))
    second = trained_example(copy.deepcopy(fresh), splits(), 0, SILENT)
    assert len(held) == 1
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )
    trained_example(copy.deepcopy(fresh), splits(), 1, SILENT)  # another seed
    assert len(list(cache_folder().glob("baseline*"))) == 2


def test_what_is_known_before_no_training_is_not_read_again():
    parts = replace(splits(), validation=None)
    _, history = train(Bottom(8), parts, TrainingConfig("test", 0, accuracy=0.5))
    assert history.accuracy_before == history.best_accuracy == 0.5


def test_a_large_sample_runs_in_parts_that_fit():
    model = nn.Sequential(
        *(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 4)),
    ).eval()
    sizes = []
    model[0].register_forward_hook(lambda *given: sizes.append(len(given[1][0])))
    x, y = torch.randn(20, 3, 128, 128), torch.arange(20) % 4
    found = evaluate(model, [(x, y), (x[:3], y[:3])])
    right = int((model(x).argmax(1) == y).sum())
    again = int((model(x[:3]).argmax(1) == y[:3]).sum())
    assert found == pytest.approx((right + again) / 23)
    assert sizes[0] == 1  # to see how large its values are
    assert max(sizes[1:5]) * 64 * 128 * 128 * 4 <= 16 * 1024**2
    assert sum(sizes[1:]) == 20 + 3 + 20 + 3
