"""Weights as people have them."""

import argparse
import collections
import pickle
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune
from torchvision.models import googlenet

from edgeprune.errors import WorkloadError
from edgeprune.workload import check_weights, load_model, load_weights_
from tests.nets import small


def saved(tmp_path, state, name="ck.pt"):
    torch.save(state, tmp_path / name)
    return tmp_path / name


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


def test_weights_that_are_no_numbers_are_refused():
    model = small()
    with torch.no_grad():
        model.norm.running_var[0] = torch.inf
    with pytest.raises(WorkloadError, match=r"norm.running_var"):
        check_weights(model)


def same(first, second):
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


PREFIXES = ("module.", "model.", "_orig_mod.", "module._orig_mod.", "net.", "a.b.")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_a_wrapper_put_before_every_key_is_cut_off(tmp_path, prefix):
    source, target = small(), small()
    state = {f"{prefix}{key}": value for key, value in source.state_dict().items()}
    said = load_weights_(target, saved(tmp_path, {"state_dict": state}))
    assert same(source, target)
    assert repr(prefix) in said
    assert "'state_dict'" in said


@pytest.mark.parametrize("wrapper", ["module", "_orig_mod"])
def test_a_wrapped_part_is_found_too(tmp_path, wrapper):
    source, target = small(), small()
    state = {
        key.replace("head.", f"head.{wrapper}."): value
        for key, value in source.state_dict().items()
    }
    load_weights_(target, saved(tmp_path, state))
    assert same(source, target)


def test_a_part_that_is_called_module_keeps_its_keys(tmp_path):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = small()

    source, target = Own(), Own()
    assert load_weights_(target, saved(tmp_path, source.state_dict())) == ""
    assert same(source, target)


NAMES = ("net", "params_ema", "model_ema", "ema", "model", "anything")


@pytest.mark.parametrize("name", NAMES)
def test_the_state_dict_is_found_under_any_usual_name(tmp_path, name):
    source, target = small(), small()
    said = load_weights_(target, saved(tmp_path, {name: source.state_dict(), "e": 3}))
    assert same(source, target)
    assert repr(name) in said


def test_averaged_weights_are_preferred_and_it_is_said(tmp_path):
    raw, averaged, target = small(), small(), small()
    content = {"model": raw.state_dict(), "model_ema": averaged.state_dict()}
    said = load_weights_(target, saved(tmp_path, content))
    assert same(averaged, target)
    assert "'model_ema'" in said


def test_the_optimizer_is_not_taken_for_the_weights(tmp_path):
    source, target = small(), small()
    optimizer = torch.optim.SGD(source.parameters(), 0.1, momentum=0.9)
    sum(item.sum() for item in source.parameters()).backward()
    optimizer.step()
    content = {"optimizer": optimizer.state_dict(), "net": source.state_dict()}
    load_weights_(target, saved(tmp_path, content))
    assert same(source, target)


@pytest.mark.parametrize(
    "beside",
    [
        np.float64(91.5),
        np.float32(91.5),
        np.int64(3),
        np.bool_(True),
        np.zeros(3),
        argparse.Namespace(lr=0.1, path=Path("a/b")),
        Path("a/b"),
        PureWindowsPath("a/b"),
        collections.defaultdict(list, {"loss": [1.0, 2.0]}),
        {"seen", "twice"},
    ],
)
def test_plain_records_beside_the_weights_are_no_obstacle(tmp_path, beside):
    source, target = small(), small()
    path = saved(tmp_path, {"state_dict": source.state_dict(), "beside": beside})
    load_weights_(target, path)
    assert same(source, target)


def test_counters_of_other_tools_are_left_out(tmp_path):
    source, target = small(), small()
    averaged = torch.optim.swa_utils.AveragedModel(source)
    counted = {
        **averaged.state_dict(),
        "total_ops": torch.zeros(1),
        "head.total_params": torch.zeros(1),
    }
    load_weights_(target, saved(tmp_path, counted))
    assert same(source, target)


def test_masks_of_torchs_pruning_are_applied(tmp_path):
    source, target = small(), small()
    prune.l1_unstructured(source.head, "weight", 0.5)
    load_weights_(target, saved(tmp_path, source.state_dict()))
    assert torch.equal(target.head.weight, source.head.weight)
    assert (target.head.weight == 0).float().mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    "key", ["head._packed_params._packed_params", "scale.zero_point"]
)
def test_weights_of_a_quantised_model_are_one_sentence(tmp_path, key):
    state = {**small().state_dict(), key: torch.zeros(1)}
    with pytest.raises(WorkloadError, match="quantised model"):
        load_weights_(small(), saved(tmp_path, state))


def test_infinity_is_legal_in_a_buffer_and_not_in_a_weight(tmp_path):
    net, target = small(), small()
    for model in (net, target):
        model.register_buffer("mask", torch.full((2, 2), -torch.inf))
    check_weights(net)
    load_weights_(target, saved(tmp_path, net.state_dict()))
    with torch.no_grad():
        net.head.bias[0] = torch.inf
    with pytest.raises(WorkloadError, match=r"head\.bias"):
        check_weights(net)


def test_published_weights_with_heads_for_training_fit_the_model_without(tmp_path):
    options = {"num_classes": 3, "init_weights": False}
    published = googlenet(weights=None, aux_logits=True, **options)
    model = load_model("torchvision:googlenet", num_classes=3, seed=0)
    load_weights_(model, saved(tmp_path, published.state_dict()))
    assert torch.equal(model.fc.weight, published.fc.weight)
