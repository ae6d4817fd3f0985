"""Targets in a terminal: the list, one file, an address to open."""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from edgeprune import targets
from edgeprune.errors import TargetError
from edgeprune.records import Device, DeviceCheck, Measurements
from edgeprune.targets import Target
from edgeprune.units import milliseconds


def show_targets(console: Console) -> None:
    """All targets by name: what they are, how they are reached, where they stand."""
    table = Table(box=None, pad_edge=False)
    table.add_column("target", no_wrap=True)
    table.add_column("transport", no_wrap=True)
    table.add_column("what", overflow="fold")
    own: list[str] = []
    for name, path in targets.available().items():
        if path.parent.resolve() != targets.sources()[-1].resolve():
            own.append(f"{name}: {path}")
        try:
            target = targets.load(name)
        except TargetError:
            table.add_row(name, "-", "not valid: `edgeprune targets show` says why")
            continue
        table.add_row(name, target.transport, target.description)
    console.print(table)
    if own:
        console.print("\nFiles of yours:", highlight=False)
    for line in own:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def show_target(console: Console, target: Target) -> None:
    """A target as TOML, with all that its base and the defaults say."""
    held = target.model_dump(exclude_none=True, exclude={"base"})
    others = {"ssh", "browser", "adb"} - {target.transport}
    for name in others:
        held.pop(name)
    console.print(as_toml(held), markup=False, highlight=False, soft_wrap=True)


def as_toml(held: dict[str, Any]) -> str:
    """A target's values as TOML: tables one deep, and lists of them."""
    plain = [
        f"{key} = {_value(item)}"
        for key, item in held.items()
        if _plain(item) and item not in ((), [])
    ]
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
    """An address, and the same as a code for the camera of a phone that can open it."""
    import segno

    out = sys.stdout
    alone = urlsplit(address).hostname == "127.0.0.1"
    if not alone:  # a phone could not open it
        segno.make(address, error="l").terminal(out=out, border=2, compact=True)
    out.write(f"Open on the device: {address}\n")
    if alone:
        out.write(
            "It is for this machine alone: --lan lets phones in this network open it, "
            "--adb a phone on a cable.\n"
        )
    out.write("Ctrl-C ends it. Runs with this target find it by themselves.\n")
    out.flush()


def show_check(console: Console, check: DeviceCheck) -> None:
    """What a device is and what is wrong with it, a line each."""

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    say(f"{check.target} ({check.transport}), checked in {check.seconds:.1f} s")
    if check.device is not None:
        for line in _described(check.device):
            say(f"  {line}")
    if check.provider is not None:
        say(f"  a small network runs, by {check.provider}")
    for warning in check.warnings:
        say(f"  note: {warning}")
    cannot = f"It cannot be measured. {check.problem}"
    say("It can be measured." if check.usable else cannot)


def _described(device: Device) -> list[str]:
    machine, state = device.machine, device.conditions
    memory = machine.memory_bytes
    facts = [
        f"{machine.cpu or 'an unknown processor'}, {machine.architecture}, "
        f"{machine.cores} cores" + (f", {memory / 2**30:.1f} GiB" if memory else ""),
        machine.system,
        f"{device.runtime}; providers: {', '.join(device.providers)}",
    ]
    if machine.features:
        facts.append(f"instructions: {', '.join(machine.features)}")
    known = {
        "temperature": state.temperature_c and f"{state.temperature_c:.0f} degrees",
        "clock": state.frequency_mhz and f"{state.frequency_mhz:.0f} MHz",
        "governor": state.governor,
        "load": None if state.load is None else f"{state.load:.2f}",
        "battery": state.battery_percent and f"{state.battery_percent:.0f} %",
    }
    told = [f"{name} {value}" for name, value in known.items() if value]
    return [*facts, ", ".join(told)] if told else facts


def show_measurements(console: Console, found: Measurements) -> None:
    """A table of files, the first one as the measure of the others."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("file", overflow="fold")
    for title in ("median", "p90", "spread", "share of the first"):
        table.add_column(title, justify="right")
    for item in found.files:
        summary = item.summary
        table.add_row(
            item.file,
            milliseconds(item.median_ms),
            "-" if summary is None else milliseconds(summary.p90_ms),
            "-" if summary is None else f"{summary.spread:.1%}",
            "-" if item.ratio is None else f"{item.ratio:.1%}",
        )
    console.print(table)
    for item in found.files:
        for warning in item.summary.warnings if item.summary else ():
            note = f"note: {item.file}: {warning}"
            console.print(note, highlight=False, markup=False, soft_wrap=True)
    if found.sustained is not None:
        last = found.files[-1].file
        console.print(f"{last} {found.sustained.text}", highlight=False, soft_wrap=True)
    first = found.files[0].timing
    if first is not None:
        console.print(
            f"{found.target}: {first.machine.cpu or 'unknown processor'}, "
            f"{first.runtime}, {first.provider}, {first.threads} thread(s), "
            f"{first.processes} process(es)",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
