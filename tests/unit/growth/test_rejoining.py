"""A validator whose data are younger than its key signs nothing until that is safe; pruned peers say so."""

from __future__ import annotations

import pytest

from common.consensus.messages import decode_message
from common.core.errors import Conflict, Forbidden, RuleBroken
from common.node.logic.wire import peer_messages as pm
from common.node.logic.wire.checkpoint_messages import KIND_ANSWER_HEADERS, KIND_PRUNED, GetHeaders, Pruned
from common.node.settings import StorageSettings
from common.node.store import schema
from common.node.store.chain_prune import Anchored, check_prunable, prune
from tests.support.refusals import refused
from tests.unit.growth.world import GENESIS, NAMES, Solo, grow, grown
from tests.unit.node.bus import Bus
from tests.unit.node.toy import make_envelope, make_genesis, transfer
from tests.unit.node.victim import Victim


def network(blocks: int, *, behind: int) -> tuple[Bus, Solo]:
    """Three validators at a height; the fourth, `behind` of them, is back from a backup."""
    solo = grown(blocks - behind)
    old = list(solo.chain.store.scan(b""))
    grow(solo, behind)
    bus = Bus(GENESIS, NAMES)
    bus.now_ms = solo.chain.tip().time_ms + 1_000
    for name in NAMES[:3]:
        bus.machines[name].store.write(list(solo.chain.store.scan(b"")), sync=True)
    bus.machines[NAMES[3]].store.write([*old, (schema.REJOINED, b"")], sync=True)
    return bus, solo


def go_on(bus: Bus, blocks: int, names: list[str] = NAMES) -> None:
    """So many blocks more, committed by these machines."""
    for _ in range(blocks):
        height = bus.machines[NAMES[0]].height + 1
        bus.submit(NAMES[0], transfer(bus.genesis, f"more-{height}"))
        bus.run_to_height(height, names=names)


def signed_heights(bus: Bus, name: str) -> set[int]:
    """Heights of the consensus messages that a machine has sent and signed."""
    heights = set()
    for _, payload in bus.machines[name].sent:
        if payload[0] == pm.KIND_CONSENSUS:
            heights.add(decode_message(payload[1:]).height)
    return heights


@pytest.mark.parametrize("behind", [0, 1, 7])
def test_c16_a_restored_validator_votes_again_two_heights_above_a_quorums_tip(behind: int) -> None:
    bus, _ = network(20, behind=behind)
    bus.start()
    late = bus.machines[NAMES[3]]
    bus.run(lambda: late.height >= 20)
    go_on(bus, 6)
    signed = signed_heights(bus, NAMES[3])
    assert signed, "it votes again"
    assert min(signed) == 23, "nothing at 21 and 22, where its earlier self may have signed"
    assert late.store.get(schema.REJOINED) is None
    assert bus.machines[NAMES[0]].accusations == []


def test_c16_it_waits_for_a_quorum_of_hellos_and_to_be_level() -> None:
    bus, _ = network(20, behind=5)
    bus.blocked = {
        (one, two) for one in NAMES for two in NAMES if NAMES[3] in (one, two) and NAMES[0] not in (one, two)
    }
    bus.start()
    late = bus.machines[NAMES[3]]
    go_on(bus, 5, names=NAMES[:3])
    bus.pass_time(5_000)
    assert signed_heights(bus, NAMES[3]) == set(), "one greeting is not a quorum"
    assert late.store.get(schema.REJOINED) is not None


def test_c16_peers_that_answer_slowly_are_not_level_for_that() -> None:
    """A peer that gives no blocks in time is asked last; that it is above us it has said itself, and that stands."""
    bus, _ = network(20, behind=15)
    bus.drop = lambda source, target, payload: (
        (payload[0], source, target[:-1]) == (pm.KIND_GET_BLOCKS, NAMES[3], "node-") and target in NAMES[:2]
    )
    bus.start()
    late = bus.machines[NAMES[3]]
    bus.run(lambda: late.height >= 20)
    go_on(bus, 6)
    assert min(signed_heights(bus, NAMES[3])) == 23


def test_c16_a_backup_from_before_the_membership_is_as_forgetful() -> None:
    """At the backup's height the key was no member; above it, it has been one, and has voted."""
    genesis = make_genesis(NAMES[:3])
    solo = Solo(genesis)
    grow(solo, 8)
    old = list(solo.chain.store.scan(b""))
    change = {"type": "toy.validators", "names": NAMES, "effective_height": 12}
    solo.extend([make_envelope(genesis, "change", [change])])
    grow(solo, 11)
    bus = Bus(genesis, NAMES)
    bus.now_ms = solo.chain.tip().time_ms + 1_000
    for name in NAMES[:3]:
        bus.machines[name].store.write(list(solo.chain.store.scan(b"")), sync=True)
    bus.machines[NAMES[3]].store.write([*old, (schema.REJOINED, b"")], sync=True)
    bus.start()
    late = bus.machines[NAMES[3]]
    bus.run(lambda: late.height >= 20)
    go_on(bus, 6)
    assert min(signed_heights(bus, NAMES[3])) == 23
    assert late.store.get(schema.REJOINED) is None


def test_c16_the_mark_survives_restarts_until_a_block_above_is_committed() -> None:
    bus, _ = network(20, behind=0)
    bus.start()
    bus.submit(NAMES[0], transfer(GENESIS, "one"))
    bus.run_to_height(21)
    assert bus.machines[NAMES[3]].store.get(schema.REJOINED) is not None
    bus.kill(NAMES[3])
    bus.start(NAMES[3])
    go_on(bus, 4)
    assert min(signed_heights(bus, NAMES[3])) >= 24
    assert bus.machines[NAMES[3]].store.get(schema.REJOINED) is None


@pytest.mark.parametrize("height", [1, 30, 63, 64, 65, 90, 128, 131])
def test_s1_a_power_cut_during_catch_up_costs_blocks_and_no_vote(height: int) -> None:
    """Blocks that others hold are not synced one by one; what is lost is fetched again, and nothing is signed twice."""
    bus, _ = network(130, behind=0)
    late = bus.machines[NAMES[3]]
    late.store.write([(key, None) for key, _ in list(late.store.scan(b""))], sync=True)
    bus.start()
    for number in range(3):
        bus.submit(NAMES[0], transfer(GENESIS, f"more-{number}"))
    bus.run(lambda: late.height >= height)
    kept = late.store.unsynced_batches
    bus.kill(NAMES[3])
    bus.start(NAMES[3])
    assert late.height >= height - 64
    bus.run(lambda: late.height >= 131)
    for number in range(8):
        bus.submit(NAMES[1], transfer(GENESIS, f"again-{number}"))
        bus.run_to_height(bus.machines[NAMES[1]].height + 1)
    assert kept == 0 or height < 131
    assert max(signed_heights(bus, NAMES[3])) > 135
    assert all(machine.accusations == [] for machine in bus.machines.values())
    assert len({machine.chain.tip().block_id for machine in bus.machines.values()}) == 1


def test_a_peer_that_has_pruned_says_so_and_another_is_asked() -> None:
    solo = grown(8)
    victim = Victim(GENESIS)
    victim.meet("node-0", "node-1", height=8)
    first, request = victim.asked[-1]
    victim.receive(first, Pruned(request.request, 8, 6))
    second, request = victim.asked[-1]
    assert second != first
    blocks = [(solo.chain.block(at).encode(), solo.chain.certificate(at).encode()) for at in range(1, 9)]
    victim.answer(tuple(blocks[:5]), tip=5)
    assert victim.chain.tip().height == 5
    assert victim.dropped == {}, "to have pruned is no lie"
    assert victim.asked[-1][0] == first, "from block 6 on it can help again"


def test_catch_up_says_when_only_a_checkpoint_helps() -> None:
    victim = Victim(GENESIS)
    victim.meet("node-0", "node-1", height=8)
    for _ in range(2):
        name, request = victim.asked[-1]
        victim.receive(name, Pruned(request.request, 8, 6))
    assert [warned.split()[0] for warned in victim.warnings] == ["sync_needs_checkpoint"]
    asked = len(victim.asked)
    victim.receive(name, Pruned(request.request, 8, 1))
    assert len(victim.asked) == asked, "an answer that nobody asked for changes nothing"


def test_a_pruned_node_serves_headers_and_says_what_it_has_not() -> None:
    victim = Victim(GENESIS)
    solo = grown(8)
    victim.meet("node-0", height=8)
    victim.answer(
        tuple((solo.chain.block(at).encode(), solo.chain.certificate(at).encode()) for at in range(1, 9)), tip=8
    )
    prune(victim.chain, 6)
    victim.receive("node-0", pm.GetBlocks(7, 5, 10))
    assert victim.sent(KIND_PRUNED) == [("node-0", Pruned(7, 8, 6))]
    victim.receive("node-0", pm.GetBlocks(8, 6, 10))
    _, answer = victim.sent(pm.KIND_ANSWER_BLOCKS)[-1]
    assert len(answer.blocks) == 3
    victim.receive("node-0", GetHeaders(9, 1, 100))
    _, headers = victim.sent(KIND_ANSWER_HEADERS)[-1]
    assert [entry[0] for entry in headers.entries] == [solo.chain.header(at).encode() for at in range(1, 9)]


def test_only_what_is_anchored_and_outside_the_window_may_go() -> None:
    chain = grown(300).chain
    settings = StorageSettings(keep_blocks=100)
    right = Anchored("toytown", 150, chain.block_id(150))
    check_prunable(chain, 151, settings, right)
    check_prunable(chain, 201, settings, Anchored("toytown", 300, chain.block_id(300)))
    cases = [
        (151, StorageSettings(keep_blocks=100, archive=True), right, Forbidden, "prune_archive"),
        (202, settings, Anchored("toytown", 300, chain.block_id(300)), RuleBroken, "prune_window"),
        (152, settings, right, RuleBroken, "prune_not_anchored"),
        (151, settings, Anchored("toytown", 150, chain.block_id(149)), Conflict, "prune_other_chain"),
        (151, settings, Anchored("beijing", 150, chain.block_id(150)), Conflict, "prune_other_chain"),
        (151, settings, Anchored("toytown", 301, chain.block_id(300)), RuleBroken, "prune_not_anchored"),
    ]
    for keep_from, storage, anchored, kind, code in cases:
        with refused(code, kind):
            check_prunable(chain, keep_from, storage, anchored)
    with pytest.raises(RuleBroken, match="with 300 blocks there is nothing to give up"):
        check_prunable(chain, 50, StorageSettings(keep_blocks=1_000), right)


def test_receipts_may_stay_when_blocks_go() -> None:
    solo = grown(12)
    receipts = solo.chain.receipts(3)
    prune(solo.chain, 8, keep_receipts=True)
    assert solo.chain.receipts(3) == receipts
    assert solo.chain.receipt_of(receipts[0].tx_id) == receipts[0]
    assert (solo.chain.pruning_floor(), solo.chain.receipt_floor()) == (8, 0)
    prune(solo.chain, 9)
    assert (solo.chain.pruning_floor(), solo.chain.receipt_floor()) == (9, 9)
    assert next(iter(solo.chain.store.scan(schema.RECEIPTS)))[0] >= schema.receipts(9)
