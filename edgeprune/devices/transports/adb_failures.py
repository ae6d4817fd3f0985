"""What went wrong between here and a phone, as one sentence with what to do."""

from __future__ import annotations

import json
import re

from edgeprune.devices.transports.adb_script import MARK, Ran
from edgeprune.errors import DeviceError
from edgeprune.targets import Target

SIGKILL = 137  # what a shell makes of it
# What adb says before anything runs on the phone.
BY_ADB: tuple[tuple[str, str, str], ...] = (
    (
        r"unauthorized",
        "unauthorized",
        "the phone has not allowed this computer yet: unlock it, and allow USB "
        "debugging in the question that it shows",
    ),
    (
        r"no devices/emulators found|no devices found",
        "no_phone",
        "adb sees no phone: plug it in, and turn on USB debugging in its developer "
        "options",
    ),
    (
        r"more than one device",
        "many_phones",
        "adb sees more than one phone: name one as adb.serial (`adb devices` lists "
        "them)",
    ),
    (
        r"device '.*' not found",
        "no_phone",
        "adb does not see the phone {serial}: plug it in, or correct adb.serial "
        "(`adb devices` lists them)",
    ),
    (
        r"device offline|device still (connecting|authorizing)|closed|protocol fault",
        "lost",
        "the phone went away: plug it in again",
    ),
    (
        r"cannot connect to daemon|failed to start daemon",
        "no_adb_server",
        "adb's own server does not start: `adb kill-server`, and try again",
    ),
)
# What the phone's shell or linker says of the runner.
BY_PHONE: tuple[tuple[str, str, str], ...] = (
    (
        r"No space left on device",
        "disk_full",
        "no space is left on the phone for files that are sent there",
    ),
    (
        r"not executable: \d+-bit|Exec format error|(bad|wrong) ELF|e_machine"
        r"|syntax error: unexpected|for EM_\w+ instead of",
        "architecture",
        "the runner is built for another processor than the phone's: take the one for "
        "arm64",
    ),
    (
        r"(library|dlopen).*libonnxruntime|libonnxruntime.* (not found|cannot)",
        "no_runtime",
        "the runner cannot load the libonnxruntime.so that adb.library names: {said}",
    ),
    (r"Permission denied", "folder", "the phone does not allow it: {said}"),
    (
        r"emulat",
        "emulator",
        "that is an emulator, whose times say nothing of a phone",
    ),
    (
        r"Read-only file system|No such file or directory",
        "folder",
        "files cannot be kept in {folder!r} there: {said}",
    ),
)


def failed(target: Target, name: str, text: str) -> DeviceError:
    """An error about a target's device."""
    return DeviceError(name, f"Target {target.name!r}: {text}.")


def late(target: Target, limit_s: float) -> DeviceError:
    """The error of a command that did not end."""
    text = f"the phone did not answer within {limit_s:g} s; limits.job_s allows more"
    return failed(target, "timeout", text)


def of_adb(target: Target, complaint: str) -> DeviceError | None:
    """The error that adb itself reports, if that is what it is."""
    return _first(target, BY_ADB, complaint)


def of_push(target: Target, said: str) -> DeviceError:
    """The error of files that did not arrive."""
    found = _first(target, (*BY_PHONE, *BY_ADB), said)
    return found or failed(target, "push", f"adb push fails: {_last(said)}")


def of_script(target: Target, output: str, complaint: str) -> DeviceError:
    """The error of a shell that did not come to its end."""
    if f"{MARK}HOT" in output:
        text = (
            "the phone stayed hot for five minutes: let it cool down, out of its case "
            "and away from the sun"
        )
        return failed(target, "hot", text)
    if found := of_adb(target, complaint):
        return found
    if complaint.strip():
        return _of_phone(target, complaint)
    return failed(target, "lost", "the phone went away in the middle of a measurement")


def samples_of(target: Target, name: str, ran: Ran) -> list[float]:
    """What a case measured.

    Raises:
        DeviceError: it failed.
    """
    if ran.code == SIGKILL:
        text = f"the runner was killed while it ran {name}: out of memory?"
        raise failed(target, "killed", text)
    if ran.code:
        if found := _first(target, BY_PHONE[:3], ran.complaint):
            raise found
        said = ran.complaint.partition("error: ")[2] or ran.complaint
        text = f"the runner fails on {name}: {_last(said)}"
        raise failed(target, "load", text)
    try:
        return [float(sample) for sample in ran.report["timings"]["measured_ms"]]
    except (KeyError, TypeError, ValueError) as error:
        text = (
            f"what the runner prints cannot be read ({type(error).__name__}): "
            "ort_runner 0.7 is known to work"
        )
        raise failed(target, "protocol", text) from error


def runtime_of(target: Target, said: str) -> str:
    """The runtime's name and version, by what the runner says of itself.

    Raises:
        DeviceError: it does not run.
    """
    body, _, code = said.rpartition("@@CODE ")
    if code.strip() != "0":
        raise _of_phone(target, body)
    try:
        told = json.loads(body[body.find("{") : body.rfind("}") + 1])
        build = str(told["onnxruntime_build"])
        runner = str(told["ort_runner_version"])
    except (ValueError, KeyError, TypeError) as error:
        text = "what the runner says of itself cannot be read: is it an ort_runner?"
        raise failed(target, "protocol", text) from error
    version = re.search(r"\d+\.\d+(\.\d+)?", build)
    return f"onnxruntime {version[0] if version else build} (ort_runner {runner})"


def _of_phone(target: Target, said: str) -> DeviceError:
    found = _first(target, BY_PHONE, said)
    return found or failed(target, "runner", f"the runner does not run: {_last(said)}")


def _first(
    target: Target, known: tuple[tuple[str, str, str], ...], said: str
) -> DeviceError | None:
    words = {
        "serial": target.adb.serial,
        "folder": target.adb.folder,
        "said": _last(said),
    }
    for pattern, name, text in known:
        if re.search(pattern, said):
            return failed(target, name, text.format(**words))
    return None


def _last(said: str) -> str:
    lines = [line.strip() for line in said.strip().splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "it says nothing"
