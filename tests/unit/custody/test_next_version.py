"""What a next protocol version brings changes nothing of a chain before it is activated, on both tiers.

The chains hold attempts at everything that the version brings, made before it: those fail, and leave the same bytes
under either release. Then the newer release takes the old chain over, executes it again, checks it, mends it and joins
it; and only once governance has activated the version does what it brings work.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.chain.index_families import families_of
from common.chain.schedule import check_supported
from common.core.codec import parse_json
from common.core.errors import Rejected, Unavailable
from common.core.header import Header, layout_of
from common.core.parameters import PARAMETERS
from common.core.protocol import latest_version
from common.core.receipt import Receipt
from common.model.schemas import SCHEMA_SETS
from common.node.diagnosis.data_findings import DataReport
from common.node.store import schema
from common.node.store.committed_state import CommittedState
from common.node.store.index_layouts import rebuild_indexes
from common.node.store.storage import KeyValueStore, LevelDBStore, MemoryStore
from common.node.upkeep.audit import audit
from common.node.upkeep.chain_rebuild import no_progress, rebuild
from common.node.upkeep.checkpoint_store import CheckpointFiles
from common.node.upkeep.repair import Repair
from crosslink.lightclient.pbft.trust import PBFT_CLIENT_TYPE
from custody_chain.evidence_making import build_evidence
from custody_chain.supervision.rules import RULES
from tests.support.chains import ChainBuilder, seed_of
from tests.support.custody import GOVERNORS, Custody, market_with_product, product, snapshot
from tests.support.custody_node import CustodyNode
from tests.support.next_protocol import (
    FAMILY,
    KIND,
    PARAMETER,
    PARAMETER_DEFAULT,
    RULE,
    NextHeader,
    Note,
    next_release,
)
from tests.unit.business.market import seed
from tests.unit.business.stored_market import StoredMarket
from tests.unit.growth.world import Joiner, Peer

OLD = latest_version()


class BusinessTier:
    """A market's chain that governance may change."""

    def __init__(self) -> None:
        self.node = StoredMarket()
        self.node.commit(*self.node.foundations(700, 300))

    def governed(self, operation_type: str, **fields: Any) -> Receipt:
        """One operation of governance in a block of its own."""
        operation = self.node.op(operation_type, reason="r", **fields)
        return self.node.commit_envelopes(self.node.envelope(operation, signer="governor"))[0]

    def note(self) -> Receipt:
        """The operation of the next version, in a block of its own."""
        return self.node.commit_envelopes(self.node.envelope(self.node.op(Note.TYPE, text="anything")))[0]

    def block(self) -> None:
        """Today's business."""
        self.node.commit(self.node.transfer(1, 2, 1))

    def early(self) -> list[str | None]:
        """Codes of what is too early."""
        return []

    def seeds(self) -> dict[str, bytes]:
        """Validators' keys by name."""
        return {"v1": seed("v1")}

    def evidence(self) -> bytes:
        """What the custody chain would be told of the last block."""
        chain, height = self.node.chain, self.node.chain.tip().height
        certificate = chain.certificate(height).encode()
        return b"".join([chain.header(height).encode(), certificate, *chain.snapshots(height)])


class CustodyTier:
    """The custody chain over one region."""

    def __init__(self) -> None:
        self.region = ChainBuilder()
        self.node = CustodyNode([self.region])
        self.node.deliver(self.region, *market_with_product())

    def governed(self, operation_type: str, **fields: Any) -> Receipt:
        """One operation of governance in a block of its own."""
        receipt = self.node.commit({"type": operation_type, "reason": "r", **fields}, signers=GOVERNORS)
        assert receipt is not None
        return receipt

    def note(self) -> Receipt:
        """The operation of the next version, in a block of its own."""
        receipt = self.node.commit({"type": Note.TYPE}, signers=GOVERNORS)
        assert receipt is not None
        return receipt

    def block(self) -> None:
        """Today's business."""
        self.node.deliver(self.region, product(f"BJ{self.region.height:06d}.ESVUFR2601", "issuer"))

    def early(self) -> list[str | None]:
        """Codes of what is too early: the rule, and an object of the kind that has no schema yet."""
        height = self.node.chain.tip().height + 3
        receipt = self.governed("rules.set", id=RULE, parameters={}, from_height=height)
        return [receipt.code, self.anomaly("early")]

    def seeds(self) -> dict[str, bytes]:
        """Validators' keys by name."""
        return {member.name: seed_of(member.name) for member in self.node.genesis.validators.members}

    def anomaly(self, object_id: str) -> str | None:
        """Why a new object of the dummy kind is kept out."""
        self.node.deliver(self.region, snapshot(KIND, object_id, {}))
        found = self.node.chain.state_get(b"anomaly/beijing/" + object_id.encode())
        return None if found is None else str(parse_json(found, max_size=len(found))["code"])

    def is_alerted(self) -> bool:
        """Whether the dummy rule has raised an alert."""
        return any(RULE.encode() in value for _, value in self.node.chain.state_scan(b"alert/", None, 100))

    def evidence(self) -> bytes:
        """The evidence of a delivered product."""
        evidence, _ = build_evidence(self.node.chain, PBFT_CLIENT_TYPE, "beijing", "BJ000001.ESVUFR2601", None, None)
        return evidence.encode()


Tier = BusinessTier | CustodyTier
BOTH = pytest.mark.parametrize("found", [BusinessTier, CustodyTier])


def old_life(found: Callable[[], Tier]) -> Tier:
    """Blocks of today's version, with attempts at what the next one brings; the version is activated in the end."""
    tier = found()
    height = tier.node.chain.tip().height
    assert tier.note().code == "operation_type_unknown"
    assert tier.governed("parameters.set", values={PARAMETER: 3}, height=height + 5).code == "parameter_invalid"
    assert tier.early() in ([], ["rule_unknown", "unknown_kind"])
    tier.block()
    return tier


def activated(tier: Tier) -> int:
    """The first height of the next version, which is the next block's."""
    height = tier.node.chain.tip().height + 2
    assert tier.governed("protocol.activate", version=OLD + 1, height=height).status == "applied"
    return height


def entries(store: KeyValueStore) -> dict[bytes, bytes]:
    """All of a database but the record of index layouts."""
    return {key: value for key, value in store.scan(b"") if key != schema.INDEX_LAYOUTS}


def upgraded(tier: Tier) -> None:
    """The newer release opens the older one's database."""
    rebuild_indexes(tier.node.chain, families_of(tier.node.application))
    tier.node.reopen()


def holds_under_this_release(tier: Tier, directory: Path) -> None:
    """Executing the chain again, `node check` and `node repair` give and accept exactly its bytes."""
    node, replayed, report = tier.node, MemoryStore(), DataReport()
    done = rebuild(node.chain, node.application, replayed, no_progress)
    assert (done.damage, done.differs) == (None, None)
    before = entries(node.chain.store)
    assert entries(replayed) == before
    audit(node.chain.store.snapshot(), node.genesis, node.application, MemoryStore(), report, no_progress)
    assert report.findings == []
    store = LevelDBStore(directory / "chain")
    store.write([*node.chain.store.scan(b"")], sync=True)
    store.close()
    repaired = Repair(directory, node.genesis, node.application, "now", no_progress).run()
    assert (repaired.height, repaired.stopped_by) == (node.chain.tip().height, None)
    store = LevelDBStore(directory / "chain")
    assert {key: value for key, value in entries(store).items() if key[:1] != b"!"} == {
        key: value for key, value in before.items() if key[:1] != b"!"
    }
    store.close()


def is_joined_under_this_release(tier: Tier, directory: Path) -> None:
    """A node that joins by a checkpoint of this chain holds its state and its headers."""
    node, files = tier.node, CheckpointFiles(directory / "checkpoints", tier.node.genesis.suite)
    files.make(node.chain.moment(), lambda seconds: None, lambda: False)
    joiner = Joiner(directory, node.genesis)
    joiner.meet(*(Peer(name, node, files, seed) for name, seed in tier.seeds().items()))
    assert joiner.run()
    joined = joiner.finish()
    assert joined.tip().block_id == node.chain.tip().block_id
    mine, others = entries(joined.store), entries(node.chain.store)
    for kind in (schema.TREE, schema.HEADERS, schema.INDEX):
        assert {k: v for k, v in mine.items() if k[:1] == kind} == {k: v for k, v in others.items() if k[:1] == kind}
    assert {k for k in mine if k[:1] == schema.STATE} == {k for k in others if k[:1] == schema.STATE}


@BOTH
def test_nothing_changes_before_activation(found: Callable[[], Tier]) -> None:
    old = old_life(found)
    with next_release():
        new = old_life(found)
        assert new.node.genesis.id == old.node.genesis.id
        assert entries(new.node.chain.store) == entries(old.node.chain.store)
        assert new.evidence() == old.evidence()
        activated(new)
    activated(old)
    assert entries(new.node.chain.store) == entries(old.node.chain.store)
    with pytest.raises(Unavailable, match="protocol_version_unsupported"):
        check_supported(CommittedState(old.node.chain), old.node.genesis, old.node.chain.tip().height + 1, (OLD,))


@BOTH
def test_the_newer_release_takes_over_an_old_chain_and_goes_on(found: Callable[[], Tier], tmp_path: Path) -> None:
    tier = old_life(found)
    evidence, before = tier.evidence(), entries(tier.node.chain.store)
    with next_release() as version:
        upgraded(tier)
        assert (entries(tier.node.chain.store), tier.evidence()) == (before, evidence)
        holds_under_this_release(tier, tmp_path / "old")
        is_joined_under_this_release(tier, tmp_path / "old")
        height = activated(tier)
        assert tier.note().status == "applied"
        key = FAMILY + b"%016x" % height
        assert tier.node.chain.state_get(key) == tier.node.chain.index_get(key) == b"%d" % PARAMETER_DEFAULT
        changed = height + 2
        assert tier.governed("parameters.set", values={PARAMETER: 3}, height=changed).status == "applied"
        assert tier.note().status == "applied"
        assert tier.node.chain.state_get(FAMILY + b"%016x" % changed) == b"3"
        if isinstance(tier, CustodyTier):
            the_rule_and_the_schemas_hold(tier)
        headers = [tier.node.chain.header(at) for at in range(1, tier.node.chain.tip().height + 1)]
        early, late = headers[: height - 1], headers[height - 1 :]
        assert {(type(header), header.protocol_version) for header in early} == {(Header, OLD)}
        assert {(type(header), header.protocol_version) for header in late} == {(NextHeader, version)}
        holds_under_this_release(tier, tmp_path / "new")
        is_joined_under_this_release(tier, tmp_path / "new")
    with pytest.raises(Unavailable, match="protocol_version_unsupported"):
        tier.node.reopen()


def the_rule_and_the_schemas_hold(tier: CustodyTier) -> None:
    """An object of the new kind is usable; the rule is asked once governance has put it into force."""
    assert tier.anomaly("in-time") is None
    tier.block()
    assert not tier.is_alerted()
    height = tier.node.chain.tip().height + 2
    assert tier.governed("rules.set", id=RULE, parameters={}, from_height=height).status == "applied"
    tier.block()
    assert tier.is_alerted()


@BOTH
def test_what_the_newer_release_left_is_forgotten(found: Callable[[], Tier]) -> None:
    with next_release() as version:
        tier = found()
        assert Note.TYPE in tier.node.application.operation_types(version)
        assert RULE in RULES
    tier.node.reopen()
    assert Note.TYPE not in tier.node.application.operation_types(version)
    assert (RULE in RULES, families_of(tier.node.application)) == (False, ())
    assert not SCHEMA_SETS.at(version).knows(KIND)
    assert PARAMETER not in PARAMETERS.at(version)
    assert layout_of(version).header_type is Header


def test_governance_changes_parameters_and_rules_at_a_height() -> None:
    custody = Custody([ChainBuilder()])
    height = custody.height + 3
    changes: list[dict[str, Any]] = [
        {"type": "parameters.set", "values": {"heartbeat_ms": 5_000}, "height": height, "reason": "r"},
        {"type": "rules.set", "id": "holder_cap", "parameters": {"limit": 50}, "from_height": height, "reason": "r"},
        {
            "type": "policy.set",
            "rules": [{"operation_type": "crosslink.submit", "maker": ["operator"], "checkers": []}],
            "height": height,
            "reason": "r",
        },
    ]
    custody.run(changes, GOVERNORS)
    assert custody.context().parameters.heartbeat_ms == 10_000
    before = custody.application.describe(custody.state, custody.context())["policy"]["crosslink.submit"]
    custody.empty_block()
    assert custody.context().height == height
    assert custody.context().parameters.heartbeat_ms == 5_000
    after = custody.application.describe(custody.state, custody.context())["policy"]["crosslink.submit"]
    assert (before["maker"], after["maker"]) == (["relay"], ["operator"])
    assert custody.get("rules")["rules"]["holder_cap"] == [{"from_height": height, "parameters": {"limit": 50}}]
    with pytest.raises(Rejected, match="change_not_pending"):
        custody.run([{**changes[0], "height": height + 9, "replaces": height}], GOVERNORS)
