"""Lists of samples from Python, and boxes of which each image has another number."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from edgeprune.data import Reading
from edgeprune.data.factory import splits_of
from edgeprune.errors import DataError

IMAGE = torch.rand(3, 16, 16)
READING = Reading(8)


def split(part, others=None):
    others = part if others is None else others
    return splits_of("data", (part, others, others), READING)


TARGETS = {
    "a class": 1,
    "numbers": torch.rand(2),
    "a list of numbers": [0.1, 0.2],
    "an array": np.zeros(2, np.float32),
    "a picture": torch.rand(3, 16, 16),
    "a mask": torch.zeros(16, 16, dtype=torch.int64),
    "by name": {"place": torch.rand(2), "kind": 1},
}


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_list_of_samples_is_no_list_of_batches(target):
    rows = [(IMAGE, target)] * 20
    if isinstance(target, int):
        rows = [(IMAGE, at % 2) for at in range(20)]
    found = split(rows)
    assert found.sample_shape == (3, 16, 16)
    assert found.sizes == (20, 20, 20)


def test_samples_of_several_inputs():
    x = {"image": IMAGE, "lens": torch.tensor(0.5)}
    found = split([(x, at % 2) for at in range(20)])
    assert found.structure.names == ("image", "lens")
    assert found.sizes == (20, 20, 20)


@pytest.mark.parametrize("y", [torch.arange(4) % 2, torch.rand(4, 2)])
def test_a_list_of_batches_stays_one(y):
    found = split([(torch.rand(4, 3, 16, 16), y)] * 5)
    assert found.sample_shape == (3, 16, 16)
    assert found.sizes == (20, 20, 20)


def test_a_list_of_dicts_has_its_target_by_name():
    found = split([{"image": IMAGE, "target": at % 2} for at in range(20)])
    assert found.labelled
    assert found.sample_shape == (3, 16, 16)


class Scenes(Dataset):
    """Images with one to four boxes."""

    def __init__(self, form, most=4):
        self.form, self.most = form, most

    def __len__(self):
        return 20

    def __getitem__(self, at):
        corners = torch.arange(4.0).repeat(1 + at % self.most, 1) + at
        labels = torch.full((len(corners),), at % 3)
        return torch.rand(3, 16, 16), self.form(corners, labels)


FORMS = {
    "as torchvision has them": lambda boxes, labels: {"boxes": boxes, "labels": labels},
    "in rows": lambda boxes, labels: torch.cat([labels[:, None].float(), boxes], 1),
}


def collated(samples):
    return tuple(zip(*samples, strict=True))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("loaded", [False, True])
def test_boxes_are_filled_up(form, loaded):
    part = Scenes(form)
    held = DataLoader(part, 8, collate_fn=collated) if loaded else part
    found = split(held)
    x, y = next(iter(found.validation))
    assert x.shape == (8, 3, 16, 16)
    assert y.shape == (8, 100, 5)
    assert (y[..., 0] >= 0).sum(1).tolist() == [1, 2, 3, 4, 1, 2, 3, 4]
    assert y[5, 1].tolist() == [2.0, 5.0, 6.0, 7.0, 8.0]
    assert found.classes == 0


def test_as_many_rows_everywhere_are_left_as_they_are():
    found = split(Scenes(FORMS["in rows"], most=1))
    assert next(iter(found.test))[1].shape == (8, 1, 5)


class Endless(IterableDataset):
    """Samples in an order of its own."""

    def __iter__(self):
        yield from ((IMAGE, at % 2) for at in range(20))


def test_data_sets_without_an_order_are_read():
    assert split(Endless()).sizes == (20, 20, 20)


def test_a_data_set_that_fails_says_so():
    with pytest.raises(DataError, match="failed while a batch was read: no such file"):
        split(Scenes(lambda *_: (_ for _ in ()).throw(OSError("no such file"))))


def test_more_boxes_than_count_are_refused():
    with pytest.raises(DataError, match="101 boxes, at most 100"):
        split([(IMAGE, {"boxes": torch.rand(101, 4), "labels": torch.zeros(101)})] * 9)


def test_images_of_several_sizes_are_refused():
    boxes = {"boxes": torch.rand(1, 4), "labels": torch.zeros(1)}
    part = [(torch.rand(3, 8 + at, 8), boxes) for at in range(9)]
    with pytest.raises(DataError, match="several sizes"):
        split(part)
