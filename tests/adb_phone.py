"""A made-up phone that the real adb talks to: its daemon, shell, and native runner.

It speaks adb's protocol over TCP: connections, the shell (second version), and pushed
files. Its shell is this machine's, with Android's own commands made up.
"""

import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from edgeprune import targets
from tests.boards import free_port
from tests.waiting import listens, wait_for

HEADER = struct.Struct("<4s5I")
VERSION, LARGEST = 0x01000000, 256 * 1024
STDIN, STDOUT, STDERR, EXIT, END_OF_STDIN = range(5)
COMMANDS = {
    "getprop": """
case "$1" in
  ro.product.manufacturer) echo Maker;; ro.product.model) echo Phone 9;;
  ro.soc.model) echo SM9999;; ro.product.cpu.abi) echo ${ABI:-arm64-v8a};;
  ro.build.version.release) echo 16;;
esac
""",
    "dumpsys": """
state=${0%/*}
case "$1" in
  battery) printf '  USB powered: true\\n  level: 85\\n  temperature: %s\\n' \
    "$(cat $state/warmth)";;
  thermalservice) echo "Thermal Status: $(cat $state/thermal)";;
esac
""",
    "settaskprofile": "true\n",
    "input": "true\n",
    "sleep": "exec /bin/sleep 0.01\n",
}
RUNNER = Path(__file__).with_name("made_up_runner.py")  # behaves as ort_runner 0.7


class Phone:
    """One phone, in a folder of its own."""

    def __init__(self, folder):
        self.folder, self.bin = folder, folder / "bin"
        self.bin.mkdir()
        for name, text in COMMANDS.items():
            self.command(name, text)
        self.be(warmth=300, thermal=0)
        self.runner, self.library = folder / "runner", folder / "library.so"
        copy = f'cp {RUNNER} "${{0%/*}}/runner.py"'
        run = f'exec {sys.executable} "${{0%/*}}/runner.py" "$@"'
        self.runner.write_text(f"#!/bin/sh\n{copy}\n{run}\n")
        self.library.write_bytes(b"no library: the runner here needs none")
        self.full = False  # no space is left for files
        self.environment = {}
        self.shells = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._links = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def serial(self):
        return f"127.0.0.1:{self.port}"

    def be(self, **state):
        """Set its warmth in tenths of a degree, or its thermal status."""
        for name, value in state.items():
            (self.bin / name).write_text(str(value))

    def command(self, name, text):
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{text}")
        path.chmod(0o755)

    def target(self, **changed):
        adb = {
            "serial": self.serial,
            "runner": str(self.runner),
            "library": str(self.library),
            "folder": str(self.folder / "data"),
        }
        adb |= changed.pop("adb", {})
        adb = {key: value for key, value in adb.items() if value is not None}
        quick = targets.load("tests/quick.toml").model_dump(exclude_defaults=True)
        limits = {"temperature_c": 37.0, **changed.pop("limits", {})}
        described = {
            **quick,
            "name": "phone",
            "transport": "adb",
            "adb": adb,
            "limits": limits,
        }
        return targets.Target.model_validate({**described, **changed})

    def write(self, path, content):
        if self.full:
            raise OSError(28, "No space left on device")
        path.write_bytes(content)

    def unplug(self):
        """Go away in the middle of whatever is going on."""
        for link in self._links:
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            link.close()
        self._links.clear()

    def close(self):
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # nobody is accepted any more
        self._accepting.join(10)
        self._server.close()
        self.unplug()
        for shell in self.shells:
            shell.kill()
            shell.wait()

    def _accept(self):
        with suppress(OSError):
            while True:
                link, _ = self._server.accept()
                self._links.append(link)
                threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link):
        streams, send = {}, sender(link)
        with suppress(OSError, ConnectionError):
            while True:
                command, one, two, size, *_ = HEADER.unpack(exactly(link, HEADER.size))
                data = exactly(link, size)
                if command == b"CNXN":
                    banner = b"device::ro.product.name=phone;features=shell_v2,cmd"
                    send(b"CNXN", VERSION, LARGEST, banner)
                elif command == b"OPEN":
                    held = Stream(self, send, one, data.rstrip(b"\0").decode())
                    streams[held.number] = held
                elif two in streams:
                    streams[two].message(command, data)
        for held in streams.values():
            held.end()


def sender(link):
    """What sends a message to adb."""
    lock = threading.Lock()

    def send(command, one, two, data=b""):
        check = sum(data) & 0xFFFFFFFF
        magic = int.from_bytes(command, "little") ^ 0xFFFFFFFF
        head = HEADER.pack(command, one, two, len(data), check, magic)
        with lock, suppress(OSError):
            link.sendall(head + data)

    return send


def exactly(link, size):
    """So many bytes."""
    found = b""
    while len(found) < size:
        part = link.recv(size - len(found))
        if not part:
            raise ConnectionError
        found += part
    return found


class Stream:
    """One service that adb has opened on the phone: a shell, or pushed files."""

    numbers = iter(range(1, 10**9))

    def __init__(self, phone, send, theirs, what):
        self.number, self.ready = next(self.numbers), threading.Event()
        self._phone, self._send, self._theirs = phone, send, theirs
        self._held, self._shell = b"", None
        self._file = None
        send(b"OKAY", self.number, theirs)
        if what.startswith("shell"):
            self.ready.set()
            threading.Thread(target=self._run, args=(what,), daemon=True).start()

    def message(self, command, data):
        """What adb says about this stream."""
        if command == b"OKAY":
            self.ready.set()
        elif command == b"WRTE":
            self._send(b"OKAY", self.number, self._theirs)
            self._taken(data)
        elif command == b"CLSE":
            self.end()

    def _taken(self, data):
        """Packets of a shell, or of files."""
        self._held += data
        while self._shell is not None and len(self._held) >= 5:
            kind, size = struct.unpack("<BI", self._held[:5])
            if len(self._held) < 5 + size:
                return
            body, self._held = self._held[5 : 5 + size], self._held[5 + size :]
            with suppress(OSError, ValueError):
                if kind == STDIN:
                    self._shell.stdin.write(body)
                    self._shell.stdin.flush()
                elif kind == END_OF_STDIN:
                    self._shell.stdin.close()
        while self._shell is None and len(self._held) >= 8 and self._sync():
            pass

    def end(self):
        """Adb has gone: what it held open is closed."""
        if self._shell is not None:
            with suppress(OSError):
                self._shell.stdin.close()

    def _write(self, data):
        for start in range(0, len(data), 60_000):
            self.ready.wait(10)
            self.ready.clear()
            part = data[start : start + 60_000]
            self._send(b"WRTE", self.number, self._theirs, part)

    def _run(self, what):
        path = f"{self._phone.bin}:/usr/bin:/bin"
        self._shell = subprocess.Popen(
            ["sh", "-c", what.partition(":")[2]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PATH": path, **self._phone.environment},
            start_new_session=True,
        )
        self._phone.shells.append(self._shell)
        lock = threading.Lock()

        def forward(kind, pipe):
            with pipe:
                while data := pipe.read1(30_000):
                    with lock:
                        self._write(struct.pack("<BI", kind, len(data)) + data)

        pipes = ((STDOUT, self._shell.stdout), (STDERR, self._shell.stderr))
        threads = [threading.Thread(target=forward, args=pair) for pair in pipes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        code = self._shell.wait()
        self.end()
        self._write(struct.pack("<BIB", EXIT, 1, code if code >= 0 else 128 - code))
        self.ready.wait(5)
        self._send(b"CLSE", self.number, self._theirs)

    def _sync(self):
        """One request about files; whether there was a whole one."""
        kind, size = self._held[:4], struct.unpack("<I", self._held[4:8])[0]
        if kind == b"DONE":
            self._take(8)
            self._delivered(size)
            return True
        if len(self._held) < 8 + size:
            return False
        body = self._take(8 + size)[8:]
        if kind == b"STAT":
            self._told_of(Path(body.decode()))
        elif kind == b"SEND":
            self._file = (Path(body.decode().rpartition(",")[0]), bytearray())
        elif kind == b"DATA" and self._file is not None:
            self._file[1].extend(body)
        elif kind == b"QUIT":
            self._send(b"CLSE", self.number, self._theirs)
        return True

    def _take(self, size):
        taken, self._held = self._held[:size], self._held[size:]
        return taken

    def _told_of(self, path):
        self.ready.set()
        found = path.stat() if path.exists() else None
        facts = (found.st_mode, found.st_size, 0) if found else (0, 0, 0)
        self._write(b"STAT" + struct.pack("<3I", *facts))

    def _delivered(self, _):
        path, content = self._file
        self.ready.set()
        said = b""
        try:
            self._phone.write(path, content)
            path.chmod(0o644)
        except OSError as error:
            said = f"couldn't create file: {error.strerror}".encode()
        kind = b"FAIL" if said else b"OKAY"
        self._write(kind + struct.pack("<I", len(said)) + said)


@contextmanager
def adb_phone(folder, monkeypatch):
    """A phone, plugged in, and an adb server of its own."""
    if shutil.which("adb") is None:
        pytest.skip("no adb here: apt-get install adb")
    port = free_port()
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    monkeypatch.setenv("ADB_MDNS_AUTO_CONNECT", "0")
    monkeypatch.setenv("HOME", str(folder))  # where adb keeps keys
    # In the foreground: `adb kill-server` waits for ever for one that hangs.
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    server = subprocess.Popen(["adb", "nodaemon", "server"], **quiet)
    phone = Phone(folder)
    try:
        wait_for(lambda: listens(port))
        plug_in(phone)
        yield phone
    finally:
        server.kill()
        server.wait()
        phone.close()


def plug_in(phone):
    subprocess.run(
        ["adb", "connect", phone.serial], check=True, capture_output=True, timeout=60
    )
