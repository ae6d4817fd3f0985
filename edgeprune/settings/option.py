"""Describes a setting: all that a command line and a page must know about it.

It stands in the annotation of the field, so that help, bounds, default and the things
that a setting does not go with are declared once, in one place.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    Self,
    Union,
    get_args,
    get_origin,
)

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from edgeprune.errors import ConfigError


class Panel(StrEnum):
    """The headings of help and of the reference page, in their order."""

    MODEL = "What it is"
    BUDGETS = "Budgets, any number together"
    ACCURACY = "Accuracy"
    SEARCH = "How channels and layers are chosen"
    ZEROS = "Zeros"
    TRAINING = "Training"
    HOW = "How"


@dataclass(frozen=True, slots=True)
class Option:
    """How a setting is shown and what it goes with.

    Attributes:
        help: one sentence, with the unit where there is one.
        panel: the heading that it stands under.
        default: what is done where it is missing, if the field's own default, None,
            does not say it.
        expected: what is said where a value is not of the kind; pydantic's text if
            empty.
        needs: another setting and the value that it must have.
        because: why, for the sentence that says so.
        trains: it asks for training, so that it does not go with --no-train.
        many: it may be given several times; settings hold them with commas between.
        switch: the flag of the command line and the value that it stands for, where
            one of several values is all that can be asked for there.
    """

    help: str
    panel: Panel
    default: str = ""
    expected: str = ""
    needs: tuple[str, str] | None = None
    because: str = ""
    trains: bool = False
    many: bool = False
    switch: tuple[str, str] | None = None


class StrictModel(BaseModel):
    """Refuses true and false where a number is expected; pydantic reads 1 and 0."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean(cls, value: object, info: ValidationInfo) -> object:
        assert info.field_name is not None  # of a field
        kinds = kinds_of(cls.model_fields[info.field_name].annotation)
        parts = value if isinstance(value, list | tuple) else [value]
        if bool not in kinds and any(isinstance(part, bool) for part in parts):
            raise PydanticCustomError("boolean", "True and false are no values for it")
        return value


def kinds_of(annotation: Any) -> set[Any]:
    """The types that an annotation admits, without None and bounds."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return kinds_of(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return {kind for item in get_args(annotation) for kind in kinds_of(item)}
    if origin is Literal:
        return {str}
    return set() if annotation is type(None) else {annotation}


class SettingsModel(StrictModel):
    """Settings of one command. None leaves the choice to edgeprune."""

    COMMAND: ClassVar[str] = ""
    LEFT_OUT: ClassVar[frozenset[str]] = frozenset()  # fields that it cannot be told

    @classmethod
    def options(cls) -> Mapping[str, Option]:
        """The options by field, in the order in which help shows them."""
        options = {
            name: next(item for item in field.metadata if isinstance(item, Option))
            for name, field in cls.model_fields.items()
            if name not in cls.LEFT_OUT
        }
        panels = list(Panel)
        names = sorted(options, key=lambda name: panels.index(options[name].panel))
        return {name: options[name] for name in names}

    @classmethod
    def default_text(cls, name: str) -> str:
        """Say in words what is done where a setting is missing."""
        option, default = cls.options()[name], cls.model_fields[name].default
        if option.default or default is None:
            return option.default
        if isinstance(default, bool):
            return "yes" if default else "no"
        return str(default)

    def changed(self, values: Mapping[str, object], what: str) -> Self:
        """The same with other values, which are checked.

        Args:
            what: was given, for the message.

        Raises:
            ConfigError: a value is not of its kind.
        """
        try:
            return type(self).model_validate({**self.model_dump(), **values})
        except ValidationError as error:
            fault = error.errors()[0]
            found = f"found {fault['input']!r}"
            raise ConfigError(f"{what}: {fault['msg']}, {found}.") from error

    def asked_for(self, name: str) -> bool:
        """Whether a setting asks for more than happens without it."""
        value: Any = getattr(self, name)
        return value not in (None, False, 0, "no")

    def check(self) -> None:
        """Refuse settings that do not go together.

        Raises:
            ConfigError: which ones, in one sentence.
        """
        asked = {
            name: option
            for name, option in type(self).options().items()
            if self.asked_for(name)
        }
        for name, option in asked.items():
            if option.trains and not getattr(self, "train", True):
                raise ConfigError(
                    f"--no-train does not go with {flag(name)}, which trains."
                )
        for name, option in asked.items():
            other, value = option.needs or ("", None)
            if getattr(self, other, value) != value:
                reason = f": {option.because}" if option.because else ""
                raise ConfigError(
                    f"{flag(name)} goes with {flag(other)} {value} only{reason}."
                )


def flag(name: str) -> str:
    """A setting as the command line calls it."""
    return f"--{name.replace('_', '-')}"
