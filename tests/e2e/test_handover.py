"""What is handed over works in an environment with onnxruntime and numpy alone."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

import edgeprune
from edgeprune.data.splits import Preparation
from edgeprune.errors import EdgepruneError
from examples import nets, tasks
from tests.made_up import FAKE

ONLY = """
import sys
class Alone:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "edgeprune", "onnx", "torchvision"):
            raise ImportError(name + " is not there")
sys.meta_path.insert(0, Alone())
import runpy
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The handover of a run on a folder of images."""
    held = tmp_path_factory.mktemp("handover")
    rng = np.random.default_rng(0)
    for name in ("ants", "bees", "cats", "dogs"):
        (held / "data" / name).mkdir(parents=True)
        for number in range(16):
            pixels = rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(held / "data" / name / f"{number}.png")
    done = edgeprune.compress(
        nets.make_net(),
        str(held / "data"),
        input="3x16x16",
        budget="80%",
        target=FAKE,
        max_drop=100,
        train=False,
        input_format="uint8",
        ort=True,
        out=held / "run",
    )
    return done.folder / "handover"


def alone(script, folder):
    """A script in another process, in which only numpy and onnxruntime are there."""
    environment = {**os.environ, "PYTHONPATH": ""}
    return subprocess.run(
        [sys.executable, "-c", ONLY, str(script)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_its_check_runs_alone_and_passes(folder):
    done = alone(folder / "check.py", folder)
    assert done.returncode == 0, done.stderr
    assert "8 samples" in done.stdout
    assert "the same answer for 100%" in done.stdout
    assert "preprocessing is off by at most" in done.stdout


def test_the_file_says_itself_what_it_takes_and_gives(folder):
    names = sorted(path.name for path in folder.parent.glob("model*.onnx"))
    assert names[0] == "model.int8.onnx"  # both kinds say it
    for name in names:
        session = ort.InferenceSession(
            folder.parent / name, providers=["CPUExecutionProvider"]
        )
        facts = session.get_modelmeta().custom_metadata_map
        assert json.loads(facts["labels"]) == ["ants", "bees", "cats", "dogs"]
        assert facts["task"] == "classification"
        assert facts["mean"].count(",") == 2
        assert (facts["channel_order"], facts["value_range"]) == ("RGB", "0,255")
        assert facts["run"] == edgeprune.read_report(folder.parent).run_id != ""


def test_its_check_fails_where_the_model_answers_otherwise(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    held = dict(np.load(folder / "reference.npz"))
    held["output output"] = held["output output"] + 1
    np.savez(tmp_path / "reference.npz", **held)
    assert alone(tmp_path / "check.py", tmp_path).returncode == 1


def test_the_lines_of_python_run(folder, tmp_path):
    (block,) = re.findall(
        r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL
    )
    (tmp_path / "lines.py").write_text(block)
    done = alone(tmp_path / "lines.py", folder)
    assert done.returncode == 0, done.stderr


def test_a_file_takes_images_as_they_are(folder):
    (path,) = folder.glob("*.uint8.onnx")
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    assert (given.type, given.shape) == ("tensor(uint8)", [1, 16, 16, 3])
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["input_format"] == "uint8 NHWC"
    held = np.load(folder / "reference.npz")
    found = [session.run(None, {"input": one[None]})[0] for one in held["raw"]]
    np.testing.assert_allclose(
        np.concatenate(found), held["output output"], rtol=0.05, atol=0.05
    )
    page = (folder / "README.md").read_text()
    assert f"`{path.name}` | takes images as bytes" in page
    assert "measured in turn" in page


def test_a_file_in_the_runtimes_own_format(folder):
    (path,) = folder.glob("*.ort")
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    held = np.load(folder / "reference.npz")
    found = [session.run(None, {"input": x[None]})[0] for x in held["input input"]]
    np.testing.assert_allclose(
        np.concatenate(found), held["output output"], rtol=0.05, atol=0.05
    )
    (operators,) = folder.glob("*.required_operators.config")
    assert "QLinearConv" in operators.read_text()


def test_raw_images_need_a_known_preprocessing(tmp_path):
    with pytest.raises(EdgepruneError, match="--input-format uint8 puts"):
        edgeprune.compress(
            tasks.make_camera(),
            tasks.make_photos_with_zoom(),
            budget="60%",
            target=FAKE,
            input_format="uint8",
            out=tmp_path / "run",
        )
    assert not (tmp_path / "run").exists()


def test_it_says_how_an_image_becomes_an_input(folder):
    facts = json.loads((folder / "preprocessing.json").read_text())
    assert facts["preprocessing"]["size"] == [16, 16]
    assert facts["preprocessing"]["channels"] == "RGB"
    assert facts["inputs"] == [
        {"name": "input", "shape": [1, 3, 16, 16], "type": "float32"}
    ]
    assert (folder / "labels.txt").read_text().split() == [
        "ants",
        "bees",
        "cats",
        "dogs",
    ]
    text = (folder / "README.md").read_text()
    assert "ONNX Runtime 1.14 or newer" in text
    assert "NNAPI:" in text


def test_raw_values_and_inputs_belong_together():
    how = Preparation(255.0, (0.4, 0.5, 0.6), (0.2, 0.3, 0.1))
    raw = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
    assert np.array_equal(how.undone(how.done(raw)), raw)


def test_several_inputs_and_outputs_are_handed_over_by_name(tmp_path):
    done = edgeprune.compress(
        tasks.make_camera(),
        tasks.make_photos_with_zoom(),
        budget="60%",
        target=FAKE,
        max_drop=100,
        train=False,
        out=tmp_path / "run",
    )
    folder = done.folder / "handover"
    checked = alone(folder / "check.py", folder)
    assert checked.returncode == 0, checked.stderr
    for name in ("place", "kind", "vector"):
        assert f"{name}: differs by" in checked.stdout
    held = np.load(folder / "reference.npz")
    assert held["input lens"].dtype == np.int64
    page = (folder / "README.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "lines.py").write_text(block)
    assert alone(tmp_path / "lines.py", folder).stdout.count("(1,") == 3
    assert "LongBuffer.wrap(values1)" in page
    assert "elementType: .int64" in page
