"""A chain of any make read over HTTPS through at least two of its nodes (JR/T 0314-2024 chapter 7, attack R10).

What is asked and what the answers mean is the client type's (`crosslink.lightclient.reading`); which node is asked, for
how long and how much of its answer is taken is decided here. The height of *another* node is looked at now and then, so
that a node that stopped or withholds blocks is noticed although it still answers politely.

Invariants:
  S1  The relay only reads: requests are those of a reader, which holds no key; tokens are of role `reader`.
  S2  An answer is bounded (H1), and so is the number of requests of one conversation; whether it is true is for
      `checking`.
  S3  A node that claims blocks and gives none, or has fewer than are anchored already, is left for another.

Left out: verification, and what becomes of the blocks.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from common.core.errors import Malformed, Rejected, Unavailable
from common.model.sealed import SealedBody
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.client_types import client_for
from crosslink.lightclient.reading import MAX_ANSWER_BYTES, Conversation, Read, Request, Result
from crosslink.relay.node_http import Connection, NodeRefused
from crosslink.relay.node_pool import NodeFault, NodePool
from crosslink.relay.ports import Clock, Page

MAX_REQUESTS = 1_000
"""Requests of one conversation: two a block where a chain's interface gives one block at a time."""

TRANSFER_TIMEOUT_S = 30.0
"""Beyond the long poll's wait: 16 MB at half a megabyte a second."""

STATUS_TIMEOUT_S = 5.0
PROBE_INTERVAL_MS = 10_000
"""How often at most another node's height is compared: a heartbeat."""

GRACE_S = 3.0
"""How long the node in use may still take once another node is known to have newer blocks."""


EMPTY_PAUSE_MS = 1_000
"""How soon at the earliest a node that had nothing new is followed by another question, if waiting was asked for: not
every chain's nodes hold an answer back."""


_log = logging.getLogger("tongjian.relay")


class _BehindError(Exception):
    """Another node has blocks that this one does not give."""


class HttpRegionSource:
    """Implements `ports.RegionSource`."""

    def __init__(self, urls: list[str], connection: Connection, clock: Clock) -> None:
        self._pool = NodePool(urls)
        self._connection = connection
        self._clock = clock
        self._probed_ms = -PROBE_INTERVAL_MS

    async def read(self, state: ClientState, read: Read) -> Page:
        """A page from the first node that gives one. Raises `Unavailable('no_node_serves')` naming what each said."""
        said = []
        for _ in range(self._pool.size):
            asked_ms = self._clock.elapsed_ms()
            node = self._pool.choose(asked_ms)
            try:
                page = await self._compared(state, node, read)
            except NodeRefused as refusal:
                self.blame(node, NodeFault.REFUSED)
                said.append(f"{self._pool.url(node)}: {refusal}")
                continue
            except Unavailable as failure:
                self.blame(node, NodeFault.DOWN)
                said.append(str(failure))
                continue
            except Malformed as nonsense:
                self.blame(node, NodeFault.LYING)
                said.append(f"{self._pool.url(node)}: {nonsense}")
                continue
            except _BehindError:
                self.blame(node, NodeFault.BEHIND)
                said.append(f"{self._pool.url(node)}: behind another node")
                continue
            if page.blocks:
                return page
            if page.tip >= read.from_height:
                self.blame(node, NodeFault.LYING)
                said.append(f"{self._pool.url(node)}: claims height {page.tip} and gives no block")
            elif page.tip < read.from_height - 1:
                self.blame(node, NodeFault.BEHIND)
                said.append(f"{self._pool.url(node)}: at height {page.tip}, below what is anchored")
            else:
                self._pool.rotate()
                await self._clock.sleep(_pause_ms(read, self._clock.elapsed_ms() - asked_ms))
                return page
        raise Unavailable("no_node_serves", "; ".join(said)[:1000])

    async def read_node(self, state: ClientState, node: int, read: Read) -> Page:
        """A page from that node. Raises `Unavailable`, `NodeRefused` or `Malformed`."""
        return await self._page(state, node, read)

    async def hands_out(self, state: ClientState, body: SealedBody) -> bool | None:
        """Whether a node hands out a body; None if chains of this type hand out none. Other bytes are a lie (S2)."""
        reader = client_for(state.client_type).reader
        for node in range(self._pool.size):
            conversation = reader.body(state, body)
            if conversation is None:
                return None
            try:
                data = await self._converse(node, conversation)
            except (NodeRefused, Unavailable, Malformed):
                continue  # it has no such body now, or does not answer; whether it gives blocks is another question
            if await asyncio.to_thread(reader.is_body, state, body, data):
                if len(data) != body.size_bytes:
                    named = {"digest": body.digest, "stated": body.size_bytes, "size": len(data)}
                    _log.warning("a commitment states another size than its body has", extra=named)
                return True
            self.blame(node, NodeFault.LYING)
        return False

    @property
    def size(self) -> int:
        """Number of nodes."""
        return self._pool.size

    def blame(self, node: int, fault: NodeFault) -> None:
        """Pause a node."""
        self._pool.failed(node, fault, self._clock.elapsed_ms())

    def praise(self, node: int) -> None:
        """A node served what proved right."""
        self._pool.succeeded(node)

    def describe(self) -> dict[str, Any]:
        """For the status API."""
        now_ms = self._clock.elapsed_ms()
        return {"endpoint": self._pool.url(self._pool.current), "nodes": self._pool.describe(now_ms)}

    async def _compared(self, state: ClientState, node: int, read: Read) -> Page:
        """The node's page; while it is awaited, another node's height is looked at (S3, attack R10)."""
        now_ms = self._clock.elapsed_ms()
        other = self._pool.other(now_ms) if now_ms - self._probed_ms >= PROBE_INTERVAL_MS else None
        if other is None:
            return await self._page(state, node, read)
        self._probed_ms = now_ms
        page = asyncio.ensure_future(self._page(state, node, read))
        probe = asyncio.ensure_future(self._height(state, other))
        try:
            await asyncio.wait({page, probe}, return_when=asyncio.FIRST_COMPLETED)
            if not page.done() and probe.result() > read.from_height:
                await asyncio.wait({page}, timeout=GRACE_S)
                if not page.done():
                    raise _BehindError
            return await page
        finally:
            page.cancel()
            probe.cancel()

    async def _page(self, state: ClientState, node: int, read: Read) -> Page:
        served = await self._converse(node, client_for(state.client_type).reader.blocks(state, read))
        if len(served.blocks) > read.limit:
            raise Malformed("unexpected_answer", f"{self._pool.url(node)}: more blocks than were asked for.")
        return Page(node, served.blocks, served.tip)

    async def _height(self, state: ClientState, node: int) -> int:
        """A node's claimed height; 0 if it gives none (another node is a comparison, not a need)."""
        try:
            async with asyncio.timeout(STATUS_TIMEOUT_S):
                return await self._converse(node, client_for(state.client_type).reader.tip(state))
        except (Rejected, TimeoutError):
            return 0

    async def _converse(self, node: int, conversation: Conversation[Result]) -> Result:
        """Ask what a reader wants to know until it has its result (S2). Raises as `Connection`, or `Malformed`."""
        try:
            request = next(conversation)
            for _ in range(MAX_REQUESTS):
                request = conversation.send(await self._ask(node, request))
        except StopIteration as end:
            result: Result = end.value
            return result
        raise Malformed(
            "unexpected_answer", f"{self._pool.url(node)}: an answer takes more than {MAX_REQUESTS} requests."
        )

    async def _ask(self, node: int, request: Request) -> bytes:
        url = self._pool.url(node) + request.path
        timeout_s, max_bytes = request.wait_s + TRANSFER_TIMEOUT_S, min(request.max_bytes, MAX_ANSWER_BYTES)
        if request.body is None:
            parameters = dict(request.parameters)
            return await self._connection.get(url, parameters, timeout_s=timeout_s, max_bytes=max_bytes)
        answer = await self._connection.post(url, request.body, {}, timeout_s=timeout_s, max_bytes=max_bytes)
        return answer[1]


def _pause_ms(read: Read, took_ms: int) -> int:
    return max(0, min(EMPTY_PAUSE_MS, 1000 * read.wait_s) - took_ms)
