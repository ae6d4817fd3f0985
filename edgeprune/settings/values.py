"""How values are written: counts with suffixes, shapes, shares, lists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from edgeprune.errors import ConfigError

Augmented = Literal["crop", "rotate", "flip"]  # a change of an image in training
ALL_AUGMENTATIONS: tuple[Augmented, ...] = get_args(Augmented)
Tracker = Literal["tensorboard", "mlflow"]
Optimizer = Literal["sgd", "adamw", "muon"]
Precision = Literal["fp32", "int8", "auto"]
Effort = Literal["quick", "normal", "best"]
Method = Literal["magnitude", "l1-mask", "hybrid", "slimming", "prox-sg", "bayesian"]

DAY_S = 86_400
LENGTHS = {"": 1, "s": 1, "m": 60, "h": 3600}
SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def parse_count(value: object) -> object:
    """Read `60M` as 60000000; numbers pass."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*([-+]?[\d._]+)\s*([kmg]?)\s*", value.lower())
    try:
        return round(float(found[1]) * SUFFIXES[found[2]]) if found else value
    except ValueError:
        return value


def parse_shape(value: object) -> object:
    """Read `3x64x64` as (3, 64, 64); sequences pass."""
    if not isinstance(value, str):
        return value
    parts = value.lower().replace(",", "x").split("x")
    return tuple(int(part) if part.strip().isdigit() else part for part in parts)


def parse_input(value: object) -> object:
    """Read `image=3x64x64,meta=8` as shapes by name, `3x64x64` as one shape."""
    if not isinstance(value, str) or "=" not in value:
        return parse_shape(value)
    pairs = [part.partition("=") for part in value.split(",")]
    named = {name.strip(): parse_shape(shape) for name, _, shape in pairs}
    if len(named) < len(pairs) or not all(named):
        raise PydanticCustomError("names", "Each input has a name of its own")
    return named


def parse_list(value: object) -> object:
    """Read `0.5,0.4` as its parts; sequences pass."""
    return tuple(value.split(",")) if isinstance(value, str) else value


def parse_augment(value: object) -> object:
    """Read `crop,flip` as both, `none` as neither, `auto` as the data's own choice."""
    if not isinstance(value, str):
        return value
    named: dict[str, tuple[str, ...] | None] = {"auto": None, "none": ()}
    return named[value] if value in named else parse_list(value)


def parse_path(value: object) -> object:
    """Refuse an empty name, which `Path` would take for the current folder."""
    if isinstance(value, str) and not value.strip():
        raise PydanticCustomError("empty", "A name is expected")
    return value


def parse_patterns(value: object) -> object:
    """Read `backbone,neck.*` as its parts; a list passes."""
    if not isinstance(value, str):
        return value
    found = tuple(part.strip() for part in value.split(",") if part.strip())
    if not found:
        raise PydanticCustomError("empty", "Paths of modules are expected")
    return found


def parse_duration(value: object) -> object:
    """Read `10m`, `90s` or `1h` as seconds; numbers pass."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", value.lower())
    return float(found[1]) * LENGTHS[found[2]] if found else value


def duration(text: str) -> float:
    """Read `10m` as 600 seconds.

    Raises:
        ConfigError: it is no time from a second to a day.
    """
    found = parse_duration(text)
    if not isinstance(found, float) or not 1 <= found <= DAY_S:
        message = f"A time such as 10m or 90s is expected, found {text!r}."
        raise ConfigError(message)
    return found


def shapes_of(text: str) -> tuple[int, ...] | dict[str, tuple[int, ...]]:
    """Read `3x64x64` as (3, 64, 64), `image=3x64x64,meta=8` as shapes by name.

    Raises:
        ConfigError: it is no shape.
    """
    try:
        return TypeAdapter[Any](InputShapes).validate_python(text)
    except ValidationError as error:
        message = f"A shape such as 3x64x64 is expected, found {text!r}."
        raise ConfigError(message) from error


def parse_share(text: str) -> float:
    """Read `5%` or `0.05` as 0.05.

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
InputShapes = Annotated[Shape | dict[str, Shape], BeforeValidator(parse_input)]
NamedPath = Annotated[Path, BeforeValidator(parse_path)]
Patterns = Annotated[
    tuple[str, ...], BeforeValidator(parse_patterns), Field(min_length=1)
]
Numbers = Annotated[tuple[float, ...], BeforeValidator(parse_list)]
Augment = Annotated[tuple[Augmented, ...] | None, BeforeValidator(parse_augment)]
Trackers = Annotated[tuple[Tracker, ...], BeforeValidator(parse_list)]
Positive = Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)]
Duration = Annotated[
    float, BeforeValidator(parse_duration), Field(ge=1, le=DAY_S, allow_inf_nan=False)
]
Percent = Annotated[str, Field(pattern=r"^0*[1-9]\d*(\.\d+)?%$|^0*\.\d*[1-9]\d*%$")]
