"""Speaks HTTP between the page, the broker and the runs on this machine.

Two doors: one for the page, on loopback or the local network, behind a random token in
the path, with a list of what may be asked for; and one for runs, on loopback only,
whose address stands in a file that only this user can read. Bodies, headers and times
are limited. Nothing that a page sends is written to a file.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from edgeprune.devices.browser.broker import Broker, Page

LARGEST_ANSWER = 32_000_000  # bytes
LARGEST = 64_000
READ_S = 30  # until a request must be here
KEEP_S = 75  # that an idle connection stays
STATIC = Path(__file__).parent / "page"
PAGE_FILES = {
    "": ("page.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "page.js": ("page.js", "text/javascript"),
    "bench.js": ("bench.js", "text/javascript"),
}
KINDS = {".mjs": "text/javascript", ".wasm": "application/wasm"}
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Threads need a page that shares nothing with others.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
        "connect-src 'self'; worker-src 'self' blob:; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
}
MALFORMED = (  # what reading something that is not as it should be raises
    *(ValueError, TypeError, KeyError, AttributeError, RecursionError, TimeoutError),
)
WORDS = {  # of what a job does, for the terminal
    "describe": "described itself",
    "time": "timed",
    "profile": "timed by operator",
    "probe": "probed",
    "memory": "memory of",
    "outputs": "outputs of",
    "sustain": "ran for long",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Door:
    """Where a server listens, and the word that opens it."""

    host: str
    port: int
    token: str


@dataclass
class PageServer:
    """The server of one target.

    Attributes:
        runtime: the files of ONNX Runtime Web.
        told: is called when something happens that the person at the terminal wants
            to know.
    """

    broker: Broker
    runtime: Mapping[str, bytes]
    told: Callable[[str], None] = lambda _: None
    _runners: list[web.AppRunner] = field(default_factory=list)
    _since: dict[Any, float] = field(default_factory=dict)
    _asked: set[Any] = field(default_factory=set)

    async def open_page(
        self, door: Door, certificate: ssl.SSLContext | None = None
    ) -> int:
        """Listen for the page; returns the port, which is chosen where it is 0."""
        app = web.Application(
            middlewares=[self._guard(door.token)], client_max_size=LARGEST_ANSWER
        )
        at = f"/{door.token}/"
        for name in PAGE_FILES:
            app.router.add_get(at + name, self._page_file)
        app.router.add_get(at + "ort/{name}", self._runtime_file)
        app.router.add_get(at + "file/{name}", self._model_file)
        app.router.add_get(at + "next", self._next)
        app.router.add_post(at + "hello", self._hello)
        app.router.add_post(at + "beat", self._beat)
        app.router.add_post(at + "bye", self._bye)
        app.router.add_post(at + "answer", self._answer)
        return await self._listen(app, door, certificate)

    async def open_runs(self, door: Door) -> int:
        """Listen for runs on this machine."""
        app = web.Application(
            middlewares=[self._guard(door.token)], client_max_size=LARGEST_ANSWER
        )
        at = f"/{door.token}/"
        app.router.add_get(at + "state", self._state)
        app.router.add_post(at + "jobs", self._job)
        return await self._listen(app, door, None)

    async def close(self) -> None:
        """Stop listening."""
        for runner in self._runners:
            await runner.cleanup()

    async def watch(self) -> None:
        """Say who comes and goes, and close idle connections, for as long as we serve.

        Idle are those that never ask for anything.
        """
        shown: Page | None = None
        while True:
            await asyncio.sleep(1)
            page = self.broker.page
            if page is not shown:
                if shown is not None:
                    self.told(f"{shown.facts['label']} has gone")
                if page is not None:
                    self.told(f"{page.facts['label']} is here")
                shown = page
            now = time.monotonic()
            held = {
                item
                for runner in self._runners
                if runner.server is not None
                for item in runner.server.connections
            }
            self._since = {item: self._since.get(item, now) for item in held}
            self._asked &= held
            for item, since in self._since.items():
                if now - since > READ_S and item not in self._asked:
                    item.force_close()

    async def _listen(
        self, app: web.Application, door: Door, certificate: ssl.SSLContext | None
    ) -> int:
        runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,  # a run that is gone wants nothing any more
            keepalive_timeout=KEEP_S,
            shutdown_timeout=1,
        )
        await runner.setup()
        site = web.TCPSite(runner, door.host, door.port, ssl_context=certificate)
        await site.start()
        self._runners.append(runner)
        return runner.addresses[0][1]

    def _guard(self, token: str) -> Any:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._asked.add(request.protocol)
            given = request.path.split("/")[1] if "/" in request.path else ""
            try:
                if not hmac.compare_digest(given.encode(), token.encode()):
                    raise web.HTTPNotFound
                response = await handler(request)
            except web.HTTPException as refused:
                response = web.Response(status=refused.status)
            except MALFORMED:
                response = web.Response(status=400)
            if not response.prepared:
                for name, value in HEADERS.items():
                    response.headers.setdefault(name, value)
            return response

        return guard

    async def _page_file(self, request: web.Request) -> web.Response:
        name, kind = PAGE_FILES[request.path.rpartition("/")[2]]
        text = (STATIC / name).read_text(encoding="utf-8")
        return web.Response(text=text, content_type=kind, charset="utf-8")

    async def _runtime_file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.runtime:
            raise web.HTTPNotFound
        kind = KINDS[Path(name).suffix]
        kept = {"Cache-Control": "private, max-age=86400"}  # 14 MB; no secret
        return web.Response(body=self.runtime[name], content_type=kind, headers=kept)

    async def _model_file(self, request: web.Request) -> web.Response:
        path = self.broker.file(request.match_info["name"])
        if path is None:
            raise web.HTTPNotFound
        with suppress(OSError):
            return web.Response(body=path.read_bytes())
        raise web.HTTPGone

    async def _next(self, request: web.Request) -> web.Response:
        page = request.query["page"]
        job = await self.broker.next(page)
        if job is None:
            return web.Response(status=204)
        return web.json_response({**job.message, "id": job.id})

    async def _hello(self, request: web.Request) -> web.Response:
        told = await _json(request, LARGEST)
        page, label = str(told.pop("page")), str(told["label"])[:60]
        self.broker.hello(page, {**told, "label": label})
        return web.json_response({})

    async def _beat(self, request: web.Request) -> web.Response:
        told = await _json(request, LARGEST)
        job = told["job"]
        job = None if job is None else str(job)
        hidden = bool(told["hidden"])
        return web.json_response(
            self.broker.beat(str(told["page"]), job, hidden=hidden)
        )

    async def _bye(self, request: web.Request) -> web.Response:
        self.broker.bye(str((await _json(request, LARGEST))["page"]))
        return web.json_response({})

    async def _answer(self, request: web.Request) -> web.Response:
        page, job = request.query["page"], request.query["job"]
        wanted = self.broker.answer(page, job, await _json(request, LARGEST_ANSWER))
        return web.json_response({"wanted": wanted})

    async def _state(self, request: web.Request) -> web.Response:  # noqa: ARG002
        page = self.broker.page
        return web.json_response({"page": None if page is None else dict(page.facts)})

    async def _job(self, request: web.Request) -> web.Response:
        asked = await _json(request, LARGEST_ANSWER)
        files = {name: Path(path) for name, path in asked["files"].items()}
        message = asked["message"]
        what = f"{WORDS[message['mode']]} {', '.join(message['names'])}".rstrip()
        job = self.broker.submit(
            message, files, float(asked["limit_s"]), float(asked["wait_s"])
        )
        began = time.monotonic()
        answer = await job
        took = f"{time.monotonic() - began:.1f} s"
        if message["mode"] == "describe":  # asked at every start
            pass
        elif answer["ok"]:
            self.told(f"{what}: {took}")
        else:
            why = str(answer["error"]).replace("_", " ")
            self.told(f"not {what}: {why}, after {took}")
        page = self.broker.page
        facts = {} if page is None else dict(page.facts)
        return web.json_response({"answer": answer, "facts": facts})


async def _json(request: web.Request, largest: int) -> dict[str, Any]:
    """The body as an object; whoever sends it too slowly, or too much, is refused."""
    if (request.content_length or 0) > largest:
        raise web.HTTPRequestEntityTooLarge(largest, request.content_length or 0)
    async with asyncio.timeout(READ_S):
        body = await request.read()
    if len(body) > largest:
        raise web.HTTPRequestEntityTooLarge(largest, len(body))
    found = json.loads(body)
    if not isinstance(found, dict):
        raise web.HTTPBadRequest
    return found
