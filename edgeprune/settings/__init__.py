"""Settings: each declared once, with its help, bounds, default and what it goes with.

Command line, `edgeprune.toml`, the checks of Python calls and the reference page are
all made from these declarations. Add a setting: a field in `parts`, `training` or
`commands`, and its place of use.
"""

from edgeprune.settings.commands import (
    MASKED,
    CompressSettings,
    FitSettings,
    GroupsSettings,
    ProfileSettings,
    ScoreSettings,
    SparsifySettings,
)
from edgeprune.settings.floor import FLOORS, FloorSettings
from edgeprune.settings.load import (
    COMMANDS,
    FILE,
    load_settings,
    read_toml,
    settings_of_call,
)
from edgeprune.settings.option import (
    Option,
    Panel,
    SettingsModel,
    StrictModel,
    flag,
    kinds_of,
)
from edgeprune.settings.parts import (
    BUDGET_NAMES,
    DEFAULT_CRITERION,
    BudgetSettings,
    DataSettings,
    NetworkSettings,
    WorkloadSettings,
)
from edgeprune.settings.values import (
    ALL_AUGMENTATIONS,
    Augmented,
    Effort,
    Method,
    Optimizer,
    Precision,
    Tracker,
    duration,
    parse_share,
    shapes_of,
)

__all__ = [
    "ALL_AUGMENTATIONS",
    "BUDGET_NAMES",
    "COMMANDS",
    "DEFAULT_CRITERION",
    "FILE",
    "FLOORS",
    "MASKED",
    "Augmented",
    "BudgetSettings",
    "CompressSettings",
    "DataSettings",
    "Effort",
    "FitSettings",
    "FloorSettings",
    "GroupsSettings",
    "Method",
    "NetworkSettings",
    "Optimizer",
    "Option",
    "Panel",
    "Precision",
    "ProfileSettings",
    "ScoreSettings",
    "SettingsModel",
    "SparsifySettings",
    "StrictModel",
    "Tracker",
    "WorkloadSettings",
    "duration",
    "flag",
    "kinds_of",
    "load_settings",
    "parse_share",
    "read_toml",
    "settings_of_call",
    "shapes_of",
]
