"""The server of a page is open to a network: whatever comes, it gives nothing away."""

import asyncio
import json
import random
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from edgeprune.devices.browser import server as served
from edgeprune.devices.browser.broker import Broker, failure
from edgeprune.devices.browser.server import LARGEST_ANSWER, Door, PageServer

TOKEN = "the-right-word-of-this-page"
RUNS = "the-right-word-of-runs"
CANARY = b"not for anybody"
MESSAGE = {"mode": "time", "names": ["a.onnx"], "provider": "wasm"}


@asynccontextmanager
async def serving(broker=None):
    """A server; yields its broker, the page's port and that of runs."""
    broker = broker or Broker()
    held = PageServer(broker, {"ort.wasm.bundle.min.mjs": b"the runtime"})
    port = await held.open_page(Door("127.0.0.1", 0, TOKEN))
    runs = await held.open_runs(Door("127.0.0.1", 0, RUNS))
    reaping = asyncio.create_task(held.watch())
    try:
        yield broker, port, runs
    finally:
        reaping.cancel()
        await held.close()


async def raw(port, content, *, end=False):
    """What comes back for some bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(content)
        if end:
            writer.write_eof()
        async with asyncio.timeout(5):
            return await reader.read(300_000)
    except (TimeoutError, ConnectionError):
        return b""
    finally:
        writer.close()


async def ask(port, path, body=None, method=None):
    """Status and body of one request."""
    content = b"" if body is None else body
    method = method or ("GET" if body is None else "POST")
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    reply = await raw(port, head.encode() + content)
    head, _, rest = reply.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, rest


def told(**values):
    return json.dumps(values).encode()


def test_only_the_right_word_opens():
    async def look():
        async with serving() as (_, port, runs):
            assert (await ask(port, f"/{TOKEN}/"))[0] == 200
            assert (await ask(runs, f"/{RUNS}/state"))[0] == 200
            for path in ("/", "/x/", f"/{TOKEN}x/", f"/{RUNS}/state", f"/{TOKEN}"):
                assert (await ask(port, path))[0] == 404
            assert (await ask(runs, f"/{TOKEN}/state"))[0] == 404

    asyncio.run(look())


def test_only_files_of_the_job_at_hand_are_shown(tmp_path):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"the model")

    async def look():
        async with serving() as (broker, port, _):
            at = f"/{TOKEN}/file/a.onnx"
            assert (await ask(port, at))[0] == 404
            files = {"a.onnx": path}
            job = asyncio.create_task(broker.submit(MESSAGE, files, 60, 60))
            await ask(port, f"/{TOKEN}/hello", told(page="p", label="phone"))
            assert (await ask(port, at))[0] == 404  # nobody does it yet
            status, body = await ask(port, f"/{TOKEN}/next?page=p")
            assert (status, json.loads(body)["names"]) == (200, ["a.onnx"])
            assert await ask(port, at) == (200, b"the model")
            number = json.loads(body)["id"]
            where = f"/{TOKEN}/answer?page=p&job={number}"
            await ask(port, where, told(ok=True))
            assert (await job) == {"ok": True}
            assert (await ask(port, at))[0] == 404

    asyncio.run(look())


def test_answers_of_another_page_count_for_nothing():
    async def look():
        async with serving() as (broker, port, _):
            job = asyncio.create_task(broker.submit(MESSAGE, {}, 60, 60))
            await ask(port, f"/{TOKEN}/hello", told(page="p", label="phone"))
            await ask(port, f"/{TOKEN}/next?page=p")
            where = f"/{TOKEN}/answer?page=q&job=0"
            status, body = await ask(port, where, told(ok=True))
            assert (status, json.loads(body)) == (200, {"wanted": False})
            assert not job.done()
            job.cancel()

    asyncio.run(look())


def test_a_body_that_is_too_large_is_refused():
    async def look():
        async with serving() as (_, port, _):
            status, _ = await ask(port, f"/{TOKEN}/hello", b"x" * 65_000)
            assert status == 413
            size = LARGEST_ANSWER + 1
            head = (
                f"POST /{TOKEN}/answer?page=p&job=0 HTTP/1.1\r\nHost: x\r\n"
                f"Content-Length: {size}\r\n\r\n"
            )
            assert b" 413 " in await raw(port, head.encode() + b"{}")

    asyncio.run(look())


def test_whoever_says_nothing_is_hung_up_on(monkeypatch):
    monkeypatch.setattr(served, "READ_S", 0.5)

    async def look():
        async with serving() as (_, port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HT")
            async with asyncio.timeout(6):
                assert await reader.read() == b""
            head = (
                f"POST /{TOKEN}/hello HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
            )
            assert b" 400 " in await raw(port, head.encode() + b"{")
            writer.close()

    asyncio.run(look())


async def pass_time(broker):
    """Let a broker look at its jobs, and those who wait for them."""
    for job in list(broker.jobs):
        broker._check(job)
    await asyncio.sleep(0)


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ((), "no_page"),
        (("hello", "hidden"), "hidden"),
        (("hello", "next", "leave"), "page_lost"),
        (("hello", "next", "stay"), "timeout"),
    ],
)
def test_a_job_that_nobody_ends_says_why(events, expected):
    async def look():
        clock = Clock()
        broker = Broker(clock)
        job = asyncio.create_task(broker.submit(MESSAGE, {}, limit_s=100, wait_s=30))
        await asyncio.sleep(0)
        if events:
            broker.hello("p", {"label": "phone"})
        if "next" in events:
            assert await broker.next("p")
        while not job.done():
            clock.now += 5
            if events and "leave" not in events:
                at_work = "0" if "next" in events else None
                broker.beat("p", at_work, hidden="hidden" in events)
            await pass_time(broker)
        assert (await job) == failure(expected)

    asyncio.run(look())


def test_a_job_in_a_row_waits_for_the_one_before_it():
    """A measurement of another run is no reason to give up."""

    async def look():
        clock = Clock()
        broker = Broker(clock)
        first = asyncio.create_task(broker.submit(MESSAGE, {}, 1000, 30))
        await asyncio.sleep(0)
        broker.hello("p", {"label": "phone"})
        await broker.next("p")
        second = asyncio.create_task(broker.submit(MESSAGE, {}, 1000, 30))
        await asyncio.sleep(0)
        for _ in range(20):
            clock.now += 5
            broker.beat("p", "0", hidden=False)
            await pass_time(broker)
        assert not second.done()
        broker.answer("p", "0", {"ok": True, "of": 1})
        assert (await first)["of"] == 1
        assert (await broker.next("p")).id == "1"
        broker.answer("p", "1", {"ok": True, "of": 2})
        assert (await second)["of"] == 2

    asyncio.run(look())


# What a hostile or broken client might send.
PATHS = (
    *("", "page.js", "next", "hello", "beat", "answer", "bye", "file/a.onnx"),
    *("ort/x", "../canary", "..%2f..%2fcanary", "file/../canary", "file/%2e%2e/canary"),
    *("ort/..%5ccanary", "file//etc/passwd", "%00", "file/" + "a" * 3000, "state"),
    *("jobs", "next?page=", "answer?page=p&job=0", "answer?job=", "?x=" + "y" * 5000),
)
BODIES = (
    *(b"", b"{", b"[]", b"null", b"1e999", b'{"page": {}}', b'{"page": "p"}'),
    *(b'{"page": "p", "label": 3}', b'{"page": "p", "label": "' + b"l" * 500 + b'"}'),
    *(b'{"page": "p", "job": [], "hidden": "x"}', b"\xff\xfe\x00", b"[" * 5000),
    b'{"message": {"mode": "time", "names": []}, "files": {"a": "/etc/passwd"}}',
)
METHODS = ("GET",) * 6 + ("POST",) * 6 + ("PUT", "DELETE", "HEAD", "OPTIONS", "X")
GARBAGE = (
    b"\x16\x03\x01\x02",
    b"GET",
    b"\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\0" * 99,
)


def hostile(rng):
    """One request, as bytes."""
    if rng.random() < 0.15:
        return rng.choice(GARBAGE) + rng.randbytes(rng.randrange(200))
    word = rng.choice((TOKEN, TOKEN, TOKEN[:-1], RUNS, "..", ""))
    body = rng.choice(BODIES)
    lines = [f"{rng.choice(METHODS)} /{word}/{rng.choice(PATHS)} HTTP/1.1", "Host: x"]
    size = rng.choice((len(body),) * 6 + (len(body) + 1, 10**12, -1))
    lines += [f"Content-Length: {size}", "Connection: close"]
    if rng.random() < 0.1:
        lines += [f"X-{at}: {'v' * 200}" for at in range(rng.randrange(200))]
    if rng.random() < 0.05:
        lines.append("Transfer-Encoding: chunked")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


async def still_serves(broker, port, model):
    """A job comes and goes as ever."""
    job = asyncio.create_task(broker.submit(MESSAGE, {"a.onnx": model}, 60, 60))
    await ask(port, f"/{TOKEN}/hello", told(page="me", label="phone"))
    status, body = await ask(port, f"/{TOKEN}/next?page=me")
    assert status == 200
    where = f"/{TOKEN}/answer?page=me&job={json.loads(body)['id']}"
    assert (await ask(port, where, told(ok=True)))[0] == 200
    assert (await job) == {"ok": True}


@pytest.mark.slow
def test_ten_thousand_requests_read_and_write_nothing(tmp_path, monkeypatch):
    (tmp_path / "canary").write_bytes(CANARY)
    model = tmp_path / "a.onnx"
    model.write_bytes(b"the model")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(served, "READ_S", 2)
    rng = random.Random(0)
    statuses = Counter()

    async def one(port, gate):
        async with gate:
            reply = await raw(port, hostile(rng), end=rng.random() < 0.1)
        assert CANARY not in reply
        assert b"root:" not in reply
        assert b"Traceback" not in reply
        statuses[reply[9:12]] += 1

    async def attack():
        async with serving() as (broker, port, runs):
            gate = asyncio.Semaphore(64)
            tasks = [one(port if at % 5 else runs, gate) for at in range(10_000)]
            await asyncio.gather(*tasks)
            await still_serves(broker, port, model)

    asyncio.run(attack())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "canary"]
    assert b"500" not in statuses, statuses
    assert statuses.total() == 10_000
    assert min(statuses[status] for status in (b"200", b"400", b"404")) > 50, statuses
