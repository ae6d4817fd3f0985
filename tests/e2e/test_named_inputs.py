"""Several inputs by name: from a file of arrays, and as noise of told shapes."""

import json

import numpy as np
import onnx
import pytest
import torch

import edgeprune
from edgeprune.errors import ConfigError, WorkloadError
from edgeprune.measure.exportable import exportable
from examples import tasks
from tests.commands import command
from tests.made_up import FAKE

SHAPES = "image=3x16x16,meta=5"


def compressed(model, data, out, **settings):
    return edgeprune.compress(
        model,
        data,
        max_macs="60%",
        target=FAKE,
        precision="fp32",
        train=False,
        max_drop=100,
        out=out,
        **settings,
    )


def ends(path):
    graph = onnx.load(path).graph
    return [item.name for item in graph.input], [item.name for item in graph.output]


def test_noise_of_several_inputs_is_enough(tmp_path):
    done = compressed(tasks.make_sensors(), "noise", tmp_path / "run", input=SHAPES)
    assert done.report.status == "met"
    assert ends(tmp_path / "run" / "model.onnx") == (
        ["image", "meta"],
        ["kind", "place"],
    )
    made = done.model(torch.zeros(2, 3, 16, 16), torch.zeros(2, 5))
    assert made["kind"].shape == (2, 4)


def test_an_array_file_of_two_inputs_is_enough(tmp_path):
    rows = [row for part in tasks.make_photos_with_zoom() for row in part][:64]
    held = {name: np.stack([row[name].numpy() for row in rows]) for name in rows[0]}
    np.savez(tmp_path / "photos.npz", **held)
    done = compressed(
        tasks.make_camera(), str(tmp_path / "photos.npz"), tmp_path / "run"
    )
    assert done.report.status == "met"
    assert ends(tmp_path / "run" / "model.onnx") == (
        ["image", "lens"],
        ["place", "kind", "vector"],
    )


def test_a_network_of_two_inputs_is_profiled_without_data(tmp_path):
    named = (
        "--model",
        "examples.tasks:make_sensors",
        "--input",
        "image=3x16x16,meta=5",
    )
    done = command(tmp_path, "profile", *named, "--target", FAKE, "--json")
    assert json.loads(done.stdout)["figures"]["macs"] > 0


@pytest.mark.filterwarnings("ignore:# The axis name")
def test_open_inputs_of_a_file_are_told_by_name(tmp_path):
    path = tmp_path / "two.onnx"
    n, side = torch.export.Dim("n"), torch.export.Dim("side", min=8, max=64)
    torch.onnx.export(
        exportable(tasks.make_sensors().eval()),  # of `meta`
        (torch.zeros(2, 3, 16, 16), torch.zeros(2, 5)),
        path,
        dynamo=True,
        dynamic_shapes={"image": {0: n, 2: side, 3: side}, "meta": {0: n}},
        input_names=["image", "meta"],
        verbose=False,
    )
    assert edgeprune.check_file(path, sample={"image": (3, 16, 16)}).opset
    wrong = command(tmp_path, "groups", "--model", path, "--input", "image=4x16x16")
    assert "does not take --input image=4x16x16" in wrong.stderr
    done = command(tmp_path, "groups", "--model", path, "--input", SHAPES, "--json")
    assert [one["channels"] for one in json.loads(done.stdout)["groups"]] == [16, 24]


@pytest.mark.parametrize(
    ("given", "error", "complaint"),
    [
        ("image=3x16x16,lens=5", WorkloadError, "cannot be called with image, lens"),
        ("image=3x16x16,image=5", ConfigError, "a shape is expected"),
        ("image=3x16x16,meta=five", ConfigError, "a shape is expected"),
    ],
)
def test_names_that_the_network_does_not_have(given, error, complaint, tmp_path):
    with pytest.raises(error, match=complaint):
        compressed(tasks.make_sensors(), "noise", tmp_path / "run", input=given)
    assert not (tmp_path / "run").exists()


def test_shapes_by_name_are_those_of_the_data(tmp_path):
    camera, data = tasks.make_camera(), tasks.make_photos_with_zoom()
    with pytest.raises(ConfigError, match=r"lens=5 .* samples are image=3x32x32, lens"):
        compressed(camera, data, tmp_path / "run", input="image=3x32x32,lens=5")
