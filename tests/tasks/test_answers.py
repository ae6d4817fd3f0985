"""Targets that are made of what the original answers."""

import pytest
import torch

from edgeprune.errors import ConfigError
from edgeprune.tasks import (
    Agreement,
    Classification,
    Detection,
    Embedding,
    Image,
    Keypoints,
    Multilabel,
    Regression,
    Segmentation,
    Sequence,
    Structure,
    Task,
    TopAgreement,
    Unpacking,
)

CASES = [
    (Classification(), (4, 3)),
    (TopAgreement(), (4, 3)),
    (Multilabel(), (4, 6)),
    (Segmentation(), (4, 3, 8, 8)),
    (Sequence(), (4, 5, 3)),
    (Image(), (4, 3, 8, 8)),
    (Embedding(), (4, 16)),
    (Regression(), (4, 2)),
    (Keypoints(), (4, 5, 2)),
    (Keypoints(), (4, 5, 8, 8)),
    (Agreement(), (4, 7)),
]


@pytest.mark.parametrize(("task", "shape"), CASES)
def test_the_original_is_perfect_by_its_own_answers_and_another_is_not(task, shape):
    torch.manual_seed(0)
    outputs, others = 10 * torch.randn(shape), 10 * torch.randn(shape)
    answered = task.answered()
    assert not answered.learns
    targets = answered.answers(outputs)
    answered.check(outputs, targets)
    best = answered.value(answered.tally(outputs, targets))
    assert best == pytest.approx(100.0 if isinstance(task, Image) else 1.0)
    assert answered.value(answered.tally(others, targets)) < best - 0.1


def test_the_boxes_that_the_original_is_sure_of():
    task = Detection().answered()
    corners = torch.tensor([[[0.0, 0, 8, 8], [20, 20, 30, 30], [4, 4, 9, 9]]] * 2)
    scores = torch.tensor([[[0.9, 0.0], [0.0, 0.6], [0.1, 0.1]], [[0.0, 0.1]] * 3])
    outputs = {"boxes": corners, "scores": scores}
    rows = task.answers(outputs)
    assert rows.shape == (2, 100, 5)  # as many in every batch
    assert rows[0, :2].tolist() == [[0, 0, 0, 8, 8], [1, 20, 20, 30, 30]]
    assert (rows[0, 2:, 0] == -1).all()
    assert (rows[1, :, 0] == -1).all()
    assert task.value(task.tally(outputs, rows)) == pytest.approx(1.0)


def test_a_picture_may_lose_what_nobody_sees():
    assert Image.metric.usual_drop == 0.5
    assert Image().answered().metric.usual_drop == 60.0


def test_one_output_of_several_is_judged():
    several = Structure.of({"a": torch.zeros(2, 3), "b": torch.zeros(2, 4)}, "output")
    rows = torch.randn(5, 7)
    task = Unpacking(Embedding().answered(), several, None, 1)
    assert torch.equal(task.answers(rows), rows[:, 3:])


def test_a_task_that_makes_no_targets_says_so():
    class Mine(Task):
        name = "mine"

        def tally(self, outputs, targets):
            return outputs.sum()[None]

        def value(self, sums):
            return float(sums[0])

    with pytest.raises(ConfigError, match="--task mine needs targets, and the data"):
        Mine().answered().answers(torch.zeros(2, 3))
