"""How a long step says where it is: stages call it, the terminal shows it."""

from __future__ import annotations

import logging
from typing import Protocol

LOGGER = logging.getLogger("edgeprune")


class Progress(Protocol):
    """Told of every step that may last longer than a second."""

    def start(self, step: str, total: int) -> None:
        """A step begins; total is how many parts it has."""
        ...

    def advance(self, detail: str = "") -> None:
        """One more part of the current step is done."""
        ...

    def finish(self, outcome: str = "") -> None:
        """The current step is done; one line on what it found."""
        ...


class Silent:
    """Shows nothing."""

    def start(self, step: str, total: int) -> None:
        """Show nothing."""

    def advance(self, detail: str = "") -> None:
        """Show nothing."""

    def finish(self, outcome: str = "") -> None:
        """Show nothing."""


class Logged:
    """Tells the `edgeprune` logger what each step has found."""

    def __init__(self) -> None:
        self._step = ""

    def start(self, step: str, total: int) -> None:  # noqa: ARG002  bars need it
        """Remember which step it is."""
        self._step = step
        LOGGER.debug("%s ...", step)

    def advance(self, detail: str = "") -> None:
        """Log nothing: lines must not grow with the size of a network."""

    def finish(self, outcome: str = "") -> None:
        """Log what was found."""
        LOGGER.info("%s: %s", self._step, outcome)


SILENT = Silent()
