"""What went wrong between here and a board, as one sentence with what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from edgeprune.errors import DeviceError
from edgeprune.targets import Target


@dataclass(frozen=True)
class Ended:
    """An ssh command that ended without an answer.

    Attributes:
        code: its exit status; 255 where the connection failed.
        complaint: what came on its standard error.
        shell: the board's shell had begun.
        begun: the worker had everything and had begun.
        late: it was ended here, after the longest time that a job may take.
        alive: the connection itself went on.
    """

    target: Target
    host: str
    code: int
    complaint: str
    shell: bool
    begun: bool
    late: bool
    alive: bool

    @property
    def last_line(self) -> str:
        """The last thing that it said."""
        lines = self.complaint.strip().splitlines()
        return lines[-1].strip() if lines else f"exit status {self.code}"


# What OpenSSH's client says of a connection that it could not make.
CONNECTING: tuple[tuple[str, str, str], ...] = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|[Hh]ost key for .* has changed",
        "host_key_changed",
        "the host key of {host} is another one than before: if the board was set up "
        "anew, run ssh-keygen -R {bare} and connect once by hand",
    ),
    (
        r"Host key verification failed|No .* host key is known",
        "host_key",
        "the host key of {host} is not known here: connect once by hand, with ssh "
        "{host}",
    ),
    (
        r"Permission denied|Too many authentication failures|no such identity",
        "key",
        "{host} does not accept a key of yours: copy one there with ssh-copy-id {host}"
        ", or name it as ssh.identity",
    ),
    (
        r"Could not resolve hostname|Name or service not known",
        "name",
        "nobody knows the name {host}: write it into ~/.ssh/config as a Host, or set "
        "ssh.host in a target file of your own",
    ),
    (
        r"Connection refused",
        "refused",
        "{host} refuses the connection: is the ssh server running there, on this port?",
    ),
    (
        r"No route to host|Network is unreachable|Host is down",
        "route",
        "there is no way to {host}: is the board on, and in this network?",
    ),
    (
        r"timed out",
        "silent",
        "{host} does not answer within {connect_s} s: is the board on, and is that its "
        "address?",
    ),
    (
        r"kex_exchange_identification|[Cc]onnection (closed|reset)|banner",
        "closed",
        "{host} closes the connection before anybody has logged in: there may be no "
        "ssh server behind that port",
    ),
)


def failure_of(ended: Ended) -> DeviceError:
    """The error that says what happened."""
    name, text = _described(ended)
    return DeviceError(name, f"Target {ended.target.name!r}: {text}.")


def _described(ended: Ended) -> tuple[str, str]:
    if ended.late:
        limit = f"{ended.target.limits.job_s:g} s"
        return "timeout", (
            f"the measurement did not end within {limit}, and was ended; limits.job_s "
            "allows more"
        )
    cases: tuple[tuple[bool, Callable[[Ended], tuple[str, str]]], ...] = (
        (ended.begun, _while_running),
        (ended.shell, _before_the_worker),
    )
    for holds, describe in cases:
        if holds:
            return describe(ended)
    return _while_connecting(ended)


def _while_connecting(ended: Ended) -> tuple[str, str]:
    words = {
        "host": ended.host,
        "bare": ended.host.rpartition("@")[2],
        "connect_s": ended.target.ssh.connect_s,
    }
    for pattern, name, text in CONNECTING:
        if re.search(pattern, ended.complaint):
            return name, text.format(**words)
    if ended.code == 255:
        return "connection", f"ssh {ended.host} fails: {ended.last_line}"
    return "shell", (
        f"{ended.host} lets us in, but runs no command there: {ended.last_line}"
    )


def _before_the_worker(ended: Ended) -> tuple[str, str]:
    python = ended.target.ssh.python or "python3"
    if old := re.search(r"python is (\d+\.\d+)", ended.complaint):
        return "old_python", (
            f"{python} on {ended.host} is version {old[1]}, 3.9 or newer is needed: "
            "name another as ssh.python"
        )
    if ended.code == 127 or "not found" in ended.complaint:
        return "no_python", (
            f"there is no {python} on {ended.host}: install Python 3.9 or newer, or "
            "name it as ssh.python"
        )
    if ended.code == 126 or "xec format error" in ended.complaint:
        return "architecture", (
            f"{python} on {ended.host} cannot be run there: {ended.last_line}"
        )
    if ended.code == 255 and not ended.alive:
        return _lost(ended)
    return "python", f"{python} on {ended.host} fails: {ended.last_line}"


def _while_running(ended: Ended) -> tuple[str, str]:
    if ended.code == 255 and not ended.alive:
        return _lost(ended)
    return "killed", (
        f"the measuring process on {ended.host} was killed ({ended.last_line}): the "
        "board may be out of memory"
    )


def _lost(ended: Ended) -> tuple[str, str]:
    return "lost", (
        f"the connection to {ended.host} was lost in the middle of a measurement"
    )
