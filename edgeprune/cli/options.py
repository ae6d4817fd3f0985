"""The options of the command line, made from the settings that a command has.

What belongs to the command line alone, as how a result is printed, is declared here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Union

import typer

from edgeprune.errors import WorkloadError
from edgeprune.settings import Option, Panel, SettingsModel, flag, kinds_of


def _switch(name: str, text: str) -> Any:
    """A flag that says how something is done or shown."""
    return typer.Option(name, help=text, rich_help_panel=Panel.HOW.value)


AsJson = Annotated[bool, _switch("--json", "Print JSON instead of tables.")]
AsLines = Annotated[
    bool,
    _switch(
        "--json-lines",
        "A JSON object a line for each step and what comes of it, for machines.",
    ),
]
Quiet = Annotated[bool, _switch("--quiet", "Plain lines, no bars.")]
Reach = Annotated[
    bool,
    _switch(
        "--reach", "Measure the latency table and show how fast pruning can make it."
    ),
]
Timed = Annotated[
    bool, _switch("--timed", "Measure on the target what each refusal costs in ms.")
]
Command = Callable[..., None]


def with_options(settings: type[SettingsModel]) -> Callable[[Command], Command]:
    """Give a command an option for each of its settings.

    The command's first parameter receives what was given, by field; None was not.
    """

    def decorated(command: Command) -> Command:
        first, *own = inspect.signature(command).parameters.values()

        @wraps(command)
        def called(**values: Any) -> None:
            given = {name: values.pop(name) for name in settings.options()}
            try:
                command(**{first.name: _switched(settings, given)}, **values)
            except SystemExit as ended:  # ours are typer's: this is the user's code
                message = (
                    f"Code of the model or the data called sys.exit({ended.code})."
                )
                raise WorkloadError(message) from ended

        options = [_parameter(settings, name) for name in settings.options()]
        hints = inspect.get_annotations(command, eval_str=True)
        own = [item.replace(annotation=hints[item.name]) for item in own]
        signature = inspect.Signature([*options, *own])
        called.__annotations__ = {
            name: item.annotation for name, item in signature.parameters.items()
        }
        called.__signature__ = signature  # type: ignore[attr-defined]
        return called

    return decorated


def _parameter(settings: type[SettingsModel], name: str) -> inspect.Parameter:
    option, kind = settings.options()[name], _kind(settings, name)
    named = "PATH" if kind is Path else None
    if option.many:
        kind = list[str]
    kind = str if named else kind  # a Path would take an empty name for the folder here
    info = typer.Option(
        _flags(settings, name, option),
        metavar=named,
        help=option.help,
        rich_help_panel=option.panel.value,
        show_default=settings.default_text(name) or False,
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[Union[kind, None], info],  # noqa: UP007  kind is a value
    )


def _flags(settings: type[SettingsModel], name: str, option: Option) -> str:
    if option.switch:
        return option.switch[0]
    if settings.model_fields[name].default is True:
        return f"{flag(name)}/{flag('no_' + name)}"
    return flag(name)


def _kind(settings: type[SettingsModel], name: str) -> type:
    """Choose the type that typer parses; text wherever pydantic parses better."""
    if settings.options()[name].switch:
        return bool
    kinds = kinds_of(settings.model_fields[name].annotation)
    known = (bool, int, float, Path)
    return next(
        (kind for kind in known if kinds == {kind}),
        str,
    )


def _switched(settings: type[SettingsModel], given: dict[str, Any]) -> dict[str, Any]:
    """Flags that stand for one of several values as that value, lists as a text."""
    for name, option in settings.options().items():
        if option.switch:
            given[name] = option.switch[1] if given[name] else None
        elif option.many and given[name] is not None:
            given[name] = ",".join(given[name]) or None
    return given
