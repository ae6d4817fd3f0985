"""The files of ONNX Runtime Web: from a folder of yours, the cache, or npm.

Their hashes are checked, so that a page runs what was published and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

from edgeprune.devices.command import CommandFailed, output_of
from edgeprune.errors import TargetError
from edgeprune.files import cache_folder, write_whole
from edgeprune.temporary import temporary_folder

VERSION = "1.30.0"
PACKAGE = f"onnxruntime-web@{VERSION}"
PACKAGE_SHA512 = (
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02V"
    "b7QmRMDs1SigqR4CXAfKYQ=="
)
FILES = {
    "ort.wasm.bundle.min.mjs": (
        "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90"
    ),
    "ort-wasm-simd-threaded.wasm": (
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
    ),
    "ort.webgpu.bundle.min.mjs": (
        "0730816731ce2cdfb06f273da065d4a1c7091eb9d1756a83b2916c8a89d015e2"
    ),
    "ort-wasm-simd-threaded.asyncify.wasm": (
        "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da"
    ),
}
NPM_S = 300


def runtime_files(
    given: Path | None = None, told: Callable[[str], None] = lambda _: None
) -> dict[str, bytes]:
    """The files by their names.

    Args:
        given: the package as npm packs it, or a folder with its files; by default the
            cache, and where that has none, npm.
        told: is given what takes a while.

    Raises:
        TargetError: they cannot be had, or are not those that were published.
    """
    if given is not None:
        return _from(given)
    cached = cache_folder() / "onnxruntime-web" / VERSION
    try:
        return _from_folder(cached)
    except TargetError:
        told(f"Fetching {PACKAGE} with npm, once: 33 MB ...")
        found = _from_npm()
    for name, content in found.items():
        write_whole(cached / name, content)
    return found


def _from(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        for folder in (path, path / "dist", path / "package" / "dist"):
            if (folder / "ort.wasm.bundle.min.mjs").exists():
                return _from_folder(folder)
        raise TargetError(f"--ort-web {path}: there is no onnxruntime-web in it.")
    if path.is_file():
        return _from_package(path)
    raise TargetError(f"--ort-web {path}: there is no such file or folder.")


def _from_folder(folder: Path) -> dict[str, bytes]:
    return _checked(str(folder), lambda name: (folder / name).read_bytes())


def _from_package(path: Path) -> dict[str, bytes]:
    content = path.read_bytes()
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    if digest != PACKAGE_SHA512:
        message = (
            f"{path.name} is not the {PACKAGE} that was published (another hash): it "
            "is not used."
        )
        raise TargetError(message)
    with tarfile.open(fileobj=io.BytesIO(content)) as package:

        def read(name: str) -> bytes:
            held = package.extractfile(f"package/dist/{name}")
            return held.read() if held else b""

        return _checked(path.name, read)


def _checked(where: str, read: Callable[[str], bytes]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name, expected in FILES.items():
        try:
            found[name] = read(name)
        except (OSError, KeyError) as error:
            message = f"{where}: {name} of {PACKAGE} is missing."
            raise TargetError(message) from error
        if hashlib.sha256(found[name]).hexdigest() != expected:
            message = (
                f"{where}: {name} is not that of {PACKAGE} (another hash): it is not "
                "used."
            )
            raise TargetError(message)
    return found


def _from_npm() -> dict[str, bytes]:
    npm = shutil.which("npm")
    if npm is None:
        message = (
            "The page needs the files of ONNX Runtime Web, and there is no npm here to "
            f"fetch them: run `npm pack {PACKAGE}` on another machine, and give the "
            "file with --ort-web."
        )
        raise TargetError(message)
    with temporary_folder() as folder:
        command = [npm, "pack", PACKAGE, "--silent", "--pack-destination", str(folder)]
        try:
            output_of(command, NPM_S)
        except CommandFailed as failed:
            message = (
                f"`npm pack {PACKAGE}` {failed}; fetch it elsewhere, and give the file "
                "with --ort-web."
            )
            raise TargetError(message) from failed
        return _from_package(next(folder.glob("*.tgz")))
