"""Keeps the bodies that its chain commits to: takes them in, fetches what is missing from peers, hands them out.

The chain says what is committed (`SealedBodies`); the files are `body_store`'s, the peers `body_exchange`'s.

Invariants
  K1  Nothing waits for a body: blocks are judged and committed whether bodies are here or not.
  K2  All disk work is done in one thread, one piece at a time; the requests that wait for it are bounded by the rooms
      for bodies and answers of the HTTP edge, and by one question a peer.
  K3  Every commitment is looked at again and again until its body is here, at a bounded rate: at most once a second,
      `MAX_WANTED` at a time, each after growing pauses; half of these places are for new blocks. A node asks for
      nothing that it has no room for.

Left out: who may ask (`body_routes`).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, ParamSpec, Protocol, TypeVar, runtime_checkable

from common.core.errors import Unavailable
from common.model.sealed import SealedBody
from common.node.bodies.body_store import BodyStore
from common.node.store.chain_reader import ChainReader

MAX_WANTED: Final = 1_024
BATCH: Final = 64
"""Commitments that are looked at between two turns of the event loop."""
PAUSE_S: Final = 1.0
FIRST_RETRY_S: Final = 5.0
TRIES: Final = 8
"""After ten minutes a body that nobody gives makes room for others; a later round looks for it again."""
ROUND_S: Final = 600.0
"""At the earliest, a round through all commitments begins after that."""
TROUBLE_S: Final = 10.0

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
_log = logging.getLogger("tongjian.node")


@runtime_checkable
class SealedBodies(Protocol):
    """An application whose objects commit to bodies off the chain."""

    def sealed_bodies(self, chain: ChainReader, after: bytes | None, limit: int) -> list[tuple[bytes, SealedBody]]:
        """At most `limit` commitments in the order of blocks, each with its cursor, which `after` goes on from."""
        ...


class Blocks(Protocol):
    """The chain as the keeper follows it."""

    @property
    def chain(self) -> ChainReader:
        """Committed blocks and state."""
        ...

    async def wait_height(self, height: int, timeout_s: float) -> bool:
        """Return when the height is reached, or when the time is over."""
        ...


@dataclass(slots=True)
class _Want:
    body: SealedBody
    due: float
    tries: int = 0


class BodyKeeper:
    """The bodies of one node; all methods belong to the event loop."""

    def __init__(self, store: BodyStore, application: SealedBodies, blocks: Blocks, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._application = application
        self._blocks = blocks
        self._now_ms = now_ms
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "bodies")
        self._fetch: Callable[[SealedBody], Awaitable[bytes | None]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._wanted: dict[str, _Want] = {}
        self._newest: bytes | None = None
        """Up to where new commitments were looked at."""
        self._round: bytes | None = None
        """The same of a round through all of them, while there is one."""
        self._in_round = False
        self._left_out = False
        """Whether something is missing that is not in `_wanted`: there will be a round."""
        self._round_at = self._loop.time()

    def start(self, fetch: Callable[[SealedBody], Awaitable[bytes | None]]) -> None:
        """Look for what is missing from now on; `fetch` asks peers and checks what they give."""
        self._fetch = fetch
        self._task = self._loop.create_task(self._run())

    async def stop(self) -> None:
        """Finish what the disk is doing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        await asyncio.to_thread(self._thread.shutdown)

    # What routes and peers ask.

    def size_of(self, digest: str) -> int | None:
        """Bytes of a body, None if it is not here."""
        return self._store.size_of(digest)

    async def put(self, digest: str, data: bytes, organisation: str) -> bool:
        """Take a body in; whether it is new. Raises as `BodyStore.put`."""
        new = await self.in_thread(self._store.put, digest, data, organisation)
        if digest in self._wanted:
            self._wanted[digest].due = self._loop.time()
            self._woken.set()
        return new

    async def read(self, digest: str) -> bytes:
        """A body. Raises as `BodyStore.read`; what is damaged is fetched anew."""
        try:
            return await self.in_thread(self._store.read, digest)
        except Unavailable:
            self._look_again()
            raise

    async def part(self, digest: str, number: int) -> tuple[int, bytes]:
        """Size of a body and one part of it. Raises as `BodyStore.part`."""
        try:
            return await self.in_thread(self._store.part, digest, number)
        except Unavailable:
            self._look_again()
            raise

    def numbers(self) -> dict[str, float]:
        """For /metrics."""
        return {**self._store.numbers(), "bodies_missing": len(self._wanted)}

    async def in_thread(
        self, work: Callable[Parameters, Result], *arguments: Parameters.args, **named: Parameters.kwargs
    ) -> Result:
        """Do a piece of work in the thread for bodies (K2)."""
        return await self._loop.run_in_executor(self._thread, lambda: work(*arguments, **named))

    # Looking for what is missing.

    async def _run(self) -> None:
        while True:
            height, pause_s = self._blocks.chain.tip().height, PAUSE_S
            self._woken.clear()
            try:
                await self._look()
                await self._obtain_due()
                if self._store.has_loose:
                    await self.in_thread(self._store.drop_forgotten, self._now_ms())
            except Exception as failure:
                # Broad on purpose (K1): whatever fails here must not end what follows.
                _log.error("looking after bodies off the chain failed", exc_info=failure)
                pause_s = TROUBLE_S
            await asyncio.sleep(pause_s)
            await self._wait(height + 1)

    async def _wait(self, height: int) -> None:
        """Return with the next block, when somebody has put what is wanted, or when something is due."""
        dues = [want.due for want in self._wanted.values()]
        timeout_s = min([ROUND_S, *(due - self._loop.time() for due in dues)])
        if timeout_s <= 0:
            return
        waits = [
            self._loop.create_task(self._woken.wait()),
            self._loop.create_task(self._blocks.wait_height(height, timeout_s)),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()

    def _look_again(self) -> None:
        self._left_out, self._round_at = True, -math.inf
        self._woken.set()

    async def _look(self) -> None:
        """Note what new blocks commit to and is missing; then go on with a round through all commitments (K3)."""
        more = True
        while more:
            self._newest, more = await self._batch(self._newest, MAX_WANTED)
        now = self._loop.time()
        if self._left_out and not self._in_round and now - self._round_at > ROUND_S:
            self._in_round, self._round, self._left_out, self._round_at = True, None, False, now
        while self._in_round and len(self._wanted) < MAX_WANTED // 2:
            self._round, self._in_round = await self._batch(self._round, MAX_WANTED // 2 + BATCH)

    async def _batch(self, after: bytes | None, most: int) -> tuple[bytes | None, bool]:
        """Look at some commitments; where they end, and whether there are more."""
        found = self._application.sealed_bodies(self._blocks.chain, after, BATCH)
        for cursor, body in found:
            after = cursor
            if self._store.is_kept(body.digest) or body.digest in self._wanted:
                continue
            if len(self._wanted) < most:
                self._wanted[body.digest] = _Want(body, self._loop.time())
            else:
                self._left_out = True
        await asyncio.sleep(0)
        return after, len(found) == BATCH

    async def _obtain_due(self) -> None:
        for digest, want in list(self._wanted.items()):
            if want.due > self._loop.time():
                continue
            if await self._obtain(want.body):
                del self._wanted[digest]
                continue
            want.tries += 1
            want.due = self._loop.time() + FIRST_RETRY_S * 2 ** (want.tries - 1)
            if want.tries == TRIES:
                del self._wanted[digest]
                self._left_out = True

    async def _obtain(self, body: SealedBody) -> bool:
        """Keep a body that is here, or that a peer gives."""
        data = None
        if self._store.size_of(body.digest) is None:
            if self._fetch is None or not self._store.has_room(body.size_bytes):
                return False
            data = await self._fetch(body)
            if data is None:
                return False
        try:
            await self.in_thread(self._store.keep, body.digest, data)
        except Unavailable as refusal:
            _log.warning("a body is not kept", extra={"digest": body.digest, "code": refusal.code})
            return False
        return True
