import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import numpy_helper

from edgeprune.measure.onnx_file import write_onnx
from tests.nets import Bottom

X = (torch.randn(1, 3, 8, 8),)
TINY = 1e-40


def planted():
    model = Bottom(8).eval()
    with torch.no_grad():
        model.second.weight[0, :4] = TINY
        model.second.weight[1, 0] = -TINY
        model.head.weight[0, 0] = float(np.finfo(np.float32).tiny)  # normal, just so
    return model, 5 * 9


def weights(path):
    return {
        item.name: numpy_helper.to_array(item)
        for item in onnx.load(path).graph.initializer
    }


def test_denormal_weights_are_set_to_zero_and_counted(tmp_path):
    model, count = planted()
    assert write_onnx(model, X, tmp_path / "m.onnx") == count
    found = weights(tmp_path / "m.onnx")["second.weight"]
    assert (found[0, :4] == 0).all()
    assert weights(tmp_path / "m.onnx")["head.weight"][0, 0] > 0


def test_they_stay_where_that_is_asked_for(tmp_path):
    model, _ = planted()
    assert write_onnx(model, X, tmp_path / "m.onnx", flush=False) == 0
    assert (weights(tmp_path / "m.onnx")["second.weight"][0, :4] != 0).all()


def test_the_file_computes_what_the_module_computes(tmp_path):
    model, _ = planted()
    write_onnx(model, X, tmp_path / "m.onnx")
    session = ort.InferenceSession(
        str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"input": X[0].numpy()})
    assert np.abs(found - model(*X).detach().numpy()).max() < 1e-6


def test_a_model_without_them_has_none(tmp_path):
    assert write_onnx(Bottom(8).eval(), X, tmp_path / "m.onnx") == 0
