"""The custody chain over HTTPS: the relay's cursor, and submissions that are repeated until their fate is final.

Uses `GET /v1/regions/{network}`, `POST /v1/transactions` and, once, the chain's status for the genesis id.

Invariants:
  K1  A submission is signed once and the same bytes are sent, to one node after another, until a final receipt or the
      expiry (protocol rule 25). So a lost answer never makes a second transaction.
  K2  A status is not older than the receipt that came before it: a node that is behind is passed over.
  K3  A custody node is believed for liveness only; what it says wrongly costs a retry, never a wrong delivery, since
      the chain itself verifies.

Left out: what to submit (`planner`).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import msgspec

from common.core.codec import parse_json
from common.core.errors import Malformed, Unavailable
from common.core.suite import HASH_SIZE, parse_hex
from common.core.transaction import sign_envelope
from common.node.keys import KeyPair
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.json_fields import Fields
from crosslink.lightclient.reading import decode
from crosslink.relay.node_http import Connection, NodeRefused
from crosslink.relay.node_pool import NodeFault, NodePool
from crosslink.relay.planner import AnchoredPosition, Partial
from crosslink.relay.ports import Clock, RegionStatus, SubmissionFate

EXPIRY_BLOCKS = 1_000
"""A submission that is not in by then was lost: half a minute of a busy chain, hours of an idle one."""

WAIT_S = 10
RECEIPT_WAIT_S = 3
"""How long one node is waited for: a view change and some blocks. A node that is cut off from the others takes a
submission and cannot pass it on; the next one gets the same bytes (K1)."""

REQUEST_TIMEOUT_S = 25.0
MAX_STATUS_BYTES = 1024 * 1024
MAX_RECEIPT_BYTES = 2 * 1024 * 1024
RETRY_MS = 250
"""Pause between two attempts at different nodes; one round trip and a block."""

CATCH_UP_ATTEMPTS = 20
_FINAL = ("applied", "rejected", "expired")
_WRONG_GENESIS = "wrong_genesis"
_BUSY = (429, 500, 502, 503, 504)


class _Fate(msgspec.Struct):
    status: str
    height: int | None = None
    receipt: dict[str, Any] | None = None


class _ChainStatus(msgspec.Struct):
    genesis_id: str


class HttpCustody:
    """Implements `ports.Custody`. `network` is the custody chain's id; `key` signs submissions; `draw_nonce(n)` gives
    2n hex digits."""

    def __init__(
        self,
        network: str,
        urls: list[str],
        connection: Connection,
        key: KeyPair,
        clock: Clock,
        draw_nonce: Callable[[int], str] = secrets.token_hex,
    ) -> None:
        self._network = network
        self._pool = NodePool(urls)
        self._connection = connection
        self._key = key
        self._clock = clock
        self._draw_nonce = draw_nonce
        self._genesis_id = b""

    def describe(self) -> dict[str, Any]:
        """For the status API."""
        return {
            "endpoint": self._pool.url(self._pool.current),
            "nodes": self._pool.describe(self._clock.elapsed_ms()),
        }

    def doubt(self) -> None:
        """Ask another node next: what this one says does not fit what the region's nodes prove."""
        self._pool.rotate()

    async def region(self, network: str, *, at_least: int = 0) -> RegionStatus:
        """Status of a region at custody height `at_least` or later (K2).

        Raises `Unavailable`, `NodeRefused` (for example not_found: the region is not registered) or `Malformed`.
        """
        for _ in range(CATCH_UP_ATTEMPTS):
            node, body = await self._get(f"/v1/regions/{network}", {})
            status = parse_region_status(body, network)
            if status.custody_height >= at_least:
                self._pool.succeeded(node)
                return status
            self._pool.rotate()
            await self._clock.sleep(RETRY_MS)
        raise Unavailable("custody_behind", f"No custody node shows height {at_least}.", height=at_least)

    async def submit(self, operation: dict[str, Any], custody_height: int) -> SubmissionFate:
        """Sign, send and repeat one operation until its fate is final (K1). Raises `Unavailable` only before
        signing."""
        if not self._genesis_id:
            self._genesis_id = await self._read_genesis_id()
        transaction = {
            "network": self._network,
            "genesis": self._genesis_id.hex(),
            "signers": [self._key.text],
            "nonce": self._draw_nonce(16),
            "expires_at_height": custody_height + EXPIRY_BLOCKS,
            "operations": [operation],
        }
        envelope = sign_envelope(transaction, [self._key.seed], self._key.suite)
        while True:
            result, pause_ms = await self._attempt(envelope)
            if result is not None:
                if result.code == _WRONG_GENESIS:
                    self._genesis_id = b""  # whoever told us may have lied: ask another node next time
                    self._pool.rotate()
                return result
            await self._clock.sleep(pause_ms)

    async def _attempt(self, envelope: bytes) -> tuple[SubmissionFate | None, int]:
        """One POST to one node: the final fate, or None and how long to wait before the next."""
        now_ms = self._clock.elapsed_ms()
        node = self._pool.choose(now_ms)
        url = f"{self._pool.url(node)}/v1/transactions"
        try:
            _, body = await self._connection.post(
                url,
                envelope,
                {"Prefer": f"wait={RECEIPT_WAIT_S}"},
                timeout_s=REQUEST_TIMEOUT_S,
                max_bytes=MAX_RECEIPT_BYTES,
            )
            fate = decode(body, _Fate, url)
        except NodeRefused as refusal:
            if refusal.http_status in _BUSY:
                pause_ms = self._pool.failed(node, NodeFault.DOWN, now_ms)
                return None, max(1000 * min(refusal.retry_after_s, 30), min(pause_ms, 10_000))
            status = "expired" if refusal.code == "transaction_expired" else "refused"
            return SubmissionFate(status, refusal.code, None), 0
        except (Unavailable, Malformed):
            self._pool.failed(node, NodeFault.DOWN, now_ms)
            return None, RETRY_MS
        self._pool.succeeded(node)
        if fate.status not in _FINAL:
            self._pool.rotate()
            return None, RETRY_MS
        code = fate.receipt.get("code", fate.status) if fate.receipt is not None else fate.status
        return SubmissionFate(fate.status, str(code), fate.height), 0

    async def _get(self, path: str, parameters: dict[str, str | int]) -> tuple[int, bytes]:
        """GET from the first node that answers: (node, body)."""
        said = []
        for _ in range(self._pool.size):
            now_ms = self._clock.elapsed_ms()
            node = self._pool.choose(now_ms)
            url = self._pool.url(node) + path
            try:
                body = await self._connection.get(
                    url, parameters, timeout_s=REQUEST_TIMEOUT_S, max_bytes=MAX_STATUS_BYTES
                )
            except NodeRefused as refusal:
                if refusal.http_status not in _BUSY:
                    raise
                said.append(f"{url}: {refusal}")
            except Unavailable as failure:
                said.append(str(failure))
            else:
                return node, body
            self._pool.failed(node, NodeFault.DOWN, now_ms)
        raise Unavailable("no_custody_node", "; ".join(said)[:1000])

    async def _read_genesis_id(self) -> bytes:
        """The genesis id that a node names. A wrong one only makes signatures that the chain refuses; then it is read
        again, from another node (attack R10)."""
        _, body = await self._get(f"/v1/networks/{self._network}/status", {})
        return parse_hex(decode(body, _ChainStatus, "custody status").genesis_id, "genesis_id", HASH_SIZE)


def parse_region_status(body: bytes, network: str) -> RegionStatus:
    """The answer of `GET /v1/regions/{network}`. Raises `Malformed`."""
    document = parse_json(body, max_size=MAX_STATUS_BYTES)
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, dict):
        raise Malformed("unexpected_answer", "The custody node's answer has no data.")
    state = ClientState.from_json(data.get("client_state"))
    if state.network != network:
        raise Malformed("unexpected_answer", "The custody node answered for another region.", region=state.network)
    anchored = data.get("anchored_height")
    custody_height = document.get("custody_height")
    if type(anchored) is not int or type(custody_height) is not int or anchored < 0:
        raise Malformed("unexpected_answer", "The custody node's answer lacks heights.")
    partial = None
    if data.get("partial") is not None:
        # Other fields of it may come and go; these two are the cursor.
        fields = Fields(data["partial"], "partial")
        partial = Partial(fields.integer("height", minimum=1), fields.integer("next_index"))
    if state.height != (anchored if partial is None else partial.height) or (partial and partial.height <= anchored):
        raise Malformed("unexpected_answer", "The custody node's heights contradict each other.")
    return RegionStatus(
        network=network,
        position=AnchoredPosition(anchored, state.block_id, partial),
        client_state=state,
        custody_height=custody_height,
        frozen=bool(data.get("frozen")) or state.frozen_height is not None,
    )
