"""How well the latency table predicts networks that it was not fitted to.

    pip install -e '.[test,benchmark]'
    python -m benchmarks.latency_model            # all networks
    python -m benchmarks.latency_model resnet50   # some

Per network: a table is measured as for any run, once with nothing known of the device
and once with the operators of all other networks of the study; then random plans of two
kinds, each network whole and in turn with the unpruned one: widths that the planner may
choose, and the same with residual blocks left out. What is there is not measured again;
`--again` does. The table is written to `latency_model.md`, the rows to
`latency_model.json`; operators' times are kept in the cache until the study is taken
again.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import typer
from torch import nn

from benchmarks.networks import cifar_resnet56, cifar_vgg16, torchvision_network
from benchmarks.origin import origin, taken
from edgeprune import targets
from edgeprune.devices.runner import runner_for
from edgeprune.files import cache_folder, write_cache
from edgeprune.graph.groups import ChannelGraph
from edgeprune.graph.survey import survey
from edgeprune.graph.trace import Inputs
from edgeprune.measure.benchmark import Benchmark, parameter_shapes
from edgeprune.profile.latency_table import draw_plans, measure_latency_table
from edgeprune.profile.library import OperatorLibrary, SeenOperator
from edgeprune.prune.blocks import removable_blocks
from edgeprune.prune.cost_model import CostModel
from edgeprune.records import ModelFigures, PairedTiming, Plan, from_json, to_json

HERE = Path(__file__).parent
ROWS, TABLE = HERE / "latency_model.json", HERE / "latency_model.md"
KEPT = cache_folder() / "latency study"  # before networks get caches of their own
WIDTHS, BLOCKS = 30, 6  # plans of each kind
SEED = 7  # of the plans; those of the table have another
ROUNDS = 6  # of each measurement; those of the table have fewer
BATCH = 16
Row = dict[str, Any]
Seen = tuple[SeenOperator, ...]

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
            _keep(rows)
            print(name, summary(rows[name]["empty"]["widths"]), flush=True)
    for name in names or NETWORKS:
        if "full" not in rows[name]:
            for other in NETWORKS:
                if not _operators(other).is_file():
                    with setting(other) as held, cache() as folder:
                        tabulated(held)
                        remember(other, folder)
            rows[name]["full"] = known(name, rows[name])
            _keep(rows)
            print(name, summary(rows[name]["full"]["widths"]), flush=True)
    TABLE.write_text(table(rows))


def _keep(rows: dict[str, Row]) -> None:
    ROWS.write_text(json.dumps(rows, indent=1) + "\n")


def _operators(name: str) -> Path:
    """Where the operators' times of a network are kept."""
    return KEPT / f"{name}.json"


def measure(name: str) -> Row:
    """One network, with nothing known: predicted and measured shares of its time."""
    with setting(name) as held, cache() as folder:
        found, costs = tabulated(held)
        remember(name, folder)
        kinds = plans_of(held.graph)
        row: Row = {
            "ms": held.figures.latency_ms,
            "macs": held.figures.macs,
            "operators": found.pop("operators"),
            "measured": {kind: shares(held, plans) for kind, plans in kinds.items()},
            **origin(),
        }
        row["empty"] = found | paired(row, costs, kinds)
    return row


def remember(name: str, folder: Path) -> None:
    """Keep the operators' times that a cache of its own holds of a network."""
    (library,) = (folder / "operators").iterdir()
    write_cache(_operators(name), library.read_bytes())


def known(name: str, row: Row) -> Row:
    """The same networks, predicted with the operators of all others known."""
    with setting(name) as held, cache() as folder:
        library = OperatorLibrary(held.benchmark.runner).path
        others = [_operators(other) for other in NETWORKS if other != name]
        seen = [from_json(Seen, path.read_bytes()) for path in others]
        write_cache(library, to_json(tuple(chain(*seen)), indent=None))
        assert library.is_relative_to(folder)
        found, costs = tabulated(held)
        del found["operators"]
        return found | paired(row, costs, plans_of(held.graph)) | origin()


@dataclass(frozen=True)
class Held:
    """A network that is timed."""

    model: nn.Module
    graph: ChannelGraph
    benchmark: Benchmark
    figures: ModelFigures


@contextmanager
def setting(name: str) -> Iterator[Held]:
    """A network, profiled."""
    model, inputs = NETWORKS[name]()
    with tempfile.TemporaryDirectory() as folder:
        runner = runner_for(targets.load("host"))
        benchmark = Benchmark(runner, inputs, Path(folder))
        exported = benchmark.export(model, "baseline")
        timing = benchmark.compare([exported])[0]
        paired = PairedTiming(timing, timing)
        figures = benchmark.figures(exported, paired, timing.median_ms)
        yield Held(model, survey(model, inputs), benchmark, figures)


@contextmanager
def cache() -> Iterator[Path]:
    """A cache of its own, in which nothing is known."""
    before = os.environ.get("EDGEPRUNE_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EDGEPRUNE_CACHE"] = folder
        try:
            yield Path(folder)
        finally:
            del os.environ["EDGEPRUNE_CACHE"]
            if before is not None:
                os.environ["EDGEPRUNE_CACHE"] = before


def tabulated(held: Held) -> tuple[Row, CostModel]:
    """Measure the latency table."""
    table = measure_latency_table(held.model, held.graph, held.benchmark)
    costs = CostModel(
        held.graph,
        table,
        original_ms=1.0,
        figures=held.figures,
        shapes=parameter_shapes(held.model),
    )
    operators = len(table.operators)
    row = {"table_s": table.seconds, "probes": table.probes, "operators": operators}
    return row, costs


def plans_of(graph: ChannelGraph) -> dict[str, list[Plan]]:
    """The plans by kind, the same every time."""
    return {
        "widths": draw_plans(graph, WIDTHS, seed=SEED),
        "blocks": plans_with_blocks(graph, BLOCKS),
    }


def paired(row: Row, costs: CostModel, kinds: dict[str, list[Plan]]) -> Row:
    """Predicted and measured shares, by kind."""
    return {
        kind: [
            [share(costs, plan), measured]
            for plan, measured in zip(plans, row["measured"][kind], strict=True)
        ]
        for kind, plans in kinds.items()
    }


def shares(held: Held, plans: list[Plan]) -> list[float]:
    """Measured times under plans, as shares of the unpruned network's."""
    found: list[float] = []
    runner = held.benchmark.runner
    recipe = runner.probing.model_copy(update={"rounds": ROUNDS})
    runner = runner_for(runner.target.model_copy(update={"probing": recipe}))
    with held.benchmark.resized(held.model, held.graph) as files:
        for start in range(0, len(plans), BATCH):
            batch = plans[start : start + BATCH]
            paths = [files.write(plan, f"plan{at}") for at, plan in enumerate(batch)]
            found += [item.share for item in runner.probe(paths, files.reference)]
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
    lines = [
        "# Predicted against measured latency",
        "",
        "Written by `python -m benchmarks.latency_model`; how it is measured is said "
        "there. ONNX Runtime on one core, each network as a share of the unpruned one "
        "measured in turn with it. Errors are absolute ones.",
    ]
    for kind, title in LIBRARIES.items():
        if all(kind in row for row in rows.values()):
            lines += section(rows, kind, title)
    return "\n".join([*lines, *taken(rows), ""])


LIBRARIES = {
    "empty": "Nothing known of the device",
    "full": "The operators of the other networks known",
}


def section(rows: dict[str, Row], library: str, title: str) -> list[str]:
    """One state of the library."""
    pairs = [pair for row in rows.values() for pair in row[library]["widths"]]
    probes = statistics.median(row[library]["probes"] for row in rows.values())
    lines = [
        "",
        f"## {title}",
        "",
        f"{probes:g} probes of a network (median). All {len(pairs)} networks of widths "
        "that the planner may choose: median | within 5 % | within 10 % | largest:",
        "",
        f"{summary(pairs)}",
        "",
        "| network | ms | table, s | probes | networks | shares | median | <= 5 % | "
        "<= 10 % | largest |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for title, kind in (("", "widths"), (", blocks out", "blocks")):
        for name, row in rows.items():
            found = row[library]
            if not found[kind]:
                continue
            measured = [pair[1] for pair in found[kind]]
            lines.append(
                f"| {name}{title} | {row['ms']:.2f} | {found['table_s']:.0f} | "
                f"{found['probes']} | {len(measured)} | "
                f"{min(measured):.2f}..{max(measured):.2f} | {summary(found[kind])} |"
            )
    return lines


if __name__ == "__main__":
    typer.run(main)
