"""Any record as JSON text, and back."""

from __future__ import annotations

from typing import TypeVar

from pydantic import TypeAdapter

Record = TypeVar("Record")


def to_json(record: object, *, indent: int | None = 2) -> str:
    """A record as JSON text."""
    return TypeAdapter(type(record)).dump_json(record, indent=indent).decode()


def from_values(kind: type[Record], values: object) -> Record:
    """A record from what JSON has been read to; ValidationError if it does not fit."""
    return TypeAdapter(kind).validate_python(values)


def from_json(kind: type[Record], text: str | bytes) -> Record:
    """A record from JSON text; pydantic's ValidationError if it does not fit."""
    return TypeAdapter(kind).validate_json(text)
