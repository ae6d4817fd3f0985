"""What a board or the way to it may lack, each with its own sentence."""

import socket
import threading

import pytest
import torch

from edgeprune.errors import DeviceError
from edgeprune.measure.onnx_file import write_onnx
from tests.boards import free_port, make_key
from tests.devices.test_ssh import BRIEF, failure, file, pi, python, runner_on
from tests.nets import Bottom

__all__ = ["file", "pi"]  # fixtures
pytestmark = pytest.mark.xdist_group("measuring")  # on this machine

# Arm code, which no x86 runs, and the other way round.
FOREIGN = b"\x7fELF\x02\x01\x01" + b"\0" * 9 + b"\x02\0\xf7\0" + b"\0" * 60


def test_a_port_where_nobody_listens(pi, file):
    error, took = failure(pi, [file], ssh={"port": free_port()})
    assert error.failure == "refused"
    assert "refuses the connection" in str(error)
    assert took < 5


def test_a_host_that_says_nothing(pi, file):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        error, took = failure(pi, [file], ssh={"port": port, "connect_s": 1})
    assert error.failure == "silent"
    assert "does not answer within 1 s" in str(error)
    assert took < 10


def test_a_server_that_hangs_up(pi, file):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()

        def hang_up():
            held.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        port = held.getsockname()[1]
        error, _ = failure(pi, [file], ssh={"port": port})
    assert error.failure == "closed"
    assert "there may be no ssh server" in str(error)


def test_a_name_that_nobody_knows(pi, file):
    error, _ = failure(pi, [file], ssh={"host": "no-such-board.invalid"})
    assert error.failure == "name"
    assert "~/.ssh/config" in str(error)


def test_a_host_key_that_is_not_known(pi, file, monkeypatch):
    empty = pi.folder / "nobody"
    empty.write_text("")
    monkeypatch.setattr(type(pi), "known_hosts", property(lambda _: empty))
    error, _ = failure(pi, [file])
    assert error.failure == "host_key"
    assert "is not known here: connect once by hand" in str(error)


def test_a_host_key_that_has_changed(pi, file, monkeypatch):
    make_key(pi.folder / "another")
    kind, key, *_ = (pi.folder / "another.pub").read_text().split()
    changed = pi.folder / "changed"
    changed.write_text(f"[127.0.0.1]:{pi.port} {kind} {key}\n")
    monkeypatch.setattr(type(pi), "known_hosts", property(lambda _: changed))
    error, _ = failure(pi, [file])
    assert error.failure == "host_key_changed"
    assert "ssh-keygen -R 127.0.0.1" in str(error)


def test_a_key_that_is_refused(pi, file):
    error, _ = failure(pi, [file], ssh={"identity": str(pi.folder / "host_key")})
    assert error.failure == "key"
    assert "ssh-copy-id" in str(error)


def test_a_board_that_runs_no_command(pi, file):
    make_key(pi.folder / "bound")
    text = (pi.folder / "bound.pub").read_text()
    allowed = pi.folder / "authorized_keys"
    allowed.write_text(allowed.read_text() + f'command="echo no >&2; exit 1" {text}')
    error, _ = failure(pi, [file], ssh={"identity": str(pi.folder / "bound")})
    assert error.failure == "shell"
    assert "lets us in, but runs no command there: no" in str(error)


def test_a_board_without_python(pi, file):
    error, _ = failure(pi, [file], ssh={"python": "python9"})
    assert error.failure == "no_python"
    assert "there is no python9" in str(error)


def test_a_python_that_is_too_old(pi, file):
    old = pi.command("python-old", "#!/bin/sh\necho python is 3.7 >&2\nexit 1\n")
    error, _ = failure(pi, [file], ssh={"python": str(old)})
    assert error.failure == "old_python"
    assert "version 3.7, 3.9 or newer is needed" in str(error)


def test_a_python_for_another_processor(pi, file):
    path = pi.folder / "bin" / "python-foreign"
    path.write_bytes(FOREIGN)
    path.chmod(0o755)
    error, _ = failure(pi, [file], ssh={"python": str(path)})
    assert error.failure == "architecture"
    assert "cannot be run there" in str(error)


def test_a_python_that_says_nothing(pi, file):
    mute = pi.command("python-mute", "#!/bin/sh\nexit 0\n")
    error, _ = failure(pi, [file], ssh={"python": str(mute)})
    assert error.failure == "python"


def refused(pi, file, **changed):
    """The error that a runner makes of an answer."""
    with runner_on(pi, **changed) as runner, pytest.raises(DeviceError) as caught:
        runner.time([file], BRIEF)
    return caught.value


def test_a_python_without_a_runtime(pi, file):
    bare = python(pi, "bare", options="-S")
    error = refused(pi, file, ssh={"python": bare})
    assert error.failure == "no_runtime"
    assert "its Python lacks numpy: `edgeprune targets setup board`" in str(error)


def test_a_system_of_32_bits(pi, file):
    code = "import platform\nplatform.machine = lambda: 'armv7l'\n"
    code += "import sys\nsys.modules['onnxruntime'] = None\n"
    small = python(pi, "small", code)
    error = refused(pi, file, ssh={"python": small})
    assert error.failure == "architecture"
    assert "the system is armv7l" in str(error)
    assert "install a 64-bit system" in str(error)


def test_a_disk_that_is_full(pi, tmp_path):
    path = tmp_path / "new.onnx"
    write_onnx(Bottom(16), (torch.randn(1, 3, 8, 8),), path)
    code = (
        "import errno, pathlib\n"
        "def full(self, content):\n"
        "    raise OSError(errno.ENOSPC, 'No space left on device', str(self))\n"
        "pathlib.Path.write_bytes = full\n"
    )
    error = refused(pi, path, ssh={"python": python(pi, "full", code)})
    assert error.failure == "disk_full"
    assert "no space left on" in str(error)


def test_a_folder_that_cannot_be_written(pi, file):
    error = refused(pi, file, ssh={"folder": "/proc/edgeprune"})
    assert error.failure == "folder"
    assert "files cannot be kept in '/proc/edgeprune'" in str(error)


def test_a_file_that_is_no_model(pi, tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"no model")
    error = refused(pi, path)
    assert error.failure == "load"
    assert "bad.onnx failed while trying to load" in str(error)


def test_a_provider_that_is_not_there(pi, file):
    runtime = pi.target().runtime.model_dump()
    runtime["provider"] = "CUDAExecutionProvider"
    error = refused(pi, file, runtime=runtime)
    assert error.failure == "provider"
    assert "fell back to CPUExecutionProvider" in str(error)


def test_cores_that_are_not_there(pi, file):
    runtime = {**pi.target().runtime.model_dump(), "cores": [4000]}
    error = refused(pi, file, runtime=runtime)
    assert error.failure == "cores"
    assert "see runtime.cores" in str(error)
