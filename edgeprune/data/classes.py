"""Which output of the network each class folder is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt, TypeAdapter, ValidationError

from edgeprune.data.splits import Reading
from edgeprune.errors import DataError

LARGEST = 2**24  # bytes of a file of names
Output = Annotated[int, Field(ge=0, strict=True)]
NamesOfOutput = Mapping[NonNegativeInt, str | list[str]]
FORMS: TypeAdapter[list[str] | dict[str, int] | NamesOfOutput] = TypeAdapter(
    list[str] | dict[str, Output] | NamesOfOutput
)


def read_classes(path: Path) -> dict[str, int]:
    """Class names and the outputs that they are, from a JSON file.

    Three forms are common: the names in the order of the outputs; an object from name
    to output; an object from output to name, or to several names of one class.

    Raises:
        DataError: the file cannot be read, has another form or gives a name twice.
    """
    what = f"--classes {str(path)!r}"
    try:
        if path.stat().st_size > LARGEST:
            raise DataError(f"{what} is too large for a list of class names.")
        content = FORMS.validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{what} cannot be read: {error.strerror}.") from error
    except (ValidationError, RecursionError) as error:
        message = f"{what} must be JSON that says which output each class is: a list of"
        raise DataError(
            f"{message} names in the order of the outputs, {{name: output}} or "
            "{output: name}."
        ) from error
    found: dict[str, int] = {}
    for name, output in _pairs(content):
        if found.setdefault(name, output) != output:
            raise DataError(f"{what} gives {name!r} two outputs.")
    return found


def _pairs(
    content: list[str] | dict[str, int] | NamesOfOutput,
) -> Iterator[tuple[str, int]]:
    """Each name with its output."""
    if isinstance(content, list):
        content = dict(enumerate(content))
    for key, value in content.items():
        if isinstance(value, int):
            yield str(key), value
        else:
            names = [value] if isinstance(value, str) else value
            yield from ((name, int(key)) for name in names)


def number_folders(root: Path, folders: Sequence[str], reading: Reading) -> list[int]:
    """The output of each class folder: as told, by its name, or else by their order.

    Raises:
        DataError: a folder that has no output.
    """
    outputs = reading.classes
    if outputs is None:
        names = reading.names or {}
        named = all(name in names for name in folders)
        return [names[name] if named else at for at, name in enumerate(folders)]
    unknown = [name for name in folders if name not in outputs]
    if unknown:
        count = f"{len(unknown)} of {len(folders)}"
        message = f"--classes has no output for {count} class folders of {str(root)!r}"
        raise DataError(f"{message}, such as {unknown[0]!r}.")
    return [outputs[name] for name in folders]
