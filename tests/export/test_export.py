import copy

import pytest
import torch

from edgeprune.errors import ExportError, ParityError
from edgeprune.export.parity import compare_outputs, compare_with_file, prove_parity
from edgeprune.export.session import OnnxModel
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.quantize.quantize import quantize
from tests.nets import Bottom

GENERATOR = torch.Generator().manual_seed(0)
X = (torch.randn(4, 3, 8, 8, generator=GENERATOR),)
BATCHES = [
    (torch.randn(5, 3, 8, 8, generator=GENERATOR), torch.zeros(5, dtype=torch.int64))
    for _ in range(3)
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    torch.manual_seed(0)
    model = Bottom()
    write_onnx(model, X, path)
    return model, path


def test_a_file_with_a_fixed_batch_takes_any_number_of_samples(exported):
    model, path = exported
    for count in (1, 4, 7):
        x = torch.randn(count, 3, 8, 8)
        with torch.no_grad():
            torch.testing.assert_close(OnnxModel(path)(x), model.eval()(x))


def test_an_exported_model_is_the_same_function(exported):
    parity = prove_parity(*exported, BATCHES)
    assert parity.passed
    assert parity.samples == 15
    assert 0 < parity.largest_relative < 1e-5
    assert parity.top1_agreement == 1


def test_another_function_fails_the_proof(exported):
    model, path = exported
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.head.bias += 0.05
    with pytest.raises(ParityError, match="not the same function"):
        prove_parity(other, path, BATCHES)


def test_differences_are_absolute_and_relative_to_the_largest_output():
    parity = compare_outputs(
        "a",
        torch.tensor([[4.0, 0.0], [0.0, 2.0]]),
        torch.tensor([[4.0, 0.0], [1.0, 0.5]]),
        0.5,
    )
    assert parity.largest_absolute == 1.5
    assert parity.largest_relative == 1.5 / 4
    assert parity.top1_agreement == 0.5
    assert not parity.passed


def test_int8_is_close_small_and_quantised(exported, tmp_path):
    import onnx

    model, path = exported
    quantize(path, tmp_path / "int8.onnx", BATCHES)
    operators = {node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators
    parity = compare_with_file(model, tmp_path / "int8.onnx", BATCHES)
    assert 0 < parity.largest_relative < 0.3  # an untrained network answers near zero
    assert (tmp_path / "int8.onnx").stat().st_size < path.stat().st_size


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(ExportError, match=r"bad.onnx does not load"):
        OnnxModel(tmp_path / "bad.onnx")
    with pytest.raises(ExportError, match="cannot be quantised"):
        quantize(tmp_path / "bad.onnx", tmp_path / "int8.onnx", BATCHES)
    assert not (tmp_path / "int8.onnx").exists()
