"""Transports: how a job and its files reach a device, and its answer comes back.

Each is one class with one method in a file here, and a line in `TRANSPORTS` under the
name by which a target file asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgeprune.devices.transports.adb import AdbTransport
from edgeprune.devices.transports.base import Answer, Job, Mode, Transport
from edgeprune.devices.transports.browser import BrowserTransport
from edgeprune.devices.transports.fake import FakeTransport
from edgeprune.devices.transports.local import LocalTransport
from edgeprune.devices.transports.ssh import SshTransport
from edgeprune.targets import Target

__all__ = [
    "TRANSPORTS",
    "AdbTransport",
    "Answer",
    "BrowserTransport",
    "FakeTransport",
    "Job",
    "LocalTransport",
    "Mode",
    "SshTransport",
    "Transport",
]

TRANSPORTS: Mapping[str, Callable[[Target], Transport]] = {
    "host": LocalTransport,
    "ssh": SshTransport,
    "browser": BrowserTransport,
    "adb": AdbTransport,
    "fake": lambda _: FakeTransport(),
}
