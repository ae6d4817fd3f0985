"""The shell script that measures on a phone, and what it prints.

One script does all cases of a job, so that a job is one round trip: before each case it
waits until the battery is cool and the system says that it is not hot. It ends when
nobody holds its input any more.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MARK = "@@EDGEPRUNE-"
DONE = f"{MARK}DONE"
PATIENCE = 30  # times that a hot phone is looked at again ...
PAUSE_S = 10  # ... after so many seconds
PROVIDERS = {
    "CPUExecutionProvider": "cpu",
    "XnnpackExecutionProvider": "xnnpack",
    "NnapiExecutionProvider": "nnapi",
    "WebGpuExecutionProvider": "webgpu",
    "QNNExecutionProvider": "qnn",
}
LEVELS = {
    "ORT_DISABLE_ALL": "disable",
    "ORT_ENABLE_BASIC": "basic",
    "ORT_ENABLE_EXTENDED": "extended",
    "ORT_ENABLE_LAYOUT": "layout",
    "ORT_ENABLE_ALL": "all",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One process that runs one model.

    Attributes:
        model: its path on the phone.
        seed: of the inputs; another one in each process.
    """

    model: str
    warmup: int
    iterations: int
    seed: int
    profiled: bool = False


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of one case.

    Attributes:
        report: the runner's own JSON; empty where it failed.
        trace: the events of the runtime's profiler, if it was asked for.
        state: the phone before it, as `dumpsys` tells.
    """

    code: int
    report: Mapping[str, Any]
    trace: Sequence[dict[str, Any]]
    complaint: str
    state: str


@dataclass(frozen=True, slots=True)
class Setting:
    """What is the same for all cases of a job.

    Attributes:
        folder: on the phone; `program` is the runner in it.
        warmest: of the battery, in tenths of a degree; None does not look.
    """

    folder: str
    program: str
    threads: int
    cores: tuple[int, ...] | None
    provider: str
    optimization: str
    batch: int
    warmest: int | None


def script_of(cases: Sequence[Case], setting: Setting) -> str:
    """The script, for a phone's sh."""
    folder = shlex.quote(setting.folder)
    place = shlex.quote(setting.program.rpartition("/")[0])
    lines = [
        f"cd {folder} || exit 3",
        f"export LD_LIBRARY_PATH={place} ORT_DISABLE_TELEMETRY=1",
        # What a phone runs in the background is slow: this asks for its fast cores.
        "settaskprofile $$ MaxPerformance >/dev/null 2>&1",
        "input keyevent KEYCODE_WAKEUP >/dev/null 2>&1",
        "exec 3<&0",
        # The youngest first: the oldest child is this very watcher.
        "( cat <&3; kill -9 $$ $(pgrep -P $$ | sort -rn) ) >/dev/null 2>&1 &",
        "watcher=$!",
        "exec 3<&-",
        "state() {",
        f"  echo {MARK}STATE",
        "  dumpsys battery 2>/dev/null",
        "  dumpsys thermalservice 2>/dev/null | grep 'Thermal Status'",
        "  cat /sys/devices/system/cpu/cpu7/cpufreq/scaling_cur_freq 2>/dev/null",
        f"  echo {MARK}STATED",
        "}",
        *_gate(setting.warmest),
    ]
    for number, case in enumerate(cases):
        lines += _case(number, case, setting)
    return "\n".join([*lines, "state", f"echo {DONE}", "kill $watcher", ""])


def _gate(warmest: int | None) -> list[str]:
    """Wait for a phone that is hot; give up on one that stays so."""
    degrees = "dumpsys battery 2>/dev/null | sed -n 's/.*temperature: *//p'"
    status = (
        "dumpsys thermalservice 2>/dev/null | sed -n 's/.*Thermal Status: *//p' | head "
        "-n 1"
    )
    hot = '[ "${status:-0}" -gt 0 ]'
    if warmest is not None:
        hot = f'{{ [ "${{degrees:-0}}" -gt {warmest} ] || {hot}; }}'
    return [
        "cool() {",
        "  left=" + str(PATIENCE),
        "  while :; do",
        f"    degrees=$({degrees}); status=$({status})",
        f"    {hot} || return 0",
        f"    left=$((left - 1)); [ $left -gt 0 ] || {{ echo {MARK}HOT; exit 4; }}",
        f"    sleep {PAUSE_S}",
        "  done",
        "}",
    ]


def _case(number: int, case: Case, setting: Setting) -> list[str]:
    command = [
        setting.program,
        *("--model", case.model),
        *("--warmup", str(case.warmup)),
        *("--iterations", str(case.iterations)),
        *("--iteration-timeout", "0"),
        *("--threads", str(setting.threads)),
        *("--provider", PROVIDERS.get(setting.provider, setting.provider)),
        *("--graph-optimization-level", LEVELS[setting.optimization]),
        *("--default-dim", str(setting.batch)),
        *("--seed", str(case.seed)),
        *("--output-format", "json"),
        *("--progress", "off"),
        *(["--profile"] if case.profiled else []),
    ]
    run = " ".join(map(shlex.quote, command))
    if setting.cores:
        mask = sum(1 << core for core in setting.cores)
        run = f"taskset {mask:x} {run}"
    traces = shlex.quote(setting.program.rpartition("/")[0] + "/ort_profiler")
    lines = [
        "cool",
        "state",
        f"echo {MARK}CASE {number}",
        f"{run} 2>complaint; code=$?",
        f"echo; echo {MARK}CODE $code; cat complaint; echo",
    ]
    if case.profiled:
        lines += [f"echo {MARK}TRACE; cat {traces}/*.json; rm -rf {traces}; echo"]
    return [*lines, f"echo {MARK}ENDED"]


def cases_in(output: str) -> list[Ran]:
    """What a script printed, case by case; those that did not end are left out."""
    found: list[Ran] = []
    state = ""
    for part in re.split(rf"^{MARK}(?=STATE$|CASE )", output, flags=re.MULTILINE)[1:]:
        if part.startswith("STATE"):
            state = part.partition("\n")[2].partition(MARK)[0]
            continue
        body, ended, _ = part.partition(f"{MARK}ENDED")
        if not ended:
            break
        body, _, trace = body.partition(f"{MARK}TRACE\n")
        said, _, after = body.partition(f"{MARK}CODE ")
        code, _, complaint = after.partition("\n")
        found.append(
            Ran(
                int(code.strip() or 0),
                _report(said.partition("\n")[2]),
                _events(trace),
                complaint.strip(),
                state,
            )
        )
    return found


def last_state(output: str) -> str:
    """The phone after the last case."""
    before, _, last = output.rpartition(f"{MARK}STATE\n")
    return last.partition(f"{MARK}STATED")[0] if before or last else ""


def conditions_of(state: str) -> dict[str, Any]:
    """What a phone's state says, as the other devices say it."""

    def number(pattern: str) -> float | None:
        found = re.search(pattern, state)
        return float(found[1]) if found else None

    degrees, clock = number(r"temperature: *(\d+)"), number(r"^\s*(\d{5,})\s*$")
    clock = clock or number(r"\n(\d{5,})\s*(?:\n|$)")
    status = number(r"Thermal Status: *(\d+)")
    powered = re.findall(r"(?:AC|USB|Wireless|Dock) powered: *(true|false)", state)
    return {
        "frequency_mhz": None if clock is None else clock / 1e3,
        "battery_percent": number(r"level: *(\d+)"),
        "battery_c": None if degrees is None else degrees / 10,
        "charging": "true" in powered if powered else None,
        "thermal_status": None if status is None else int(status),
        "throttled": None if status is None else status > 0,
    }


def _report(text: str) -> dict[str, Any]:
    begin, end = text.find("{"), text.rfind("}")
    try:
        found = json.loads(text[begin : end + 1])
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _events(text: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(text) if text.strip() else []
    except ValueError:
        return []
    return found if isinstance(found, list) else []
