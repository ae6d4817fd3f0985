"""Networks that end behind one of their modules."""

import pytest
import torch
import torchvision
from torch import nn

from edgeprune.errors import WorkloadError
from edgeprune.export.session import OnnxModel
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.workload.packed import packed, structure_of_outputs
from edgeprune.workload.part import finishing, part_of, whole_of


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 1)

    def forward(self, x):
        found = self.first(x)
        return self.last(found + 1).tolist()  # which nobody can export


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.unused = Inner(), nn.Linear(2, 2)

    def forward(self, x):
        return len(self.inner(2 * x))


def test_it_gives_what_the_module_gives_and_keeps_all_paths():
    model = Nested().eval()
    part = part_of(model, "inner.first")
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(part(x), model.inner.first(2 * x))
    assert list(part.state_dict()) == list(model.state_dict())
    assert whole_of(part)(x) == model(x) == 2  # as it was handed over
    assert whole_of(model) is model


class Behind(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk, self.rest = nn.Conv2d(3, 4, 3), Inner()

    def forward(self, x):
        return self.rest(self.trunk(x))  # which takes what is not there any more


def test_what_another_module_does_with_it_is_not_exported(tmp_path):
    part, x = part_of(Behind().eval(), "trunk"), torch.randn(1, 3, 8, 8)
    write_onnx(part, (x,), tmp_path / "part.onnx")
    assert "forward" not in vars(part.rest)  # all is as it was


def test_it_is_exported_though_what_follows_cannot_be(tmp_path):
    part, x = part_of(Nested().eval(), "inner.first"), torch.randn(1, 3, 8, 8)
    write_onnx(part, (x,), tmp_path / "part.onnx")
    torch.testing.assert_close(
        OnnxModel(tmp_path / "part.onnx")(x), part(x).detach(), atol=1e-5, rtol=1e-5
    )


def test_what_is_no_module_of_it_is_named():
    with pytest.raises(WorkloadError, match="its own are inner, unused"):
        part_of(Nested(), "outer")


def test_what_does_not_run_is_named():
    part = part_of(Nested().eval(), "unused")
    with pytest.raises(WorkloadError, match="does not run it"):
        part(torch.randn(1, 3, 8, 8))


@pytest.fixture(scope="module")
def detector():
    torch.manual_seed(0)
    return torchvision.models.get_model(
        "ssdlite320_mobilenet_v3_large",
        weights=None,
        weights_backbone=None,
        num_classes=4,
    ).eval()


def test_the_rest_of_a_detector_goes_on_from_its_heads_outputs(detector, tmp_path):
    x = torch.rand(2, 3, 96, 96)
    part = part_of(detector, "head")
    several = structure_of_outputs(part, (x[:1],))
    held = packed(part, None, several)
    write_onnx(held, (x,), tmp_path / "head.onnx")
    found = OnnxModel(tmp_path / "head.onnx").named_outputs(x)
    assert list(found) == ["bbox_regression", "cls_logits"]
    finish = finishing(detector, "head", (3, 96, 96))
    ours = finish({name: torch.from_numpy(one) for name, one in found.items()})
    with torch.no_grad():
        whole = detector(x)
    for one, other in zip(ours, whole, strict=True):
        assert len(one["boxes"]) == len(other["boxes"])
        torch.testing.assert_close(one["scores"], other["scores"], atol=1e-4, rtol=1e-4)


def test_outputs_that_the_rest_cannot_take_are_refused(detector):
    finish = finishing(detector, "head", (3, 96, 96))
    with pytest.raises(WorkloadError, match="cannot go on from outputs of head"):
        finish({"bbox_regression": torch.zeros(1, 3, 4)})
