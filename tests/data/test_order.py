"""Loaders of users, which shuffle, collate and change, and batches by name."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import edgeprune
from edgeprune.data import Reading
from edgeprune.data.factory import splits_of
from edgeprune.errors import DataError
from tests.made_up import FAKE

COUNT = 40
QUICKLY = {
    "budget": {"max_macs": "70%"},
    "target": FAKE,
    "train": False,
    "effort": "quick",
    "max_drop": 100,
}


def samples(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(COUNT, 3, 8, 8, generator=generator)
    return TensorDataset(x, torch.arange(COUNT) % 4)


class Named(Dataset):
    """Samples as dicts, beside what is no number."""

    def __init__(self, held, names=("image", "label")):
        self.held, self.names = held, names

    def __len__(self):
        return len(self.held)

    def __getitem__(self, at):
        return {**dict(zip(self.names, self.held[at], strict=True)), "path": f"{at}"}


class Changing(Dataset):
    """Every look at a sample gives another one."""

    def __init__(self, held, *, labelled):
        self.held, self.labelled = held, labelled

    def __len__(self):
        return len(self.held)

    def __getitem__(self, at):
        x, y = self.held[at]
        x = x + 0.1 * torch.randn(x.shape)
        return (x, y) if self.labelled else (x,)


class Endless(IterableDataset):
    def __iter__(self):
        return iter(samples())


def read(*parts):
    return splits_of("data", parts, Reading(8))


def test_a_loader_that_shuffles_judges_the_same_samples_in_each_pass():
    def shuffled(seed):
        return DataLoader(samples(seed), 8, shuffle=True)

    splits = read(shuffled(0), shuffled(1), shuffled(2))
    for part in (splits.validation, splits.test):
        first, second = (torch.cat([x for x, _ in part]) for _ in range(2))
        assert torch.equal(first, second)
    assert splits.note == "split by the factory"
    first, second = (torch.cat([x for x, _ in splits.train]) for _ in range(2))
    assert not torch.equal(first, second)


def test_without_labels_shuffled_loaders_agree_with_the_original(tmp_path):
    parts = [
        DataLoader([one[0] for one in samples(at)], 8, shuffle=True) for at in range(3)
    ]
    report = edgeprune.compress(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)),
        tuple(parts),
        out=tmp_path / "run",
        **QUICKLY,
    ).report
    assert report.baseline.validation_accuracy == pytest.approx(1.0, abs=1e-5)


def test_samples_that_change_are_told_or_refused():
    labelled = (samples(), Changing(samples(1), labelled=True), samples(2))
    assert "the validation samples are others in each pass" in read(*labelled).note
    alone = [Changing(samples(at), labelled=False) for at in range(3)]
    with pytest.raises(DataError, match="validation samples are others in each pass"):
        read(*alone)


def test_what_is_cut_is_collated_as_the_loader_does():
    def doubled(held):
        x, y = zip(*held, strict=True)
        return 2 * torch.stack(x), torch.tensor(y)

    parts = [DataLoader(samples(at), 8, collate_fn=doubled) for at in range(2)]
    splits = read(*parts)
    assert splits.cut_from_training == ("validation",)
    whole = {tuple(x.flatten().tolist()) for x, _ in samples()}
    for part in (splits.train, splits.validation, splits.calibration):
        found = torch.cat([x for x, _ in part]) / 2
        assert {tuple(x.flatten().tolist()) for x in found} <= whole


@pytest.mark.parametrize("batched", [False, True])
def test_batches_by_name_have_their_labels(batched):
    parts = [Named(samples(at)) for at in range(3)]
    splits = read(*([DataLoader(one, 8) for one in parts] if batched else parts))
    assert splits.labelled
    assert (splits.classes, splits.structure) == (4, None)
    x, y = next(iter(splits.test))
    assert torch.equal(x[0], samples(2)[0][0])
    assert y.tolist() == [0, 1, 2, 3] * 2


def test_inputs_by_name_without_a_label_stay_inputs():
    parts = [Named(samples(at), ("image", "kind")) for at in range(3)]
    splits = read(*parts)
    assert not splits.labelled
    assert splits.structure.names == ("image", "kind")


def test_what_has_no_length_cannot_be_cut():
    with pytest.raises(DataError, match="of which train can be split"):
        read(Endless(), samples())
    with pytest.raises(DataError, match="of which train can be split"):
        read(DataLoader(Endless(), 8), samples())


def test_whole_numbers_of_a_regression_are_no_classes(tmp_path):
    rng = np.random.default_rng(0)
    parts = []
    for count in (300, 60):
        x = rng.random((count, 3, 8, 8), np.float32)
        y = (x.mean((1, 2, 3)) * 100).round().astype(np.int64)
        parts.append(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)))
    model = nn.Sequential(
        *(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(16, 1), nn.Flatten(0)),
    )
    report = edgeprune.compress(
        model,
        tuple(parts),
        task="regression",
        out=tmp_path / "run",
        **QUICKLY,
    ).report
    assert (report.metric.name, report.data.classes) == ("R2", 0)
