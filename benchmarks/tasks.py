r"""Other tasks than classification: what is left of the metric at shares of the time.

    pip install -e '.[test,benchmark]'
    python -m benchmarks.tasks                          # all rows, two hours
    python -m benchmarks.tasks detection:0.5 --again

Networks and data are those of `benchmarks.task_nets`; each network is trained there
once. A row is one `edgeprune compress` to a share of the measured time with some epochs
(5; 2 of the embedding, 20 of the detector, whose images are cut and mirrored, since
there are few of them), learning from targets and from the original; its int8 file is
judged, too. Metrics are those of the test split, but for
that before training, which the run tells of the validation split. Torch-Pruning (L1,
all layers together, widths in steps of 8) prunes the same network to the same measured
time, by trying ratios; its norms see the data anew, then it is trained by the task's
own loss for as many epochs. What is there is not taken again; `--again` does. Writes
`tasks.json` and `tasks.md`.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import torch
import typer
from torch import Tensor, nn

import edgeprune
from benchmarks.origin import origin, taken
from benchmarks.task_data import train_
from benchmarks.task_nets import KINDS, Kind, trained
from edgeprune import targets
from edgeprune.api.task import task_of
from edgeprune.data import Reading, TensorBatches
from edgeprune.devices.runner import runner_for
from edgeprune.files import cache_folder
from edgeprune.measure.onnx_file import write_onnx
from edgeprune.reconstruct.statistics import restated
from edgeprune.tasks import Task, judged
from edgeprune.temporary import temporary_folder

HERE = Path(__file__).parent
ROWS, TABLE = HERE / "tasks.json", HERE / "tasks.md"
SHARES = (0.5, 0.7, 0.35)
EPOCHS = {"embedding": 2, "detection": 20}
AUGMENT = {"detection": ("crop", "flip")}
USUAL_EPOCHS = 5
TRIES = 7  # of a peer's ratio
Row = dict[str, Any]


def main(
    cases: Annotated[
        list[str] | None, typer.Argument(help="Task:share, such as image:0.5.")
    ] = None,
    *,
    again: bool = False,
) -> None:
    """Take the rows that are missing and write the table."""
    rows: dict[str, Row] = json.loads(ROWS.read_text()) if ROWS.is_file() else {}
    for case in cases or [f"{kind}:{share}" for share in SHARES for kind in KINDS]:
        if case not in rows or again:
            kind, share = case.split(":")
            rows[case] = row(kind, float(share))
            print(case, rows[case], flush=True)
            ROWS.write_text(json.dumps(rows, indent=1) + "\n")
            TABLE.write_text(table(rows))


def row(name: str, share: float) -> Row:
    """A run, and the peer."""
    kind, model = KINDS[name], trained(name)
    data, epochs = kind.data(), EPOCHS.get(name, USUAL_EPOCHS)
    report = edgeprune.compress(
        model,
        data,
        budget=f"{share:.0%}",
        task=kind.task,
        max_drop=100.0,
        precision="fp32",
        epochs=epochs,
        augment=AUGMENT.get(name),
        out=_out(f"{name}-{share}"),
    ).report
    small = report.int8
    return {
        "task": name,
        "share": share,
        "metric": report.metric.name,
        "unit": report.metric.unit,
        "original": report.baseline.test_accuracy,
        "known": report.baseline.validation_accuracy,
        "untrained": report.steps[-1].accuracy_before_training,
        "trained": report.result.test_accuracy,
        "time": report.result.latency_ratio,
        "params": report.result.params / report.baseline.params,
        "int8": None if small is None else small.test_accuracy,
        "int8_time": None if small is None else small.latency_ratio,
        "epochs": epochs,
        "peer": peer(model, kind, share, epochs),
        **origin(),
    }


def _out(name: str) -> Path:
    out = cache_folder() / "tasks" / name
    shutil.rmtree(out, ignore_errors=True)
    return out


def peer(original: nn.Module, kind: Kind, share: float, epochs: int) -> Row:
    """Torch-Pruning at the same measured time; or what it says."""
    began = time.perf_counter()
    (x, y), (tests, wanted) = (kind.data()[at].tensors for at in (0, 2))
    task = task_of(kind.task)
    found: tuple[nn.Module, float] | None = None
    low, high = 0.0, 0.95
    try:
        for _ in range(TRIES):
            ratio = (low + high) / 2
            model = _pruned(original, kind, x[:1], ratio)
            taken = _share(original, model, x[:1])
            if taken <= share:
                high, found = ratio, (model, taken)
            else:
                low = ratio
    except Exception as error:  # noqa: BLE001  of the peer
        return {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:120]}
    if found is None:
        return {"failed": f"never within {share:.0%}"}
    model, taken = found
    batches = TensorBatches(x[:2048], torch.zeros(min(2048, len(x))), Reading(128))
    model = restated(model, batches)
    before = _metric(task, model, tests, wanted)
    loss = kind.loss or task.loss
    train_(model, (x, y), loss, epochs, 1e-3)
    return {
        "time": taken,
        "restated": before,
        "trained": _metric(task, model.eval(), tests, wanted),
        "seconds": time.perf_counter() - began,
    }


def _pruned(original: nn.Module, kind: Kind, x: Tensor, ratio: float) -> nn.Module:
    import torch_pruning as tp

    model = copy.deepcopy(original)
    tp.pruner.BasePruner(
        model,
        x,
        tp.importance.GroupMagnitudeImportance(p=1),
        global_pruning=True,
        pruning_ratio=ratio,
        round_to=8,
        ignored_layers=kind.ends(model),
    ).step()
    return model.eval()


def _share(original: nn.Module, model: nn.Module, x: Tensor) -> float:
    """The time of a network as a share of another's, in one measurement."""
    with temporary_folder() as folder:
        paths = [folder / "original.onnx", folder / "pruned.onnx"]
        for path, held in zip(paths, (original, model), strict=True):
            write_onnx(held, (x,), path)
        first, second = runner_for(targets.load("host")).time(paths)
    return second.median_ms / first.median_ms


def _metric(
    task: Task, model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor
) -> float:
    return judged(task, model, zip(x.split(100), y.split(100), strict=True))


def table(rows: dict[str, Row]) -> str:
    """The study as Markdown."""
    lines = [
        "# Other tasks than classification",
        "",
        "Written by `python -m benchmarks.tasks`; what a row is stands there. Metrics "
        "of the test split; times are shares of the original's, measured in turn with "
        "it.",
        "",
        "| task | metric | share asked | measured | validation: original | untrained | "
        "test: original | trained | "
        "epochs | parameters | int8, time | Torch-Pruning: measured | norms restated | "
        "trained | commit |",
        "|---" * 15 + "|",
    ]
    for item in sorted(rows.values(), key=lambda one: (one["task"], -one["share"])):
        lines.append(f"| {' | '.join(_cells(item))} |")  # noqa: PERF401
    return "\n".join([*lines, *taken(rows), ""])


def _cells(item: Row) -> list[str]:
    def shown(value: float | None) -> str:
        if value is None:
            return "none"
        if item["unit"] == "%":
            return f"{value:.2%}"
        return f"{value:.2f} dB" if item["unit"] else f"{value:.4f}"

    other = item["peer"]
    small = "none"
    if item["int8"] is not None:
        small = f"{shown(item['int8'])}, {item['int8_time']:.1%}"
    told = [other.get("failed", ""), "", ""]
    if "failed" not in other:
        told = [
            f"{other['time']:.1%}",
            shown(other["restated"]),
            shown(other["trained"]),
        ]
    return [
        item["task"],
        item["metric"],
        f"{item['share']:.0%}",
        f"{item['time']:.1%}",
        shown(item["known"]),
        shown(item["untrained"]),
        shown(item["original"]),
        shown(item["trained"]),
        str(item["epochs"]),
        f"{item['params']:.0%}",
        small,
        *told,
        item["commit"],
    ]


if __name__ == "__main__":
    typer.run(main)
