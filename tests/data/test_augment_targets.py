"""Targets that hold places are changed with their images."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from edgeprune.data import paired
from edgeprune.data.augment import Augmentation, augmentation_for
from edgeprune.data.splits import Arrays, Reading, array_splits
from edgeprune.errors import WorkloadError
from edgeprune.tasks import (
    IGNORED,
    Agreement,
    Classification,
    Detection,
    Image,
    Keypoints,
    Regression,
    Segmentation,
)

SIDE, COUNT = 32, 60


class Learning(Detection):
    """A detector that learns from boxes."""

    learns = True


EVERY = ("crop", "rotate", "flip")


def squares(seed=0):
    """Images with one bright square each, and its corners, shape (N, 4)."""
    draw = np.random.default_rng(seed)
    x, corners = torch.zeros(COUNT, 1, SIDE, SIDE), torch.zeros(COUNT, 4)
    for at in range(COUNT):
        left, top = draw.integers(0, SIDE - 9, 2)
        x[at, :, top : top + 8, left : left + 8] = 1.0
        corners[at] = torch.tensor([left, top, left + 8, top + 8])
    return x, corners


def bounds(image):
    """The corners of what is bright in an image; None where nothing is."""
    rows, columns = image[0].nonzero(as_tuple=True)
    if not len(rows):
        return None
    ends = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    return torch.stack(ends).float()


@pytest.mark.parametrize("changes", [("flip",), ("crop",), EVERY])
def test_a_mask_moves_with_its_image(changes):
    x, _ = squares()
    mask = x[:, 0].long()
    seen, classes = Augmentation(changes)(x, mask, Segmentation())
    assert not torch.equal(seen, x)
    assert classes.dtype == mask.dtype
    known = classes != IGNORED
    assert known.all() == (changes == ("flip",))  # a border comes in of nobody's class
    right = (classes == (seen[:, 0] > 0.5)) | ~known
    assert right.float().mean() > (0.99 if "rotate" in changes else 0.9999)


def test_boxes_move_with_their_images_and_are_cut_at_the_border():
    x, corners = squares()
    rows = torch.zeros(COUNT, 2, 5)
    rows[:, 0] = torch.cat([torch.full((COUNT, 1), 2.0), corners], 1)
    rows[:, 1, 0] = -1.0  # nothing but a row that fills up
    seen, moved = Augmentation(("crop", "flip"))(x, rows, Learning())
    assert moved.shape == rows.shape
    assert (moved[:, 1, 0] == -1).all()
    different = 0
    for image, row, before in zip(seen, moved[:, 0], corners, strict=True):
        found = bounds(image)
        assert (row[0] == 2) == (found is not None)
        if found is not None:
            assert torch.equal(row[1:], found)
            different += not torch.equal(found, before)
    assert different > COUNT / 2


def test_a_box_that_leaves_the_image_is_none_any_more():
    x = torch.ones(COUNT, 1, SIDE, SIDE)
    rows = torch.tensor([0.0, 0, 0, 1, 1]).expand(COUNT, 1, 5).clone()
    _, moved = Augmentation(("crop",))(x, rows, Learning())
    gone = moved[:, 0, 0] == -1
    assert 0 < gone.sum() < COUNT
    assert (moved[~gone, 0, 3:] - moved[~gone, 0, 1:3]).min() >= 1


def test_keypoints_move_with_their_images():
    x, corners = squares()
    points = torch.ones(COUNT, 2, 3)
    points[:, 0, :2] = corners[:, :2]  # where the square begins
    points[:, 1, 2] = 0.0  # one that nobody sees
    seen, moved = Augmentation(("crop",))(x, points, Keypoints())
    assert (moved[:, 1, 2] == 0).all()
    for image, point in zip(seen, moved[:, 0], strict=True):
        if point[2]:
            assert torch.equal(point[:2], bounds(image)[:2])
        else:
            assert (point[:2] < 0).any()
    assert 0 < (moved[:, 0, 2] == 0).sum() < COUNT / 2


def test_a_picture_of_another_size_is_mirrored_with_its_image():
    x, _ = squares()
    double = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    seen, wanted = Augmentation(("flip",))(x, double, Image())
    assert not torch.equal(seen, x)
    assert torch.equal(wanted[:, :, ::2, ::2], seen)
    with pytest.raises(WorkloadError, match="32x32 and targets of 64x64 can"):
        Augmentation(("crop",))(x, double, Image())


@pytest.mark.parametrize(
    ("task", "shape", "changes"),
    [
        (Classification(), (), ("crop", "flip")),
        (Segmentation(), (SIDE, SIDE), ("crop", "flip")),
        (Detection(), (1, 5), ("crop", "flip")),
        (Agreement(), (), ("crop", "flip")),
        (Keypoints(), (4, 3), ("crop",)),  # a mirrored left eye is a right one
        (Image(), (3, SIDE, SIDE), ("flip",)),
        (Regression(), (), ()),  # of which nobody knows
    ],
)
def test_what_the_task_does_not_bear_is_left_out_unless_asked_for(task, shape, changes):
    x, y = np.zeros((40, 3, SIDE, SIDE), np.uint8), np.zeros((40, *shape), np.int64)
    y[::2] = 1
    arrays = Arrays("photos", x, y, x, y, safe_augmentations=("crop", "flip"))
    data = replace(array_splits(arrays, Reading(8)), task=task)
    assert augmentation_for(data, None).changes == changes
    assert augmentation_for(data, EVERY).changes == EVERY


def test_masks_of_another_size_are_mirrored_only():
    x, y = np.zeros((40, 3, SIDE, SIDE), np.uint8), np.zeros((40, 16, 16), np.int64)
    y[:, 0, 0] = 1
    arrays = Arrays("photos", x, y, x, y, safe_augmentations=("crop", "flip"))
    data = replace(array_splits(arrays, Reading(8)), task=Segmentation())
    before = torch.get_rng_state()
    assert augmentation_for(data, None).changes == ("flip",)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_folder_of_masks_bears_what_photos_do(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
        for at in range(8):
            mode = "RGB" if name == "images" else "L"
            colour = at % 2 if mode == "L" else 0
            Picture.new(mode, (16, 16), colour).save(tmp_path / name / f"{at}.png")
    data = paired.load(str(tmp_path), Reading(4), (3, 16, 16))
    assert data.safe_augmentations == ("crop", "flip")


@pytest.mark.parametrize("task", [Segmentation(), Keypoints(), Image(), Detection()])
def test_images_alone_move_where_nothing_is_learnt_from_targets(task):
    x, _ = squares()
    seen, y = Augmentation(EVERY)(x, torch.zeros(COUNT), task.answered())
    assert not torch.equal(seen, x)
    assert torch.equal(y, torch.zeros(COUNT))


def test_a_target_without_channels_stays_without():
    x, _ = squares()
    seen, depth = Augmentation(("flip",))(x, x[:, 0], Image())
    assert torch.equal(depth, seen[:, 0])
