"""Forwarders between peers: every validator reaches every other through a loopback port of its own, where the harness
can cut, stop, delay or thin out what one of them sends to the other.

TLS is not terminated: the forwarder moves bytes that it cannot read, and the hello's binding to the channel stays
intact. Loss is what TCP makes of it: bytes are never dropped, a "lost" piece arrives one retransmission time later and
holds up what is behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

RETRANSMISSION_S = 0.2
"""What a lost segment costs: the smallest retransmission time-out of Linux."""
CHUNK = 16 * 1024


@dataclass
class Way:
    """What becomes of bytes from one node to another."""

    stopped: bool = False
    delay_ms: int = 0
    jitter_ms: int = 0
    loss: float = 0.0

    def holdup_s(self, chance: random.Random) -> float:
        """How much later a piece arrives."""
        held = (self.delay_ms + chance.random() * self.jitter_ms) / 1000
        while chance.random() < self.loss:
            held += RETRANSMISSION_S
        return held


@dataclass
class Forwarder:
    """All ways between the nodes of the network."""

    seed: int
    ways: dict[tuple[str, str], Way] = field(default_factory=dict)
    cut: set[frozenset[str]] = field(default_factory=set)
    _open: dict[frozenset[str], set[asyncio.StreamWriter]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="forwarder", daemon=True)
        self._thread.start()

    def link(self, dialler: str, listener: str, port: int) -> int:
        """A loopback port that leads `dialler` to `listener`'s port."""

        async def serve() -> int:
            server = await asyncio.start_server(
                lambda reader, writer: self._connected(reader, writer, dialler, listener, port), "127.0.0.1", 0
            )
            return int(server.sockets[0].getsockname()[1])

        for way in ((dialler, listener), (listener, dialler)):
            self.ways.setdefault(way, Way())
        return asyncio.run_coroutine_threadsafe(serve(), self._loop).result(10)

    def disconnect(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Close the connections between these nodes and refuse new ones."""

        def act() -> None:
            for pair in map(frozenset, pairs):
                self.cut.add(pair)
                for writer in self._open.get(pair, ()):
                    writer.transport.abort()

        self._loop.call_soon_threadsafe(act)

    def stop(self, ways: Iterable[tuple[str, str]]) -> None:
        """From now on nothing of what the first sends reaches the second; connections stay open."""
        for way in ways:
            self.ways[way].stopped = True

    def slow(self, ways: Iterable[tuple[str, str]], delay_ms: int, jitter_ms: int, loss: float) -> None:
        """Delay and thin out."""
        for way in ways:
            self.ways[way] = Way(delay_ms=delay_ms, jitter_ms=jitter_ms, loss=loss)

    def heal(self) -> None:
        """All ways are open again; what was held up arrives."""

        def act() -> None:
            self.cut.clear()
            for way in self.ways:
                self.ways[way] = Way()
            self._changed.set()
            self._changed = asyncio.Event()

        self._loop.call_soon_threadsafe(act)

    def close(self) -> None:
        """End all forwarding."""

        async def end() -> None:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, dialler: str, listener: str, port: int
    ) -> None:
        pair = frozenset((dialler, listener))
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        writers = [writer]
        try:
            if pair in self.cut:
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(far_writer)
            self._open.setdefault(pair, set()).update(writers)
            pumps = [
                asyncio.create_task(self._pump(reader, far_writer, (dialler, listener))),
                asyncio.create_task(self._pump(far_reader, writer, (listener, dialler))),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            pass
        finally:
            self._open.get(pair, set()).difference_update(writers)
            for each in writers:
                each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: tuple[str, str]) -> None:
        """Move bytes one way, in order, each piece when it is due. A delay costs latency, not throughput."""
        due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=256)

        async def deliver() -> None:
            latest = 0.0
            while True:
                at, data = await due.get()
                latest = max(latest, at)
                if (pause := latest - self._loop.time()) > 0:
                    await asyncio.sleep(pause)
                while self.ways[way].stopped:
                    await self._changed.wait()
                writer.write(data)
                await writer.drain()
                due.task_done()

        delivery = asyncio.create_task(deliver())
        try:
            while data := await reader.read(CHUNK):
                await due.put((self._loop.time() + self.ways[way].holdup_s(self._chance), data))
            await due.join()
        except OSError:
            pass
        finally:
            delivery.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await delivery
