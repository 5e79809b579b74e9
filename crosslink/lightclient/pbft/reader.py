"""How a relay reads our chains: `GET /v1/networks/{network}/blocks?from=&limit=&wait=&include=snapshots,validators`,
and `GET …/status` for comparison (JR/T 0314-2024 chapter 7).
"""

from __future__ import annotations

import msgspec

from common.core.errors import Malformed
from common.core.suite import parse_hex
from common.model.sealed import MAX_SEALED_BYTES, SealedBody
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.pbft.messages import encode_parts
from crosslink.lightclient.pbft.trust import trust_of
from crosslink.lightclient.reading import Conversation, Read, Request, ServedBlock, ServedPage, decode

MAX_STATUS_BYTES = 256 * 1024


class _Entry(msgspec.Struct):
    header: str
    certificate: str
    validators: str | None = None
    snapshots: list[str] = []


class _Blocks(msgspec.Struct):
    blocks: list[_Entry]
    tip: int


class _Status(msgspec.Struct):
    height: int


class PbftReader:
    """Implements `reading.SourceReader`."""

    def blocks(self, state: ClientState, read: Read) -> Conversation[ServedPage]:
        """One request: nodes answer with whole blocks, bounded by size."""
        path = f"/v1/networks/{state.network}/blocks"
        body = yield Request(
            path=path,
            parameters={
                "from": read.from_height,
                "limit": read.limit,
                "wait": read.wait_s,
                "include": "snapshots,validators",
            },
            wait_s=read.wait_s,
        )
        answer = decode(body, _Blocks, path)
        return ServedPage(tuple(_served(state, entry) for entry in answer.blocks), answer.tip)

    def tip(self, state: ClientState) -> Conversation[int]:
        """From the node's status."""
        path = f"/v1/networks/{state.network}/status"
        body = yield Request(path=path, max_bytes=MAX_STATUS_BYTES)
        return decode(body, _Status, path).height

    def body(self, state: ClientState, body: SealedBody) -> Conversation[bytes]:
        """`GET /v1/bodies/{digest}` (ADR 0078)."""
        return (yield Request(path=f"/v1/bodies/{body.digest}", max_bytes=MAX_SEALED_BYTES))

    def is_body(self, state: ClientState, body: SealedBody, data: bytes) -> bool:
        """The digest is the hash of the chain's suite."""
        return trust_of(state).suite.hash(data).hex() == body.digest


def _served(state: ClientState, entry: _Entry) -> ServedBlock:
    try:
        snapshots = tuple(text.encode() for text in entry.snapshots)
    except UnicodeEncodeError:
        raise Malformed("unexpected_answer", "A snapshot is not Unicode text.") from None
    header = encode_parts(
        trust_of(state).suite,
        parse_hex(entry.header, "header"),
        parse_hex(entry.certificate, "certificate"),
        None if entry.validators is None else parse_hex(entry.validators, "validators"),
    )
    return ServedBlock(header, snapshots)
