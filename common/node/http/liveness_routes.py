"""Operations: liveness, metrics, and the stream of committed blocks.

Invariants
  O1  `/healthz` says that the process answers, nothing more: a lost quorum must not make containers restart every node.
  O2  The event stream tells of committed blocks only, each once, in order; a client that reconnects with the last id
      it has seen misses nothing. Streams are bounded in number, and a reader that stalls is dropped by the edge.
  O3  A stream ends when its token is revoked or has expired: nothing is sent to a bearer that a request would refuse.

Left out: readiness (`health_routes`), alarms, which belong to whoever scrapes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import Response, StreamingResponse

from common.core.errors import Rejected, Unavailable
from common.node.access import TRANSACTION_READERS, TokenStore
from common.node.http.budget import HOLDS, Holds, SharedBudget
from common.node.http.context import DIGITS, MAX_HEIGHT, Node, require_chain_role
from common.node.http.edge import IS_HEAD
from common.node.http.metrics import CONTENT_TYPE, Metrics
from common.node.http.node_ports import ServedNode

MAX_STREAMS: Final = 200
"""Of these 100 for one organisation, 50 for one token (`budget`)."""
KEEPALIVE_S: Final = 15
"""A comment goes out after this much silence, so that proxies keep the stream open."""
STREAM_LIFETIME_S: Final = 3600
"""Then the client reconnects with its last id, maybe to another node."""
_encode: Final = msgspec.json.Encoder().encode

operations_router = APIRouter(tags=["Operations"])


@operations_router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process is up."""
    return {"status": "ok"}


@operations_router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """The node's numbers in Prometheus text format."""
    shown: Metrics = request.app.state.metrics
    return Response(shown.render(), headers={"Content-Type": CONTENT_TYPE})


def _event(kind: str, document: dict[str, Any], identity: int | None = None) -> bytes:
    """One server-sent event; `document` is JSON without line breaks, so it is one data line."""
    head = b"event: %s\n" % kind.encode()
    if identity is not None:
        head += b"id: %d\n" % identity
    return head + b"data: " + _encode(document) + b"\n\n"


def block_events(node: ServedNode, height: int) -> bytes:
    """The events of one block: its transactions, then the block, whose id is the height to go on after."""
    chain = node.chain
    header = chain.header(height)
    parts = []
    for index, receipt in enumerate(chain.receipts(height)):
        document = {"tx_id": receipt.tx_id.hex(), "height": height, "index": index, "status": receipt.status}
        objects = [{"object_id": object_id, "version": version} for object_id, version in receipt.objects]
        parts.append(_event("transaction", document | {"code": receipt.code, "objects": objects}))
    block = {"height": height, "id": chain.block_id(height).hex(), "time_ms": header.time_ms}
    own = chain.block_receipt(height)
    made = [] if own is None else [{"object_id": object_id, "version": version} for object_id, version in own.objects]
    block |= {"transactions": header.tx_count, "snapshots": header.snapshot_count, "objects": made}
    return b"".join(parts) + _event("block", block, height)


async def _stream(
    node: ServedNode, height: int, hold: Callable[[int], None], is_known: Callable[[], bool]
) -> AsyncIterator[bytes]:
    deadline = asyncio.get_running_loop().time() + STREAM_LIFETIME_S
    yield b"retry: 1000\n\n"
    while asyncio.get_running_loop().time() < deadline:
        arrived = await node.wait_height(height, KEEPALIVE_S)
        if not is_known():
            return
        if arrived:
            told = block_events(node, height)
            try:
                hold(len(told))
            except Rejected:
                return  # the client comes back with the last id that it has seen
            yield told
            height += 1
        else:
            # After the keep-alive the loop must not spin if the node answers at once because it stops.
            yield b": idle\n\n"
            await asyncio.sleep(0.2)


events_router = APIRouter(prefix="/v1", tags=["Transactions"])


@events_router.get(
    "/events", dependencies=[Depends(require_chain_role(TRANSACTION_READERS))], response_class=StreamingResponse
)
async def events(
    request: Request,
    node: Node,
    from_height: Annotated[
        int | None, DIGITS, Query(ge=1, le=MAX_HEIGHT, description="Default: the next block.")
    ] = None,
    last_event_id: Annotated[str | None, Header(max_length=20, pattern=r"^[0-9]{1,16}$")] = None,
) -> Response:
    """Server-sent events: one for each committed transaction and block, from a height on.

    A reconnecting client's `Last-Event-ID` goes before `from_height`. HEAD asks for no events, and ends.
    """
    holds: Holds = request.scope[HOLDS]
    try:
        holds.hold(request.app.state.streams, 1)
    except Unavailable:
        raise Unavailable("too_many_streams", "This node serves no more event streams; ask another one.") from None
    height = node.chain.tip().height + 1 if from_height is None else from_height
    if last_event_id is not None:
        height = int(last_event_id) + 1
    if height <= node.chain.tip().height:
        node.chain.receipts(height)  # a pruned height is refused now, while an answer can still say so
    if request.scope.get(IS_HEAD):
        return Response(media_type="text/event-stream")
    tokens: TokenStore = request.app.state.tokens
    authorization = request.headers["authorization"].encode("latin-1")
    answers: SharedBudget = request.app.state.answers
    stream = _stream(node, height, lambda size: holds.hold(answers, size), lambda: tokens.knows(authorization))
    return StreamingResponse(stream, media_type="text/event-stream")
