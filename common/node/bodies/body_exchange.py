"""Bodies between peers: parts of them are asked for by digest, checked, and handed out (ADR 0078).

It stands between the channels and the node: payloads of its two kinds end here, all others go on as they came. So
consensus neither waits for a body nor hears of one.

Invariants
  E1  A body counts when its digest is the one that the chain commits to; until then it is bytes of one peer, as many
      as that peer says and a body may have. A validator that sent others is left alone for `DISTRUST_S`; its channel
      stays, since its votes are not at fault.
  E2  Validators alone are asked, one at a time and one part at a time: a fetch holds one body in memory at most.
  E3  What a peer is given is rationed as blocks are (`ration`); of one peer one question is answered at a time, and
      what it asks meanwhile is dropped (attack N3).

Left out: which bodies are missing, and the disk (`body_keeper`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from common.core.errors import CodecError, Rejected
from common.core.suite import Suite
from common.model.sealed import MAX_SEALED_BYTES
from common.node.logic.catchup.ration import OBSERVERS, Rations
from common.node.logic.node_effects import Channel, Warned
from common.node.logic.node_events import PeerKey
from common.node.logic.wire.body_messages import (
    BODY_KINDS,
    MAX_BODY_PART_BYTES,
    AnswerBodyPart,
    GetBodyPart,
    decode_body_message,
)
from common.node.peer.transport import PeerHandler

ANSWER_TIMEOUT_S: Final = 5.0
"""For one part: 1 MiB at 1.6 Mbit/s."""
DISTRUST_S: Final = 600.0
MISS_BYTES: Final = 256
"""What a question for something that is not here costs its peer's ration."""

PartOf = Callable[[str, int], Awaitable[tuple[int, bytes]]]
"""Size and one part of a body; raises `Rejected` if it is not here."""
Send = Callable[[PeerKey, Channel, bytes], None]
InThread = Callable[[Callable[[bytes], bytes], bytes], Awaitable[bytes]]


class BodyExchange(PeerHandler):
    """Takes the node's place behind the transport (`transport.PeerHandler`)."""

    def __init__(
        self,
        node: PeerHandler,
        suite: Suite,
        size_of: Callable[[str], int | None],
        part_of: PartOf,
        in_thread: InThread,
        now_ms: Callable[[], int],
        warned: Callable[[Warned], None],
    ) -> None:
        """`node` takes all but bodies; `size_of` and `part_of` give what this node has; `in_thread` hashes."""
        self._node = node
        self._suite = suite
        self._size_of, self._part_of, self._in_thread = size_of, part_of, in_thread
        self._now_ms = now_ms
        self._warned = warned
        self._loop = asyncio.get_running_loop()
        self._send: Send | None = None
        self._connected: dict[PeerKey, None] = {}
        self._distrusted: dict[PeerKey, float] = {}
        self._rations = Rations()
        self._serving: dict[PeerKey, asyncio.Task[None]] = {}
        self._request = 0
        self._awaited: tuple[PeerKey, int, asyncio.Future[AnswerBodyPart | None]] | None = None

    def start(self, send: Send) -> None:
        """Questions and answers leave by this."""
        self._send = send

    def stop(self) -> None:
        """Give up what is being handed out."""
        for task in self._serving.values():
            task.cancel()

    # What the transport asks and tells.

    def peer_keys(self) -> frozenset[PeerKey]:
        return self._node.peer_keys()

    def key_named(self, name: str) -> PeerKey | None:
        return self._node.key_named(name)

    def greeting_for(self, peer: PeerKey) -> bytes:
        return self._node.greeting_for(peer)

    def peer_connected(self, peer: PeerKey, greeting: bytes) -> None:
        self._connected[peer] = None
        self._node.peer_connected(peer, greeting)

    def peer_disconnected(self, peer: PeerKey) -> None:
        self._connected.pop(peer, None)
        if self._awaited is not None and self._awaited[0] == peer:
            self._settle(None)
        self._node.peer_disconnected(peer)

    def peer_message(self, peer: PeerKey, payload: bytes, member: bool) -> None:
        if not payload or payload[0] not in BODY_KINDS:
            self._node.peer_message(peer, payload, member)
            return
        try:
            message = decode_body_message(payload)
        except CodecError as error:
            self._distrust(peer, error.detail)
            return
        if isinstance(message, GetBodyPart):
            self._asked(peer, message, member)
        elif self._awaited is not None and self._awaited[:2] == (peer, message.request):
            self._settle(message)

    # Asking.

    async def fetch(self, digest: str, most_bytes: int) -> bytes | None:
        """A body of at most so many bytes from the first validator that has it; None if nobody gives it (E1, E2)."""
        members = self._node.peer_keys()
        for peer in [peer for peer in self._connected if peer in members]:
            if self._distrusted.get(peer, 0.0) > self._loop.time():
                continue
            data = await self._fetch_from(peer, bytes.fromhex(digest), most_bytes)
            if data is not None:
                return data
        return None

    async def _fetch_from(self, peer: PeerKey, digest: bytes, most_bytes: int) -> bytes | None:
        size_bytes, data = 0, bytearray()
        while not size_bytes or len(data) < size_bytes:
            answer = await self._ask(peer, digest, len(data) // MAX_BODY_PART_BYTES)
            if answer is None or not answer.size_bytes:
                return None
            size_bytes = size_bytes or answer.size_bytes
            if answer.size_bytes != size_bytes or size_bytes > MAX_SEALED_BYTES:
                self._distrust(peer, "it says of a body a size that no body has")
                return None
            if size_bytes > most_bytes:
                return None  # no fault of the peer's: this node has no room for it
            if len(answer.part) != min(MAX_BODY_PART_BYTES, size_bytes - len(data)):
                self._distrust(peer, "a part of a body has another length than it must")
                return None
            data += answer.part
        found = bytes(data)
        if await self._in_thread(self._suite.hash, found) == digest:
            return found
        self._distrust(peer, f"what it sent as the body {digest.hex()} has another digest")
        return None

    async def _ask(self, peer: PeerKey, digest: bytes, number: int) -> AnswerBodyPart | None:
        """The peer's answer; None if it is gone or does not answer in time."""
        if peer not in self._connected or self._send is None:
            return None
        self._request = (self._request + 1) & 0xFFFFFFFF
        future: asyncio.Future[AnswerBodyPart | None] = self._loop.create_future()
        self._awaited = peer, self._request, future
        self._send(peer, Channel.SYNC, GetBodyPart(self._request, digest, number).encode())
        await asyncio.wait((future,), timeout=ANSWER_TIMEOUT_S)
        self._awaited = None
        return future.result() if future.done() else None

    def _settle(self, answer: AnswerBodyPart | None) -> None:
        if self._awaited is not None and not self._awaited[2].done():
            self._awaited[2].set_result(answer)

    def _distrust(self, peer: PeerKey, why: str) -> None:
        now = self._loop.time()
        self._distrusted = {key: until for key, until in self._distrusted.items() if until > now}
        self._distrusted[peer] = now + DISTRUST_S
        self._warned(Warned("body_refused", why, peer))

    # Handing out.

    def _asked(self, peer: PeerKey, asked: GetBodyPart, member: bool) -> None:
        purse = peer if member else OBSERVERS
        now_ms = self._now_ms()
        if peer in self._serving or not self._rations.allows(purse, now_ms):
            return
        size_bytes = self._size_of(asked.digest.hex())
        if size_bytes is None:
            self._rations.take(purse, MISS_BYTES)
            self._answer(peer, AnswerBodyPart(asked.request, 0, b""))
            return
        # The first part costs what is read to check it: the whole body.
        self._rations.take(purse, size_bytes if asked.number == 0 else MAX_BODY_PART_BYTES)
        task = self._loop.create_task(self._hand_out(peer, asked))
        self._serving[peer] = task
        task.add_done_callback(lambda _: self._serving.pop(peer, None))

    async def _hand_out(self, peer: PeerKey, asked: GetBodyPart) -> None:
        try:
            size_bytes, part = await self._part_of(asked.digest.hex(), asked.number)
        except Rejected:
            size_bytes, part = 0, b""
        self._answer(peer, AnswerBodyPart(asked.request, size_bytes, part))

    def _answer(self, peer: PeerKey, answer: AnswerBodyPart) -> None:
        if self._send is not None:
            self._send(peer, Channel.SYNC, answer.encode())
