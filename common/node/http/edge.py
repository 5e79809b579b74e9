"""The HTTP edge around every route: limits, tokens, problems, request log, latencies.

Invariants
  G1  Every path below /v1 needs a valid token before its body is read, routes that do not exist included.
  G2  Header fields, body size and body time are bounded; a body is refused while it streams in, not after (attacks N1,
      N2). Compressed bodies are refused, so that nothing can unfold (attack E2).
  G3  Whatever happens becomes one problem document or an aborted connection; never a stack trace, never a 500 for bad
      input (contract, "Transactions").
  G4  Stored data that fails its checks is never served: 503 `database_damaged`, and a critical line with the remedy
      (attack S2).
  G5  A log line holds route templates, numbers, names from our own files, and the path with everything but printable
      ASCII escaped: no client can write a line of its own (attack N6).
  G6  A request's body counts in the bodies' budget from its head to the request's end, a route that waits included; so
      what all bodies take together is bounded (attack N2). Answers: `answer`.
  G7  A request that has come whole and needs no waiting may be answered at once, without a task (`at_once`): with the
      same checks, problems, log line and count as any other.
  G8  HEAD is answered, counted and logged as the GET that it asks about (RFC 9110, section 9.3.2); the server below,
      which still knows, sends no content.

Left out: the time for a head and for the first byte of a body, and the number of connections, which the
server bounds below any request (`http.server`, attack N2); roles, which each route demands.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Final, Protocol

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.core.errors import Rejected, Unauthorised
from common.core.transaction import MAX_ENVELOPE_BYTES
from common.model.sealed import MAX_SEALED_BYTES
from common.node.access import Identity, TokenStore
from common.node.http.answer import Answer, AnswerRefused, Reply
from common.node.http.budget import HOLDS, Holds, SharedBudget
from common.node.http.metrics import Metrics
from common.node.http.problems import edge_problem, problem_of
from common.node.store.store_errors import DamagedStore

IDENTITY: Final = "tongjian.identity"
REQUEST_ID: Final = "tongjian.request_id"
IS_HEAD: Final = "tongjian.is_head"
"""In the scope of a HEAD (G8), for routes whose content has no end."""
PROTECTED_PREFIX: Final = "/v1"
BODIES_PATH: Final = "/v1/bodies"
"""Where bodies off the chain are put, the only requests that may be larger than an envelope."""
MAX_LOGGED_PATH: Final = 200
MAX_LENGTH_DIGITS: Final = 20
"""Of a Content-Length; no integer of 64 bits has more."""
_UNPRINTABLE: Final = re.compile(r"[^!-~]")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_log = logging.getLogger("tongjian.http")


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Bounds of one request, and of all together; each is far above honest use."""

    header_count: int = 64
    """Browsers send about 20."""
    header_bytes: int = 16 * 1024
    """Names and values together."""
    body_bytes: int = MAX_ENVELOPE_BYTES
    """The largest body of any other route is an envelope."""
    sealed_bytes: int = MAX_SEALED_BYTES
    """The largest body off the chain, as it is put."""
    body_timeout_ms: int = 30_000
    """2 MiB at 70 kB/s."""
    bodies_bytes: int = 64 << 20
    """All bodies of requests under way (`LimitSettings.http_bodies_bytes`)."""
    answers_bytes: int = 128 << 20
    """All large answers under way (`LimitSettings.http_answers_bytes`)."""

    def largest(self, scope: Scope) -> int:
        """Most bytes that a request's body may have."""
        puts_body = scope["method"] == "PUT" and scope["path"].startswith(f"{BODIES_PATH}/")
        return self.sealed_bytes if puts_body else self.body_bytes


class _EdgeRefusal(Exception):
    """One of `EDGE_CODES`, raised while a request is read."""

    def __init__(self, code: str, **members: int | str) -> None:
        super().__init__(code)
        self.code = code
        self.members = members


class _BoundedBody:
    """`receive` with the request's bounds; ends with an `_EdgeRefusal` when one is exceeded.

    Most bodies are there at once, so the clock starts with the second piece.
    """

    __slots__ = ("_deadline", "_done", "_largest", "_left", "_limits", "_receive")

    def __init__(self, receive: Receive, limits: HttpLimits, largest: int) -> None:
        self._receive = receive
        self._limits = limits
        self._largest = self._left = largest
        self._deadline: float | None = None
        self._done = False

    async def __call__(self) -> Message:
        if self._done:
            return await self._receive()
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._limits.body_timeout_ms / 1000
            message = await self._receive()
        else:
            try:
                async with asyncio.timeout_at(self._deadline):
                    message = await self._receive()
            except TimeoutError:
                raise _EdgeRefusal("body_timeout", limit_ms=self._limits.body_timeout_ms) from None
        if message["type"] == "http.disconnect":
            raise _EdgeRefusal("body_incomplete")
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise _EdgeRefusal("body_too_large", limit=self._largest)
        self._done = not message.get("more_body", False)
        return message


def escaped_path(scope: Scope) -> str:
    """The path as it may stand in a log line (G5)."""
    raw = scope.get("raw_path") or scope["path"].encode("utf-8", "replace")
    text = raw[:MAX_LOGGED_PATH].decode("latin-1")
    return _UNPRINTABLE.sub(lambda match: f"%{ord(match.group()):02X}", text)


def _route_template(scope: Scope) -> str:
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else "unmatched"


class Shortcut(Protocol):
    """A route that skips the router: an ASGI application that can also answer a whole request at once."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...

    def waits(self, scope: Scope) -> bool:
        """Whether this request must not be answered at once."""

    def at_once(self, scope: Scope, body: bytes) -> Reply:
        """The answer. Raises `Rejected`."""


class Edge:
    """ASGI middleware; see the module's invariants. `shortcuts` maps (method, path) to routes that skip the router.

    It is made before the application that it goes around (`around`).
    """

    def __init__(
        self,
        *,
        tokens: TokenStore,
        metrics: Metrics,
        damage_found: Callable[[str], None],
        limits: HttpLimits,
        answers: SharedBudget,
        shortcuts: Mapping[tuple[str, str], Shortcut],
    ) -> None:
        self._bodies = SharedBudget("room for request bodies", limits.bodies_bytes)
        self._answers = answers
        self._tokens = tokens
        self._metrics = metrics
        self._damage_found = damage_found
        self._limits = limits
        self._shortcuts = shortcuts
        self._request_prefix = secrets.token_hex(4)
        self._requests = 0

    def around(self, app: ASGIApp) -> Edge:
        """Go around this application from now on."""
        self._app = app
        return self

    def is_shortcut(self, scope: Scope) -> bool:
        """Whether a request's route skips the router."""
        return (scope["method"], scope["path"]) in self._shortcuts

    def at_once(self, scope: Scope, body: bytes) -> Reply | None:
        """The answer to a request that has come whole, or None if it takes its way through `__call__` (G7)."""
        shortcut = self._shortcuts.get((scope["method"], scope["path"]))
        if shortcut is None or shortcut.waits(scope):
            return None
        started = time.perf_counter()
        request_id = self._begin(scope)
        code = None
        try:
            self._check_head(scope)
            reply = shortcut.at_once(scope, body)
        except Exception as error:
            code, response = self._refusal(error, scope, request_id)
            reply = Reply(response.status_code, response.raw_headers, bytes(response.body))
        finally:
            if (holds := scope.get(HOLDS)) is not None:
                holds.release()
        self._report(scope, reply.status, code, time.perf_counter() - started, request_id)
        return reply

    def _begin(self, scope: Scope) -> str:
        self._requests += 1
        request_id = scope[REQUEST_ID] = f"{self._request_prefix}-{self._requests:x}"
        return request_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET", IS_HEAD: True}
        started = time.perf_counter()
        request_id = self._begin(scope)
        answer = Answer(scope, send, self._answers)
        code = None
        try:
            code = await self._answer(scope, receive, answer, request_id)
        finally:
            if (holds := scope.get(HOLDS)) is not None:
                holds.release()
            self._report(scope, answer.status, code, time.perf_counter() - started, request_id)

    async def _answer(self, scope: Scope, receive: Receive, send: Answer, request_id: str) -> str | None:
        """Run the route; returns the code of the refusal, if it was one."""
        try:
            self._check_head(scope)
            shortcut = self._shortcuts.get((scope["method"], scope["path"]))
            await (shortcut or self._app)(scope, _BoundedBody(receive, self._limits, self._limits.largest(scope)), send)
        except Exception as error:
            code, response = self._refusal(error, scope, request_id)
        else:
            return scope.get("tongjian.code")
        if send.status == 0:
            await response(scope, receive, send)
        return code

    def _refusal(self, error: Exception, scope: Scope, request_id: str) -> tuple[str, Response]:
        """(code, problem document) for whatever a request failed with (G3)."""
        close = {"Connection": "close"}
        told = {"request_id": request_id, "path": escaped_path(scope)}
        match error:
            case Rejected():
                return error.code, problem_of(error, request_id)
            case AnswerRefused():
                return error.error.code, problem_of(error.error, request_id)
            case _EdgeRefusal():
                return error.code, edge_problem(error.code, request_id, close, **error.members)
            case DamagedStore():
                found = {"code": error.code, "detail": str(error)}
                _log.critical("stored data is damaged and was not served", extra=found | told)
                self._damage_found(error.what)
                return error.code, edge_problem("database_damaged", request_id, {"Retry-After": "60"})
            case _:
                # The bearer learns an id, the log the rest.
                _log.error("a route failed", exc_info=error, extra=told)
                return "internal_error", edge_problem("internal_error", request_id, close)

    def _check_head(self, scope: Scope) -> None:
        """Bounds of the head, then the token, then room for the body (G1, G2, G6)."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        limits = self._limits
        body_size, authorization, hosts = 0, None, 0
        largest = limits.largest(scope)
        for name, value in headers:
            if name == b"authorization":
                if authorization is not None:
                    raise Unauthorised("token_missing", "The request holds more than one Authorization header.")
                authorization = value
            elif name == b"content-encoding" and value.lower() != b"identity":
                raise _EdgeRefusal("content_encoding_unsupported")
            elif name == b"content-length":
                if not value.isdigit() or len(value) > MAX_LENGTH_DIGITS or int(value) > largest:
                    raise _EdgeRefusal("body_too_large", limit=largest)
                body_size = int(value)
            elif name == b"host":
                hosts += 1
            elif name == b"transfer-encoding":
                if value.lower() != b"chunked":
                    raise _EdgeRefusal("transfer_encoding_unsupported")
                body_size = largest  # of a length that is not said counts as the longest
        if len(headers) > limits.header_count or len(b"".join(chain.from_iterable(headers))) > limits.header_bytes:
            raise _EdgeRefusal("headers_too_large", limit=limits.header_bytes)
        if hosts > 1 or (not hosts and scope["http_version"] == "1.1"):
            raise _EdgeRefusal("host_header")
        identity = None
        if scope["path"].startswith(PROTECTED_PREFIX):
            identity = scope[IDENTITY] = self._tokens.identify(authorization)
        holds = scope[HOLDS] = Holds(identity, scope)
        holds.hold(self._bodies, body_size)

    def _report(self, scope: Scope, status: int, code: str | None, seconds: float, request_id: str) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = _route_template(scope)
        self._metrics.observe(route, method, status, seconds)
        level = logging.DEBUG if status < 400 and not route.startswith(PROTECTED_PREFIX) else logging.INFO
        if method == "POST" and status in (200, 202):
            level = logging.DEBUG  # the chain itself records what was submitted
        if not _log.isEnabledFor(level):
            return
        identity: Identity | None = scope.get(IDENTITY)
        client = scope.get("client")
        _log.log(
            level,
            "request",
            extra={
                "request_id": request_id,
                "method": method,
                "route": route,
                "path": escaped_path(scope),
                "status": status,
                "code": code,
                "duration_ms": round(seconds * 1000, 1),
                "subject": identity.subject if identity else None,
                "token_id": identity.id if identity else None,
                "client": client[0] if client else None,
            },
        )
