"""Kills, power cuts and lost records (attacks S1, C16): no double vote, nothing acknowledged is lost."""

from __future__ import annotations

from itertools import count

import pytest

from common.consensus.effects import Persist
from common.core.transaction import parse_envelope
from common.node.logic.node_effects import CommitBlock, NodeEffect, SendToPeer, SendToPeers
from common.node.logic.wire import peer_messages as pm
from tests.unit.node.bus import Bus, Machine, names_of
from tests.unit.node.checks import acknowledged, assert_no_double_vote, assert_one_chain
from tests.unit.node.toy import SUITE, make_genesis, transfer

NAMES = names_of(4)
GENESIS = make_genesis(NAMES)
DURABLE_EFFECTS = (Persist, CommitBlock, SendToPeer, SendToPeers)


class KillAt:
    """Kills a machine (or all) right before its `position`-th write, sync or send."""

    def __init__(self, bus: Bus, name: str, position: int, *, everybody: bool = False) -> None:
        self._bus = bus
        self._name = name
        self._left = position
        self._everybody = everybody
        self.done = False

    def __call__(self, machine: Machine, effect: NodeEffect) -> bool:
        if self.done or machine.name != self._name or not isinstance(effect, DURABLE_EFFECTS):
            return False
        self._left -= 1
        if self._left >= 0:
            return False
        self.done = True
        if self._everybody:
            for other in NAMES:
                if other != self._name:
                    self._bus.kill(other)
        return True


def run_with_kill(name: str, position: int, *, everybody: bool) -> bool:
    """Three transactions with a kill on the way; False if the run had fewer effects than `position`."""
    bus = Bus(GENESIS, NAMES)
    killer = KillAt(bus, name, position, everybody=everybody)
    bus.kill_at = killer
    bus.start()
    envelopes = [transfer(GENESIS, f"n{at}") for at in range(3)]
    for envelope in envelopes[:2]:
        submitter = next((other for other in NAMES if other != name and bus.machines[other].node), None)
        if submitter is not None:
            bus.submit(submitter, envelope)
        bus.pass_time(40)
    if not killer.done:
        bus.pass_time(1_000)
    before = acknowledged(bus)
    bus.kill_at = lambda machine, effect: False
    for other in NAMES:
        if bus.machines[other].node is None:
            bus.start(other)
    for envelope in envelopes:
        bus.submit(NAMES[0], envelope)
    ids = [parse_envelope(envelope, SUITE).id for envelope in envelopes]
    bus.run(
        lambda: all(
            machine.running.transaction_state(tx_id).status == "applied"
            for machine in bus.machines.values()
            for tx_id in ids
        )
    )
    assert before <= {tx_id for tx_id in ids if bus.machines[name].chain.transaction(tx_id) is not None}
    assert_no_double_vote(bus)
    assert_one_chain(bus)
    return killer.done


@pytest.mark.parametrize("name", ["node-1", "node-3"])
def test_s1_kill_before_every_write_sync_and_send_of_a_leader_and_of_a_follower(name: str) -> None:
    reached = 0
    for position in count():
        if not run_with_kill(name, position, everybody=False):
            break
        reached += 1
    assert reached > 10


def test_s1_power_cut_of_all_nodes_before_every_write_sync_and_send() -> None:
    reached = 0
    for position in count():
        if not run_with_kill("node-2", position, everybody=True):
            break
        reached += 1
    assert reached > 10


def test_s1_bodies_from_the_vote_log_are_served_after_a_power_cut() -> None:
    """node-0 never saw the block that the others prepared; after the cut its vote is needed, and nobody's mempool
    knows it.
    """
    bus = Bus(GENESIS, NAMES)
    bus.start()
    commit = b"\x01\x01\x03"
    bus.drop = lambda source, target, payload: (
        payload[:3] == commit
        or (target == "node-0" and payload[0] in (pm.KIND_TRANSACTIONS, pm.KIND_ANSWER_TRANSACTIONS))
    )
    bus.submit("node-2", transfer(GENESIS, "n"))
    bus.pass_time(60)
    for name in NAMES:
        bus.kill(name)
    bus.drop = lambda source, target, payload: False
    for name in NAMES[:3]:
        bus.start(name)
    bus.run_to_height(1)
    assert bus.machines["node-0"].chain.header(1).tx_count == 1
    assert_no_double_vote(bus)


def test_c16_node_that_may_not_vote_follows_and_serves() -> None:
    bus = Bus(GENESIS, NAMES)
    bus.machines["node-3"].may_vote = False
    bus.start()
    bus.submit("node-3", transfer(GENESIS, "n"))
    bus.run_to_height(1)
    machine = bus.machines["node-3"]
    assert [payload for _, payload in machine.sent if payload[0] == pm.KIND_CONSENSUS] == []
    assert not machine.running.status().voting


def test_replica_takes_part_only_after_a_quorum_said_hello() -> None:
    bus = Bus(GENESIS, NAMES)
    bus.start("node-0", "node-1")
    bus.submit("node-0", transfer(GENESIS, "a"))
    bus.pass_time(30_000)
    assert all(p[0] != pm.KIND_CONSENSUS for m in bus.machines.values() for _, p in m.sent)
    assert bus.machines["node-0"].running.status().view == 0
    bus.start("node-2")
    bus.run_to_height(1)
