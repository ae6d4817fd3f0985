"""A system for 64-bit Arm in a folder, run by an emulator: for numerics, not for times.

Debian's packages and the wheels for that processor are fetched and unpacked; nothing is
installed. Whatever cannot be had skips the tests that want it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6", "libgcc-s1")
WHEELS = ("onnxruntime", "numpy")
# The runtime chooses its kernels by this file, which must go with the emulated
# processor: that of a Raspberry Pi 5.
CPU = "cortex-a76"
CPUINFO = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1
"""  # noqa: E501  as it stands on the board


def emulator():
    for name in ("qemu-aarch64-static", "qemu-aarch64"):
        if found := shutil.which(name):
            return found
    pytest.skip("no emulator here: apt-get install qemu-user-static")


def arm_python():
    """The command of an emulated Python with NumPy and ONNX Runtime."""
    run = emulator()
    root = Path(tempfile.gettempdir()) / "edgeprune-test-arm64"
    if not (root / "ready").exists():
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        _system(root)
        _wheels(root)
        (root / "ready").touch()
    python = _python(root)
    home = f"PYTHONHOME={root}/usr"
    return [run, "-cpu", CPU, "-L", str(root), "-E", home, *_path(root), str(python)]


def _path(root):
    return ["-E", f"PYTHONPATH={root}/site"]


def _python(root):
    return next(
        path
        for path in sorted((root / "usr/bin").glob("python3.*"))
        if path.name.split(".")[-1].isdigit()
    )


def _system(root):
    """Debian's packages for that processor, unpacked."""
    state = root / "apt"
    for name in ("state/lists/partial", "cache/archives/partial", "etc"):
        (state / name).mkdir(parents=True)
    (state / "status").touch()
    options = {
        "Dir::State": state / "state",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
    }
    given = [
        word for key, value in options.items() for word in ("-o", f"{key}={value}")
    ]
    _run(["apt-get", *given, "update", "-qq"])
    more = ["install", "-y", "-qq", "--download-only", "--no-install-recommends"]
    _run(["apt-get", *given, *more, *PACKAGES])
    for package in (state / "cache/archives").glob("*.deb"):
        _run(["dpkg-deb", "-x", str(package), str(root)])
    for name in ("lib", "lib64"):  # which newer packages leave to the system
        if not (root / name).exists() and (root / "usr" / name).exists():
            (root / name).symlink_to(f"usr/{name}")
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/cpuinfo").write_text(CPUINFO)


def _wheels(root):
    version = _python(root).name.removeprefix("python").replace(".", "")
    platforms = [f"manylinux_2_{minor}_aarch64" for minor in (28, 27, 17)]
    given = [word for name in platforms for word in ("--platform", name)]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", version, *given]
    _run([*command, "-d", str(root / "wheels"), *WHEELS])
    for wheel in (root / "wheels").glob("*.whl"):
        shutil.unpack_archive(wheel, root / "site", "zip")


def _run(command):
    try:
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            timeout=300,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"a system for 64-bit Arm cannot be had: {error}")
