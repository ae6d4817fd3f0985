"""Transports: how a job and its files reach a device, and its answer comes back.

Each is one class with one method in a file here, and a line in `TRANSPORTS` under the
name by which a target file asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgeprune.measure.transports.adb import AdbTransport
from edgeprune.measure.transports.base import Answer, Job, Mode, Transport
from edgeprune.measure.transports.browser import BrowserTransport
from edgeprune.measure.transports.fake import FakeTransport
from edgeprune.measure.transports.local import LocalTransport
from edgeprune.measure.transports.ssh import SshTransport
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
