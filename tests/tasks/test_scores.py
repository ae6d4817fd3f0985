"""Scores of classes as networks give them: probabilities, and one score of two."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from edgeprune.errors import WorkloadError
from edgeprune.tasks import (
    Agreement,
    Classification,
    Multilabel,
    Segmentation,
    Sequence,
    Structure,
    TopAgreement,
    Unpacking,
    inferred,
)

GENERATOR = torch.Generator().manual_seed(0)


def normal(*shape):
    return 3 * torch.randn(*shape, generator=GENERATOR)


def whole(most, *shape):
    return torch.randint(0, most, shape, generator=GENERATOR)


# A task, scores, targets and what a network that gives probabilities ends in.
CASES = {
    "classification": (Classification(), normal(40, 5), whole(5, 40), nn.Softmax(1)),
    "agreement": (TopAgreement(), normal(40, 5), whole(5, 40), nn.Softmax(1)),
    "one class": (Classification(), normal(40, 1), whole(2, 40), nn.Sigmoid()),
    "no axis": (Classification(), normal(40), whole(2, 40), nn.Sigmoid()),
    "multilabel": (
        Multilabel(),
        normal(40, 3),
        whole(2, 40, 3).float(),
        nn.Sigmoid(),
    ),
    "segmentation": (
        Segmentation(),
        normal(4, 5, 6, 6),
        whole(5, 4, 6, 6),
        nn.Softmax(1),
    ),
    "one mask": (Segmentation(), normal(4, 1, 6, 6), whole(2, 4, 6, 6), nn.Sigmoid()),
    "sequence": (Sequence(), normal(4, 9, 5), whole(5, 4, 9), nn.Softmax(2)),
    "one step": (Sequence(), normal(4, 9, 1), whole(2, 4, 9), nn.Sigmoid()),
}


@pytest.mark.parametrize("name", CASES)
def test_probabilities_are_judged_and_taught_as_the_scores_that_they_are_of(name):
    task, scores, targets, ending = CASES[name]
    outputs = ending(scores)
    adapted = task.adapted(outputs)
    assert adapted is not task
    assert adapted.adapted(outputs).probabilities
    assert not task.probabilities
    assert task.adapted(scores) is task
    adapted.check(outputs, targets)
    assert torch.equal(adapted.tally(outputs, targets), task.tally(scores, targets))
    assert torch.equal(adapted.answers(outputs), task.answers(scores))
    smoothing = 0.1
    found, wanted = (
        one.loss(given, targets, smoothing)
        for one, given in ((adapted, outputs), (task, scores))
    )
    assert float(found) == pytest.approx(float(wanted), rel=1e-4)


@pytest.mark.parametrize("name", ["classification", "agreement", "one class"])
def test_probabilities_teach_what_their_scores_do(name):
    task, scores, _, ending = CASES[name]
    adapted, other = task.adapted(ending(scores)), normal(*scores.shape)
    found = adapted.distilled(ending(other), ending(scores))
    assert float(found) == pytest.approx(float(task.distilled(other, scores)), rel=1e-3)


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_of_probabilities_is_that_of_their_scores(name):
    task, scores, targets, ending = CASES[name]
    adapted, grads = task.adapted(ending(scores)), []
    for one, last in ((adapted, ending), (task, nn.Identity())):
        z = scores.clone().requires_grad_()
        one.loss(last(z), targets).backward()
        grads.append(z.grad)
    assert torch.allclose(*grads, atol=1e-5)


def test_one_score_is_that_of_the_second_class():
    z, y = normal(40, 1), whole(2, 40)
    two = torch.cat([torch.zeros(40, 1), z], 1)
    task = Classification()
    assert torch.equal(task.tally(z, y), task.tally(two, y))
    binary = functional.binary_cross_entropy_with_logits(z[:, 0], y.float())
    assert float(task.loss(z, y)) == pytest.approx(float(binary))
    assert torch.equal(task.answers(z), (z[:, 0] > 0).long())
    for targets in (y.float(), y.float()[:, None]):  # as losses of torch have them
        task.check(z, targets)
        assert torch.equal(task.tally(z, targets), task.tally(z, y))
        assert torch.equal(task.loss(z, targets), task.loss(z, y))


def test_one_map_of_scores_is_that_of_the_second_class():
    z, y = normal(4, 1, 6, 6), whole(2, 4, 6, 6)
    task = Segmentation()
    two = torch.cat([torch.zeros_like(z), z], 1)
    for targets in (y, y[:, None], y[:, None].float()):
        task.check(z, targets)
        assert torch.equal(task.tally(z, targets), task.tally(two, y))
        assert torch.equal(task.loss(z, targets), task.loss(two, y))
    with pytest.raises(WorkloadError, match="1 classes, the masks have class 2"):
        task.check(z, y + 1)


@pytest.mark.parametrize(
    ("task", "outputs"),
    [
        (Classification(), torch.full((4, 3), 0.5)),  # sigmoids of exclusive classes
        (Classification(), torch.tensor([[-0.1, 1.1]])),  # whose sum is 1
        (Multilabel(), torch.tensor([[0.2, 0.9], [0.3, 1.2]])),
        (Segmentation(), torch.rand(2, 3, 4, 4)),
    ],
)
def test_scores_that_could_be_probabilities_at_some_places_are_none(task, outputs):
    assert task.adapted(outputs) is task


def test_the_output_that_counts_says_whether_it_is_probabilities():
    scores, others = normal(40, 5), normal(40, 7)
    several = Structure.of({"out": scores, "features": others}, "output")
    rows = several.packed({"out": scores.softmax(1), "features": others})
    task = Unpacking(Classification(), several, None, 0)
    assert task.adapted(several.packed({"out": scores, "features": others})) is task
    adapted, y = task.adapted(rows), whole(5, 40)
    assert adapted is not task
    wanted = functional.cross_entropy(scores, y)
    assert float(adapted.loss(rows, y)) == pytest.approx(float(wanted), rel=1e-4)


def test_other_tasks_stay_as_they_are():
    task = Agreement()
    assert task.adapted(torch.rand(4, 3).softmax(1)) is task


@pytest.mark.parametrize(
    ("outputs", "targets", "kind"),
    [
        (normal(4, 1), torch.tensor([0, 1, 1, 0]), Classification),
        (normal(4), torch.tensor([0, 1, 1, 0]), Classification),
        (normal(4, 1, 8, 8), whole(2, 4, 8, 8), Segmentation),
        (normal(4, 1, 8, 8), whole(2, 4, 1, 8, 8), Segmentation),
    ],
)
def test_one_score_makes_a_task_of_two_classes(outputs, targets, kind):
    assert type(inferred(outputs, targets)) is kind


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_numbers_of_0_and_1_may_be_classes(shape):
    targets = torch.tensor([0.0, 1.0, 1.0, 0.0]).reshape(shape)
    with pytest.raises(WorkloadError, match="--task classification, or --task regre"):
        inferred(normal(4, 1), targets)
