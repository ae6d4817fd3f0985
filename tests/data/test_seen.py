"""Targets of whole splits are looked at before anything is measured."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import edgeprune
from edgeprune.data import Reading
from edgeprune.data.factory import splits_of
from edgeprune.errors import DataError, WorkloadError
from edgeprune.files import cache_folder
from edgeprune.tasks import Detection, Segmentation, Structure, inferred
from edgeprune.tasks.values import Image
from tests.made_up import FAKE

COUNT, SIDE, CLASSES = 24, 8, 3


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, CLASSES, 1)
    )


def masks(seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(COUNT, 3, SIDE, SIDE, generator=generator)
    return x, torch.randint(CLASSES, (COUNT, SIDE, SIDE), generator=generator)


def loaders(change=lambda _, y: y):
    """Loaders whose masks were changed, by their split."""
    parts = []
    for number, split in enumerate(("train", "validation", "test")):
        x, y = masks(number)
        parts.append(DataLoader(TensorDataset(x, change(split, y)), 8))
    return tuple(parts)


def read(data):
    return splits_of("data", data, Reading(8))


def planted(split, value, at=-1):
    """The last mask of a split has another value in its corner."""

    def change(found, y):
        if found == split:
            y[at, 0, 0] = value
        return y

    return change


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_class_that_is_too_large_in_a_last_mask_is_told_first(split, tmp_path):
    with pytest.raises(WorkloadError, match=r"of 3 classes, the masks have class 3"):
        edgeprune.compress(
            net(),
            loaders(planted(split, CLASSES)),
            budget={"max_macs": "60%"},
            target=FAKE,
            train=False,
            out=tmp_path / "run",
        )
    assert not (tmp_path / "run").exists()
    assert not list(cache_folder().glob("unfinished/*"))


@pytest.mark.parametrize("nobody", [-1, -100, 255])
def test_what_nobody_has_labelled_neither_counts_nor_teaches(nobody):
    task, (_, y) = Segmentation(), masks(0)
    scores = torch.randn(COUNT, CLASSES, SIDE, SIDE)
    part, other = y.clone(), y.clone()
    part[:, : SIDE // 2], other[:, : SIDE // 2] = nobody, 255
    task.check(scores, part)
    assert torch.equal(task.tally(scores, part), task.tally(scores, other))
    assert task.tally(scores, part).sum() == y.numel() / 2
    assert task.loss(scores, part) == task.loss(scores, other)
    assert torch.isfinite(task.loss(scores, part))


def test_masks_may_have_an_axis_of_one_channel():
    task, (_, y) = Segmentation(), masks(0)
    scores = torch.randn(COUNT, CLASSES, SIDE, SIDE)
    assert isinstance(inferred(scores, y[:, None]), Segmentation)
    task.check(scores, y[:, None])
    assert torch.equal(task.tally(scores, y[:, None]), task.tally(scores, y))
    assert task.loss(scores, y[:, None]) == task.loss(scores, y)
    with pytest.raises(WorkloadError, match="Masks must be whole numbers"):
        task.check(scores, y / 2)


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [
        (torch.zeros(4, 3, 8, 8), torch.zeros(4, 8, 8)),
        (torch.zeros(4), torch.zeros(4, 2)),
        (torch.zeros(4, 1, 8, 8), torch.zeros(4, 1, 4, 4)),
    ],
)
def test_what_fits_no_task_is_told_by_both_shapes(outputs, targets):
    with pytest.raises(WorkloadError, match=r"Outputs of shape \(4.*float32 targets"):
        inferred(outputs, targets)


def test_pictures_of_0_and_1_may_be_labels():
    outputs, targets = torch.rand(1, 1, 8, 8), torch.ones(4, 1, 8, 8)
    with pytest.raises(WorkloadError, match="--task segmentation, or --task image"):
        inferred(outputs, targets)
    targets[3] = 0.5  # the first alone does not say so
    assert isinstance(inferred(outputs, targets), Image)
    assert isinstance(inferred(outputs, targets.round().long()), Segmentation)
    with pytest.raises(WorkloadError, match="--task multilabel, or --task image"):
        inferred(torch.rand(1, 3, 8, 8), torch.ones(4, 3, 8, 8))


def test_masks_of_0_and_255_are_no_and_yes_from_a_loader_too():
    splits = read(loaders(lambda _, y: (y > 0) * 255))
    for part in (splits.train, splits.validation, splits.test, splits.calibration):
        assert set(torch.cat([y for _, y in part]).unique().tolist()) == {0, 1}
    assert "masks of 0 and 255 are taken as classes 0 and 1" in splits.note
    splits = read(loaders(planted("test", 255)))  # beside other classes
    assert "0 and 255" not in splits.note
    assert 255 in torch.cat([y for _, y in splits.test])


def test_a_split_without_a_label_is_refused():
    def blank(split, y):
        return torch.full_like(y, 255) if split == "test" else y

    with pytest.raises(DataError, match="masks of the test split label nothing"):
        read(loaders(blank))


def test_yes_and_no_are_classes():
    x = torch.rand(COUNT, 3, SIDE, SIDE)
    part = TensorDataset(x, torch.arange(COUNT) % 2 == 0)
    splits = read((part, part, part))
    assert splits.classes == 2
    assert next(iter(splits.test))[1].dtype is torch.int64


def test_a_box_of_a_class_that_there_is_not_is_told_wherever_it_stands():
    rows = torch.full((COUNT, 2, 5), -1.0)
    rows[:, 0] = torch.tensor([0.0, 1, 1, 4, 4])
    parts = [rows.clone() for _ in range(3)]
    parts[0][-1, 1] = torch.tensor([7.0, 1, 1, 4, 4])
    splits = read(tuple(TensorDataset(masks(0)[0], part) for part in parts))
    found = torch.zeros(1, 4 + CLASSES, 10)
    with pytest.raises(WorkloadError, match="class 7"):
        Detection().check(found, splits.largest[0])


def test_values_are_packed_by_their_names():
    left, right = torch.zeros(4, 2), torch.ones(4, 2)
    structure = Structure.of({"left": left, "right": right}, "x")
    expected = torch.cat([left, right], 1)
    assert torch.equal(structure.packed({"right": right, "left": left}), expected)
    part = [
        ({"left": a, "right": b}, a.sum()) for a, b in zip(left, right, strict=True)
    ]
    swapped = [({"right": x["right"], "left": x["left"]}, y) for x, y in part]
    splits = read((part, part, swapped))
    assert torch.equal(next(iter(splits.test))[0], expected)
    wrong = [({"left": x["left"], "foto": x["right"]}, y) for x, y in part]
    with pytest.raises(DataError, match="one lacks 'right'"):
        read((part, part, wrong))
