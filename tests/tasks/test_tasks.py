"""Each task's metric beside torchmetrics', its refusals, and what it learns by."""

import numpy as np
import pytest
import torch
import torchmetrics.functional as reference
from torch import nn

from edgeprune.errors import ConfigError, WorkloadError
from edgeprune.finetune.losses import loss_of
from edgeprune.tasks import (
    Agreement,
    Classification,
    Embedding,
    Image,
    Keypoints,
    Multilabel,
    Regression,
    Segmentation,
    Sequence,
    Structure,
    TopAgreement,
    Unpacking,
    agreement_with,
    inferred,
    judged,
    scores_of,
    task_named,
)

GENERATOR = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=GENERATOR)


def whole(most, *shape):
    return torch.randint(0, most, shape, generator=GENERATOR)


def share_of_variance(found, wanted):
    return reference.r2_score(found.flatten(), wanted.flatten())


PICTURES = torch.rand(10, 3, 8, 8, generator=GENERATOR)
MASKS = whole(4, 10, 6, 6)
NUMBERS = normal(10, 3)
CASES = {
    "classification": (
        Classification(),
        normal(10, 4),
        whole(4, 10),
        lambda z, y: reference.accuracy(z, y, "multiclass", num_classes=4),
    ),
    "multilabel": (
        Multilabel(),
        normal(10, 5),
        whole(2, 10, 5).float(),
        lambda z, y: reference.f1_score(
            z.sigmoid(), y.long(), "multilabel", num_labels=5, average="micro"
        ),
    ),
    "segmentation": (
        Segmentation(),
        normal(10, 4, 6, 6),
        MASKS,
        lambda z, y: reference.jaccard_index(z, y, "multiclass", num_classes=4),
    ),
    "image": (
        Image(),
        (PICTURES + 0.1 * normal(10, 3, 8, 8)).clamp(0, 1),
        PICTURES,
        lambda z, y: reference.image.peak_signal_noise_ratio(
            z, y, data_range=1.0, dim=(1, 2, 3), reduction="elementwise_mean"
        ),
    ),
    "embedding": (
        Embedding(),
        normal(10, 7),
        normal(10, 7),
        lambda z, y: reference.cosine_similarity(z, y, reduction="mean"),
    ),
    "regression": (
        Regression(),
        NUMBERS + 0.3 * normal(10, 3),
        NUMBERS,
        lambda z, y: reference.r2_score(z, y),
    ),
    "agreement": (Agreement(), normal(10, 6) + 1, normal(10, 6), share_of_variance),
}


def in_batches(outputs, targets):
    """Outputs as if they were inputs, which nobody changes."""
    return [
        (outputs[at : at + 4], targets[at : at + 4]) for at in range(0, len(outputs), 4)
    ]


@pytest.mark.parametrize("name", CASES)
def test_a_metric_is_that_of_torchmetrics_however_it_is_batched(name):
    task, outputs, targets, wanted = CASES[name]
    found = judged(task, nn.Identity(), in_batches(outputs, targets))
    expected = max(0.0, float(wanted(outputs, targets)))
    assert found == pytest.approx(expected, abs=1e-5)
    each = scores_of(task, nn.Identity(), in_batches(outputs, targets))
    if each is not None:
        assert float(each.mean()) == pytest.approx(found)


@pytest.mark.parametrize("name", CASES)
def test_the_best_outputs_are_the_best_and_lose_nothing(name):
    task, outputs, targets, _ = CASES[name]
    best = {
        "classification": lambda: 100 * nn.functional.one_hot(targets, 4).float(),
        "segmentation": lambda: (
            100 * nn.functional.one_hot(targets, 4).movedim(-1, 1).float()
        ),
        "multilabel": lambda: 200 * targets - 100,
    }.get(name, lambda: targets)()
    top = {"image": 100.0}.get(name, 1.0)
    assert task.value(task.tally(best, targets)) == pytest.approx(top)
    assert task.value(task.tally(outputs, targets)) < top
    if task.learns:
        assert task.loss(best, targets) < 1e-3 < task.loss(outputs, targets)


@pytest.mark.parametrize("name", CASES)
def test_what_is_learnt_comes_nearer(name):
    task, outputs, targets, _ = CASES[name]
    z = outputs.clone().requires_grad_()
    teacher = normal(*outputs.shape)
    before = loss_of(task, z, targets, teacher)
    before.backward()
    after = loss_of(task, z.detach() - 1e-3 * z.grad, targets, teacher)
    assert after < before


def test_nothing_can_be_learnt_without_targets_and_teacher():
    with pytest.raises(WorkloadError, match="no targets to learn by"):
        loss_of(Agreement(), normal(4, 2), torch.zeros(4), None)


def test_pixels_that_nobody_has_labelled_do_not_count():
    task, z = Segmentation(), normal(2, 3, 4, 4)
    y = z.argmax(1)
    other = y.clone()
    other[:, 0] = 255
    z[:, :, 0] = -z[:, :, 0]
    assert task.value(task.tally(z, other)) == 1.0 > task.value(task.tally(z, y))
    assert torch.isfinite(task.loss(z, other))


def test_a_coarser_grid_is_brought_to_that_of_the_masks():
    coarse = torch.zeros(1, 2, 2, 2)
    coarse[0, 1, :, 1] = 1
    coarse[0, 0, :, 0] = 1
    fine = torch.tensor([[0, 0, 1, 1]] * 4)[None]
    assert Segmentation().value(Segmentation().tally(coarse, fine)) == 1.0


@pytest.mark.parametrize(
    ("task", "outputs", "targets", "complaint"),
    [
        (Classification(), normal(2, 1), torch.tensor([0, 2]), "has 1 outputs, the"),
        (Classification(), normal(2, 1, 1), MASKS[:2], r"found shape \(2, 1, 1\)"),
        (Classification(), {"out": 1}, torch.tensor([0, 1]), "found dict"),
        (Classification(), normal(4, 2), torch.tensor([0, 1]), "4 rows for 2 samples"),
        (Classification(), normal(2, 2), torch.tensor([0.0, 1.0]), "class numbers"),
        (Classification(), normal(2, 1), torch.tensor([0.0, 0.5]), "class numbers"),
        (Segmentation(), normal(2, 3), MASKS[:2], "class scores of shape"),
        (Segmentation(), normal(2, 3, 6, 6), MASKS[:2] + 3, "scores of 3 classes"),
        (Image(), normal(2, 3, 4, 4), PICTURES[:2], "images of the targets' shape"),
        (Embedding(), normal(2, 3), normal(2, 4), r"vectors .* found shape \(2, 3\)"),
        (Regression(), normal(2, 3), normal(2, 4), "numbers of the targets' shape"),
        (Multilabel(), normal(2, 3), normal(2, 4), "scores of the targets' shape"),
        (Agreement(), normal(2, 3), normal(2, 4), "outputs of the targets' shape"),
    ],
)
def test_outputs_that_do_not_fit_are_refused(task, outputs, targets, complaint):
    with pytest.raises(WorkloadError, match=complaint):
        task.check(outputs, targets)


@pytest.mark.parametrize(
    ("outputs", "targets", "kind"),
    [
        (normal(4, 3), whole(3, 4), Classification),
        (normal(4, 3, 8, 8), whole(3, 4, 8, 8), Segmentation),
        (normal(4, 3, 8, 8), normal(4, 3, 8, 8), Image),
        (normal(4, 3), whole(2, 4, 3).float(), Multilabel),
        (normal(4, 3), normal(4, 3), Regression),
        (normal(4, 1), normal(4), Regression),
        (normal(4), normal(4), Regression),
        ({"out": normal(4)}, whole(3, 4), Classification),
    ],
)
def test_a_task_is_told_by_what_outputs_and_targets_look_like(outputs, targets, kind):
    assert type(inferred(outputs, targets)) is kind


def test_tasks_have_names():
    assert isinstance(task_named("segmentation"), Segmentation)
    with pytest.raises(ConfigError, match="Unknown task 'tasty': choose one of"):
        task_named("tasty")


def test_agreement_is_by_the_largest_score_where_outputs_look_like_scores():
    assert isinstance(agreement_with(normal(4, 3), labelled=False), TopAgreement)
    assert type(agreement_with(normal(4, 1), labelled=False)) is Agreement
    assert type(agreement_with(normal(4, 3, 8), labelled=False)) is Agreement
    assert not TopAgreement(labelled=False).learns


def test_several_values_are_one_row_and_several_again():
    value = {"image": normal(5, 3, 2, 2), "kind": whole(9, 5), "on": whole(2, 5, 4) > 0}
    structure = Structure.of(value, "x")
    rows = structure.packed(value)
    assert rows.shape == (5, 12 + 1 + 4)
    again = structure.named(rows)
    assert list(again) == ["image", "kind", "on"]
    for name, wanted in value.items():
        assert again[name].dtype == wanted.dtype
        assert torch.equal(again[name], wanted)
    nested = Structure.of((value["image"], [value["kind"]]), "x")
    assert nested.names == ("x_0", "x_1_0")
    more = {**value, "aux": normal(5, 7)}
    assert torch.equal(structure.packed(more), rows)
    with pytest.raises(WorkloadError, match="first axis of all"):
        Structure.of((normal(5, 2), normal(4, 2)), "x")
    with pytest.raises(WorkloadError, match="no tensor"):
        Structure.of({"a": 1}, "x")


def test_of_several_outputs_each_counts_alike_however_large_it_is():
    small, large = normal(50, 2), 1000 * normal(50, 3)
    structure = Structure.of((small, large), "out")
    task = Unpacking(Agreement(), structure, structure)
    wanted = structure.packed((small, large))
    half = structure.packed((torch.zeros(50, 2) + small.mean(), large))
    assert task.value(task.tally(half, wanted)) == pytest.approx(0.5, abs=1e-6)
    assert float(task.distilled(half, wanted)) == pytest.approx(0.5, rel=0.05)
    assert np.isclose(task.value(task.tally(wanted, wanted)), 1.0)


def test_a_single_value_by_name_stays_in_its_shape():
    several = Structure.of({"out": normal(2, 3, 4, 4)}, "output")
    x = normal(5, 3, 4, 4)
    assert torch.equal(several.packed({"out": x}), x)
    assert torch.equal(several.named(x)["out"], x)


def test_rows_of_another_length_are_refused():
    several = Structure.of((normal(2, 3), normal(2, 4)), "output")
    with pytest.raises(WorkloadError, match="are 7 numbers of a sample, found 6"):
        several.unpacked(normal(2, 6))


def points():
    """Targets of 6 samples with 5 points each, one of them unseen."""
    own = torch.Generator().manual_seed(0)
    places = 4 + 24 * torch.rand(6, 5, 2, generator=own)
    targets = torch.cat([places, torch.ones(6, 5, 1)], 2)
    targets[:, 4, 2] = 0
    return targets


def pck(task, outputs, targets):
    return task.value(task.tally(outputs, targets))


def test_targets_that_never_vary_are_answered_or_not():
    task, targets = Regression(), torch.tensor([[1.0, 2.0]] * 4)
    off = targets + torch.tensor([0.0, 1e-3])
    assert task.value(task.tally(off, targets)) == 0.5
    assert task.value(task.tally(targets, targets)) == 1


def test_points_are_found_within_a_tenth_of_what_they_span():
    task, targets = Keypoints(), points()
    places = targets[..., :2].clone()
    assert pck(task, places, targets) == 1.0
    seen = targets[:, :4, :2]
    span = (seen.amax(1) - seen.amin(1)).amax(1)
    places[:, 0, 0] += 0.09 * span
    places[:, 1, 1] += 0.11 * span
    places[:, 4] += 100  # which nobody sees
    assert pck(task, places, targets) == 0.75


def test_heatmaps_are_read_at_their_hottest_cell():
    task, targets = Keypoints(stride=4), points()
    maps = torch.zeros(6, 5, 8, 8)
    cells = (targets[..., :2] / 4).long().clamp(0, 7)
    for sample in range(6):
        for point in range(5):
            x, y = cells[sample, point].tolist()
            maps[sample, point, y, x] = 1.0
    targets[..., :2] = (cells + 0.5) * 4
    assert pck(task, maps, targets) == 1.0


@pytest.mark.parametrize("shape", [(6, 5, 2), (6, 5, 32, 32)])
def test_points_can_be_learnt(shape):
    task, targets = Keypoints(stride=1), points()
    outputs = nn.Parameter(torch.zeros(shape))
    optimizer = torch.optim.Adam([outputs], 0.5)
    first = pck(task, outputs, targets)
    for _ in range(200):
        optimizer.zero_grad()
        task.loss(outputs, targets).backward()
        optimizer.step()
    assert pck(task, outputs, targets) > max(first, 0.9)


def test_other_points_are_refused():
    with pytest.raises(WorkloadError, match=r"places \(N, 5, 2\) or heatmaps"):
        Keypoints().check(normal(6, 10), points())


def test_steps_without_a_class_do_not_count():
    task, outputs = Sequence(), normal(4, 7, 3)
    targets = outputs.argmax(2)
    targets[:, 0] = (targets[:, 0] + 1) % 3
    assert pck(task, outputs, targets) == pytest.approx(6 / 7)
    targets[:, 0] = -100
    targets[0, 1] = 255
    assert pck(task, outputs, targets) == 1.0
    assert task.loss(outputs, targets) == pytest.approx(
        float(
            nn.functional.cross_entropy(
                outputs[targets.abs() < 100], targets[targets.abs() < 100]
            )
        )
    )
    with pytest.raises(WorkloadError, match="for each step"):
        task.check(normal(4, 3, 7), targets)


def test_classes_of_steps_make_a_sequence():
    assert isinstance(inferred(normal(1, 7, 3), whole(3, 1, 7)), Sequence)
