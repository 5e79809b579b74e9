"""One TLS channel to one peer: its stages, its queue, its silence.

    connected ──HELLO both ways──> greeted ──GREETING both ways──> open ──> closed

Invariants:
  L1  Nothing but HELLO is read before the peer has proven its key, and nothing is sent to the node before the channel
      is open (attack N5).
  L2  An error of the peer closes the channel with a stable code; it never raises into the event loop.
  L3  Frames queued in one turn of the event loop leave in one write (protocol rule 15).
  L4  Memory held for a peer is bounded: one unfinished frame, one read, one queue, one socket buffer.
  L5  A peer that sends without end holds up no other: in one turn of the event loop its frames are taken for `TURN_S`,
      and nothing more is read from it until they are done (attacks C13, N3). Bytes count as received once they are
      taken, so that timers wait for them (attack S3).

Leaves out: which channel of several stays (`transport`), dialling and accepting.
Reference: docs/protocol-transport.md, "Stages".
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import struct
import time
from enum import Enum
from typing import Any, Protocol, cast

from common.core.errors import Rejected
from common.node.logic.node_effects import Channel
from common.node.logic.node_events import PeerKey
from common.node.peer.frames import (
    FRAME_TYPE_OF,
    GREETING_STAGE,
    OPEN_STAGE,
    FrameDecoder,
    FrameType,
    encode_frame,
)
from common.node.peer.hello import ChannelBinding, ChannelHello, Side
from common.node.peer.listener import Ticket
from common.node.peer.send_queue import SendQueue
from common.node.store import fault_points

WRITE_BYTES = 256 * 1024
"""Frames are joined up to this size for one write: large enough for full TLS records, small to stay interruptible."""
HIGH_WATER_BYTES = 1024 * 1024
"""Socket buffer above which frames wait in the queue, where urgent ones overtake."""
TURN_S = 0.002
"""Time for the frames of one channel before the others have their turn: twenty signatures, more than a block has."""
LINGER_S = 2.0
"""Time for the last words of a channel that is closed to leave; a peer that does not read gets no more."""

_PING = struct.Struct(">Q")
_CHANNEL_OF = {kind: channel for channel, kind in FRAME_TYPE_OF.items()}

_log = logging.getLogger("tongjian.peers")


class LinkStage(Enum):
    """How far a channel is."""

    HELLO = "hello"
    GREETING = "greeting"
    OPEN = "open"
    CLOSED = "closed"


class LinkOwner(Protocol):
    """What a link asks of the transport that owns it. Any method may raise Rejected: the link closes with its code."""

    received_bytes: int
    """Everything that has arrived at its links, complete or not."""

    def link_made(self, link: Link, binding: ChannelBinding) -> bytes:
        """TLS is up; return our HELLO payload for this channel."""
        ...

    def check_hello(self, link: Link, payload: bytes) -> ChannelHello:
        """Verify the peer's hello and decide whether it may stay; sets nothing on the link."""
        ...

    def greeting_for(self, peer: PeerKey) -> bytes:
        """Our GREETING payload for this peer."""
        ...

    def link_open(self, link: Link, greeting: bytes) -> None:
        """Both hellos and greetings are exchanged."""
        ...

    @property
    def read_buffer(self) -> memoryview:
        """Where every link of this owner reads to: what one of them has read is taken before another reads."""
        ...

    def link_payload(self, link: Link, channel: Channel, payload: bytes) -> None:
        """One payload has arrived on an open link."""
        ...

    def link_closed(self, link: Link) -> None:
        """The link is gone; called once for every link, also for one whose TLS never came up."""
        ...


class Link(asyncio.BufferedProtocol):
    """One channel. `peer` is set once the hello is verified, `reason` once it is closed."""

    def __init__(self, owner: LinkOwner, side: Side, own_certificate: bytes, remote: str, queue_bytes: int) -> None:
        self._owner = owner
        self._own_certificate = own_certificate
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._decoder = FrameDecoder()
        self._queue = SendQueue(queue_bytes)
        self._flush_due = False
        self._finished: asyncio.Future[None] = self._loop.create_future()
        self.side = side
        self.remote = remote
        self.stage = LinkStage.HELLO
        self.binding: ChannelBinding | None = None
        self.hello: ChannelHello | None = None
        self.peer: PeerKey | None = None
        """The key that the channel is bound to; None before the hello."""
        self.ticket: Ticket | None = None
        """Our place at the listener, if the peer dialled."""
        self.expected: PeerKey | None = None
        """Whom the dialler meant to reach; None if it does not know."""
        self.member = False
        """Whether the key is in the current or next validator set; a channel whose standing changes is closed
        (`transport.validators_changed`)."""
        self.reason = ""
        self.reason_from_peer = False
        self.opened_at = 0.0
        self.received_at = self._loop.time()
        self.paused_since: float | None = None
        self.round_trip_ms: int | None = None
        self.clock_offset_ms: int | None = None
        self._second_began = 0.0
        self._messages_this_second = 0
        self._held_bytes = 0
        """Read, and not yet taken."""
        self._next_turn: asyncio.Handle | None = None
        self.received_bytes = 0
        self.sent_bytes = 0

    @property
    def dropped(self) -> int:
        """Frames that were dropped because the peer was slow."""
        return self._queue.dropped

    @property
    def waiting_bytes(self) -> int:
        """Bytes queued behind a full socket buffer."""
        return self._queue.waiting_bytes

    async def finished(self) -> None:
        """Wait until the link is open or closed."""
        await asyncio.shield(self._finished)

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        if certificate is None:
            self.abort("no_peer_certificate")
            return
        self.binding = ChannelBinding(self.side, self._own_certificate, certificate)
        self._write(encode_frame(FrameType.HELLO, self._owner.link_made(self, self.binding)))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._owner.read_buffer

    def buffer_updated(self, count: int) -> None:
        self.received_at = self._loop.time()
        self.received_bytes += count
        self._held_bytes += count
        self._take_frames(self._owner.read_buffer[:count])

    def eof_received(self) -> bool:
        self.abort("closed_by_peer")
        return False

    def pause_writing(self) -> None:
        self.paused_since = self._loop.time()

    def resume_writing(self) -> None:
        self.paused_since = None
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._close(_named(error))

    # What the owner calls.

    def send(self, channel: Channel, frame: bytes) -> None:
        """Queue one encoded frame; it leaves at the end of this turn of the event loop, if the peer keeps up."""
        if self.stage is not LinkStage.OPEN:
            return
        try:
            self._queue.put(channel, frame)
        except Rejected as error:
            self.abort(error.code)
            return
        if not self._flush_due and self.paused_since is None:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def asks_moderately(self, messages_per_s: int) -> bool:
        """Count one message; False if the peer has sent more than its share within this second."""
        now = self._loop.time()
        if now - self._second_began >= 1.0:
            self._second_began, self._messages_this_second = now, 0
        self._messages_this_second += 1
        return self._messages_this_second <= messages_per_s

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._write(encode_frame(FrameType.PING, _PING.pack(int(self._loop.time() * 1000))))

    def refuse(self, code: str) -> None:
        """Tell the peer why, then close."""
        transport = self._transport
        if transport is None or self.stage is LinkStage.CLOSED:
            self._close(code)
            return
        try:
            self._write(encode_frame(FrameType.REFUSAL, code.encode("ascii", "replace")[:64]))
            transport.close()
            self._loop.call_later(LINGER_S, transport.abort)
        except RuntimeError:
            # uvloop refuses to close TLS that the peer has taken down already, before it says that it is lost (L2).
            transport.abort()
        finally:
            self._close(code)

    def abort(self, reason: str) -> None:
        """Close at once, without a word: for peers that do not listen any more."""
        if self._transport is not None:
            self._transport.abort()
        self._close(reason)

    # Inside.

    def _take_frames(self, data: bytes | memoryview) -> None:
        """Take frames until none is left or the turn is over (L5)."""
        turn_ends, over = time.perf_counter() + TURN_S, False
        try:
            for kind, payload in self._decoder.feed(data):
                channel = _CHANNEL_OF.get(kind)
                if channel is None:
                    self._take(kind, payload)
                else:
                    self._owner.link_payload(self, channel, payload)
                if self.stage is LinkStage.CLOSED:
                    return
                if time.perf_counter() > turn_ends:
                    over = True
                    break
        except Rejected as error:
            self.refuse(error.code)
            return
        held_bytes = self._decoder.buffered_bytes if over else 0
        self._owner.received_bytes += self._held_bytes - held_bytes
        self._held_bytes = held_bytes
        if over and self._next_turn is None and self._transport is not None:
            self._transport.pause_reading()
            self._next_turn = self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """The next turn; once nothing is left, read again."""
        self._next_turn = None
        if self.stage is not LinkStage.CLOSED:
            self._take_frames(b"")
        if self._next_turn is None and self._transport is not None and self.stage is not LinkStage.CLOSED:
            self._transport.resume_reading()

    def _take(self, kind: FrameType, payload: bytes) -> None:
        """Take a frame that is about the channel itself."""
        match kind:
            case FrameType.HELLO:
                self.hello = self._owner.check_hello(self, payload)
                self.peer = self.hello.public_key
                self.stage = LinkStage.GREETING
                self._decoder.allowed = GREETING_STAGE
                self._write(encode_frame(FrameType.GREETING, self._owner.greeting_for(self.peer)))
            case FrameType.GREETING:
                self.stage = LinkStage.OPEN
                self._decoder.allowed = OPEN_STAGE
                self.opened_at = self._loop.time()
                self._owner.link_open(self, payload)
                self._finish()
            case FrameType.PING:
                if self.paused_since is None:  # who asks without reading gets no answers piled up
                    self._write(encode_frame(FrameType.PONG, payload))
            case FrameType.PONG:
                if len(payload) == _PING.size:
                    self.round_trip_ms = max(0, int(self._loop.time() * 1000) - int(_PING.unpack(payload)[0]))
            case FrameType.REFUSAL:
                self.reason_from_peer = True
                self.abort(_printable(payload))

    def _flush(self) -> None:
        self._flush_due = False
        while self._queue.waiting_bytes and self.paused_since is None and self._transport is not None:
            frames = self._queue.take(WRITE_BYTES)
            self._write(frames[0] if len(frames) == 1 else b"".join(frames))

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self.sent_bytes += len(data)
            fault_points.before("peer.send")
            self._transport.write(data)
            fault_points.after("peer.send")

    def _close(self, reason: str) -> None:
        if self.stage is LinkStage.CLOSED:
            return
        self.stage = LinkStage.CLOSED
        self.reason = reason
        self._finish()
        self._owner.link_closed(self)

    def _finish(self) -> None:
        if not self._finished.done():
            self._finished.set_result(None)


def _printable(payload: bytes) -> str:
    """A peer's refusal code as safe text: log lines and status answers show it (attack N6)."""
    text = payload.decode("ascii", "replace")
    return "".join(character if character.isalnum() or character in "_-" else "?" for character in text) or "refused"


def _named(error: Any) -> str:
    if error is None:
        return "closed_by_peer"
    if isinstance(error, ssl.SSLError):
        return f"tls_{(error.reason or 'error').lower()}"
    return f"connection_{type(error).__name__.removesuffix('Error').lower()}"
