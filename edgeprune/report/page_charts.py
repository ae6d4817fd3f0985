"""The pictures and the headline of a run's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeprune.metric import Metric
from edgeprune.records import UNPRUNED, ModelFigures, RunReport, Timing
from edgeprune.report.chart import Chart, Rule, Series
from edgeprune.report.summary import shown_by
from edgeprune.report.tiles import Tile
from edgeprune.units import megabytes, millions, milliseconds

PERCENTS = 50  # points of a curve of times
FAR, LEAST_RANGE = 3, 0.02  # a line may be so many ranges of the points away
SLOW = 2  # medians; what takes longer is not drawn


def tiles_of(models: Sequence[ModelFigures], metric: Metric) -> list[Tile]:
    """What there was and what there is, in the order in which people ask."""
    before, after = models[0], models[1]
    held = [
        Tile.of(
            "latency, estimated" if after.is_estimate else "latency",
            before.latency_ms,
            after.latency_ms,
            milliseconds,
            "faster",
        ),
        Tile.of("file", before.size_bytes, after.size_bytes, megabytes, "smaller"),
        Tile.of(
            "memory to run",
            before.memory.run_peak_bytes,
            after.memory.run_peak_bytes,
            megabytes,
            "less",
        ),
        Tile.of("MACs", before.macs, after.macs, millions, "fewer"),
    ]
    show = shown_by(metric)
    for split in ("test", "validation"):
        one, two = (getattr(model, f"{split}_accuracy") for model in (before, after))
        if one is not None and two is not None:
            told = f"{show(one)} to {show(two)}"
            change = metric.change(two - one)
            held.insert(1, Tile(f"{split} {metric.name}", change, told, None))
            break
    return [tile for tile in held if tile is not None]


def accuracy_chart(report: RunReport) -> Chart:
    """The metric against ms over the steps, with floor and budget."""
    steps, shown = report.steps, report.metric.shown
    trained = any(item.epochs for item in report.training)
    pruned = [step for step in steps if step.name not in UNPRUNED]
    series = [
        Series(
            "after training" if trained else "the model",
            [step.latency_ms for step in steps],
            [shown(step.validation_accuracy) for step in steps],
            [step.name for step in steps],
        ),
        Series(
            "before training",
            [step.latency_ms for step in pruned],
            [shown(step.accuracy_before_training) for step in pruned],
            tone="c1",
            lined=False,
        ),
    ]
    times = {step.name: step.latency_ms for step in steps}
    held = [item for item in report.reconstructions if item.purpose in times]
    series.append(
        Series(
            "before layers were fitted again",
            [times[item.purpose] for item in held],
            [shown(item.accuracy_before) for item in held],
            tone="before",
            lined=False,
        )
    )
    series = [item for item in series if item.x]
    values = [value for item in series for value in item.y]
    floor = shown(report.accuracy_floor)
    rules = [Rule("floor", floor)] if in_sight(floor, values) else []
    limit_ms = report.budget.most_ms(report.baseline.latency_ms)
    if limit_ms is not None:
        rules.append(Rule("budget", limit_ms, upright=True))
    axis = report.metric.axis
    return Chart(
        f"{axis} against time over {len(steps)} steps; the table below has the figures",
        "median latency, ms",
        f"validation {axis}",
        tuple(series),
        tuple(rules),
    )


def in_sight(value: float, values: Sequence[float]) -> bool:
    """Whether a line at a value would not press all points of a plot together."""
    low, high = min(values), max(values)
    room = FAR * max(high - low, LEAST_RANGE * max(abs(high), abs(low)))
    return low - room <= value <= high + room


def chart_note(report: RunReport, chart: Chart) -> str:
    """What stands under the plot."""
    told = "Each point is a network that was measured"
    if report.int8 is not None:
        told += f", in {report.counted.precision}"
    if not any(rule.name == "floor" for rule in chart.rules):
        told += f". The floor, {shown_by(report.metric)(report.accuracy_floor)}, is "
        told += "far off, and not drawn"
    return f"{told}."


def times_chart(timings: Mapping[str, Timing]) -> Chart:
    """How often a run took at most so long, file by file."""
    percents = range(PERCENTS + 1)
    series: list[Series] = []
    for number, (name, timing) in enumerate(timings.items()):
        ordered = sorted(timing.samples_ms)
        last = len(ordered) - 1
        cut = [ordered[round(at / PERCENTS * last)] for at in percents]
        held = [
            at for at, value in enumerate(cut) if value <= SLOW * cut[PERCENTS // 2]
        ]
        series.append(
            Series(
                f"{name}, {len(ordered)} runs",
                [cut[at] for at in held],
                [100 * at / PERCENTS for at in held],
                tone=("before", "after")[number] if number < 2 else number - 1,
                dots=False,
            )
        )
    title = "Shares of the runs that took at most so long, for each file"
    return Chart(title, "ms of one run", "% of the runs", tuple(series))


def ratios_text(report: RunReport) -> str:
    """The paired ratio of the file that counts, and its range over the rounds."""
    timing, baseline = report.counted.timing, report.baseline.timing
    if report.counted.latency_ratio is None or timing.is_estimate:
        return ""
    told = "As a share of the baseline's time, taken in turn with it: "
    told += f"{report.counted.latency_ratio:.1%}"
    if len(timing.rounds_ms) == len(baseline.rounds_ms) and len(timing.rounds_ms) > 1:
        ratios = timing.ratios_to(baseline)
        told += f", from {min(ratios):.1%} to {max(ratios):.1%} "
        told += f"in {len(ratios)} pairs of rounds"
    return f"{told}."
