"""An answer on its way out: counted while it is large, and written as fast as the client reads.

Invariants:
  W1  A large answer is held in the answers' budget from before its first byte until the client has read all but what
      the socket's buffers take (attack N2). One that finds no room becomes a refusal.
  W2  It is written piece by piece, each when the one before has left, so that no copy of the whole is made for TLS; and
      it has one deadline for all of it.

Small answers are not counted: a connection holds one at a time, and their number is bounded by that of connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

from starlette.types import Message, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl

from common.core.errors import Rejected
from common.node.http.budget import HOLDS, SharedBudget
from common.node.store import fault_points

OUTLET: Final = "tongjian.outlet"
"""Where a request's scope has its connection's `Outlet`, if `server` serves it."""
PIECE_BYTES: Final = 64 * 1024
"""As much as a transport takes before it says that it is full; a larger answer is large."""
COMMON_HEADERS: Final = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))


class Reply(NamedTuple):
    """A small answer as a whole."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


class AnswerRefused(Exception):
    """The budget has no room for an answer. No route may catch it, since the answer has not begun."""

    def __init__(self, error: Rejected) -> None:
        super().__init__(error.code)
        self.error = error


class Outlet:
    """The writing side of one connection."""

    __slots__ = ("_flow", "_timeout_s", "_transport")

    def __init__(self, transport: asyncio.Transport, flow: FlowControl, timeout_s: float) -> None:
        self._transport = transport
        self._flow = flow
        self._timeout_s = timeout_s

    async def drained(self) -> None:
        """Wait until what was written has left, or the connection is gone."""
        await self._flow.drain()

    def cut_off_later(self) -> asyncio.TimerHandle:
        """End the connection unless the handle is cancelled in time."""
        return asyncio.get_running_loop().call_later(self._timeout_s, self._transport.abort)


class Answer:
    """`send` that remembers the status, adds the common header fields, and keeps the module's invariants."""

    __slots__ = ("_budget", "_scope", "_send", "status")

    def __init__(self, scope: Scope, send: Send, budget: SharedBudget) -> None:
        self._scope = scope
        self._send = send
        self._budget = budget
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = message.get("headers", ())
            for name, value in headers:
                if name == b"content-length" and len(value) > 4 and int(value) > PIECE_BYTES:
                    self._hold(int(value))
            self.status = message["status"]
            message["headers"] = [*headers, *COMMON_HEADERS]
        elif len(message.get("body", b"")) > PIECE_BYTES:
            await self._write_piecewise(message)
            return
        await self._pass_on(message)

    def _hold(self, size: int) -> None:
        try:
            self._scope[HOLDS].hold(self._budget, size)
        except Rejected as error:
            raise AnswerRefused(error) from None

    async def _write_piecewise(self, message: Message) -> None:
        body, more_body = memoryview(message["body"]), message.get("more_body", False)
        outlet: Outlet | None = self._scope.get(OUTLET)
        deadline = None if outlet is None else outlet.cut_off_later()
        try:
            for start in range(0, len(body), PIECE_BYTES):
                piece, more = bytes(body[start : start + PIECE_BYTES]), start + PIECE_BYTES < len(body)
                await self._pass_on({"type": "http.response.body", "body": piece, "more_body": more or more_body})
            if outlet is not None:
                await outlet.drained()
        finally:
            if deadline is not None:
                deadline.cancel()

    async def _pass_on(self, message: Message) -> None:
        fault_points.before("http.answer")
        await self._send(message)
        fault_points.after("http.answer")
