"""Readiness: a validator that has had no quorum for a while says so before the chain's silence could."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from common.chain.metering import UsedUnits
from common.core.receipt import Receipt
from common.node import service as service_module
from common.node.logic.execution.genesis_state import initialise_chain
from common.node.logic.node_effects import BlockCommitted
from common.node.logic.node_status import NodeStatus, TransactionState
from common.node.service import NodeService
from common.node.store.chain_store import ChainStore
from common.node.store.storage import MemoryStore
from tests.support.chains import ChainBuilder
from tests.unit.node.toy import ToyApplication, make_genesis

NAMES = ["v1", "v2", "v3", "v4"]


class Clock:
    """An event loop's clock that stands still."""

    now = 1_000.0

    def time(self) -> float:
        return self.now


class Logic:
    """The node, as far as readiness asks it."""

    def __init__(self, status: NodeStatus) -> None:
        self.now = status

    def status(self) -> NodeStatus:
        return self.now

    def transaction_state(self, tx_id: bytes) -> TransactionState:
        return TransactionState(tx_id, "pending")


STATUS = NodeStatus(
    network="toytown",
    height=0,
    block_id=bytes(32),
    time_ms=0,
    view=0,
    own_index=0,
    validators=tuple(NAMES),
    connected=("v2", "v3"),
    best_peer_height=0,
    syncing=False,
    voting=True,
    level_with_quorum=True,
    mempool_transactions=0,
    mempool_bytes=0,
)


class Bench:
    """A service over a chain of four, with a node that says what a test wants."""

    def __init__(self) -> None:
        self.clock = Clock()
        chain = ChainStore(MemoryStore(), make_genesis(NAMES))
        initialise_chain(chain, chain.genesis, ToyApplication())
        self.service = NodeService(chain, ToyApplication())
        self.service._loop = cast(Any, self.clock)
        self.service._progress_at = self.clock.now
        self.logic = Logic(STATUS)
        self.service.attach(cast(Any, self.logic), cast(Any, None), cast(Any, None))

    def peers(self, *names: str) -> None:
        self.logic.now = replace(self.logic.now, connected=names)
        self.service.peers_changed()


@pytest.fixture
def bench() -> Bench:
    async def make() -> Bench:
        return Bench()

    return asyncio.run(make())


def test_a_validator_without_a_quorum_is_not_ready_after_a_few_seconds(bench: Bench) -> None:
    assert bench.service.ready()
    bench.peers("v2")
    assert bench.service.ready()
    bench.clock.now += service_module.SHORT_S - 0.1
    assert bench.service.ready()
    bench.clock.now += 0.2
    assert not bench.service.ready()
    bench.peers("v2", "v4")
    assert bench.service.ready()


def test_the_time_runs_from_the_loss_not_from_the_question(bench: Bench) -> None:
    bench.peers("v2")
    bench.clock.now += 1.0
    bench.peers()
    bench.clock.now += service_module.SHORT_S - 0.9
    assert not bench.service.ready()


def test_a_quorum_that_came_back_in_between_counts(bench: Bench) -> None:
    bench.peers("v2")
    bench.clock.now += service_module.SHORT_S - 1
    bench.peers("v2", "v3")
    bench.peers("v2")
    bench.clock.now += 2
    assert bench.service.ready()


def test_an_observer_needs_no_quorum_of_its_own(bench: Bench) -> None:
    bench.logic.now = replace(STATUS, own_index=None)
    bench.peers("v2")
    bench.clock.now += 2 * service_module.SHORT_S
    assert bench.service.ready()


def test_the_units_that_blocks_have_used_are_counters_of_the_node(bench: Bench) -> None:
    chain = ChainBuilder()
    for used in (UsedUnits(500, 200), UsedUnits(70, 0)):
        block = chain.extend([])
        bench.service.block_committed(BlockCommitted(block.header, block.id, block.certificate, (), used))
    numbers = bench.service.counters()
    assert (numbers["priced_units_total"], numbers["priced_units_rejected_total"]) == (570, 200)


def test_who_waits_for_a_transaction_is_told_by_its_block_or_when_the_time_is_over() -> None:
    ours, theirs, nobodys = bytes(32), bytes(31) + b"\1", bytes(31) + b"\2"

    async def wait() -> list[TransactionState]:
        service, block = Bench().service, ChainBuilder().extend([])
        service._loop = asyncio.get_running_loop()
        waiting = [
            service.wait_receipt(ours, 30.0),
            service.wait_receipt(ours, 30.0),
            service.wait_receipt(theirs, 0.01),
        ]
        tasks = [asyncio.ensure_future(one) for one in waiting]
        gone = [asyncio.ensure_future(service.wait_receipt(tx_id, 30.0)) for tx_id in (ours, nobodys)]
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        await asyncio.wait((*gone, tasks[2]))
        receipt = Receipt(ours, "applied")
        service.block_committed(BlockCommitted(block.header, block.id, block.certificate, (receipt,), UsedUnits(0, 0)))
        told = list(await asyncio.gather(*tasks))
        assert (service._waiting, service._receipt_waiters) == (0, {})
        return told

    first, second, late = asyncio.run(wait())
    assert first == second == TransactionState(ours, "applied", 1, 0, Receipt(ours, "applied"))
    assert late == TransactionState(theirs, "pending")
