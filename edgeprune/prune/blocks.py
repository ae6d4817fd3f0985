"""Which modules can go as a whole without a change of what is left around them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from edgeprune.graph.groups import ChannelGraph, Group
from edgeprune.records.surgery import inside


@dataclass(frozen=True)
class Block:
    """A module that can become an identity.

    Attributes:
        groups: the channel groups that go with it.
    """

    name: str
    groups: frozenset[str]


def removable_blocks(graph: ChannelGraph) -> tuple[Block, ...]:
    """Blocks around which every group stays what it is.

    A residual block makes the channels that it reads. A layer between two groups is
    left out: without it they would be one. Of modules around each other that free
    the same groups the outermost counts, and a chain of blocks is its blocks.
    """
    found: list[Block] = []
    for name in graph.blocks:
        touched = [group for group in graph.groups if _touches(group, name)]
        within = [group for group in touched if _within(group, name)]
        if all(_passes(group, name) for group in touched if group not in within):
            found.append(Block(name, frozenset(group.name for group in within)))
    outermost = [
        block
        for block in found
        if not any(
            other is not block
            and other.groups == block.groups
            and inside(block.name, (other.name,))
            for other in found
        )
    ]
    return tuple(
        block
        for block in outermost
        if sum(inside(other.name, (block.name,)) for other in outermost if other.groups)
        < 3
    )


def freed(blocks: Iterable[Block], bypassed: Collection[str]) -> set[str]:
    """The channel groups that go with the blocks that are left out."""
    return set().union(*(block.groups for block in blocks if block.name in bypassed))


def _touches(group: Group, module: str) -> bool:
    return any(inside(member.parameter, (module,)) for member in group.members)


def _within(group: Group, module: str) -> bool:
    return all(inside(member.parameter, (module,)) for member in group.members)


def _passes(group: Group, module: str) -> bool:
    """Whether the module both reads and makes a group's channels."""
    roles = {
        member.role for member in group.members if inside(member.parameter, (module,))
    }
    return {"input", "output"} <= roles
