"""Any record as JSON text, and back."""

from __future__ import annotations

from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

Record = TypeVar("Record")
SAID = {  # faults whose own words speak of a program, not of a file
    "extra_forbidden": "there is no such key",
    "missing": "it is missing",
    "json_invalid": "it is not JSON",
    "dataclass_type": "a table is expected",
    "model_type": "a table is expected",
}


def to_json(record: object, *, indent: int | None = 2) -> str:
    """A record as JSON text."""
    return TypeAdapter(type(record)).dump_json(record, indent=indent).decode()


def from_values(kind: type[Record], values: object) -> Record:
    """A record from what JSON has been read to; ValidationError if it does not fit."""
    return TypeAdapter(kind).validate_python(values)


def from_json(kind: type[Record], text: str | bytes) -> Record:
    """A record from JSON text; pydantic's ValidationError if it does not fit."""
    return TypeAdapter(kind).validate_json(text)


def fault_text(error: ValidationError) -> str:
    """The first fault of content that does not fit: where, what, and what stands there.

    Without a full stop; how many others there are is said, too.
    """
    faults = error.errors()
    fault = faults[0]
    where = ".".join(str(key) for key in fault["loc"])
    words = SAID.get(fault["type"], fault["msg"][0].lower() + fault["msg"][1:])
    plain = isinstance(fault["input"], str | int | float | bool)
    shown = plain and fault["type"] not in SAID
    found = f", found {fault['input']!r}" if shown else ""
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f"{where}{': ' if where else ''}{words}{found}{more}"
