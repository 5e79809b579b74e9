"""A node of one validator behind the HTTP interface, in memory: real rules, store, consensus and blocks, no sockets to
peers and no disk.

It is what `service.NodeService` is to the routes; effects are performed at once. While `paused`, nothing is committed,
so that pending transactions can be looked at.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from common.chain.application import BlockContext, Outcome, StateReader, StateView
from common.core.codec import canonical_json, parse_json
from common.core.errors import Conflict
from common.core.genesis import Genesis
from common.core.suite import Suite
from common.core.transaction import SignedTransaction
from common.node.diagnosis.self_judgement import NodeFacts
from common.node.effect_performer import EffectPerformer, EffectPorts
from common.node.logic.execution.genesis_state import initialise_chain
from common.node.logic.node import Node
from common.node.logic.node_effects import BlockCommitted, CancelTimer, CommitBlock, SetTimer, Warned
from common.node.logic.node_events import BlockWritten, NodeEvent, Started, Timer, TimerExpired
from common.node.logic.node_status import NodeStatus, TransactionState
from common.node.store.chain_store import ChainStore
from common.node.store.memory_store import MemoryStore
from tests.support.facts import healthy_facts
from tests.unit.node.toy import ToyApplication, make_genesis, seed_of

VALIDATOR = "solo"


class BusinessToy(ToyApplication):
    """The toy with business ids: `toy.transfer` may carry one, which is applied at most once."""

    def check(self, tx: SignedTransaction, state: StateReader, context: BlockContext) -> None:
        """As the toy, and a used business id is refused."""
        super().check(tx, state, context)
        if self.first_used(tx, state) is not None:
            raise Conflict("business_id_used", "The business id was applied before.", business_id="b")

    def execute(self, tx: SignedTransaction, context: BlockContext, state: StateView) -> Outcome:
        """As the toy, and remembers business ids with their content."""
        if self.first_used(tx, state) is not None:
            raise Conflict("business_id_used", "The business id was applied before.", business_id="b")
        outcome = super().execute(tx, context, state)
        for operation in tx.operations:
            if "business_id" in operation:
                record = {"tx": tx.id.hex(), "content": canonical_json(operation).decode()}
                state.put_index(b"business/" + operation["business_id"].encode(), canonical_json(record))
        return outcome

    def _record(self, business_id: str, state: StateReader) -> dict[str, str] | None:
        data = state.get_index(b"business/" + business_id.encode())
        return None if data is None else dict(parse_json(data, max_size=1 << 20))

    def first_used(self, tx: SignedTransaction, state: StateReader) -> str | None:
        """The first business id of the transaction that was applied before."""
        ids = [operation["business_id"] for operation in tx.operations if "business_id" in operation]
        return next((item for item in ids if self._record(item, state) is not None), None)

    def first_application(self, tx: SignedTransaction, state: StateReader) -> bytes | None:
        """See `node_ports.RepeatedContent`."""
        for operation in tx.operations:
            record = self._record(operation.get("business_id", ""), state)
            if record is not None and record["content"] == canonical_json(operation).decode():
                return bytes.fromhex(record["tx"])
        return None

    def business_transaction(self, business_id: str, state: StateReader) -> bytes | None:
        """See `node_ports.BusinessLookup`."""
        record = self._record(business_id, state)
        return None if record is None else bytes.fromhex(record["tx"])

    def sub_networks(self, state: StateReader) -> list[dict[str, Any]]:
        """See `node_ports.NetworkDescription`."""
        return [{"network_id": "suburb"}]

    def describe(self, state: StateReader, context: BlockContext) -> dict[str, Any]:
        """Facts for the options endpoint."""
        return {"name": "玩具市场"}


class Solo(EffectPorts):
    """See the module docstring. Everything is called on one event loop."""

    def __init__(self) -> None:
        self._genesis = make_genesis([VALIDATOR], min_block_interval_ms=0, heartbeat_ms=600_000)
        self._application = BusinessToy()
        self._chain = ChainStore(MemoryStore(), self._genesis)
        initialise_chain(self._chain, self._genesis, self._application)
        self._node = Node(
            genesis=self._genesis, application=self._application, chain=self._chain, seed=seed_of(VALIDATOR)
        )
        self._performer = EffectPerformer(self)
        self._timers: dict[Timer, asyncio.TimerHandle] = {}
        self._held: list[CommitBlock] = []
        self._wake = asyncio.Event()
        self.paused = False
        self.is_ready = True
        self.warnings: list[Warned] = []
        self.fail_with: Exception | None = None
        self._give(Started())

    @property
    def genesis(self) -> Genesis:
        """The chain's genesis."""
        return self._genesis

    @property
    def suite(self) -> Suite:
        """The chain's suite."""
        return self._genesis.suite

    @property
    def chain(self) -> ChainStore:
        """The chain."""
        return self._chain

    @property
    def application(self) -> BusinessToy:
        """The rules."""
        return self._application

    def submit(self, envelope: bytes) -> TransactionState:
        """Admit one envelope."""
        if self.fail_with is not None:
            raise self.fail_with
        result, effects = self._node.submit(envelope, self._now_ms())
        self._performer.take(effects)
        return result

    async def wait_receipt(self, tx_id: bytes, timeout_s: float) -> TransactionState:
        """Until the transaction is final."""
        await self._until(lambda: self._node.transaction_state(tx_id).final, timeout_s)
        return self._node.transaction_state(tx_id)

    def transaction_state(self, tx_id: bytes) -> TransactionState:
        """Where it is."""
        return self._node.transaction_state(tx_id)

    def status(self) -> NodeStatus:
        """The node's place."""
        return self._node.status()

    def ready(self) -> bool:
        """Whatever the test says."""
        return self.is_ready

    def damage_found(self, what: str) -> None:
        """Whatever was damaged."""
        self.damage = what

    def facts(self) -> NodeFacts:
        """A healthy node, ready or not as the test says."""
        return healthy_facts(ready=self.is_ready, level=self.is_ready, height=self._chain.tip().height)

    async def wait_height(self, height: int, timeout_s: float) -> bool:
        """Until the block is committed."""
        return await self._until(lambda: self._chain.tip().height >= height, timeout_s)

    def counters(self) -> Mapping[str, float]:
        """One of each kind."""
        return {"blocks_committed_total": float(self._chain.tip().height), "requests_waiting": 0.0}

    def resume(self) -> None:
        """Commit what was held back."""
        self.paused = False
        held, self._held = self._held, []
        self._performer.take(held)

    async def _until(self, reached: Any, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while not reached():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            try:
                async with asyncio.timeout(left):
                    await self._wake.wait()
            except TimeoutError:
                return bool(reached())
        return True

    @staticmethod
    def _now_ms() -> int:
        return time.time_ns() // 1_000_000

    def _give(self, event: NodeEvent) -> None:
        self._performer.take(self._node.step(event, self._now_ms()))

    def write_block(self, block: CommitBlock) -> None:
        """Write it now, or when the node goes on."""
        if self.paused:
            self._held.append(block)
            return
        self._chain.store.write(block.writes, sync=True)
        self._give(BlockWritten(block.height))

    def set_timer(self, timer: SetTimer) -> None:
        """Arm it on the loop."""
        self._cancel(timer.timer)
        expired = TimerExpired(timer.timer, timer.token)
        loop = asyncio.get_running_loop()
        self._timers[timer.timer] = loop.call_later(timer.delay_ms / 1000, self._give, expired)

    def cancel_timer(self, timer: CancelTimer) -> None:
        """Stop it."""
        self._cancel(timer.timer)

    def persist(self, records: Sequence[bytes], durable: Callable[[], None]) -> None:
        """Nothing is kept: the process does not die."""
        durable()

    def block_committed(self, block: BlockCommitted) -> None:
        """Wake who waits for receipts."""
        self._wake.set()
        self._wake = asyncio.Event()

    def warned(self, warning: Warned) -> None:
        """Remember it."""
        self.warnings.append(warning)

    def _cancel(self, timer: Timer) -> None:
        handle = self._timers.pop(timer, None)
        if handle is not None:
            handle.cancel()

    def close(self) -> None:
        """Stop all timers."""
        for timer in list(self._timers):
            self._cancel(timer)
