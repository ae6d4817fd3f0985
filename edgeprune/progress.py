"""How a long step says where it is: stages call it, the terminal shows it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
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


def say_figures(shown: Progress, values: Mapping[str, float], number: int) -> None:
    """Figures of one part of the current step, such as an epoch, by name.

    To those who listen: what shows progress needs no method `figures`.
    """
    listening = getattr(shown, "figures", None)
    if listening is not None:
        listening(values, number)


class RunInterrupted(Exception):  # noqa: N818  nothing is wrong
    """The user wants the run to end; raised where a step says how far it is."""


class Forwarding:
    """Shows what another shows; whoever ends a run is behind it."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown

    @property
    def asked(self) -> bool:
        """Whether the run is to end at the next report of a step."""
        return isinstance(self._shown, Forwarding) and self._shown.asked

    def settle(self) -> None:
        """Let what is left of the run pass: it is ending."""
        if isinstance(self._shown, Forwarding):
            self._shown.settle()

    def start(self, step: str, total: int) -> None:
        """Show it."""
        self._shown.start(step, total)

    def advance(self, detail: str = "") -> None:
        """Show it."""
        self._shown.advance(detail)

    def finish(self, outcome: str = "") -> None:
        """Show it."""
        self._shown.finish(outcome)

    def figures(self, values: Mapping[str, float], number: int) -> None:
        """Show them."""
        say_figures(self._shown, values, number)


class Interruptible(Forwarding):
    """Shows what another shows, and ends the run where it is wanted to end."""

    def __init__(self, shown: Progress) -> None:
        super().__init__(shown)
        self._asked = self._settled = False

    @property
    def asked(self) -> bool:
        """Whether the run is to end at the next report of a step."""
        return self._asked

    def ask(self) -> None:
        """Want the run to end."""
        self._asked = True

    def settle(self) -> None:
        """Let what is left of the run pass: it is ending."""
        self._settled = True

    def start(self, step: str, total: int) -> None:
        """Show it, unless the run is to end."""
        self._check()
        super().start(step, total)

    def advance(self, detail: str = "") -> None:
        """Show it, unless the run is to end."""
        self._check()
        super().advance(detail)

    def finish(self, outcome: str = "") -> None:
        """Show it, unless the run is to end."""
        self._check()
        super().finish(outcome)

    def _check(self) -> None:
        if self._asked and not self._settled:
            raise RunInterrupted


class Named(Forwarding):
    """Shows what another shows, each step with a name before it."""

    def __init__(self, shown: Progress, name: str) -> None:
        super().__init__(shown)
        self._name = name

    def start(self, step: str, total: int) -> None:
        """Show it by its name."""
        super().start(f"{self._name}: {step}", total)


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
