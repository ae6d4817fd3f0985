"""Arrays of an .npz file: their names, parts, targets and inputs."""

import numpy as np
import pytest
import torch

from edgeprune.data import Reading, load_data
from edgeprune.data.preparation import Scale
from edgeprune.errors import DataError

READ = Reading(16, seed=0)
RNG = np.random.default_rng(0)
X, Y = RNG.random((40, 3, 8, 8), dtype=np.float32), np.arange(40) % 4
LENS = np.arange(40) % 7


def loaded(folder, reading=READ, **arrays):
    np.savez(folder / "a.npz", **arrays)
    return load_data(str(folder / "a.npz"), reading)


def inputs_of(batches):
    return torch.cat([x for x, _ in batches])


@pytest.mark.parametrize(
    ("x", "y"), [("x", "y"), ("images", "labels"), ("signal", "target")]
)
@pytest.mark.parametrize("form", ["{}_{}", "{1}_{0}"])
def test_a_split_may_stand_before_or_behind_a_name(tmp_path, x, y, form):
    named = {
        form.format(name, part): values
        for name, values in ((x, X), (y, Y))
        for part in ("train", "val", "test")
    }
    splits = loaded(tmp_path, **named)
    assert splits.sizes == (40, 40, 40)
    assert splits.labelled
    assert splits.classes == 4


def test_what_is_not_split_is(tmp_path):
    splits = loaded(tmp_path, images=X, labels=Y)
    train, validation, test = splits.sizes
    assert (train + validation + test, test) == (40, 6)
    seen = torch.cat([inputs_of(splits.calibration), inputs_of(splits.validation)])
    rows = {row.numpy().tobytes() for row in inputs_of(splits.test)}
    assert not rows & {row.numpy().tobytes() for row in seen}


def test_one_sample_is_not_split(tmp_path):
    np.savez(tmp_path / "one.npz", x=np.zeros((1, 3, 4, 4)), y=np.zeros(1, dtype=int))
    with pytest.raises(DataError, match="1 samples are too few to split"):
        load_data(str(tmp_path / "one.npz"), Reading(4))


def test_capitals_and_names_of_classes_are_no_matter(tmp_path):
    names = np.array(["cat", "dog", "cow", "owl"])
    splits = loaded(tmp_path, X_Train=X, Y_Train=Y, classes_train=names)
    assert splits.classes == 4
    assert loaded(tmp_path, X=X, Y=Y, names=names).sample_shape == X.shape[1:]


def test_a_training_split_alone_is_split(tmp_path):
    splits = loaded(tmp_path, x_train=X, y_train=Y, names=np.array(["a", "b"]))
    assert sum(splits.sizes) == 40
    assert splits.sizes[2] == 6


def test_inputs_alone_have_no_labels(tmp_path):
    splits = loaded(tmp_path, photos=X)
    assert not splits.labelled
    assert "no labels" in splits.note


def test_several_inputs_go_by_their_names(tmp_path):
    pictures = (255 * X).astype(np.uint8).transpose(0, 2, 3, 1)
    splits = loaded(tmp_path, image=pictures, lens=LENS, scale=X[:, 0, 0, :2])
    assert splits.structure is not None
    rows, _ = next(iter(splits.test))
    found = splits.structure.named(rows)
    assert {name: (item.dtype, item.shape[1:]) for name, item in found.items()} == {
        "image": (torch.float32, (3, 8, 8)),
        "lens": (torch.int64, ()),
        "scale": (torch.float32, (2,)),
    }
    at = next(at for at in range(40) if np.allclose(X[at, 0, 0, :2], found["scale"][0]))
    assert int(found["lens"][0]) == LENS[at]
    torch.testing.assert_close(found["image"][0].numpy(), X[at], atol=1 / 255, rtol=0)


def test_several_inputs_have_targets(tmp_path):
    named = {f"{name}_train": item for name, item in (("a", X), ("b", LENS), ("y", Y))}
    named |= {f"{name}_test": item for name, item in (("a", X), ("b", LENS), ("y", Y))}
    splits = loaded(tmp_path, **named)
    assert splits.structure is not None
    assert splits.structure.names == ("a", "b")
    assert (splits.classes, splits.sample_shape) == (4, (193,))


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"image": X, "lens": LENS[:30]}, "array lens, has 30 inputs and 40 labels"),
        (
            {"image": X, "name": np.array(["a"] * 40)},
            "array name, inputs must be numbers",
        ),
        ({"x_train": X, "y_train": Y, "x_test": X}, "lacks y_test"),
        ({"a_train": X, "b_train": X, "a_test": X}, "lacks b_test"),
        ({"y": Y}, "lacks inputs"),
        ({"x": X, "y": Y, "label": Y}, "holds y and label, which are both targets"),
        ({"image": X, "more": np.full((40, 2), np.nan)}, "array more, has NaN"),
    ],
)
def test_arrays_that_do_not_go_together_are_refused(tmp_path, arrays, complaint):
    with pytest.raises(DataError, match=complaint):
        loaded(tmp_path, **arrays)


def test_several_inputs_have_no_common_scale(tmp_path):
    with pytest.raises(DataError, match="--mean and --std do not go with"):
        loaded(tmp_path, Reading(16, 0, Scale((0.5,), (0.5,))), image=X, lens=LENS)


@pytest.mark.parametrize("top", [1, 255, 5])
@pytest.mark.parametrize("axis", [1, 3])
def test_masks_in_bytes_may_have_an_axis_of_one_channel(tmp_path, top, axis):
    values = [0, 1, 2, 5] if top == 5 else [0, top]
    y = RNG.choice(np.array(values, np.uint8), (40, 8, 8))
    splits = loaded(tmp_path, x=X, y=np.expand_dims(y, axis))
    _, masks = next(iter(splits.test))
    assert masks.dtype is torch.int64
    assert masks.shape[1:] == (8, 8)
    assert masks.max() == (5 if top == 5 else 1)


def test_grey_pictures_in_bytes_stay_pictures(tmp_path):
    y = RNG.integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
    _, pictures = next(iter(loaded(tmp_path, x=X, y=y).test))
    assert pictures.shape[1:] == (1, 8, 8)
    assert 0.9 < pictures.max() <= 1
