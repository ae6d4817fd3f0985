"""Are times from a device those of a clock that lies there, and what does the way cost?

    apt-get install openssh-server chromium
    pip install -e '.[test,benchmark]'
    python -m benchmarks.devices                  # all
    python -m benchmarks.devices clock            # an ssh server here, beside no server
    python -m benchmarks.devices host ssh browser # whole runs, one each

The devices are this machine behind an ssh server of its own, and a browser without a
screen on it. `clock` times the same files both ways, in turn. A run is ResNet-56 for
CIFAR-10 (see `networks.data_folder`) to half of its time on that device, without
training, with an empty cache; seconds that a job takes beyond the measuring itself are
the way's. Written to `devices.json` and `devices.md`; a row is kept under its commit.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, cast

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import torch
import torchvision
import typer

import edgeprune
from benchmarks.networks import cifar_resnet56
from benchmarks.origin import origin, taken
from benchmarks.speed import images
from edgeprune import targets
from edgeprune.devices import transports
from edgeprune.devices.runner import Runner, runner_for
from edgeprune.devices.transports import Answer, Job, Transport
from edgeprune.measure.onnx_file import write_onnx
from tests.boards import board
from tests.phones import browsing, page_address, serving, web_target

HERE = Path(__file__).parent
ROWS, TABLE = HERE / "devices.json", HERE / "devices.md"
TURNS = 8  # of both clocks
RUNS = ("host", "ssh", "browser")
KNOWN = cast("dict[str, Callable[[targets.Target], Transport]]", transports.TRANSPORTS)
Row = dict[str, Any]


class Watched:
    """A transport whose jobs are counted and timed."""

    def __init__(self, held: Transport) -> None:
        self._held = held
        self.jobs, self.seconds, self.measuring = 0, 0.0, 0.0

    def run(self, job: Job, files: Sequence[Path]) -> Answer:
        """Pass a job on."""
        began = time.perf_counter()
        answer = self._held.run(job, files)
        self.seconds += time.perf_counter() - began
        self.measuring += answer.get("seconds", 0.0)
        self.jobs += 1
        return answer

    def close(self) -> None:
        """Nothing: it is asked what it has counted."""
        self._held.close()


@contextmanager
def device(name: str, folder: Path) -> Iterator[str]:
    """Start a device of this machine; yields its target."""
    if name == "host":
        yield "host"
    elif name == "ssh":
        with board(folder) as held:
            KNOWN["ssh"] = held.reach
            yield str(held.file(timing={}, probing={}, verdict={}))
    else:
        path = web_target(folder, wait_s=60)
        text = path.read_text()
        path.write_text(text[: text.index("[timing]")] + "[limits]\njob_s = 900\n")
        with serving(path), browsing(page_address(path, "Chromium, no screen")):
            yield str(path)


def clock(folder: Path) -> Row:
    """The same files by both clocks in turn: shares of the time without a server."""
    nets = {
        "mobilenet_v2": torchvision.models.mobilenet_v2(weights=None),
        "resnet18": torchvision.models.resnet18(weights=None),
    }
    found: Row = {}
    with device("ssh", folder) as name:
        here, there = runner_for(targets.load("host")), runner_for(targets.load(name))
        for net, model in nets.items():
            path = folder / f"{net}.onnx"
            write_onnx(model.eval(), (torch.randn(1, 3, 224, 224),), path)
            found[net] = in_turn(here, there, path)
        there.close()
    return found


def in_turn(here: Runner, there: Runner, path: Path) -> Row:
    """Medians of both, turn by turn."""
    pairs = []
    for turn in range(TURNS):
        order = (here, there) if turn % 2 else (there, here)
        each = {id(runner): runner.time([path])[0].median_ms for runner in order}
        pairs.append((each[id(here)], each[id(there)]))
    ratios = sorted(two / one for one, two in pairs)
    return {
        "here_ms": statistics.median(one for one, _ in pairs),
        "there_ms": statistics.median(two for _, two in pairs),
        "ratio": statistics.median(ratios),
        "least": ratios[0],
        "most": ratios[-1],
    }


def whole_run(name: str, folder: Path) -> Row:
    """ResNet-56 to half of its time on a device, with an empty cache."""
    watched: list[Watched] = []
    os.environ["EDGEPRUNE_CACHE"] = str(folder / "cache")
    with device(name, folder) as target:
        make = KNOWN[name]

        def watch(item: targets.Target) -> Watched:
            watched.append(Watched(make(item)))
            return watched[-1]

        KNOWN[name] = watch
        began = time.perf_counter()
        model, _ = cifar_resnet56()
        done = edgeprune.compress(
            model,
            images(),
            target=target,
            budget="50%",
            max_drop=100.0,
            train=False,
            out=folder / "run",
        )
        seconds = time.perf_counter() - began
    report = done.report
    model_of_time = report.latency_model
    assert model_of_time is not None
    last = [item for item in report.attempts if item.predicted_ms]
    return {
        "status": report.status,
        "seconds": seconds,
        "jobs": sum(item.jobs for item in watched),
        "measuring": sum(item.measuring for item in watched),
        "way": sum(item.seconds - item.measuring for item in watched),
        "baseline_ms": report.baseline.latency_ms,
        "result_ms": report.result.latency_ms,
        "ratio": report.result.latency_ratio,
        "processes": report.result.timing.processes,
        "test_accuracy": report.result.test_accuracy,
        "table_error": model_of_time.median_error,
        "prediction_errors": [
            (item.predicted_ms or 0) / item.latency_ms - 1 for item in last
        ],
        "runtime": report.result.timing.runtime,
        "on_device": [item.top1_agreement for item in report.on_device],
        "largest_relative": [item.largest_relative for item in report.on_device],
    }


def main(
    names: Annotated[list[str] | None, typer.Argument(help="clock, or a run.")] = None,
    *,
    again: Annotated[bool, typer.Option("--again", help="Take rows anew.")] = False,
    child: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Measure what is asked for and is not there yet; then write the table."""
    if child:
        with tempfile.TemporaryDirectory() as held:
            folder = Path(held)
            row = clock(folder) if child == "clock" else whole_run(child, folder)
        sys.stdout.write("\n@@ROW " + json.dumps(row) + "\n")
        return
    rows: dict[str, Row] = json.loads(ROWS.read_text()) if ROWS.exists() else {}
    for name in names or ("clock", *RUNS):
        if name in rows and not again:
            continue
        command = [sys.executable, "-m", "benchmarks.devices", "--child", name]
        done = subprocess.run(
            command, check=True, cwd=HERE.parent, stdout=subprocess.PIPE, text=True
        )
        row = json.loads(done.stdout.rpartition("@@ROW ")[2])
        rows[name] = {**row, **origin()}
        ROWS.write_text(json.dumps(rows, indent=1) + "\n")
    TABLE.write_text(page(rows))


def page(rows: dict[str, Row]) -> str:
    """The table that people read."""
    lines = ["# Devices", "", "Written by `python -m benchmarks.devices`.", ""]
    if "clock" in rows:
        lines += [
            "The same file timed here and through an ssh server on this machine, "
            f"{TURNS} times each in turn (commit {rows['clock']['commit']}):",
            "",
            "| network | here, ms | by ssh, ms | by ssh / here | least | most |",
            "|---|---|---|---|---|---|",
        ]
        for net, row in rows["clock"].items():
            if isinstance(row, dict) and "ratio" in row:
                lines.append(
                    f"| {net} | {row['here_ms']:.2f} | {row['there_ms']:.2f} "
                    f"| {row['ratio']:.3f} | {row['least']:.3f} | {row['most']:.3f} |"
                )
    runs = [(name, rows[name]) for name in RUNS if name in rows]
    if runs:
        lines += [
            "",
            "ResNet-56 for CIFAR-10 to half of its time on the device, without "
            "training, the cache empty. *Way*: seconds of all jobs beyond the "
            "measuring itself. *Table*: median error of the latency table for networks "
            "that it was not fitted to. *Plans*: errors of the times predicted for the "
            "plans that were tried.",
            "",
            "| device | whole, s | jobs | measuring, s | way, s | original, ms | "
            "result, ms | share | table | plans, median and largest | test accuracy | "
            "top-1 as here | commit |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [_line(name, row) for name, row in runs]
    return "\n".join([*lines, *taken(rows), ""])


def _line(name: str, row: Row) -> str:
    errors = sorted(map(abs, row["prediction_errors"])) or [0.0]
    same = ", ".join(f"{share:.0%}" for share in row["on_device"]) or "-"
    return (
        f"| {name} ({row['runtime']}) | {row['seconds']:.0f} | {row['jobs']} "
        f"| {row['measuring']:.0f} | {row['way']:.0f} | {row['baseline_ms']:.2f} "
        f"| {row['result_ms']:.2f} | {row['ratio']:.1%} | {row['table_error']:.1%} "
        f"| {statistics.median(errors):.1%}, {errors[-1]:.1%} "
        f"| {row['test_accuracy']:.2%} | {same} | {row['commit']} |"
    )


if __name__ == "__main__":
    typer.run(main)
