"""Detection: average precision beside torchmetrics', the forms of outputs, and loss."""

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics.detection import MeanAveragePrecision

from edgeprune.errors import WorkloadError
from edgeprune.tasks import Detection, inferred
from edgeprune.tasks.precision import Boxes, counted, precision_of

IMAGES, PLACES, KINDS = 40, 30, 4


@pytest.fixture(scope="module")
def scene():
    """Targets (N, 6, 5), and what a fair detector makes of them: corners and scores."""
    torch.manual_seed(0)
    targets = torch.full((IMAGES, 6, 5), -1.0)
    corners, scores = torch.zeros(IMAGES, PLACES, 4), torch.zeros(IMAGES, PLACES, KINDS)
    for number in range(IMAGES):
        count = int(torch.randint(1, 6, (1,)))
        start, size = torch.rand(count, 2) * 200, torch.rand(count, 2) * 60 + 10
        targets[number, :count, 0] = torch.randint(0, KINDS, (count,)).float()
        targets[number, :count, 1:] = torch.cat([start, start + size], 1)
        for place in range(PLACES):
            right = targets[number, place % count]
            off = torch.randn(4) * (4 if place < count else 30)
            corners[number, place] = right[1:] + off
            low = corners[number, place, :2] + 1
            corners[number, place, 2:] = torch.maximum(corners[number, place, 2:], low)
            kind = (
                int(right[0]) if torch.rand(1) < 0.8 else int(torch.randint(0, 4, (1,)))
            )
            scores[number, place, kind] = torch.rand(1) * (1 if place < count else 0.6)
    return targets, corners, scores


def batches(scene, size=15):
    return zip(*(part.split(size) for part in scene), strict=True)


def found_in(task, scene):
    sums = 0
    for targets, corners, scores in batches(scene):
        sums = sums + task.tally({"boxes": corners, "scores": scores}, targets)
    return sums


def test_precision_is_that_of_the_reference(scene):
    task, reference = Detection(), MeanAveragePrecision(backend="faster_coco_eval")
    for targets, corners, scores in batches(scene):
        found = task.boxes({"boxes": corners, "scores": scores})
        for one, rows in zip(found, targets, strict=True):
            right = rows[rows[:, 0] >= 0]
            reference.update(
                [{"boxes": one.corners, "scores": one.scores, "labels": one.classes}],
                [{"boxes": right[:, 1:], "labels": right[:, 0].long()}],
            )
    wanted = reference.compute()
    sums = found_in(task, scene)
    assert task.value(sums) == pytest.approx(float(wanted["map"]), abs=0.002)
    assert precision_of(sums, [0]) == pytest.approx(float(wanted["map_50"]), abs=0.002)
    assert 0.05 < task.value(sums) < 0.9


def test_counts_add_up_however_images_are_split(scene):
    sums = found_in(Detection(), scene)
    targets, corners, scores = scene
    whole = Detection().tally({"boxes": corners, "scores": scores}, targets)
    assert torch.equal(sums, whole)


def test_what_is_right_has_a_precision_of_one_and_nothing_has_none(scene):
    targets, _, _ = scene
    wanted = [
        Boxes(
            rows[rows[:, 0] >= 0][:, 1:],
            rows[rows[:, 0] >= 0][:, 0].long(),
            torch.ones(int((rows[:, 0] >= 0).sum())),
        )
        for rows in targets
    ]
    none = [Boxes(one.corners[:0], one.classes[:0], one.scores[:0]) for one in wanted]
    assert precision_of(counted(wanted, wanted, KINDS)) == 1.0
    assert precision_of(counted(none, wanted, KINDS)) == 0.0
    assert precision_of(counted(none, none, KINDS)) == 0.0


def middles(corners):
    return torch.cat(
        [
            (corners[..., :2] + corners[..., 2:]) / 2,
            corners[..., 2:] - corners[..., :2],
        ],
        -1,
    )


def test_all_forms_of_outputs_are_the_same_boxes(scene):
    targets, corners, scores = scene
    wide = torch.cat([middles(corners), scores], 2)
    objects = torch.cat(
        [middles(corners), torch.full_like(scores[..., :1], 0.5), 2 * scores], 2
    )
    forms = {
        "named": ({"boxes": corners, "scores": scores}, Detection()),
        "pair": ((corners, scores), Detection()),
        "channels before places": (wide.transpose(1, 2), Detection(KINDS)),
        "places before channels": (wide, Detection(KINDS)),
        "with a score of there being anything": (objects, Detection(KINDS)),
    }
    values = {
        name: task.value(task.tally(outputs, targets))
        for name, (outputs, task) in forms.items()
    }
    assert max(values.values()) - min(values.values()) < 1e-3, values


def test_boxes_that_are_chosen_are_taken_as_they_are(scene):
    targets, corners, scores = scene
    best, kinds = scores.max(2)
    rows = torch.cat([corners, best[..., None], kinds[..., None].float()], 2)
    task = Detection()
    wanted = Detection(decode=decoded)
    for part, right in zip(rows.split(15), targets.split(15), strict=True):
        task.check(part, right)  # which must not change how the next one is read
        (one, *_) = task.boxes(part)
        (other, *_) = wanted.boxes(part)
        keep = other.scores > 0.001
        assert torch.equal(one.corners, other.corners[keep])
        assert torch.equal(one.classes, other.classes[keep])


def decoded(outputs):
    return [
        {"boxes": one[:, :4], "scores": one[:, 4], "labels": one[:, 5].long()}
        for one in outputs
    ]


def test_overlapping_boxes_of_a_class_are_one():
    corners = torch.tensor([[[10.0, 10, 50, 50], [11, 11, 51, 51], [11, 11, 51, 51]]])
    scores = torch.tensor([[[0.9, 0.0], [0.8, 0.0], [0.0, 0.7]]])
    (found,) = Detection().boxes({"boxes": corners, "scores": scores})
    assert found.classes.tolist() == [0, 1]


def test_a_decoder_of_the_users_is_asked(scene):
    targets, corners, scores = scene
    best, kinds = scores.max(2)
    rows = torch.cat([corners, best[..., None], kinds[..., None].float()], 2)
    own = Detection(decode=decoded)
    plain = Detection()
    ours = own.value(own.tally(rows, targets))
    assert ours == pytest.approx(plain.value(plain.tally(rows, targets)), abs=0.01)


@pytest.mark.parametrize(
    "outputs", [torch.rand(2, 10), [{"boxes": torch.rand(3, 4)}], torch.rand(2, 3, 4)]
)
def test_other_outputs_are_refused_with_what_helps(outputs):
    with pytest.raises(WorkloadError, match="--export-output"):
        Detection().check(outputs, torch.zeros(2, 3, 5))


def test_targets_of_another_form_are_refused():
    with pytest.raises(WorkloadError, match="class, x1, y1, x2, y2"):
        Detection().check(torch.rand(2, 8, 20), torch.zeros(2, 3))


def test_boxes_of_a_class_that_has_no_score_are_refused(scene):
    targets, corners, scores = scene
    with pytest.raises(
        WorkloadError, match="scores of 2 classes, the boxes have class 3"
    ):
        Detection().check({"boxes": corners, "scores": scores[..., :2]}, targets)


def test_rows_of_five_are_boxes():
    task = inferred(torch.rand(1, 8, 20), torch.rand(1, 3, 5))
    assert isinstance(task, Detection)


def test_boxes_count_where_the_original_is_sure_in_shares_of_their_size(scene):
    _, corners, scores = scene
    scores = torch.where(scores > 0.2, scores, 0.0)
    rows = torch.cat([middles(corners), scores], 2)
    found = Detection(KINDS).weights(rows)
    across = Detection(KINDS).weights(rows.transpose(1, 2))
    assert torch.equal(across, found.transpose(1, 2))
    assert (found[..., 4:] == 1).all()
    there = scores.amax(2) > 0
    assert (found[..., :4][~there] == 0).all()
    assert (found[..., :4][there] > 0).all()
    larger = torch.cat([2 * rows[..., :4], rows[..., 4:]], 2)
    halved = Detection(KINDS).weights(larger)
    torch.testing.assert_close(2 * halved[..., :4], found[..., :4])
    assert Detection().weights({"boxes": corners, "scores": scores}) is None


def test_it_learns_from_the_originals_boxes_and_scores(scene):
    _, corners, scores = scene
    wanted = torch.cat([middles(corners), scores], 2).transpose(1, 2)
    task = Detection(KINDS)
    moved = wanted.clone()
    moved[:, :4] += 20
    doubted = wanted.clone()
    doubted[:, 4:] *= 0.3
    least = float(task.distilled(wanted, wanted))
    assert float(task.distilled(moved, wanted)) > least + 0.1
    assert float(task.distilled(doubted, wanted)) > least + 0.1
    net = nn.Parameter(doubted.clone())
    task.distilled(net, wanted).backward()
    assert np.isfinite(net.grad.numpy()).all()
