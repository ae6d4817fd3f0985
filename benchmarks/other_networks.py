"""Do networks for other tasks go through all stages? Torchvision's 29, without labels.

    pip install -e '.[test,benchmark]'
    python -m benchmarks.other_networks                 # an hour and a half
    python -m benchmarks.other_networks 'raft*' --again

Detection, segmentation, video and optical flow, with random weights whose norms have
seen the samples: each is compressed by one call to 70 % of its multiply-accumulates,
without training, from 64 samples that nobody has labelled, and timed here in float.
What counts is the agreement with the original (see `docs/guides/tasks.md`);
such weights say little of what a trained network would keep. Of detectors with one
stage the file ends behind the `head`, of those with two behind the `backbone`: what
follows depends on the data. Images are photos of 160x160 or, of videos, 8 frames of
64x64 (16 of 224x224 for s3d, which takes nothing else; MViT is built for the small
ones). Effort is quick, and each has at most LIMIT_S seconds. What is there is not taken
again; `--again` does. Writes `other_networks.json` and `other_networks.md`.
"""

from __future__ import annotations

import fnmatch
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import torch
import torchvision
import typer
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from torchvision.models.video import MViT, mvit

import edgeprune
from benchmarks.networks import data_folder
from benchmarks.origin import origin, taken
from edgeprune.errors import EdgepruneError
from edgeprune.files import cache_folder
from tests.libraries import build, task_of

HERE = Path(__file__).parent
ROWS, TABLE = HERE / "other_networks.json", HERE / "other_networks.md"
TASKS = ("segmentation", "detection", "video", "optical_flow")
SAMPLES = 64  # 24 to learn from, 8 to choose by, the rest to test on
SIDE, FRAMES, SMALL = 160, 8, 64
FLOW = 128
LIMIT_S = 2400
Row = dict[str, Any]


def photos(side: int, count: int) -> Tensor:
    """Shape (N, 3, side, side), in 0..1."""
    paths = sorted((data_folder() / "imagenet_sample224").glob("*.jpg"))[:count]
    held = [Image.open(path).convert("RGB").resize((side, side)) for path in paths]
    return (
        torch.from_numpy(np.stack([np.asarray(one) for one in held])).permute(
            0, 3, 1, 2
        )
        / 255
    )


def samples(name: str) -> Any:
    """Three sets without labels."""
    kind = task_of(name)
    if kind == "optical_flow":
        x = 2 * photos(FLOW, SAMPLES) - 1
        pairs = [{"image1": one, "image2": one.roll(4, -1)} for one in x]
        return pairs[:24], pairs[24:32], pairs[32:]
    if kind == "video":
        large = name == "s3d"
        x = photos(224 if large else SMALL, SAMPLES)
        frames = 16 if large else FRAMES
        moved = [x.roll(2 * step, -1) for step in range(frames)]
        x = torch.stack(moved, 2)
    else:
        x = photos(SIDE, SAMPLES)
    return TensorDataset(x[:24]), TensorDataset(x[24:32]), TensorDataset(x[32:])


def network(name: str, x: Any) -> nn.Module:
    """With random weights, and norms that have seen the samples."""
    with patch.object(mvit, "MViT", _small_mvit):
        model = build(name)
    if hasattr(model, "transform") and hasattr(model.transform, "min_size"):
        model.transform.min_size, model.transform.max_size = (SIDE,), SIDE
        if not name.startswith("ssd300"):  # which has no other size
            model.transform.fixed_size = (SIDE, SIDE)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.momentum = None
            module.train()
    with torch.no_grad():
        for at in range(0, 8, 4):
            if isinstance(x, list):
                model(
                    *(torch.stack([one[key] for one in x[at : at + 4]]) for key in x[0])
                )
            else:
                model(x.tensors[0][at : at + 4])
    return model.eval()


def _small_mvit(**settings: Any) -> nn.Module:
    """For clips of another size than its builders say."""
    sizes = {"spatial_size": (SMALL, SMALL), "temporal_size": FRAMES}
    return MViT(**(settings | sizes))


def end_of(model: nn.Module) -> str | None:
    """The module behind which a detector's file ends."""
    if task_of_module(model) != "detection":
        return None
    return "backbone" if hasattr(model, "roi_heads") else "head"


def task_of_module(model: nn.Module) -> str:
    """By the package that its class is in."""
    return type(model).__module__.removeprefix("torchvision.models.").split(".")[0]


def row(name: str) -> Row:
    """One network."""
    began = time.perf_counter()
    data = samples(name)
    model = network(name, data[0])
    out = cache_folder() / "other_networks" / f"{name}-{time.time_ns()}"
    try:
        done = edgeprune.compress(
            model,
            data,
            max_macs="70%",
            train=False,
            effort="quick",
            precision="fp32",
            max_drop=100.0,
            export_output=end_of(model),
            task="agreement",
            out=out,
        )
    except EdgepruneError as error:
        return {"refused": str(error), "seconds": time.perf_counter() - began}
    report = done.report
    small = report.result
    return {
        "status": report.status,
        "agreement": small.test_accuracy,
        "macs": small.macs / report.baseline.macs,
        "time": small.latency_ratio,
        "ms": report.baseline.latency_ms,
        "refusals": len(report.refused),
        "seconds": time.perf_counter() - began,
    }


def measured(name: str) -> Row:
    """One network in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.other_networks", name, "--child"]
    facts = {"task": task_of(name), **origin()}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return {"refused": f"not done in {LIMIT_S} s", **facts}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        said = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        return {"refused": said[-1][:200], **facts}
    return {**json.loads(lines[-1]), **facts}


def main(
    patterns: Annotated[list[str] | None, typer.Argument()] = None,
    *,
    again: Annotated[bool, typer.Option("--again")] = False,
    child: Annotated[bool, typer.Option("--child", hidden=True)] = False,
) -> None:
    """Take the rows that are missing and write the table."""
    if child:
        print(json.dumps(row((patterns or [""])[0])))
        return
    rows: dict[str, Row] = json.loads(ROWS.read_text()) if ROWS.is_file() else {}
    every = sorted(torchvision.models.list_models(), key=_order)
    for name in every:
        wanted = any(fnmatch.fnmatch(name, one) for one in patterns or ["*"])
        if task_of(name) in TASKS and wanted and (again or name not in rows):
            rows[name] = measured(name)
            print(name, rows[name], flush=True)
            ROWS.write_text(json.dumps(rows, indent=1) + "\n")
            TABLE.write_text(table(rows))


def _order(name: str) -> tuple[int, str]:
    kind = task_of(name)
    return (TASKS.index(kind) if kind in TASKS else len(TASKS)), name


def table(rows: dict[str, Row]) -> str:
    """The study as Markdown."""
    through = sum("refused" not in one for one in rows.values())
    lines = [
        "# Networks for other tasks, through all stages",
        "",
        "Written by `python -m benchmarks.other_networks`; what a row is stands there. "
        f"{through} of {len(rows)} went through.",
        "",
        "| network | task | agreement | MACs | time | ms before | "
        "channels or layers kept whole | seconds | commit |",
        "|---" * 9 + "|",
    ]
    for name, one in sorted(rows.items(), key=lambda item: _order(item[0])):
        if "refused" in one:
            said = " ".join(one["refused"].split())
            cells = [f"refused: {said}"] + [""] * 5
        else:
            cells = [
                f"{one['agreement']:.2%}",
                f"{one['macs']:.1%}",
                f"{one['time']:.1%}",
                f"{one['ms']:.1f}",
                str(one["refusals"]),
                f"{one['seconds']:.0f}",
            ]
        lines.append(
            f"| {name} | {one['task']} | {' | '.join(cells)} | {one['commit']} |"
        )
    return "\n".join([*lines, *taken(rows), ""])


if __name__ == "__main__":
    typer.run(main)
