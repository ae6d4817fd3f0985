"""The part of a measurement that runs on the device: one file, one process.

Reads a job as a line of JSON on standard input and answers with one line of JSON behind
a sentinel. Files that the job names by their hash and this device lacks are asked for,
and read behind the job. Where the caller keeps that input open, its end, or a long
silence, means that the caller is gone, and the worker ends, too. Needs Python 3.9,
NumPy and ONNX Runtime only, so that the same text can be sent to a board. Never imports
edgeprune.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before onnxruntime: it cannot be undone

import base64
import ctypes
import errno
import hashlib
import json
import platform
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

SENTINEL = "@@EDGEPRUNE "
WANTED = "@@EDGEPRUNE-WANTED "
BEGUN = "@@EDGEPRUNE-BEGUN"
INPUTS = 4  # fed in turn: a runtime may remember what it made of the last one
SEND_S = 900  # until all files must be here: a caller may be gone without a word
FEATURES = (
    *("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8"),
    *("asimd", "asimddp", "i8mm", "sve", "sme"),
)
KEPT_BYTES = 256_000_000  # of files that earlier jobs have sent


def main() -> None:
    """Run one job."""
    job = json.loads(sys.stdin.buffer.readline())
    job["stage"] = "store"
    try:
        if "files" in job:
            job["models"] = store(job["folder"], job["files"])
        if job.get("held"):
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the caller
            watch = partial(end_with_caller, job.get("silence_s"))
            threading.Thread(target=watch, daemon=True).start()
        job["stage"] = "import"
        import numpy as np
        import onnxruntime as ort

        pinned = pin(job["threads"], job.get("cores"))
        runs = {
            "describe": describe,
            "time": measure,
            "profile": profile,
            "probe": probe,
            "memory": memory,
            "outputs": outputs,
            "sustain": sustain,
        }
        before, began = conditions(), time.monotonic()
        results = runs[job["mode"]](partial(load, ort, np, job), job)
        answer: dict[str, Any] = {
            "ok": True,
            "results": results,
            "runtime": f"onnxruntime {ort.__version__}",
            "pinned_cpus": pinned,
            "seconds": time.monotonic() - began,
            "conditions": [before, conditions()],
            "providers": ort.get_available_providers(),
        }
    except Exception as error:  # noqa: BLE001  reported to the caller, who raises
        answer = {"ok": False, "stage": job["stage"], "error": told(error)}
    sys.stdout.write("\n" + SENTINEL + json.dumps({**answer, "machine": machine()}))
    sys.stdout.write("\n")


def told(error: BaseException) -> str:
    """What an error says; a full disk in words that are the same everywhere."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left on {error.filename or 'the disk'}"
    return str(error) or type(error).__name__


def store(folder: str, files: list[dict[str, Any]]) -> list[str]:
    """Paths of files by their hashes; the caller sends those that are not here."""
    place = Path(folder).expanduser()
    place.mkdir(parents=True, exist_ok=True)
    paths = [place / f"{item['sha256']}.onnx" for item in files]
    wanted = [at for at, path in enumerate(paths) if not path.exists()]
    make_room(place, sum(files[at]["bytes"] for at in wanted), keep=paths)
    say(WANTED + json.dumps(wanted))
    if hasattr(signal, "alarm"):
        signal.alarm(SEND_S)
    for at in wanted:
        aside = paths[at].with_suffix(f".{os.getpid()}.part")
        content = sys.stdin.buffer.read(files[at]["bytes"])
        if hashlib.sha256(content).hexdigest() != files[at]["sha256"]:
            raise RuntimeError("a file arrived damaged")
        try:
            aside.write_bytes(content)
            aside.replace(paths[at])
        finally:
            aside.unlink(missing_ok=True)
    if hasattr(signal, "alarm"):
        signal.alarm(0)
    for path in paths:
        path.touch()
    say(BEGUN)
    return [str(path) for path in paths]


def make_room(place: Path, coming: int, keep: list[Path]) -> None:
    """Remove what was used longest ago, and what a killed worker left half written."""
    for path in place.glob("*.part"):
        if time.time() - path.stat().st_mtime > 3600:
            path.unlink(missing_ok=True)
    held = [path for path in place.glob("*.onnx") if path not in keep]
    held.sort(key=lambda path: path.stat().st_mtime)
    size = coming + sum(path.stat().st_size for path in held)
    for path in held:
        if size <= KEPT_BYTES:
            break
        size -= path.stat().st_size
        path.unlink(missing_ok=True)


def say(line: str) -> None:
    """Tell the caller something before the answer."""
    sys.stdout.write("\n" + line + "\n")
    sys.stdout.flush()


def end_with_caller(silence_s: "float | None") -> None:
    """End this process when nobody holds its input any more, or says anything.

    Args:
        silence_s: a caller who is there writes more often than that; None where its
            end is always seen.
    """
    while silence_s is None or select.select([0], [], [], silence_s)[0]:
        # Not sys.stdin, whose lock would outlast the main thread.
        if not os.read(0, 1):
            break
    os._exit(1)


def pin(threads: int, cores: "list[int] | None" = None) -> list[int]:
    """Keep this process on as many CPUs as it has threads, or on those asked for."""
    if not hasattr(os, "sched_setaffinity"):
        return []
    allowed = sorted(os.sched_getaffinity(0))
    if cores and not set(cores) <= set(allowed):
        raise RuntimeError(f"asked for the cores {cores}, allowed are {allowed}")
    chosen = list(cores) if cores else allowed[-threads:]
    os.sched_setaffinity(0, chosen)
    return chosen


def load(
    ort: Any, np: Any, job: dict[str, Any], model: str, profiled: bool = False
) -> dict[str, Any]:
    """A session and an input for it."""
    job["stage"] = "load"
    options = ort.SessionOptions()
    options.intra_op_num_threads = job["threads"]
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = getattr(
        ort.GraphOptimizationLevel, job["optimization"]
    )
    options.log_severity_level = 3
    if profiled:
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
    feeds = [
        {item.name: feed(np, rng, item, job["batch"]) for item in session.get_inputs()}
        for _ in range(INPUTS)
    ]
    job["stage"] = "run"
    return {
        "session": session,
        "feeds": feeds,
        "turn": 0,
        "load_ms": load_ms,
        "provider": got,
    }


def feed(np: Any, rng: Any, item: Any, batch: int) -> Any:
    """Random values for one input; an open axis is as long as the batch."""
    shape = [size if isinstance(size, int) else batch for size in item.shape]
    kind = kind_of(np, item)
    if np.issubdtype(kind, np.floating):
        return rng.standard_normal(shape).astype(kind)
    return rng.integers(0, 2, shape).astype(kind)  # which any table has rows for


def kind_of(np: Any, item: Any) -> Any:
    """The NumPy type of one input."""
    name = item.type.removeprefix("tensor(").removesuffix(")")
    return np.dtype({"float": "float32", "double": "float64"}.get(name, name))


def once(loaded: dict[str, Any]) -> float:
    """One inference, in ms, with the next of the inputs."""
    feeds = loaded["feeds"][loaded["turn"] % INPUTS]
    loaded["turn"] += 1
    start = time.perf_counter_ns()
    loaded["session"].run(None, feeds)
    return (time.perf_counter_ns() - start) / 1e6


def repeat(loaded: dict[str, Any], least: int, seconds: float) -> list[float]:
    """Inferences until there are enough and they lasted long enough."""
    samples: list[float] = []
    lasted = 0.0
    while len(samples) < least or lasted < seconds * 1e3:
        samples.append(once(loaded))
        lasted += samples[-1]
    return samples


def describe(load: Any, job: dict[str, Any]) -> list[dict[str, Any]]:
    """Nothing beside what every answer says of the device."""
    del load, job
    return []


def measure(load: Any, job: dict[str, Any]) -> list[dict[str, Any]]:
    """Warm up, then rounds in which the models take turns."""
    loaded = [load(model) for model in job["models"]]
    warmups = [repeat(item, job["warmup"], job["warmup_s"]) for item in loaded]
    rounds: list[list[list[float]]] = [[] for _ in loaded]
    for index in turns(len(loaded), job["rounds"]):
        rounds[index].append(repeat(loaded[index], job["iterations"], job["seconds"]))
    return [
        {
            "rounds_ms": samples,
            "warmup_ms": warmup,
            "load_ms": item["load_ms"],
            "provider": item["provider"],
        }
        for item, samples, warmup in zip(loaded, rounds, warmups, strict=True)
    ]


def turns(models: int, rounds: int) -> list[int]:
    """Whose turn it is: each model's once a round, in the opposite order every time.

    So a load that changes in step with the turns favours nobody over two rounds.
    """
    forwards = list(range(models))
    orders = (forwards, forwards[::-1])
    return [index for number in range(rounds) for index in orders[number % 2]]


def profile(load: Any, job: dict[str, Any]) -> list[dict[str, Any]]:
    """Every operator that the runtime ran, in its own order, with its time."""
    found = []
    for model in job["models"]:
        item = load(model, True)
        repeat(item, job["warmup"], 0.0)
        repeat(item, job["iterations"], job["seconds"])
        found.append({"nodes": operators(item["session"], job["warmup"])})
    return found


def probe(load: Any, job: dict[str, Any]) -> list[dict[str, Any]]:
    """Time each model whole and by operator, in turn with the first one.

    All of them several times over: what disturbs a machine lasts for seconds. One
    model is held at a time, so that many fit on a small device.
    """
    first, *models = job["models"]
    found: list[dict[str, Any]] = [
        {"reference_ms": [], "samples_ms": [], "nodes": []} for _ in models
    ]
    warmup_s = job["warmup_s"]
    for _ in range(job["rounds"]):
        # Loaded anew in each round: where its memory lies changes the time by percents.
        reference = load(first)
        repeat(reference, job["warmup"], warmup_s)
        before, warmup_s = timed(reference, job), 0.0
        for model, answer in zip(models, found, strict=True):
            plain, watched = load(model), load(model, True)
            answer["samples_ms"].append(timed(plain, job))
            timed(watched, job)
            after = timed(reference, job)
            answer["reference_ms"].append(before + after)
            answer["nodes"].append(operators(watched["session"], job["warmup"]))
            before = after
    return found


def timed(item: dict[str, Any], job: dict[str, Any]) -> list[float]:
    """One turn of a model, with the caches filled before."""
    repeat(item, job["warmup"], job["seconds"] / 3)
    return repeat(item, job["iterations"], job["seconds"])


def memory(load: Any, job: dict[str, Any]) -> list[dict[str, Any]]:
    """Highest resident size of loading and running, and what the run alone adds.

    Between the two, what loading freed is handed back and the peak is forgotten: a
    run would hide in both. Null where the system does not let us.
    """
    base = resident("VmHWM")
    item = load(job["models"][0])
    loading = resident("VmHWM")
    reset = trim() and forget_peak()
    before = resident("VmRSS")
    for _ in range(2):
        once(item)
    running = resident("VmHWM")
    peaks = {
        "process_peak_bytes": max(loading, running) - base,
        "run_peak_bytes": running - before if reset else None,
    }
    return [peaks]


def outputs(load: Any, job: dict[str, Any]) -> list[dict[str, Any]]:
    """What each model makes of inputs that the caller gives."""
    import numpy as np

    found = []
    for model in job["models"]:
        session = load(model)["session"]
        given = session.get_inputs()
        made = []
        for sample in job["inputs"]:
            feeds = {
                one.name: array(np, item).astype(kind_of(np, one))
                for one, item in zip(given, sample)  # noqa: B905  Python 3.9
            }
            made.append([told_array(np, item) for item in session.run(None, feeds)])
        found.append({"outputs": made})
    return found


def array(np: Any, item: dict[str, Any]) -> Any:
    """A float32 array from what was sent of it."""
    values = np.frombuffer(base64.b64decode(item["data"]), dtype="<f4")
    return values.reshape(item["shape"])


def told_array(np: Any, values: Any) -> dict[str, Any]:
    """A float32 array in what can be sent."""
    held = np.ascontiguousarray(values, dtype="<f4")
    return {
        "shape": list(held.shape),
        "data": base64.b64encode(held.tobytes()).decode(),
    }


def sustain(load: Any, job: dict[str, Any]) -> list[dict[str, Any]]:
    """Run without a pause for long: what a device takes once it is warm."""
    item = load(job["models"][0])
    minutes: list[dict[str, Any]] = []
    start = last = time.perf_counter()
    samples: list[float] = []
    while last - start < job["sustained_s"]:
        samples.append(once(item))
        now = time.perf_counter()
        if now - start >= min(60 * (len(minutes) + 1), job["sustained_s"]):
            middle = sorted(samples)[len(samples) // 2]
            minutes.append(
                {"median_ms": middle, "runs": len(samples), "after": conditions()}
            )
            samples = []
        last = now
    return minutes


def trim() -> bool:
    """Hand free memory back to the system; whether that can be done."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        return False
    return True


def forget_peak() -> bool:
    """Let the highest resident size start anew; whether that can be done."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def operators(session: Any, warmup: int) -> list[dict[str, Any]]:
    """Read a session's profile."""
    path = Path(session.end_profiling())
    events = json.loads(path.read_text())
    path.unlink()
    path.parent.rmdir()
    return operators_of(events, warmup)


def operators_of(events: list[dict[str, Any]], warmup: int) -> list[dict[str, Any]]:
    """The operators of a profile in the order of the first run.

    The mean of the quicker half: the profiler counts whole microseconds, so a single
    sample would be off by half of one.
    """
    found: dict[str, dict[str, Any]] = {}
    for event in events:
        if event["cat"] != "Node" or not event["name"].endswith("_kernel_time"):
            continue
        name, facts = event["name"][: -len("_kernel_time")], event["args"]
        first = {
            "name": name,
            "operator": facts.get("op_name", ""),
            "provider": facts.get("provider", ""),
            "read": shape_of(facts.get("input_type_shape")),
            "made": shape_of(facts.get("output_type_shape")),
            "ms": [],
        }
        found.setdefault(name, first)["ms"].append(event["dur"] / 1e3)
    for node in found.values():
        ordered = sorted(node["ms"][warmup:])
        quick = ordered[: max(1, len(ordered) // 2)]
        node["ms"] = sum(quick) / len(quick)
    return list(found.values())


def shape_of(tensors: Any) -> list[int]:
    """The shape of the first tensor in what the profiler says of several."""
    return next((shape for item in tensors or [] for shape in item.values()), [])


def resident(name: str) -> int:
    """A size of this process in bytes: VmRSS now, VmHWM the highest so far."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    for line in status.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return 0


def machine() -> dict[str, Any]:
    """Describe this device; null where it does not tell."""
    state = conditions()
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "cpu": cpu_name(),
        "cores": os.cpu_count() or 1,
        "memory_bytes": memory_bytes(),
        "governor": state["governor"],
        "frequency_mhz": state["frequency_mhz"],
        "temperature_c": state["temperature_c"],
        "features": features(),
    }


def features() -> list[str]:
    """The instructions of the processor that decide how fast a kernel is."""
    text = read("/proc/cpuinfo") or ""
    for line in text.splitlines():
        if line.startswith(("flags", "Features")):
            return [name for name in FEATURES if name in line.split(":")[1].split()]
    return []


def conditions() -> dict[str, Any]:
    """What changes this device's speed, as it is now; null where it is not told."""
    core = f"/sys/devices/system/cpu/cpu{last_core()}/cpufreq"
    zones = Path("/sys/class/thermal").glob("thermal_zone*/temp")
    warm = [scaled(str(path)) for path in zones]
    load = read("/proc/loadavg")
    return {
        "governor": read(f"{core}/scaling_governor"),
        "frequency_mhz": scaled(f"{core}/scaling_cur_freq"),
        "temperature_c": max((value for value in warm if value), default=None),
        "load": float(load.split()[0]) if load else None,
        "throttled": throttled(),
    }


def last_core() -> int:
    """A core that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(os.sched_getaffinity(0))
    return 0


def throttled() -> "bool | None":
    """Whether a Raspberry Pi is slowed down by heat or a weak supply; else null."""
    command = shutil.which("vcgencmd")
    if command is None:
        return None
    try:
        said = subprocess.run(
            [command, "get_throttled"], capture_output=True, text=True, timeout=5
        ).stdout
        return bool(int(said.partition("=")[2], 16) & 0b1111)  # now, not once before
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


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
