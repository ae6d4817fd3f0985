"""How well the latency table predicts networks that it was not fitted to.

    pip install -e '.[test,benchmark]'
    python -m benchmarks.latency_model            # all networks
    python -m benchmarks.latency_model resnet50   # some

Per network: a table is measured as for any run, then random plans of two kinds, each
network whole and in turn with the unpruned one: widths that the planner may choose, and
the same with residual blocks left out. A row that is there is not measured again;
`--again` does. The table is written to `latency_model.md`, the rows to
`latency_model.json`.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime
import typer
from torch import nn

from benchmarks.networks import cifar_resnet56, cifar_vgg16, torchvision_network
from edgeprune import targets
from edgeprune.graph.cost import count
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.survey import survey
from edgeprune.graph.trace import Inputs, trace
from edgeprune.measure.benchmark import Benchmark, parameter_shapes
from edgeprune.measure.resized_models import ResizedModels
from edgeprune.measure.runner import HostRunner, Runner
from edgeprune.profile.latency_table import draw_plans, measure_latency_table
from edgeprune.prune.blocks import removable_blocks
from edgeprune.prune.cost_model import CostModel
from edgeprune.records import PairedTiming, Plan

HERE = Path(__file__).parent
ROWS, TABLE = HERE / "latency_model.json", HERE / "latency_model.md"
WIDTHS, BLOCKS = 30, 6  # plans of each kind
SEED = 7  # of the plans; those of the table have another
ROUNDS = 12  # of each measurement; those of the table have fewer
BATCH = 16
Row = dict[str, Any]

NETWORKS: dict[str, Callable[[], tuple[nn.Module, Inputs]]] = {
    **{
        name: lambda name=name: torchvision_network(name)
        for name in (
            "resnet18",
            "resnet50",
            "mobilenet_v2",
            "mobilenet_v3_large",
            "efficientnet_b0",
        )
    },
    "resnet56_cifar": lambda: cifar_resnet56(trained=False),
    "vgg16_cifar": lambda: cifar_vgg16(trained=False),
}


def main(
    names: Annotated[list[str] | None, typer.Argument()] = None,
    *,
    again: bool = False,
) -> None:
    """Measure what is missing and write the table."""
    rows: dict[str, Row] = json.loads(ROWS.read_text()) if ROWS.is_file() else {}
    for name in names or NETWORKS:
        if name not in rows or again:
            rows[name] = measure(name)
            ROWS.write_text(json.dumps(rows, indent=1) + "\n")
            print(name, summary(rows[name]["widths"]), flush=True)
    TABLE.write_text(table(rows))


def measure(name: str) -> Row:
    """One network: predicted and measured shares of the unpruned one's time."""
    model, inputs = NETWORKS[name]()
    target = targets.load("host")
    graph = survey(model, inputs)
    cost = count(trace(model, inputs))
    with tempfile.TemporaryDirectory() as held:
        benchmark = Benchmark(HostRunner(target), inputs, Path(held))
        exported = benchmark.export(model, "baseline")
        timing = benchmark.compare([exported])[0]
        paired = PairedTiming(timing, timing)
        figures = benchmark.figures(exported, paired, timing.median_ms)
        latencies = measure_latency_table(model, graph, benchmark)
        costs = CostModel(
            graph,
            latencies,
            original_ms=1.0,
            figures=figures,
            shapes=parameter_shapes(model),
        )
        variants = ResizedModels(model, graph, inputs, Path(held))
        probing = target.probing.model_copy(update={"rounds": ROUNDS})
        runner = HostRunner(target.model_copy(update={"probing": probing}))
        kinds = {
            "widths": draw_plans(graph, WIDTHS, seed=SEED),
            "blocks": plans_with_blocks(graph, BLOCKS),
        }
        row: Row = {
            "ms": figures.latency_ms,
            "macs": cost.macs,
            "table_s": latencies.seconds,
            "probes": latencies.probes,
            "operators": len(latencies.operators),
            "onnxruntime": onnxruntime.__version__,
            "cpu": figures.timing.machine.cpu,
        }
        for kind, plans in kinds.items():
            measured = shares(runner, variants, plans)
            predicted = [share(costs, plan) for plan in plans]
            row[kind] = [list(pair) for pair in zip(predicted, measured, strict=True)]
    return row


def shares(runner: Runner, variants: ResizedModels, plans: list[Plan]) -> list[float]:
    """Measured times under plans, as shares of the unpruned network's."""
    found: list[float] = []
    for start in range(0, len(plans), BATCH):
        batch = plans[start : start + BATCH]
        paths = [variants.write(plan, f"plan{at}") for at, plan in enumerate(batch)]
        found += [item.share for item in runner.probe(paths, variants.reference)]
    return found


def share(costs: CostModel, plan: Plan) -> float:
    """Predicted time under a plan."""
    widths = {name: len(kept) for name, kept in plan.kept.items()}
    return costs.predict(widths, plan.bypassed).latency_ms


def plans_with_blocks(graph: ChannelGraph, number: int) -> list[Plan]:
    """Random widths, and about a third of the removable blocks left out."""
    rng = np.random.default_rng(SEED)
    blocks = [block for block in removable_blocks(graph) if len(block.groups) > 0]
    plans: list[Plan] = []
    for plan in draw_plans(graph, number, seed=SEED + 1) if blocks else []:
        chosen = [block for block in blocks if rng.random() < 1 / 3]
        out = [
            block
            for block in chosen
            if not any(block.name.startswith(f"{other.name}.") for other in chosen)
        ]
        gone = {name for block in out for name in block.groups}
        kept = {name: held for name, held in plan.kept.items() if name not in gone}
        plans.append(Plan(kept, tuple(block.name for block in out)))
    return plans


def summary(pairs: list[list[float]]) -> str:
    """The columns of a kind of plans."""
    if not pairs:
        return "- | - | - | -"
    errors = [abs(predicted / measured - 1) for predicted, measured in pairs]
    within = [
        sum(error <= limit for error in errors) / len(errors) for limit in (0.05, 0.1)
    ]
    return (
        f"{statistics.median(errors):.1%} | {within[0]:.0%} | {within[1]:.0%} | "
        f"{max(errors):.1%}"
    )


def table(rows: dict[str, Row]) -> str:
    """The study as Markdown."""
    pairs = [pair for row in rows.values() for pair in row["widths"]]
    lines = [
        "# Predicted against measured latency",
        "",
        "Written by `python -m benchmarks.latency_model`; how it is measured is said "
        "there. ONNX Runtime on one core, each network as a share of the unpruned one "
        "measured in turn with it. Errors are absolute ones.",
        "",
        f"All {len(pairs)} networks of widths that the planner may choose: median | "
        "within 5 % | within 10 % | largest:",
        "",
        f"{summary(pairs)}",
        "",
        "| network | ms | table, s | probes | networks | shares | median | <= 5 % | "
        "<= 10 % | largest |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for title, kind in (
        ("", "widths"),
        (", blocks out", "blocks"),
    ):
        for name, row in rows.items():
            if not row[kind]:
                continue
            measured = [pair[1] for pair in row[kind]]
            lines.append(
                f"| {name}{title} | {row['ms']:.2f} | {row['table_s']:.0f} | "
                f"{row['probes']} | {len(measured)} | "
                f"{min(measured):.2f}..{max(measured):.2f} | {summary(row[kind])} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
