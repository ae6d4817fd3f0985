"""Images with masks, with pictures that should come out, and images alone."""

import numpy as np
import pytest
from PIL import Image

from edgeprune.data import Reading, load_data, paired
from edgeprune.errors import DataError

READ, SHAPE = Reading(4), (3, 8, 8)


def fill(folder, count, kind=None, size=(16, 12)):
    rng = np.random.default_rng(count)
    for number in range(count):
        pixels = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
        (folder / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        if kind == "masks":
            mask = Image.fromarray((pixels[..., 0] > 127).astype(np.uint8) + number % 2)
            (folder / kind).mkdir(exist_ok=True)
            mask.save(folder / kind / f"{number}.png")
        elif kind:
            (folder / kind).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / kind / f"{number}.png")


def test_masks_are_class_numbers_of_the_size_of_the_input(tmp_path):
    fill(tmp_path, 20, "masks")
    splits = load_data(str(tmp_path), READ, SHAPE)
    assert splits.sizes == (14, 3, 3)
    x, y = next(iter(splits.validation))
    assert (x.shape, y.shape) == ((3, *SHAPE), (3, 8, 8))
    assert set(y.unique().tolist()) <= {0, 1, 2}
    assert not y.is_floating_point()
    assert 0 <= x.min() < x.max() <= 1


def test_targets_are_pictures_of_0_to_1(tmp_path):
    for part, count in (("train", 9), ("val", 4), ("test", 5)):
        fill(tmp_path / part, count, "targets")
    splits = load_data(str(tmp_path), READ, SHAPE)
    assert splits.sizes == (9, 4, 5)
    x, y = next(iter(splits.test))
    assert np.allclose(x, y)  # they are the same files here
    assert "split by the folder" in splits.note


def test_a_split_that_is_missing_is_cut_from_the_training_images(tmp_path):
    fill(tmp_path / "train", 20, "masks")
    fill(tmp_path / "test", 4, "masks")
    splits = load_data(str(tmp_path), READ, SHAPE)
    assert splits.sizes == (17, 3, 4)
    assert "cut from train/" in splits.note


def test_images_alone_have_no_labels(tmp_path):
    fill(tmp_path, 10)
    for splits in (
        load_data(str(tmp_path), READ, SHAPE),
        load_data(str(tmp_path / "images"), READ, SHAPE),
    ):
        assert not splits.labelled
        assert sum(splits.sizes) == 10


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda at: (at / "masks/3.png").unlink(), "has nothing for 3.png"),
        (lambda at: (at / "targets").mkdir(), "both masks/ and targets/"),
        (lambda at: (at / "masks/3.png").write_text("no"), "masks/3.png' cannot be"),
        (
            lambda at: Image.new("RGB", (9, 9)).save(at / "masks/3.png"),
            "one class number for each pixel",
        ),
    ],
)
def test_what_is_missing_or_broken_is_named(tmp_path, spoil, complaint):
    fill(tmp_path, 10, "masks")
    spoil(tmp_path)
    with pytest.raises(DataError, match=complaint):
        load_data(str(tmp_path), READ, SHAPE)


def test_an_empty_part_beside_a_training_one_is_none(tmp_path):
    for name in ("train/images", "train/masks", "test"):
        (tmp_path / name).mkdir(parents=True)
    for at in range(20):
        Image.new("RGB", (16, 16)).save(tmp_path / "train" / "images" / f"{at}.png")
        mask = Image.new("L", (16, 16), at % 2)
        mask.save(tmp_path / "train" / "masks" / f"{at}.png")
    data = paired.load(str(tmp_path), Reading(4), (3, 16, 16))
    assert sum(data.sizes) == 20
    assert "cut from train/" in data.note


def test_masks_of_0_and_255_are_two_classes(tmp_path):
    fill(tmp_path, 20, "masks")
    for path in (tmp_path / "masks").iterdir():
        held = np.asarray(Image.open(path)) % 2 * 255
        Image.fromarray(held.astype(np.uint8)).save(path)
    splits = load_data(str(tmp_path), READ, SHAPE)
    assert "taken as classes 0 and 1" in splits.note
    for part in (splits.train, splits.validation, splits.test):
        for _, y in part:
            assert set(y.unique().tolist()) == {0, 1}


def test_masks_of_one_class_say_nothing(tmp_path):
    fill(tmp_path, 20, "masks")
    for path in (tmp_path / "masks").iterdir():
        Image.fromarray(np.full((16, 12), 255, dtype=np.uint8)).save(path)
    with pytest.raises(DataError, match=r"one class only .found 255; 255 is nob"):
        load_data(str(tmp_path), READ, SHAPE)


def test_images_beside_class_folders_are_not_taken_for_all(tmp_path):
    fill(tmp_path, 4)
    (tmp_path / "images").rename(tmp_path / "cats")
    Image.new("RGB", (4, 4)).save(tmp_path / "cover.png")
    with pytest.raises(DataError, match=r"has images .cover.png.*folders .cats"):
        load_data(str(tmp_path), READ, SHAPE)


def test_a_folder_without_images_is_said(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match="images has no image"):
        load_data(str(tmp_path), READ, SHAPE)


def test_what_a_turned_camera_took_stands_upright(tmp_path):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 255
    for number in range(10):
        image = Image.fromarray(pixels)
        exif = image.getexif()
        exif[0x0112] = 6  # a quarter turn, clockwise
        (tmp_path / "photos").mkdir(exist_ok=True)
        image.save(tmp_path / "photos" / f"{number}.png", exif=exif)
    splits = load_data(str(tmp_path / "photos"), Reading(4), (3, 16, 8))
    x, _ = next(iter(splits.test))
    assert x[0, :, :7].min() > 0.9
    assert x[0, :, 9:].max() < 0.1
    assert "images are scaled to 0..1" in splits.note


def test_images_with_masks_have_one_channel_or_three(tmp_path):
    fill(tmp_path / "data", 10, "masks")
    with pytest.raises(DataError, match="1 or 3 channels, --input asks for 16"):
        load_data(str(tmp_path / "data"), Reading(4), (16, 16, 3))
