"""Ten tasks, each from one call to its files, judged in its own unit."""

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import edgeprune
from edgeprune.api import loading
from edgeprune.errors import ConfigError, WorkloadError
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.report.compare import compared, of_run
from edgeprune.settings import DataSettings
from edgeprune.tasks import judged, task_named
from edgeprune.workload.part import part_of
from examples import tasks
from tests.made_up import FAKE


def vectors(model):
    """What a network makes of the images, as targets."""
    parts = []
    for x, _ in tasks.squares():
        with torch.no_grad():
            parts.append(TensorDataset(x, model.eval()(x)))
    return tuple(parts)


def trunk(outputs):
    torch.manual_seed(1)
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 48, 3, stride=2, padding=1), nn.BatchNorm2d(48), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, outputs)),
    )


def labels():
    generator = torch.Generator().manual_seed(0)
    return tuple(
        TensorDataset(x, torch.randint(0, 2, (len(x), 6), generator=generator).float())
        for x, _ in tasks.squares()
    )


def corners():
    parts = []
    for x, masks in tasks.squares():
        low, left = masks[:, :16].sum((1, 2)) > 50, masks[:, :, :16].sum((1, 2)) > 50
        parts.append(TensorDataset(x, 2 * low.long() + left.long()))
    return tuple(parts)


CASES = {
    "classification": (lambda: trunk(4), corners, {}, "accuracy", "%"),
    "multilabel": (lambda: trunk(6), labels, {"task": "multilabel"}, "F1", "%"),
    "segmentation": (tasks.make_segmenter, tasks.make_masks, {}, "mIoU", "%"),
    "image": (tasks.make_denoiser, tasks.make_clean, {}, "PSNR", " dB"),
    "embedding": (
        lambda: trunk(16),
        lambda: vectors(trunk(16)),
        {"task": "embedding"},
        "cosine",
        "",
    ),
    "detection": (
        tasks.make_detector,
        tasks.make_boxes,
        {"export_output": "head"},
        "mAP",
        "%",
    ),
    "regression": (tasks.make_finder, tasks.make_places, {}, "R2", ""),
    "no labels": (tasks.make_denoiser, tasks.make_photos, {}, "agreement", "%"),
    "several": (tasks.make_camera, tasks.make_photos_with_zoom, {}, "agreement", "%"),
    "own": (
        tasks.make_finder,
        tasks.make_places,
        {"task": "examples.tasks:make_distance"},
        "distance",
        " px",
    ),
}


def compressed(name, out, **settings):
    make, data, how, _, _ = CASES[name]
    usual = {"budget": "60%", "precision": "fp32", "max_drop": 100, "train": False}
    settings = {**usual, "target": FAKE, "effort": "quick", **how, **settings}
    return edgeprune.compress(make(), data(), out=out, **settings)


def outputs_by_name(model, x):
    if isinstance(model, tasks.Detector):  # the file ends behind the head
        model = part_of(model, "head")
    with torch.no_grad():
        made = model(**x) if isinstance(x, dict) else model(x)
    return made if isinstance(made, dict) else {"output": made}


def first_input(name):
    sample = CASES[name][1]()[1][0]
    if isinstance(sample, dict):
        return {key: value[None] for key, value in sample.items()}
    return sample[0][None]


@pytest.mark.parametrize("name", CASES)
def test_a_budget_is_met_and_the_file_is_the_module_by_name(name, tmp_path):
    make, _, _, metric, unit = CASES[name]
    done = compressed(name, tmp_path / "run")
    report = done.report
    assert report.status == "met", report.sentence
    assert (report.metric.name, done.report.plans != ()) == (metric, True)
    assert f"test {metric} " in report.sentence
    assert report.metric.text(report.result.test_accuracy).endswith(unit)
    x = first_input(name)
    session = ort.InferenceSession(
        done.folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    fed = x if isinstance(x, dict) else {"input": x}
    made = session.run(None, {key: value.numpy() for key, value in fed.items()})
    named = dict(zip([item.name for item in session.get_outputs()], made, strict=True))
    expected = outputs_by_name(done.model, x)
    assert named.keys() == expected.keys()
    for key, value in expected.items():
        assert np.allclose(named[key], value, atol=1e-4), key
    again = edgeprune.load(done.folder, make)
    assert type(again) is type(make())
    for key, value in outputs_by_name(again, x).items():
        assert torch.allclose(value, expected[key], atol=1e-5)
    assert compared([of_run("a", report), of_run("b", report)]).regressions(0.0) == ()
    page = (done.folder / "report.html").read_text()
    assert f"{metric}, test" in page


@pytest.mark.parametrize(
    "name", ["segmentation", "detection", "image", "several", "own"]
)
def test_training_and_int8_know_the_task(name, tmp_path):
    done = compressed(name, tmp_path / "run", precision="auto", epochs=2, train=True)
    report = done.report
    assert report.counted.validation_accuracy is not None
    assert report.counted.precision == "int8"
    parity = report.parity[0]
    assert parity.passed
    if report.training:
        first, last = (
            report.training[0].accuracy_before,
            report.training[0].best_accuracy,
        )
        assert last >= first


def test_without_labels_it_learns_for_as_long_as_it_may(tmp_path):
    done = compressed("no labels", tmp_path / "run", train=True, minutes=0.05)
    (training,) = done.report.training
    assert training.epochs
    assert training.best_accuracy >= training.accuracy_before


@pytest.mark.parametrize(
    ("name", "task", "metric"),
    [
        ("no labels", "image", "PSNR"),
        ("several", "regression", "R2"),  # of the first output
    ],
)
def test_without_labels_a_task_judges_what_the_original_answers(
    name, task, metric, tmp_path
):
    asked = {"task": task, "max_drop": None, "train": True, "epochs": 1}
    report = compressed(name, tmp_path / "run", **asked).report
    assert report.metric.name == metric
    assert report.baseline.test_accuracy == pytest.approx(
        100.0 if metric == "PSNR" else 1.0
    )
    assert report.result.test_accuracy < report.baseline.test_accuracy
    assert report.training[0].epochs  # learns from the original


def test_floors_are_in_the_unit_of_the_metric(tmp_path):
    asked = {"max_drop": None, "min_psnr": 40.0}
    done = compressed("image", tmp_path / "run", **asked)
    assert "with the floor at 40 dB" in done.report.sentence
    assert done.report.status == "unmet"  # the denoiser is untrained
    with pytest.raises(ConfigError, match="--min-psnr does not go with the"):
        compressed("segmentation", tmp_path / "other", **asked)
    with pytest.raises(ConfigError, match="Give --min-psnr or --max-drop, not both"):
        compressed("image", tmp_path / "both", min_psnr=40.0)


@pytest.mark.parametrize(
    ("name", "settings", "error", "complaint"),
    [
        (
            "no labels",
            {"task": "examples.tasks:make_distance"},
            ConfigError,
            "needs targets, and the data have none",
        ),
        ("image", {"task": "segmentation"}, WorkloadError, "class scores of shape"),
        ("image", {"task": "cooking"}, ConfigError, "Unknown task 'cooking'"),
        ("own", {"task": "examples.tasks:make_places"}, ConfigError, "found tuple"),
        ("own", {"task": "examples.tasks:nothing"}, ConfigError, "Cannot import"),
    ],
)
def test_a_task_that_does_not_fit_is_refused_in_a_sentence(
    name, settings, error, complaint, tmp_path
):
    with pytest.raises(error, match=complaint):
        compressed(name, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_the_network_that_was_handed_over_is_called_as_before(tmp_path):
    camera, data = tasks.make_camera(), tasks.make_photos_with_zoom()
    camera.trunk[0].eval()  # its norms are frozen
    edgeprune.compress(
        camera,
        data,
        budget={"max_macs": "70%"},
        precision="fp32",
        target=FAKE,
        max_drop=100,
        train=False,
        out=tmp_path / "run",
    )
    assert type(camera) is tasks.Camera
    assert (camera.training, camera.trunk[0].training) == (True, False)
    made = camera(torch.zeros(1, 3, 32, 32), torch.zeros(1, dtype=torch.long))
    assert list(made) == ["place", "kind", "vector"]


def test_several_outputs_with_labels_need_a_task(tmp_path):
    pairs = [
        [(sample, at % 2) for at, sample in enumerate(part)]
        for part in tasks.make_photos_with_zoom()
    ]
    with pytest.raises(WorkloadError, match=r"several tensors \(place, kind, vector\)"):
        edgeprune.compress(
            tasks.make_camera(), pairs, budget="60%", target=FAKE, out=tmp_path / "run"
        )


class WithAuxiliary(nn.Module):
    """As torchvision's segmentation networks: a dict with the one that counts."""

    def __init__(self):
        super().__init__()
        self.net, self.more = tasks.make_segmenter(), nn.Conv2d(3, 2, 1)

    def forward(self, x):
        found = {"aux": self.more(x), "out": self.net(x)}
        return {**found, "late": found["aux"]} if self.training else found


def test_of_several_outputs_the_one_that_is_called_out_counts(tmp_path):
    done = edgeprune.compress(
        WithAuxiliary(),
        tasks.make_masks(),
        budget={"max_macs": "60%"},
        target=FAKE,
        max_drop=100,
        epochs=1,
        out=tmp_path / "run",
    )
    assert done.report.metric.name == "mIoU"
    session = ort.InferenceSession(
        done.folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    assert [item.name for item in session.get_outputs()] == ["aux", "out"]


class Words(nn.Module):
    """Whole numbers in, scores of classes out."""

    def __init__(self):
        super().__init__()
        self.table, self.conv = nn.Embedding(50, 32), nn.Conv1d(32, 48, 3)
        self.head = nn.Linear(48, 4)

    def forward(self, words):
        maps = self.conv(self.table(words).transpose(1, 2)).relu()
        return self.head(maps.mean(2))


def sentences(folder):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 50, (120, 12), generator=generator)
    y = torch.arange(120) % 4
    np.savez(folder / "words.npz", x_train=x, y_train=y, x_test=x[:40], y_test=y[:40])
    parts = TensorDataset(x, y)
    return {"loaders": (parts, parts, parts), "npz": str(folder / "words.npz")}


@pytest.mark.parametrize("source", ["loaders", "npz"])
def test_whole_numbers_reach_an_embedding_as_they_are(source, tmp_path):
    data = sentences(tmp_path)[source]
    done = edgeprune.compress(
        Words(),
        data,
        budget={"max_macs": "70%"},
        target=FAKE,
        max_drop=100,
        train=False,
        out=tmp_path / "run",
    )
    assert done.report.status == "met"
    assert done.report.metric.name == "accuracy"
    session = ort.InferenceSession(
        done.folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    (given,) = session.get_inputs()
    assert (given.name, given.type) == ("input", "tensor(int64)")
    x = torch.randint(0, 50, (1, 12))
    (made,) = session.run(None, {"input": x.numpy()})
    assert np.allclose(done.model(x).detach(), made, atol=1e-5)


@pytest.mark.parametrize("name", ["segmentation", "image"])
def test_any_file_is_judged_by_what_its_targets_are(name, tmp_path):
    make, data, _, _, _ = CASES[name]
    model, (train, _, test) = make().eval(), data()
    write_onnx(model, (torch.zeros(1, 3, 32, 32),), tmp_path / "net.onnx")
    arrays = {
        f"{what}_{part}": one.numpy()
        for part, held in (("train", train), ("test", test))
        for what, one in zip("xy", held.tensors, strict=True)
    }
    np.savez(tmp_path / "data.npz", **arrays)
    settings = DataSettings(data=str(tmp_path / "data.npz"))
    wanted = judged(task_named(name), model, [test.tensors])
    value, metric = loading.accuracy_of_file(tmp_path / "net.onnx", settings)
    assert value == pytest.approx(wanted, abs=1e-3)
    assert metric == task_named(name).metric


def test_a_detector_that_chooses_boxes_needs_an_end(tmp_path):
    with pytest.raises(WorkloadError, match="--export-output head; its own are trunk"):
        edgeprune.compress(
            tasks.make_detector(),
            tasks.make_boxes(),
            budget="60%",
            target=FAKE,
            out=tmp_path / "run",
        )
