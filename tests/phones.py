"""Phones for tests: a real browser without a screen, and the server that it uses."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import pytest

from edgeprune import targets
from edgeprune.devices.browser.runtime_files import runtime_files
from edgeprune.devices.browser.seat import seat_of
from edgeprune.devices.transports.browser import BrowserTransport
from edgeprune.errors import TargetError
from tests.waiting import wait_for

ROOT = Path(__file__).parents[1]
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
WEB = """
name = "{name}"
description = "A browser on this machine"
transport = "browser"

[browser]
wait_s = {wait_s}

[runtime]
engine = "onnxruntime-web"
provider = "{provider}"
threads = {threads}
precisions = ["fp32", "int8"]
int8_activations = "unsigned"

[timing]
warmup = 5
warmup_s = 0.2
iterations = 5
seconds = 0.05
rounds = 3

[probing]
warmup = 1
warmup_s = 0.05
iterations = 2
seconds = 0.01
rounds = 1
networks = 8

[verdict]
processes = 1

[limits]
job_s = {job_s}
"""


def chromium():
    """The command of a browser; skips where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("no Chromium here: apt-get install chromium")


def ort_web():
    """Where the files of ONNX Runtime Web are; skips where they cannot be had."""
    given = os.environ.get("EDGEPRUNE_TEST_ORT_WEB")
    if given:
        return Path(given)
    kept = Path(tempfile.gettempdir()) / "edgeprune-test-ort-web"
    before = os.environ.get("EDGEPRUNE_CACHE")
    os.environ["EDGEPRUNE_CACHE"] = str(kept)
    try:
        runtime_files()
    except TargetError as error:
        pytest.skip(str(error))
    finally:
        if before is None:
            del os.environ["EDGEPRUNE_CACHE"]
        else:
            os.environ["EDGEPRUNE_CACHE"] = before
    return next((kept / "onnxruntime-web").iterdir())


def web_target(folder, name="web", **changed):
    """The file of a target that this machine's browser is."""
    words = {"provider": "wasm", "threads": 1, "wait_s": 20, "job_s": 300, "name": name}
    path = folder / f"{name}.toml"
    path.write_text(WEB.format(**{**words, **changed}))
    return path


@contextmanager
def serving(path, *options):
    """`edgeprune targets serve` in a process of its own; yields it."""
    command = [sys.executable, "-m", "edgeprune", "targets", "serve", str(path)]
    name = targets.load(str(path)).name
    before = seat_of(name)
    process = subprocess.Popen(
        [*command, "--ort-web", str(ort_web()), *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        for _ in range(200):
            now = seat_of(name)
            if now is not None and now != before:
                break
            if process.poll() is not None:
                pytest.fail(f"the server ended: {process.stdout.read()}")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.stdout.close()


def page_address(path, label):
    """The address that begins by itself."""
    seat = seat_of(targets.load(str(path)).name)
    return (
        f"http://127.0.0.1:{seat.page_port}/{seat.page_token}/"
        f"?start=1&label={quote(label)}"
    )


@contextmanager
def browsing(path, *flags, label="A browser"):
    """A browser that opens a served target's page; yields its process once it is there.

    On a machine that is busy, a browser takes longer to start than a run waits for one.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                chromium(),
                *_flags(flags),
                f"--user-data-dir={profile}",
                page_address(path, label),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_for(lambda: BrowserTransport(targets.load(str(path))).state()["page"])
            yield process
        finally:
            close(process)


def _flags(more):
    """Those of a test replace what would stand in their way."""
    held = [flag for flag in FLAGS if not (more and flag == "--disable-gpu")]
    return [*held, *more]


def close(process):
    """End a browser with all its processes."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait()
