"""What a 64-bit Arm computes, by the worker that boards run, under an emulator."""

import json
import subprocess

import numpy as np
import onnxruntime as ort
import pytest
import torch

from edgeprune import targets
from edgeprune.devices import worker
from edgeprune.devices.transports import Job
from edgeprune.devices.transports.base import received
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.quantize.form import Int8Form
from edgeprune.quantize.quantize import quantize
from tests.arm64 import arm_python
from tests.nets import Bottom

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("measuring")]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Outputs there and here, by file."""
    python = arm_python()
    folder = tmp_path_factory.mktemp("arm")
    x = torch.randn(4, 3, 8, 8)
    plain, signed, unsigned = (folder / f"{name}.onnx" for name in ("a", "s", "u"))
    write_onnx(Bottom(16), (x[:1],), plain)
    batches = [(x, torch.zeros(4))]
    quantize(plain, signed, batches, form=Int8Form(signed=True))
    quantize(plain, unsigned, batches, form=Int8Form())
    files = [plain, signed, unsigned]
    inputs = tuple((item[None].numpy(),) for item in x)
    runtime = targets.load("host").runtime
    job = Job("outputs", runtime, targets.load("host").timing, inputs=inputs)
    message = {**job.message([str(path) for path in files]), "cores": None}
    done = subprocess.run(
        [*python, worker.__file__],
        input=json.dumps(message) + "\n",
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert worker.SENTINEL in done.stdout, done.stderr[-2000:]
    answer = json.loads(done.stdout.rpartition(worker.SENTINEL)[2])
    assert answer["ok"], answer
    assert answer["machine"]["architecture"] == "aarch64"
    there = {
        path.stem: np.concatenate([received(sample[0]) for sample in item["outputs"]])
        for path, item in zip(files, answer["results"], strict=True)
    }
    return {path.stem: (there[path.stem], here(path, inputs)) for path in files}


def here(path, inputs):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: x})[0] for (x,) in inputs])


@pytest.mark.parametrize(("name", "allowed"), [("a", 1e-5), ("s", 2e-2), ("u", 2e-2)])
def test_arm_gives_the_answers_of_this_machine(answers, name, allowed):
    there, expected = answers[name]
    assert np.abs(there - expected).max() <= allowed * np.abs(expected).max()
    assert (there.argmax(1) == expected.argmax(1)).all()
