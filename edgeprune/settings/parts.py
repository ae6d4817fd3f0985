"""Settings that commands share, each declared once.

A field holds its type with bounds, its default, and an `Option` with all that help,
error messages and the reference page say of it. `commands` puts the parts together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from edgeprune.errors import ConfigError
from edgeprune.settings.option import Option, Panel, SettingsModel
from edgeprune.settings.values import (
    Count,
    InputShapes,
    NamedPath,
    Numbers,
    Percent,
    Positive,
    Precision,
)

SHARE = "or a share of the original's, such as 50%"
BUDGET_NAMES = (
    "budget_ms",
    "max_macs",
    "max_params",
    "max_size_mb",
    "max_memory_mb",
)
DEFAULT_CRITERION = "l1"
CRITERIA_HELP = (
    "How the channels of a group are ranked, such as l1, taylor, obd or pls_vip; an "
    "unknown name lists them all. Two, as l1,obd: the second looks only "
    "at the channels near the cut."
)


MOST_SEED = 2**32 - 1  # NumPy's old generators take no more


class SeedSettings(SettingsModel):
    """The seed of everything random."""

    seed: Annotated[
        int, Field(ge=0, le=MOST_SEED), Option("Seed of all randomness.", Panel.HOW)
    ] = 0


class NetworkSettings(SeedSettings):
    """Which network, and what it is given."""

    model: Annotated[
        str | None,
        Option(
            "torchvision:NAME, timm:NAME, package.module:factory or an ONNX file.",
            Panel.MODEL,
            default="the embedded meter reader, without --data too",
        ),
    ] = None
    weights: Annotated[
        NamedPath | None,
        Option(
            ".pt or .pth with a state dict, .safetensors, or the folder of a run to go "
            "on from; never unpickled.",
            Panel.MODEL,
            default="as the factory makes them",
        ),
    ] = None
    num_classes: Annotated[
        int | None,
        Field(ge=2),
        Option("Outputs of the model.", Panel.MODEL, default="the factory's own"),
    ] = None
    input: Annotated[
        InputShapes | None,
        Option(
            "Shape of one sample, such as 3x224x224; of several inputs with the names "
            "that forward has for them, such as image=3x224x224,lens=4.",
            Panel.MODEL,
            default="that of the data",
            expected="a shape is expected, such as 3x224x224",
        ),
    ] = None
    export_output: Annotated[
        str | None,
        Option(
            "The module whose outputs the file ends with, such as head of a detector; "
            "what comes behind it is run where outputs are judged.",
            Panel.MODEL,
            default="the whole network",
        ),
    ] = None
    batch: Annotated[
        int | None,
        Field(ge=1),
        Option(
            "Samples in one call of the exported model.",
            Panel.MODEL,
            default="1, and 8 for the embedded example",
        ),
    ] = None

    @property
    def sample_shape(self) -> tuple[int, ...] | None:
        """The shape of the only input, where it is told."""
        return None if isinstance(self.input, dict) else self.input

    @property
    def named_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shapes of several inputs by name, where they are told."""
        return self.input if isinstance(self.input, dict) else {}


class DataSettings(SettingsModel):
    """Which data, and how they are brought to what the network takes."""

    data: Annotated[
        str | None,
        Option(
            "digits, a folder of images by class or with masks or boxes, an .npz file, "
            "torchvision:NAME@ROOT, package.module:factory, or noise (none at all).",
            Panel.MODEL,
            default="digits, without --model too",
        ),
    ] = None
    mean: Annotated[
        Numbers | None,
        Option(
            "Per channel, such as 0.49,0.48,0.45: inputs (bytes as 0..1) are brought "
            "to (x - mean) / std.",
            Panel.MODEL,
            default="by the kind of data",
        ),
    ] = None
    std: Annotated[
        Numbers | None,
        Option("Per channel, see --mean.", Panel.MODEL, default="by the kind of data"),
    ] = None
    classes: Annotated[
        NamedPath | None,
        Option(
            "A JSON file that says which output each class folder is: the names in the "
            "order of the outputs, {name: output} or {output: name}.",
            Panel.MODEL,
            default="class folders in alphabetical order",
        ),
    ] = None
    task: Annotated[
        str,
        Option(
            "What the network is for: classification, multilabel, segmentation, "
            "detection, keypoints, sequence, image, embedding, regression, agreement "
            "(with the original, without labels) or package.module:make_task.",
            Panel.MODEL,
            default="as outputs and targets look",
        ),
    ] = "auto"
    batch_size: Annotated[
        int,
        Field(ge=2),
        Option("Samples that are read at a time, in training too.", Panel.MODEL),
    ] = 64

    def check(self) -> None:
        """Refuse a mean without a standard deviation."""
        super().check()
        if (self.mean is None) != (self.std is None):
            raise ConfigError("Give --mean and --std together.")


class WorkloadSettings(DataSettings, NetworkSettings):
    """Which network, and which data."""

    @property
    def example(self) -> bool:
        """Whether it is the embedded example."""
        return self.model is None and self.data in (None, "digits")

    def check_sources(self) -> None:
        """Refuse a network without data, data without a network, and no such weights.

        Raises:
            ConfigError: what is missing.
        """
        if self.model is None and not self.example:
            raise ConfigError(f"--data {self.data} needs a model: give --model.")
        if self.model is not None and self.data is None:
            raise ConfigError(f"--model {self.model} needs data: give --data.")
        if self.weights is not None and not self.weights.exists():
            raise ConfigError(f"Weights file {str(self.weights)!r} does not exist.")


class DeviceSettings(SettingsModel):
    """Where networks run while nothing is timed."""

    device: Annotated[
        str,
        Option(
            "Where networks are scored, judged, fitted and trained: auto (an "
            "accelerator where there is one), cpu, cuda, cuda:1, mps. Times are "
            "always taken on --target.",
            Panel.HOW,
        ),
    ] = "auto"


class TargetSettings(SeedSettings):
    """Where times are measured."""

    target: Annotated[
        str,
        Option(
            "A target by its name, or a .toml file; for compress several, each with a "
            "budget: --target pi=40 --target phone=12, in ms or as 50%.",
            Panel.HOW,
            many=True,
        ),
    ] = "host"
    allow_estimate: Annotated[
        bool,
        Option(
            "Where the target cannot be reached, go by times that were published or "
            "measured there before; all figures then say that they are estimated.",
            Panel.HOW,
        ),
    ] = False
    measurements: Annotated[
        NamedPath | None,
        Option(
            "Times of files that you took on the target yourself, from `edgeprune "
            "measure`: what is not among them is estimated.",
            Panel.HOW,
            default="the target itself is asked",
        ),
    ] = None


class FileSettings(TargetSettings):
    """Which files are written, and where."""

    dynamic_batch: Annotated[
        bool, Option("Leave the batch axis of the exported model open.", Panel.HOW)
    ] = False
    pt2: Annotated[
        bool,
        Option(
            "Write the module as a torch.export archive, model.pt2, too.", Panel.HOW
        ),
    ] = False
    out: Annotated[
        NamedPath | None,
        Option("Folder of the run.", Panel.HOW, default="a new one under runs/"),
    ] = None


class CriterionSettings(SettingsModel):
    """How channels are ranked."""

    criterion: Annotated[str, Option(CRITERIA_HELP, Panel.SEARCH)] = DEFAULT_CRITERION
    variance: Annotated[
        float | None,
        Field(gt=0, le=1),
        Option(
            "Share of the variance, 0 to 1, that principal components are to explain.",
            Panel.SEARCH,
            default="0.999, or the largest that fits the budgets",
            needs=("structure", "pca"),
        ),
    ] = None


class BudgetSettings(SettingsModel):
    """The budgets of the result."""

    budget_ms: Annotated[
        Positive | Percent | None,
        Option(
            "Median latency on the target in milliseconds; or, as for all budgets, a "
            "share of the original's, such as 50%.",
            Panel.BUDGETS,
            expected=f"milliseconds greater than 0 are expected, such as 20, {SHARE}",
        ),
    ] = None
    max_macs: Annotated[
        Count | Percent | None,
        Option(
            "Multiply-accumulates of one call, such as 60M.",
            Panel.BUDGETS,
            expected=f"a count greater than 0 is expected, such as 60M, {SHARE}",
        ),
    ] = None
    max_params: Annotated[
        Count | Percent | None,
        Option(
            "Parameters, such as 1.2M.",
            Panel.BUDGETS,
            expected=f"a count greater than 0 is expected, such as 1.2M, {SHARE}",
        ),
    ] = None
    max_size_mb: Annotated[
        Positive | Percent | None,
        Option(
            "Size of the ONNX file in megabytes (10^6 bytes).",
            Panel.BUDGETS,
            expected=f"a number greater than 0 is expected, such as 2.5, {SHARE}",
        ),
    ] = None
    max_memory_mb: Annotated[
        Positive | Percent | None,
        Option(
            "Activations that are alive at once, in megabytes (10^6 bytes).",
            Panel.BUDGETS,
            expected=f"a number greater than 0 is expected, such as 2.5, {SHARE}",
        ),
    ] = None
    precision: Annotated[
        Precision,
        Option(
            "The file that budgets and floor are about: fp32; int8, which is often "
            "twice as fast, so that less has to be pruned; or auto: int8 where it is "
            "faster on the target and loses less than a point, and fp32 where not.",
            Panel.BUDGETS,
        ),
    ] = "auto"

    @property
    def limited(self) -> bool:
        """Whether there is any budget."""
        return any(getattr(self, name) is not None for name in BUDGET_NAMES)
