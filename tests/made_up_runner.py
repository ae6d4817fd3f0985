"""A program with the options and the output of ort_runner 0.7, by its source."""

import json
import os
import sys
import time
from itertools import pairwise
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime as ort

HERE = Path(__file__).parent
SYSTEM = {
    "ort_runner_version": "0.7.0",
    "onnxruntime_build": f"ORT Build Info: git-branch=rel-{ort.__version__}",
}


def main(words):
    if "--info" in words:
        print(json.dumps(SYSTEM))
        return
    given = dict(pairwise(words))
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(given["--threads"])
    if "--profile" in words:
        (HERE / "ort_profiler").mkdir(exist_ok=True)
        options.enable_profiling = True
        options.profile_file_prefix = str(HERE / "ort_profiler" / "trace")
    start = time.perf_counter()
    session = loaded(given["--model"], options)
    load_ms = (time.perf_counter() - start) * 1e3
    feeds = inputs(session, int(given["--seed"]), int(given["--default-dim"]))
    warmup = timed(session, feeds, int(given["--warmup"]))
    measured = timed(session, feeds, int(given["--iterations"]))
    trace = session.end_profiling() if "--profile" in words else None
    report = {
        "system": SYSTEM,
        "load_ms": load_ms,
        "profile_path": trace,
        "timings": {"warmup_ms": warmup, "measured_ms": measured},
        "memory": {
            "weights": {"pss_bytes": 4096},
            "working_set": {"pss_bytes": 1024},
        },
    }
    print(json.dumps(report))


def loaded(path, options):
    providers = ["CPUExecutionProvider"]
    try:
        return ort.InferenceSession(path, options, providers=providers)
    except Exception as error:  # noqa: BLE001  whatever it is, it is printed
        sys.exit(f"error: loading the model: {error}")


def inputs(session, seed, batch):
    rng = np.random.default_rng(seed)
    return {
        item.name: rng.standard_normal(
            [size if isinstance(size, int) else batch for size in item.shape]
        ).astype(np.float32)
        for item in session.get_inputs()
    }


def timed(session, feeds, count):
    found = []
    for _ in range(count):
        begun = time.perf_counter()
        session.run(None, feeds)
        found.append((time.perf_counter() - begun) * 1e3)
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
