"""Evidence files that the custody chain builds, checked by the offline verifier with roots that the user holds."""

from __future__ import annotations

import pytest

from common.chain.governance import VALIDATORS_CHANGE
from common.core.errors import NotFound
from crosslink.lightclient.evidence_check import verify_evidence_file
from crosslink.lightclient.pbft.trust import PBFT_CLIENT_TYPE
from custody_chain.evidence_making import build_evidence
from custody_chain.queries.chains import feedback
from custody_chain.queries.moment import Questions
from tests.support.chains import ChainBuilder, member_names, sample_snapshot, validator_set
from tests.support.custody import SUITE, entry_of, holder, market_with_product, person, recovery
from tests.support.custody_node import CustodyNode
from tests.support.refusals import refused


@pytest.fixture
def node(chain: ChainBuilder) -> CustodyNode:
    node = CustodyNode([chain])
    node.deliver(chain, *market_with_product(), *holder(1, 100))
    return node


def evidence(node: CustodyNode, object_id: str, height: int | None = None, index: int | None = None) -> bytes:
    return build_evidence(node.chain, PBFT_CLIENT_TYPE, "beijing", object_id, height, index)[0].encode()


def test_the_file_of_a_snapshot_proves_it_to_the_user(node: CustodyNode) -> None:
    findings = verify_evidence_file(evidence(node, "initial-1"), node.trust())
    assert (findings.region, findings.region_height, findings.snapshot_index) == ("beijing", 1, 4)
    assert findings.snapshot is not None
    assert findings.snapshot["header"]["content"]["object_id"] == "initial-1"


def test_every_revision_has_its_file_and_the_newest_is_the_default(node: CustodyNode, chain: ChainBuilder) -> None:
    node.deliver(chain, person("person-1", "Q000000001", version=1))
    node.deliver(chain, person("person-1", "Q000000001", version=2), person("person-1", "Q000000001", version=3))
    versions = [
        verify_evidence_file(evidence(node, "person-1", *place), node.trust()).snapshot["header"]["content"]["version"]  # type: ignore[index]
        for place in ((None, None), (1, None), (2, 0), (3, 0), (3, None))
    ]
    assert versions == [3, 0, 1, 2, 3]


def test_the_file_follows_changes_of_the_custody_validators(node: CustodyNode, chain: ChainBuilder) -> None:
    for first in (2, 3):
        members = validator_set(member_names("custody", first=first)).to_json(SUITE)
        effective = node.chain.tip().height + 3
        change = {"type": VALIDATORS_CHANGE, "validators": members, "effective_height": effective, "reason": "rotation"}
        node.govern(change)
        node.commit()
        node.commit()
    node.deliver(chain, person("late", "Q000000002"))
    data = evidence(node, "late")
    assert verify_evidence_file(data, node.trust()).height == node.chain.tip().height
    assert len(build_evidence(node.chain, PBFT_CLIENT_TYPE, "beijing", "late", None, None)[0].headers) == 3


def test_the_file_of_a_block_that_came_in_parts(node: CustodyNode, chain: ChainBuilder) -> None:
    block = chain.extend(holder(2, 5), time_ms=node.time_ms + 500)
    node.submit("beijing", entry_of(block, first=0, last=2))
    with refused("not_anchored", NotFound):
        evidence(node, "person-2")
    node.submit("beijing", entry_of(block, first=2, header=False))
    for object_id in ("person-2", "A2", "initial-2"):
        verify_evidence_file(evidence(node, object_id), node.trust())


def test_the_file_of_an_anomalous_snapshot(node: CustodyNode, chain: ChainBuilder) -> None:
    bad = person("bad", "Q000000009").replace(b'"subject_type":2', b'"subject_type":9')
    node.deliver(chain, bad)
    findings = verify_evidence_file(evidence(node, "bad"), node.trust())
    assert "that the snapshot passed the data model's schema (an anomalous snapshot is anchored too)" in (
        findings.does_not_prove
    )


@pytest.mark.parametrize(
    ("object_id", "height", "index", "code"),
    [
        ("nobody", None, None, "object_unknown"),
        ("person-1", 9, None, "snapshot_unknown"),
        ("person-1", 1, 4, "snapshot_unknown"),
    ],
)
def test_there_is_no_file_for_what_was_not_delivered(
    node: CustodyNode, object_id: str, height: int | None, index: int | None, code: str
) -> None:
    with refused(code, NotFound):
        evidence(node, object_id, height, index)


def abandoned_block(chain: ChainBuilder, *snapshots: bytes) -> CustodyNode:
    """These snapshots came of a block that a recovery abandoned; another block took its place, with four others."""
    node = CustodyNode([chain])
    first = node.deliver(chain, sample_snapshot("first"))
    other = ChainBuilder()
    other.blocks = list(chain.blocks)
    abandoned = other.extend([*snapshots, sample_snapshot("missing"), sample_snapshot("missing too")])
    block = chain.extend([sample_snapshot(f"new-{number}") for number in range(4)])
    node.submit("beijing", entry_of(abandoned, last=1))
    node.submit("beijing", entry_of(abandoned, first=1, last=len(snapshots), header=False))
    node.submit("beijing", block)  # freezes the region
    node.govern(recovery(chain, 1, first.id.hex()))
    node.submit("beijing", entry_of(block, last=2))
    node.submit("beijing", entry_of(block, first=2, header=False))
    return node


def test_evidence_about_a_block_does_not_come_from_the_one_that_a_recovery_abandoned(chain: ChainBuilder) -> None:
    node = abandoned_block(chain, *[sample_snapshot(f"old-{number}") for number in range(4)])
    for number in range(4):
        findings = verify_evidence_file(evidence(node, f"new-{number}"), node.trust())
        assert findings.snapshot_index == number


def test_there_is_no_file_for_an_object_of_a_block_that_was_abandoned(chain: ChainBuilder) -> None:
    node = abandoned_block(chain, *[sample_snapshot(f"old-{number}") for number in range(4)])
    for place in ((None, None), (2, None), (2, 2)):
        with refused("snapshot_unknown", NotFound):
            evidence(node, "old-2", *place)


def test_reasons_in_feedback_are_not_those_of_another_object(chain: ChainBuilder) -> None:
    bad = [person(f"bad-{number}", "Q1").replace(b'"subject_type":2', b'"subject_type":9') for number in range(4)]
    node = abandoned_block(chain, *bad)
    questions = Questions(node.chain, lambda network: True)
    (row,) = questions.answer(lambda moment: feedback(moment, ["beijing"], 0, None, 100))["data"]["regions"]
    codes = {item["object_id"]: item["code"] for item in row["anomalies"]}
    assert codes == dict.fromkeys(
        [f"{name}-{n}" for name in ("bad", "new") for n in range(4)] + ["first"], "schema_failed"
    )
    for item in row["anomalies"]:
        assert (item["reasons"] == []) == item["object_id"].startswith("bad"), item
