"""How far off are times that are estimated from published ones, and by what interval?

    pip install -e '.[test,benchmark]'
    python -m benchmarks.estimates          # the check, written to estimates.md
    python -m benchmarks.estimates --fit    # makes the prior that edgeprune ships anew

The published table (see `networks.data_folder`) holds some hundred devices, each with
times of networks whose graphs are known. `--fit` learns from it what devices have in
common: what the kinds of work cost relative to each other, and how much that differs.
The check holds devices out: the prior is learned from the others, a few of a device's
own times are given, and those of its other networks are predicted, with the interval
that is to hold four of five. A second check goes to another runtime. Nothing is timed.
"""

from __future__ import annotations

import csv
import json
import math
import random
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.networks import data_folder
from benchmarks.origin import origin, taken
from edgeprune.estimate.posterior import DeviceCosts, Prior, costs_of
from edgeprune.estimate.work import KINDS, Floats, work

HERE = Path(__file__).parent
SHIPPED = HERE.parent / "edgeprune" / "estimate" / "published.json"
PAGE = HERE / "estimates.md"
SHARE, USUAL = 0.8, 3  # that intervals hold; times that are given when they are made
GIVEN = (1, 3, 6)  # networks of a held-out device whose times are known
FOLDS = 10
EM_STEPS = 25
FLOOR = 1e-3  # of the covariance: what no table can rule out
ENOUGH = 10  # networks of a device
# The same networks in the other table, whose runtimes are XNNPACK and TFLite.
SAME = {
    "mobilenet_v1_1.0": "mobilenet",
    "mobilenet_v2_1.0": "mobilenet_v2",
    "mobilenet_v3_large": "mobilenet_v3",
}
BOTH = {"Raspberry Pi 4": "Raspberry Pi 4 ", "Raspberry Pi 3B+": "Raspberry Pi 3 "}
Table = dict[str, dict[str, float]]  # device: network: ms
Works = dict[str, Floats]


def main(*, fit: Annotated[bool, typer.Option("--fit")] = False) -> None:
    """Check the estimates; or learn the prior that is shipped."""
    folder = data_folder() / "latency"
    graphs = sorted((folder / "ncnn_params").glob("*.param"))
    works = {path.stem: work_of_graph(path) for path in graphs}
    table = published(folder / "ncnn_benchmark.csv", works)
    if fit:
        prior = learned(table, works)
        apart = other_runtime(folder / "published_tables.csv", table)
        content = {
            "source": "benchmark/README.md and benchmark/*.param of Tencent/ncnn; "
            "README of google/XNNPACK for the difference between runtimes",
            "kinds": list(KINDS),
            "mean": prior.mean.tolist(),
            "covariance": prior.covariance.tolist(),
            "noise": prior.noise,
            "other_runtime": statistics.pstdev(apart),
            "deviations": prior.deviations,
            "networks": {name: held.tolist() for name, held in works.items()},
        }
        SHIPPED.write_text(json.dumps(content, indent=1) + "\n")
        return
    PAGE.write_text(page(table, works, folder))


def work_of_graph(path: Path) -> Floats:
    """What a network has to do, from its ncnn graph with shapes."""
    found = work()
    for line in path.read_text().splitlines()[2:]:
        kind, _, ins, outs, *rest = line.split()
        pairs = (part.split("=", 1) for part in rest[int(ins) + int(outs) :])
        given = dict(pairs)
        numbers = [int(number) for number in given.pop("-23330", "0").split(",")[1:]]
        if numbers and kind not in ("Input", "Split", "Reshape", "Flatten", "Dropout"):
            made = float(math.prod(numbers[1 : 1 + numbers[0]]))
            found += work_of_layer(kind, given, made)
    return found


def work_of_layer(kind: str, given: dict[str, str], made: float) -> Floats:
    """One layer of an ncnn graph that makes so many values."""
    same = {"values": made, "operators": 1.0}
    if kind == "InnerProduct":
        weights = float(given["2"])
        return work(pointwise=weights, weights=weights, **same)
    if not kind.startswith("Convolution"):
        return work(**same)
    weights = float(given["6"])
    macs = weights * made / float(given["0"])
    if int(given.get("7", 1)) > 1:
        return work(grouped=macs, weights=weights, **same)
    one = int(given.get("1", 1)) == 1 and int(given.get("11", 1)) == 1
    return work(**{"pointwise" if one else "dense": macs}, weights=weights, **same)


def published(path: Path, works: Works) -> Table:
    """Processors' times: a row for each device and number of threads."""
    found: defaultdict[str, dict[str, float]] = defaultdict(dict)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["gpu_device"] == "-1" and row["model"] in works:
                key = f"{row['device']} x{row['num_threads']} {row['powersave']}"
                found[key][row["model"]] = float(row["avg_ms"])
    return {key: row for key, row in found.items() if len(row) >= ENOUGH}


def learned(table: Table, works: Works) -> Prior:
    """What devices have in common, by expectation and maximisation."""
    rows = [row for row in table.values() if min(row.values()) > 0]
    mean = start_of(rows, works)
    prior = Prior(mean, np.eye(len(KINDS)) * 0.25, 0.2, 0.0, 1.0)
    for _ in range(EM_STEPS):
        found = [fitted(prior, row, works) for row in rows]
        offsets = [item.logs - prior.mean for item in found]
        # A device's scale is its own: what is left is how its costs are apart.
        apart = np.stack([offset - offset.mean() for offset in offsets])
        centre = np.eye(len(KINDS)) - 1 / len(KINDS)
        spread = sum(centre @ item.covariance @ centre for item in found) / len(found)
        covariance = apart.T @ apart / len(found) + spread
        noise = math.sqrt(statistics.fmean(unexplained(found, rows, works)))
        mean = prior.mean + apart.mean(0)
        covariance = covariance + FLOOR * np.eye(len(KINDS))
        prior = replace(prior, mean=mean, covariance=covariance, noise=noise)
    return replace(prior, deviations=width_of(prior, rows, works))


def start_of(rows: Sequence[dict[str, float]], works: Works) -> Floats:
    """Costs by which each kind of work takes the same share of a usual network."""
    amounts = np.mean(list(works.values()), axis=0)
    ms = statistics.median(statistics.fmean(row.values()) for row in rows)
    return np.log(ms / len(KINDS) / amounts)


def width_of(prior: Prior, rows: Sequence[dict[str, float]], works: Works) -> float:
    """How many deviations hold four of five; of normal logarithms 1.28 would."""
    rng, found = random.Random(2), list[float]()
    for row in rows:
        known = rng.sample(sorted(row), USUAL)
        costs = fitted(prior, {name: row[name] for name in known}, works)
        for name in sorted(set(row) - set(known)):
            off = abs(math.log(row[name] / costs.ms(works[name])))
            found.append(off / costs.deviation(works[name]))
    return sorted(found)[round(SHARE * len(found))]


def fitted(prior: Prior, row: dict[str, float], works: Works) -> DeviceCosts:
    """A device's costs by its times."""
    return costs_of(prior, [works[name] for name in row], list(row.values()))


def unexplained(
    found: Sequence[DeviceCosts], rows: Sequence[dict[str, float]], works: Works
) -> list[float]:
    """Expected squares of what costs do not explain of each time's logarithm."""
    squares: list[float] = []
    for item, row in zip(found, rows, strict=True):
        for name, ms in row.items():
            shares = works[name] * np.exp(item.logs) / item.ms(works[name])
            doubt = float(shares @ item.covariance @ shares)
            squares.append(math.log(ms / item.ms(works[name])) ** 2 + doubt)
    return squares


def held_out(table: Table, works: Works, given: int) -> list[tuple[float, bool]]:
    """Relative errors of networks of devices that the prior does not know.

    Returns:
        Predicted over true, and whether the interval holds the truth.
    """
    # One device is in the table several times, by its threads: it is held out whole.
    devices = sorted({key.rpartition(" x")[0] for key in table})
    random.Random(0).shuffle(devices)
    rng = random.Random(1)
    found: list[tuple[float, bool]] = []
    for fold in range(FOLDS):
        out = set(devices[fold::FOLDS])
        inside = {
            key: row for key, row in table.items() if key.rpartition(" x")[0] not in out
        }
        prior = learned(inside, works)
        for key in sorted(set(table) - set(inside)):
            row = table[key]
            known = rng.sample(sorted(row), given)
            costs = fitted(prior, {name: row[name] for name in known}, works)
            for name in sorted(set(row) - set(known)):
                said = costs.interval(works[name])
                held = said.low_ms <= row[name] <= said.high_ms
                found.append((said.ms / row[name], held))
    return found


def other_runtime(path: Path, table: Table) -> list[float]:
    """Logarithms of another runtime's times over ncnn's, on the same boards."""
    found: list[float] = []
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            device, model = BOTH.get(row["device"]), SAME.get(row["model"])
            if device is None or model is None:
                continue
            same = [
                times[model]
                for key, times in table.items()
                if key.startswith(device) and " x4 " in key
            ]
            found += [math.log(float(row["latency_ms"]) / ms) for ms in same]
    return found


def page(table: Table, works: Works, folder: Path) -> str:
    """The check as Markdown."""
    lines = [
        "# Times of devices that are not connected",
        "",
        "Written by `python -m benchmarks.estimates`. Devices are held out whole: the "
        f"prior is learned from the others, in {FOLDS} folds of {len(table)} rows (a "
        "device with a number of threads); some of the row's networks are given, the "
        "others are predicted. All are ncnn's times in fp32, published by ncnn.",
        "",
        "| times given | pairs held out | median error | 90th percentile | within the "
        "interval of four in five |",
        "|---|---|---|---|---|",
    ]
    for given in GIVEN:
        found = held_out(table, works, given)
        errors = sorted(abs(ratio - 1) for ratio, _ in found)
        held = statistics.fmean(inside for _, inside in found)
        lines.append(
            f"| {given} | {len(found)} | {statistics.median(errors):.1%} "
            f"| {errors[len(errors) * 9 // 10]:.1%} | {held:.1%} |"
        )
    apart = other_runtime(folder / "published_tables.csv", table)
    ratios = ", ".join(f"{math.exp(value):.2f}" for value in apart)
    lines += [
        "",
        f"Another runtime on the same board is another matter: XNNPACK's times over "
        f"ncnn's, for the three MobileNets on two boards, are {ratios}. An estimate of "
        "ONNX Runtime's times from ncnn's is as much more uncertain, and its interval "
        "as much wider; times that were measured there with ONNX Runtime (`edgeprune "
        "targets calibrate`) need none of that.",
    ]
    return "\n".join([*lines, *taken(origin()), ""])


if __name__ == "__main__":
    typer.run(main)
