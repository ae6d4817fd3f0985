"""Logs of a run for the tools that teams watch, TensorBoard and MLflow; off by default.

What a training reaches is logged epoch by epoch, the rest when the run has ended. A
tool that fails in the middle of a run is left alone: it never ends the run.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from edgeprune.errors import OutputError, first_line
from edgeprune.progress import LOGGER, Forwarding, Progress
from edgeprune.records import ModelFigures, RunReport
from edgeprune.report.summary import figures_of, models_of
from edgeprune.settings import Tracker as Name

EXPERIMENT = "edgeprune"  # of MLflow, unless the environment names another
UNUSUAL = re.compile(r"[^\w\-. /]")  # what names of metrics must not have in MLflow
LONGEST = 500  # characters of a setting


class Tracker(Protocol):
    """Where figures go."""

    def figures(self, values: Mapping[str, float], number: int) -> None:
        """Figures of one epoch or step, by name."""
        ...

    def finish(self, report: RunReport, folder: Path) -> None:
        """All that is known in the end, and the run's folder."""
        ...

    def close(self, *, finished: bool) -> None:
        """There is no more."""
        ...


class Tracked(Forwarding):
    """Shows what another shows, and hands figures to trackers."""

    def __init__(self, shown: Progress, trackers: list[Tracker]) -> None:
        super().__init__(shown)
        self._trackers, self._step = trackers, ""

    def start(self, step: str, total: int) -> None:
        """Show it."""
        self._step = step
        super().start(step, total)

    def figures(self, values: Mapping[str, float], number: int) -> None:
        """Show them, and log them by the step that they are of."""
        super().figures(values, number)
        named = {f"{self._step}/{name}": value for name, value in values.items()}
        self.tell("figures", named, number)

    def tell(self, method: str, *facts: Any, **more: Any) -> None:
        """Call all trackers; one that fails is told of nothing any more."""
        for tracker in list(self._trackers):
            try:
                getattr(tracker, method)(*facts, **more)
            except Exception as error:  # noqa: BLE001  of whatever stands behind it
                self._trackers.remove(tracker)
                kind = type(tracker).__name__
                LOGGER.warning("%s is told no more: %s", kind, first_line(error))


@contextmanager
def tracking(names: Sequence[Name], folder: Path, shown: Progress) -> Iterator[Tracked]:
    """Progress that also goes to trackers.

    Args:
        folder: of the run, whose name is theirs.

    Raises:
        OutputError: a tracker cannot begin.
    """
    made: list[Tracker] = []
    tracked, finished = Tracked(shown, made), False
    try:
        for name in names:  # those that have begun are closed if another cannot
            made.append(_begun(name, folder))  # noqa: PERF401
        yield tracked
        finished = True
    finally:
        tracked.tell("close", finished=finished)


def _begun(name: Name, folder: Path) -> Tracker:
    try:
        return MADE[name](folder)
    except Exception as error:
        message = f"--log {name} cannot begin: {first_line(error)}"
        raise OutputError(f"{message.removesuffix('.')}.") from error


class TensorBoard:
    """Events in `tensorboard/` beside the run's folder."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(folder.parent / "tensorboard" / folder.name))

    def figures(self, values: Mapping[str, float], number: int) -> None:
        """As scalars."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, number)
        self._writer.flush()

    def finish(self, report: RunReport, folder: Path) -> None:
        """Steps as scalars, the sentence as text, settings and outcome as a trial."""
        for number, values in steps_of(report):
            self.figures(values, number)
        self._writer.add_text("sentence", f"{report.sentence}\n\n{folder}")
        settings = {
            name: value if isinstance(value, bool | int | float) else str(value)
            for name, value in report.settings.items()
            if value is not None
        }
        self._writer.add_hparams(settings, outcome_of(report), run_name=".")

    def close(self, *, finished: bool) -> None:
        """What is known is written."""
        del finished
        self._writer.close()


class MLflow:
    """A run of the experiment `edgeprune`, where MLflow's own settings say."""

    def __init__(self, folder: Path) -> None:
        self._client: Any = importlib.import_module("mlflow.tracking").MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        run = self._client.create_run(self._experiment(name), run_name=folder.name)
        self._run: str = run.info.run_id

    def figures(self, values: Mapping[str, float], number: int) -> None:
        """As metrics."""
        for name, value in values.items():
            plain = UNUSUAL.sub("", name)
            self._client.log_metric(self._run, plain, value, step=number)

    def _experiment(self, name: str) -> str:
        """The experiment of that name, which another run may make just now."""
        for last in (False, True):
            known = self._client.get_experiment_by_name(name)
            if known is not None:
                return known.experiment_id
            with suppress(*(() if last else (Exception,))):
                return self._client.create_experiment(name)
        raise AssertionError  # the last try returns or raises

    def finish(self, report: RunReport, folder: Path) -> None:
        """Settings, steps, outcome, and the run's files."""
        for name, value in report.settings.items():
            if value is not None:
                self._client.log_param(self._run, name, str(value)[:LONGEST])
        for number, values in steps_of(report):
            self.figures(values, number)
        self.figures(outcome_of(report), 0)
        facts = {"status": report.status, "sentence": report.sentence}
        for name, value in {**facts, "target": report.target}.items():
            self._client.set_tag(self._run, name, value)
        for path in (folder / name for name in ("report.json", "report.html")):
            self._client.log_artifact(self._run, str(path))
        self._client.log_artifact(self._run, str(folder / report.counted.file))

    def close(self, *, finished: bool) -> None:
        """The run has ended."""
        status = "FINISHED" if finished else "FAILED"
        self._client.set_terminated(self._run, status)


MADE: dict[Name, Any] = {"tensorboard": TensorBoard, "mlflow": MLflow}


def steps_of(report: RunReport) -> Iterator[tuple[int, dict[str, float]]]:
    """The figures of each step of a run, with its number."""
    metric = report.metric
    for number, step in enumerate(report.steps):
        yield (
            number,
            {
                "steps/latency ms": step.latency_ms,
                f"steps/validation {metric.name}": step.validation_accuracy,
            },
        )


def outcome_of(report: RunReport) -> dict[str, float]:
    """The figures of the baseline and of the file that counts."""
    before, after = list(models_of(report).values())[:2]
    return {**_figures("baseline", before, report), **_figures("result", after, report)}


def _figures(what: str, model: ModelFigures, report: RunReport) -> dict[str, float]:
    shown = {"validation", "test"}
    return {
        f"{what}/{f'{name} {report.metric.name}' if name in shown else name}": value
        for name, value in figures_of(model).items()
        if value is not None
    }
