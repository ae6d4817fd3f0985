"""Load and validate target profiles: one TOML file per device, data and no code.

A target says what the device is, how to reach it, which runtime and precisions it
uses and what its limits are.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from edgeprune.errors import TargetError
from edgeprune.settings import StrictModel

Precision = Literal["fp32", "fp16", "int8"]
Seconds = Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)]


class Runtime(StrictModel):
    """How a model is run there.

    Attributes:
        optimization: ONNX Runtime's graph optimisation level.
    """

    engine: Literal["onnxruntime"]
    provider: str
    threads: Annotated[int, Field(ge=1, le=1024)]
    optimization: Literal[
        "ORT_DISABLE_ALL",
        "ORT_ENABLE_BASIC",
        "ORT_ENABLE_EXTENDED",
        "ORT_ENABLE_LAYOUT",
        "ORT_ENABLE_ALL",
    ] = "ORT_ENABLE_ALL"
    precisions: tuple[Precision, ...] = ("fp32",)


class TimingRecipe(StrictModel):
    """How one model is timed: at least so many runs and so many seconds."""

    warmup: Annotated[int, Field(ge=0, le=10_000)] = 5
    warmup_s: Seconds = 0.3
    iterations: Annotated[int, Field(ge=1, le=100_000)] = 10
    seconds: Seconds = 0.2
    rounds: Annotated[int, Field(ge=1, le=1000)] = 6


class ProbingRecipe(TimingRecipe):
    """How a latency table is measured: briefly, on many networks.

    Attributes:
        networks: that the table is fitted to, at most.
    """

    warmup: Annotated[int, Field(ge=0, le=10_000)] = 1
    iterations: Annotated[int, Field(ge=1, le=100_000)] = 3
    seconds: Seconds = 0.04
    rounds: Annotated[int, Field(ge=1, le=1000)] = 3
    networks: Annotated[int, Field(ge=4, le=10_000)] = 24


class Limits(StrictModel):
    """The limits of the device; None is unknown."""

    memory_mb: Annotated[float, Field(gt=0)] | None = None
    file_mb: Annotated[float, Field(gt=0)] | None = None


class Published(StrictModel):
    """A reference timing that somebody published; never a measurement of ours."""

    model: str
    latency_ms: Annotated[float, Field(gt=0)]
    runtime: str
    threads: Annotated[int, Field(ge=1, le=1024)]
    source: str


class Target(StrictModel):
    """One device profile.

    Attributes:
        runner: how to reach it: `host` is this machine, `fake` a made-up device for
            tests, and `none` one that is not connected, on which nothing can be
            measured.
    """

    name: str
    description: str
    runner: Literal["host", "fake", "none"]
    runtime: Runtime
    timing: TimingRecipe = TimingRecipe()
    probing: ProbingRecipe = ProbingRecipe()
    limits: Limits = Limits()
    published: tuple[Published, ...] = ()


def load(name: str) -> Target:
    """A target by the name of a shipped profile or the path of a TOML file.

    Raises:
        TargetError: there is none of that name, or the file is not a target.
    """
    path = _find(name)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TargetError(
            f"Target file {str(path)!r} cannot be read: {error}."
        ) from error
    try:
        return Target.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise TargetError(f"Target file {path} is not TOML: {error}.") from error
    except ValidationError as error:
        raise TargetError(_explain(path, text, error)) from error


def available() -> tuple[str, ...]:
    """Names of the shipped profiles."""
    return tuple(sorted(path.stem for path in _folder().glob("*.toml")))


def _folder() -> Path:
    packaged = Path(__file__).parent / "_targets"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "targets"


def _find(name: str) -> Path:
    if name.endswith(".toml"):
        return Path(name)
    path = _folder() / f"{name}.toml"
    if not path.is_file():
        choices = ", ".join(available())
        message = (
            f"Unknown target {name!r}: choose one of {choices}, or give the path of a "
            ".toml file."
        )
        raise TargetError(message)
    return path


def _explain(path: Path, text: str, error: ValidationError) -> str:
    """One sentence with the line of the first fault."""
    fault = error.errors()[0]
    keys = [str(key) for key in fault["loc"]]
    where = ".".join(keys)
    what = fault["msg"][0].lower() + fault["msg"][1:]
    found = "" if fault["type"] == "missing" else f", found {fault['input']!r}"
    return f"{path}:{_line(text, keys)}: {where}: {what}{found}."


def _line(text: str, keys: list[str]) -> int:
    """The line of a key, or of the innermost table that should hold it."""
    lines = text.splitlines()
    at = 0
    for depth, key in enumerate(keys):
        table = re.compile(rf"\s*\[+\s*{re.escape('.'.join(keys[: depth + 1]))}\s*\]+")
        entry = re.compile(rf"\s*{re.escape(key)}\s*=")
        for number in range(at, len(lines)):
            if table.match(lines[number]) or entry.match(lines[number]):
                at = number
                break
    return at + 1
