"""Deliveries: order, completeness, repetition, and everything a relay could do wrong (attacks R1-R8)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from common.core import merkle
from common.core.errors import Rejected
from crosslink.lightclient.delivery import Delivery, MisbehaviourDelivery, SnapshotItem
from custody_chain.tables.deliveries import DELIVERIES, HEADERS, DeliveryKey, HeaderKey
from custody_chain.tables.objects import REVISIONS, RevisionKey
from tests.support.chains import START_MS, BuiltBlock, ChainBuilder, member_names, sample_snapshot, validator_set
from tests.support.custody import SUITE, Custody, entry_of, holder, market_with_product
from tests.support.refusals import refused


def anchored(custody: Custody) -> int:
    height = custody.region()["anchored"]["height"]
    assert isinstance(height, int)
    return height


def test_blocks_with_and_without_snapshots_are_anchored_in_order(custody: Custody, chain: ChainBuilder) -> None:
    blocks = [*chain.grow(3), *chain.grow(2, snapshots_each=3), *chain.grow(1)]
    custody.submit("beijing", *blocks)
    region = custody.region()
    assert region["anchored"] == {"height": 6, "id": blocks[-1].id.hex(), "time_ms": blocks[-1].header.time_ms}
    assert region["client"]["height"] == 6
    assert (region["blocks"], region["snapshots"], region["partial"]) == (6, 6, None)


def test_anchored_buckets_have_the_published_layout(custody: Custody, chain: ChainBuilder) -> None:
    blocks = chain.grow(130)
    custody.submit("beijing", *blocks)
    ids = [chain.genesis.id.hex(), *(block.id.hex() for block in blocks)]
    for number in range(3):
        bucket = {"client_type": "tongjian-pbft/v1", "ids": ids[64 * number : 64 * (number + 1)]}
        assert custody.get("anchored", "beijing", str(number)) == bucket


def test_r1_a_continuation_is_refused_when_the_region_expired_meanwhile(chain: ChainBuilder) -> None:
    custody = Custody([chain], settings={"trusting_period_ms": 1_010_000})
    block = chain.grow(1, snapshots_each=2)[0]
    custody.submit("beijing", entry_of(block, first=0, last=1))
    custody.time_ms += 2_000_000
    assert custody.refused("beijing", entry_of(block, first=1, header=False)) == "expired"


def test_r3_a_continuation_is_refused_when_the_region_was_frozen_meanwhile(
    custody: Custody, chain: ChainBuilder
) -> None:
    first, second = conflicting(chain)
    custody.submit("beijing", *chain.blocks)
    block = chain.grow(1, snapshots_each=2)[0]
    custody.submit("beijing", entry_of(block, first=0, last=1))
    custody.run([misbehaviour(first, second)], ["operator"])
    assert custody.refused("beijing", entry_of(block, first=1, header=False)) == "frozen"


def test_a_header_from_the_future_is_refused_for_now(custody: Custody, chain: ChainBuilder) -> None:
    block = chain.extend(time_ms=custody.time_ms + 1000 + 15_001)
    assert custody.refused("beijing", block) == "future_header"
    custody.time_ms += 1
    custody.submit("beijing", block)
    assert anchored(custody) == 1


def test_r2_a_header_signed_by_another_set_is_refused(custody: Custody, chain: ChainBuilder) -> None:
    strangers = validator_set(member_names("beijing", first=7))
    draft = chain.draft()
    assert custody.refused("beijing", chain.seal(draft.header, signing=strangers)) == "certificate_bad_signature"
    named = chain.draft(validators_hash=strangers.hash(SUITE))
    assert custody.refused("beijing", chain.seal(named.header, signing=strangers)) == "wrong_set"


def test_a_validator_change_is_followed(custody: Custody, chain: ChainBuilder) -> None:
    following = validator_set(member_names("beijing", count=5, first=2))
    chain.extend(next_validators=following)
    chain.extend()
    custody.submit("beijing", *chain.blocks)
    assert anchored(custody) == 2
    assert [member["name"] for member in custody.region()["client"]["trust"]["validators"]] == list(
        member_names("beijing", count=5, first=2)
    )


def conflicting(chain: ChainBuilder) -> tuple[BuiltBlock, BuiltBlock]:
    chain.grow(3, snapshots_each=1)
    second = ChainBuilder()
    second.grow(2, snapshots_each=1)
    return chain.blocks[2], second.extend([sample_snapshot("other")])


def test_r3_a_conflicting_certificate_in_a_delivery_freezes_the_region(custody: Custody, chain: ChainBuilder) -> None:
    _, other = conflicting(chain)
    custody.submit("beijing", *chain.blocks)
    custody.submit("beijing", other)
    region = custody.region()
    assert region["frozen"]["height"] == 3
    assert region["anchored"]["height"] == 3, "what was anchored stays"
    evidence = list(custody.scan("misbehaviour/beijing/").values())
    assert evidence[0]["second"] == other.signed.hex()
    (alert,) = custody.alerts()
    assert evidence[0]["alerts"] == {"region_misbehaved": alert["id"]}
    assert alert["details"] == {"kind": "same_height", "culprits": []}
    assert (evidence[0]["first"], evidence[0]["culprits"]) == (None, [])
    assert alert["rule"] == "region_misbehaved"
    chain.grow(1)
    assert custody.refused("beijing", chain.blocks[-1]) == "frozen"


def test_r3_anybody_registered_may_bring_the_evidence(custody: Custody, chain: ChainBuilder) -> None:
    first, second = conflicting(chain)
    custody.submit("beijing", *chain.blocks)
    custody.run([misbehaviour(first, second)], ["operator"])
    assert custody.region()["frozen"]["culprits"] == ["beijing-1", "beijing-2", "beijing-3"]
    (entry,) = custody.scan("misbehaviour/beijing/").values()
    assert [culprit["name"] for culprit in entry["culprits"]] == ["beijing-1", "beijing-2", "beijing-3"]
    assert entry["culprits"][0]["public_key"].startswith("ed25519:")
    assert (entry["height"], entry["details"]) == (3, {"view": 0})
    with pytest.raises(Rejected, match="frozen"):
        custody.run([misbehaviour(second, first)], ["operator"])
    assert list(custody.scan("misbehaviour/beijing/").values()) == [entry]


def test_r3_anybody_registered_may_bring_a_block_on_top_of_another_one(custody: Custody, chain: ChainBuilder) -> None:
    _, second = conflicting(chain)
    custody.submit("beijing", *chain.blocks)
    other = ChainBuilder()
    other.blocks = [*chain.blocks[:2], second]
    custody.run([misbehaviour(chain.blocks[2], other.extend())], ["operator"])
    assert custody.region()["frozen"]["kind"] == "wrong_parent"
    (entry,) = custody.scan("misbehaviour/beijing/").values()
    assert (entry["height"], entry["details"], entry["culprits"]) == (4, {"view": None}, [])
    assert entry["first"] == chain.blocks[2].signed.hex()


def test_r3_a_pair_names_the_culprits_of_a_freeze_without_names_once(custody: Custody, chain: ChainBuilder) -> None:
    first, second = conflicting(chain)
    custody.submit("beijing", *chain.blocks)
    custody.submit("beijing", second)
    assert custody.region()["frozen"]["culprits"] == []
    across_views = chain.seal(second.header, signers=[0, 1, 2], view=4)
    with pytest.raises(Rejected, match="frozen"):
        custody.run([misbehaviour(first, across_views)], ["operator"])
    custody.run([misbehaviour(first, second)], ["operator"])
    assert custody.region()["frozen"]["culprits"] == ["beijing-1", "beijing-2", "beijing-3"]
    entries = list(custody.scan("misbehaviour/beijing/").values())
    assert [len(entry["culprits"]) for entry in entries] == [0, 3]
    with pytest.raises(Rejected, match="frozen"):
        custody.run([misbehaviour(first, second)], ["operator"])
    chain.grow(1)
    assert custody.refused("beijing", chain.blocks[-1]) == "frozen"


def misbehaviour(first: BuiltBlock, second: BuiltBlock, region: str = "beijing") -> dict[str, Any]:
    return MisbehaviourDelivery(
        region=region,
        first=first.signed,
        second=second.signed,
    ).to_operation()


def test_r3_what_is_no_contradiction_freezes_nothing(custody: Custody, chain: ChainBuilder) -> None:
    blocks = chain.grow(2)
    custody.submit("beijing", *blocks)
    for pair in ((blocks[0], blocks[0]), (blocks[0], blocks[1])):
        with pytest.raises(Rejected):
            custody.run([misbehaviour(*pair)], ["operator"])
    forged = chain.seal(replace(blocks[1].header, time_ms=START_MS + 5), signers=[0, 1])
    with pytest.raises(Rejected):
        custody.run([misbehaviour(blocks[1], forged)], ["operator"])
    assert custody.region()["frozen"] is None


def test_r3_a_delivery_is_kept_up_to_the_contradiction(custody: Custody, chain: ChainBuilder) -> None:
    _, other = conflicting(chain)
    following = chain.draft()
    custody.submit("beijing", *chain.blocks, other, following)
    assert anchored(custody) == 3
    assert custody.region()["frozen"] is not None


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes((data[position] ^ 1,)) + data[position + 1 :]


def test_r5_any_changed_snapshot_or_proof_is_refused(custody: Custody, chain: ChainBuilder) -> None:
    block = chain.grow(1, snapshots_each=3)[0]
    whole = entry_of(block)
    for index in range(3):
        items = list(whole.snapshots)
        items[index] = replace(items[index], data=items[index].data.replace(b"beijing", b"Beijing"))
        assert custody.refused("beijing", replace(whole, snapshots=tuple(items))) == "snapshot_root_mismatch"
    part = entry_of(block, first=0, last=2)
    changed = replace(part.snapshots[1], proof=flipped(block.proof(1), 32))
    assert custody.refused("beijing", replace(part, snapshots=(part.snapshots[0], changed)))


def test_r6_an_omitted_snapshot_does_not_move_the_anchored_height(custody: Custody, chain: ChainBuilder) -> None:
    block = chain.grow(1, snapshots_each=3)[0]
    whole = entry_of(block)
    assert custody.refused("beijing", replace(whole, snapshots=whole.snapshots[:2])) == "snapshot_proofs_missing"
    custody.submit("beijing", entry_of(block, first=0, last=2))
    assert anchored(custody) == 0
    assert custody.region()["partial"]["delivered"] == 2
    custody.submit("beijing", entry_of(block, first=2, header=False))
    assert anchored(custody) == 1


def test_r6_an_omitted_block_reordered_or_doubled_snapshots_are_refused(custody: Custody, chain: ChainBuilder) -> None:
    blocks = chain.grow(2, snapshots_each=3)
    assert custody.refused("beijing", blocks[1]) == "header_gap"
    custody.submit("beijing", entry_of(blocks[0], first=0, last=1))
    assert custody.refused("beijing", blocks[1]) == "block_incomplete"
    assert custody.refused("beijing", entry_of(blocks[0], first=2, header=False)) == "snapshot_order"
    whole = entry_of(blocks[0])
    swapped = (replace(whole.snapshots[1], index=0), replace(whole.snapshots[0], index=1), whole.snapshots[2])
    assert custody.refused("beijing", replace(whole, snapshots=swapped)) == "snapshot_root_mismatch"
    doubled = (*whole.snapshots, replace(whole.snapshots[2], index=3))
    assert custody.refused("beijing", replace(whole, snapshots=doubled)) == "snapshot_count"
    assert anchored(custody) == 0


def test_r6_a_header_without_its_snapshots_anchors_nothing(custody: Custody, chain: ChainBuilder) -> None:
    blocks = chain.grow(2, snapshots_each=2)
    custody.submit("beijing", replace(entry_of(blocks[0]), snapshots=()))
    assert (anchored(custody), custody.region()["client"]["height"]) == (0, 1)
    assert custody.refused("beijing", blocks[1]) == "block_incomplete"
    custody.submit("beijing", *blocks)
    assert anchored(custody) == 2


def test_r7_a_repeated_delivery_changes_nothing(custody: Custody, chain: ChainBuilder) -> None:
    chain.extend(market_with_product())
    chain.extend(holder(1, 100))
    custody.submit("beijing", *chain.blocks)
    before = dict(custody.state.values)
    custody.submit("beijing", *chain.blocks, signers=["second-relay"])
    assert custody.state.values == before
    custody.submit("beijing", entry_of(chain.blocks[1], first=1, header=False))
    assert custody.state.values == before


def test_r7_two_relays_deliver_overlapping_parts_of_one_block(custody: Custody, chain: ChainBuilder) -> None:
    block = chain.extend([*market_with_product(), *holder(1, 100)])
    custody.submit("beijing", entry_of(block, first=0, last=3))
    custody.submit("beijing", entry_of(block, first=1, last=4, header=False), signers=["second-relay"])
    assert custody.region()["partial"]["delivered"] == 4
    custody.submit("beijing", entry_of(block), signers=["second-relay"])
    assert anchored(custody) == 1
    assert custody.region()["snapshots"] == 5
    assert not custody.alerts("version_gap")


def test_r7_a_packet_of_another_region_is_refused(chain: ChainBuilder) -> None:
    shanghai = ChainBuilder(network="shanghai")
    custody = Custody([chain, shanghai])
    assert custody.refused("shanghai", *chain.grow(1)) == "wrong_network"
    assert custody.refused("guangdong", *chain.blocks) == "region_unknown"


def test_r7_a_packet_of_another_deployment_is_refused(custody: Custody) -> None:
    other = ChainBuilder(application={"deployment": 2})
    assert custody.refused("beijing", *other.grow(1)) == "wrong_genesis"


def test_one_bad_entry_undoes_the_whole_delivery(custody: Custody, chain: ChainBuilder) -> None:
    blocks = chain.grow(3, snapshots_each=1)
    bad = replace(entry_of(blocks[2]), snapshots=(SnapshotItem(0, b"{}"),))
    custody.refused("beijing", blocks[0], blocks[1], bad)
    assert anchored(custody) == 0


def test_a_block_without_snapshots_that_commits_to_some_is_anchored_with_an_alert(
    custody: Custody, chain: ChainBuilder
) -> None:
    block = chain.extend(snapshot_root=merkle.root(SUITE.hash, [b"something"]))
    custody.submit("beijing", block)
    assert anchored(custody) == 1
    (alert,) = custody.alerts()
    assert alert["rule"] == "snapshot_root_inconsistent"
    assert alert["objects"] == [{"kind": "block", "id": "1"}]
    assert block.header.snapshot_root.hex() in alert["details"]["commitments"]


def test_what_a_delivery_brought_is_in_the_log_and_can_be_found_again(custody: Custody, chain: ChainBuilder) -> None:
    blocks = chain.grow(2, snapshots_each=2)
    custody.submit("beijing", *blocks)
    log = [value for key, value in sorted(custody.state.index.items()) if key.startswith(b"log/beijing/")]
    assert b'"type":"accepted"' in log[-1]
    assert HEADERS.path(HeaderKey("beijing", 2)) in custody.state.index
    assert DELIVERIES.path(DeliveryKey("beijing", 2, 0)) in custody.state.index
    assert REVISIONS.path(RevisionKey("beijing", "beijing:2:1", 2, 1)) in custody.state.index


def test_a_delivery_that_freezes_the_region_is_logged_with_what_it_anchored_before(
    custody: Custody, chain: ChainBuilder
) -> None:
    custody.submit("beijing", *chain.grow(1))
    other = ChainBuilder()
    custody.submit("beijing", *chain.grow(2, snapshots_each=1), other.extend([sample_snapshot("other")]))
    assert custody.region()["frozen"]["height"] == 1
    log = [json.loads(value) for key, value in sorted(custody.state.index.items()) if key.startswith(b"log/beijing/")]
    accepted = [(line["from_height"], line["anchored_height"]) for line in log if line["type"] == "accepted"]
    assert accepted == [(1, 1), (2, 3)]
    assert [line["type"] for line in log].count("frozen") == 1


def test_the_operation_size_is_bounded(custody: Custody, chain: ChainBuilder) -> None:
    block = chain.extend([sample_snapshot(f"o{n}", note="x" * 60_000) for n in range(26)])
    operation = Delivery("beijing", (entry_of(block),)).to_operation()
    tx = custody.sign([operation])
    for judge in (lambda: custody.application.check(tx, custody.state, custody.context()), lambda: custody.execute(tx)):
        with refused("operation_too_large"):
            judge()
