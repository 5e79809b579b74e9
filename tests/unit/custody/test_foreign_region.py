"""A region of another make under the custody chain's own rules: attached, anchored, proven, frozen, recovered."""

from __future__ import annotations

from typing import Any

import pytest

from common.core.codec import canonical_json, parse_json
from common.core.errors import Rejected
from crosslink.lightclient.delivery import BlockDelivery, Delivery, MisbehaviourDelivery, SnapshotItem
from crosslink.lightclient.evidence_check import verify_evidence_file
from crosslink.lightclient.trust import build_trust_file
from custody_chain.evidence_making import build_evidence
from custody_chain.operation_names import REGION_RECOVER, REGION_REGISTER
from tests.foreign.blocks import Block, Islet, prove
from tests.foreign.client import ISLET_CLIENT_TYPE, checkpoint_of, root_of
from tests.support.chains import START_MS, ChainBuilder
from tests.support.custody import GOVERNORS, Custody, account, person
from tests.support.custody_node import CustodyNode

REASON = {"reason": "a test"}


def entry(block: Block, first: int = 0, last: int | None = None, *, header: bool = True) -> BlockDelivery:
    """A block whole, or a part of it with proofs."""
    whole = header and first == 0 and last is None
    chosen = range(first, len(block.objects) if last is None else last)
    proofs = prove(block.objects)
    items = tuple(SnapshotItem(at, block.objects[at], None if whole else proofs[at]) for at in chosen)
    return (
        BlockDelivery(header=block.signed, snapshots=items)
        if header
        else BlockDelivery(height=block.slot, snapshots=items)
    )


def registration(chain: Islet) -> dict[str, Any]:
    return {"type": REGION_REGISTER, "region": {**root_of(chain).to_json(), "region_letters": "ZJ"}, **REASON}


@pytest.fixture
def islet() -> Islet:
    return Islet(start_s=START_MS // 1000)


@pytest.fixture
def custody(islet: Islet) -> Custody:
    custody = Custody([])
    custody.run([registration(islet)], GOVERNORS)
    return custody


def record(custody: Custody) -> dict[str, Any]:
    return custody.region("islet")


def test_r6_heights_skip_and_parts_complete_a_block_that_counts_nothing(custody: Custody, islet: Islet) -> None:
    first = islet.grow([person("p", "Q000000001"), account("a", "p"), b"\xff\xfe"], skip=4)
    empty, last = islet.grow(skip=100), islet.grow([b'{"quantity":1.50}'])
    custody.submit("islet", entry(first, last=1))
    assert (record(custody)["anchored"]["height"], record(custody)["partial"]["delivered"]) == (0, 1)
    assert custody.refused("islet", entry(empty)) == "block_incomplete"
    assert custody.refused("islet", entry(first, 2, header=False)) == "snapshot_order"
    custody.submit("islet", entry(first, 1, header=False), entry(empty), entry(last))
    held = record(custody)
    assert (held["anchored"]["height"], held["blocks"], held["snapshots"]) == (last.slot, 3, 4)
    assert (held["anchored"]["id"], held["partial"]) == (last.id.hex(), None)
    assert held["anomalies_open"] == 2, "bytes that no standard knows are anchored, and named"
    bucket = custody.get("anchored", "islet", "0")
    assert (bucket["client_type"], bucket["ids"]) == (
        ISLET_CLIENT_TYPE,
        [islet.origin.hex(), *[""] * 4, first.id.hex()],
    )
    assert custody.get("anchored", "islet", "1")["ids"] == [*[""] * (empty.slot % 64), empty.id.hex(), last.id.hex()]


def test_r6_a_block_that_was_left_out_and_a_false_part_do_not_move_the_anchored_height(
    custody: Custody, islet: Islet
) -> None:
    first, second = islet.grow([b"one", b"two"]), islet.grow(skip=3)
    assert custody.refused("islet", entry(second)) == "header_gap"
    whole = entry(first)
    assert custody.refused("islet", BlockDelivery(header=first.signed, snapshots=whole.snapshots[:1]))
    assert not custody.scan("anchored/islet/0")["anchored/islet/0"]["ids"][1:]


def test_r3_two_blocks_at_one_slot_freeze_the_region_and_governance_recovers_it_once(
    custody: Custody, islet: Islet
) -> None:
    for skip in (0, 5):
        custody.submit("islet", entry(islet.grow([b"x"], skip=skip)))
    trusted, rival = islet.blocks[-1], islet.rival(-1)
    pair = MisbehaviourDelivery(region="islet", first=trusted.signed, second=rival.signed).to_operation()
    custody.run([pair])
    frozen = record(custody)["frozen"]
    assert frozen["culprits"] == ["amber", "birch", "cedar"]
    (evidence,) = custody.scan("misbehaviour/islet/").values()
    assert (evidence["client_type"], evidence["first"]) == (ISLET_CLIENT_TYPE, trusted.signed.hex())
    assert [culprit["organisation"] for culprit in evidence["culprits"]] == ["islet"] * 3
    assert custody.refused("islet", entry(islet.grow())) == "frozen"
    root = {**root_of(Islet(start_s=START_MS // 1000)).to_json(), "checkpoint": checkpoint_of(islet, trusted).to_json()}
    recovery = {
        "type": REGION_RECOVER,
        "region": "islet",
        "trust_root": root,
        "from_height": trusted.slot + 1,
        "previous_anchored_id": trusted.id.hex(),
        **REASON,
    }
    ours = ChainBuilder("islet").trust_root().to_json() | {"genesis_id": islet.origin.hex()}
    with pytest.raises(Rejected):
        custody.run([recovery | {"trust_root": ours}], GOVERNORS)
    custody.run([recovery], GOVERNORS)
    custody.submit("islet", entry(islet.blocks[-1]))
    assert record(custody)["anchored"]["id"] == islet.tip_id.hex()
    for again in (pair, Delivery("islet", (entry(rival),)).to_operation()):
        with pytest.raises(Rejected, match="stale_header"):
            custody.run([again])
    late = islet.rival(-1)
    custody.run(
        [MisbehaviourDelivery(region="islet", first=islet.blocks[-1].signed, second=late.signed).to_operation()]
    )
    assert record(custody)["frozen"] is not None, "what comes after the recovery is judged anew"


def test_r4_r5_an_object_of_it_is_proven_offline_to_who_holds_the_roots(islet: Islet) -> None:
    node = CustodyNode([])
    node.commit(registration(islet), signers=GOVERNORS)
    block = islet.grow([b"\xff", person("p", "Q000000001")], skip=70)
    node.commit(Delivery("islet", (entry(block),)).to_operation(), time_ms=START_MS + 100_000)
    evidence, _ = build_evidence(node.chain, ISLET_CLIENT_TYPE, "islet", "p", None, None)
    custody_root = node.trust().root("custody")
    trust = build_trust_file([custody_root, root_of(Islet(start_s=START_MS // 1000))])
    findings = verify_evidence_file(evidence.encode(), trust)
    assert (findings.region, findings.region_height, findings.snapshot_index) == ("islet", 71, 1)
    assert findings.region_block_id == block.id
    assert findings.snapshot_data == block.objects[1]
    assert findings.snapshot is not None
    document = parse_json(evidence.encode(), max_size=1 << 20)
    assert document["region"]["client_type"] == ISLET_CLIENT_TYPE
    assert b"signatures" not in bytes.fromhex(document["region"]["header"])
    alone = build_trust_file([custody_root])
    assert verify_evidence_file(evidence.encode(), alone).region_root is None
    for place, key, value in (
        ("region", "client_type", "tongjian-pbft/v1"),
        ("region", "header", block.signed.hex()),
        ("snapshot", "index", 0),
        ("snapshot", "data", "{}"),
        ("snapshot", "proof", evidence.snapshot.proof[48:].hex() if evidence.snapshot else ""),
    ):
        changed = {**document, place: {**document[place], key: value}}
        with pytest.raises(Rejected):
            verify_evidence_file(canonical_json(changed), alone)
