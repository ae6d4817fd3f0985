"""Passes jobs from runs to the page that measures, and its answers back.

Knows no HTTP. There is one page at a time, the one that came last; jobs wait in a row.
A job whose page is lost, or went to the background, waits for the page and begins anew.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Answer = dict[str, Any]
POLL_S = 20.0  # that a page waits for work before it asks again
LOST_S = 15.0  # without a sign of life
TICK_S = 0.5


@dataclass
class Page:
    """A page that is open on a device.

    Attributes:
        facts: what it says of the device.
        seen: when it last gave a sign of life.
    """

    id: str
    facts: Mapping[str, Any]
    seen: float
    hidden: bool = False


@dataclass
class PendingJob:
    """A job on its way.

    Attributes:
        files: their paths here, by the names that the page asks for.
        limit_s: how long the page may take, and `wait_s` how long one is waited for.
        given: when the page got it; None while it waits.
        waits_since: for a page.
    """

    id: str
    message: Mapping[str, Any]
    files: Mapping[str, Path]
    limit_s: float
    wait_s: float
    done: asyncio.Future[Answer]
    waits_since: float
    given: float | None = None
    given_to: str = ""
    starts: int = 0


@dataclass
class Broker:
    """The jobs of one target, and the page that does them.

    Attributes:
        clock: seconds, from any moment on.
    """

    clock: Callable[[], float] = time.monotonic
    page: Page | None = None
    jobs: list[PendingJob] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def submit(
        self,
        message: Mapping[str, Any],
        files: Mapping[str, Path],
        limit_s: float,
        wait_s: float,
    ) -> Answer:
        """Have a job done; a failure comes back as an answer that is not ok."""
        number = str(next(self._numbers))
        done = asyncio.get_running_loop().create_future()
        job = PendingJob(
            number, message, files, limit_s, wait_s, done, waits_since=self.clock()
        )
        self.jobs.append(job)
        self._changed.set()
        try:
            while not done.done():
                await asyncio.wait([done], timeout=TICK_S)
                self._check(job)
            return done.result()
        finally:
            self.jobs.remove(job)  # or the run is gone: the page is told to stop

    def hello(self, page: str, facts: Mapping[str, Any]) -> None:
        """A page begins; it takes over from another."""
        if self.page is not None:
            self._give_back(self.page.id)
        self.page = Page(page, facts, self.clock(), bool(facts.get("hidden")))
        self._changed.set()

    def bye(self, page: str) -> None:
        """A page ends."""
        if self.is_page(page):
            self._give_back(page)
            self.page = None

    def is_page(self, page: str) -> bool:
        """Whether that is the one that measures."""
        return self.page is not None and self.page.id == page

    def beat(self, page: str, job: str | None, *, hidden: bool) -> dict[str, bool]:
        """A sign of life; what the page is to know."""
        told = {"taken": False, "cancel": False, "again": False}
        if self.page is None:  # it was lost for a while, or we were started anew
            return {**told, "cancel": True, "again": True}
        if not self.is_page(page):
            return {**told, "cancel": True, "taken": True}
        self.page.seen, self.page.hidden = self.clock(), hidden
        if job is None:
            self._give_back(page)
            return told
        known = any(item.id == job and item.given_to == page for item in self.jobs)
        return {**told, "cancel": not known}

    async def next(self, page: str) -> PendingJob | None:
        """The job that a page is to do now; None if there is none for a while."""
        end = self.clock() + POLL_S
        while self.is_page(page) and self.page is not None:
            self.page.seen = self.clock()
            waiting = [item for item in self.jobs if item.given is None]
            if waiting:
                job = waiting[0]
                job.given, job.given_to = self.clock(), page
                job.starts += 1
                return job
            left = end - self.clock()
            if left <= 0:
                break
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), min(left, LOST_S / 3))
            except TimeoutError:
                continue
        return None

    def answer(self, page: str, job: str, answer: Answer) -> bool:
        """Deliver a page's answer; whether anybody still waits for it."""
        for item in self.jobs:
            if item.id == job and item.given_to == page and not item.done.done():
                item.done.set_result(answer)
                return True
        return False

    def file(self, name: str) -> Path | None:
        """A file of the job that is being done; no other is shown to anybody."""
        for item in self.jobs:
            if item.given is not None and name in item.files:
                return item.files[name]
        return None

    def _give_back(self, page: str) -> None:
        """What a page no longer does waits for one."""
        for item in self.jobs:
            if item.given_to == page and not item.done.done():
                item.given, item.given_to = None, ""
                item.waits_since = self.clock()
                self._changed.set()

    def _check(self, job: PendingJob) -> None:
        """End a job that takes too long, or that nobody does."""
        now = self.clock()
        if self.page is not None and now - self.page.seen > LOST_S:
            self._give_back(self.page.id)
            self.page = None
        if job.done.done():
            return
        if job.given is not None and now - job.given > job.limit_s:
            job.done.set_result(failure("timeout"))
        elif job.given is None and now - job.waits_since > job.wait_s:
            name = self._why_nobody(job)
            if name == "busy" and job.message.get("mode") != "describe":
                job.waits_since = now  # another run is measured: it will end
            else:
                job.done.set_result(failure(name))

    def _why_nobody(self, job: PendingJob) -> str:
        """The failure of a job that no page takes."""
        if any(item.given is not None for item in self.jobs):
            return "busy"
        if self.page is not None and self.page.hidden:
            return "hidden"
        return "page_lost" if job.starts else "no_page"


def failure(name: str) -> Answer:
    """An answer that says why there is none."""
    return {"ok": False, "stage": "page", "failure": name, "error": name}
