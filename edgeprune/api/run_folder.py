"""Writes a run's files into its folder: all of them or none."""

from __future__ import annotations

import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from itertools import chain, count, islice
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgeprune.data import Splits, TensorBatches
from edgeprune.errors import DamagedFileError, OutputError
from edgeprune.export.checkpoint import (
    PROGRAM_FILE,
    checkpoint_files,
    exported_program,
    saved_plan,
)
from edgeprune.files import cache_folder, locked, write_whole
from edgeprune.graph.forward import evaluating
from edgeprune.handover.beside import ort_files, raw_images
from edgeprune.handover.write import TOLERANCE, Delivered, handover
from edgeprune.output import claimed, is_free
from edgeprune.pipeline import Job, Outcome
from edgeprune.records import Plan, RunReport, SparsityReport, Surgery
from edgeprune.report.files import JSON_NAME, read_report, write_report
from edgeprune.report.sparsity import write_sparsity
from edgeprune.settings import CompressSettings, SettingsModel, SparsifySettings
from edgeprune.sparse import SparseJob, SparseOutcome
from edgeprune.temporary import temporary_folder
from edgeprune.tensor_file import fingerprint, read_tensors, write_tensors
from edgeprune.workload import Workload

TEST_FILE_LIMIT = 64_000_000  # bytes; larger test splits are not written to the run
WHERE = {"out", "log"}  # settings that say where results go
# Settings that change no round: what is written where, and times of what rounds made.
BESIDE = WHERE | {"pt2", "measurements", "input_format", "ort"}
ANSWERS = "answers.safetensors"  # of the network that kept rounds began with
LOOKED_AT, ANSWERED = 16, 8  # training batches, validation samples: tell runs apart
ALIKE = 1e-3  # of answers: what threads and their order change is far less
MODEL_FILE, INT8_FILE = "model.onnx", "model.int8.onnx"


def run_folder(out: Path | None, name: str) -> Path:
    """Where a run of some model belongs: where it was told, or a new folder."""
    if out is not None:
        return out
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    plain = re.sub(r"\W+", "-", name).strip("-")
    folder = Path("runs") / f"{plain}-{stamp}"
    others = (folder.with_name(f"{folder.name}-{number}") for number in count(2))
    return next(path for path in chain([folder], others) if is_free(path))


def result_in(
    folder: Path,
    settings: CompressSettings,
    *but: str,
    begun: Mapping[str, object] | None = None,
) -> RunReport | None:
    """The report of a run with these settings that has ended in a folder.

    Args:
        but: settings that are not compared.
        begun: settings as they were asked for, where a report may call them otherwise.

    Raises:
        OutputError: it was one with others.
    """
    if not (folder / JSON_NAME).is_file():
        return None
    report = read_report(folder)
    asked = settings.model_dump(mode="json", exclude={*WHERE, *but})
    held = {
        **type(settings)().model_dump(mode="json"),
        **report.settings,
        **(begun or {}),
    }
    if other := [name for name in asked if held.get(name) != asked[name]]:
        message = f"{folder} holds a run with another {other[0]}"
        raise OutputError(f"{message}: give --out another folder.")
    return report


@dataclass
class Unfinished:
    """Where the rounds of a run are kept until it is finished.

    Attributes:
        goes_on: it ends without being finished: the same run takes them up later.
    """

    folder: Path
    goes_on: bool = False


@contextmanager
def reserved(
    folder: Path, workload: Workload, settings: SettingsModel
) -> Iterator[tuple[Path, Unfinished]]:
    """Claim a run's folder; yield where it works, and where it keeps what it resumes.

    Raises:
        OutputError: the folder is another run's, or cannot be written.
    """
    with (
        claimed(folder),
        temporary_folder() as work,
        unfinished(workload, settings) as kept,
    ):
        yield work, kept


@contextmanager
def unfinished(workload: Workload, settings: SettingsModel) -> Iterator[Unfinished]:
    """Where the rounds and trainings of a run are kept until it is finished.

    The same run, started again, finds them: it is told by its settings, the weights
    that it starts from, its data, and what the network answers, which its code decides.
    They are locked meanwhile: a second run of the same kind has a folder of its own.
    """
    asked = settings.model_dump_json(exclude=BESIDE)
    facts = f"{version('edgeprune')} {workload.name} {asked}"
    told = {**workload.model.state_dict(), **_of_data(workload.data)}
    digest = fingerprint(told, facts)
    answers = _answers(workload)
    place = cache_folder() / "unfinished"
    for number in count(1):
        folder = place / f"{digest[:16]}-{number}"
        lock = locked(f"unfinished {folder.name}")
        if lock is None:
            continue
        with lock:
            _keep_answers(folder, answers)
            kept = Unfinished(folder)
            try:
                yield kept
            except BaseException:
                kept.goes_on = any(path.name != ANSWERS for path in folder.glob("*"))
                raise
            finally:
                if not kept.goes_on:
                    shutil.rmtree(folder, ignore_errors=True)
        return


def _of_data(data: Splits) -> dict[str, torch.Tensor]:
    """What tells data from others: all that is in memory, else some training batches.

    All of the validation split, too: candidates are chosen by it.
    """
    held = data.calibration
    if isinstance(held, TensorBatches):
        pairs = [(held.x, held.y)]
    else:
        pairs = list(islice(held, LOOKED_AT))
    found = {"data: sizes": torch.tensor(data.sizes)}
    for number, pair in enumerate(chain(pairs, data.validation)):
        for name, value in zip("xy", pair, strict=True):
            content = value.detach().cpu().contiguous().numpy().data
            found[f"data: {name} {number}"] = torch.tensor(zlib.crc32(content))
    return found


def _answers(workload: Workload) -> torch.Tensor:
    """What the network answers to some samples; nothing where it fails on them."""
    x, _ = next(iter(workload.data.validation))
    try:
        with evaluating(workload.model), torch.no_grad():
            return workload.model(x[:ANSWERED]).double()
    except Exception:  # noqa: BLE001  of the user's code, which its check will tell
        return torch.zeros(0)


def _keep_answers(folder: Path, answers: torch.Tensor) -> None:
    """Begin anew where kept rounds are of a network that answers otherwise.

    Compared, not hashed: a machine's last digits depend on its threads.
    """
    path = folder / ANSWERS
    with suppress(OSError, DamagedFileError):
        before, _ = read_tensors(path)
        known = before["answers"]
        alike = known.shape == answers.shape
        if alike and torch.allclose(known, answers, ALIKE, ALIKE, equal_nan=True):
            return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(path, {"answers": answers})


def write_run(outcome: Outcome, job: Job, report: RunReport, folder: Path) -> None:
    """Write all files of a run."""
    exported = outcome.baseline.exported.path.read_bytes()
    write_whole(folder / "baseline.onnx", exported)
    result = outcome.result.exported
    write_whole(folder / MODEL_FILE, result.path.read_bytes())
    if outcome.int8.figures is not None:
        content = result.path.with_name(outcome.int8.figures.file).read_bytes()
        write_whole(folder / INT8_FILE, content)
    surgery = job.workload.surgery.then(outcome.result.surgery)
    plans = outcome.result.plans
    changed = surgery, plans
    _write_module(result.model, job.workload, changed, job.settings, folder)
    _write_test_split(job.workload.data, folder / "test.npz")
    _write_handover(job, report, folder)
    write_report(report, folder)


def _write_handover(job: Job, report: RunReport, folder: Path) -> None:
    """What whoever builds the deployed file into a product needs."""
    counted = report.counted
    in_int8 = counted is report.int8
    delivered = Delivered(
        path=folder / (INT8_FILE if in_int8 else MODEL_FILE),
        name=INT8_FILE if in_int8 else MODEL_FILE,
        precision=counted.precision,
        target=report.target,
        ms=counted.latency_ms,
        runtime=counted.timing.runtime,
        accuracy=counted.test_accuracy,
    )
    place, data = folder / "handover", job.workload.data
    others = []
    if job.settings.input_format == "uint8":
        tolerance = TOLERANCE[delivered.precision]
        others.append(raw_images(delivered.path, data, job.runner, tolerance))
    if job.settings.ort:
        others += ort_files(delivered.path, _architecture(job))
    for name, content in handover(delivered, data, others).items():
        write_whole(place / name, content)


def _architecture(job: Job) -> str:
    """Of the target's processor; empty where nobody is there to tell."""
    return "" if job.runner.estimates else job.runner.device.machine.architecture


def write_sparse_run(
    outcome: SparseOutcome, job: SparseJob, report: SparsityReport, folder: Path
) -> None:
    """The same of a run that made zeros."""
    names = ("baseline.onnx", "sparse.onnx", "smaller.onnx")
    for item, name in zip(outcome.files, names, strict=False):
        write_whole(folder / name, item.path.read_bytes())
    result = outcome.files[-1]
    write_whole(folder / MODEL_FILE, result.path.read_bytes())
    surgery = job.workload.surgery.then(outcome.surgery)
    plans = (outcome.removed,) if outcome.removed else ()
    changed = surgery, plans
    _write_module(result.model, job.workload, changed, job.settings, folder)
    write_sparsity(report, folder)


def _write_module(
    model: nn.Module,
    workload: Workload,
    changed: tuple[Surgery, Sequence[Plan]],
    settings: CompressSettings | SparsifySettings,
    folder: Path,
) -> None:
    """The files that bring a PyTorch module back."""
    saved = saved_plan(workload.name, settings.num_classes, *changed)
    files = checkpoint_files(model, saved)
    if settings.pt2:
        files[PROGRAM_FILE] = exported_program(model, workload.inputs)
    for name, content in files.items():
        write_whole(folder / name, content)


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
