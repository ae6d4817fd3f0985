"""What a run leaves in its folder: all of it or nothing."""

from __future__ import annotations

import platform
import re
import tempfile
from datetime import datetime
from importlib.metadata import version
from itertools import chain, count
from pathlib import Path

import numpy as np

from edgeprune.config import Settings
from edgeprune.data import Splits
from edgeprune.export.checkpoint import (
    PROGRAM_FILE,
    checkpoint_files,
    exported_program,
    saved_plan,
)
from edgeprune.files import publish, write_whole
from edgeprune.pipeline import Job, Outcome
from edgeprune.records import RunReport
from edgeprune.report.files import write_report
from edgeprune.workload import Workload

TEST_FILE_LIMIT = 64_000_000  # bytes; larger test splits are not written to the run
PACKAGES = ("torch", "onnx", "onnxruntime", "numpy")
MODEL_FILE, INT8_FILE = "model.onnx", "model.int8.onnx"


def run_folder(out: Path | None, name: str) -> Path:
    """Where a run of some model belongs: where it was told, or a new folder."""
    if out is not None:
        return out
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    plain = re.sub(r"\W+", "-", name).strip("-")
    folder = Path("runs") / f"{plain}-{stamp}"
    others = (folder.with_name(f"{folder.name}-{number}") for number in count(2))
    return next(path for path in chain([folder], others) if not path.exists())


def write_run(
    outcome: Outcome, job: Job, report: RunReport, folder: Path, *, asked: Settings
) -> None:
    """All files of a run: written aside first, so that none is there without others."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".edgeprune-") as held:
        aside = Path(held)
        exported = outcome.baseline.exported.path.read_bytes()
        write_whole(aside / "baseline.onnx", exported)
        result = outcome.result.exported.path
        write_whole(aside / MODEL_FILE, result.read_bytes())
        if outcome.int8.figures is not None:
            content = result.with_name(outcome.int8.figures.file).read_bytes()
            write_whole(aside / INT8_FILE, content)
        for name, content in _checkpoint(outcome, job.workload, asked).items():
            write_whole(aside / name, content)
        _write_test_split(job.workload.data, aside / "test.npz")
        write_report(report, aside)
        publish(aside, folder)


def _checkpoint(
    outcome: Outcome, workload: Workload, settings: Settings
) -> dict[str, bytes]:
    """The files that bring the PyTorch module back."""
    result = outcome.result
    surgery = workload.surgery.then(result.surgery)
    saved = saved_plan(workload.name, settings.num_classes, surgery, result.plans)
    files = checkpoint_files(result.exported.model, saved)
    if settings.pt2:
        program = exported_program(result.exported.model, workload.inputs)
        files[PROGRAM_FILE] = program
    return files


def _write_test_split(splits: Splits, path: Path) -> None:
    """The test split as the model takes it, so that ONNX Runtime alone can check it."""
    held = list(splits.test)
    x = np.concatenate([batch[0].numpy() for batch in held])
    if x.nbytes > TEST_FILE_LIMIT:
        return
    y = np.concatenate([batch[1].numpy() for batch in held])
    with tempfile.TemporaryFile() as file:
        np.savez_compressed(file, x=x, y=y)
        file.seek(0)
        write_whole(path, file.read())


def versions() -> dict[str, str]:
    """What a result was made with."""
    return {
        "edgeprune": version("edgeprune"),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }
