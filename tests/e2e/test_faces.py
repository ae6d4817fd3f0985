"""MTCNN's networks, several tasks at once, with the weights that a package brings."""

import onnxruntime as ort
import pytest
import torch
from torch.utils.data import TensorDataset

import edgeprune
from edgeprune.data.noise import noise
from tests.made_up import FAKE

mtcnn = pytest.importorskip("facenet_pytorch.models.mtcnn")
pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "side", "outputs"), [("RNet", 24, 2), ("ONet", 48, 3)]
)
def test_all_outputs_are_kept_in_sight(name, side, outputs, tmp_path):
    model = getattr(mtcnn, name)().eval()
    x = noise(400, (3, side, side), torch.Generator().manual_seed(0))
    done = edgeprune.compress(
        model,
        (TensorDataset(x[:300]), TensorDataset(x[300:350]), TensorDataset(x[350:])),
        budget="70%",
        min_agreement=0.5,
        train=False,
        effort="quick",
        target=FAKE,
        out=tmp_path / "run",
    )
    assert done.report.status == "met", done.report.sentence
    session = ort.InferenceSession(
        done.folder / done.report.counted.file, providers=["CPUExecutionProvider"]
    )
    assert len(session.get_outputs()) == outputs
