"""The exceptions that a user may meet; each class says in one sentence what failed.

EdgepruneError
  ConfigError         A setting is missing, contradictory or out of range.
  TargetError         A target file is missing, invalid or cannot be measured.
  DataError           A data set is missing, unreadable or unfit.
  WorkloadError       A model or its weights cannot be loaded or do not fit.
  TraceError          A model cannot be traced.
  PlanError           A plan cannot be carried out on a model.
  ScoreError          A criterion cannot score this workload.
  ExportError         A model cannot be written as ONNX.
  ParityError         An exported model is not the same function as its source.
  MeasurementError    A measurement did not deliver.
    DeviceError       A device cannot be reached, or did not do what it was asked.
  OutputError         A file or folder cannot be written.
  DamagedFileError    A file that was kept for later is not what was written.
  ReportError         A report cannot be read, or two cannot be compared.
"""


class EdgepruneError(Exception):
    """Something that edgeprune refuses, said in one sentence.

    Example:
        >>> import edgeprune
        >>> try:
        ...     edgeprune.load("no/such/folder")
        ... except edgeprune.EdgepruneError as error:
        ...     print(type(error).__name__)
        WorkloadError
    """


class ConfigError(EdgepruneError):
    """A setting is missing, contradictory or out of range."""


class TargetError(EdgepruneError):
    """A target file is missing, invalid or cannot be measured."""


class DataError(EdgepruneError):
    """A data set is missing, unreadable or unfit."""


class WorkloadError(EdgepruneError):
    """A model or its weights cannot be loaded or do not fit."""


class TraceError(EdgepruneError):
    """A model cannot be traced."""


class PlanError(EdgepruneError):
    """A plan cannot be carried out on a model."""


class ScoreError(EdgepruneError):
    """A criterion cannot score this workload."""


class ExportError(EdgepruneError):
    """A model cannot be written as ONNX."""


class ParityError(EdgepruneError):
    """An exported model is not the same function as its source."""


class MeasurementError(EdgepruneError):
    """A measurement did not deliver."""


class DeviceError(MeasurementError):
    """A device cannot be reached, or did not do what it was asked.

    Attributes:
        failure: which kind of it, in one word, such as "route" or "key".
    """

    def __init__(self, failure: str, message: str) -> None:
        super().__init__(message)
        self.failure = failure


class OutputError(EdgepruneError):
    """A file or folder cannot be written."""


class DamagedFileError(EdgepruneError):
    """A file that was kept for later is not what was written."""


class ReportError(EdgepruneError):
    """A report cannot be read, or two cannot be compared."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, without its full stop."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(". ")
