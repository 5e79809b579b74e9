"""Accepting TLS connections with bounds: how many, from where, and how long until they are worth keeping.

Invariants:
  A1  At most `handshakes` connections are unfinished (TLS, then whatever the protocol asks first). When one more comes,
      the oldest unfinished one gives way, of the address that holds most of them: an honest peer needs milliseconds, so
      the oldest are the slow ones, and a flood from few addresses displaces itself (N2, N3).
  A2  At most `connections` are open, and at most `connections_address` from one address; more are closed at once.
  A3  An unfinished connection ends after `handshake_timeout_ms`.
  A4  Running out of file descriptors pauses accepting; it ends neither the listener nor open connections.
  A5  A connection counts until it is closed: no counter says less than the sockets that are held.

Leaves out: what is spoken on a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from common.core.errors import Unavailable
from common.node.log_limit import LimitedLog

BACKLOG = 512
ACCEPT_PAUSE_S = 0.2
"""Wait after a failed accept (no descriptors left): long enough for handshakes to time out, short enough to recover."""

_limited = LimitedLog(logging.getLogger("tongjian.listener"))


@dataclass(frozen=True, slots=True)
class ListenerLimits:
    """See the module's invariants."""

    connections: int
    connections_address: int
    handshakes: int
    handshake_timeout_ms: int


class Ticket:
    """One connection's place, taken until the connection is gone. Its protocol calls `established` once it is worth
    keeping, and `release` at its end."""

    __slots__ = ("_listener", "address", "deadline", "task", "transport")

    def __init__(self, listener: Listener, address: str) -> None:
        self._listener = listener
        self.address = address
        self.task: asyncio.Task[None] | None = None
        self.transport: asyncio.Transport | None = None
        """Set once TLS is up."""
        self.deadline: asyncio.TimerHandle | None = None

    def established(self) -> None:
        """The connection no longer counts as unfinished."""
        self._listener.settle(self)

    def release(self) -> None:
        """The connection is gone. Idempotent."""
        self._listener.forget(self)

    def evict(self) -> None:
        """End the connection without a word. Its place is free when the connection is gone, not before."""
        self._listener.settle(self)
        if self.transport is not None:
            self.transport.abort()
        elif self.task is not None:
            self.task.cancel()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises Unavailable('port_in_use') or ('address_unusable'), with host and port."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Unavailable(
                "port_in_use",
                f"cannot listen on {host}:{port}: another process has the port; end it, or set another port",
            ) from error
        raise Unavailable(
            "address_unusable",
            f"cannot listen on {host}:{port}: {error.strerror}; set a host of this machine and a port it may use",
        ) from error
    listening.setblocking(False)
    return listening


class Listener:
    """Accepts on one socket and builds a protocol for each connection."""

    def __init__(
        self,
        listening: socket.socket,
        context: Callable[[], ssl.SSLContext],
        build: Callable[[Ticket], asyncio.BaseProtocol],
        limits: ListenerLimits,
    ) -> None:
        """`context` and `build` are asked before each TLS handshake; what `build` returns may never be connected."""
        self._socket = listening
        self._context = context
        self._build = build
        self._limits = limits
        self._task: asyncio.Task[None] | None = None
        self._tickets: set[Ticket] = set()
        self._unfinished: dict[Ticket, None] = {}
        self._from_address: Counter[str] = Counter()
        self._unfinished_from: Counter[str] = Counter()
        self.refused = 0
        self.evicted = 0
        self.failed = 0

    @property
    def port(self) -> int:
        """The TCP port that is listened on."""
        return int(self._socket.getsockname()[1])

    @property
    def connections(self) -> int:
        """Open connections, unfinished ones included."""
        return len(self._tickets)

    @property
    def handshakes(self) -> int:
        """Unfinished connections."""
        return len(self._unfinished)

    def start(self) -> None:
        """Begin to accept."""
        self._task = asyncio.get_running_loop().create_task(self._accept())

    async def close(self) -> None:
        """Stop accepting, and end what is unfinished; established connections belong to their protocol's owner."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._socket.close()
        for ticket in list(self._unfinished):
            ticket.evict()

    def settle(self, ticket: Ticket) -> None:
        """See `Ticket.established`."""
        if ticket in self._unfinished:
            del self._unfinished[ticket]
            _count_down(self._unfinished_from, ticket.address)
        if ticket.deadline is not None:
            ticket.deadline.cancel()
            ticket.deadline = None

    def forget(self, ticket: Ticket) -> None:
        """See `Ticket.release`."""
        self.settle(ticket)
        if ticket in self._tickets:
            self._tickets.remove(ticket)
            _count_down(self._from_address, ticket.address)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(self._socket)
            except OSError as error:
                reason = str(error.strerror)
                _limited.write(logging.WARNING, "accept failed", ("accept", str(self.port), reason), {"error": reason})
                await asyncio.sleep(ACCEPT_PAUSE_S)
                continue
            self._admit(connection, str(address[0]))

    def _admit(self, connection: socket.socket, address: str) -> None:
        limits = self._limits
        if len(self._tickets) >= limits.connections or self._from_address.get(address, 0) >= limits.connections_address:
            self.refused += 1
            connection.close()
            return
        if len(self._unfinished) >= limits.handshakes:
            self.evicted += 1
            self._victim().evict()
        loop = asyncio.get_running_loop()
        ticket = Ticket(self, address)
        self._tickets.add(ticket)
        self._from_address[address] += 1
        self._unfinished[ticket] = None
        self._unfinished_from[address] += 1
        ticket.deadline = loop.call_later(limits.handshake_timeout_ms / 1000, ticket.evict)
        ticket.task = loop.create_task(self._shake_hands(ticket, connection))
        ticket.task.add_done_callback(lambda _: self._hands_shaken(ticket, connection))

    def _victim(self) -> Ticket:
        """The unfinished connection that gives way (A1)."""
        address = max(self._unfinished_from, key=self._unfinished_from.__getitem__)
        return next(ticket for ticket in self._unfinished if ticket.address == address)

    async def _shake_hands(self, ticket: Ticket, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()

        def build() -> asyncio.BaseProtocol:
            return self._build(ticket)

        try:
            ticket.transport, _ = await loop.connect_accepted_socket(
                build,
                connection,
                ssl=self._context(),
                ssl_handshake_timeout=self._limits.handshake_timeout_ms / 1000,
                ssl_shutdown_timeout=1.0,
            )
        except OSError:
            # Includes TLS failures and resets: what strangers send is counted, not logged a line each (N6).
            self.failed += 1

    def _hands_shaken(self, ticket: Ticket, connection: socket.socket) -> None:
        """TLS is up, has failed, or was given up."""
        if ticket.transport is None:
            connection.close()
            self.forget(ticket)


def _count_down(counter: Counter[str], address: str) -> None:
    """One less; addresses without any are forgotten, so that strangers cannot make the counter grow."""
    counter[address] -= 1
    if not counter[address]:
        del counter[address]
