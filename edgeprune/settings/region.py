"""Settings that say which part of a network may change."""

from __future__ import annotations

from typing import Annotated

from edgeprune.settings.option import Option, Panel, SettingsModel
from edgeprune.settings.values import Patterns


class RegionSettings(SettingsModel):
    """Which part of the network may change."""

    only: Annotated[
        Patterns | None,
        Option(
            "Paths of modules, such as backbone or blocks.*.conv1: nothing else gets "
            "narrower or is left out.",
            Panel.SEARCH,
            default="everything",
        ),
    ] = None
    keep: Annotated[
        Patterns | None,
        Option(
            "Paths of modules, such as head: these stay as they are, but for the "
            "inputs that they lose with the layers before them.",
            Panel.SEARCH,
            default="nothing",
        ),
    ] = None
