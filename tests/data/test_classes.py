"""Class folders are numbered as the network's outputs are."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import ResNet18_Weights

from edgeprune.data import Reading, load_data
from edgeprune.data.classes import read_classes
from edgeprune.errors import DataError
from edgeprune.workload import output_names

FORMS = {
    "names": ["fish", "cat", "dog"],
    "outputs by name": {"fish": 0, "cat": 1, "dog": 2},
    "names by output": {"0": "fish", "1": "cat", "2": "dog"},
    "several names": {"0": ["n01", "fish"], "1": ["n02", "cat"], "2": ["n03", "dog"]},
}


def folder(root, names, count=12):
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for index in range(count):
            pixels = np.full((4, 4, 3), (20 * number + index) % 256, np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return str(root)


def labels(splits):
    return {int(y) for _, batch in splits.train for y in batch}


@pytest.mark.parametrize("form", FORMS)
def test_folders_get_the_outputs_that_a_file_says(form, tmp_path):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(FORMS[form]))
    reading = Reading(8, classes=read_classes(path))
    splits = load_data(folder(tmp_path / "x", ["cat", "dog"]), reading, (3, 4, 4))
    assert labels(splits) == {1, 2}
    assert splits.classes == 3
    brightness = {1: [], 2: []}
    for batch in splits.test:
        for x, y in zip(*batch, strict=True):
            brightness[int(y)].append(float(x.mean()))
    assert min(brightness[2]) > max(brightness[1])  # dogs are brighter


BROKEN = {
    "no file": (None, "cannot be read: No such file"),
    "no JSON": ("cat", "must be JSON"),
    "a number": ("3", "must be JSON"),
    "negative": ('{"cat": -1}', "must be JSON"),
    "true": ('{"cat": true}', "must be JSON"),
    "twice": ('["cat", "cat"]', "gives 'cat' two outputs"),
    "deep": ("[" * 10**5, "must be JSON"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_of_another_kind_is_refused_in_one_sentence(kind, tmp_path):
    content, said = BROKEN[kind]
    if content is not None:
        (tmp_path / "labels.json").write_text(content)
    with pytest.raises(DataError, match=said):
        read_classes(tmp_path / "labels.json")


def test_a_folder_that_is_no_output_is_named(tmp_path):
    root = folder(tmp_path / "x", ["cat", "mouse"])
    with pytest.raises(DataError, match=r"no output for 1 of 2 class folders.*'mouse'"):
        load_data(root, Reading(8, classes={"cat": 0, "dog": 1}), (3, 4, 4))


def test_other_data_have_no_class_folders():
    with pytest.raises(DataError, match="is for folders of images"):
        load_data("digits", Reading(8, classes={"cat": 0}))


def test_names_of_published_weights_are_used_where_all_folders_have_one(tmp_path):
    names = output_names("torchvision:resnet18")
    categories = ResNet18_Weights.DEFAULT.meta["categories"]
    wanted = [categories.index("tench"), categories.index("goldfish")]
    reading = Reading(8, names=names)
    root = folder(tmp_path / "x", ["tench", "goldfish"])
    assert labels(load_data(root, reading, (3, 4, 4))) == set(wanted)
    root = folder(tmp_path / "y", ["tench", "scratched"])
    assert labels(load_data(root, reading, (3, 4, 4))) == {0, 1}
    assert output_names("my.module:make") is None


def test_classes_of_one_image_each_cannot_be_split(tmp_path):
    root = folder(tmp_path / "x", [f"c{number}" for number in range(40)], count=1)
    with pytest.raises(DataError, match="too few samples to be split"):
        load_data(root, Reading(8), (3, 4, 4))


def test_a_few_such_classes_are_said(tmp_path):
    root = folder(tmp_path / "x", [f"usual{number}" for number in range(8)])
    folder(tmp_path / "x", [f"rare{number}" for number in range(4)], count=1)
    splits = load_data(root, Reading(8), (3, 4, 4))
    assert re.search(r"\d of \d classes that are judged have no train", splits.note)
    assert torch.cat([y for _, y in splits.train]).numel() == splits.sizes[0]
