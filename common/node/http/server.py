"""HTTPS in front of the routes: uvicorn's HTTP protocol behind our own listener, with a deadline for every wait.

uvicorn's own server is not used: it wakes up ten times a second, and it bounds neither the head of a request nor the
time that a client may take for it.

Invariants:
  H1  A request's head has a bound in bytes and in time, its body in time (and in bytes by the routes) (N1, N2). Fields
      behind a chunked body (trailers) are refused: nothing here reads them, and each would be kept.
  H2  A client that does not read its answer is cut off; until then little is buffered for it (N2, `answer`).
  H3  Requests on one connection are answered one after the other; few may wait. What comes behind them is left
      unread: the last of those that wait is answered with `connection: close`, and the client sends the rest again.
  H4  Open connections and handshakes are bounded by `listener`.
  H5  Nothing happens while nobody asks: no ticks.
  H6  A request that came whole in one read may be answered where it was read (`at_once`), in one write and without a
      task; only while its client reads its answers, and behind no other request.

Leaves out: bodies' limits, tokens, errors of routes (`http`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from itertools import chain
from typing import Any, Final, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from common.node.http.answer import COMMON_HEADERS, OUTLET, Outlet, Reply
from common.node.loop_timers import ROUNDED_S
from common.node.peer.listener import Listener, ListenerLimits, Ticket
from common.node.peer.tls import ApiTls
from common.node.settings import LimitSettings
from common.node.store import fault_points

MAX_HEAD_BYTES: Final = 32 * 1024
"""Request line and headers together: a token, a few headers and a query of some hundred bytes take 2 KiB."""
SOCKET_READ_BYTES: Final = 32 * 1024
"""The system's buffer for what a connection sends; the system doubles it. One read brings no more, and TLS keeps
buffers of more than twice the largest read while a connection lives: 250 KiB a connection, where reads of 256 KiB make
it 650. Over 30 ms 2 MiB still arrive in a second."""
SOCKET_WRITE_BYTES: Final = 128 * 1024
"""The system's buffer for what a connection has not read yet, which counts as memory of a container."""
MAX_PIPELINED: Final = 16
"""Requests that may wait behind one that is being answered; our own clients send none."""
BACKLOG_BYTES: Final = 4 * 1024
"""Behind so many unsent bytes nothing is answered at once: an answer has 300 bytes, and the socket's buffers take what
an honest client has not read yet."""
BACKSTOP_MS: Final = 5_000
"""Our deadlines for bodies and answers come so much later than the routes' own, whose refusals say more."""
SHUTDOWN_S: Final = 2.0
"""Time for requests in progress when the node stops; a node stops within five seconds."""

Application = Callable[[Any, Any, Any], Awaitable[None]]
AtOnce = Callable[[Any, bytes], Reply | None]
"""The answer to a request, from its scope and whole body; None if the application must be asked."""


class _Server(ServerState):
    """What the connections of one server share."""

    def __init__(self, limits: LimitSettings, at_once: AtOnce | None) -> None:
        super().__init__()
        self.limits = limits
        self.at_once = at_once
        self._second = 0

    def refresh_date(self) -> None:
        """Keep the Date header right, when a request asks for it rather than by a clock."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self.default_headers = [(b"date", formatdate(second, usegmt=True).encode("ascii"))]


class GuardedHttpProtocol(HttpToolsProtocol):
    """One connection; see the module's invariants."""

    def __init__(self, config: uvicorn.Config, server: _Server, app_state: dict[str, Any], ticket: Ticket) -> None:
        super().__init__(config, server, app_state, asyncio.get_running_loop())
        self._server = server
        self._ticket = ticket
        self._outlet: Outlet | None = None
        self._write_timeout_s = (server.limits.http_body_timeout_ms + BACKSTOP_MS) / 1000
        self._deadline: asyncio.TimerHandle | None = None
        self._idle_since: float | None = None
        """Since when nobody asks; None while somebody does, or before the first has asked."""
        self._write_deadline: asyncio.TimerHandle | None = None
        self._in_head = True
        self._in_body = False
        self._field_bytes = 0
        """Of a head, or since the last piece of a body: of chunk sizes, and of fields behind the body."""
        self._too_large = False
        self._held: bytes | None = None
        """What has come of the body of a request that may be whole once this read is over (H6)."""
        self._full = False
        """More requests came than may wait: nothing more is read (H3)."""

    # The connection.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._ticket.established()
        super().connection_made(cast(asyncio.Transport, transport))
        self.transport.set_write_buffer_limits(high=1, low=0)  # behind these is another buffer, of 64 KiB
        cast(Any, self.transport).set_read_buffer_limits(high=SOCKET_READ_BYTES, low=0)  # while reading is paused
        self._outlet = Outlet(self.transport, self.flow, self._write_timeout_s)
        self._arm(self._server.limits.http_header_timeout_ms)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ticket.release()
        self._disarm()
        for handle in (self._write_deadline, self.timeout_keep_alive_task):
            if handle is not None:
                handle.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing() or self._full:
            return
        if self._in_head or self._in_body:
            self._field_bytes += len(data)
        super().data_received(data)
        if self._held is not None and not self.transport.is_closing():
            self._take_up(self._held)
        if self._deadline is None and self._idle_since is None and not self.transport.is_closing():
            self._wait_for_rest()
        in_fields = (self._in_head or self._in_body) and self._field_bytes > MAX_HEAD_BYTES
        if in_fields and not self.transport.is_closing():
            self._too_large = True
            self.send_400_response("")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_deadline = self.loop.call_later(self._write_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None
        super().resume_writing()

    # The parser.

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            raise ValueError("fields behind a body are not taken")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            self._full = True
            raise ValueError("more requests than may wait")
        size = len(self.url) + len(b"".join(chain.from_iterable(self.headers))) + 4 * len(self.headers)
        if size > MAX_HEAD_BYTES:
            self._too_large = True
            raise ValueError("the head of the request is too large")
        self._in_head = False
        self._field_bytes = 0
        self._server.refresh_date()
        self._disarm()
        self._in_body = True
        # A target that is no path may be refused when it is taken apart, which only the parser's callbacks may be.
        if self._server.at_once is None or self._answering() or not self.url.startswith(b"/"):
            self._begin_cycle()
        else:
            self._held = b""

    def on_body(self, body: bytes) -> None:
        self._field_bytes = 0
        if self._held is None:
            super().on_body(body)
        else:
            self._held += body

    def on_message_complete(self) -> None:
        self._in_body = False
        self._disarm()
        held, self._held = self._held, None
        if held is not None:
            if self._answered_at_once(held):
                self.on_response_complete()
                return
            self._take_up(held)
        super().on_message_complete()

    def _begin_cycle(self) -> None:
        """Give the request to the application, or let it wait behind the one that is being answered."""
        self._idle_since = None  # the one before it may have been answered in the same read
        cast(Any, self.scope)[OUTLET] = self._outlet
        super().on_headers_complete()

    def _take_up(self, body: bytes) -> None:
        """Give a request that was held to the application, with what has come of its body."""
        self._held = None
        self._begin_cycle()
        if body:
            super().on_body(body)

    def _answered_at_once(self, body: bytes) -> bool:
        """Whether the request has its answer. Its target is asked about as it came, a query and escapes included."""
        ask, parser = self._server.at_once, self.parser
        if ask is None or self.expect_100_continue or self.transport.get_write_buffer_size() > BACKLOG_BYTES:
            return False
        scope, version = cast(Any, self.scope), parser.get_http_version()
        scope["method"], scope["path"] = parser.get_method().decode("ascii"), self.url.decode("ascii")
        scope["http_version"], scope["query_string"] = version, b""
        reply = ask(scope, body)
        if reply is None:
            return False
        keep_alive = version != "1.0" and parser.should_keep_alive()
        headers = [*self._server.default_headers, *reply.headers, *COMMON_HEADERS]
        if (b"connection", b"close") in headers:
            keep_alive = False
        elif not keep_alive:
            headers.append((b"connection", b"close"))
        head = b"".join([b"%b: %b\r\n" % header for header in headers])
        fault_points.before("http.answer")
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[reply.status], head, reply.body))
        fault_points.after("http.answer")
        if not keep_alive:
            self.transport.close()
        return True

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request, as a problem like all others, and close."""
        if self._full:
            self.pipeline[0][0].keep_alive = False  # of the one that is answered last
            return
        status, code, detail = 400, "http_malformed", "The request is not HTTP/1.1."
        if self._too_large:
            status, code, detail = 431, "http_head_too_large", f"Line and headers exceed {MAX_HEAD_BYTES} bytes."
        body = json.dumps(
            {"type": f"urn:tongjian:error:{code}", "title": detail, "status": status, "code": code, "detail": detail}
        ).encode("ascii")
        head = (
            f"HTTP/1.1 {status} {'Bad Request' if status == 400 else 'Request Header Fields Too Large'}\r\n"
            f"content-type: application/problem+json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()

    # Deadlines.

    def on_response_complete(self) -> None:
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._watch_idle(self.timeout_keep_alive)

    def _unset_keepalive_if_required(self) -> None:
        """Somebody asks. The loop's timer stays where it is: to make one anew for every request costs more."""
        self._idle_since = None

    def _watch_idle(self, timeout_s: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(timeout_s, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return
        left_s = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left_s > ROUNDED_S:
            self._watch_idle(left_s)
        else:
            super().timeout_keep_alive_handler()

    def _wait_for_rest(self) -> None:
        """A request has begun and is not whole: its head or its body has so long to come."""
        limits = self._server.limits
        if self._in_body:
            self._arm(limits.http_body_timeout_ms + BACKSTOP_MS)
        elif not self._answering():
            self._arm(limits.http_header_timeout_ms)

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _arm(self, timeout_ms: int) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(timeout_ms / 1000, self._too_late)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        self._deadline = None
        self.transport.abort()


class _Reader(asyncio.BufferedProtocol):
    """Reads what arrives on one connection into the server's buffer, for a protocol that takes bytes.

    A buffer made for each read would be larger than what the C library keeps (`allocator`): it would be mapped, cut
    down and unmapped for every request.
    """

    def __init__(self, protocol: GuardedHttpProtocol, buffer: memoryview) -> None:
        self._protocol = protocol
        self._buffer = buffer

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, count: int) -> None:
        self._protocol.data_received(bytes(self._buffer[:count]))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._protocol.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

    def eof_received(self) -> None:
        self._protocol.eof_received()

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()


class HttpServer:
    """Serves one ASGI application on one listening socket."""

    def __init__(
        self,
        app: Application,
        listening: socket.socket,
        tls: ApiTls,
        limits: LimitSettings,
        at_once: AtOnce | None = None,
    ) -> None:
        """Serve `app`, but ask `at_once` first for requests that came whole."""
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_READ_BYTES)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_WRITE_BYTES)
        self._config = uvicorn.Config(
            app,
            http=GuardedHttpProtocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=limits.http_header_timeout_ms // 1000 + 1,
        )
        self._server = _Server(limits, at_once)
        self._tls = tls
        self._read_buffer = memoryview(bytearray(SOCKET_READ_BYTES))
        self.listener = Listener(
            listening,
            self._tls.current,
            self._build,
            ListenerLimits(
                connections=limits.http_connections,
                connections_address=limits.http_connections_address,
                handshakes=max(limits.handshakes, limits.http_connections // 4),
                handshake_timeout_ms=limits.http_header_timeout_ms,
            ),
        )

    async def start(self) -> None:
        """Start the application, then accept."""
        self._config.load()
        self._lifespan = self._config.lifespan_class(self._config)
        await self._lifespan.startup()
        if self._lifespan.should_exit:
            raise RuntimeError("the HTTP application did not start")
        self.listener.start()

    async def close(self) -> None:
        """Accept nothing more, let requests in progress end for `SHUTDOWN_S`, then cut them off."""
        await self.listener.close()
        for connection in list(self._server.connections):
            cast(GuardedHttpProtocol, connection).shutdown()
        late = set(self._server.tasks)
        if late:
            _, late = await asyncio.wait(late, timeout=SHUTDOWN_S)
        for connection in list(self._server.connections):
            cast(GuardedHttpProtocol, connection).transport.abort()
        if late:
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it takes a cancelled request for a bug
            for task in late:
                task.cancel()
            await asyncio.wait(late, timeout=0.5)
        await asyncio.sleep(0)
        await self._lifespan.shutdown()

    def _build(self, ticket: Ticket) -> _Reader:
        return _Reader(GuardedHttpProtocol(self._config, self._server, self._lifespan.state, ticket), self._read_buffer)
