"""The settings of every command, put together from the parts that they share."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from edgeprune.errors import ConfigError
from edgeprune.settings.floor import FloorSettings
from edgeprune.settings.handover import HandoverSettings
from edgeprune.settings.option import Option, Panel, flag
from edgeprune.settings.parts import (
    BUDGET_NAMES,
    BudgetSettings,
    CriterionSettings,
    DeviceSettings,
    FileSettings,
    NetworkSettings,
    WorkloadSettings,
)
from edgeprune.settings.region import RegionSettings
from edgeprune.settings.training import StepSettings, TeacherSettings
from edgeprune.settings.values import (
    Duration,
    Effort,
    Method,
    NamedPath,
    Positive,
    Trackers,
)

MASKED: tuple[Method, ...] = ("magnitude", "l1-mask", "hybrid")


class CompressSettings(
    FileSettings,
    HandoverSettings,
    RegionSettings,
    CriterionSettings,
    TeacherSettings,
    FloorSettings,
    BudgetSettings,
    DeviceSettings,
    WorkloadSettings,
):
    """Everything that `edgeprune compress` can be told."""

    COMMAND: ClassVar[str] = "compress"

    structure: Annotated[
        Literal["solver", "pca"],
        Option(
            "Who chooses widths and blocks: solver (least measured loss within the "
            "budgets) or pca (significant dimensions of the activations).",
            Panel.SEARCH,
        ),
    ] = "solver"
    from_scratch: Annotated[
        bool,
        Option(
            "Fresh weights and one training of the new shape.",
            Panel.SEARCH,
            needs=("structure", "pca"),
            trains=True,
        ),
    ] = False
    ungrouped_proxy: Annotated[
        bool,
        Option(
            "Look at the activations of a copy with dense in place of grouped "
            "convolutions, which is trained first.",
            Panel.SEARCH,
            needs=("structure", "pca"),
            trains=True,
        ),
    ] = False
    growth: Annotated[
        Literal["no", "wider", "both"],
        Option(
            "Where the budget is not used up, widen what gains most per millisecond "
            "and train on.",
            Panel.SEARCH,
            trains=True,
            switch=("--grow", "wider"),
        ),
    ] = "no"
    low_rank: Annotated[
        Literal["no", "planner", "bayes"],
        Option(
            "Let layers be factored (Tucker, SVD) where that pays in ms: no, planner "
            "(ranks by the planner) or bayes (by variational Bayes).",
            Panel.SEARCH,
            needs=("structure", "solver"),
        ),
    ] = "no"
    effort: Annotated[
        Effort,
        Option(
            "quick: a first answer, from fewer samples, with no plan judged but by its "
            "parts, trained only if it is below the floor; normal: training is short "
            "or left out where the original's accuracy is reached without it; best: "
            "it never is.",
            Panel.TRAINING,
        ),
    ] = "normal"
    reconstruct: Annotated[
        bool,
        Option(
            "Fit each layer by least squares to what it made before; looks at no "
            "labels.",
            Panel.TRAINING,
        ),
    ] = True
    train: Annotated[bool, Option("Fine-tune in each round.", Panel.TRAINING)] = True
    sustained: Annotated[
        Duration | None,
        Option(
            "Run the result for so long on the target, such as 10m, and report each "
            "minute's median: phones slow down as they get warm.",
            Panel.HOW,
            default="it is not run for long",
            expected="a time from a second to a day is expected, such as 10m or 90s",
        ),
    ] = None

    log: Annotated[
        Trackers,
        Option(
            "Also log to tensorboard, mlflow or both, which extras of these names "
            "install: epochs as they end, steps, settings and files in the end.",
            Panel.HOW,
            default="to neither",
            expected="tensorboard, mlflow or both are expected, as tensorboard,mlflow",
        ),
    ] = ()

    def for_each_target(self) -> dict[str, CompressSettings]:
        """The settings of a run for each of several targets; empty for a single one.

        Raises:
            ConfigError: a target has no budget or two, or is there twice.
        """
        parts = self.target.split(",")
        if parts == [self.target] and "=" not in self.target:
            return {}
        found: dict[str, CompressSettings] = {}
        for part in parts:
            name, given, budget = part.rpartition("=")
            key = Path(name if given else part).stem
            if not given or self.budget_ms is not None:
                message = (
                    f"--target {part}: of several targets each has a budget of its "
                    "own, as --target pi=40 --target phone=50%, and there is no "
                    "--budget-ms."
                )
                raise ConfigError(message)
            if key in found:
                raise ConfigError(f"--target {key} is given twice.")
            own = {"target": name, "budget_ms": budget}
            found[key] = self.changed(own, f"--target {part}")
        return found

    @property
    def until_floor(self) -> bool:
        """Whether a floor alone says how far to prune."""
        given = self.has_floor or self.max_drop is not None
        return given and not self.limited and self.structure == "solver"

    def missing_budget(self) -> str:
        """Which budget has to be given, as a sentence; empty if none has to be."""
        if self.growth != "no" and self.budget_ms is None:
            return "Growth needs milliseconds to grow into: give --budget-ms."
        if self.limited or self.structure != "solver" or self.until_floor:
            return ""
        if "=" in self.target:
            return ""
        options = ", ".join(map(flag, BUDGET_NAMES))
        return (
            f"Give at least one budget, {options}; or how far accuracy may fall: "
            "--accuracy-floor or --max-drop."
        )

    def check(self) -> None:
        """Refuse what does not go together, and a run that knows no end."""
        super().check()
        if self.epochs == "auto" and self.minutes is None:
            raise ConfigError(
                "--epochs auto needs to know for how long: give --minutes."
            )
        if self.minutes is not None and self.epoch_count is not None:
            raise ConfigError("Give --minutes or a number of --epochs, not both.")
        if missing := self.missing_budget():
            raise ConfigError(missing)
        for name in self.log:
            if importlib.util.find_spec(name) is None:
                message = f"--log {name} needs {name}: pip install 'edgeprune[{name}]'"
                raise ConfigError(f"{message}.")
        if self.precision == "int8" and self.max_memory_mb is not None:
            raise ConfigError(
                "--max-memory-mb does not go with --precision int8: what such a file "
                "keeps alive cannot be counted."
            )


class FitSettings(CompressSettings):
    """Everything that `edgeprune fit` can be told: it chooses by the solver and trains.

    Groups get wider and narrower until the shape settles.
    """

    COMMAND: ClassVar[str] = "fit"
    LEFT_OUT: ClassVar[frozenset[str]] = frozenset(
        {"structure", "variance", "from_scratch", "ungrouped_proxy"}
        | {"growth", "low_rank", "reconstruct", "train"}
    )

    growth: Annotated[
        Literal["no", "wider", "both"],
        Option("Groups get wider and narrower.", Panel.SEARCH),
    ] = "both"


class SparsifySettings(FileSettings, StepSettings, FloorSettings, WorkloadSettings):
    """Everything that `edgeprune sparsify` can be told."""

    COMMAND: ClassVar[str] = "sparsify"

    method: Annotated[
        Method,
        Option(
            "magnitude (smallest weights), l1-mask (whole filters), hybrid (filters of "
            "convolutions, weights of linear layers); sparse training: slimming, "
            "prox-sg, bayesian.",
            Panel.ZEROS,
        ),
    ] = "magnitude"
    sparsity: Annotated[
        float | None,
        Field(gt=0, lt=1),
        Option(
            "Share that is to be zero, 0 to 1: of the weights with magnitude and with "
            "--regulariser weights, of the channels else.",
            Panel.ZEROS,
            default="has to be given",
            expected="a share between 0 and 1 is expected, such as 0.7",
        ),
    ] = None
    rounds: Annotated[
        int | None,
        Field(ge=1),
        Option(
            "Of masks, in equal steps, each with a training.", Panel.ZEROS, default="3"
        ),
    ] = None
    gradual: Annotated[
        bool,
        Option(
            "Masks grow along a cubic during one training, instead of rounds.",
            Panel.ZEROS,
        ),
    ] = False
    penalty: Annotated[
        Positive | None,
        Option(
            "Weight of the penalty or prior of sparse training.",
            Panel.ZEROS,
            default="found for --sparsity",
        ),
    ] = None
    regulariser: Annotated[
        Literal["channels", "weights"],
        Option(
            "What prox-sg makes zero: channels (group lasso) or weights (l1).",
            Panel.ZEROS,
        ),
    ] = "channels"
    materialise: Annotated[
        bool,
        Option(
            "Remove the channels that are zero throughout, and train again.",
            Panel.ZEROS,
        ),
    ] = False

    def check(self) -> None:
        """Refuse what does not go together when zeros are made."""
        super().check()
        masked = self.method in MASKED
        if self.sparsity is None:
            raise ConfigError(
                "Give --sparsity, the share that is to be zero, such as 0.7."
            )
        if self.epochs == "auto":
            raise ConfigError("--epochs auto goes with compress and fit only.")
        if self.gradual and not masked:
            raise ConfigError(
                f"--gradual goes with masks; --method {self.method} makes its zeros "
                "little by little anyway."
            )
        if self.rounds is not None and (self.gradual or not masked):
            raise ConfigError("--rounds goes with masks only, and without --gradual.")
        if self.penalty is not None and masked:
            raise ConfigError(f"--method {self.method} has no --penalty.")
        if self.optimizer == "muon":
            raise ConfigError("--optimizer muon goes with compress and fit only.")
        if self.regulariser == "weights" and self.method != "prox-sg":
            raise ConfigError("--regulariser goes with --method prox-sg only.")


class ProfileSettings(FileSettings, NetworkSettings):
    """Everything that `edgeprune profile` can be told."""

    COMMAND: ClassVar[str] = "profile"


class GroupsSettings(RegionSettings, ProfileSettings):
    """Everything that `edgeprune groups` can be told."""

    COMMAND: ClassVar[str] = "groups"


class ScoreSettings(CriterionSettings, DeviceSettings, WorkloadSettings):
    """Everything that `edgeprune score` can be told."""

    COMMAND: ClassVar[str] = "score"

    out: Annotated[
        NamedPath | None,
        Option("Folder of the page.", Panel.HOW, default="a new one under runs/"),
    ] = None
