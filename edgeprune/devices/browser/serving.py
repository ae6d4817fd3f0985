"""Serves the page of a target until it is told to stop."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from edgeprune.devices.browser.broker import Broker
from edgeprune.devices.browser.runtime_files import runtime_files
from edgeprune.devices.browser.seat import keep_seat, new_seat
from edgeprune.devices.browser.server import Door, PageServer
from edgeprune.devices.command import CommandFailed, output_of
from edgeprune.devices.transports.browser import BrowserTransport
from edgeprune.errors import DeviceError, TargetError
from edgeprune.files import cache_folder
from edgeprune.targets import Target

LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"
ELSEWHERE = ("192.0.2.1", 9)  # an address for documents: nothing is sent there
CERTIFICATE_DAYS = "365"
COMMAND_S = 20


@dataclass(frozen=True)
class Serving:
    """How a page is served.

    Attributes:
        lan: to the local network, not to this machine alone.
        https: with a certificate made here, which the device has to be told to trust.
        adb: open it on a phone on a cable.
        port: of the page; None takes the one of last time.
        ort_web: where the files of ONNX Runtime Web are.
    """

    lan: bool = False
    https: bool = False
    adb: bool = False
    port: int | None = None
    ort_web: Path | None = None


def serve(
    target: Target,
    how: Serving,
    opened: Callable[[str], None],
    told: Callable[[str], None],
) -> None:
    """Serve until the process is interrupted.

    Args:
        opened: is given the address, once it can be opened.
        told: what happens.

    Raises:
        TargetError: the target has no page, or it cannot be served.
    """
    if target.transport != "browser":
        message = (
            f"Target {target.name!r} is not measured by a page (its transport is "
            f"{target.transport}): nothing is served."
        )
        raise TargetError(message)
    if _is_served(target):
        message = (
            f"{target.name} is served already: end the other `edgeprune targets serve "
            f"{target.name}` first."
        )
        raise TargetError(message)
    files = runtime_files(how.ort_web, told)
    with suppress(asyncio.CancelledError):
        asyncio.run(_serve(target, how, PageServer(Broker(), files, told), opened))


async def _serve(
    target: Target, how: Serving, server: PageServer, opened: Callable[[str], None]
) -> None:
    seat = new_seat(target.name, how.port)
    certificate = _certificate() if how.https else None
    host = EVERYWHERE if how.lan else LOOPBACK
    try:
        try:
            port = await server.open_page(
                Door(host, seat.page_port, seat.page_token), certificate
            )
        except OSError:
            if how.port is not None:
                raise
            port = await server.open_page(Door(host, 0, seat.page_token), certificate)
        runs_port = await server.open_runs(Door(LOOPBACK, 0, seat.runs_token))
        seat = replace(seat, page_port=port, runs_port=runs_port)
        keep_seat(target.name, seat)
    except OSError as error:
        await server.close()
        raise TargetError(f"The page cannot be served: {error}.") from error
    scheme = "https" if how.https else "http"
    shown = own_address() if how.lan else "localhost" if how.adb else LOOPBACK
    address = f"{scheme}://{shown}:{port}/{seat.page_token}/"
    try:
        if how.adb:
            _open_on_phone(target, port, address)
        _end_when_told()
        opened(address)
        await server.watch()
    finally:
        await server.close()


def _is_served(target: Target) -> bool:
    """Whether another server has the target's seat."""
    with suppress(DeviceError):
        BrowserTransport(target).state()
        return True
    return False


def _end_when_told() -> None:
    """Let a service manager's signal end us in good order, as Ctrl-C does."""
    task = asyncio.current_task()
    with suppress(NotImplementedError):  # of Windows
        if task is not None:
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, task.cancel)


def own_address() -> str:
    """This machine's address in the local network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held, suppress(OSError):
        held.connect(ELSEWHERE)
        return held.getsockname()[0]
    return LOOPBACK


def _open_on_phone(target: Target, port: int, address: str) -> None:
    """Let the phone on the cable reach the page as its own, and open it."""
    adb = shutil.which("adb")
    if adb is None:
        raise TargetError(
            "--adb: there is no adb here: install Android's platform-tools."
        )
    chosen = ["-s", target.adb.serial] if target.adb.serial else []
    view = ["am", "start", "-a", "android.intent.action.VIEW", "-d", address]
    for command in (["reverse", f"tcp:{port}", f"tcp:{port}"], ["shell", *view]):
        _run([adb, *chosen, *command], "--adb")


def _certificate() -> ssl.SSLContext:
    """A certificate of our own, kept for next time."""
    folder = cache_folder() / "serve"
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    if not certificate.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = shutil.which("openssl")
        if command is None:
            raise TargetError(
                "--https: there is no openssl here to make a certificate."
            )
        made = [
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=edgeprune",
        ]
        files = ["-keyout", str(key), "-out", str(certificate)]
        _run([command, *made, "-days", CERTIFICATE_DAYS, *files], "--https")
        key.chmod(0o600)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def _run(command: Sequence[str], option: str) -> None:
    try:
        output_of(command, COMMAND_S)
    except CommandFailed as failed:
        message = f"{option}: {Path(command[0]).name} {failed}."
        raise TargetError(message) from failed
