"""Keeping one configured peer connected: dial, wait while a channel is open, back off and dial again.

Invariants:
  D1  A dialler dials only while no channel to its peer is open, whoever opened it.
  D2  Attempts are bounded in time and spaced: the pause doubles from `FIRST_PAUSE_S` to `LONGEST_PAUSE_S` with jitter,
      and starts again once a channel has been open for longer than the longest pause.
  D3  The side whose dialling loses a race waits a moment first, so that a network starts without races.

Leaves out: what is said on the channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import ssl
from dataclasses import dataclass
from typing import Protocol

from common.node.log_limit import LimitedLog
from common.node.logic.node_events import PeerKey
from common.node.peer.hello import Side
from common.node.peer.link import Link, LinkStage
from common.node.peer.tls import PeerTls
from common.node.settings import PeerAddress

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
"""A validator that comes back dials the others itself; this bounds the wait when only one direction is open."""
YIELD_S = 0.5
"""Head start of the side whose dialling has precedence (D3)."""

_limited = LimitedLog(logging.getLogger("tongjian.peers"))


@dataclass(slots=True)
class DialState:
    """What `status` shows of a peer that is not connected."""

    remote: str = ""
    last_error: str = ""
    attempts: int = 0


class DialOwner(Protocol):
    """What a dialler asks of the transport."""

    def new_link(self, side: Side, remote: str) -> Link: ...

    def dialler_tls(self) -> PeerTls: ...

    def link_to(self, peer: PeerKey | None) -> Link | None: ...

    def key_named(self, name: str) -> PeerKey | None: ...

    def dials_first(self, peer: PeerKey | None) -> bool: ...

    def paused_for_s(self, peer: PeerKey | None) -> float: ...


class Dialler:
    """One task for one `[[peers]]` entry."""

    def __init__(self, owner: DialOwner, address: PeerAddress, timeout_ms: int, jitter: random.Random) -> None:
        self._owner = owner
        self._timeout_s = timeout_ms / 1000
        self._jitter = jitter
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._proven_key: PeerKey | None = None
        self.address = address
        self.state = DialState(remote=f"{address.host}:{address.port}")

    def expected_key(self) -> PeerKey | None:
        """Whom this entry leads to: the validator of that name, or else who answered there before."""
        return self._owner.key_named(self.address.name) or self._proven_key

    def start(self) -> None:
        """Begin to dial."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Stop dialling; open channels stay."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def wake(self) -> None:
        """Channels or validator sets have changed: look again."""
        self._changed.set()

    async def _run(self) -> None:
        if not self._owner.dials_first(self.expected_key()):
            await self._rest(YIELD_S)
        pause_s = FIRST_PAUSE_S
        while True:
            link = self._owner.link_to(self.expected_key())
            if link is not None:
                opened_at = link.opened_at
                await self._wait_until_gone()
                if asyncio.get_running_loop().time() - opened_at > LONGEST_PAUSE_S:
                    pause_s = FIRST_PAUSE_S
                await self._rest(pause_s * self._jitter.uniform(0.5, 1.0))
                continue
            held_s = self._owner.paused_for_s(self.expected_key())
            if held_s > 0:
                await self._rest(held_s)
                continue
            if not await self._attempt():
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                await self._rest(pause_s * self._jitter.uniform(0.5, 1.0))

    async def _wait_until_gone(self) -> None:
        while self._owner.link_to(self.expected_key()) is not None:
            self._changed.clear()
            await self._changed.wait()

    async def _rest(self, delay_s: float) -> None:
        """Wait, but no longer than until a channel to the peer opens (it dialled us)."""
        deadline = asyncio.get_running_loop().time() + delay_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while self._owner.link_to(self.expected_key()) is None:
                    self._changed.clear()
                    await self._changed.wait()

    async def _attempt(self) -> bool:
        """Dial once; True if a channel is open afterwards."""
        self.state.attempts += 1
        link = self._owner.new_link(Side.DIALLER, self.state.remote)
        link.expected = self._owner.key_named(self.address.name)
        try:
            async with asyncio.timeout(self._timeout_s):
                await asyncio.get_running_loop().create_connection(
                    lambda: link,
                    self.address.host,
                    self.address.port,
                    ssl=self._owner.dialler_tls().current().dialler,
                    ssl_handshake_timeout=self._timeout_s,
                    ssl_shutdown_timeout=1.0,
                )
                await link.finished()
        except TimeoutError:
            link.abort("timeout")
        except OSError as error:
            link.abort(_named(error))
        except asyncio.CancelledError:
            link.abort("shutting_down")
            raise
        if link.peer is not None:
            self._proven_key = link.peer
        if link.stage is not LinkStage.CLOSED:
            self.state.last_error = ""
            return True
        self._note(link.reason if not link.reason_from_peer else f"refused_{link.reason}")
        return False

    def _note(self, reason: str) -> None:
        """Log a reason when it changes: a peer that is down for a week is one line, not a hundred thousand."""
        if reason == "duplicate_channel" or reason == "refused_duplicate_channel":
            return
        if reason != self.state.last_error:
            self.state.last_error = reason
            extra = {"name_of_peer": self.address.name, "remote": self.state.remote, "reason": reason}
            _limited.write(logging.WARNING, "peer not reachable", (self.address.name, reason), extra)


def _named(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "host_unknown" if error.errno in (socket.EAI_NONAME, socket.EAI_NODATA) else "host_not_resolved"
    if isinstance(error, ssl.SSLError):
        return f"tls_{(error.reason or 'error').lower()}"
    if isinstance(error, ConnectionRefusedError):
        return "connection_refused"
    return f"connection_{type(error).__name__.removesuffix('Error').lower()}"
