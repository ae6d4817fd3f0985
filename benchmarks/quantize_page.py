"""The table of `benchmarks.quantize`."""

from __future__ import annotations

from typing import Any

from benchmarks.origin import taken

FILES = ("fp32", "default", "best", "all", "ours")
Row = dict[str, Any]


def table(rows: dict[str, Row]) -> str:
    """All rows as Markdown."""
    lines = [
        "# int8",
        "",
        "Written by `python -m benchmarks.quantize`. *Speed*: times the float file's, "
        "median of three measurements in which all files take turns. *Loss*: points of "
        "top-1 below the float file, or, where weights are random, the relative error "
        "of the outputs. *all*: every layer in int8; *ours*: what is delivered.",
        "",
        "| network | float, ms | default | best | all | ours | loss: default | best | "
        "all | ours | in float | commit |",
        "|---" * 12 + "|",
        *(f"| {' | '.join(_speed(name, item))} |" for name, item in rows.items()),
        "",
        "What shares a step (`runtime.int8_steps`), on images and their mirror images: "
        "top-1 of the float file, points lost as it is and with layers fitted (without "
        "labels), and how often the fitted file answers as the float one does. "
        "Published for MobileNetV2: 0.66 points lost with a step for each channel "
        "(72.68 to 72.02, MQBench), 0.35 with powers of two (71.88 to 71.53, trained "
        "thresholds, esp-dl); these are other weights and images.",
        "",
        "| network | steps | float | lost as it is | fitted | same answer | seconds |",
        "|---" * 7 + "|",
    ]
    for name, item in rows.items():
        for form, one in item.get("forms", {}).items():
            whole = item["files"]["fp32"]["accuracy"]
            lines.append(f"| {name} | {form} | {' | '.join(_form(one, whole))} |")
    return "\n".join([*lines, *taken(rows), ""])


def _speed(name: str, item: Row) -> list[str]:
    files = item["files"]
    cells = [name, f"{files['fp32']['ms']:.2f}"]
    cells += [f"{1 / files[key]['share']:.2f}x" for key in FILES[1:]]
    whole = files["fp32"]["accuracy"]
    for key in FILES[1:]:
        one = files[key]
        if whole is None:
            cells.append(f"{one['error']:.3f}")
        else:
            cells.append(f"{100 * (whole - one['accuracy']):+.2f}")
    return [*cells, item["kept"], item["commit"]]


def _form(one: Row, whole: float) -> list[str]:
    lost = [100 * (whole - one[key]["accuracy"]) for key in ("static", "fitted")]
    return [
        f"{whole:.2%}",
        *(f"{value:+.2f}" for value in lost),
        f"{one['fitted']['agreement']:.2%}",
        f"{one['seconds']:.0f}",
    ]
