"""Does a sweep of 24 cells come to the same table however it is disturbed?

    pip install -e '.[test,ray]'
    python -m benchmarks.sweeps                         # a quarter of an hour

Two criteria, six budgets and two seeds, on the made-up device (its times follow from
the files alone), so that tables can be equal: once through (`--jobs 2`); killed with
SIGKILL after a third of the results, and started again; on a Ray cluster of two
machines here, one of which is taken away after a third. Writes `sweeps.json` and
`sweeps.md`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"

from benchmarks.origin import origin, taken
from edgeprune.progress import Logged
from edgeprune.sweep.run import sweep
from edgeprune.temporary import temporary_folder
from tests.made_up import FAKE

HERE = Path(__file__).parent
ROWS, TABLE = HERE / "sweeps.json", HERE / "sweeps.md"
FILE = f"""
model = "examples.nets:make_net"
data = "examples.data:make_data"
max-drop = 100
train = false
effort = "quick"
precision = "fp32"
target = "{FAKE}"
[sweep]
max-macs = ["80%", "70%", "60%", "50%", "40%", "30%"]
criterion = ["l1", "l2"]
seed = [0, 1]
"""
CELLS = 24
Row = dict[str, Any]


def main() -> None:
    """All three, and their tables beside each other."""
    rows: dict[str, Row] = {}
    with temporary_folder() as folder:
        shutil.copytree(HERE.parent / "examples", folder / "examples")
        (folder / "sweep.toml").write_text(FILE)
        os.chdir(folder)
        for name, run in (
            ("once through", _once),
            ("killed and started again", _killed),
            ("on Ray, a machine lost", _on_ray),
        ):
            began = time.perf_counter()
            noted = run(folder)
            rows[name] = {
                **noted,
                "seconds": time.perf_counter() - began,
                "table": _table_of(folder),
                **origin(),
            }
            print(name, {**rows[name], "table": len(rows[name]["table"])}, flush=True)
            shutil.rmtree(folder / "out")
            os.environ["EDGEPRUNE_CACHE"] = str(folder / f"cache after {name}")
    ROWS.write_text(json.dumps(rows, indent=1) + "\n")
    TABLE.write_text(page(rows))


def _command(*more: str) -> list[str]:
    asked = ["sweep", "sweep.toml", "--out", "out", "--quiet", *more]
    return [sys.executable, "-m", "edgeprune", *asked]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(HERE.parent)}


def _once(folder: Path) -> Row:
    command = _command("--jobs", "2")
    subprocess.run(
        command, cwd=folder, env=_environment(), check=True, capture_output=True
    )
    return {}


def _killed(folder: Path) -> Row:
    started = subprocess.Popen(
        _command("--jobs", "2"),
        cwd=folder,
        env=_environment(),
        stdout=subprocess.DEVNULL,
    )
    _when_a_third_is_there(folder, lambda: started.send_signal(signal.SIGKILL))
    started.wait()
    time.sleep(3)
    left = subprocess.run(
        ["pgrep", "-f", str(folder)], capture_output=True, text=True, check=False
    )
    there = len(_results(folder))
    _once(folder)
    return {"results at the kill": there, "processes left": len(left.stdout.split())}


def _on_ray(folder: Path) -> Row:
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    lost = cluster.add_node(num_cpus=1)
    cluster.add_node(num_cpus=1)
    noted: Row = {}

    def lose() -> None:
        cluster.remove_node(lost, allow_graceful=False)
        noted["results at the loss"] = len(_results(folder))

    watching = Thread(target=_when_a_third_is_there, args=(folder, lose), daemon=True)
    watching.start()
    try:
        sweep(folder / "sweep.toml", folder / "out", Logged(), ray=cluster.address)
    finally:
        ray.shutdown()
        cluster.shutdown()
    return noted


def _results(folder: Path) -> list[Path]:
    return list(folder.glob("out/0*/report.json"))


def _when_a_third_is_there(folder: Path, act: Callable[[], object]) -> None:
    while len(_results(folder)) < CELLS // 3:
        time.sleep(0.2)
    act()


def _table_of(folder: Path) -> list[Row]:
    """What does not depend on the clock."""
    held = json.loads((folder / "out" / "sweep.json").read_text())
    names = ("name", "status", "accuracy", "macs", "latency_ratio", "on_frontier")
    return [{name: cell[name] for name in names} for cell in held["cells"]]


def page(rows: dict[str, Row]) -> str:
    """The study as Markdown."""
    first = next(iter(rows.values()))["table"]
    lines = [
        "# A sweep of 24 cells, disturbed",
        "",
        "Written by `python -m benchmarks.sweeps`; what it does stands there.",
        "",
        "| sweep | cells | met | same table | on the frontier | noted | s | commit |",
        "|---" * 8 + "|",
    ]
    for name, row in rows.items():
        table = row["table"]
        noted = [f"{key}: {row[key]}" for key in row if " " in key]
        cells = [
            name,
            str(len(table)),
            str(sum(cell["status"] == "met" for cell in table)),
            "yes" if table == first else "no",
            str(sum(cell["on_frontier"] for cell in table)),
            ", ".join(noted),
            f"{row['seconds']:.0f}",
            row["commit"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, *taken(rows), ""])


if __name__ == "__main__":
    main()
