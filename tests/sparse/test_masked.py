"""Zeros that stay, whatever happens to the weights around them."""

import copy
import itertools

import pytest
import torch
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from edgeprune.finetune.config import TrainingConfig
from edgeprune.finetune.constraint import Schedule
from edgeprune.finetune.loop import train
from edgeprune.graph.layers import weights_of
from edgeprune.graph.survey import survey
from edgeprune.settings import MASKED
from edgeprune.sparse import masks
from edgeprune.sparse.masked import Frozen, Masked
from tests.data_sets import splits
from tests.nets import Bottom

STEPS = 200
CHOICES = {
    "magnitude": masks.magnitude,
    "l1-mask": masks.l1_mask,
    "hybrid": masks.hybrid,
}
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=5e-4),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
}


def model_and_graph(width=8):
    torch.manual_seed(0)
    model = Bottom(width)
    return model, survey(model, (torch.randn(2, 3, 8, 8),))


@pytest.mark.parametrize("number", ["float32", "bfloat16"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("method", MASKED)
def test_zeros_are_exact_after_200_steps(method, optimizer, number):
    model, graph = model_and_graph()
    stepping = OPTIMIZERS[optimizer](model.parameters())
    x, y = torch.randn(16, 3, 8, 8), torch.arange(16) % 4
    for _ in range(5):  # momentum that points away from zero
        _step(model, stepping, x, y, number)
    chosen = CHOICES[method](model, graph)(model, 0.5)
    frozen = Frozen(chosen)
    frozen.begin(model, stepping, STEPS)
    decay = get_ema_multi_avg_fn(0.9)
    average = AveragedModel(copy.deepcopy(model), multi_avg_fn=decay)
    before = {name: value.clone() for name, value in model.named_parameters()}
    for _ in range(STEPS):
        _step(model, stepping, x, y, number, frozen)
        average.update_parameters(model)
        frozen.apply_(average.module)
    for held in (model, average.module):
        for name, value in held.named_parameters():
            if name in chosen:
                assert (value[~chosen[name]] == 0).all(), name
                assert not torch.signbit(value[~chosen[name]]).any()
    with torch.no_grad():
        moved = [
            float((value - before[name]).abs().max())
            for name, value in model.named_parameters()
        ]
    assert min(moved) > 0  # the others are trained


def _step(model, optimizer, x, y, number, constraint=None):
    optimizer.zero_grad()
    with torch.autocast("cpu", getattr(torch, number), enabled=number != "float32"):
        outputs = model(x)
    functional.cross_entropy(outputs.float(), y).backward()
    if constraint is not None:
        constraint.after_backward()
    optimizer.step()
    if constraint is not None:
        constraint.after_step()


def test_without_a_constraint_the_same_zeros_would_not_stay():
    model, graph = model_and_graph()
    chosen = masks.magnitude(model, graph)(model, 0.5)
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    Frozen(chosen).apply_(model)
    _step(model, optimizer, torch.randn(8, 3, 8, 8), torch.arange(8) % 4, "float32")
    kept = model.second.weight[~chosen["second.weight"]]
    assert (kept != 0).any()


def test_the_cubic_rises_fast_first_and_ends_where_it_is_to():
    schedule = Schedule(0.8, until=0.5)
    shares = [schedule.at(step / 100) for step in range(101)]
    assert shares[0] == 0.0
    assert shares[50:] == [0.8] * 51
    assert shares == sorted(shares)
    # Zhu and Gupta, equation 1, a quarter of the way: 0.8 * (1 - 0.5 ** 3)
    assert shares[25] == pytest.approx(0.7)
    assert Schedule(0.3, until=0.0).at(0.0) == 0.3


def test_a_gradual_mask_grows_and_no_zero_comes_back():
    model, graph = model_and_graph()
    choose = masks.magnitude(model, graph)
    seen = []

    class Watched(Masked):
        def after_step(self):
            super().after_step()
            zero = torch.cat([(p == 0).flatten() for n, p in names(self._network)])
            seen.append(zero)

    def names(network):
        return [
            item for item in network.named_parameters() if item[0].endswith("weight")
        ]

    trained, _ = train(
        model,
        splits(),
        TrainingConfig("x", 4, constraint=Watched(choose, Schedule(0.9))),
    )
    counts = [int(zero.sum()) for zero in seen]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] / 4
    for before, after in itertools.pairwise(seen):
        assert not (before & ~after).any()
    weights = weights_of(trained)
    tensors = dict(trained.named_parameters())
    zero = sum(int((tensors[name] == 0).sum()) for name in weights)
    size = sum(tensors[name].numel() for name in weights)
    assert zero == round(0.9 * size)


def test_what_is_kept_has_the_final_share_even_if_an_earlier_epoch_was_better():
    model, graph = model_and_graph()
    held = Masked(masks.magnitude(model, graph), Schedule(0.98, until=0.9))
    trained, history = train(model, splits(), TrainingConfig("x", 3, constraint=held))
    assert history.best_epoch == 3
    tensors = dict(trained.named_parameters())
    zero = sum(int((tensors[n] == 0).sum()) for n in weights_of(trained))
    size = sum(tensors[n].numel() for n in weights_of(trained))
    assert zero / size == pytest.approx(0.98, abs=1e-3)


def test_the_average_is_what_is_kept_and_it_has_the_zeros():
    model, graph = model_and_graph()
    held = Masked(masks.magnitude(model, graph), Schedule(0.5, until=0.0))
    averaged, _ = train(
        model, splits(), TrainingConfig("x", 2, average=0.9, constraint=held)
    )
    plain, _ = train(model, splits(), TrainingConfig("x", 2, constraint=held))
    assert not torch.equal(averaged.second.weight, plain.second.weight)
    for trained in (averaged, plain):
        assert 0.3 < float((trained.second.weight == 0).float().mean()) < 0.9
    assert torch.equal(averaged.second.weight == 0, plain.second.weight == 0)
