"""The files load in the oldest runtime that targets name, and answer alike there."""

import json
import os
import subprocess
import sys
import venv

import numpy as np
import onnxruntime as ort
import pytest
import torch

from edgeprune.measure.onnx_file import write_onnx
from edgeprune.quantize.quantize import quantize
from tests.nets import Bottom

pytestmark = pytest.mark.slow

RUNS = """
import json, sys
import numpy as np
import onnxruntime as ort
options = ort.SessionOptions()
options.log_severity_level = 3
x, found = np.load(sys.argv[1]), []
for path in sys.argv[2:]:
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    found.append([session.run(None, {name: item[None]})[0].tolist() for item in x])
print(json.dumps({"version": ort.__version__, "outputs": found}))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A network in float and in int8, and inputs."""
    folder = tmp_path_factory.mktemp("old")
    x = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    write_onnx(Bottom(16).eval(), (x[:1],), folder / "net.onnx")
    quantize(folder / "net.onnx", folder / "int8.onnx", [(x, x)])
    np.save(folder / "x.npy", x[:4].numpy())
    return folder


@pytest.mark.parametrize("version", ["1.17.3", "1.20.1"])
def test_an_old_runtime_answers_as_this_one(files, tmp_path, version):
    venv.create(tmp_path / "held", with_pip=True)
    python = str(tmp_path / "held" / "bin" / "python")
    wanted = [f"onnxruntime=={version}", "numpy<2"]
    install = [python, "-m", "pip", "install", "--quiet", *wanted]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"onnxruntime {version} cannot be installed here")
    names = [str(files / name) for name in ("x.npy", "net.onnx", "int8.onnx")]
    command = [python, "-c", RUNS, *names]
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "PYTHONPATH": ""}
    there = json.loads(subprocess.check_output(command, text=True, env=environment))
    here = json.loads(
        subprocess.check_output([sys.executable, *command[1:]], text=True)
    )
    assert there["version"] == version
    assert here["version"] == ort.__version__
    for one, other in zip(there["outputs"], here["outputs"], strict=True):
        expected = np.array(other)
        assert np.abs(np.array(one) - expected).max() <= 1e-2 * np.abs(expected).max()
