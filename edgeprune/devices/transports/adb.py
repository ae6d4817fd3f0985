"""A phone on a cable: adb pushes a native runner, ONNX Runtime and the models.

The runner is a program that the user names, of the kind of ort_runner (MIT): it runs
one model in one process and prints its samples as JSON. Whatever it needs is pushed
once, by its hash; a job is one script, which is one round trip.
"""

from __future__ import annotations

import re
import shlex
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgeprune.devices.transports import adb_failures as failures
from edgeprune.devices.transports.adb_plans import PLANS, READERS
from edgeprune.devices.transports.adb_script import (
    DONE,
    Case,
    Setting,
    cases_in,
    conditions_of,
    last_state,
    script_of,
)
from edgeprune.devices.transports.base import Answer, Job
from edgeprune.devices.worker import FEATURES
from edgeprune.files import sha256
from edgeprune.targets import Target
from edgeprune.temporary import temporary_folder

COMMAND_S = 30  # that adb may take for what is quick
PUSH_S = 600
ABIS = {"arm64-v8a": "aarch64", "armeabi-v7a": "armv7l", "x86_64": "x86_64"}
PROGRAMS = {"runner": "ort_runner", "library": "libonnxruntime.so"}
FACTS = {
    "maker": "getprop ro.product.manufacturer",
    "model": "getprop ro.product.model",
    "chip": "getprop ro.soc.model",
    "abi": "getprop ro.product.cpu.abi",
    "version": "getprop ro.build.version.release",
    "system": "uname -sr",
    "cores": "grep -c ^processor /proc/cpuinfo",
    "memory": "grep MemTotal /proc/meminfo",
    "features": "grep -m 1 Features /proc/cpuinfo",
}


class AdbTransport:
    """Runs a native runner on a phone."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._known_ms: dict[str, float] = {}  # by the hash of a model
        self._machine: dict[str, Any] | None = None
        self._runtime = ""
        self._program = ""

    def run(self, job: Job, files: Sequence[Path]) -> Answer:
        """Do a job by as many processes as it takes, in one script."""
        if job.mode == "outputs":
            raise failures.failed(
                self._target, "unsupported", "the runner tells no outputs"
            )
        self._prepare()
        hashes = [sha256(path) for path in files]
        there = self._pushed(dict(zip(hashes, files, strict=True)))
        models = [there[digest] for digest in hashes]
        cases = PLANS[job.mode](job, models, self._iterations)
        output = self._ran(job, cases)
        ran = cases_in(output)
        for case, item in zip(cases, ran, strict=True):
            name = files[models.index(case.model)].name
            samples = failures.samples_of(self._target, name, item)
            self._known_ms[case.model] = statistics.median(samples)
        states = [conditions_of(item.state) for item in ran]
        return {
            "ok": True,
            "results": READERS[job.mode](job, len(files), ran),
            "runtime": self._runtime,
            "pinned_cpus": list(job.runtime.cores or ()),
            "conditions": [*states[:1], conditions_of(last_state(output))],
            "providers": [job.runtime.provider],
            "machine": self._machine,
        }

    def close(self) -> None:
        """What was pushed stays there, for the next run."""

    def _prepare(self) -> None:
        """Push the programs, and learn what the phone is; once."""
        if self._machine is not None:
            return
        folder, paths = self._target.adb.folder, self._programs()
        key = "-".join(sha256(path)[:12] for path in paths.values())
        place = f"{folder}/{key}"
        self._program = f"{place}/{PROGRAMS['runner']}"
        self._shell(f"mkdir -p {shlex.quote(place)} {shlex.quote(folder + '/models')}")
        held = self._shell(f"ls {shlex.quote(place)}").split()
        for name, path in paths.items():
            if PROGRAMS[name] not in held:
                self._push([path], f"{place}/{PROGRAMS[name]}")
        self._shell(f"chmod 755 {shlex.quote(self._program)}")
        said = self._shell(
            f"cd {shlex.quote(place)} && LD_LIBRARY_PATH=. ORT_DISABLE_TELEMETRY=1 "
            "./ort_runner --info --output-format json 2>&1; echo @@CODE $?"
        )
        self._runtime = failures.runtime_of(self._target, said)
        asked = [f'echo "{name}=$({line})"' for name, line in FACTS.items()]
        self._machine = machine_of(self._shell("; ".join(asked)))

    def _programs(self) -> dict[str, Path]:
        """The runner and the library that the target file names."""
        adb, found = self._target.adb, dict[str, Path]()
        for name, given in (("runner", adb.runner), ("library", adb.library)):
            if given is None:
                text = (
                    f"no adb.{name} is named: unpack a release of ort_runner for the "
                    "phone's processor (Red-Eyed/ort_runner on GitHub), and name its "
                    "program as adb.runner and its libonnxruntime.so as adb.library in "
                    "a target file of yours"
                )
                raise failures.failed(self._target, f"no_{name}", text)
            path = Path(given).expanduser()
            if not path.is_file():
                text = f"adb.{name}: there is no file {path}"
                raise failures.failed(self._target, f"no_{name}", text)
            found[name] = path
        return found

    def _pushed(self, files: dict[str, Path]) -> dict[str, str]:
        """Paths of models on the phone, those that it lacks pushed all at once."""
        if not files:
            return {}
        place = f"{self._target.adb.folder}/models"
        names = {digest: f"{digest}.onnx" for digest in files}
        held = self._shell(f"ls {shlex.quote(place)}").split()
        lacking = {digest for digest, name in names.items() if name not in held}
        if lacking:
            with temporary_folder() as folder:
                for digest in lacking:
                    shutil.copy(files[digest], folder / names[digest])
                self._push([folder / names[at] for at in lacking], f"{place}/")
        return {digest: f"{place}/{name}" for digest, name in names.items()}

    def _iterations(self, model: str, job: Job) -> int:
        """As many as the recipe's seconds hold, where the model's time is known."""
        least, known = job.recipe.iterations, self._known_ms.get(model)
        if known is None:
            return least
        return max(least, round(job.recipe.seconds * 1e3 / max(known, 1e-3)))

    def _ran(self, job: Job, cases: Sequence[Case]) -> str:
        """What the script of some cases prints."""
        runtime, limit_c = job.runtime, self._target.limits.temperature_c
        setting = Setting(
            self._target.adb.folder,
            self._program,
            runtime.threads,
            runtime.cores,
            runtime.provider,
            runtime.optimization,
            job.batch,
            None if limit_c is None else round(limit_c * 10),
        )
        remote = f"{setting.folder}/job.sh"
        with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
            script.write(script_of(cases, setting))
            script.flush()
            self._push([Path(script.name)], remote)
        limit_s = self._target.limits.job_s + job.sustained_s
        output, complaint = self._adb(
            ["shell", "-T", f"sh {shlex.quote(remote)}"], limit_s, held=True
        )
        if DONE not in output:
            raise failures.of_script(self._target, output, complaint)
        return output

    def _shell(self, line: str) -> str:
        mark = "@@EDGEPRUNE-SAID"
        output, complaint = self._adb(
            ["shell", "-T", f"{line}; echo {mark}"], COMMAND_S
        )
        if mark not in output:  # whose exit status is 0 where the phone is gone
            raise failures.of_script(self._target, output, complaint)
        return output.rpartition(mark)[0]

    def _push(self, paths: Sequence[Path], remote: str) -> None:
        """Push files into a folder that is there, or one file under a name."""
        output, complaint = self._adb(["push", *map(str, paths), remote], PUSH_S)
        said = f"{output}\n{complaint}"
        if "error" in said.lower() or "failed" in said.lower():
            raise failures.of_push(self._target, said)

    def _adb(
        self, words: Sequence[str], limit_s: float, *, held: bool = False
    ) -> tuple[str, str]:
        """Run adb; what it prints, and what it complains about.

        Args:
            held: keep the input open, whose end tells the phone that we are gone.
        """
        command = shutil.which("adb")
        if command is None:
            raise failures.failed(
                self._target,
                "no_adb",
                "there is no adb here: install Android's platform-tools",
            )
        chosen = ["-s", self._target.adb.serial] if self._target.adb.serial else []
        with temporary_folder() as folder:
            out, err = folder / "out", folder / "err"
            with out.open("wb") as output, err.open("wb") as errors:
                process = subprocess.Popen(
                    [command, *chosen, *words],
                    stdin=subprocess.PIPE if held else subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                )
            try:
                process.wait(limit_s)
            except subprocess.TimeoutExpired as error:
                raise failures.late(self._target, limit_s) from error
            finally:
                process.kill()
                process.wait()
                if process.stdin is not None:
                    with suppress(OSError):
                        process.stdin.close()
            said, complaint = (
                path.read_text(encoding="utf-8", errors="replace")
                for path in (out, err)
            )
        if process.returncode and (problem := failures.of_adb(self._target, complaint)):
            raise problem
        return said, complaint


def machine_of(said: str) -> dict[str, Any]:
    """The phone, by what its shell says of it, a fact in each line."""
    parts = (line.strip().partition("=") for line in said.splitlines())
    told = {name: value for name, _, value in parts}
    name = " ".join(filter(None, (told.get("maker"), told.get("model"))))
    chip, cores = told.get("chip"), told.get("cores", "")
    size = re.search(r"\d+", told.get("memory", ""))
    found = told.get("features", "").partition(":")[2].split()
    abi = told.get("abi", "")
    return {
        "system": f"Android {told.get('version', '?')}, {told.get('system', '')}",
        "architecture": ABIS.get(abi, abi),
        "cpu": f"{name} ({chip})" if chip else name or None,
        "cores": int(cores) if cores.isdigit() else 1,
        "memory_bytes": int(size[0]) * 1024 if size else None,
        "features": [item for item in FEATURES if item in found],
    }
