"""A load generator: pre-signed transactions over keep-alive HTTPS connections, as cheap as Python can send them.

It shares the machine with what it measures, so it parses no more of an answer than its status line and length.
Bounded in count and time."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


@dataclass
class Outcome:
    """What came back: answers by HTTP status, and latencies in milliseconds of those that were asked to wait."""

    statuses: dict[int, int] = field(default_factory=dict)
    latencies_ms: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def count(self, status: int) -> None:
        """Count one answer."""
        self.statuses[status] = self.statuses.get(status, 0) + 1


class Connection:
    """One keep-alive HTTPS connection."""

    def __init__(self, url: str, token: str, ca_file: Path) -> None:
        self._parts = urlsplit(url)
        self._context = ssl.create_default_context(cafile=str(ca_file))
        self._head = (
            f"POST /v1/transactions HTTP/1.1\r\nHost: {self._parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\n"
        ).encode()

    async def open(self) -> None:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection(
            self._parts.hostname, self._parts.port, ssl=self._context
        )

    async def post(self, envelope: bytes, wait_s: int = 0) -> tuple[int, bytes]:
        """Send one envelope; the status and body of the answer. A connection that the node closed while it was idle is
        opened again: resending is harmless."""
        try:
            return await self._post(envelope, wait_s)
        except (asyncio.IncompleteReadError, ConnectionError):
            await self.open()
            return await self._post(envelope, wait_s)

    async def _post(self, envelope: bytes, wait_s: int) -> tuple[int, bytes]:
        prefer = b"Prefer: wait=%d\r\n" % wait_s if wait_s else b""
        self._writer.write(self._head + prefer + b"Content-Length: %d\r\n\r\n" % len(envelope) + envelope)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        body = await self._reader.readexactly(length) if length else b""
        return int(head[9:12]), body

    def close(self) -> None:
        """Disconnect."""
        self._writer.close()


async def flood(
    connections: Sequence[Connection], envelopes: Iterator[bytes], *, until_s: float, outcome: Outcome
) -> None:
    """Each connection sends one envelope after the other until the envelopes or the time run out; full pools back
    off."""

    async def run(connection: Connection) -> None:
        for envelope in envelopes:
            while time.monotonic() < until_s:
                status, _ = await connection.post(envelope)
                outcome.count(status)
                if status not in (429, 503):
                    break
                await asyncio.sleep(0.2)
            else:
                return

    await asyncio.gather(*(run(connection) for connection in connections))


async def steady(
    connections: Sequence[Connection],
    envelopes: Iterator[bytes],
    *,
    rate_per_s: float,
    seconds: float,
    outcome: Outcome,
    on_final: Callable[[bytes, float], None] | None = None,
) -> None:
    """Send at a fixed rate, one waiting connection each, and note how long each transaction took to its receipt."""
    idle = list(connections)
    started = time.monotonic()
    running: set[asyncio.Task[None]] = set()

    async def one(connection: Connection, envelope: bytes) -> None:
        begin = time.monotonic()
        status, body = await connection.post(envelope, wait_s=20)
        outcome.count(status)
        if status == 200:
            outcome.latencies_ms.append((time.monotonic() - begin) * 1000)
            if on_final:
                on_final(body, begin)
        idle.append(connection)

    async for number in _ticks(started, rate_per_s, seconds):
        envelope = next(envelopes, None)
        if envelope is None:
            break
        if not idle:
            raise RuntimeError(f"all connections wait at transaction {number}: the rate is not sustained")
        task = asyncio.create_task(one(idle.pop(), envelope))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)


async def _ticks(started: float, rate_per_s: float, seconds: float) -> AsyncIterator[int]:
    for number in range(int(rate_per_s * seconds)):
        delay = started + number / rate_per_s - time.monotonic()
        if delay > 0:
            await asyncio.sleep(delay)
        yield number


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0..1) of the values lie; 0 if there are none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
