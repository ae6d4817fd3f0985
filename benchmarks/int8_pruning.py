"""int8 and pruning together: what one command makes of networks for CIFAR-10.

    pip install -e '.[test,benchmark]'
    python -m benchmarks.int8_pruning                         # all rows, an hour
    python -m benchmarks.int8_pruning resnet56_cifar:3 --epochs 10

Each row is one `edgeprune compress --precision int8` to the network's own fp32 time
over the speed-up: planned by milliseconds in int8, fitted, trained for some epochs and
quantized; training images are cropped and flipped. The time is a share of the
original's fp32 file, timed in turn with it. The accuracies of VGG-16 are on all test
images; those of ResNet-56, whose checkpoint was trained on all other images, are on the
second half of them, and what is chosen is chosen by the first. What is there is not
taken again;
`--again` does. Writes `int8_pruning.json` and `int8_pruning.md`.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import torch
import typer

import edgeprune
from benchmarks.criteria import NETWORKS
from benchmarks.origin import origin, taken
from edgeprune.data import Splits, TensorBatches
from edgeprune.files import cache_folder

HERE = Path(__file__).parent
ROWS, TABLE = HERE / "int8_pruning.json", HERE / "int8_pruning.md"
CASES = ("resnet56_cifar:3", "vgg16_cifar:12", "resnet56_cifar:4")
EPOCHS = 5
SEEN = ("resnet56_cifar",)  # its checkpoint has seen all training images
Row = dict[str, Any]


def main(
    cases: Annotated[
        list[str] | None, typer.Argument(help="Network:speed-up, such as net:3.")
    ] = None,
    *,
    epochs: int = EPOCHS,
    again: bool = False,
) -> None:
    """Take the rows that are missing and write the table."""
    rows: dict[str, Row] = json.loads(ROWS.read_text()) if ROWS.is_file() else {}
    for case in cases or CASES:
        key = f"{case} {epochs}"
        if key not in rows or again:
            name, speedup = case.split(":")
            rows[key] = row(name, float(speedup), epochs)
            print(key, rows[key], flush=True)
            ROWS.write_text(json.dumps(rows, indent=1) + "\n")
    TABLE.write_text(table(rows))


def unseen(data: Splits) -> Splits:
    """Chosen by half of the test images, judged on the others; trained on the rest."""
    train, validation, test = (
        part
        for part in (data.train, data.validation, data.test)
        if isinstance(part, TensorBatches)
    )
    half = len(test) // 2
    x, y = (
        torch.cat([getattr(train, key), getattr(validation, key)]) for key in ("x", "y")
    )
    return replace(
        data,
        train=TensorBatches(x, y, train.reading, torch.Generator().manual_seed(0)),
        validation=TensorBatches(test.x[:half], test.y[:half], test.reading),
        test=TensorBatches(test.x[half:], test.y[half:], test.reading),
        sizes=(len(x), half, len(test) - half),
    )


def row(name: str, speedup: float, epochs: int) -> Row:
    """One run of the product."""
    (model, _), data = NETWORKS[name]()
    data = unseen(data) if name in SEEN else data
    out = cache_folder() / "int8_pruning" / f"{name}-{speedup:g}-{epochs}"
    shutil.rmtree(out, ignore_errors=True)
    began = time.perf_counter()
    done = edgeprune.compress(
        model,
        data,
        budget=f"{100 / speedup:.2f}%",
        precision="int8",
        epochs=epochs,
        max_drop=100.0,
        augment="crop,flip",
        out=out,
    )
    report = done.report
    small = report.counted
    return {
        "network": name,
        "asked": speedup,
        "epochs": epochs,
        "status": report.status,
        "speedup": 1 / small.latency_ratio,
        "fp32": report.baseline.test_accuracy,
        "int8": small.test_accuracy,
        "pruned_fp32": report.result.test_accuracy,
        "kept": small.params / report.baseline.params,
        "in_float": list(report.quantisation.in_float),
        "seconds": time.perf_counter() - began,
        "trained_seconds": report.stage_seconds.get("finetune", 0.0),
        **origin(),
    }


def table(rows: dict[str, Row]) -> str:
    """The study as Markdown."""
    lines = [
        "# int8 and pruning together",
        "",
        "Written by `python -m benchmarks.int8_pruning`; what a row is stands there. "
        "The loss is in points.",
        "",
        "| network | asked | measured | epochs | fp32, original | int8, pruned | "
        "loss | its fp32 file | parameters kept | minutes, of them training | commit |",
        "|---" * 11 + "|",
    ]
    ordered = sorted(rows.values(), key=lambda row: (row["network"], row["asked"]))
    for item in ordered:
        lines.append(  # noqa: PERF401  as the other pages are written
            f"| {item['network']} | {item['asked']:g}x | {item['speedup']:.2f}x | "
            f"{item['epochs']} | {item['fp32']:.2%} | {item['int8']:.2%} | "
            f"{100 * (item['fp32'] - item['int8']):+.2f} | {item['pruned_fp32']:.2%} | "
            f"{item['kept']:.0%} | {item['seconds'] / 60:.0f}, "
            f"{item['trained_seconds'] / 60:.0f} | {item['commit']} |"
        )
    return "\n".join([*lines, *taken(rows), ""])


if __name__ == "__main__":
    typer.run(main)
