import pytest
import torch
from torch import nn

from edgeprune.errors import TraceError
from edgeprune.graph.channel_graph import build_channel_graph
from edgeprune.graph.survey import survey
from tests.nets import (
    Bottom,
    Branching,
    CifarResNet,
    HardCoded,
    Sliced,
    Unknown,
)

IMAGE = (torch.randn(2, 3, 8, 8),)


def group_sizes(graph):
    return {group.name: group.size for group in graph.groups}


def reasons(graph):
    return {item.name: item.reason for item in graph.refusals}


def test_flatten_repeats_a_channel_for_every_position():
    graph = build_channel_graph(Bottom(), IMAGE)
    head = next(
        member
        for member in graph.group("second").members
        if member.parameter == "head.weight"
    )
    assert group_sizes(graph) == {"first": 16, "second": 32}
    assert head.channel_of.tolist() == [index // 16 for index in range(512)]


def test_padded_shortcuts_leave_fixed_positions_and_free_the_rest():
    graph = build_channel_graph(CifarResNet(9), (torch.randn(2, 3, 32, 32),))
    assert len(graph.groups) == 28
    assert sum(group.size for group in graph.groups) == 1024
    stem = graph.group("conv1")
    last = next(item for item in stem.members if item.parameter == "linear.weight")
    # 16 channels of the first stage are padded by 8 on each side, then by 16.
    assert (last.channel_of >= 0).nonzero()[0].tolist() == list(range(24, 40))
    assert "F.pad" in reasons(graph)["layer2.0.conv2"]


def test_depthwise_follows_its_producer():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1)
    )
    graph = build_channel_graph(model, IMAGE)
    lives_on = {member.parameter for member in graph.group("0").members}
    assert lives_on == {"0.weight", "0.bias", "1.weight", "1.bias", "2.weight"}


@pytest.mark.parametrize(
    ("groups", "channels", "granularity"),
    [(2, 16, 2), (4, 16, 4), (8, 16, 2), (16, 16, 1)],
)
def test_grouped_convolutions_take_the_finer_way(groups, channels, granularity):
    model = nn.Sequential(
        nn.Conv2d(3, channels, 1),
        nn.Conv2d(channels, channels, 3, groups=groups),
        nn.Conv2d(channels, 4, 1),
    )
    graph = build_channel_graph(model, IMAGE)
    assert graph.group("0").granularity == granularity


def test_a_size_written_into_forward_is_found_and_named():
    graph = survey(HardCoded(), IMAGE)
    assert group_sizes(graph) == {"first": 8}
    assert "x.view(-1, 32)" in reasons(graph)["second"]


def test_channels_picked_by_number_are_frozen():
    graph = survey(Sliced(), (torch.randn(2, 3, 9, 9),))
    assert "first" not in group_sizes(graph)
    assert "unequal parts" in reasons(graph)["first"]


def test_an_operator_without_a_rule_freezes_what_it_touches_and_is_named():
    graph = survey(Unknown(), IMAGE)
    assert group_sizes(graph) == {"first": 8}
    assert "cumsum" in reasons(graph)["second"]


def test_the_output_of_the_network_cannot_go():
    assert (
        reasons(build_channel_graph(Bottom(), IMAGE))["head"] == "output of the network"
    )


def test_a_model_that_looks_at_values_is_followed_on_the_way_it_takes():
    graph = survey(Branching(), IMAGE)
    assert graph.traced.by_value
    assert not build_channel_graph(Bottom(), IMAGE).traced.by_value


def test_a_wrong_input_shape_is_told_from_a_model_that_does_not_trace():
    with pytest.raises(TraceError, match=r"does not run on an input of shape 2x1x8x8"):
        build_channel_graph(Bottom(), (torch.randn(2, 1, 8, 8),))


def test_an_axis_of_one_position_is_no_channel_to_report():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 1)
            self.scale = nn.Parameter(torch.ones(1, 8, 1, 1))
            self.head = nn.Linear(8, 4)

        def forward(self, x):
            return self.head((self.conv(x) * self.scale).mean((2, 3)))

    graph = build_channel_graph(Scaled(), IMAGE)
    assert group_sizes(graph) == {"conv": 8}
    assert reasons(graph) == {"head": "output of the network"}


def test_nothing_is_printed_about_a_model_that_looks_at_values(capfd):
    build_channel_graph(Branching(), IMAGE)
    assert capfd.readouterr() == ("", "")


def test_the_training_mode_of_every_module_survives():
    model = Bottom().train()
    model.norm.eval()
    build_channel_graph(model, IMAGE)
    assert model.training
    assert not model.norm.training
