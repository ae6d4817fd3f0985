"""A run's settings: `edgeprune.toml` below the command line, validated once, here."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from edgeprune.errors import ConfigError
from edgeprune.records import Budget, Change, Costs, Optimizer

FILE = "edgeprune.toml"
BUDGETS = ("budget_ms", "max_macs", "max_params", "max_size_mb", "max_memory_mb")
SHARED = "or a share of the original's, such as 50%"
HINTS = {
    "budget_ms": f"milliseconds greater than 0 are expected, such as 20, {SHARED}",
    "max_size_mb": f"a number greater than 0 is expected, such as 2.5, {SHARED}",
    "max_memory_mb": f"a number greater than 0 is expected, such as 2.5, {SHARED}",
    "accuracy_floor": "a share from 0 to 1 is expected, such as 0.92",
    "max_macs": f"a count greater than 0 is expected, such as 60M, {SHARED}",
    "max_params": f"a count greater than 0 is expected, such as 1.2M, {SHARED}",
    "input": "a shape is expected, such as 3x224x224",
    "sparsity": "a share between 0 and 1 is expected, such as 0.7",
    "epochs": "a whole number or auto is expected",
    "augment": "auto, none or some of crop, rotate, flip are expected, as crop,flip",
}
MEGABYTE = 1_000_000
DEFAULT_DROP = 2.0  # points below the baseline
Method = Literal["magnitude", "l1-mask", "hybrid", "slimming", "prox-sg", "bayesian"]
MASKED: tuple[Method, ...] = ("magnitude", "l1-mask", "hybrid")
SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def parse_count(value: object) -> object:
    """`60M` is 60000000; numbers pass."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*([-+]?[\d._]+)\s*([kmg]?)\s*", value.lower())
    try:
        return round(float(found[1]) * SUFFIXES[found[2]]) if found else value
    except ValueError:
        return value


def parse_shape(value: object) -> object:
    """`3x64x64` is (3, 64, 64); sequences pass."""
    if not isinstance(value, str):
        return value
    parts = value.lower().replace(",", "x").split("x")
    return tuple(int(part) if part.strip().isdigit() else part for part in parts)


def parse_numbers(value: object) -> object:
    """`0.5,0.4` is (0.5, 0.4); sequences pass."""
    return tuple(value.split(",")) if isinstance(value, str) else value


def parse_changes(value: object) -> object:
    """`crop,flip` is both, `none` neither, and `auto` leaves it to the data."""
    if not isinstance(value, str):
        return value
    named: dict[str, tuple[str, ...] | None] = {"auto": None, "none": ()}
    return named[value] if value in named else tuple(value.split(","))


def parse_share(text: str) -> float:
    """`5%` or `0.05` as 0.05.

    Raises:
        ConfigError: neither.
    """
    number, percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError as error:
        raise ConfigError(f"Expected a share such as 5%, found {text!r}.") from error
    if not 0 <= share <= 1:
        raise ConfigError(f"A share lies between 0% and 100%, found {text!r}.")
    return share


Count = Annotated[int, BeforeValidator(parse_count), Field(gt=0)]
Shape = Annotated[
    tuple[Annotated[int, Field(gt=0)], ...],
    BeforeValidator(parse_shape),
    Field(min_length=1),
]
Numbers = Annotated[tuple[float, ...], BeforeValidator(parse_numbers)]
Changes = Annotated[tuple[Change, ...] | None, BeforeValidator(parse_changes)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Percent = Annotated[str, Field(pattern=r"^0*[1-9]\d*(\.\d+)?%$|^0*\.\d*[1-9]\d*%$")]


class Settings(BaseModel):
    """Everything that a run can be told. None leaves the choice to edgeprune."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = None
    weights: Path | None = None
    num_classes: Annotated[int, Field(ge=2)] | None = None
    data: str | None = None
    input: Shape | None = None
    batch: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=2)] = 64
    mean: Numbers | None = None
    std: Numbers | None = None
    target: str = "host"
    precision: Literal["fp32", "int8"] = "fp32"
    budget_ms: Positive | Percent | None = None
    max_macs: Count | Percent | None = None
    max_params: Count | Percent | None = None
    max_size_mb: Positive | Percent | None = None
    max_memory_mb: Positive | Percent | None = None
    accuracy_floor: Annotated[float, Field(ge=0, le=1)] | None = None
    max_drop: Annotated[float, Field(ge=0, le=100)] | None = None
    criterion: str = "l1"
    structure: Literal["solver", "pca"] = "solver"
    variance: Annotated[float, Field(gt=0, le=1)] | None = None
    from_scratch: bool = False
    ungrouped_proxy: bool = False
    growth: Literal["no", "wider", "both"] = "no"
    low_rank: Literal["no", "planner", "bayes"] = "no"
    method: Method = "magnitude"
    sparsity: Annotated[float, Field(gt=0, lt=1)] | None = None
    rounds: Annotated[int, Field(ge=1)] | None = None
    gradual: bool = False
    penalty: Positive | None = None
    regulariser: Literal["channels", "weights"] = "channels"
    optimizer: Optimizer | None = None
    average: Annotated[float, Field(ge=0, le=0.5)] | None = None
    distil: Literal["logits", "features", "no"] = "features"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    augment: Changes = None
    self_supervised: Literal["no", "inpaint"] = "no"
    inpaint_weight: Positive | None = None
    stop_at_floor: bool = False
    materialise: bool = False
    reconstruct: bool = True
    train: bool = True
    epochs: Annotated[int, Field(ge=0)] | Literal["auto"] | None = None
    minutes: Positive | None = None
    learning_rate: Positive = 0.02
    dynamic_batch: bool = False
    pt2: bool = False
    seed: Annotated[int, Field(ge=0)] = 0
    out: Path | None = None

    def budget(self, costs: Costs) -> Budget:
        """The upper limits; shares are of what the original costs."""
        return Budget(
            latency_ms=_limit(self.budget_ms, costs.latency_ms),
            macs=_whole(self.max_macs, costs.macs),
            params=_whole(self.max_params, costs.params),
            size_bytes=_whole(self.max_size_mb, costs.size_bytes, MEGABYTE),
            memory_bytes=_whole(self.max_memory_mb, costs.memory_bytes, MEGABYTE),
        )

    @property
    def limited(self) -> bool:
        """Whether there is any budget."""
        return any(getattr(self, name) is not None for name in BUDGETS)

    @property
    def until_floor(self) -> bool:
        """Whether a floor alone says how far to prune."""
        given = self.accuracy_floor is not None or self.max_drop is not None
        return given and not self.limited and self.structure == "solver"

    def floor(self, baseline_accuracy: float) -> float:
        """The lowest validation accuracy that is accepted, 0..1."""
        if self.accuracy_floor is not None:
            return self.accuracy_floor
        drop = DEFAULT_DROP if self.max_drop is None else self.max_drop
        return max(0.0, baseline_accuracy - drop / 100)


def option(name: str) -> str:
    """A setting as the command line calls it."""
    return f"--{name.replace('_', '-')}"


def _limit(given: float | str | None, whole: float, unit: int = 1) -> float | None:
    """A limit in its unit, or as a share of the whole."""
    if isinstance(given, str):
        return float(given.removesuffix("%")) / 100 * whole
    return None if given is None else given * unit


def _whole(given: float | str | None, whole: float, unit: int = 1) -> int | None:
    limit = _limit(given, whole, unit)
    return None if limit is None else round(limit)


def load_settings(given: dict[str, Any], folder: Path) -> Settings:
    """Settings of `edgeprune.toml` in a folder, overridden by what is given.

    Args:
        given: from the command line; None is not given.

    Raises:
        ConfigError: which setting, what was found and what is expected.
    """
    path = folder / FILE
    held = _read(path) if path.is_file() else {}
    said = {key: value for key, value in given.items() if value is not None}
    if "accuracy_floor" in said:
        held.pop("max_drop", None)
    if "max_drop" in said:
        held.pop("accuracy_floor", None)
    if said.get("train") is False:
        held.pop("epochs", None)
    return parse_settings({**held, **said}, set(said), path)


def check_training(settings: Settings) -> None:
    """Refuse what does not go together when nothing is trained.

    Raises:
        ConfigError: which setting.
    """
    if settings.train:
        _check_recipe(settings)
        return
    trained = {
        "--epochs": settings.epochs,
        "--minutes": settings.minutes,
        "--self-supervised": settings.self_supervised != "no",
        "--stop-at-floor": settings.stop_at_floor,
        "--from-scratch": settings.from_scratch,
        "--ungrouped-proxy": settings.ungrouped_proxy,
        "growth": settings.growth != "no",
    }
    for name, asked in trained.items():
        if asked:
            raise ConfigError(f"--no-train does not go with {name}, which trains.")


def _check_recipe(settings: Settings) -> None:
    """Refuse what does not go together in training."""
    if settings.epochs == "auto" and settings.minutes is None:
        raise ConfigError("--epochs auto needs to know for how long: give --minutes.")
    if settings.minutes is not None and settings.epochs not in (None, "auto"):
        raise ConfigError("Give --minutes or a number of --epochs, not both.")
    if settings.inpaint_weight is not None and settings.self_supervised == "no":
        raise ConfigError("--inpaint-weight goes with --self-supervised inpaint only.")
    if settings.label_smoothing and settings.distil != "no":
        raise ConfigError(
            "--label-smoothing goes with --distil no only: it would blur what the "
            "original teaches."
        )


def check_structure(settings: Settings) -> None:
    """Refuse what does not go together when widths are chosen.

    Raises:
        ConfigError: which setting.
    """
    check_training(settings)
    if lacking := lacking_budget(settings):
        raise ConfigError(lacking)
    if settings.precision == "int8" and settings.max_memory_mb is not None:
        raise ConfigError(
            "--max-memory-mb does not go with --precision int8: what such a file keeps "
            "alive cannot be counted."
        )
    if settings.structure == "pca":
        if settings.low_rank != "no":
            raise ConfigError("--low-rank goes with --structure solver only.")
        return
    for name in ("variance", "from_scratch", "ungrouped_proxy"):
        if getattr(settings, name):
            raise ConfigError(f"{option(name)} goes with --structure pca only.")


def lacking_budget(settings: Settings) -> str:
    """Which budget has to be given, as a sentence; empty if none."""
    unlimited = not settings.limited and settings.structure == "solver"
    if settings.growth != "no" and settings.budget_ms is None:
        return "Growth needs milliseconds to grow into: give --budget-ms."
    if unlimited and not settings.until_floor:
        options = ", ".join(map(option, BUDGETS))
        return (
            f"Give at least one budget, {options}; or how far accuracy may fall: "
            "--accuracy-floor or --max-drop."
        )
    return ""


def check_sparsity(settings: Settings) -> None:
    """Refuse what does not go together when zeros are made.

    Raises:
        ConfigError: which setting.
    """
    if settings.sparsity is None:
        raise ConfigError("Give --sparsity, the share that is to be zero, such as 0.7.")
    if settings.epochs == "auto":
        raise ConfigError("--epochs auto goes with compress and fit only.")
    masked = settings.method in MASKED
    if settings.gradual and not masked:
        raise ConfigError(
            f"--gradual goes with masks; --method {settings.method} makes its zeros "
            "little by little anyway."
        )
    if settings.rounds is not None and (settings.gradual or not masked):
        raise ConfigError("--rounds goes with masks only, and without --gradual.")
    if settings.penalty is not None and masked:
        raise ConfigError(f"--method {settings.method} has no --penalty.")
    if settings.optimizer == "muon":
        raise ConfigError("--optimizer muon goes with compress and fit only.")
    if settings.regulariser == "weights" and settings.method != "prox-sg":
        raise ConfigError("--regulariser goes with --method prox-sg only.")


def parse_settings(values: dict[str, Any], said: set[str], path: Path) -> Settings:
    """Validate; the first fault becomes one sentence that names its origin.

    Raises:
        ConfigError: that sentence.
    """
    settings = _validated(values, said, path)
    if settings.accuracy_floor is not None and settings.max_drop is not None:
        raise ConfigError("Give --accuracy-floor or --max-drop, not both.")
    if (settings.mean is None) != (settings.std is None):
        raise ConfigError("Give --mean and --std together.")
    return settings


def _validated(values: dict[str, Any], said: set[str], path: Path) -> Settings:
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        name = str(fault["loc"][0])
        origin = option(name) if name in said else f"{name!r} in {path}"
        if fault["type"] == "extra_forbidden":
            choices = ", ".join(sorted(Settings.model_fields))
            message = f"Unknown setting {origin}: choose from {choices}."
            raise ConfigError(message) from error
        expected = HINTS.get(name) or fault["msg"][0].lower() + fault["msg"][1:]
        message = f"{origin}: {expected}, found {values.get(name)!r}."
        raise ConfigError(message) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        held = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from error
    return {key.replace("-", "_"): value for key, value in held.items()}
