"""What is wrong with a file, in a terminal."""

from __future__ import annotations

from rich.console import Console

from edgeprune.records import FileCheck
from edgeprune.units import megabytes, milliseconds

STYLES = {"blocker": "bold red", "warning": "yellow", "note": "dim"}


def show_file_check(console: Console, found: FileCheck) -> None:
    """A line for the file, and three for each finding: what, its cost, what helps."""

    def say(text: str, style: str = "") -> None:
        console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)

    facts = [
        megabytes(found.size_bytes),
        f"{found.operators} operators",
        f"opset {found.opset}, IR {found.ir_version}",
    ]
    if found.summary is not None:
        time = milliseconds(found.summary.median_ms)
        facts.append(f"{time} on {found.target} ({found.provider})")
    if found.accuracy is not None:
        facts.append(f"test {found.metric.told(found.accuracy)}")
    say(f"{found.file}: {', '.join(facts)}")
    for item in found.findings:
        cost = "" if item.ms is None else f" ({milliseconds(max(item.ms, 0.0))} a run)"
        say(f"{item.severity} {item.name}: {item.what}{cost}", STYLES[item.severity])
        say(f"    {item.remedy}")
    blockers = sum(item.severity == "blocker" for item in found.findings)
    if blockers:
        say(f"Not fit for {found.target}: {blockers} blocker(s).")
    else:
        said = "nothing is wrong with it" if not found.findings else "it can be used"
        say(f"For {found.target} {said}.")
