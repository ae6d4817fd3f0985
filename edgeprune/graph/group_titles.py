"""What channel groups are called where people read of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import takewhile

from torch import nn

from edgeprune.graph.groups import ChannelGraph, Group


def titles_of(graph: ChannelGraph, model: nn.Module) -> Mapping[str, str]:
    """Names that say what the channels of each group are, by the group's own name.

    Of one layer its path, with the layer's kind where that is a mere number; of several
    whose outputs are added up, such as those of residual blocks, `layer3 stream`, by
    what their paths have in common, or by the first and the last of them.

    Args:
        model: that the groups are of.
    """
    makers = {group.name: _makers(group, model) for group in graph.groups}
    shared = {name: _shared(held) for name, held in makers.items() if len(held) > 1}
    once = Counter(shared.values())
    found: dict[str, str] = {}
    for name, held in makers.items():
        if name not in shared:
            found[name] = _of_layer(name, model)
        elif shared[name] and once[shared[name]] == 1:
            found[name] = f"{shared[name]} stream"
        else:
            found[name] = f"stream {held[0]} to {held[-1]}"
    return found


def _makers(group: Group, model: nn.Module) -> list[str]:
    """The layers that make the channels; depthwise ones only pass them on."""
    paths = [name.rpartition(".")[0] for name in group.layers("output")]
    return [
        path
        for path in paths
        if getattr(model.get_submodule(path), "groups", 1) == 1 or len(paths) == 1
    ]


def _shared(paths: list[str]) -> str:
    """What paths of modules have in common before their last part."""
    parts = zip(*(path.split(".")[:-1] for path in paths), strict=False)
    return ".".join(
        same[0] for same in takewhile(lambda same: len(set(same)) == 1, parts)
    )


def _of_layer(path: str, model: nn.Module) -> str:
    if not path.rpartition(".")[2].isdigit():
        return path
    return f"{type(model.get_submodule(path)).__name__} {path}"
