"""MACs beside a second counter: torch's own, which counts FLOPs by ATen operator.

    pip install -e '.[test,benchmark]'
    python -m benchmarks.macs                    # all of torchvision, families of timm
    python -m benchmarks.macs 'timm/*' resnet50  # by pattern

Two FLOPs are one MAC. Attention is computed as matrix products here, since torch's
counter does not know the fused operators of a CPU. Whatever differs is told by
operator. Writes `macs.json` and `macs.md`.
"""

from __future__ import annotations

import fnmatch
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.coverage import names
from benchmarks.origin import origin, taken
from edgeprune.graph.cost import count, macs_of
from edgeprune.graph.forward import quiet
from edgeprune.graph.rules import operator_name
from edgeprune.graph.torch_private import FakeTensorMode
from edgeprune.graph.trace import Inputs, trace
from tests.libraries import build, inputs_for

HERE = Path(__file__).parent
ROWS, TABLE = HERE / "macs.json", HERE / "macs.md"
SIZES = (224, 112, 256, 64)  # of inputs; the first that a network runs on
# What torch's counter has no formula for.
UNCOUNTED = {
    "deform_conv2d": "a deformable convolution, torchvision's own operator",
    "lstm": "an LSTM, one operator of oneDNN",
    "gru": "a GRU, one operator of oneDNN",
}
# Numbers do not matter here, and those of the largest networks take a minute to draw.
DRAWN = [name for name in dir(nn.init) if name.endswith("_") and name[0] != "_"]
Row = dict[str, Any]


def main(patterns: list[str]) -> None:
    """Count every network that matches, and write the page."""
    rows: dict[str, Row] = json.loads(ROWS.read_text()) if ROWS.is_file() else {}
    wanted = [name for name in names() if not name.startswith("quantized_")]
    for name in wanted:
        if patterns and not any(fnmatch.fnmatch(name, item) for item in patterns):
            continue
        rows[name] = row = {**counted(name), **origin()}
        print(name, row, flush=True)
        ROWS.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
    TABLE.write_text(page(rows))


def counted(name: str) -> Row:
    """One network by both counters."""
    undrawn = {draw: lambda tensor, *_, **__: tensor for draw in DRAWN}
    with patch.multiple(nn.init, **undrawn):
        model = build(name).requires_grad_(False)
    inputs = inputs_for(name, model, SIZES)
    traced = trace(model, inputs)
    ours: Counter[str] = Counter()
    for node in traced.nodes:
        if found := macs_of(node):
            ours[operator_name(node)] += found
    macs, theirs = count(traced).macs, second_count(model, inputs)
    row: Row = {"macs": macs, "second": theirs}
    missing = {item: ours[item] for item in UNCOUNTED if ours[item]}
    if macs != theirs:
        explained = macs - theirs == sum(missing.values())
        row["why"] = [UNCOUNTED[item] for item in missing] if explained else ["?"]
        row["operators"] = dict(ours)
    return row


def second_count(model: nn.Module, inputs: Inputs) -> int:
    """MACs by torch's counter; on real data where code looks at values."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        for fake in (True, False):
            counter = FlopCounterMode(display=False)
            mode = FakeTensorMode(allow_non_fake_inputs=True)
            try:
                with torch.no_grad(), quiet(), sdpa_kernel(SDPBackend.MATH), counter:
                    if fake:
                        with mode:
                            model(*inputs)
                    else:
                        model(*inputs)
            except Exception:
                if not fake:
                    raise
                continue
            return counter.get_total_flops() // 2
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    raise AssertionError  # the second pass returns or raises


def page(rows: dict[str, Row]) -> str:
    """The study as Markdown."""
    equal = sum(row["macs"] == row["second"] for row in rows.values())
    told = sum(row.get("why", ["?"]) != ["?"] for row in rows.values())
    lines = [
        "# MACs beside torch's own counter",
        "",
        "Written by `python -m benchmarks.macs`; what is counted is said there.",
        "",
        f"{len(rows)} networks of torchvision and timm with random weights. In {equal} "
        f"both counters say the same to the last MAC; in {told} they differ by what "
        f"torch's has no formula for; {len(rows) - equal - told} are not explained.",
        "",
        "| network | MACs | torch's FLOPs / 2 | difference |",
        "|---|---:|---:|---|",
    ]
    for name, row in sorted(rows.items()):
        why = ", ".join(row.get("why", []))
        lines.append(f"| {name} | {row['macs']:,} | {row['second']:,} | {why} |")
    return "\n".join([*lines, *taken(rows), ""])


if __name__ == "__main__":
    main(sys.argv[1:])
