import gzip
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from edgeprune.data import Reading, Scale, load_data
from edgeprune.data.factory import splits_of
from edgeprune.data.splits import Arrays, array_splits
from edgeprune.errors import DataError

READ = Reading(16, seed=0)


def arrays(count=40, shape=(3, 8, 8), classes=4, dtype=np.float32):
    rng = np.random.default_rng(0)
    x = (rng.random((count, *shape)) * 255).astype(dtype)
    return x, np.arange(count) % classes


def write_npz(path, **more):
    x, y = arrays()
    held = {"x_train": x, "y_train": y, "x_test": x[:10], "y_test": y[:10], **more}
    np.savez(path, **{key: value for key, value in held.items() if value is not None})
    return str(path)


def labels_of(batches):
    return torch.cat([y for _, y in batches])


def test_digits_are_split_once_and_for_all():
    first, second = (load_data("digits", Reading(64, seed=seed)) for seed in (0, 1))
    assert first.sizes == (1297, 230, 270)
    assert (first.classes, first.sample_shape) == (10, (1, 32, 32))
    assert torch.equal(labels_of(first.test), labels_of(second.test))
    x, _ = next(iter(first.test))
    assert 0 <= float(x.min()) < float(x.max()) <= 1


def test_training_batches_are_shuffled_anew_and_others_never():
    splits = load_data("digits", READ)
    assert not torch.equal(labels_of(splits.train), labels_of(splits.train))
    assert torch.equal(labels_of(splits.calibration), labels_of(splits.calibration))
    again = load_data("digits", READ)
    assert torch.equal(
        labels_of(load_data("digits", READ).train), labels_of(again.train)
    )


def test_no_sample_is_in_two_splits():
    splits = load_data("digits", READ)
    seen = [
        {image.numpy().tobytes() for x, _ in part for image in x}
        for part in (splits.calibration, splits.validation, splits.test)
    ]
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]


def test_npz_of_any_shape_is_read_and_a_validation_split_cut(tmp_path):
    x, y = arrays(shape=(2, 30))
    path = write_npz(tmp_path / "a.npz", x_train=x, x_test=x[:10])
    splits = load_data(path, READ)
    assert splits.sizes == (34, 6, 10)
    assert splits.sample_shape == (2, 30)
    assert sorted(
        labels_of(splits.train).tolist() + labels_of(splits.validation).tolist()
    ) == sorted(y.tolist())


def test_byte_images_are_scaled_and_put_channels_first(tmp_path):
    x, _ = arrays(shape=(8, 6, 3), dtype=np.uint8)
    path = write_npz(tmp_path / "a.npz", x_train=x, x_test=x[:10])
    scale = Scale((0.5, 0.5, 0.5), (0.5, 0.25, 0.5))
    plain = load_data(path, READ)
    scaled = load_data(path, Reading(16, 0, scale))
    assert plain.sample_shape == (3, 8, 6)
    one, other = next(iter(plain.test))[0], next(iter(scaled.test))[0]
    torch.testing.assert_close(other[:, 1], (one[:, 1] - 0.5) / 0.25)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"x_train": None}, "lacks x_train"),
        ({"y_train": np.zeros(40, int)}, "one class only"),
        ({"y_train": np.zeros(39, int)}, "40 inputs and 39 labels"),
        ({"y_train": np.zeros(40)}, "train split are float32 of shape .* class numb"),
        ({"y_train": np.ones(40), "y_test": np.ones(10)}, "all train samples have"),
        ({"y_train": np.full(40, np.nan)}, "NaN or infinity among its targets"),
        ({"y_train": np.array(["a"] * 40)}, "targets must be numbers"),
        ({"y_train": np.arange(40) - 1}, "negative"),
        ({"x_train": np.full((40, 3, 8, 8), np.nan, np.float32)}, "NaN"),
        (
            {"x_test": np.zeros((0, 3, 8, 8), np.float32), "y_test": np.zeros(0, int)},
            "0 inputs",
        ),
    ],
)
def test_unfit_arrays_are_refused(tmp_path, change, complaint):
    with pytest.raises(DataError, match=complaint):
        load_data(write_npz(tmp_path / "a.npz", **change), READ)


def test_pickled_arrays_are_never_unpickled(tmp_path):
    path = write_npz(tmp_path / "a.npz", x_train=np.array([print, 1], dtype=object))
    with pytest.raises(DataError, match="cannot be read"):
        load_data(path, READ)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("nowhere.npz", "cannot be read"),
        ("what", "Unknown data 'what'"),
        ("no.such.module:make", "Cannot import"),
        ("torchvision:CIFAR10@nowhere", "cannot be read"),
        ("torchvision:CIFAR10", "NAME@ROOT"),
        ("torchvision:Nothing@x", "NAME@ROOT"),
    ],
)
def test_missing_data_are_refused(source, complaint):
    with pytest.raises(DataError, match=complaint):
        load_data(source, READ)


def test_a_corrupt_file_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK no archive")
    with pytest.raises(DataError, match=r"is no \.npz archive"):
        load_data(str(tmp_path / "a.npz"), READ)


def image_folder(root, classes=("cat", "dog"), count=20, mode="RGB"):
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(count):
            colour = (40 + 100 * number, 30, index) if mode == "RGB" else 50
            Image.new(mode, (12, 10), colour).save(root / name / f"{index}.png")
    return root


def test_a_folder_of_images_is_split(tmp_path):
    splits = load_data(str(image_folder(tmp_path / "photos")), READ, (3, 16, 16))
    assert splits.sizes == (28, 6, 6)
    assert splits.sample_shape == (3, 16, 16)
    assert sorted(labels_of(splits.test).tolist()) == [0, 0, 0, 1, 1, 1]


def test_grey_images_and_grey_networks_fit(tmp_path):
    root = str(image_folder(tmp_path / "photos", mode="L"))
    assert load_data(root, READ, (3, 16, 16)).sample_shape == (3, 16, 16)
    assert load_data(root, READ, (1, 16, 16)).sample_shape == (1, 16, 16)


def read_all(splits):
    for part in (splits.train, splits.validation, splits.test):
        list(part)


def test_a_broken_image_is_named(tmp_path):
    root = image_folder(tmp_path / "photos")
    (root / "cat" / "3.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"cat/3.png cannot be read"):
        read_all(load_data(str(root), READ, (3, 8, 8)))


def test_a_folder_that_is_split_already_is_kept(tmp_path):
    for split, count in (("train", 10), ("val", 5), ("test", 4)):
        image_folder(tmp_path / split, count=count)
    splits = load_data(str(tmp_path), READ, (3, 8, 8))
    assert splits.sizes == (20, 10, 8)


def test_parts_may_be_written_in_capitals_and_hidden_folders_are_none(tmp_path):
    for split, count in (("Train", 10), ("Val", 5), ("TEST", 4)):
        image_folder(tmp_path / split, count=count)
    for name in (".ipynb_checkpoints", "__MACOSX", "Train/.git", "Train/cat/.old"):
        (tmp_path / name).mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "Train" / "cat" / ".old" / "a.png")
    (tmp_path / "Train" / "cat" / "._0.png").write_bytes(b"of a Mac")
    splits = load_data(str(tmp_path), READ, (3, 8, 8))
    assert splits.sizes == (20, 10, 8)
    assert splits.class_names == ("cat", "dog")


def test_a_class_may_be_called_train(tmp_path):
    root = str(image_folder(tmp_path / "photos", classes=("car", "train")))
    assert load_data(root, READ, (3, 8, 8)).class_names == ("car", "train")


def test_images_of_real_numbers_are_refused(tmp_path):
    root = image_folder(tmp_path / "photos")
    Image.new("F", (8, 8), 0.5).save(root / "cat" / "real.tiff")
    with pytest.raises(DataError, match=r"real.tiff cannot be read: it holds"):
        load_data(str(root), READ, (3, 8, 8))


def test_class_folders_must_agree(tmp_path):
    image_folder(tmp_path / "train")
    image_folder(tmp_path / "test", classes=("cat", "cow"))
    with pytest.raises(DataError, match="differ"):
        load_data(str(tmp_path), READ, (3, 8, 8))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda root: root.mkdir(), "one folder of images per class"),
        (lambda root: image_folder(root, classes=("cat",)), "one class only"),
    ],
)
def test_unfit_folders_are_refused(tmp_path, make, complaint):
    make(tmp_path / "photos")
    with pytest.raises(DataError, match=complaint):
        load_data(str(tmp_path / "photos"), READ, (3, 8, 8))


def test_a_folder_needs_an_input_shape(tmp_path):
    with pytest.raises(DataError, match="--input"):
        load_data(str(image_folder(tmp_path / "photos")), READ)


def dataset(count=20, classes=2):
    return TensorDataset(torch.randn(count, 3, 4, 4), torch.arange(count) % classes)


@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: DataLoader(d, 8)])
def test_factories_return_data_sets_or_loaders(wrap):
    three = splits_of(
        "mine", (wrap(dataset()), wrap(dataset(6)), wrap(dataset(8))), READ
    )
    assert three.sizes == (20, 6, 8)
    two = splits_of("mine", {"train": wrap(dataset()), "test": wrap(dataset(8))}, READ)
    assert two.sizes == (17, 3, 8)
    assert "cut from the training data" in two.note


def test_lists_of_samples_are_data_sets():
    samples = [(torch.randn(3, 4, 4), index % 2) for index in range(20)]
    splits = splits_of("mine", (samples, samples[:6], samples[:8]), READ)
    assert splits.sizes == (20, 6, 8)
    assert splits.sample_shape == (3, 4, 4)
    assert splits_of("mine", (samples, samples[:8]), READ).sizes == (17, 3, 8)


@pytest.mark.parametrize("kind", [torch.float64, torch.float16])
def test_inputs_come_in_float32(kind):
    made = TensorDataset(torch.randn(20, 3, 4, 4).to(kind), torch.arange(20) % 2)
    splits = splits_of("mine", (made, made, made), READ)
    assert next(iter(splits.train))[0].dtype == torch.float32


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        (None, "must return"),
        ([1], "must return"),
        ([1, 2, 3], "loaders or data sets, found int"),
        (
            [[(torch.zeros(3, 1), torch.full((3, 2), torch.nan))]] * 3,
            "NaN or infinity among its targets, in the train split",
        ),
        ([iter(()), iter(())], r"must return .*; found .tuple_iterator, tup"),
        ([dataset(classes=1), dataset(), dataset()], "one class only"),
        ([[(1, 2, 3)]] * 3, "must yield .inputs, targets., or inputs alone"),
        ([[("a", torch.zeros(3))]] * 3, "must yield inputs as tensors"),
        ([[(torch.zeros(3, 1), "abc")]] * 3, "must yield targets as tensors"),
        (
            [[(torch.zeros(3, 1), torch.eye(3)), (torch.zeros(3, 1), torch.zeros(3))]]
            * 3,
            r"float32 of shape \(N, 3\), those of .* of shape \(N\)",
        ),
        (
            [[(torch.zeros(3, 1), torch.arange(3)), torch.zeros(3, 1)]] * 3,
            "targets with some of its batches only",
        ),
    ],
)
def test_factories_that_return_something_else_are_refused(made, complaint):
    with pytest.raises(DataError, match=complaint):
        splits_of("mine", made, READ)


def test_a_factory_in_the_current_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "mydata.py").write_text(
        "import torch\nfrom torch.utils.data import TensorDataset\n"
        "def make():\n    d = TensorDataset(torch.randn(9, 2), torch.arange(9) % 3)\n"
        "    return d, d, d\ndef broken():\n    raise KeyError('x')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert load_data("mydata:make", READ).classes == 3
    with pytest.raises(DataError, match="mydata:broken failed: KeyError"):
        load_data("mydata:broken", READ)


def test_real_data_sets_are_read(real_data, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for packed in (real_data / "mnist").glob("*.gz"):
        (raw / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    splits = load_data(f"torchvision:MNIST@{tmp_path}", READ)
    assert splits.sample_shape == (1, 28, 28)
    assert splits.sizes == (51000, 9000, 10000)


def test_calibration_mixes_classes_that_lie_one_behind_the_other():
    x, y = np.ones((400, 3), np.float32), np.repeat(np.arange(4), 100)
    arrays = Arrays("sorted", x, y, x, y, x, y)
    splits = [
        array_splits(arrays, Reading(64)),
        splits_of("sorted", [list(zip(x, y.tolist(), strict=True))] * 3, Reading(64)),
    ]
    for split in splits:
        first = next(iter(split.calibration))[1]
        assert len(first.unique()) == 4
        again = next(iter(split.calibration))[1]
        assert torch.equal(first, again)


def test_calibration_mixes_the_classes_of_a_sorted_loader():
    """Ranges taken from one class are wrong for the others."""
    y = torch.arange(10).repeat_interleave(50)
    loader = DataLoader(TensorDataset(torch.randn(500, 1, 8, 8), y), 64)
    splits = splits_of("mine", (loader,) * 3, Reading(64))
    _, labels = next(iter(splits.calibration))
    assert set(labels.tolist()) == set(range(10))
    assert "calibration" not in splits.note


def test_a_stream_that_is_sorted_by_class_is_said():
    y = torch.arange(10).repeat_interleave(50)
    batches = [(torch.randn(50, 1, 8, 8), part) for part in y.split(50)]

    class Stream:
        def __iter__(self):
            return iter(batches)

    splits = splits_of("mine", (Stream(),) * 3, Reading(64))
    assert "calibration samples are of 3 of 10 classes: shuffle" in splits.note
