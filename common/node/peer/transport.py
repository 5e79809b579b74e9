"""Channels to the other validators: who may connect, which of two channels stays, when one is given up.

Both sides dial, so that one open port between two organisations is enough. The rule for two channels between the same
two nodes gives the same answer at both ends:

* within `RACE_S` of each other, the channel dialled by the smaller key stays;
* otherwise the newer one stays: its dialler had lost the older (a half-open channel, N5).

Invariants:
  T1  Payloads reach the node only from an open channel, named by the key that its hello proved (attack N5).
  T2  At most one open channel a key; the node hears PeerDisconnected before PeerConnected when one replaces another.
  T3  A key outside the current and next validator set is an observer: at most `limits.observers`, sync traffic only and
      of that a bounded rate, no consensus message to or from it (attacks C9, C18, N3).
  T4  A silent channel is asked (PING) and then closed; a peer that does not read is closed (N5).
  T5  Redialling backs off with jitter and never stops.

Leaves out: frames and stages (`link`), meaning (`node`).
Reference: protocol rule 7; docs/protocol-transport.md; ADR 0025, 0026.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from common.core.errors import Forbidden, QuotaExceeded
from common.node.log_limit import LimitedLog
from common.node.logic.node_effects import Channel
from common.node.logic.node_events import PeerKey
from common.node.peer.dialling import Dialler, DialState
from common.node.peer.frames import FRAME_TYPE_OF, encode_frame
from common.node.peer.hello import (
    HELLO_LIFETIME_MS,
    ChannelBinding,
    ChannelHello,
    ChannelIdentity,
    ChannelRole,
    Side,
    make_hello,
    verify_hello,
)
from common.node.peer.link import Link, LinkStage
from common.node.peer.listener import Listener, ListenerLimits, Ticket, bind
from common.node.peer.tls import PeerTls
from common.node.settings import LimitSettings, PeerAddress, PeerSettings

RACE_S = 10.0
"""Two channels opened within this time are a race of two diallers: twice the default time for a handshake."""
SET_CONNECTIONS = 1_024
"""Peer connections in all: the current and next set of 100 each, dialling twice, with room for observers."""
READ_BYTES = 256 * 1024
"""Read at once from one channel."""
OBSERVER_MESSAGES_PER_S = 50
"""Questions of one observer that reach the node: catching up takes one for 64 blocks; what is above is dropped."""

CONNECTION_LOG_INTERVAL_S = 10.0
"""A peer that comes and goes is one line of each kind in this time (attack N6)."""

_log = logging.getLogger("tongjian.peers")
_limited = LimitedLog(_log, CONNECTION_LOG_INTERVAL_S)


class PeerHandler(Protocol):
    """What the transport asks of, and tells, the node's runtime; always from the event loop's thread."""

    def peer_keys(self) -> frozenset[PeerKey]:
        """The current and the next validator set."""
        ...

    def key_named(self, name: str) -> PeerKey | None:
        """The key of the validator of that name, if it is in the current or next set."""
        ...

    def greeting_for(self, peer: PeerKey) -> bytes:
        """`Node.hello_for`."""
        ...

    def peer_connected(self, peer: PeerKey, greeting: bytes) -> None:
        """A channel is open."""
        ...

    def peer_disconnected(self, peer: PeerKey) -> None:
        """It is gone."""
        ...

    def peer_message(self, peer: PeerKey, payload: bytes, member: bool) -> None:
        """A payload has arrived; from an observer if not `member`."""
        ...


@dataclass(frozen=True, slots=True)
class PeerReport:
    """One line of `status` and `doctor`: a configured or connected peer."""

    name: str
    key: PeerKey | None
    connected: bool
    member: bool
    dialled: bool
    remote: str
    round_trip_ms: int | None
    waiting_bytes: int
    dropped: int
    received_bytes: int
    sent_bytes: int
    last_error: str
    """Why the last attempt or channel ended: a stable code, safe to show."""
    silent_ms: int | None
    """Since the last byte came; None while no channel is open."""
    clock_offset_ms: int | None
    """The peer's clock less ours, when it said hello."""


class PeerTransport:
    """All channels of one node."""

    def __init__(
        self,
        identity: ChannelIdentity,
        settings: PeerSettings,
        peers: tuple[PeerAddress, ...],
        limits: LimitSettings,
        tls: PeerTls,
        handler: PeerHandler,
        now_ms: Callable[[], int],
        jitter: random.Random,
    ) -> None:
        self._identity = identity
        self._limits = limits
        self._tls = tls
        self._handler = handler
        self._now_ms = now_ms
        self._links: dict[PeerKey, Link] = {}
        self._all_links: set[Link] = set()
        self._paused_until: dict[PeerKey, float] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._closing = False
        self.received_bytes = 0
        """See LinkOwner."""
        # A buffer made for each read would be larger than what the C library keeps (`allocator`): it would be mapped,
        # cut down and unmapped for every vote.
        self.read_buffer = memoryview(bytearray(READ_BYTES))
        self.listener = Listener(
            bind(settings.host, settings.port),
            lambda: self._tls.current().listener,
            self._accept,
            ListenerLimits(
                connections=SET_CONNECTIONS,
                connections_address=SET_CONNECTIONS,
                handshakes=limits.handshakes,
                handshake_timeout_ms=limits.handshake_timeout_ms,
            ),
        )
        self.diallers = tuple(Dialler(self, address, limits.handshake_timeout_ms, jitter) for address in peers)

    def start(self) -> None:
        """Listen and dial."""
        self.listener.start()
        for dialler in self.diallers:
            dialler.start()
        self._sweep_later()

    async def close(self) -> None:
        """Close everything; peers hear it at once."""
        self._closing = True
        for dialler in self.diallers:
            await dialler.stop()
        if self._sweep is not None:
            self._sweep.cancel()
        await self.listener.close()
        for link in list(self._all_links):
            link.refuse("shutting_down")

    # Sending (effects).

    def send(self, peer: PeerKey, channel: Channel, payload: bytes) -> None:
        """Send to one peer, if it is connected and may hear it."""
        link = self._links.get(peer)
        if link is not None and (channel is Channel.SYNC or self.is_member(peer)):
            link.send(channel, encode_frame(FRAME_TYPE_OF[channel], payload))

    def broadcast(self, channel: Channel, payload: bytes) -> None:
        """Send to every connected peer that may hear it; the frame is made once."""
        if not self._links:
            return
        frame = encode_frame(FRAME_TYPE_OF[channel], payload)
        for link in list(self._links.values()):
            if channel is Channel.SYNC or link.member:
                link.send(channel, frame)

    def tell_observers(self, payload: bytes) -> None:
        """Send a sync payload to every connected observer."""
        observers = [link for link in self._links.values() if not link.member]
        if observers:
            frame = encode_frame(FRAME_TYPE_OF[Channel.SYNC], payload)
            for link in observers:
                link.send(Channel.SYNC, frame)

    def disconnect(self, peer: PeerKey, reason: str, pause_ms: int) -> None:
        """Close the channel to a peer that broke the protocol, and leave it alone for a while."""
        now = asyncio.get_running_loop().time()
        self._paused_until = {key: until for key, until in self._paused_until.items() if until > now}
        self._paused_until[peer] = now + pause_ms / 1000
        link = self._links.get(peer)
        if link is not None:
            link.refuse(reason)

    def validators_changed(self) -> None:
        """Close channels whose standing has changed: a member that left, an observer that joined (attacks C9, C18).

        They come back at once in their new standing.
        """
        members = self._handler.peer_keys()
        for peer, link in list(self._links.items()):
            if link.member != (peer in members):
                link.refuse("validators_changed")
        for dialler in self.diallers:
            dialler.wake()

    # Asking.

    def is_member(self, peer: PeerKey) -> bool:
        """Whether a key is in the current or next set."""
        return peer in self._handler.peer_keys()

    def link_to(self, peer: PeerKey | None) -> Link | None:
        """The open channel to a key."""
        return self._links.get(peer) if peer is not None else None

    def key_named(self, name: str) -> PeerKey | None:
        """See PeerHandler."""
        return self._handler.key_named(name)

    def dials_first(self, peer: PeerKey | None) -> bool:
        """Whether our dialling has precedence in a race (both ends agree)."""
        return peer is None or self._identity.public_key < peer

    def paused_for_s(self, peer: PeerKey | None) -> float:
        """How long a key is still left alone."""
        until = self._paused_until.get(peer, 0.0) if peer is not None else 0.0
        return max(0.0, until - asyncio.get_running_loop().time())

    def reports(self) -> list[PeerReport]:
        """Every configured peer, then connected ones that are not configured."""
        named = [(dialler.address.name, dialler.expected_key(), dialler.state) for dialler in self.diallers]
        shown = {key for _, key, _ in named}
        others = [("", key, DialState()) for key in self._links if key not in shown]
        return [self._report(name, key, state) for name, key, state in named + others]

    def _report(self, name: str, key: PeerKey | None, state: DialState) -> PeerReport:
        link = self.link_to(key)
        return PeerReport(
            name=name,
            key=key,
            connected=link is not None,
            member=key is not None and self.is_member(key),
            dialled=link is not None and link.side is Side.DIALLER,
            remote=link.remote if link else state.remote,
            round_trip_ms=link.round_trip_ms if link else None,
            waiting_bytes=link.waiting_bytes if link else 0,
            dropped=link.dropped if link else 0,
            received_bytes=link.received_bytes if link else 0,
            sent_bytes=link.sent_bytes if link else 0,
            last_error="" if link else state.last_error,
            silent_ms=int(1000 * (asyncio.get_running_loop().time() - link.received_at)) if link else None,
            clock_offset_ms=link.clock_offset_ms if link else None,
        )

    # What links and diallers call.

    def new_link(self, side: Side, remote: str) -> Link:
        """A link for a connection that is being made."""
        certificate = self._tls.current().certificate
        return Link(self, side, certificate, remote, self._limits.peer_queue_bytes)

    def dialler_tls(self) -> PeerTls:
        """The TLS material for outgoing connections."""
        return self._tls

    def _accept(self, ticket: Ticket) -> Link:
        link = self.new_link(Side.LISTENER, ticket.address)
        link.ticket = ticket
        return link

    def link_made(self, link: Link, binding: ChannelBinding) -> bytes:
        """See LinkOwner."""
        self._all_links.add(link)
        role = ChannelRole.VALIDATOR if self.is_member(self._identity.public_key) else ChannelRole.OBSERVER
        return make_hello(self._identity, binding, role, self._now_ms())

    def check_hello(self, link: Link, payload: bytes) -> ChannelHello:
        """See LinkOwner. Raises Rejected to refuse the peer."""
        if link.binding is None or self._closing:
            raise Forbidden("shutting_down", "this node is closing its channels")
        hello = verify_hello(payload, self._identity, link.binding, self._now_ms())
        peer = hello.public_key
        if self.paused_for_s(peer) > 0:
            raise Forbidden("peer_paused", "the peer broke the protocol and is left alone for a while")
        self._paused_until.pop(peer, None)
        link.member = self.is_member(peer)
        link.clock_offset_ms = hello.expires_ms - HELLO_LIFETIME_MS - self._now_ms()
        if link.expected is not None and link.expected != peer:
            raise Forbidden("hello_unexpected_peer", "another validator answered than the one configured there")
        if not link.member and peer not in self._links and self._observers() >= self._limits.observers:
            raise QuotaExceeded("observers_full", "as many observers are connected as this node admits")
        return hello

    def _observers(self) -> int:
        return sum(1 for link in self._all_links if link.peer is not None and not link.member)

    def greeting_for(self, peer: PeerKey) -> bytes:
        """See LinkOwner."""
        return self._handler.greeting_for(peer)

    def link_open(self, link: Link, greeting: bytes) -> None:
        """See LinkOwner: settle which channel stays, then tell the node."""
        peer = link.peer
        if peer is None:
            return
        older = self._links.get(peer)
        if older is not None:
            if not self._replaces(link, older, peer):
                link.refuse("duplicate_channel")
                return
            older.refuse("duplicate_channel")
        if link.ticket is not None:
            link.ticket.established()
        link.member = self.is_member(peer)  # the sets may have changed since its hello
        self._links[peer] = link
        _limited.write(
            logging.INFO,
            "peer connected",
            ("connected", peer.hex()),
            {
                "peer": self._identity.suite.format_key(peer),
                "remote": link.remote,
                "member": link.member,
                "dialled": link.side is Side.DIALLER,
            },
        )
        self._handler.peer_connected(peer, greeting)
        self._wake_diallers()

    def _replaces(self, newer: Link, older: Link, peer: PeerKey) -> bool:
        if newer.side is older.side or newer.opened_at - older.opened_at > RACE_S:
            return True
        return (newer.side is Side.DIALLER) == self.dials_first(peer)

    def link_payload(self, link: Link, channel: Channel, payload: bytes) -> None:
        """See LinkOwner. Consensus, transactions and floods of observers are not for the node (T3)."""
        peer = link.peer
        if peer is None or self._links.get(peer) is not link:
            return
        if link.member or (channel is Channel.SYNC and link.asks_moderately(OBSERVER_MESSAGES_PER_S)):
            self._handler.peer_message(peer, payload, link.member)

    def link_closed(self, link: Link) -> None:
        """See LinkOwner."""
        self._all_links.discard(link)
        if link.ticket is not None:
            link.ticket.release()
        peer = link.peer
        if peer is not None and self._links.get(peer) is link:
            del self._links[peer]
            reason = "refused" if link.reason_from_peer else link.reason
            _limited.write(
                logging.INFO,
                "peer disconnected",
                ("disconnected", peer.hex(), reason),
                {
                    "peer": self._identity.suite.format_key(peer),
                    "remote": link.remote,
                    "reason": link.reason,
                    "by_peer": link.reason_from_peer,
                },
            )
            if not self._closing:
                self._handler.peer_disconnected(peer)
            self._wake_diallers()
        elif link.stage is LinkStage.CLOSED and link.side is Side.LISTENER and link.reason != "duplicate_channel":
            _log.debug("peer refused", extra={"remote": link.remote, "reason": link.reason})

    def _wake_diallers(self) -> None:
        for dialler in self.diallers:
            dialler.wake()

    # Silence.

    def _sweep_later(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(self._limits.keepalive_ms / 1000, self._sweep_links)

    def _sweep_links(self) -> None:
        """Ping quiet channels; close dead ones. What waits in the sockets is read first: after a pause of the whole
        process (attack S3) every channel looks silent until then."""
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self._judge_silence)
        self._sweep_later()

    def _judge_silence(self) -> None:
        now = asyncio.get_running_loop().time()
        idle_s = self._limits.idle_timeout_ms / 1000
        for link in list(self._links.values()):
            if now - link.received_at > idle_s:
                link.abort("idle_timeout")
            elif link.paused_since is not None and now - link.paused_since > idle_s:
                link.abort("peer_too_slow")
            elif now - link.received_at > self._limits.keepalive_ms / 2000:
                link.ping()
