"""Several nodes agree on blocks: leaders, bodies, heartbeats, view changes, validator changes, clocks."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from common.chain.application import Application
from common.core.errors import Conflict, Unavailable
from common.core.transaction import SignedTransaction, parse_envelope
from common.node.logic.node_status import NodeLimits
from common.node.logic.wire import peer_messages as pm
from tests.unit.node.bus import DELAY_MS, Bus, names_of, tips
from tests.unit.node.toy import SUITE, ToyApplication, make_envelope, make_genesis, transfer


def network(size: int = 4, **parameters: int) -> Bus:
    bus = Bus(make_genesis(names_of(size), **parameters), names_of(size))
    bus.start()
    return bus


def leader_of(bus: Bus, height: int, view: int = 0) -> str:
    return f"node-{(height + view) % len(bus.machines)}"


def payloads(bus: Bus, kind: int) -> list[pm.PeerPayload]:
    return [
        pm.decode_payload(payload)
        for machine in bus.machines.values()
        for _, payload in machine.sent
        if payload[0] == kind
    ]


def assert_agree(bus: Bus) -> None:
    assert len(set(tips(bus))) == 1
    assert len({machine.chain.tip().state_root for machine in bus.machines.values()}) == 1


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7])
def test_networks_of_every_size_commit(size: int) -> None:
    bus = network(size)
    for at in range(3):
        bus.submit(f"node-{at % size}", transfer(bus.genesis, f"n{at}", 5))
    bus.run(lambda: all(read_balance_of(bus, name) == 15 for name in bus.machines))
    assert_agree(bus)
    assert all(receipt.status == "applied" for receipt in bus.machines["node-0"].chain.receipts(1))


def read_balance_of(bus: Bus, name: str) -> int:
    chain = bus.machines[name].chain
    value = chain.state_get(b"balance/alice")
    return 0 if value is None else int(value)


def test_transaction_status_goes_from_pending_to_applied_and_resending_answers_the_same() -> None:
    bus = network()
    envelope = transfer(bus.genesis, "n")
    tx_id = parse_envelope(envelope, SUITE).id
    node = bus.machines["node-2"].running
    assert node.transaction_state(tx_id).status == "unknown"
    assert bus.submit("node-2", envelope) == "pending"
    assert node.transaction_state(tx_id).status == "pending"
    assert bus.submit("node-2", envelope) == "pending"
    bus.run_to_height(1)
    state = node.transaction_state(tx_id)
    assert (state.status, state.height, state.index, state.final) == ("applied", 1, 0, True)
    assert bus.submit("node-0", envelope) == "applied"
    with pytest.raises(Conflict, match="nonce_used"):
        bus.submit("node-1", transfer(bus.genesis, "n", 2))


def test_transaction_that_no_block_took_expires() -> None:
    bus = Bus(make_genesis(names_of(4)), names_of(4))
    bus.start("node-0")
    envelope = transfer(bus.genesis, "lonely", expires_at_height=1)
    bus.submit("node-0", envelope)
    bus.start("node-1", "node-2", "node-3")
    bus.partition(["node-0"], ["node-1", "node-2", "node-3"])
    bus.submit("node-1", transfer(bus.genesis, "other"))
    bus.run_to_height(1, names=["node-1", "node-2", "node-3"])
    bus.partition()
    bus.run_to_height(1)
    assert bus.machines["node-0"].running.transaction_state(parse_envelope(envelope, SUITE).id).status in (
        "expired",
        "applied",
    )


def test_every_node_executes_a_transaction_exactly_once() -> None:
    """The leader's build and the replicas' validation are kept and used at commit."""
    bus = network()
    for at in range(60):
        bus.submit(f"node-{at % 4}", transfer(bus.genesis, f"n{at}"))
    bus.run(lambda: all(read_balance_of(bus, name) == 60 for name in bus.machines))
    for machine in bus.machines.values():
        assert isinstance(machine.application, ToyApplication)
        assert sorted(nonce for _, nonce in machine.application.executed) == sorted(f"n{at}" for at in range(60))


def test_proposals_name_bodies_that_gossip_has_brought_already() -> None:
    bus = network()
    for at in range(40):
        bus.submit(f"node-{at % 4}", transfer(bus.genesis, f"n{at}"))
    bus.run(lambda: all(read_balance_of(bus, name) == 40 for name in bus.machines))
    assert payloads(bus, pm.KIND_GET_TRANSACTIONS) == []
    assert payloads(bus, pm.KIND_TRANSACTIONS) != []


def test_gossip_is_coalesced_by_time_and_size() -> None:
    genesis = make_genesis(names_of(4))
    bus = Bus(genesis, names_of(4), limits=NodeLimits(gossip_bytes=3_000))
    bus.start()
    name = leader_of(bus, 2)
    for at in range(20):
        bus.submit(name, transfer(genesis, f"n{at}"))
    bus.run_to_height(1)
    size = len(transfer(genesis, "n10"))
    batches = [len(m.envelopes) for m in payloads(bus, pm.KIND_TRANSACTIONS) if isinstance(m, pm.Transactions)]
    assert max(batches) == 3_000 // size + 1
    assert sum(batches) == 20 * 3
    assert len(batches) == 3 * (1 + -(-19 // max(batches))), "one at once, the others in full batches and a rest"


def test_missing_bodies_are_fetched_from_the_leader_and_then_from_others() -> None:
    """node-3 never gets gossip, its vote is needed, and its first request goes unanswered: it asks the next peer."""
    bus = network()
    bus.kill("node-0")
    asked: list[str] = []

    def drop(source: str, target: str, payload: bytes) -> bool:
        if target == "node-3" and payload[0] == pm.KIND_TRANSACTIONS:
            return True
        if source == "node-3" and payload[0] == pm.KIND_GET_TRANSACTIONS:
            asked.append(target)
            return len(asked) == 1
        return False

    bus.drop = drop
    bus.submit("node-2", transfer(bus.genesis, "n", 3))
    bus.run_to_height(1)
    assert asked[0] == leader_of(bus, 1)
    assert asked[1] == "node-2"


def test_replica_that_misses_a_body_while_the_others_decide_fetches_only_the_body() -> None:
    bus = network()
    bus.drop = lambda source, target, payload: target == "node-3" and payload[0] == pm.KIND_TRANSACTIONS
    bus.submit("node-2", transfer(bus.genesis, "n", 3))
    bus.run_to_height(1, names=["node-0", "node-1", "node-2"])
    decided_ms = bus.now_ms
    bus.run_to_height(1)
    assert bus.now_ms - decided_ms <= 2 * DELAY_MS, "it asks at once when it learns of the decision"
    assert len(payloads(bus, pm.KIND_GET_TRANSACTIONS)) == 1
    assert payloads(bus, pm.KIND_GET_BODY) == []
    assert_agree(bus)


def test_replica_that_missed_the_proposal_fetches_the_decided_block() -> None:
    bus = network()
    leader = leader_of(bus, 1)
    victim = leader_of(bus, 2)

    def drop(source: str, target: str, payload: bytes) -> bool:
        return (source, target) == (leader, victim) and payload[:3] == b"\x01\x01\x01"

    bus.drop = drop
    bus.submit("node-0", transfer(bus.genesis, "n", 3))
    bus.run_to_height(1)
    assert len(payloads(bus, pm.KIND_GET_BODY)) == 1
    assert_agree(bus)


def test_fetch_gives_up_after_a_bounded_number_of_requests() -> None:
    bus = network(view_timeout_ms=60_000, max_view_timeout_ms=60_000)
    leader = leader_of(bus, 1)

    def drop(source: str, target: str, payload: bytes) -> bool:
        return payload[0] in (pm.KIND_TRANSACTIONS, pm.KIND_ANSWER_TRANSACTIONS)

    bus.drop = drop
    bus.submit(leader, transfer(bus.genesis, "n"))
    bus.pass_time(30_000)
    for name, machine in bus.machines.items():
        requests = [payload for _, payload in machine.sent if payload[0] == pm.KIND_GET_TRANSACTIONS]
        assert len(requests) == (0 if name == leader else 9)


def test_draft_lets_replicas_execute_before_the_proposal() -> None:
    """Rule 14: the ordered hashes leave before execution; a replica has executed when the proposal arrives.

    What counts is how much there is to execute: a custody block of one large transaction is drafted too.
    """
    bus = network()
    bus.drop = lambda source, target, payload: payload[0] == pm.KIND_CONSENSUS
    operation = {"type": "toy.transfer", "source": "bank", "target": "alice", "amount": 1}
    bus.submit("node-0", make_envelope(bus.genesis, "large", [operation] * 300))
    bus.pass_time(100)
    drafts = payloads(bus, pm.KIND_DRAFT)
    assert len(drafts) == 3
    for name, machine in bus.machines.items():
        if name != leader_of(bus, 1):
            assert isinstance(machine.application, ToyApplication)
            assert len(machine.application.executed) == 1


def test_idle_chain_makes_an_empty_block_each_heartbeat_and_no_others() -> None:
    bus = network(heartbeat_ms=10_000)
    bus.pass_time(8_000)
    assert {machine.height for machine in bus.machines.values()} == {0}
    bus.pass_time(25_000)
    assert {machine.height for machine in bus.machines.values()} == {3}
    chain = bus.machines["node-0"].chain
    for height in (2, 3):
        assert chain.header(height).tx_count == 0
        assert chain.header(height).time_ms >= chain.header(height - 1).time_ms + 10_000


def test_c15_follower_an_hour_ahead_finds_no_heartbeat_late() -> None:
    bus = Bus(make_genesis(names_of(4), heartbeat_ms=5_000), names_of(4))
    bus.machines["node-3"].clock_offset_ms = 3_600_000
    bus.start()
    bus.run_to_height(2, names=["node-0", "node-1", "node-2"])
    assert bus.machines["node-3"].running.status().view == 0
    bus.run_to_height(2)
    assert bus.machines["node-3"].running.status().view == 0


def test_leader_waits_the_least_interval_between_blocks() -> None:
    bus = network(min_block_interval_ms=1_000, view_timeout_ms=5_000, max_view_timeout_ms=5_000)
    for at in range(6):
        bus.submit("node-0", transfer(bus.genesis, f"n{at}"))
        bus.pass_time(700)
    bus.run(lambda: read_balance_of(bus, "node-0") == 6)
    chain = bus.machines["node-0"].chain
    times = [chain.header(height).time_ms for height in range(1, chain.tip().height + 1)]
    assert all(later - earlier >= 1_000 for earlier, later in pairwise(times))


def test_dead_leader_is_passed_over_and_the_next_gets_the_pending_transactions() -> None:
    """Rule 4: nobody but the client's node knows the transaction; the leader of the next view is told of it."""
    bus = network()
    leader, client_node = leader_of(bus, 1), leader_of(bus, 3)
    bus.kill(leader)
    bus.drop = lambda source, target, payload: payload[0] == pm.KIND_TRANSACTIONS and bus.now_ms < gossip_until_ms
    gossip_until_ms = bus.now_ms + 100
    bus.submit(client_node, transfer(bus.genesis, "n"))
    bus.run_to_height(1)
    told = [m for m in payloads(bus, pm.KIND_TRANSACTIONS) if isinstance(m, pm.Transactions)]
    assert len(told) >= 3
    assert bus.machines[client_node].chain.header(1).proposer != int(leader[-1])


def test_leader_that_cannot_be_heard_costs_an_eighth_of_the_time_out() -> None:
    bus = network(view_timeout_ms=4_000, max_view_timeout_ms=60_000)
    bus.submit("node-0", transfer(bus.genesis, "n"))
    bus.kill(leader_of(bus, 1))
    started_ms = bus.now_ms
    bus.run_to_height(1)
    assert 500 <= bus.now_ms - started_ms < 1_000
    bus.submit("node-0", transfer(bus.genesis, "next"))
    bus.run_to_height(2)
    dead_again = next(height for height in range(3, 9) if leader_of(bus, height) == leader_of(bus, 1))
    for height in range(3, dead_again):
        bus.submit("node-0", transfer(bus.genesis, f"n{height}"))
        bus.run_to_height(height)
    started_ms = bus.now_ms
    bus.submit("node-0", transfer(bus.genesis, "late"))
    bus.run_to_height(dead_again)
    assert 500 <= bus.now_ms - started_ms < 1_000


def test_leader_that_is_heard_but_silent_gets_the_whole_time_out() -> None:
    bus = network(view_timeout_ms=4_000, max_view_timeout_ms=60_000)
    silent = leader_of(bus, 1)
    bus.drop = lambda source, target, payload: source == silent
    bus.submit("node-0", transfer(bus.genesis, "n"))
    started_ms = bus.now_ms
    bus.run_to_height(1, names=[name for name in bus.machines if name != silent])
    assert bus.now_ms - started_ms >= 4_000


def test_s3_a_leader_that_comes_and_goes_does_not_put_its_time_out_off() -> None:
    """A lost channel shortens the timer once and never starts it anew: a flapping leader costs what a dead one does."""
    bus = network(view_timeout_ms=4_000, max_view_timeout_ms=60_000)
    flapping = leader_of(bus, 1)
    rest = [name for name in bus.machines if name != flapping]
    bus.drop = lambda source, target, payload: source == flapping
    bus.submit(rest[0], transfer(bus.genesis, "n"))
    started_ms = bus.now_ms
    while min(bus.machines[name].height for name in rest) < 1 and bus.now_ms - started_ms < 20_000:
        for name in rest:
            bus.disconnect(flapping, name)
        bus.pass_time(150)
        for name in rest:
            bus.connect(flapping, name)
        bus.pass_time(150)
    assert bus.now_ms - started_ms < 2_000


def test_c15_a_leader_an_hour_ahead_is_refused_and_an_hour_behind_only_loses_its_turn() -> None:
    for offset_ms in (3_600_000, -3_600_000):
        bus = Bus(make_genesis(names_of(4)), names_of(4))
        wrong = bus.machines[leader_of(bus, 1)]
        wrong.clock_offset_ms = offset_ms
        bus.start()
        for at in range(8):
            bus.submit("node-0", transfer(bus.genesis, f"n{at}"))
            bus.pass_time(3_000)
        bus.run(lambda bus=bus: all(read_balance_of(bus, name) == 8 for name in bus.machines), 120_000)
        assert_agree(bus)
        chain = bus.machines["node-0"].chain
        for height in range(1, chain.tip().height + 1):
            assert abs(chain.header(height).time_ms - bus.now_ms) < 3_000_000


def test_bug_in_the_application_stops_neither_leader_nor_chain() -> None:
    bus = network()
    bus.submit("node-0", make_envelope(bus.genesis, "boom", [{"type": "toy.crash"}]))
    bus.submit("node-1", transfer(bus.genesis, "n"))
    bus.run(lambda: all(read_balance_of(bus, name) == 1 for name in bus.machines))
    bus.run(lambda: any(w.code == "execution_failed" for m in bus.machines.values() for w in m.warnings))
    bus.submit("node-2", transfer(bus.genesis, "after"))
    bus.run(lambda: all(read_balance_of(bus, name) == 2 for name in bus.machines))
    assert_agree(bus)


def test_bug_in_the_admission_of_an_application_stops_no_node_whoever_brings_the_transaction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bus = network()
    boom, check = make_envelope(bus.genesis, "boom", [{"type": "toy.crash"}]), ToyApplication.check

    def buggy(self: ToyApplication, tx: SignedTransaction, *rest: Any) -> None:
        if tx.nonce == "boom":
            raise ZeroDivisionError("a bug")
        check(self, tx, *rest)

    monkeypatch.setattr(ToyApplication, "check", buggy)
    with pytest.raises(Unavailable, match="check_failed"):
        bus.submit("node-0", boom)
    bus.inject("node-0", "node-1", pm.Transactions((boom,)).encode())
    bus.submit("node-0", transfer(bus.genesis, "n"))
    bus.run(lambda: all(read_balance_of(bus, name) == 1 for name in bus.machines))
    assert [(w.code, w.detail) for name in ("node-0", "node-1") for w in bus.machines[name].warnings] == [
        ("check_failed", "check raised ZeroDivisionError: 'a bug'")
    ] * 2


def test_leader_left_without_work_does_not_make_an_early_empty_block() -> None:
    bus = network()
    bus.submit("node-0", make_envelope(bus.genesis, "boom", [{"type": "toy.crash"}]))
    bus.pass_time(5_000)
    assert {machine.height for machine in bus.machines.values()} == {0}
    warnings = {warning.code for machine in bus.machines.values() for warning in machine.warnings}
    assert warnings == {"execution_failed"}


def test_removed_validator_follows_without_voting() -> None:
    names = names_of(4)
    bus = network()
    bus.submit("node-0", make_envelope(bus.genesis, "v", [{"type": "toy.validators", "names": names[:3]}]))
    bus.run_to_height(1)
    bus.submit("node-0", transfer(bus.genesis, "n"))
    bus.run_to_height(2)
    status = bus.machines["node-3"].running.status()
    assert (status.own_index, status.voting) == (None, False)


def test_status_says_whether_a_quorum_is_level() -> None:
    bus = network()
    assert bus.machines["node-0"].running.status().level_with_quorum
    bus.partition(["node-0", "node-1"], ["node-2", "node-3"])
    assert not bus.machines["node-0"].running.status().level_with_quorum


def test_s4_halves_make_no_progress_and_heal() -> None:
    bus = network()
    bus.partition(["node-0", "node-1"], ["node-2", "node-3"])
    bus.submit("node-0", transfer(bus.genesis, "a"))
    bus.submit("node-2", transfer(bus.genesis, "b"))
    bus.pass_time(20_000)
    assert {machine.height for machine in bus.machines.values()} == {0}
    bus.partition()
    bus.run(lambda: all(read_balance_of(bus, name) == 2 for name in bus.machines))
    assert_agree(bus)


def test_s4_a_third_of_all_messages_lost() -> None:
    bus = network()
    counter = [0]

    def drop(source: str, target: str, payload: bytes) -> bool:
        counter[0] += 1
        return SUITE.hash(counter[0].to_bytes(8, "big"))[0] < 77

    bus.drop = drop
    for at in range(10):
        bus.submit(f"node-{at % 4}", transfer(bus.genesis, f"n{at}"))
        bus.pass_time(500)
    bus.run(lambda: all(read_balance_of(bus, name) == 10 for name in bus.machines), 600_000)
    assert_agree(bus)


def test_hostile_payloads_close_the_channel_and_unknown_kinds_do_not() -> None:
    bus = network()
    bus.inject("node-1", "node-0", b"\x63future")
    bus.pass_time(10)
    assert bus.machines["node-0"].disconnects == []
    bus.inject("node-1", "node-0", b"\x02\xff\xff\xff\xff")
    bus.pass_time(10)
    assert [effect.reason for effect in bus.machines["node-0"].disconnects] == ["peer_message_count"]
    bus.submit("node-2", transfer(bus.genesis, "n"))
    bus.run_to_height(1)


def test_gossip_with_a_bad_signature_closes_the_channel() -> None:
    bus = network()
    good = transfer(bus.genesis, "n")
    at = good.index(b'"signatures":["') + 20
    bad = good[:at] + (b"0" if good[at : at + 1] != b"0" else b"1") + good[at + 1 :]
    bus.inject("node-1", "node-0", pm.Transactions((bad,)).encode())
    bus.pass_time(10)
    assert [effect.reason for effect in bus.machines["node-0"].disconnects] == ["bad_signature"]


def test_c19_gossip_that_only_the_application_refuses_is_nobodys_fault() -> None:
    bus = network()
    unknown = make_envelope(bus.genesis, "u", [{"type": "toy.of_a_newer_version"}])
    bus.inject("node-1", "node-0", pm.Transactions((unknown, transfer(bus.genesis, "n"))).encode())
    bus.pass_time(10)
    assert bus.machines["node-0"].disconnects == []
    bus.run_to_height(1)


def test_application_port_is_satisfied_by_the_toy() -> None:
    assert isinstance(ToyApplication(), Application)


def test_validator_that_catches_up_is_sent_what_it_could_not_keep_of_the_open_height() -> None:
    """A quorum that needs it loses no view: what came while it was far behind comes again once it is level."""
    bus = network(view_timeout_ms=4_000)
    late = leader_of(bus, 10)
    others = [name for name in bus.machines if name != late]
    bus.partition(others, [late])
    for height in range(1, 9):
        bus.submit(others[0], transfer(bus.genesis, f"n{height}"))
        bus.run_to_height(height, names=others)
    dead = leader_of(bus, 11)
    bus.kill(dead)
    others.remove(dead)
    bus.submit(others[0], transfer(bus.genesis, "n9"))
    bus.pass_time(100)
    bus.partition()
    began_ms = bus.now_ms
    bus.run_to_height(9)
    assert bus.now_ms - began_ms < 1_000
    assert {machine.chain.certificate(9).view for machine in bus.machines.values() if machine.node} == {0}
