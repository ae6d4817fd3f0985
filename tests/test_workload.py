import pickle
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgeprune.errors import WorkloadError
from edgeprune.workload import (
    accuracy,
    check_weights,
    load_model,
    load_weights_,
)
from tests.nets import Bottom, small


def saved(tmp_path, state, name="ck.pt"):
    torch.save(state, tmp_path / name)
    return tmp_path / name


def test_models_come_from_torchvision_or_a_factory():
    model = load_model("torchvision:resnet18", num_classes=7, seed=0)
    assert model.fc.out_features == 7
    assert isinstance(load_model("tests.nets:small", num_classes=None, seed=0), Bottom)


def test_the_seed_fixes_fresh_weights():
    first, second = (
        load_model("tests.nets:small", num_classes=None, seed=1) for _ in "ab"
    )
    assert torch.equal(first.head.weight, second.head.weight)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s}])
def test_weights_are_loaded_with_or_without_a_wrapper(tmp_path, wrap):
    source, target = small(), small()
    state = {f"module.{key}": value for key, value in source.state_dict().items()}
    load_weights_(target, saved(tmp_path, wrap(state)))
    assert torch.equal(target.head.weight, source.head.weight)


def test_safetensors_are_loaded(tmp_path):
    source, target = small(), small()
    save_file(source.state_dict(), tmp_path / "ck.safetensors")
    load_weights_(target, tmp_path / "ck.safetensors")
    assert torch.equal(target.head.weight, source.head.weight)


class Payload:
    def __reduce__(self):
        return (print, ("unpickled",))


def test_nothing_is_ever_unpickled(tmp_path, capsys):
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Payload()))
    torch.save({"x": Payload()}, tmp_path / "evil2.pt")
    torch.save(small(), tmp_path / "module.pt")
    for name in ("evil.pt", "evil2.pt", "module.pt"):
        with pytest.raises(WorkloadError, match="never unpickled"):
            load_weights_(small(), tmp_path / name)
    assert "unpickled" not in capsys.readouterr().out


def without(state, key):
    return {name: value for name, value in state.items() if name != key}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda s: without(s, "head.bias"), "missing: head.bias"),
        (lambda s: {**s, "more": torch.zeros(1)}, "unknown: more"),
        (
            lambda s: {**s, "head.bias": torch.zeros(9)},
            r"head.bias is \(9,\) instead of \(4,\)",
        ),
        (
            lambda s: {**s, "head.bias": torch.full((4,), torch.nan)},
            "NaN or infinity in head.bias",
        ),
        (lambda s: [1, 2], "no state dict"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_key(tmp_path, change, complaint):
    with pytest.raises(WorkloadError, match=complaint) as caught:
        load_weights_(small(), saved(tmp_path, change(small().state_dict())))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["ck.pt", "ck.safetensors"])
def test_missing_and_corrupt_files_are_told_apart(tmp_path, name):
    with pytest.raises(WorkloadError, match="does not exist"):
        load_weights_(small(), tmp_path / name)
    (tmp_path / name).write_bytes(b"\x00\x01garbage")
    with pytest.raises(WorkloadError, match=r"corrupt|cannot be read"):
        load_weights_(small(), tmp_path / name)


def test_a_truncated_checkpoint_is_refused(tmp_path):
    path = saved(tmp_path, small().state_dict())
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(WorkloadError, match=r"corrupt|cannot be read"):
        load_weights_(small(), path)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("resnet18", "Unknown model 'resnet18'"),
        ("torchvision:resnet17", "model 'resnet17' cannot be made"),
        ("tests.nets:nothing", "Cannot import model"),
        ("no_such_module:net", "Cannot import model"),
        ("tests.nets:Block", "failed: TypeError"),
        ("tests.test_workload:Payload", "must return a torch.nn.Module"),
    ],
)
def test_models_that_cannot_be_made_are_refused(source, complaint):
    with pytest.raises(WorkloadError, match=complaint):
        load_model(source, num_classes=None, seed=0)


def test_timm_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(WorkloadError, match=r"pip install 'edgeprune\[timm\]'"):
        load_model("timm:resnet18", num_classes=None, seed=0)


def test_weights_that_are_no_numbers_are_refused():
    model = small()
    with torch.no_grad():
        model.norm.running_var[0] = torch.inf
    with pytest.raises(WorkloadError, match=r"norm.running_var"):
        check_weights(model)


def test_accuracy_counts_every_sample_once():
    x = torch.tensor([[3.0, 1.0], [0.0, 1.0], [2.0, 1.0]])
    batches = [(x[:2], torch.tensor([0, 0])), (x[2:], torch.tensor([0]))]
    assert accuracy(nn.Identity(), batches) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("predict", "complaint"),
    [
        (lambda x: x[:, :1], "has 1 outputs, the data have label 1: number"),
        (lambda x: x[:, 0], r"shape \(N, classes\), found shape \(2,\)"),
        (lambda x: {"out": x}, "found dict"),
        (lambda x: x.repeat(2, 1), "4 rows for 2 samples"),
    ],
)
def test_outputs_that_are_no_class_scores_are_refused(predict, complaint):
    with pytest.raises(WorkloadError, match=complaint):
        accuracy(predict, [(torch.zeros(2, 2), torch.tensor([0, 1]))])
