"""Folders of images with boxes, as YOLO and COCO have them."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from edgeprune.data import Reading, load_data
from edgeprune.errors import DataError

SHAPE = (3, 32, 64)  # images are 40 high and 80 wide
COUNT = 12


def images(folder, count=COUNT):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 255, (40, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")


def texts(folder, count=COUNT):
    """Image N has N % 3 boxes of class N % 4: a quarter of it wide, half as high."""
    folder.mkdir(parents=True)
    for number in range(count):
        line = f"{number % 4} 0.5 0.5 0.25 0.5\n"
        (folder / f"{number:02}.txt").write_text(line * (number % 3))


def described(path, count=COUNT):
    path.parent.mkdir(parents=True, exist_ok=True)
    held = {
        "images": [
            {"id": 100 + number, "file_name": f"{number:02}.png"}
            for number in range(count)
        ],
        "annotations": [
            {
                "image_id": 100 + n,
                "category_id": n % 4,
                "bbox": [30.0, 10.0, 20.0, 20.0],
            }
            for n in range(count)
            for _ in range(n % 3)
        ],
        "categories": [{"id": 0, "name": "cat"}],
    }
    path.write_text(json.dumps(held))


def yolo_whole(root):
    images(root / "images")
    texts(root / "labels")


def yolo_parts(root):
    for part in ("train", "valid", "test"):
        images(root / part / "images")
        texts(root / part / "labels")


def yolo_inside(root):
    for part in ("train2017", "val2017"):
        images(root / "images" / part)
        texts(root / "labels" / part)


def coco_whole(root):
    images(root / "images")
    described(root / "annotations.json")


def coco_beside(root):
    for part in ("train", "valid", "test"):
        images(root / part)
        described(root / part / "_annotations.coco.json")


def coco_instances(root):
    for part in ("train2017", "val2017"):
        images(root / part)
        described(root / "annotations" / f"instances_{part}.json")


LAYOUTS = [yolo_whole, yolo_parts, yolo_inside, coco_whole, coco_beside, coco_instances]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_boxes_are_read_in_pixels_of_the_input(layout, tmp_path):
    layout(tmp_path / "data")
    splits = load_data(str(tmp_path / "data"), Reading(4), SHAPE)
    assert splits.sample_shape == SHAPE
    assert splits.classes == 0
    for part in (splits.train, splits.validation, splits.test):
        for x, y in part:
            assert x.shape[1:] == SHAPE
            assert y.shape[1:] == (2, 5)
            there = y[y[..., 0] >= 0]
            assert (there[:, 0] < 4).all()
            for row in there:
                # a quarter of 64 wide and half of 32 high, in the middle
                assert row[1:].tolist() == pytest.approx([24, 8, 40, 24], abs=1e-4)
    assert sum(len(y) for _, y in splits.train) > 0


def test_what_is_given_is_not_split_anew(tmp_path):
    yolo_parts(tmp_path / "data")
    splits = load_data(str(tmp_path / "data"), Reading(4), SHAPE)
    assert splits.sizes == (COUNT, COUNT, COUNT)


def test_what_is_missing_is_cut_from_train(tmp_path):
    coco_instances(tmp_path / "data")
    splits = load_data(str(tmp_path / "data"), Reading(4), SHAPE)
    assert splits.sizes[1] == COUNT
    assert sum(splits.sizes) == 2 * COUNT
    assert "cut from train" in splits.note


def break_line(root):
    (root / "labels" / "01.txt").write_text("0 0.5 0.5 20 20\n")


def break_columns(root):
    (root / "labels" / "01.txt").write_text("0 0.5 0.5 0.1 0.1 0.9\n")


def break_word(root):
    (root / "labels" / "01.txt").write_text("cat 0.5 0.5 0.1 0.1\n")


def break_class(root):
    (root / "labels" / "01.txt").write_text("0.5 0.5 0.5 0.1 0.1\n")


def break_one_line(root):
    (root / "labels" / "01.txt").write_text("0 0.5 0.5 0.1 0.1\n0 0.5 0.5\n")


def empty(root):
    for path in (root / "labels").iterdir():
        path.write_text("")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (break_line, "shares of the image, found '0 0.5 0.5 20 20'"),
        (break_columns, "01.txt must have lines"),
        (break_word, "01.txt cannot be read"),
        (break_class, "found '0.5 0.5 0.5 0.1 0.1'"),
        (break_one_line, "found '0 0.5 0.5'"),
        (empty, "a box for none of 12 images"),
    ],
)
def test_broken_texts_are_named(harm, said, tmp_path):
    yolo_whole(tmp_path / "data")
    harm(tmp_path / "data")
    with pytest.raises(DataError, match=said):
        load_data(str(tmp_path / "data"), Reading(4), SHAPE)


def test_a_json_of_another_form_is_named(tmp_path):
    images(tmp_path / "data" / "images")
    (tmp_path / "data" / "boxes.json").write_text('{"images": [{"file": 1}]}')
    with pytest.raises(DataError, match="no file of COCO's form"):
        load_data(str(tmp_path / "data"), Reading(4), SHAPE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"annotations": []}, "has a box for none of 12 images"),
        (
            {"annotations": [{"image_id": 7, "bbox": [0, 0, 1, 1], "category_id": 1}]},
            "a box is of image 7, which it does not list",
        ),
        ({"annotations": [{"image_id": 100}]}, "it lacks 'bbox'"),
        (
            {"images": [{"id": at, "file_name": "00.png"} for at in (1, 2)]},
            "it lists an image twice",
        ),
    ],
)
def test_what_a_json_lacks_is_said(change, said, tmp_path):
    coco_whole(tmp_path / "data")
    path = tmp_path / "data" / "annotations.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=said):
        load_data(str(tmp_path / "data"), Reading(4), SHAPE)


def test_of_several_json_files_none_is_chosen(tmp_path):
    coco_whole(tmp_path / "data")
    described(tmp_path / "data" / "captions.json")
    with pytest.raises(DataError, match=r"several JSON files .annotations.json, capti"):
        load_data(str(tmp_path / "data"), Reading(4), SHAPE)


def test_an_image_that_is_named_and_not_there(tmp_path):
    coco_whole(tmp_path / "data")
    (tmp_path / "data" / "images" / "03.png").unlink()
    with pytest.raises(DataError, match=r"names 03.png, which .* lacks"):
        load_data(str(tmp_path / "data"), Reading(4), SHAPE)


def test_boxes_are_of_the_size_that_a_json_tells(tmp_path):
    """Images were made smaller since."""
    coco_whole(tmp_path / "data")
    before = load_data(str(tmp_path / "data"), Reading(4), SHAPE)
    path = next((tmp_path / "data").glob("*.json"))
    held = json.loads(path.read_text())
    for item in held["images"]:
        item |= {"width": 160, "height": 80}
    for item in held["annotations"]:
        item["bbox"] = [2 * value for value in item["bbox"]]
    path.write_text(json.dumps(held))
    after = load_data(str(tmp_path / "data"), Reading(4), SHAPE)
    for (_, first), (_, second) in zip(before.test, after.test, strict=True):
        assert torch.allclose(first, second)
    held["images"][0]["width"] = 0
    path.write_text(json.dumps(held))
    with pytest.raises(DataError, match="has a size of 0x80"):
        load_data(str(tmp_path / "data"), Reading(4), SHAPE)


def test_a_name_from_another_machine_is_told_as_it_is(tmp_path):
    coco_whole(tmp_path / "data")
    path = next((tmp_path / "data").glob("*.json"))
    held = json.loads(path.read_text())
    held["images"][0]["file_name"] = "/home/somebody/00.png"
    path.write_text(json.dumps(held))
    with pytest.raises(DataError, match=r"names /home/somebody/00.png, which"):
        load_data(str(tmp_path / "data"), Reading(4), SHAPE)


@pytest.mark.parametrize("shape", [(32, 64, 3), (4, 32, 64)])
def test_images_have_one_channel_or_three(tmp_path, shape):
    yolo_whole(tmp_path / "data")
    with pytest.raises(
        DataError, match=f"1 or 3 channels, --input asks for {shape[0]}"
    ):
        load_data(str(tmp_path / "data"), Reading(4), shape)
