"""A board that OpenSSH reaches: the worker is sent along with each job.

The ssh command is the user's own, so that their configuration, agents, jump hosts and
known hosts count. One connection serves a whole run; each job is one command on it,
whose input carries the worker, the job, and the files that the board lacks. The board
needs Python with NumPy and ONNX Runtime, and keeps nothing but files by their hashes.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from edgeprune.devices import worker
from edgeprune.devices.command import CommandFailed, output_of
from edgeprune.devices.transports.base import Answer, Job
from edgeprune.devices.transports.ssh_failures import Ended, failure_of
from edgeprune.errors import DeviceError
from edgeprune.files import sha256
from edgeprune.targets import SshConnection, Target
from edgeprune.temporary import temporary_folder

SHELL = "@@EDGEPRUNE-SHELL"  # the board's shell has begun
BOOT = """
import sys
if sys.version_info < (3, 9):
    sys.exit("python is %d.%d" % sys.version_info[:2])
exec(compile(sys.stdin.buffer.read(int(sys.argv[1])), "worker", "exec"))
"""
BEAT_S = 5.0  # between signs of life
SILENCE_S = 60.0  # after which the worker takes us for gone
PERSIST_S = 60  # that an idle connection stays, if nobody closes it
CONTROL_S = 5.0  # that the connection may take to answer
SOCKET_LONGEST = 60  # of a folder's name; the system allows some 100 for the whole


class SshTransport:
    """Runs the worker on a board.

    Args:
        target: with how it is reached.
        options: for ssh, before those that the target gives.
    """

    def __init__(self, target: Target, options: Sequence[str] = ()) -> None:
        self._target = target
        self._host = target.ssh.host or target.name
        self._options = tuple(options)
        self._held = ExitStack()
        self._socket: Path | None = None

    def run(self, job: Job, files: Sequence[Path]) -> Answer:
        """Start the worker there, hand it the job and the files, read its answer."""
        message = {
            **job.message([]),
            "files": [
                {"sha256": sha256(path), "bytes": path.stat().st_size} for path in files
            ],
            "folder": self._target.ssh.folder,
            "held": True,
            "silence_s": SILENCE_S,
        }
        with temporary_folder() as folder, (folder / "errors").open("w+b") as errors:
            text = Path(worker.__file__).read_bytes()
            process = self._started(errors, len(text))
            limit_s = self._target.limits.job_s + job.sustained_s
            with _talking(process, limit_s) as talk:
                talk.send(text + json.dumps(message).encode() + b"\n")
                answer = talk.answer(files)
            errors.seek(0)
            complaint = errors.read().decode(errors="replace")
        if answer is not None:
            return answer
        ended = Ended(
            self._target,
            self._host,
            process.returncode,
            complaint,
            shell=talk.shell,
            begun=talk.begun,
            late=talk.late,
            alive=self._is_alive() if talk.begun and not talk.late else False,
        )
        raise failure_of(ended)

    def close(self) -> None:
        """End the connection."""
        if self._socket is not None:
            self._control("exit")
            self._socket = None
        self._held.close()

    def command(self, text: str) -> list[str]:
        """The ssh command that runs a line on the board."""
        ssh = self._target.ssh
        socket = self._control_path()
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": ssh.connect_s,
            "ServerAliveInterval": 5,
            "ServerAliveCountMax": 3,
            "LogLevel": "ERROR",
        }
        if socket is not None:
            options |= {
                "ControlMaster": "auto",
                "ControlPath": socket,
                "ControlPersist": PERSIST_S,
            }
        given = [word for key, value in options.items() for word in _o(key, value)]
        given += self._port()
        if ssh.identity is not None:
            given += ["-i", str(Path(ssh.identity).expanduser())]
        return ["ssh", *self._options, *given, "-T", "--", self._host, text]

    def _started(self, errors: IO[bytes], size: int) -> subprocess.Popen[bytes]:
        inner = (
            f"echo {SHELL}; {python_of(self._target.ssh)}; "
            f'exec "$python" -c {shlex.quote(BOOT)} {size}'
        )
        # Any login shell knows exec and quotes; the rest is for sh.
        line = f"exec env ORT_DISABLE_TELEMETRY=1 sh -c {shlex.quote(inner)}"
        try:
            return subprocess.Popen(
                self.command(line),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for us: we end it in good order
            )
        except FileNotFoundError as error:
            message = (
                f"Target {self._target.name!r}: there is no ssh command here: install "
                "the OpenSSH client."
            )
            raise DeviceError("no_ssh", message) from error

    def _control_path(self) -> Path | None:
        """Where the connection's socket lies; None where no name is short enough."""
        if self._socket is None:
            folder = self._held.enter_context(temporary_folder())
            if len(str(folder)) > SOCKET_LONGEST or os.name == "nt":
                return None
            self._socket = folder / "%C"
        return self._socket

    def _port(self) -> list[str]:
        port = self._target.ssh.port
        return [] if port is None else ["-p", str(port)]

    def _is_alive(self) -> bool:
        """Whether the connection outlived the command that ran on it."""
        return self._control("check")

    def _control(self, what: str) -> bool:
        """Tell the connection something; whether it did it."""
        # The name of the socket follows from host, port and user.
        at = [*_o("ControlPath", self._socket), *self._port()]
        command = [*at, "-O", what, self._host]
        with suppress(CommandFailed):
            output_of(["ssh", *self._options, *command], CONTROL_S)
            return True
        return False


class _Talk:
    """What is said to the worker, and what it says."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None  # piped by the caller
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        self._lock = threading.Lock()
        self.shell = self.begun = self.late = False

    def send(self, data: bytes) -> None:
        """Write to the worker; if it has gone, its output says why."""
        with self._lock, suppress(OSError, ValueError):
            self._in.write(data)
            self._in.flush()

    def answer(self, files: Sequence[Path]) -> Answer | None:
        """Send the files that are wanted and wait; None where it ends without one."""
        for raw in self._out:
            line = raw.decode(errors="replace").strip()
            if line == SHELL:
                self.shell = True
            elif line == worker.BEGUN:
                self.begun = True
            elif line.startswith(worker.WANTED):
                for at in json.loads(line[len(worker.WANTED) :]):
                    self.send(files[at].read_bytes())
            elif line.startswith(worker.SENTINEL):
                return json.loads(line[len(worker.SENTINEL) :])
        return None


@contextmanager
def _talking(process: subprocess.Popen[bytes], limit_s: float) -> Iterator[_Talk]:
    """Keep the worker alive by signs of life, and end it after a time."""
    talk, over = _Talk(process), threading.Event()

    def end() -> None:
        talk.late = True
        process.kill()

    def beat() -> None:
        while not over.wait(BEAT_S):
            if talk.begun:  # before, the worker reads files
                talk.send(b"\n")

    timer = threading.Timer(limit_s, end)
    timer.daemon = True
    timer.start()
    threading.Thread(target=beat, daemon=True).start()
    try:
        yield talk
    finally:
        over.set()
        timer.cancel()
        with suppress(OSError):
            assert process.stdin is not None
            process.stdin.close()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _o(key: str, value: object) -> list[str]:
    return ["-o", f"{key}={value}"]


def python_of(ssh: SshConnection) -> str:
    """Shell code that says which interpreter is meant."""
    if ssh.python is not None:
        return f"python={at_home(ssh.python)}"
    own = f"{at_home(ssh.folder)}/venv/bin/python"
    return f'python={own}; [ -x "$python" ] || python=python3'


def at_home(path: str) -> str:
    """Quote a path for a shell, and let ~ stand for the board's home."""
    if path.startswith("~/"):
        return f'"$HOME"/{shlex.quote(path[2:])}'
    return shlex.quote(path)
