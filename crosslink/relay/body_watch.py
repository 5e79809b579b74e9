"""Whether a region's nodes hand out the bodies off the chain that delivered snapshots commit to (ADR 0078).

A header proves what is committed; that it is kept, nothing on a chain shows. The relay is the reader that every region
has, so it fetches each body by its digest, has the digest checked, and says which ones no node gives.

Invariants:
  B1  Deliveries never wait for a body: one task looks, at one body at a time over all regions, so that no more than
      one is in memory.
  B2  What waits is bounded in each region (`MAX_WAITING`). A newer body takes the place of the one that was looked for
      most, the oldest of these; that one is counted as skipped, for the status too. Nothing is kept over a restart.
  B4  Regions have their turns, and in a region what was looked for least, the newest first: a region that commits to
      many bodies that nobody has delays no other.
  B3  Bodies stop here: they are neither stored nor brought to the custody chain.

Left out: requests and which node is blamed (`http_source`), what a body's digest is (the client type).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from common.core.errors import Rejected
from common.model.sealed import FIELD, SealedBody, sealed_facts
from crosslink.lightclient.client_state import ClientState
from crosslink.relay.ports import Clock
from crosslink.relay.progress import Board, RelayMetrics

MAX_WAITING: Final = 1_024
LOOKS_AFTER_MS: Final = (0, 60_000, 600_000)
"""When a body is looked for, after its delivery or the look before; who puts it late has eleven minutes."""
_MARK: Final = f'"{FIELD}"'.encode("ascii")

_log = logging.getLogger("tongjian.relay")


class _Header(msgspec.Struct):
    metadata: Any = None


class _Snapshot(msgspec.Struct):
    header: _Header


_decode: Final = msgspec.json.Decoder(_Snapshot).decode


def bodies_of(snapshot: bytes) -> tuple[SealedBody, ...]:
    """What a verified snapshot commits to; of one in another form nothing."""
    if _MARK not in snapshot:
        return ()
    try:
        return sealed_facts(_decode(snapshot).header.metadata)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return ()


class BodySource(Protocol):
    """A region's nodes, asked for bodies (`http_source`)."""

    async def hands_out(self, state: ClientState, body: SealedBody) -> bool | None:
        """Whether a node hands out a body; None if chains of this type hand out none. Raises `Rejected`."""
        ...


@dataclass(slots=True)
class _Waiting:
    state: ClientState
    body: SealedBody
    looks: int
    due_ms: int


class BodyWatch:
    """Looks for the bodies of all regions; `sources` by network."""

    def __init__(self, sources: Mapping[str, BodySource], clock: Clock, board: Board, metrics: RelayMetrics) -> None:
        self._sources = sources
        self._clock = clock
        self._board = board
        self._metrics = metrics
        self._waiting: dict[str, tuple[deque[_Waiting], ...]] = {}
        """By network, whose turn is next first; in each by the number of looks, the newest last."""
        self._woken = asyncio.Event()

    def delivered(self, state: ClientState, snapshots: Iterable[bytes]) -> None:
        """Note what the snapshots of a delivered block commit to."""
        for body in {body for snapshot in snapshots for body in bodies_of(snapshot)}:
            waiting = self._waiting.setdefault(state.network, tuple(deque() for _ in LOOKS_AFTER_MS))
            if sum(map(len, waiting)) >= MAX_WAITING:
                next(items for items in reversed(waiting) if items).popleft()
                self._skip(state.network)
            waiting[0].append(_Waiting(state, body, 0, self._clock.elapsed_ms()))
            self._woken.set()

    async def run(self) -> None:
        """Look until cancelled (B1)."""
        while True:
            await self._woken.wait()
            item = self._next_due()
            if item is not None:
                await self._look(item)
                continue
            dues = [items[0].due_ms for waiting in self._waiting.values() for items in waiting if items]
            if not dues:
                self._woken.clear()
                continue
            await self._clock.sleep(max(1, min(min(dues) - self._clock.elapsed_ms(), 1_000)))

    def _next_due(self) -> _Waiting | None:
        """Take the next body to look for, if one is due (B4)."""
        now_ms = self._clock.elapsed_ms()
        for network, waiting in self._waiting.items():
            due = next((items for items in waiting if items and items[0].due_ms <= now_ms), None)
            if due is not None:
                self._waiting[network] = self._waiting.pop(network)
                return due.pop() if due is waiting[0] else due.popleft()
        return None

    async def _look(self, item: _Waiting) -> None:
        network = item.state.network
        found: bool | None
        try:
            found = await self._sources[network].hands_out(item.state, item.body)
        except Exception as failure:
            # As broad as in a worker: what one region's node brings out must not end the others' watch.
            code = failure.code if isinstance(failure, Rejected) else type(failure).__name__
            _log.warning("a body could not be looked for", extra={"region": network, "code": code})
            found = False
        if found is not False:
            self._count(network, "found" if found else "skipped")
            return
        item.looks += 1
        if item.looks < len(LOOKS_AFTER_MS):
            item.due_ms = self._clock.elapsed_ms() + LOOKS_AFTER_MS[item.looks]
            waiting = self._waiting[network]
            if sum(map(len, waiting)) < MAX_WAITING:
                waiting[item.looks].append(item)
            else:
                self._skip(network)
            return
        self._count(network, "missing")
        self._board.of(network).missing_bodies.append(item.body.digest)
        _log.warning("no node hands out a committed body", extra={"region": network, "digest": item.body.digest})

    def _skip(self, network: str) -> None:
        self._board.of(network).skipped_bodies += 1
        self._count(network, "skipped")

    def _count(self, network: str, outcome: str) -> None:
        self._metrics.bodies.labels(network, outcome).inc()
