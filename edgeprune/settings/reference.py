"""The reference page of all settings, made from their declarations.

`python -m edgeprune.settings.reference` prints it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from edgeprune.settings.load import COMMANDS
from edgeprune.settings.option import Option, Panel, SettingsModel, flag

HEAD = """# Settings

Made by `python -m edgeprune.settings.reference` from the declarations in
`edgeprune/settings/`; a test compares the two.

All settings can be put in `edgeprune.toml` in the current folder, which may hold those
of every command; the command line wins. From Python they are keywords, with
underscores; where the name in the file and in Python is another one, it stands in
brackets.
"""


def reference_page() -> str:
    """The page as Markdown."""
    return "\n".join([HEAD, *_panels()])


def _panels() -> Iterator[str]:
    """A table for each heading, with the commands that take each setting."""
    for panel in Panel:
        rows = list(_rows(panel))
        if rows:
            yield f"## {panel.value}\n"
            yield "| setting | takes | without it | commands |\n|---|---|---|---|"
            yield from rows
            yield ""


def _rows(panel: Panel) -> Iterator[str]:
    """One row for each setting under a heading, in the order of the commands."""
    seen: dict[str, tuple[type[SettingsModel], Option]] = {}
    for command in COMMANDS:
        for name, option in command.options().items():
            if option.panel is panel:
                seen.setdefault(name, (command, option))
    for name, (command, option) in seen.items():
        takers = [item.COMMAND for item in COMMANDS if name in item.options()]
        shown = f"`{flag(name)}`"
        if option.switch:  # a name of its own on the command line alone
            shown = f"`{option.switch[0]}`"
            if option.switch[0] != flag(name):
                shown += f" (`{name}` elsewhere)"
        needs = ""
        if option.needs:
            needs = f" Goes with `{flag(option.needs[0])} {option.needs[1]}` only."
        default = command.default_text(name) or "not limited"
        yield (f"| {shown} | {option.help}{needs} | {default} | {', '.join(takers)} |")


if __name__ == "__main__":
    sys.stdout.write(reference_page())
