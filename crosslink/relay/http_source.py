"""A business chain read over HTTPS through at least two of its nodes (JR/T 0314-2024 chapter 7, attack R10).

Uses `GET /v1/networks/{network}/blocks?from=&limit=&wait=&include=snapshots,validators`, and `GET …/status` of
*another* node now and then, so that a node that stopped or withholds blocks is noticed although it still answers
politely.

Invariants:
  S1  Only GET requests: the relay can write nothing to a business chain.
  S2  An answer is bounded (H1) and has the documented form; whether it is true is for `checking`.
  S3  A node that claims blocks and gives none, or has fewer than are anchored already, is left for another.

Left out: verification, and what becomes of the blocks.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from common.core.errors import Malformed, Rejected, Unavailable
from common.core.suite import parse_hex
from crosslink.relay.http import Connection, Refused, decode
from crosslink.relay.node_pool import Fault, NodePool
from crosslink.relay.planner import Read
from crosslink.relay.ports import Clock, Page, ServedBlock

MAX_PAGE_BYTES = 24 * 1024 * 1024
"""Nodes bound answers to 8 MiB, but always give one block, and a block may have 16 MB of snapshots."""

TRANSFER_TIMEOUT_S = 30.0
"""Beyond the long poll's wait: 16 MB at half a megabyte a second."""

STATUS_TIMEOUT_S = 5.0
MAX_STATUS_BYTES = 256 * 1024
PROBE_INTERVAL_MS = 10_000
"""How often at most another node's height is compared: a heartbeat."""

GRACE_S = 3.0
"""How long the node in use may still take once another node is known to have newer blocks."""


class _Entry(msgspec.Struct):
    height: int
    header: str
    certificate: str
    validators: str | None = None
    snapshots: list[str] = []


class _Blocks(msgspec.Struct):
    blocks: list[_Entry]
    tip: int


class _Status(msgspec.Struct):
    height: int


class _BehindError(Exception):
    """Another node has blocks that this one does not give."""


class HttpRegionSource:
    """Implements `ports.RegionSource`."""

    def __init__(self, network: str, urls: list[str], connection: Connection, clock: Clock) -> None:
        self._network = network
        self._pool = NodePool(urls)
        self._connection = connection
        self._clock = clock
        self._probed_ms = -PROBE_INTERVAL_MS

    async def read(self, read: Read) -> Page:
        """A page from the first node that gives one. Raises `Unavailable('no_node_serves')` naming what each said."""
        said = []
        for _ in range(self._pool.size):
            node = self._pool.choose(self._clock.elapsed_ms())
            try:
                page = await self._compared(node, read)
            except Refused as refusal:
                self.blame(node, Fault.REFUSED)
                said.append(f"{self._pool.url(node)}: {refusal}")
                continue
            except Unavailable as failure:
                self.blame(node, Fault.DOWN)
                said.append(str(failure))
                continue
            except Malformed as nonsense:
                self.blame(node, Fault.LYING)
                said.append(f"{self._pool.url(node)}: {nonsense}")
                continue
            except _BehindError:
                self.blame(node, Fault.BEHIND)
                said.append(f"{self._pool.url(node)}: behind another node")
                continue
            if page.blocks:
                return page
            if page.tip >= read.from_height:
                self.blame(node, Fault.LYING)
                said.append(f"{self._pool.url(node)}: claims height {page.tip} and gives no block")
            elif page.tip < read.from_height - 1:
                self.blame(node, Fault.BEHIND)
                said.append(f"{self._pool.url(node)}: at height {page.tip}, below what is anchored")
            else:
                self._pool.rotate()
                return page
        raise Unavailable("no_node_serves", "; ".join(said)[:1000])

    async def read_node(self, node: int, read: Read) -> Page:
        """A page from that node. Raises `Unavailable`, `Refused` or `Malformed`."""
        return await self._page(node, read)

    @property
    def size(self) -> int:
        """Number of nodes."""
        return self._pool.size

    def blame(self, node: int, fault: Fault) -> None:
        """Pause a node."""
        self._pool.failed(node, fault, self._clock.elapsed_ms())

    def praise(self, node: int) -> None:
        """A node served what proved right."""
        self._pool.succeeded(node)

    def describe(self) -> dict[str, Any]:
        """For the status API."""
        now_ms = self._clock.elapsed_ms()
        return {"endpoint": self._pool.url(self._pool.current), "nodes": self._pool.describe(now_ms)}

    async def _compared(self, node: int, read: Read) -> Page:
        """The node's page; while it is awaited, another node's height is looked at (S3, attack R10)."""
        now_ms = self._clock.elapsed_ms()
        other = self._pool.other(now_ms) if now_ms - self._probed_ms >= PROBE_INTERVAL_MS else None
        if other is None:
            return await self._page(node, read)
        self._probed_ms = now_ms
        page = asyncio.ensure_future(self._page(node, read))
        probe = asyncio.ensure_future(self._height(other))
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

    async def _page(self, node: int, read: Read) -> Page:
        parameters: dict[str, str | int] = {
            "from": read.from_height,
            "limit": read.limit,
            "wait": read.wait_s,
            "include": "snapshots,validators",
        }
        url = f"{self._pool.url(node)}/v1/networks/{self._network}/blocks"
        timeout_s = read.wait_s + TRANSFER_TIMEOUT_S
        body = await self._connection.get(url, parameters, timeout_s=timeout_s, max_bytes=MAX_PAGE_BYTES)
        answer = decode(body, _Blocks, url)
        if len(answer.blocks) > read.limit:
            raise Malformed("unexpected_answer", f"{url}: more blocks than were asked for.")
        return Page(node, tuple(_served(entry) for entry in answer.blocks), answer.tip)

    async def _height(self, node: int) -> int:
        """A node's claimed height; 0 if it gives none (another node is a comparison, not a need)."""
        url = f"{self._pool.url(node)}/v1/networks/{self._network}/status"
        try:
            body = await self._connection.get(url, {}, timeout_s=STATUS_TIMEOUT_S, max_bytes=MAX_STATUS_BYTES)
            return decode(body, _Status, url).height
        except Rejected:
            return 0


def _served(entry: _Entry) -> ServedBlock:
    try:
        snapshots = tuple(text.encode() for text in entry.snapshots)
    except UnicodeEncodeError:
        raise Malformed("unexpected_answer", "A snapshot is not Unicode text.", height=entry.height) from None
    return ServedBlock(
        height=entry.height,
        header=parse_hex(entry.header, "header"),
        certificate=parse_hex(entry.certificate, "certificate"),
        validators=None if entry.validators is None else parse_hex(entry.validators, "validators"),
        snapshots=snapshots,
    )
