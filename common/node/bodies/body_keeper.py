"""Keeps the bodies that its chain commits to: takes them in, fetches what is missing from peers, hands them out.

The chain says what is committed (`SealedBodies`); the files are `body_store`'s, the peers `body_exchange`'s.

Invariants
  K1  Nothing waits for a body: blocks are judged and committed whether bodies are here or not.
  K2  All disk work is done in one thread, one piece at a time; the requests that wait for it are bounded by the rooms
      for bodies and answers of the HTTP edge, and by one question a peer.
  K3  Every commitment is looked at again and again until its body is here, at a bounded rate. The newest `MAX_WANTED`
      are looked for after growing pauses; all others have their turn, `TURNS` a pass. So whoever commits to many
      bodies that nobody has delays older ones and never shuts them out.
  K4  A body that is here is kept once a block commits to it, however many others are missing.
  K5  The digest alone says what a body is. A stated size that does not fit is the commitment's fault: it is counted.

Left out: who may ask (`body_routes`).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, ParamSpec, Protocol, TypeVar, runtime_checkable

from common.core.errors import Unavailable
from common.model.sealed import MAX_SEALED_BYTES, SealedBody
from common.node.bodies.body_store import BodyStore
from common.node.store.chain_reader import ChainReader

MAX_WANTED: Final = 1_024
MAX_LATE: Final = 65_536
"""Missing bodies that are known beside `MAX_WANTED`; what is beyond, later rounds through all commitments find."""
TURNS: Final = 32
BATCH: Final = 64
"""Commitments that are looked at between two turns of the event loop."""
PAUSE_S: Final = 1.0
FIRST_RETRY_S: Final = 5.0
TRIES: Final = 8
"""After ten minutes a body that nobody gives is one of the late ones."""
ROUND_S: Final = 600.0
"""At the earliest, a late body has another turn after that, and a round through all commitments begins."""
TROUBLE_S: Final = 10.0

Fetch = Callable[[str, int], Awaitable[bytes | None]]
"""A body by its digest, if it has at most so many bytes."""
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
    digest: str
    stated_bytes: int
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
        self._fetch: Fetch | None = None
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._wanted: dict[str, _Want] = {}
        """The newest last."""
        self._late: dict[str, _Want] = {}
        """Whose turn is next stands first."""
        self._misstated = 0
        self._newest: bytes | None = None
        """Up to where new commitments were looked at."""
        self._round: bytes | None = None
        """The same of a round through all of them, while there is one."""
        self._in_round = False
        self._left_out = False
        """Whether something is missing that is not known here: there will be a round."""
        self._round_at = self._loop.time()

    def start(self, fetch: Fetch) -> None:
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
        want = self._wanted.get(digest) or self._late.get(digest)
        if want is not None:
            self._want(digest, want.stated_bytes)
            self._woken.set()
        return new

    async def read(self, digest: str) -> bytes:
        """A body. Raises as `BodyStore.read`; what is damaged or gone is fetched anew."""
        return await self._read(digest, self._store.read, digest)

    async def part(self, digest: str, number: int) -> tuple[int, bytes]:
        """Size of a body and one part of it. Raises as `BodyStore.part`."""
        return await self._read(digest, self._store.part, digest, number)

    def numbers(self) -> dict[str, float]:
        """For /metrics. With more than `MAX_LATE` bodies missing, their number is a lower bound."""
        missing = len(self._wanted) + len(self._late)
        return {**self._store.numbers(), "bodies_missing": missing, "bodies_misstated": self._misstated}

    async def in_thread(
        self, work: Callable[Parameters, Result], *arguments: Parameters.args, **named: Parameters.kwargs
    ) -> Result:
        """Do a piece of work in the thread for bodies (K2)."""
        return await self._loop.run_in_executor(self._thread, lambda: work(*arguments, **named))

    async def _read(
        self,
        digest: str,
        read: Callable[Parameters, Result],
        *arguments: Parameters.args,
        **named: Parameters.kwargs,
    ) -> Result:
        committed_bytes = self._store.size_of(digest) if self._store.is_kept(digest) else None
        try:
            return await self.in_thread(read, *arguments, **named)
        except Unavailable:
            if committed_bytes is not None and not self._store.is_kept(digest):
                self._want(digest, committed_bytes)
                self._woken.set()
            raise

    # Looking for what is missing.

    async def _run(self) -> None:
        while True:
            height, pause_s = self._blocks.chain.tip().height, PAUSE_S
            self._woken.clear()
            try:
                await self._look_at_new()
                await self._go_round()
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
        wants = itertools.chain(self._wanted.values(), self._late.values())
        timeout_s = min(ROUND_S, min((want.due for want in wants), default=math.inf) - self._loop.time())
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

    async def _look_at_new(self) -> None:
        """Keep what new blocks commit to and is here, and note what is missing (K4)."""
        found = None
        while found is None or len(found) == BATCH:
            found = self._application.sealed_bodies(self._blocks.chain, self._newest, BATCH)
            for cursor, body in found:
                if not await self._keep(body.digest, body.size_bytes):
                    self._want(body.digest, body.size_bytes)
                self._newest = cursor
            await asyncio.sleep(0)

    async def _go_round(self) -> None:
        """Go on with a round through all commitments, as far as there are places for what is missing (K3)."""
        now = self._loop.time()
        if self._left_out and not self._in_round and now - self._round_at > ROUND_S:
            self._in_round, self._round, self._left_out, self._round_at = True, None, False, now
        while self._in_round and len(self._late) < MAX_LATE // 2:
            found = self._application.sealed_bodies(self._blocks.chain, self._round, BATCH)
            for cursor, body in found:
                self._round, digest = cursor, body.digest
                if digest not in self._wanted and digest not in self._late and not await self._keep(digest):
                    self._late[digest] = _Want(digest, body.size_bytes, now)
            self._in_round = len(found) == BATCH
            await asyncio.sleep(0)

    def _want(self, digest: str, stated_bytes: int) -> None:
        """Look for a body as one of the newest."""
        self._forget(digest)
        if len(self._wanted) >= MAX_WANTED:
            self._defer(next(iter(self._wanted.values())), self._loop.time())
        self._wanted[digest] = _Want(digest, stated_bytes, self._loop.time())

    def _defer(self, want: _Want, due: float) -> None:
        """Give a body its turn after all others that are late; with too many of them the first must go."""
        self._forget(want.digest)
        if len(self._late) >= MAX_LATE:
            if not self._left_out:
                _log.warning("more bodies off the chain are missing than are counted", extra={"counted": MAX_LATE})
            self._forget(next(iter(self._late)))
            self._left_out = True
        want.due = due
        self._late[want.digest] = want

    def _forget(self, digest: str) -> None:
        self._wanted.pop(digest, None)
        self._late.pop(digest, None)

    async def _obtain_due(self) -> None:
        """Try what is due, the least tried and newest first, with blocks that come meanwhile; then some late ones."""
        height = self._blocks.chain.tip().height
        for _ in range(MAX_WANTED):
            if self._blocks.chain.tip().height != height:
                height = self._blocks.chain.tip().height
                await self._look_at_new()
            now = self._loop.time()
            due = [want for want in reversed(self._wanted.values()) if want.due <= now]
            if not due:
                break
            want = min(due, key=lambda want: want.tries)
            if await self._obtain(want) or self._wanted.get(want.digest) is not want:
                continue
            want.tries += 1
            want.due = self._loop.time() + FIRST_RETRY_S * 2 ** (want.tries - 1)
            if want.tries == TRIES:
                self._defer(want, self._loop.time() + ROUND_S)
        now = self._loop.time()
        for want in list(itertools.islice((want for want in self._late.values() if want.due <= now), TURNS)):
            if await self._obtain(want) or self._late.get(want.digest) is not want:
                continue
            if self._in_round and len(self._late) >= MAX_LATE // 2:
                self._forget(want.digest)  # the round has others, and the next one finds it again
                self._left_out = True
            else:
                self._defer(want, self._loop.time() + ROUND_S)

    async def _obtain(self, want: _Want) -> bool:
        """Keep a body that is here, or that a peer gives."""
        if await self._keep(want.digest, want.stated_bytes):
            return True
        most_bytes = min(self._store.free_bytes, MAX_SEALED_BYTES)
        if self._fetch is None or not most_bytes or self._store.size_of(want.digest) is not None:
            return False
        data = await self._fetch(want.digest, most_bytes)
        return data is not None and await self._keep(want.digest, want.stated_bytes, data)

    async def _keep(self, digest: str, stated_bytes: int | None = None, data: bytes | None = None) -> bool:
        """Keep a body that is here or was fetched; whether it is kept now. Its size is compared with a stated one."""
        if data is None and self._store.size_of(digest) is None:
            return False
        if not self._store.is_kept(digest):
            try:
                await self.in_thread(self._store.keep, digest, data)
            except Unavailable as refusal:
                _log.warning("a body is not kept", extra={"digest": digest, "code": refusal.code})
                return False
        self._forget(digest)
        size_bytes = self._store.size_of(digest)
        if stated_bytes is not None and size_bytes is not None and stated_bytes != size_bytes:
            self._misstated += 1
            named = {"digest": digest, "stated": stated_bytes, "size": size_bytes}
            _log.warning("a commitment states another size than its body has", extra=named)
        return True
