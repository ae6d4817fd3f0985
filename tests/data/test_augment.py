"""Random changes of training images: what each may do, and to what."""

import numpy as np
import pytest
import torch

from edgeprune.data import digits
from edgeprune.data.augment import CHARACTERS, PHOTOS, SHIFT, Augmentation, for_classes
from edgeprune.data.factory import load_torchvision, splits_of
from edgeprune.data.splits import Arrays, Reading
from edgeprune.tasks import Classification

SIDE = 32


def images(count=64):
    return torch.randn(count, 3, SIDE, SIDE) + 3


def alone(x, *changes):
    """Images whose targets are classes, which stay as they are."""
    y = torch.arange(len(x))
    changed, classes = Augmentation(changes)(x, y, Classification())
    assert torch.equal(classes, y)
    return changed


def test_a_flip_mirrors_about_half_of_the_images_from_left_to_right():
    x = images(200)
    changed = alone(x, "flip")
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(changed, x, strict=True)]
    same = [torch.equal(a, b) for a, b in zip(changed, x, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 60 < sum(mirrored) < 140


def test_a_crop_shifts_each_image_in_its_own_way_by_an_eighth_at_most():
    x = images()
    most = round(SIDE * SHIFT)
    changed = alone(x, "crop")
    shifts = {_shift(a, b, most) for a, b in zip(changed, x, strict=True)}
    assert len(shifts) > 20
    assert max(max(map(abs, shift)) for shift in shifts) == most


def _shift(changed, image, most):
    """By how many rows and columns an image was moved; the border is zero."""
    for down in range(-most, most + 1):
        for right in range(-most, most + 1):
            moved = torch.zeros_like(image)
            rows, columns = _overlap(down), _overlap(right)
            moved[:, rows[0], columns[0]] = image[:, rows[1], columns[1]]
            if torch.equal(moved, changed):
                return down, right
    raise AssertionError("no shift of this image")


def _overlap(by):
    """Slices of what arrives and of what it was."""
    if by >= 0:
        return slice(by, SIDE), slice(0, SIDE - by)
    return slice(0, SIDE + by), slice(-by, SIDE)


def test_a_rotation_turns_by_ten_degrees_at_most():
    """A bar through the middle stays within the sector that ten degrees sweep."""
    x = torch.zeros(100, 1, 33, 33)
    x[:, :, 16, :] = 1.0
    changed = alone(x, "rotate")
    ends = changed[:, 0, :, 28]  # 12 columns from the middle
    heights = (ends * torch.arange(33)).sum(1) / ends.sum(1) - 16
    assert heights.abs().max() <= 12 * np.tan(np.deg2rad(10)) + 1
    assert heights.max() > 1
    assert heights.min() < -1
    torch.testing.assert_close(changed[:, 0, 16, 16], torch.ones(100))


def test_a_seed_repeats_what_was_drawn():
    x, every = images(), ("crop", "rotate", "flip")
    torch.manual_seed(3)
    first = alone(x, *every)
    torch.manual_seed(3)
    assert torch.equal(first, alone(x, *every))
    assert not torch.equal(first, alone(x, *every))


@pytest.mark.parametrize("shape", [(4, 12, 25), (4, 20, 40, 40), (4, 3, 8, 8), (4, 9)])
def test_what_is_no_image_is_left_alone(shape):
    x = torch.randn(shape)
    assert alone(x, *PHOTOS) is x


def test_digits_are_not_mirrored():
    assert digits.load("digits", Reading(64)).safe_augmentations == CHARACTERS
    assert for_classes(["0", "1", "10"]) == CHARACTERS
    assert for_classes(["A", "b"]) == CHARACTERS
    assert for_classes(["cat", "dog"]) == PHOTOS
    assert for_classes(["n01440764", "n01443537"]) == PHOTOS


def test_torchvision_data_sets_bear_what_their_images_do(tmp_path, monkeypatch):
    class Held:
        def __init__(self, root, train):
            self.data = np.zeros((40, 16, 16), np.uint8)
            self.targets = np.arange(40) % 4

    monkeypatch.setattr("torchvision.datasets.MNIST", Held)
    monkeypatch.setattr("torchvision.datasets.FashionMNIST", Held)
    source = f"@{tmp_path}"
    assert (
        load_torchvision(f"MNIST{source}", Reading(8)).safe_augmentations == CHARACTERS
    )
    assert (
        load_torchvision(f"FashionMNIST{source}", Reading(8)).safe_augmentations
        == PHOTOS
    )


def test_a_users_own_pipeline_is_not_changed():
    x, y = np.zeros((40, 3, 32, 32), np.float32), np.arange(40) % 4
    arrays = Arrays("mine", x, y, x, y)
    assert splits_of("mine", arrays, Reading(8)).safe_augmentations == ()
