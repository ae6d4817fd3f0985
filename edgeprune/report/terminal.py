"""Prints to the terminal: tables, notes, one closing sentence."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from edgeprune.graph.groups import ChannelGraph
from edgeprune.records import (
    GroupsReport,
    ModelFigures,
    Reach,
    RefusedGroup,
    RunReport,
)
from edgeprune.report.nearness import nearness_by_name, roofline_text
from edgeprune.report.summary import (
    compared,
    models_of,
    on_device,
    rows_of,
    timing_warnings,
)
from edgeprune.units import megabytes, millions, milliseconds

REFUSED_SHOWN = 8


def show_report(console: Console, report: RunReport) -> None:
    """The table of baseline against result, what is noteworthy, and the sentence."""
    models = models_of(report)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for name in models:
        table.add_column(name, justify="right")
    table.add_column(compared(models), justify="right")
    for row in rows_of(list(models.values()), report.metric):
        cells = [row.text(index) for index in range(len(models))]
        table.add_row(row.label, *cells, row.change())
    console.print()
    console.print(table)
    for note in (*timing_warnings(report), *report.notes):
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    for line in on_device(report):
        console.print(line, highlight=False, soft_wrap=True)
    if not report.quantisation.kept:
        reason = report.quantisation.reason
        console.print(f"int8: not kept, {reason}", highlight=False, soft_wrap=True)
    console.print(f"\n{report.sentence}", highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class ProfileView:
    """The view that `edgeprune profile` shows."""

    name: str
    target: str
    figures: ModelFigures
    graph: ChannelGraph
    reach: Reach | None = None
    notes: tuple[str, ...] = ()


def show_profile(console: Console, view: ProfileView) -> None:
    """A table of layers, then totals, groups and what is refused."""
    figures = view.figures
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("layer", "kind", "output"):
        table.add_column(title)
    near = nearness_by_name(figures)
    titles = ["MACs", "parameters", "activations", "ms", *["of roofline"] * bool(near)]
    for title in titles:
        table.add_column(title, justify="right")
    for layer in figures.layers:
        table.add_row(
            layer.name.removesuffix(".weight"),
            layer.kind,
            "x".join(str(size) for size in layer.output_shape),
            millions(layer.macs),
            millions(layer.params),
            megabytes(layer.activation_bytes),
            "-" if layer.latency_ms is None else f"{layer.latency_ms:.3f}",
            *[near[layer.name].short if layer.name in near else "-"] * bool(near),
        )
    console.print(table)
    summary = figures.summary
    console.print(
        f"\n{view.name} on {view.target}: {_known(figures)} "
        f"{milliseconds(summary.median_ms)} "
        f"(p90 {milliseconds(summary.p90_ms)}, spread {summary.spread:.1%}, "
        f"{summary.samples} samples, {figures.timing.runtime}, "
        f"{figures.timing.threads} thread(s)), {millions(figures.macs)} MACs, "
        f"{millions(figures.params)} parameters, file {megabytes(figures.size_bytes)}",
        highlight=False,
        soft_wrap=True,
    )
    if told := roofline_text(figures):
        told += ". C: limited by computing, M: by moving values."
        console.print(told, highlight=False, soft_wrap=True)
    for note in (*summary.warnings, *view.notes):
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    show_groups(console, view.graph)
    if view.reach is not None:
        show_reach(console, view.reach)


def _known(figures: ModelFigures) -> str:
    return "estimated" if figures.is_estimate else "median"


def show_reach(console: Console, reach: Reach) -> None:
    """How fast the network gets with fewer channels: estimates, and one measurement."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    titles = ("channels left", "blocks out", "MACs", "parameters", "time (estimate)")
    for title in titles:
        table.add_column(title, justify="right")
    for point in reach.points:
        table.add_row(
            f"{point.share:.0%}",
            str(point.bypassed),
            millions(point.macs),
            millions(point.params),
            milliseconds(point.latency_ms),
        )
    console.print("\nThe fastest network with so many of the channels:")
    console.print(table)
    smallest, model = reach.smallest, reach.latency_model
    console.print(
        f"Smallest of all, measured: {milliseconds(smallest.latency_ms)}, "
        f"{millions(smallest.macs)} MACs, {millions(smallest.params)} parameters. "
        f"Estimates are {model.median_error:.1%} off (median of {len(model.errors)} "
        "measured networks).",
        highlight=False,
        soft_wrap=True,
    )


def show_groups_report(console: Console, report: GroupsReport) -> None:
    """Which channels go together, which modules could go, what stays and why."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("group", overflow="fold")
    table.add_column("channels", justify="right")
    table.add_column("layers", overflow="fold")
    for group in report.groups:
        layers = ", ".join(_layer(name) for name in group.layers)
        channels = str(group.channels)
        if group.granularity > 1:
            channels += f" of {group.granularity} outputs each"
        table.add_row(group.name, channels, layers)
    console.print(table)
    channels = sum(group.channels for group in report.groups)
    lines = [f"{len(report.groups)} groups with {channels} channels can be pruned."]
    near = [group for group in report.groups if group.approximate]
    if near:
        lines.append(f"{len(near)} of them only approximately:")
        lines += [f"  {group.name}: {group.approximate}" for group in near]
    lines.append(f"{len(report.blocks)} modules could become an identity:")
    lines += [f"  {', '.join(report.blocks)}"] if report.blocks else []
    for refusal in sorted(report.refused, key=lambda item: -(item.latency_ms or 0)):
        head = f"kept: {refusal.channels} at {refusal.name}{_cost(refusal)}"
        lines.append(f"{head}: {refusal.reason}")
    if report.by_value:
        lines.append("note: this network looks at values; other inputs may differ")
    lines += [f"note: {note}" for note in report.notes]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _cost(refusal: RefusedGroup) -> str:
    """The time that a refusal costs, where it was measured."""
    ms = refusal.latency_ms
    return "" if ms is None else f" ({milliseconds(ms)})"


def _layer(parameter: str) -> str:
    return parameter.removesuffix(".weight")


def show_groups(console: Console, graph: ChannelGraph) -> None:
    """How many channels can go, and which cannot and why."""
    channels = sum(group.size for group in graph.groups)
    console.print(
        f"{len(graph.groups)} groups with {channels} channels can be pruned.",
        highlight=False,
    )
    for refusal in graph.refusals[:REFUSED_SHOWN]:
        console.print(
            f"  kept: {refusal.channels} at {refusal.name}{_cost(refusal)}: "
            f"{refusal.reason}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    more = len(graph.refusals) - REFUSED_SHOWN
    if more > 0:
        console.print(f"  and {more} more; --json lists all", highlight=False)
