"""Images on disk: decoded once, in any number of threads, or streamed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgeprune.data import folder as folders
from edgeprune.data import images, load_data
from edgeprune.data.images import ImageBatches, Images
from edgeprune.data.splits import Reading, Scale
from edgeprune.errors import DataError

COUNT, SHAPE = 37, (3, 8, 6)
PLAIN = Scale((0.0,) * 3, (1.0,) * 3)


@pytest.fixture
def pictures(tmp_path):
    """Paths of images, each of a colour of its own."""
    paths = []
    for number in range(COUNT):
        path = tmp_path / f"{number}.png"
        pixels = np.full((8, 6, 3), [number, 2 * number, 3 * number], np.uint8)
        Image.fromarray(pixels).save(path)
        paths.append(str(path))
    return tuple(paths)


def batches(pictures, *, keep=True, seed=None, **more):
    held = Images(pictures, torch.arange(COUNT), SHAPE, keep)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return ImageBatches(held, Reading(8), PLAIN, generator, **more)


def right(x, y):
    """Whether images are those of their labels."""
    colours = torch.stack([y, 2 * y, 3 * y], 1)[:, :, None, None].expand(-1, *SHAPE)
    return torch.equal((x * 255).round(), colours.float())


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("threads", [1, 4])
def test_each_image_comes_with_its_label_in_every_pass(pictures, keep, threads):
    data = batches(pictures, keep=keep, seed=0, threads=threads)
    orders = []
    for _ in range(3):
        passed = list(data)
        assert all(right(x, y) for x, y in passed)
        orders.append(torch.cat([y for _, y in passed]).tolist())
        assert sorted(orders[-1]) == list(range(COUNT))
    assert orders[0] != orders[1] != orders[2]


def test_images_that_are_kept_are_decoded_once(pictures, monkeypatch):
    calls = []
    whole = images.opened
    monkeypatch.setattr(
        images, "opened", lambda path, shape: calls.append(path) or whole(path, shape)
    )
    kept, streamed = batches(pictures), batches(pictures, keep=False)
    for _ in range(2):
        list(kept)
    assert sorted(calls) == sorted(pictures)
    calls.clear()
    for _ in range(2):
        list(streamed)
    assert sorted(calls) == sorted(2 * pictures)


def test_only_a_few_batches_are_decoded_ahead(pictures, monkeypatch):
    calls = []
    whole = images.opened
    monkeypatch.setattr(
        images, "opened", lambda path, shape: calls.append(path) or whole(path, shape)
    )
    running = iter(batches(pictures, keep=False))
    next(running)
    running.close()
    assert len(calls) <= 8 * (1 + images.AHEAD)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_parts_are_the_whole(pictures, count):
    """Several processes: each row is in one part, and only its part is decoded."""
    wholes = list(batches(pictures, seed=5))
    parts = [list(batches(pictures, seed=5).part(at, count)) for at in range(count)]
    for number, (_, y) in enumerate(wholes):
        rows = [part[number][1] for part in parts]
        assert sorted(torch.cat(rows).tolist()) == sorted(y.tolist())
        assert all(right(*part[number]) for part in parts if len(part[number][1]))


def test_a_broken_image_ends_a_pass_with_its_name(pictures):
    Path(pictures[20]).write_bytes(b"no image")
    with pytest.raises(DataError, match=r"20\.png cannot be read"):
        list(batches(pictures))


def test_a_folder_that_does_not_fit_is_streamed_and_says_so(tmp_path, monkeypatch):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(20):
            pixels = np.full((8, 6, 3), number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    kept = folders.load(str(tmp_path), Reading(8), SHAPE)
    assert kept.note == "split by edgeprune: 70/15/15"
    monkeypatch.setattr(images, "MEMORY_SHARE", 0.0)
    streamed = folders.load(str(tmp_path), Reading(8), SHAPE)
    assert "too large to be kept in memory" in streamed.note
    for one, other in zip(kept.validation, streamed.validation, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def class_folders(root, *parts):
    for part in parts:
        for number, kind in enumerate(("cat", "dog")):
            (root / part / kind).mkdir(parents=True)
            for at in range(12):
                pixels = np.full((8, 8, 3), 20 * at + number, np.uint8)
                Image.fromarray(pixels).save(root / part / kind / f"{at}.png")


def test_parts_may_be_called_training_and_testing(tmp_path):
    class_folders(tmp_path, "Training", "Testing")
    splits = load_data(str(tmp_path), Reading(4), (3, 8, 8))
    assert (splits.classes, splits.class_names) == (2, ("cat", "dog"))
    assert splits.sizes[2] == 24


def test_parts_of_other_names_are_not_taken_for_classes(tmp_path):
    class_folders(tmp_path, "seg_train", "seg_test")
    with pytest.raises(DataError, match="the same folders in each of seg_test, seg_tr"):
        load_data(str(tmp_path), Reading(4), (3, 8, 8))
