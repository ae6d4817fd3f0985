"""From the command line or Python to what is wrong with an ONNX file."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from edgeprune import targets
from edgeprune.devices.runner import runner_for
from edgeprune.doctor.examine import examine
from edgeprune.errors import MeasurementError
from edgeprune.metric import ACCURACY, Metric
from edgeprune.onnx_files.shapes import Sample
from edgeprune.records import FileCheck
from edgeprune.settings import DataSettings


def check_file(
    file: str | Path,
    *,
    target: str = "host",
    sample: Sample | None = None,
    max_ms: float | None = None,
    min_accuracy: float | None = None,
    data: DataSettings | None = None,
) -> FileCheck:
    """Say what is wrong with an ONNX file on a target, what it costs and what helps.

    Args:
        sample: shape of a sample, such as (3, 640, 640), where the file leaves it open;
            by name where there are several inputs.
        max_ms: more is a blocker.
        min_accuracy: less is a blocker, 0..1.
        data: whose test split the accuracy is taken of.

    Raises:
        TargetError: there is no such target.
        MeasurementError: it is no ONNX file.
        DataError: the data cannot be read.

    Example:
        >>> import edgeprune
        >>> found = edgeprune.check_file("runs/first/model.onnx")
        >>> found.passed, found.opset
        (True, 18)
    """
    path = Path(file)
    if not path.is_file():
        raise MeasurementError(f"There is no file {path}.")
    held = targets.load(target)
    accuracy, metric = None, ACCURACY
    if data is not None and data.data is not None:
        accuracy, metric = _accuracy(path, data, sample)
    with closing(runner_for(held)) as runner:
        return examine(
            path,
            runner,
            sample=sample,
            accuracy=accuracy,
            metric=metric,
            max_ms=max_ms,
            min_accuracy=min_accuracy,
        )


def _accuracy(
    path: Path, settings: DataSettings, sample: Sample | None
) -> tuple[float, Metric]:
    """Of the test split; needs torch, which takes seconds to import."""
    from edgeprune.api.loading import accuracy_of_file

    return accuracy_of_file(
        path, settings, sample if isinstance(sample, tuple) else None
    )
