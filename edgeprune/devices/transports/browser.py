"""A page on any device: jobs go to the server that `edgeprune targets serve` starts."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgeprune.devices.browser.seat import seat_of
from edgeprune.devices.transports.base import Answer, Job
from edgeprune.errors import DeviceError
from edgeprune.files import sha256
from edgeprune.targets import Target

MARGIN_S = 30.0  # for what the server itself does
ANYBODY_S = 6.0  # until it is said that no page is open
FAILURES = {
    "no_page": "no page is open: open the address that `edgeprune targets serve "
    "{name}` shows on the device, and tap Start",
    "page_lost": "the page was lost in the middle of a measurement, and did not come "
    "back within {wait_s:g} s: open it again",
    "hidden": "the page is in the background, where its times mean nothing: bring it "
    "to the front, and keep the screen on",
    "busy": "another run is being measured there: wait until it ends",
    "timeout": "the measurement did not end within {job_s:g} s, and was ended; "
    "limits.job_s allows more",
}


class BrowserTransport:
    """Hands jobs to the server, which has a page do them."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def run(self, job: Job, files: Sequence[Path]) -> Answer:
        """Have the page do a job, and describe the device by what the page says."""
        names = [f"{sha256(path)[:32]}.onnx" for path in files]
        message = {**job.message(names), "names": [path.name for path in files]}
        limit_s = self._target.limits.job_s + job.sustained_s
        wait_s = self._target.browser.wait_s
        if job.mode == "describe":  # the first question: is anybody there?
            wait_s = min(wait_s, ANYBODY_S)
        asked = {
            "message": message,
            "files": {
                name: str(path.resolve())
                for name, path in zip(names, files, strict=True)
            },
            "limit_s": limit_s,
            "wait_s": wait_s,
        }
        told = self._ask("POST", "jobs", asked, limit_s + 2 * wait_s + MARGIN_S)
        answer, facts = told["answer"], told["facts"]
        if (name := answer.get("failure")) in FAILURES:
            raise self._failed(name)
        return {**answer, "machine": machine_of(facts)}

    def close(self) -> None:
        """The server goes on, for the next run."""

    def state(self) -> Mapping[str, Any]:
        """What the server says of itself and its page."""
        return self._ask("GET", "state", None, MARGIN_S)

    def _failed(self, name: str) -> DeviceError:
        words = {
            "name": self._target.name,
            "wait_s": self._target.browser.wait_s,
            "job_s": self._target.limits.job_s,
        }
        text = FAILURES[name].format(**words)
        return DeviceError(name, f"Target {self._target.name!r}: {text}.")

    def _ask(
        self, method: str, what: str, content: object, limit_s: float
    ) -> dict[str, Any]:
        seat = seat_of(self._target.name)
        if seat is None:
            raise self._no_server()
        url = urlsplit(f"{seat.runs_url}/{what}")
        assert url.hostname  # loopback
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=limit_s)
        try:
            connection.request(method, url.path, json.dumps(content))
            reply = connection.getresponse()
            body = reply.read()
        except TimeoutError as error:
            raise self._failed("timeout") from error
        except ConnectionRefusedError as error:
            raise self._no_server() from error
        except (OSError, http.client.HTTPException) as error:
            message = (
                f"Target {self._target.name!r}: the page server was lost in the middle "
                "of a measurement: start it again with `edgeprune targets serve "
                f"{self._target.name}`."
            )
            raise DeviceError("server_lost", message) from error
        finally:
            connection.close()
        if reply.status == http.HTTPStatus.NOT_FOUND:  # another's port by now
            raise self._no_server()
        if reply.status != http.HTTPStatus.OK:
            message = (
                f"Target {self._target.name!r}: the page server answers with the "
                f"status {reply.status}: is it of another version of edgeprune?"
            )
            raise DeviceError("protocol", message)
        return json.loads(body)

    def _no_server(self) -> DeviceError:
        name = self._target.name
        message = (
            f"Target {name!r}: no page server runs here: start `edgeprune targets "
            f"serve {name}` in another terminal, and open its address on the device."
        )
        return DeviceError("no_server", message)


def machine_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The device, by what its page says; a page is told little."""
    memory_gb = facts.get("memory_gb")
    return {
        "system": str(facts.get("agent", "a browser"))[:200],
        "architecture": "wasm32",
        "cpu": facts.get("label"),
        "cores": int(facts.get("cores") or 1),
        "memory_bytes": int(memory_gb * 2**30) if memory_gb else None,
    }
