"""Data sets of the library `datasets`: rows with named columns."""

import numpy as np
import pytest
import torch
from PIL import Image

from edgeprune.data import Reading
from edgeprune.data.factory import splits_of
from edgeprune.errors import DataError

datasets = pytest.importorskip("datasets")
KINDS = ["cat", "dog", "owl"]


def pictures(count):
    rng = np.random.default_rng(count)
    return [
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        for _ in range(count)
    ]


def labelled(count):
    return datasets.Dataset.from_dict(
        {
            "image": pictures(count),
            "file": [f"{at}.png" for at in range(count)],
            "label": [at % 3 for at in range(count)],
        },
        features=datasets.Features(
            {
                "image": datasets.Image(),
                "file": datasets.Value("string"),
                "label": datasets.ClassLabel(names=KINDS),
            }
        ),
    )


def test_images_and_classes_are_found_by_their_columns():
    held = datasets.DatasetDict(
        train=labelled(30), validation=labelled(9), test=labelled(12)
    )
    splits = splits_of("data", held, Reading(6))
    assert splits.sizes == (30, 9, 12)
    assert splits.sample_shape == (3, 8, 8)
    assert splits.class_names == tuple(KINDS)
    x, y = next(iter(splits.test))
    assert y.tolist() == [0, 1, 2, 0, 1, 2]
    first = np.asarray(labelled(12)[0]["image"]).transpose(2, 0, 1) / 255
    assert np.allclose(x[0], first)


def test_a_validation_split_is_cut_where_there_is_none():
    splits = splits_of("data", (labelled(40), labelled(12)), Reading(4))
    assert splits.sizes == (34, 6, 12)


def test_columns_of_numbers_are_inputs_by_name_without_labels():
    rng = np.random.default_rng(0)
    held = datasets.Dataset.from_dict(
        {
            "left": rng.standard_normal((20, 4)).astype(np.float32),
            "right": rng.standard_normal((20, 3)).astype(np.float32),
        }
    )
    splits = splits_of("data", (held, held, held), Reading(5))
    assert not splits.labelled
    assert splits.structure.names == ("left", "right")


def test_what_a_transform_gives_is_taken():
    held = labelled(24)
    held.set_transform(
        lambda rows: {
            "pixel_values": [torch.ones(1, 4, 4) for _ in rows["label"]],
            "labels": rows["label"],
        }
    )
    splits = splits_of("data", (held, held, held), Reading(5))
    assert splits.sample_shape == (1, 4, 4)


def test_text_alone_is_refused():
    held = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
    with pytest.raises(DataError, match="no column of numbers or images"):
        splits_of("data", (held, held, held), Reading(2))
