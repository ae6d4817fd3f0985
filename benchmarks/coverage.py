"""What the graph core can prune in every network of torchvision and timm.

    pip install -e '.[test,benchmark]'
    python -m benchmarks.coverage                    # all of torchvision
    python -m benchmarks.coverage 'timm/*' resnet50  # by pattern

One row each, beside Torch-Pruning in the same process, the two timed in turns. A row
that is there is not measured again; `--again` does. The table is written to
`coverage.md`, the rows to `coverage.json`.
"""

from __future__ import annotations

import fnmatch
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime
import torch
import torchvision
import typer
from torch import nn
from torch.utils import _pytree as pytree

from benchmarks.coverage_page import page
from benchmarks.origin import origin
from benchmarks.patience import patience
from edgeprune.graph.channel_graph import build_channel_graph
from edgeprune.graph.cost import count
from edgeprune.graph.forward import quiet
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.surgery import apply, apply_surgery_, plan_surgery
from edgeprune.graph.survey import survey
from edgeprune.graph.trace import Inputs, tensors_in, trace
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.records import Plan
from tests.libraries import (
    SMALL,
    build,
    counted_layers,
    inputs_for,
    prunable_channels,
    task_of,
)
from tests.reference import relative_difference, zero_consumers
from tests.strategies import disturb_

HERE = Path(__file__).parent
ROWS, TABLE = HERE / "coverage.json", HERE / "coverage.md"
ROUNDS = 3
LIMIT_S, PEER_LIMIT_S = 900, 60
MEMORY_GIB = 18
LONG_S = 20  # after so long, one more round tells nothing new
EXPORTED_TASKS = {"classification", "quantization", "segmentation"}
USUAL = (224, 112)
Row = dict[str, Any]


def names() -> list[str]:
    """Every network that torchvision can build, and the families of timm."""
    found = torchvision.models.list_models()
    try:
        import timm
    except ImportError:
        return found
    by_family: dict[str, str] = {}
    for name in timm.list_models():
        if timm.models.is_model(name):
            by_family.setdefault(timm.models.model_entrypoint(name).__module__, name)
    return [*found, *(f"timm/{name}" for name in sorted(by_family.values()))]


def random_plan(graph: ChannelGraph, low: float, high: float, *, exact: bool) -> Plan:
    """A random share of the channels of every group goes."""
    rng = np.random.default_rng(0)
    kept: dict[str, tuple[int, ...]] = {}
    for group in graph.groups:
        if exact and group.approximate:
            continue
        width = max(1, round(group.size * (1 - rng.uniform(low, high))))
        kept[group.name] = tuple(
            sorted(rng.choice(group.size, width, replace=False).tolist())
        )
    return Plan(kept)


def peer_channels(groups: list[Any], engine: Any, model: nn.Module) -> int:
    """The same of Torch-Pruning's groups."""
    layers = set(counted_layers(model).values())
    gone: dict[nn.Module, set[int]] = {}
    for group in groups:
        for dependency, indices in group:
            layer = dependency.target.module
            if layer in layers and engine.is_out_channel_pruning_fn(dependency.handler):
                gone.setdefault(layer, set()).update(indices)
    return sum(map(len, gone.values()))


def outputs(model: nn.Module, inputs: Inputs) -> torch.Tensor:
    """All that a network returns, in one vector."""
    torch.manual_seed(2)
    with torch.no_grad():
        found = [item.double().ravel() for item in tensors_in(model(*inputs))]
    return torch.cat(found)


def what_goes(name: str) -> Row:
    """Groups, shares and reasons; pruned by 30 to 50 %, and by half and compared."""
    model = vary_(build(name))
    inputs = inputs_for(name, model, SMALL)
    graph = survey(model, inputs)
    plan = random_plan(graph, 0.3, 0.5, exact=False)
    pruned = apply(model, graph, plan)
    before, after = count(graph.traced), count(trace(pruned, inputs))
    produced = {layer.name: layer.channels for layer in before.layers}
    row: Row = {
        "groups": len(graph.groups),
        "approximate": sum(bool(group.approximate) for group in graph.groups),
        "channels": prunable_channels(model, graph),
        "blocks": len(graph.blocks),
        "produced": sum(produced.values()),
        "macs_left": after.macs / max(before.macs, 1),
        "by_value": graph.traced.by_value,
        "reasons": sorted({item.reason for item in graph.refusals}),
    }
    half = random_plan(graph, 0.5, 0.5, exact=True)
    if task_of(name) in EXPORTED_TASKS:
        row |= exported(apply(model, graph, half), inputs)
    return row | exactness(model, graph, half)


def exactness(model: nn.Module, graph: ChannelGraph, plan: Plan) -> Row:
    """The pruned network against the original with consumers at zero.

    In float64, unless its own code insists on float32. Boxes come in an order that the
    last digit of a score decides: they are not compared.
    """
    if graph.traced.by_value:
        return {"difference": None, "unpruned_difference": None}
    precision = torch.float64
    inputs = pytree.tree_map(lambda item: item.to(precision), graph.inputs)
    try:
        outputs(model.to(precision), inputs)
    except RuntimeError:
        precision, inputs = torch.float32, graph.inputs
        model.to(precision)
    pruned = outputs(apply(model, replace(graph, inputs=inputs), plan), inputs)
    original = outputs(model, inputs)
    silenced = outputs(zero_consumers(model, graph, plan), inputs)
    return {
        "precision": str(precision).removeprefix("torch."),
        "difference": relative_difference(pruned, silenced),
        "unpruned_difference": relative_difference(pruned, original),
    }


def vary_(model: nn.Module) -> nn.Module:
    """Weights and statistics that a trained network might have: none all alike."""
    disturb_(model)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() > 1 and parameter.min() == parameter.max():
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model


def exported(pruned: nn.Module, inputs: Inputs) -> Row:
    """A pruned network in float32, in PyTorch and in ONNX Runtime."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write_onnx(pruned, inputs, path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        given = [item.name for item in session.get_inputs()]
        arrays = [item.numpy() for item in tensors_in(inputs)]
        results = session.run(None, dict(zip(given, arrays, strict=True)))
    found = torch.cat([torch.from_numpy(item).double().ravel() for item in results])
    expected = outputs(pruned, inputs)[: len(found)]
    return {"exported_difference": relative_difference(found, expected)}


def ours_by_half(model: nn.Module, inputs: Inputs) -> float:
    """Seconds to find the groups and to prune every one by half."""
    begin = time.perf_counter()
    graph = build_channel_graph(model, inputs)
    plan = Plan({group.name: tuple(range(0, group.size, 2)) for group in graph.groups})
    apply_surgery_(model, plan_surgery(model, graph, plan))
    return time.perf_counter() - begin


def peer_by_half(name: str, model: nn.Module, inputs: Inputs) -> Row:
    """The same with Torch-Pruning, which is told what must stay."""
    import torch_pruning as tp

    graph = build_channel_graph(model, inputs)
    last = {
        item.name for item in graph.refusals if item.reason == "output of the network"
    }
    modules = dict(model.named_modules())
    ignored = [modules[path] for path in last if path in modules]
    heads = {
        module: module.num_heads
        for module in model.modules()
        if isinstance(module, nn.MultiheadAttention)
    }
    begin = time.perf_counter()
    with quiet():
        pruner = tp.pruner.BasePruner(
            model,
            inputs if len(inputs) > 1 or task_of(name) == "detection" else inputs[0],
            importance=tp.importance.RandomImportance(),
            pruning_ratio=0.5,
            ignored_layers=ignored,
            num_heads=heads,
            output_transform=lambda out: sum(item.sum() for item in tensors_in(out)),
        )
        graph_of = pruner.DG
        groups = list(
            graph_of.get_all_groups(
                ignored_layers=ignored, root_module_types=pruner.root_module_types
            )
        )
        found = time.perf_counter()
        channels = peer_channels(groups, graph_of, model)
        counted = time.perf_counter()
        pruner.step()
    seconds = time.perf_counter() - counted + found - begin
    outputs(model, inputs)  # it runs
    return {"channels": channels, "seconds": seconds}


def side_by_side(name: str) -> Row:
    """Both engines in turns, from a fresh model every time."""
    inputs = inputs_for(name, build(name), USUAL)
    build_channel_graph(
        torchvision.models.resnet18().eval(), (torch.rand(1, 3, 64, 64),)
    )
    ours: list[float] = []
    theirs: list[Row] = []
    problem = ""
    began = time.perf_counter()
    for number in range(ROUNDS):
        if number and time.perf_counter() - began > LONG_S:
            break
        ours.append(ours_by_half(build(name), inputs))
        try:
            with patience(PEER_LIMIT_S):
                theirs += [] if problem else [peer_by_half(name, build(name), inputs)]
        except BaseException as error:  # noqa: BLE001  it fails in many ways
            problem = f"{type(error).__name__}: {str(error).splitlines()[:1]}"[:120]
    row: Row = {"seconds": statistics.median(ours), "spread_s": max(ours) - min(ours)}
    if problem:
        return row | {"peer_problem": problem}
    times = [item["seconds"] for item in theirs]
    return row | {
        "peer_channels": theirs[0]["channels"],
        "peer_seconds": statistics.median(times),
        "peer_spread_s": max(times) - min(times),
    }


PARTS = {"what_goes": what_goes, "side_by_side": side_by_side}


def _at_most(gib: int) -> None:
    """Let this process fail where it would take all of the machine's memory."""
    resource.setrlimit(resource.RLIMIT_DATA, (gib << 30, gib << 30))


def measured(name: str, part: str) -> Row:
    """One part of a row, measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.coverage", "--child", part, name]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return {f"{part}_problem": f"more than {LIMIT_S} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        said = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[
            -1
        ]
        return {f"{part}_problem": said[:300]}
    return json.loads(lines[-1])


def main(
    patterns: Annotated[list[str] | None, typer.Argument()] = None,
    again: Annotated[bool, typer.Option(help="Measure rows that are there.")] = False,
    child: Annotated[str, typer.Option(hidden=True)] = "",
    part: Annotated[list[str] | None, typer.Option(help="Only these parts.")] = None,
) -> None:
    """Measure the rows that are missing."""
    if child:
        _at_most(MEMORY_GIB)
        print(json.dumps(PARTS[child]((patterns or [""])[0])))
        return
    rows: dict[str, Row] = json.loads(ROWS.read_text()) if ROWS.exists() else {}
    wanted = [
        name
        for name in names()
        if any(
            fnmatch.fnmatch(name, pattern)
            for pattern in patterns or ["[!t]*", "t[!i]*"]
        )
    ]
    for name in wanted:
        row = rows.setdefault(name, {"task": task_of(name), "done": []})
        for item in part or PARTS:
            if item in row["done"] and not again:
                continue
            row.pop(f"{item}_problem", None)
            found = {**measured(name, item), **origin()}
            row.update(found)
            row["done"] = sorted({*row["done"], item})
            print(
                name,
                item,
                {k: v for k, v in found.items() if k != "reasons"},
                flush=True,
            )
            ROWS.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
            TABLE.write_text(page(rows))


if __name__ == "__main__":
    typer.run(main)
