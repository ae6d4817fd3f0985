"""The compressed module on disk and back, where nothing of the run is known."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torchvision.models import squeezenet1_1

import edgeprune
from edgeprune.errors import EdgepruneError, WorkloadError
from edgeprune.export.checkpoint import (
    checkpoint_files,
    exported_program,
    load,
    read_plan,
    restore_,
    saved_plan,
)
from edgeprune.graph.channel_graph import build_channel_graph, replace_with_identity
from edgeprune.graph.surgery import apply, plan_surgery
from edgeprune.records import Surgery
from tests.nets import CifarResNet
from tests.reference import random_plan
from tests.strategies import disturb_
from tests.user_nets import Heads, Partial, Tied, image

X = torch.randn(2, 3, 8, 8)


def saved(model, surgery, folder, name="tests.nets:small"):
    folder.mkdir(exist_ok=True)
    plan = saved_plan(name, None, surgery, ())
    for file, content in checkpoint_files(model, plan).items():
        (folder / file).write_bytes(content)
    return folder


def pruned_twice(factory, blocks=()):
    """A model after two compressions, the first one's surgery, and both together."""
    model = disturb_(factory().eval())
    graph = build_channel_graph(model, (X,))
    plan = replace(
        random_plan(replace_with_identity(graph, blocks), 0, 0.7),
        bypassed=tuple(blocks),
    )
    first = plan_surgery(model, graph, plan)
    once = apply(model, graph, plan)
    again = build_channel_graph(once, (X,))
    second_plan = random_plan(again, 1, 0.7)
    second = plan_surgery(once, again, second_plan)
    return apply(once, again, second_plan), first, first.then(second)


@pytest.mark.parametrize("factory", [Heads, Partial, Tied, lambda: CifarResNet(2)])
def test_two_compressions_are_one_surgery_of_the_original(factory, tmp_path):
    model, _, surgery = pruned_twice(factory)
    fresh = factory()
    restored = load(saved(model, surgery, tmp_path), fresh)
    assert restored is fresh
    with torch.no_grad():
        assert torch.equal(restored(X), model(X))


def test_a_block_that_is_gone_stays_gone(tmp_path):
    model, _, surgery = pruned_twice(lambda: CifarResNet(2), ["layer2.1"])
    restored = load(saved(model, surgery, tmp_path), CifarResNet(2))
    assert isinstance(restored.layer2[1], torch.nn.Identity)
    with torch.no_grad():
        assert torch.equal(restored(X), model(X))


def test_a_block_removed_later_takes_its_channels_from_the_surgery():
    model = CifarResNet(2).eval()
    graph = build_channel_graph(model, (X,))
    first = plan_surgery(model, graph, random_plan(graph, 0))
    both = first.then(Surgery(bypassed=("layer1.1",)))
    assert any(item.parameter.startswith("layer1.1.") for item in first.kept)
    assert not any(item.parameter.startswith("layer1.1.") for item in both.kept)


def test_another_process_loads_by_a_description(tmp_path):
    model, _, surgery = pruned_twice(Heads)
    saved(model, surgery, tmp_path, "of the caller")
    torch.manual_seed(0)
    x = image()
    code = (
        "import sys, torch, edgeprune; from tests.user_nets import image;"
        "torch.manual_seed(0); x = image();"
        "model = edgeprune.load(sys.argv[1], 'tests.user_nets:Heads');"
        "print(float(model(x).double().sum()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )
    with torch.no_grad():
        assert float(done.stdout) == pytest.approx(float(model(x).double().sum()))


@pytest.mark.parametrize(
    "name", ["payload:make", "os:abort", "torchvision:payload", "timm:hf-hub:a/b", ""]
)
def test_code_that_only_a_file_names_is_not_run(tmp_path, monkeypatch, name):
    model, _, surgery = pruned_twice(Heads)
    saved(model, surgery, tmp_path, name)
    (tmp_path / "payload.py").write_text("raise SystemExit('it was imported')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(".")
    with pytest.raises(WorkloadError, match="give the factory"):
        load(".")


def test_a_library_model_needs_no_factory(tmp_path):
    model = squeezenet1_1(num_classes=3)
    files = checkpoint_files(
        model, saved_plan("torchvision:squeezenet1_1", 3, Surgery(), [])
    )
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert torch.equal(load(tmp_path).classifier[1].weight, model.classifier[1].weight)


def test_the_factorys_weights_do_not_matter(tmp_path):
    model, _, surgery = pruned_twice(Heads)
    saved(model, surgery, tmp_path)
    torch.manual_seed(99)
    with torch.no_grad():
        assert torch.equal(load(tmp_path, Heads)(X), model(X))


def test_the_surgery_comes_back_whole(tmp_path):
    model, _, surgery = pruned_twice(Partial)
    saved(model, surgery, tmp_path)
    assert read_plan(tmp_path).surgery == surgery
    assert restore_(Partial(), tmp_path) == surgery


def damaged(folder, change):
    path = folder / "plan.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda c: c.update(schema_version=99), "schema 99"),
        (lambda c: c.pop("surgery"), "damaged"),
        (lambda c: c["surgery"].update(kept=3), "damaged"),
    ],
)
def test_a_damaged_plan_is_refused_in_one_sentence(tmp_path, change, complaint):
    model, _, surgery = pruned_twice(Heads)
    saved(model, surgery, tmp_path)
    damaged(tmp_path, change)
    with pytest.raises(EdgepruneError, match=complaint) as caught:
        load(tmp_path, Heads)
    assert "\n" not in str(caught.value)


def test_a_factory_of_another_network_is_refused(tmp_path):
    model, _, surgery = pruned_twice(Heads)
    saved(model, surgery, tmp_path)
    with pytest.raises(EdgepruneError, match="another network"):
        load(tmp_path, Partial)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(EdgepruneError, match="not an edgeprune run folder"):
        edgeprune.load(tmp_path, Heads)


def test_a_model_of_python_needs_its_factory(tmp_path):
    model, _, surgery = pruned_twice(Heads)
    saved(model, surgery, tmp_path, "Heads")
    with pytest.raises(EdgepruneError, match="give the factory"):
        load(tmp_path)


def test_the_program_of_torch_export_computes_the_same(tmp_path):
    model, _, _ = pruned_twice(Heads)
    path = tmp_path / "model.pt2"
    path.write_bytes(exported_program(model, (X,)))
    program = torch.export.load(path).module()
    with torch.no_grad():
        torch.testing.assert_close(program(X), model(X))
