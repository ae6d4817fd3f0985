"""Where the server of a target listens: kept, so that runs and a page find it again."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeprune.files import cache_folder


@dataclass(frozen=True)
class Seat:
    """The ports and words of one target's server.

    Attributes:
        page_port, page_token: for the page.
        runs_port, runs_token: for runs on this machine; the port is new at each start.
    """

    page_port: int
    page_token: str
    runs_port: int
    runs_token: str

    @property
    def runs_url(self) -> str:
        """Where runs go."""
        return f"http://127.0.0.1:{self.runs_port}/{self.runs_token}"


def seat_of(target: str) -> Seat | None:
    """The seat that was kept, if there is one; whether anybody sits there is open."""
    with suppress(OSError, ValueError, TypeError):
        return Seat(**json.loads(_path(target).read_text()))
    return None


def new_seat(target: str, port: int | None) -> Seat:
    """A seat to sit down on: the one before, so that an open page goes on.

    Args:
        port: for the page; None takes the one before, or any.
    """
    before = seat_of(target)
    page_port = port if port is not None else before.page_port if before else 0
    token = before.page_token if before else secrets.token_urlsafe(16)
    return Seat(page_port, token, 0, secrets.token_urlsafe(16))


def keep_seat(target: str, seat: Seat) -> None:
    """Write it where only this user can read it.

    Raises:
        OSError: it cannot be written.
    """
    path = _path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(json.dumps(asdict(seat)))
    aside.replace(path)


def _path(target: str) -> Path:
    return cache_folder() / "serve" / f"{target}.json"
