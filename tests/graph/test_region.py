"""Only what is named changes, and what is to be kept stays."""

import pytest
import torch
from torch import nn

import edgeprune
from edgeprune.errors import ConfigError
from edgeprune.graph.region import Region
from edgeprune.graph.survey import survey
from examples import tasks
from tests.made_up import FAKE

X = (torch.randn(1, 3, 32, 32),)


@pytest.fixture(scope="module")
def graph():
    return survey(tasks.make_segmenter(), X)


def names(graph):
    return [group.name for group in graph.groups]


def test_what_is_kept_is_refused_with_the_pattern(graph):
    found = Region(keep=("deep",)).within(graph)
    gone = set(names(graph)) - set(names(found))
    assert gone
    assert all(name.startswith("deep") for name in gone)
    reasons = {item.name: item.reason for item in found.refusals}
    assert all(reasons[name] == "--keep deep" for name in gone)


def test_nothing_else_than_what_is_named_is_left(graph):
    found = Region(only=("down*", "deep")).within(graph)
    assert names(found)
    for group in found.groups:
        for path in group.layers("output"):
            assert path.startswith(("down", "deep"))
    assert Region().within(graph) is not None
    assert names(Region().within(graph)) == names(graph)


def test_a_group_with_one_maker_outside_stays():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 16, 3), nn.Conv2d(3, 16, 3)
            self.last = nn.Conv2d(16, 4, 1)

        def forward(self, x):
            return self.last(self.one(x) + self.two(x))

    found = survey(Sum(), X)
    assert len(found.groups) == 1
    assert not Region(only=("one",)).within(found).groups
    assert not Region(keep=("two",)).within(found).groups
    assert Region(only=("one", "two")).within(found).groups


def test_blocks_that_hold_something_to_be_kept_are_not_left_out():
    torch.manual_seed(0)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())

        def forward(self, x):
            return x + self.inner(x)

    model = nn.Sequential(nn.Conv2d(3, 8, 3), Block(), Block(), nn.Conv2d(8, 4, 1))
    found = survey(model, X)
    blocks = Region(keep=("1.inner.0",)).within(found).blocks
    assert "2" in blocks
    assert "1" not in blocks


def test_patterns_that_name_nothing_are_refused():
    with pytest.raises(ConfigError, match=r"no module is called backbone; .* first"):
        Region(only=("backbone",)).check(tasks.make_segmenter())


def test_a_run_leaves_the_rest_alone(tmp_path):
    original = tasks.make_denoiser()
    done = edgeprune.compress(
        original,
        tasks.make_clean(),
        max_macs="80%",
        target=FAKE,
        max_drop=100,
        train=False,
        keep="last,up",
        out=tmp_path / "run",
    )
    assert done.report.status == "met"
    before, after = (
        {name: item.shape for name, item in model.state_dict().items()}
        for model in (original, done.model)
    )
    assert before["last.0.weight"][0] == after["last.0.weight"][0]
    assert before["up.weight"][1] == after["up.weight"][1]
    assert before != after
