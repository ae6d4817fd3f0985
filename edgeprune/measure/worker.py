"""The part of a measurement that runs on the device: one file, one process.

Reads a job as JSON on standard input and answers with one line of JSON behind a
sentinel. Needs Python, NumPy and ONNX Runtime only, so that the same file can be
copied to a board. Never imports edgeprune.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before onnxruntime: it cannot be undone

import json
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SENTINEL = "@@EDGEPRUNE "


def main() -> None:
    """Run one job."""
    job = json.load(sys.stdin)
    stage = "import"
    try:
        import numpy as np
        import onnxruntime as ort

        pinned = pin(job["threads"])
        stage = "load"
        base = peak_rss()
        loaded = [load(ort, np, model, job) for model in job["models"]]
        stage = "run"
        run = profile if job["mode"] == "profile" else measure
        results = run(loaded, job)
        answer: dict[str, Any] = {
            "ok": True,
            "results": results,
            "runtime": f"onnxruntime {ort.__version__}",
            "pinned_cpus": pinned,
            "process_peak_bytes": peak_rss() - base,
            "machine": machine(),
        }
    except Exception as error:  # noqa: BLE001  reported to the caller, who raises
        answer = {"ok": False, "stage": stage, "error": str(error)}
    sys.stdout.write("\n" + SENTINEL + json.dumps(answer) + "\n")


def pin(threads: int) -> list[int]:
    """Keep this process on as many CPUs as it has threads."""
    if not hasattr(os, "sched_setaffinity"):
        return []
    allowed = sorted(os.sched_getaffinity(0))
    chosen = allowed[-threads:]
    os.sched_setaffinity(0, chosen)
    return chosen


def load(ort: Any, np: Any, model: str, job: dict[str, Any]) -> dict[str, Any]:
    """A session and an input for it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = job["threads"]
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = getattr(
        ort.GraphOptimizationLevel, job["optimization"]
    )
    options.log_severity_level = 3
    if job["mode"] == "profile":
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(tempfile.mkdtemp()) / "profile")
    start = time.perf_counter()
    session = ort.InferenceSession(model, options, providers=[job["provider"]])
    load_ms = (time.perf_counter() - start) * 1e3
    got = session.get_providers()[0]
    if got != job["provider"]:
        message = f"asked for {job['provider']}, the runtime fell back to {got}"
        raise RuntimeError(message)
    rng = np.random.default_rng(job["seed"])
    feeds = {
        item.name: feed(np, rng, item, job["batch"]) for item in session.get_inputs()
    }
    return {"session": session, "feeds": feeds, "load_ms": load_ms, "provider": got}


def feed(np: Any, rng: Any, item: Any, batch: int) -> Any:
    """Random values for one input; an open axis is as long as the batch."""
    shape = [size if isinstance(size, int) else batch for size in item.shape]
    return rng.standard_normal(shape).astype(np.float32)


def once(loaded: dict[str, Any]) -> float:
    """One inference, in ms."""
    start = time.perf_counter_ns()
    loaded["session"].run(None, loaded["feeds"])
    return (time.perf_counter_ns() - start) / 1e6


def repeat(loaded: dict[str, Any], least: int, seconds: float) -> list[float]:
    """Inferences until there are enough and they lasted long enough."""
    samples: list[float] = []
    while len(samples) < least or sum(samples) < seconds * 1e3:
        samples.append(once(loaded))
    return samples


def measure(loaded: list[dict[str, Any]], job: dict[str, Any]) -> list[dict[str, Any]]:
    """Warm up, then rounds in which the models take turns."""
    warmups = [repeat(item, job["warmup"], job["warmup_s"]) for item in loaded]
    rounds: list[list[list[float]]] = [[] for _ in loaded]
    for _ in range(job["rounds"]):
        for item, samples in zip(loaded, rounds, strict=True):
            samples.append(repeat(item, job["iterations"], job["seconds"]))
    return [
        {
            "rounds_ms": samples,
            "warmup_ms": warmup,
            "load_ms": item["load_ms"],
            "provider": item["provider"],
        }
        for item, samples, warmup in zip(loaded, rounds, warmups, strict=True)
    ]


def profile(loaded: list[dict[str, Any]], job: dict[str, Any]) -> list[dict[str, Any]]:
    """Median ms of every operator that the runtime ran, in its own order."""
    found = []
    for item in loaded:
        repeat(item, job["warmup"] + job["iterations"], 0.0)
        path = Path(item["session"].end_profiling())
        events = json.loads(path.read_text())
        path.unlink()
        path.parent.rmdir()
        durations: dict[str, list[float]] = {}
        for event in events:
            if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
                name = event["name"].removesuffix("_kernel_time")
                durations.setdefault(name, []).append(event["dur"] / 1e3)
        nodes = [[name, middle(values)] for name, values in durations.items()]
        found.append({"nodes": nodes})
    return found


def middle(values: list[float]) -> float:
    """The median, without the statistics module's import time on small boards."""
    return sorted(values)[len(values) // 2]


def peak_rss() -> int:
    """Highest resident size of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    for line in status.read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def machine() -> dict[str, Any]:
    """What this device says of itself; null where it says nothing."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "cpu": cpu_name(),
        "cores": os.cpu_count() or 1,
        "memory_bytes": memory_bytes(),
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "frequency_mhz": scaled(
            "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"
        ),
        "temperature_c": scaled("/sys/class/thermal/thermal_zone0/temp"),
    }


def cpu_name() -> "str | None":
    """The processor's model name."""
    for line in (read("/proc/cpuinfo") or "").splitlines():
        if line.startswith(("model name", "Model", "Hardware")):
            return line.split(":", 1)[1].strip()
    return platform.processor() or None


def memory_bytes() -> "int | None":
    """Installed memory."""
    first = (read("/proc/meminfo") or "").splitlines()[:1]
    return int(first[0].split()[1]) * 1024 if first else None


def scaled(path: str) -> "float | None":
    """A number that the kernel gives in thousandths."""
    text = read(path)
    return float(text) / 1e3 if text else None


def read(path: str) -> "str | None":
    """A small file's text, or None."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


if __name__ == "__main__":
    main()
