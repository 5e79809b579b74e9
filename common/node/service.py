"""What the HTTP routes may ask of a running node, and who is told when a block commits.

Invariants:
  V1  Nobody is told of a block before it is durable: notifications follow `BlockCommitted` (attack S1).
  V2  Everybody who waits is answered: by the block, by his timeout, or by the node's end.
  V3  Ready means: this node commits, or peers that make up a quorum with it show no higher tip. A stalled node is not
      ready, nor is a validator that has had no quorum (itself included) for `SHORT_S` (contract, "Operations").

Leaves out: rendering (HTTP), deciding (`node`), performing (`runtime`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TypeVar

from common.chain.application import Application
from common.chain.schedule import protocol_version
from common.core.errors import Unavailable
from common.core.genesis import Genesis
from common.core.suite import Suite
from common.node.diagnosis.self_judgement import NodeFacts
from common.node.log_limit import LimitedLog
from common.node.logic.execution.next_block import NextBlock
from common.node.logic.node_effects import Accusation, BlockCommitted, Warned
from common.node.logic.node_status import NodeStatus, TransactionState
from common.node.peer.transport import PeerReport, PeerTransport
from common.node.runtime import Runtime
from common.node.runtime_ports import NodeLogic
from common.node.self_check import SelfCheck, accused_members, peer_facts, recent_views
from common.node.store.chain_store import ChainStore
from common.node.store.committed_state import CommittedState
from common.version import VERSION

MAX_WAITING = 20_000
"""Waiting requests in all: ten times the default bound on HTTPS connections."""
KEPT_ACCUSATIONS = 100
"""Conflicting votes are evidence against a validator; a hundred tell as much as a million."""
STALL_HEARTBEATS = 3
"""A chain that misses three heartbeats, view changes included, has stalled."""
SHORT_S = 5.0
"""How long a validator may be short of a quorum and still count as ready: restarts of peers and networks take less."""

_Waiter = asyncio.Future[TransactionState | None]
"""Who waits for a transaction is woken with its state; who waits for a height, or in vain, with nothing."""
_Key = TypeVar("_Key", bytes, int)

_log = logging.getLogger("tongjian.node")
_limited = LimitedLog(_log)


class NodeService:
    """The face of a node towards the routes; the runtime's notifications come in here."""

    def __init__(self, chain: ChainStore, application: Application) -> None:
        self._chain = chain
        self._application = application
        self._loop = asyncio.get_running_loop()
        self._runtime: Runtime | None = None
        self._node: NodeLogic | None = None
        self._transport: PeerTransport | None = None
        self._check: SelfCheck | None = None
        self._bodies: Callable[[], Mapping[str, float]] = dict
        self._receipt_waiters: dict[bytes, list[_Waiter]] = {}
        self._height_waiters: dict[int, list[_Waiter]] = {}
        self._waiting = 0
        self._closed = False
        self._counts: Counter[str] = Counter()
        self._warnings: Counter[str] = Counter()
        self._progress_at = self._loop.time()
        self._short_since: float | None = None
        self._damage = ""
        self._next = NextBlock(chain)
        self.accusations: list[Accusation] = []
        """Conflicting messages that validators have signed (attacks C1, C20), the first hundred since the start."""

    def _stall_s(self) -> float:
        """How long a chain may stand still before that is told, in seconds."""
        parameters = self._next.parameters
        return (STALL_HEARTBEATS * parameters.heartbeat_ms + 2 * parameters.view_timeout_ms) / 1000

    def attach(
        self,
        node: NodeLogic,
        runtime: Runtime,
        transport: PeerTransport,
        check: SelfCheck | None = None,
        bodies: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """Connect the service to what it asks; `check` knows the machine, `bodies` counts those off the chain."""
        self._node, self._runtime, self._transport, self._check = node, runtime, transport, check
        self._bodies = bodies

    # What routes ask.

    @property
    def genesis(self) -> Genesis:
        """The chain's genesis."""
        return self._chain.genesis

    @property
    def suite(self) -> Suite:
        """The chain's suite."""
        return self._chain.genesis.suite

    @property
    def chain(self) -> ChainStore:
        """Committed blocks and state."""
        return self._chain

    @property
    def application(self) -> Application:
        """The tier's rules."""
        return self._application

    def submit(self, envelope: bytes) -> TransactionState:
        """Admit one envelope. The same transaction again is the same answer. Raises Rejected."""
        if self._runtime is None or self._closed:
            raise Unavailable("stopping", "this node is starting or stopping; ask another node")
        return self._runtime.submit(envelope)

    async def wait_receipt(self, tx_id: bytes, timeout_s: float) -> TransactionState:
        """Where a transaction that is not final now is when it is, when the time is over, or when the node stops."""
        state = await self._wait(self._receipt_waiters, tx_id, timeout_s)
        return self.transaction_state(tx_id) if state is None else state

    def transaction_state(self, tx_id: bytes) -> TransactionState:
        """Where a transaction is; `unknown` if this node has never heard of it."""
        return self._logic().transaction_state(tx_id)

    def status(self) -> NodeStatus:
        """The node's place in its network."""
        return self._logic().status()

    def ready(self) -> bool:
        """See V3. False as soon as the node stops."""
        if self._closed or self._node is None:
            return False
        now, status = self._loop.time(), self._node.status()
        self._watch_quorum(status)  # the validator set may have changed since a peer came or went
        if self._is_short():
            return False
        fresh = now - self._progress_at < self._stall_s()
        committing = self._counts["blocks"] > 0 and not status.syncing
        return fresh and (committing or status.level_with_quorum)

    def facts(self) -> NodeFacts:
        """What `self_judgement.examine` judges. Raises Unavailable while the node starts."""
        status, chain = self._logic().status(), self._chain
        validators = chain.validators(status.height + 1)
        own_key = None if status.own_index is None else validators.members[status.own_index].public_key
        check = self._check
        ready = self.ready()
        return NodeFacts(
            name=check.name if check is not None else "",
            network=status.network,
            version=VERSION,
            protocol_version=protocol_version(CommittedState(chain), chain.genesis, status.height + 1),
            clock_ms=check.now_ms() if check is not None else 0,
            height=status.height,
            view=status.view,
            recent_views=recent_views(chain),
            quorum=validators.quorum,
            member=None if status.own_index is None else validators.members[status.own_index].name,
            voting=status.voting,
            ready=ready,
            short=self._is_short(),
            stalled=self._loop.time() - self._progress_at >= self._stall_s(),
            level=status.level_with_quorum,
            validators=[(member.name, member.organisation) for member in validators.members],
            peers=peer_facts(validators, own_key, self.peers(), self._logic().peer_places()),
            free_bytes=check.free_bytes() if check is not None else None,
            low_space_bytes=check.low_space_bytes if check is not None else 0,
            sync_us=self._runtime.counters.recent_sync_us if self._runtime is not None else 0,
            damage=self._damage,
            certificates=check.certificate_days() if check is not None else {},
            accused=accused_members(chain, validators),
        )

    def damage_found(self, what: str) -> None:
        """A request met damaged data; the first is remembered until the process ends."""
        self._damage = self._damage or what

    def _is_short(self) -> bool:
        return self._short_since is not None and self._loop.time() - self._short_since >= SHORT_S

    async def wait_height(self, height: int, timeout_s: float) -> bool:
        """Return True as soon as block `height` is committed, False when the time is over or the node stops."""
        if self._chain.tip().height < height:
            await self._wait(self._height_waiters, height, timeout_s)
        return self._chain.tip().height >= height

    def peers(self) -> list[PeerReport]:
        """Every configured or connected peer, for `status` and `doctor`."""
        return self._transport.reports() if self._transport is not None else []

    def counters(self) -> Mapping[str, float]:
        """Numbers for /metrics by name, without the `tongjian_` prefix; those that end in `_total` only grow."""
        numbers: dict[str, float] = {
            "blocks_committed_total": self._counts["blocks"],
            "transactions_applied_total": self._counts["applied"],
            "transactions_rejected_total": self._counts["rejected"],
            "priced_units_total": self._counts["priced_units"],
            "priced_units_rejected_total": self._counts["priced_units_rejected"],
            "accusations_total": self._counts["accusations"],
            "warnings_total": self._warnings.total(),
            "requests_waiting": self._waiting,
            **self._bodies(),
        }
        if self._runtime is not None:
            for name, value in asdict(self._runtime.counters).items():
                gauge = name.startswith(("longest", "recent"))
                numbers[f"runtime_{name}" if gauge else f"runtime_{name}_total"] = value
        if self._transport is not None:
            numbers |= self._peer_numbers(self._transport)
        return numbers

    def _peer_numbers(self, transport: PeerTransport) -> dict[str, float]:
        reports = transport.reports()
        return {
            "peers_connected": sum(report.connected for report in reports),
            "peers_configured": len(transport.diallers),
            "peer_connections": transport.listener.connections,
            "peer_handshakes": transport.listener.handshakes,
            "peer_handshakes_failed_total": transport.listener.failed,
            "peer_handshakes_evicted_total": transport.listener.evicted,
            "peer_received_bytes_total": transport.received_bytes,
            "peer_frames_dropped": sum(report.dropped for report in reports),
            "peer_waiting_bytes": sum(report.waiting_bytes for report in reports),
        }

    # What the runtime tells.

    def block_committed(self, committed: BlockCommitted) -> None:
        """Wake whoever waits for this block or for one of its transactions."""
        self._progress_at = self._loop.time()
        self._counts["blocks"] += 1
        self._counts["priced_units"] += committed.used.priced
        self._counts["priced_units_rejected"] += committed.used.rejected
        self._counts.update([receipt.status for receipt in committed.receipts])
        height = committed.header.height
        for index, receipt in enumerate(committed.receipts if self._receipt_waiters else ()):
            if waiters := self._receipt_waiters.pop(receipt.tx_id, None):
                _wake(waiters, TransactionState(receipt.tx_id, receipt.status, height, index, receipt))
        for due in [at for at in self._height_waiters if at <= height]:
            _wake(self._height_waiters.pop(due))
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("block committed", extra={"height": height, "transactions": len(committed.receipts)})

    def peers_changed(self) -> None:
        """Note since when a quorum is missing (V3)."""
        if self._node is not None:
            self._watch_quorum(self._node.status())

    def accused(self, accusation: Accusation) -> None:
        """A validator has signed two conflicting messages."""
        self._counts["accusations"] += 1
        if len(self.accusations) < KEPT_ACCUSATIONS:
            self.accusations.append(accusation)
            _log.error(
                "a validator has signed conflicting messages",
                extra={
                    "culprit": self.suite.format_key(accusation.culprit),
                    "first": accusation.first[:2048].hex(),
                    "second": accusation.second[:2048].hex(),
                },
            )

    def warned(self, warning: Warned) -> None:
        """Something that a person may want to know: one line for each peer and code in a minute (attack N6)."""
        self._warnings[warning.code] += 1
        extra: dict[str, object] = {"code": warning.code, "detail": warning.detail}
        if warning.peer is not None:
            extra["peer"] = self.suite.format_key(warning.peer)
        subject = (warning.code,) if warning.peer is None else (warning.code, warning.detail, warning.peer.hex())
        _limited.write(logging.WARNING, "node warning", subject, extra | {"count": self._warnings[warning.code]})

    # The end.

    def close(self) -> None:
        """Answer everybody who still waits; nobody waits afterwards (V2)."""
        self._closed = True
        for futures in (*self._receipt_waiters.values(), *self._height_waiters.values()):
            _wake(futures)
        self._receipt_waiters.clear()
        self._height_waiters.clear()

    # Inside.

    def _watch_quorum(self, status: NodeStatus) -> None:
        # An observer follows whomever it is connected to; only blocks that fail to come tell it of a lost quorum.
        quorum = self._chain.validators(status.height + 1).quorum
        short = status.own_index is not None and len(status.connected) + 1 < quorum
        if not short:
            self._short_since = None
        elif self._short_since is None:
            self._short_since = self._loop.time()

    def _logic(self) -> NodeLogic:
        if self._node is None:
            raise Unavailable("starting", "this node is starting; ask again in a moment")
        return self._node

    async def _wait(self, waiting: dict[_Key, list[_Waiter]], key: _Key, timeout_s: float) -> TransactionState | None:
        """What the waiter for this key is woken with, if it is in time; no trace of it stays, however it ends."""
        if self._closed or timeout_s <= 0 or self._waiting >= MAX_WAITING:
            return None
        future: _Waiter = self._loop.create_future()
        waiters = waiting.setdefault(key, [])
        waiters.append(future)
        self._waiting += 1
        deadline = self._loop.call_later(timeout_s, _give_up, waiters, future)
        try:
            return await future
        finally:
            deadline.cancel()
            self._waiting -= 1
            if future.cancelled():
                waiters.remove(future)
            if not waiters and waiting.get(key) is waiters:
                del waiting[key]


def _give_up(waiters: list[_Waiter], future: _Waiter) -> None:
    if not future.done():
        waiters.remove(future)
        future.set_result(None)


def _wake(waiters: list[_Waiter], state: TransactionState | None = None) -> None:
    for future in waiters:
        if not future.done():
            future.set_result(state)
