"""How a long step says where it is: stages call it, the terminal shows it."""

from __future__ import annotations

from typing import Protocol


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


SILENT = Silent()
