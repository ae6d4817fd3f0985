"""`check --data`: a file is judged by targets, on images of the size asked for."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import edgeprune
from edgeprune.errors import DataError
from edgeprune.settings import DataSettings
from tests.made_up import FAKE


def exported(path, *, open_size):
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(8, 2)),
    ).eval()
    sizes = {"input": {2: "height", 3: "width"}} if open_size else None
    x = torch.zeros(1, 3, 16, 16)
    names = {"input_names": ["input"], "dynamic_axes": sizes}
    torch.onnx.export(model, (x,), path, dynamo=False, **names)
    return model


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_images_have_the_size_that_is_asked_for(tmp_path):
    model = exported(tmp_path / "net.onnx", open_size=True)
    rng = np.random.default_rng(0)
    held = []
    for part in ("train", "test"):
        for number, kind in enumerate(("cat", "dog")):
            (tmp_path / "data" / part / kind).mkdir(parents=True)
            for at in range(10):
                pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                path = tmp_path / "data" / part / kind / f"{at}.png"
                Image.fromarray(pixels).save(path)
                if part == "test":
                    held.append((torch.from_numpy(pixels).permute(2, 0, 1), number))
    settings = DataSettings(
        data=str(tmp_path / "data"), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
    )
    found = edgeprune.check_file(
        tmp_path / "net.onnx", target=FAKE, sample=(3, 16, 16), data=settings
    )
    with torch.no_grad():
        answers = model(torch.stack([x / 255 for x, _ in held])).argmax(1)
    right = (answers == torch.tensor([y for _, y in held])).double().mean()
    assert found.accuracy == pytest.approx(float(right))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_file_is_not_judged_by_data_without_labels(tmp_path):
    exported(tmp_path / "net.onnx", open_size=False)
    np.savez(tmp_path / "data.npz", x=np.zeros((40, 3, 16, 16), np.float32))
    settings = DataSettings(data=str(tmp_path / "data.npz"))
    with pytest.raises(DataError, match="has no labels to judge a file by"):
        edgeprune.check_file(tmp_path / "net.onnx", target=FAKE, data=settings)
