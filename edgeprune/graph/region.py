"""Which part of a network may change: everything, or what patterns name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from torch import nn

from edgeprune.errors import ConfigError
from edgeprune.graph.groups import ChannelGraph, refuse_groups


@dataclass(frozen=True)
class Region:
    """Layers by patterns of their paths; a pattern names what is inside, too.

    Attributes:
        only: nothing else changes; empty for everything.
        keep: what does not change.
    """

    only: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()

    @classmethod
    def of(cls, only: Sequence[str] | None, keep: Sequence[str] | None) -> Region:
        """That of settings, None being what was not set."""
        return cls(tuple(only or ()), tuple(keep or ()))

    def __str__(self) -> str:
        """As the command line has it."""
        named = {"--only": self.only, "--keep": self.keep}
        return " and ".join(
            f"{flag} {','.join(held)}" for flag, held in named.items() if held
        )

    def refusal(self, path: str) -> str:
        """Why a module stays as it is; empty where it may change."""
        for pattern in self.keep:
            if _named(path, pattern):
                return f"--keep {pattern}"
        if self.only and not any(_named(path, pattern) for pattern in self.only):
            return f"outside of --only {','.join(self.only)}"
        return ""

    def within(self, graph: ChannelGraph) -> ChannelGraph:
        """The graph of a network with the groups that this region leaves.

        A group may change where all layers that make it may; those that read it
        become narrower with it.
        """
        reasons: dict[str, str] = {}
        for group in graph.groups:
            makers = group.layers("output") or group.layers("input")
            found = [self.refusal(path.rpartition(".")[0]) for path in makers]
            if any(found):
                reasons[group.name] = next(filter(None, found))
        identities = tuple(
            name
            for name in graph.identities
            if not self.refusal(name) and not self._keeps_inside(graph, name)
        )
        graph = replace(graph, identities=identities)
        return refuse_groups(graph, reasons) if reasons else graph

    def check(self, model: nn.Module) -> None:
        """Refuse patterns that name no module.

        Raises:
            ConfigError: which, and what there is.
        """
        paths = [path for path, _ in model.named_modules() if path]
        for pattern in (*self.only, *self.keep):
            if not any(_named(path, pattern) for path in paths):
                own = ", ".join(name for name, _ in model.named_children())
                message = f"--only and --keep: no module is called {pattern}"
                raise ConfigError(f"{message}; the network's own are {own}.")

    def _keeps_inside(self, graph: ChannelGraph, block: str) -> bool:
        """Whether a layer inside of a block is to be kept."""
        layers = {path.rpartition(".")[0] for path, _ in graph.axes}
        return any(
            _named(layer, pattern)
            for layer in layers
            if layer.startswith(f"{block}.")
            for pattern in self.keep
        )


WHOLE = Region()


def _named(path: str, pattern: str) -> bool:
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}.*")
