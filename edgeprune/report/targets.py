"""Targets in a terminal: the list, one file, an address to open."""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from edgeprune import targets
from edgeprune.errors import TargetError
from edgeprune.targets import Target


def show_targets(console: Console) -> None:
    """All targets by name: what they are, how they are reached, where they stand."""
    table = Table(box=None, pad_edge=False)
    for title in ("target", "transport", "what", "file"):
        table.add_column(title, overflow="fold")
    for name, path in targets.available().items():
        try:
            target = targets.load(name)
            row = (target.transport, target.description)
        except TargetError as error:
            row = ("-", f"not valid: {error}")
        shipped = path.parent == targets.sources()[-1]
        table.add_row(name, *row, "shipped" if shipped else str(path))
    console.print(table)


def show_target(console: Console, target: Target) -> None:
    """A target as TOML, with all that its base and the defaults say."""
    held = target.model_dump(exclude_none=True, exclude={"base"})
    others = {"ssh", "browser", "adb"} - {target.transport}
    for name in others:
        held.pop(name)
    console.print(as_toml(held), markup=False, highlight=False, soft_wrap=True)


def as_toml(held: dict[str, Any]) -> str:
    """A target's values as TOML: tables one deep, and lists of them."""
    plain = [f"{key} = {_value(item)}" for key, item in held.items() if _plain(item)]
    for key, item in held.items():
        if isinstance(item, dict):
            plain += ["", f"[{key}]"]
            plain += [f"{name} = {_value(value)}" for name, value in item.items()]
        elif not _plain(item):
            for entry in item:
                plain += ["", f"[[{key}]]"]
                plain += [f"{name} = {_value(value)}" for name, value in entry.items()]
    return "\n".join(plain)


def _plain(item: Any) -> bool:
    tables = isinstance(item, list | tuple) and any(isinstance(at, dict) for at in item)
    return not isinstance(item, dict) and not tables


def _value(item: Any) -> str:
    if isinstance(item, list | tuple):
        return f"[{', '.join(map(_value, item))}]"
    if isinstance(item, str):
        escaped = item.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(item)


def show_address(address: str) -> None:
    """An address, and the same as a code for a phone's camera."""
    import segno

    out = sys.stdout
    segno.make(address, error="l").terminal(out=out, border=2, compact=True)
    out.write(f"Open on the device: {address}\n")
    if urlsplit(address).hostname == "127.0.0.1":
        out.write(
            "It is for this machine alone: --lan lets phones in this network open it, "
            "--adb a phone on a cable.\n"
        )
    out.write("Ctrl-C ends it. Runs with this target find it by themselves.\n")
    out.flush()
