"""A network that worked goes on working: against the rows of the coverage study."""

import json
import re
from pathlib import Path
from unittest.mock import patch

import pytest
from torch import nn

from edgeprune.graph.survey import survey
from tests.libraries import SMALL, build, inputs_for, prunable_channels

ROWS = Path(__file__).parents[2] / "benchmarks" / "coverage.json"
KNOWN = json.loads(ROWS.read_text())
FIRST_SEEN = {
    name: row["channels"]
    for name, row in KNOWN.items()
    if row["task"] in {"classification", "segmentation"} and "channels" in row
}
LONG = {"maxvit_t"}
# Numbers do not matter here, and those of the largest networks take a minute to draw.
DRAWN = [name for name in dir(nn.init) if name.endswith("_") and name[0] != "_"]


def family(name):
    return re.match("[a-z]+", name).group()


def networks():
    """The smallest of each family; the study has them all."""
    families = {}
    for name in sorted(FIRST_SEEN, key=FIRST_SEEN.get):
        families.setdefault(family(name), name)
    return [
        pytest.param(name, marks=pytest.mark.slow) if name in LONG else name
        for name in families.values()
    ]


@pytest.mark.parametrize("name", networks())
def test_no_network_loses_channels_that_could_be_pruned(name):
    undrawn = {draw: lambda tensor, *_, **__: tensor for draw in DRAWN}
    with patch.multiple(nn.init, **undrawn):
        model = build(name)
    graph = survey(model, inputs_for(name, model, SMALL))
    assert prunable_channels(model, graph) >= FIRST_SEEN[name]


def test_the_study_covers_every_classification_network():
    assert len(FIRST_SEEN) > 80
