"""Boards for tests: a real ssh server on loopback, with a home of its own."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeprune import targets
from edgeprune.devices.transports import SshTransport
from edgeprune.report.targets import as_toml
from tests.waiting import listens, wait_for

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile {folder}/sshd.pid
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
SetEnv HOME={folder}/home PATH={folder}/bin:/usr/bin:/bin
"""


@dataclass
class Board:
    """An ssh server that this test owns.

    Attributes:
        folder: its keys and settings; `home` and `bin` inside are the board's.
    """

    folder: Path
    port: int

    @property
    def known_hosts(self):
        return self.folder / "known_hosts"

    @property
    def home(self):
        return self.folder / "home"

    def target(self, **changed):
        """A target on this board, with the interpreter that runs the tests."""
        ssh = {
            "host": f"{getpass.getuser()}@127.0.0.1",
            "port": self.port,
            "identity": str(self.folder / "key"),
            "python": sys.executable,
            "folder": str(self.home / "edgeprune"),
        }
        ssh |= changed.pop("ssh", {})
        quick = targets.load("tests/quick.toml").model_dump(exclude_defaults=True)
        described = {**quick, "name": "board", "transport": "ssh", "ssh": ssh}
        return targets.Target.model_validate({**described, **changed})

    def transport(self, **changed):
        return self.reach(self.target(**changed))

    def reach(self, target):
        """What reaches it by its own settings, not the user's."""
        options = ["-F", "none", "-o", f"UserKnownHostsFile={self.known_hosts}"]
        return SshTransport(target, options)

    def file(self, **changed):
        """The same target as the file that it would be read from."""
        path = self.folder / "board.toml"
        held = self.target(**changed)
        path.write_text(
            as_toml(held.model_dump(exclude_none=True, exclude_defaults=True))
        )
        return path

    def command(self, name, text):
        """Put a command of one's own before the board's others."""
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def workers(self):
        """Processes of measurements that run on it."""
        return _processes("environ", f"edgeprune-board-{self.port}")

    def connections(self):
        """Processes of the server that hold a connection."""
        server = int((self.folder / "sshd.pid").read_text())
        children = Path(f"/proc/{server}/task/{server}/children").read_text()
        return [int(pid) for pid in children.split()]


def _processes(what, mark):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if mark.encode() in (entry / what).read_bytes():
                    found.append(int(entry.name))
    return found


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def make_key(path):
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True
    )


@contextmanager
def board(folder):
    """Start an ssh server; skips where there is none."""
    if not Path(SSHD).exists() or not shutil.which("ssh"):
        pytest.skip("no OpenSSH server: apt-get install openssh-server")
    for name in ("home", "bin"):
        (folder / name).mkdir()
    port = free_port()
    make_key(folder / "host_key")
    make_key(folder / "key")
    shutil.copy(folder / "key.pub", folder / "authorized_keys")
    kind, key, *_ = (folder / "host_key.pub").read_text().split()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {key}\n")
    config = folder / "sshd_config"
    extra = f"SetEnv EDGEPRUNE_BOARD=edgeprune-board-{port}\n"
    text = CONFIG.format(folder=folder, port=port)
    config.write_text(text.replace("SetEnv ", extra.strip() + " ", 1))
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    log = (folder / "sshd.log").open("w")
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=log)
    try:
        wait_for(lambda: server.poll() is not None or listens(port))
        if server.poll() is not None:
            said = (folder / "sshd.log").read_text()
            pytest.skip(f"the ssh server does not start: {said[-200:]}")
        yield Board(folder, port)
    finally:
        server.kill()
        server.wait()
        log.close()
