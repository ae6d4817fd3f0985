"""Targets: what is the device, how is it reached, and how is it measured?

One TOML file for each device, data and no code.
"""

from edgeprune.targets.files import available, load, sources
from edgeprune.targets.schema import (
    AdbConnection,
    BrowserConnection,
    Limits,
    ProbingRecipe,
    Published,
    Runtime,
    SshConnection,
    Target,
    TimingRecipe,
    VerdictRecipe,
)

__all__ = [
    "AdbConnection",
    "BrowserConnection",
    "Limits",
    "ProbingRecipe",
    "Published",
    "Runtime",
    "SshConnection",
    "Target",
    "TimingRecipe",
    "VerdictRecipe",
    "available",
    "load",
    "sources",
]
