"""What a device says when it cannot do a job, as one sentence with what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from edgeprune.devices.transports import Answer
from edgeprune.errors import DeviceError
from edgeprune.targets import Target

WIDE = ("x86_64", "amd64", "aarch64", "arm64", "riscv64", "ppc64le")  # 64 bits


def refusal(target: Target, answer: Answer, files: Sequence[Path]) -> DeviceError:
    """The error of an answer that is not ok."""
    stage, error = answer["stage"], _sentence(answer["error"])
    at = f"Target {target.name!r}: "
    if "threads need" in error or "WebGPU" in error:
        return DeviceError("provider", f"{at}{error}.")
    if stage == "import":
        return _not_installed(target, answer, error)
    if "no space left" in error.lower():
        return DeviceError("disk_full", f"{at}{error} for files that are sent there.")
    if stage == "store":
        folder = target.ssh.folder
        return DeviceError(
            "folder", f"{at}files cannot be kept in {folder!r} there: {error}."
        )
    if "fell back to" in error:
        return DeviceError("provider", f"{at}{error}.")
    names = ", ".join(path.name for path in files) or "the device"
    return DeviceError(
        stage, f"{at}measuring {names} failed while trying to {stage}: {error}."
    )


def _not_installed(target: Target, answer: Answer, error: str) -> DeviceError:
    at = f"Target {target.name!r}: "
    machine = answer.get("machine") or {}
    architecture = str(machine.get("architecture", "")).lower()
    if architecture and architecture != "wasm32" and architecture not in WIDE:
        return DeviceError(
            "architecture",
            f"{at}the system is {architecture}, for which there is no package of ONNX "
            "Runtime: install a 64-bit system.",
        )
    missing = re.search(r"No module named '(\w+)'", error)
    if missing:
        return DeviceError(
            "no_runtime",
            f"{at}its Python lacks {missing[1]}: `edgeprune targets setup "
            f"{target.name}` says how to install it.",
        )
    if "asked for the cores" in error:
        return DeviceError("cores", f"{at}{error}: see runtime.cores.")
    return DeviceError("runtime", f"{at}its ONNX Runtime cannot be used: {error}.")


def _sentence(text: str) -> str:
    lines = text.strip().splitlines() or ["no reason was given"]
    return lines[0].strip().rstrip(".")
