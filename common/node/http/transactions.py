"""Transactions over HTTP: submit, follow, find by business id (contract, "Transactions").

Invariants
  X1  A submission's bytes go to the node as they came, past every model and the router: one parse in the node is all
      (protocol rule 15). One that does not ask to wait is answered at once, where it was read.
  X2  The same transaction again is the same answer: while pending 202, once final 200 with the receipt. Business
      content that was applied before under the same ids is answered with its first receipt, whoever resends it.
  X3  202 promises nothing but memory (protocol rule 25).

Left out: what a transaction may do.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Query
from starlette.types import Receive, Scope, Send

from common.core import merkle
from common.core.errors import Conflict, Malformed, NotFound
from common.core.names import check_identifier
from common.core.transaction import envelope_hash, parse_envelope
from common.node.access import BUSINESS_READERS, TRANSACTION_READERS, WRITERS
from common.node.http.answer import Reply
from common.node.http.context import Node, check_query, check_role, parse_tx_id, require_chain_role, require_role
from common.node.http.edge import IDENTITY
from common.node.http.node_ports import BusinessLookup, RepeatedContent, ServedNode
from common.node.logic.node_status import TransactionState
from common.node.store.chain_store import ChainStore
from common.node.store.committed_state import CommittedState

SUBMIT_PATH: Final = "/v1/transactions"
MAX_WAIT_S: Final = 30
"""Longest `Prefer: wait`; intermediaries tend to give up after a minute."""
BUSINESS_ID_USED: Final = "business_id_used"
_PREFER_WAIT: Final = re.compile(rb"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})", re.IGNORECASE)
_encode: Final = msgspec.json.Encoder().encode


def preferred_wait_s(scope: Scope) -> int:
    """Seconds of `Prefer: wait=N` (RFC 7240), at most 30; 0 without it, or if it is not understood."""
    for name, value in scope["headers"]:
        if name == b"prefer":
            match = _PREFER_WAIT.search(value)
            if match is not None:
                return min(int(match.group(1)), MAX_WAIT_S)
    return 0


def state_document(state: TransactionState) -> dict[str, Any]:
    """A transaction's state as JSON."""
    return {
        "tx_id": state.tx_id.hex(),
        "status": state.status,
        "final": state.final,
        "height": state.height,
        "index": state.index,
        "receipt": None if state.receipt is None else state.receipt.to_json(),
    }


async def _read_body(receive: Receive) -> bytes:
    """The whole body; its bounds are the edge's."""
    message = await receive()
    if not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        return body
    parts = [message.get("body", b"")]
    while message.get("more_body", False):
        message = await receive()
        parts.append(message.get("body", b""))
    return b"".join(parts)


class SubmitRoute:
    """`POST /v1/transactions`, as a bare ASGI application and at once (`edge.Shortcut`)."""

    path = SUBMIT_PATH

    def __init__(self, service: ServedNode) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refusals leave as `Rejected`; the edge renders them."""
        self._check(scope)
        body = await _read_body(receive)
        state = self._submit(body)
        wait_s = preferred_wait_s(scope)
        if wait_s and not state.final:
            state = await self._service.wait_receipt(state.tx_id, wait_s)
        reply = _reply(self._told(body, state), wait_s)
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        await send({"type": "http.response.body", "body": reply.body})

    def waits(self, scope: Scope) -> bool:
        """Whether the client asks to be told of the receipt."""
        return preferred_wait_s(scope) > 0

    def at_once(self, scope: Scope, body: bytes) -> Reply:
        """The answer to a submission that does not wait. Raises `Rejected`."""
        self._check(scope)
        return _reply(self._told(body, self._submit(body)), 0)

    def _check(self, scope: Scope) -> None:
        scope["route"] = self
        check_role(scope[IDENTITY], WRITERS)
        check_query(scope, ())

    def _submit(self, body: bytes) -> TransactionState:
        """Hand the bytes to the node; where the transaction is now. Raises `Rejected`."""
        try:
            return self._service.submit(body)
        except Conflict as refusal:
            first = self._first_application(body) if refusal.code == BUSINESS_ID_USED else None
            if first is None:
                raise
        return self._service.transaction_state(first)

    def _told(self, body: bytes, state: TransactionState) -> TransactionState:
        """What the client is told: of the first application, if this is the same content again (X2)."""
        if state.receipt is None or state.receipt.code != BUSINESS_ID_USED:
            return state
        first = self._first_application(body)
        return state if first is None else self._service.transaction_state(first)

    def _first_application(self, body: bytes) -> bytes | None:
        """The transaction that applied the same business content before (X2), or None."""
        service = self._service
        if not isinstance(service.application, RepeatedContent):
            return None
        tx = parse_envelope(body, service.suite)
        return service.application.first_application(tx, CommittedState(service.chain))


def _reply(state: TransactionState, wait_s: int) -> Reply:
    """200 with the receipt if it is final, else 202."""
    tx_id = state.tx_id.hex()
    if state.final:
        status, body = 200, _encode(state_document(state))
    else:
        # The node has just admitted it, so "unknown" can only mean that it was decided between two looks: pending.
        status, body = 202, _encode({"tx_id": tx_id, "status": "pending"})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"location", f"{SUBMIT_PATH}/{tx_id}".encode("ascii")),
    ]
    if wait_s:
        headers.append((b"preference-applied", b"wait=%d" % wait_s))
    return Reply(status, headers, body)


def inclusion_proof(chain: ChainStore, state: TransactionState, service: ServedNode) -> dict[str, Any] | None:
    """Proofs that a committed transaction and its receipt are in their block; None if it is not committed.

    Raises `Gone` if the block's body was pruned.
    """
    if state.height is None or state.index is None or state.height < 1:
        return None
    suite, block = service.suite, chain.block(state.height)
    envelope = block.envelopes[state.index]
    receipts = [receipt.encode() for receipt in chain.all_receipts(state.height)]
    receipt_index = state.index + len(receipts) - len(block.envelopes)
    return {
        "envelope": envelope.decode(),
        "envelope_hash": envelope_hash(suite, envelope).hex(),
        "index": state.index,
        "tx_count": len(block.envelopes),
        "tx_path": [item.hex() for item in merkle.prove(suite.hash, block.envelope_hashes(suite), state.index)],
        "receipt_index": receipt_index,
        "receipt_count": len(receipts),
        "receipt_path": [item.hex() for item in merkle.prove(suite.hash, receipts, receipt_index)],
        "header": block.header.encode().hex(),
        "certificate": chain.certificate(state.height).encode().hex(),
    }


router = APIRouter(prefix="/v1", tags=["Transactions"])


@router.get("/transactions/{tx_id}", dependencies=[Depends(require_chain_role(TRANSACTION_READERS))])
async def transaction(
    tx_id: str, node: Node, proof: Annotated[bool, Query(description="Add Merkle paths, header, certificate.")] = False
) -> dict[str, Any]:
    """Where a transaction is, and its receipt once it is final. `unknown` is an answer, not an error."""
    state = node.transaction_state(parse_tx_id(tx_id))
    document = state_document(state)
    if proof:
        document["proof"] = inclusion_proof(node.chain, state, node)
    return document


business_router = APIRouter(prefix="/v1", tags=["Transactions"])


@business_router.get("/business/{business_id}", dependencies=[Depends(require_role(BUSINESS_READERS))])
async def business(business_id: str, node: Node) -> dict[str, Any]:
    """The transaction that applied a business id, with its receipt and the objects it made."""
    check_identifier(business_id, "business_id")
    application = node.application
    if not isinstance(application, BusinessLookup):
        raise Malformed("business_unsupported", "This chain keeps no business ids.")
    tx_id = application.business_transaction(business_id, CommittedState(node.chain))
    if tx_id is None:
        raise NotFound("business_unknown", "No applied operation has this business id.", business_id=business_id)
    state = node.transaction_state(tx_id)
    objects = [] if state.receipt is None else state.receipt.objects
    return {
        "business_id": business_id,
        **state_document(state),
        "objects": [{"object_id": object_id, "version": version} for object_id, version in objects],
    }
