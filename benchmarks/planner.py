"""The planner against its budgets, and against peers at equal measured milliseconds.

    pip install -e '.[test,benchmark]'
    python -m benchmarks.planner budgets   # (network, budget) pairs: is each met?
    python -m benchmarks.planner peers     # CIFAR-10, at the peers' measured time

`budgets` prunes torchvision networks with random weights (time does not depend on
them) and random losses to shares of their own time. `peers` prunes trained networks
with Torch-Pruning and torch-kirigami (global ranking, widths in steps of 16), with
onnxsim (on the exported file) and uniformly, measures the exported result, and gives
edgeprune exactly that time. No fine-tuning
before the first accuracy; then the same help for all: statistics of the batch norms
taken anew, and a few steps of training. What is there is not measured again;
`--again` does. Writes `planner.json` and `planner.md`.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import torch
import typer
from torch import nn
from torch_kirigami.errors import KirigamiError

from benchmarks.latency_model import NETWORKS
from benchmarks.networks import Cifar10, cifar10, cifar_resnet56, cifar_vgg16
from benchmarks.origin import origin, taken
from benchmarks.patience import OutOfTimeError, patience
from benchmarks.peers import (
    PEERS,
    STEPS,
    Row,
    accuracy,
    judged_model,
)
from benchmarks.setting import (
    Setting,
    final_share,
    search,
    setting,
)
from edgeprune.data import Reading, TensorBatches
from edgeprune.graph.surgery import apply
from edgeprune.graph.trace import Inputs
from edgeprune.prune.loss import Loss, losses_of, lost
from edgeprune.prune.problem import ErrorEvaluator
from edgeprune.records import Budget
from edgeprune.score.context import Context
from edgeprune.score.criteria import comparable_scores, score_channels
from edgeprune.score.sensitivity import measure_sensitivity
from edgeprune.settings import DEFAULT_CRITERION

HERE = Path(__file__).parent
ROWS, TABLE = HERE / "planner.json", HERE / "planner.md"
SHARES = (0.8, 0.6, 0.4)  # of the network's own time
RATIOS = (0.25, 0.5)  # of the channels, that peers are told to remove
PATIENCE_S = 150  # with a peer
SLOWER = 1.02  # times as long as the input, beyond the noise of a measurement

TRAINED: dict[str, tuple[Callable[[], tuple[nn.Module, Inputs]], Any, Any]] = {
    "resnet56_cifar": (cifar_resnet56, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "vgg16_cifar": (cifar_vgg16, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
}

app = typer.Typer(help=__doc__, no_args_is_help=True)
Names = Annotated[list[str] | None, typer.Argument()]
Ratios = Annotated[list[float] | None, typer.Option("--ratio")]


Judged = tuple[dict[str, torch.Tensor], Loss, ErrorEvaluator]


@app.command()
def budgets(names: Names = None, *, again: bool = False) -> None:
    """Does the closed loop end at or under the budget, and close to it?"""
    rows = _rows()
    for name in names or NETWORKS:
        todo = [
            share
            for share in SHARES
            if again or f"{name} {share}" not in rows["budgets"]
        ]
        if not todo:
            continue
        with tempfile.TemporaryDirectory() as folder:
            held = setting(*NETWORKS[name](), folder)
            generator = torch.Generator().manual_seed(0)
            scores = {
                group.name: torch.rand(group.size, generator=generator).double() ** 2
                for group in held.graph.groups
            }
            curves = {group: lost(values) for group, values in scores.items()}
            usual = float(
                np.mean([curve[len(curve) // 2] for curve in curves.values()])
            )
            loss = Loss(curves, {block.name: 2 * usual for block in held.costs.blocks})
            for share in todo:
                budget = Budget(latency_ratio=share)
                found, trials = search(held, scores, loss, budget)
                solution = trials[-1].solution
                limit = share * held.evaluator.reference.ms
                pruned = apply(held.model, held.graph, found.plan)
                final = final_share(held, pruned) * held.evaluator.reference.ms
                rows["budgets"][f"{name} {share}"] = {
                    "budget_ms": limit,
                    "final_ms": final,
                    "used": final / limit,
                    "rounds": len(trials),
                    "blocks_out": len(found.plan.bypassed),
                    "gap": solution.gap,
                    "solver_s": solution.seconds,
                    **origin(),
                }
                print(name, share, rows["budgets"][f"{name} {share}"], flush=True)
                _write(rows)


@app.command()
def peers(names: Names = None, *, ratios: Ratios = None, again: bool = False) -> None:
    """At the peers' measured time: whose network is more accurate?"""
    rows = _rows()
    for name in names or TRAINED:
        make, mean, std = TRAINED[name]
        model, inputs = make()
        data = cifar10(mean, std)
        rows["accuracy"][name] = accuracy(model, data)
        with tempfile.TemporaryDirectory() as folder:
            held = setting(model, inputs, folder)
            found = judged(held, data)
            for ratio in ratios or RATIOS:
                for peer, prune in PEERS.items():
                    key = f"{name} {peer} {ratio}"
                    if key in rows["peers"] and not again:
                        continue
                    made = partial(prune, model, held.graph, ratio, data)
                    rows["peers"][key] = beside(held, made, found, data)
                    print(key, rows["peers"][key], flush=True)
                    _write(rows)


def beside(
    held: Setting, prune: Callable[[], nn.Module], found: Judged, data: Cifar10
) -> Row:
    """A peer's network, and edgeprune's in the time that it takes."""
    try:
        with patience(PATIENCE_S):
            other = prune()
        row: Row = {"peer": judged_model(other, held.model, data)}
    except (
        RuntimeError,
        ValueError,
        IndexError,
        KirigamiError,
        OutOfTimeError,
    ) as problem:
        return {"failed": str(problem).splitlines()[0], **origin()}
    share = final_share(held, other)
    row |= {"share": share, **origin()}
    ours = held.model
    if share < 1:
        limit = Budget(latency_ratio=share)
        result, trials = search(held, *found[:2], limit, found[2])
        row["rounds"] = len(trials)
        ours = apply(held.model, held.graph, result.plan)
    row["ours_share"] = final_share(held, ours)
    row["ours"] = judged_model(ours, held.model, data)
    return row


def judged(held: Setting, data: Cifar10) -> Judged:
    """Scores, losses and the errors of plans as a run would find them."""
    batches = TensorBatches(*data.calibration, Reading(64))
    context = Context(held.model, held.graph, batches)
    scores = score_channels(DEFAULT_CRITERION, context)
    blocks = [block.name for block in held.costs.blocks]
    ranked = comparable_scores(scores, held.graph)
    loss = losses_of(ranked, measure_sensitivity(context, scores, blocks))
    return ranked, loss, held.errors(context, scores)


def _rows() -> dict[str, Any]:
    empty: dict[str, Any] = {"budgets": {}, "peers": {}, "accuracy": {}}
    return json.loads(ROWS.read_text()) if ROWS.is_file() else empty


def _write(rows: dict[str, Any]) -> None:
    ROWS.write_text(json.dumps(rows, indent=1) + "\n")
    TABLE.write_text(table(rows))


def table(rows: dict[str, Any]) -> str:
    """The study as Markdown."""
    whole = ", ".join(f"{name} {value:.2%}" for name, value in rows["accuracy"].items())
    lines = [*_budget_lines(rows), *_peer_lines(rows), "", f"Unpruned: {whole}."]
    return "\n".join([*lines, *taken(rows), ""])


def _budget_lines(rows: dict[str, Any]) -> list[str]:
    found = list(rows["budgets"].values())
    under = sum(row["used"] <= 1 for row in found)
    close = sum(0.93 <= row["used"] <= 1 for row in found)
    lines = [
        "# The planner",
        "",
        "Written by `python -m benchmarks.planner`; what is done is said there. ONNX "
        "Runtime on one core; every time is measured in turn with the unpruned "
        "network.",
        "",
        "## Budgets",
        "",
        f"{len(found)} (network, budget) pairs: {under} at or under the budget in a "
        f"last measurement of their own, {close} of them at 93 % of it or more; "
        f"{max((row['rounds'] for row in found), default=0)} rounds of export and "
        "measuring at most.",
        "",
        "| network, budget as a share of its time | budget, ms | final, ms | used | "
        "rounds | blocks out | solver, s | gap | commit |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows["budgets"].items():
        gap = "-" if row["gap"] is None else f"{row['gap']:.2%}"
        lines.append(
            f"| {name} | {row['budget_ms']:.3f} | {row['final_ms']:.3f} | "
            f"{row['used']:.1%} | {row['rounds']} | {row['blocks_out']} | "
            f"{row['solver_s']:.1f} | {gap} | {row['commit']} |"
        )
    return lines


def _peer_lines(rows: dict[str, Any]) -> list[str]:
    pairs = [row for row in rows["peers"].values() if "failed" not in row]
    slower = sum(row["share"] > SLOWER for row in pairs)
    ours = sum(row["ours_share"] > SLOWER for row in pairs)
    lines = [
        "",
        "## Peers",
        "",
        f"Networks slower than their input (by more than {SLOWER - 1:.0%}): "
        f"{slower} of the peers', {ours} of edgeprune's. Test accuracy at equal time, "
        "at once, with the statistics of batch norms taken anew, and after "
        f"{STEPS} steps of distillation. onnxsim prunes the file, whose norms are "
        "folded: what follows is for networks with norms.",
        "",
        "| network, peer, ratio | time | edgeprune's | at once | edgeprune | new "
        f"statistics | edgeprune | {STEPS} steps | edgeprune | commit |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows["peers"].items():
        if "failed" in row:
            failed = f"| {name} | fails: {row['failed']} |" + " |" * 7
            lines.append(f"{failed} {row['commit']} |")
            continue
        cells = [f"{row['share']:.2f}", f"{row['ours_share']:.2f}"]
        for key in ("before", "restated", "after"):
            folded = "onnxsim" in name and key != "before"
            theirs = "-" if folded else f"{row['peer'][key]:.1%}"
            cells += [theirs, f"{row['ours'][key]:.1%}"]
        lines.append(f"| {name} | {' | '.join(cells)} | {row['commit']} |")
    return lines


if __name__ == "__main__":
    app()
