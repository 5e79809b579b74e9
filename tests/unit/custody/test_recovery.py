"""What `region.recover` decides for good, and what it leaves open: evidence, times, blocks that were skipped."""

from __future__ import annotations

from typing import Any

import pytest

from common.core.errors import Rejected
from crosslink.lightclient.delivery import MisbehaviourDelivery
from crosslink.lightclient.verify import MAX_HEADER_AHEAD_MS
from custody_chain import regions
from custody_chain.tables.regions import REGIONS, RegionKey
from tests.support.chains import BuiltBlock, ChainBuilder, sample_snapshot
from tests.support.chains import checkpoint as pbft_checkpoint
from tests.support.custody import Custody, entry_of
from tests.unit.custody.test_governance import QUORUM, recovery, register


@pytest.fixture
def chain() -> ChainBuilder:
    """One block, and what follows it on the branch that the market goes on with."""
    chain = ChainBuilder()
    chain.extend([sample_snapshot("first")])
    return chain


@pytest.fixture
def custody(chain: ChainBuilder) -> Custody:
    custody = Custody([chain])
    custody.submit("beijing", *chain.blocks)
    return custody


def branch(chain: ChainBuilder, name: str, blocks: int = 1) -> ChainBuilder:
    """Another continuation of a chain by the same validators."""
    other = ChainBuilder()
    other.blocks = list(chain.blocks)
    for number in range(blocks):
        other.extend([sample_snapshot(f"{name}-{number}"), sample_snapshot(f"{name}-{number}-more")])
    return other


def pair(first: BuiltBlock, second: BuiltBlock) -> dict[str, Any]:
    return MisbehaviourDelivery(
        region="beijing",
        first=first.signed,
        second=second.signed,
    ).to_operation()


def bring(custody: Custody, first: BuiltBlock, second: BuiltBlock) -> None:
    custody.run([pair(first, second)], ["operator"])


def refused(custody: Custody, first: BuiltBlock, second: BuiltBlock) -> str:
    """The code with which evidence is refused."""
    with pytest.raises(Rejected) as refusal:
        bring(custody, first, second)
    return refusal.value.code


def is_frozen(custody: Custody) -> bool:
    return custody.region()["frozen"] is not None


@pytest.mark.parametrize("goes_on_with", [0, 1])
def test_r3_evidence_that_governance_has_judged_freezes_nothing_again(
    custody: Custody, chain: ChainBuilder, goes_on_with: int
) -> None:
    branches = [branch(chain, "a", 2), branch(chain, "b", 2)]
    a, b = (other.block(2) for other in branches)
    bring(custody, a, b)
    custody.run([recovery(custody, chain, 1)], QUORUM)
    assert refused(custody, a, b) == refused(custody, b, a) == "misbehaviour_known"
    kept, lost = branches[goes_on_with], branches[1 - goes_on_with]
    custody.submit("beijing", kept.block(2))
    assert refused(custody, a, b) == "misbehaviour_known"
    assert custody.refused("beijing", lost.block(2)) == "misbehaviour_known"
    custody.submit("beijing", kept.block(3))
    assert custody.refused("beijing", lost.block(2)) == "misbehaviour_known"
    assert not is_frozen(custody)


@pytest.mark.parametrize(("by_delivery", "code"), [(True, "misbehaviour_known"), (False, "frozen")])
def test_r3_a_new_contradiction_freezes_a_recovered_region(
    custody: Custody, chain: ChainBuilder, by_delivery: bool, code: str
) -> None:
    a, b, third = (branch(chain, name).block(2) for name in ("a", "b", "third"))
    bring(custody, a, b)
    custody.run([recovery(custody, chain, 1)], QUORUM)
    custody.submit("beijing", b)
    if by_delivery:
        custody.submit("beijing", third)
    else:
        bring(custody, a, third)
    assert is_frozen(custody)
    assert refused(custody, a, b) == code, "what is judged names no culprits of another freeze"
    custody.run([recovery(custody, branch(chain, "b"), 2)], QUORUM)
    assert custody.region()["judged"] == [], "below the height that is trusted nothing can be shown any more"


def test_r3_a_new_block_on_the_branch_that_was_given_up_freezes(custody: Custody, chain: ChainBuilder) -> None:
    given_up, kept = branch(chain, "a", 2), branch(chain, "b", 2)
    bring(custody, given_up.block(2), kept.block(2))
    custody.run([recovery(custody, chain, 1)], QUORUM)
    custody.submit("beijing", kept.block(2))
    custody.submit("beijing", given_up.block(3))
    assert is_frozen(custody)


def test_r3_a_block_on_top_of_another_one_is_judged_once(custody: Custody, chain: ChainBuilder) -> None:
    kept, given_up = branch(chain, "a", 3), branch(chain, "b", 2)
    custody.submit("beijing", kept.block(2))
    custody.submit("beijing", given_up.block(3))
    assert custody.region()["frozen"]["kind"] == "wrong_parent"
    custody.run([recovery(custody, kept, 2)], QUORUM)
    assert custody.refused("beijing", given_up.block(3)) == "misbehaviour_known"
    custody.submit("beijing", kept.block(3))
    assert custody.refused("beijing", given_up.block(3)) == "misbehaviour_known"
    assert refused(custody, kept.block(3), given_up.block(3)) == "misbehaviour_known"
    assert refused(custody, given_up.block(3), kept.block(3)) == "misbehaviour_known"
    custody.submit("beijing", branch(branch(chain, "a"), "third").block(3))
    assert is_frozen(custody)


def test_r3_the_market_may_go_on_with_the_branch_that_contradicted_a_partly_delivered_block(
    custody: Custody, chain: ChainBuilder
) -> None:
    given_up, kept = branch(chain, "a"), branch(chain, "b", 2)
    custody.submit("beijing", entry_of(given_up.block(2), last=1))
    custody.submit("beijing", kept.block(3))
    assert custody.region()["frozen"]["kind"] == "wrong_parent"
    custody.run([recovery(custody, chain, 1)], QUORUM)
    for height in (2, 3):
        custody.submit("beijing", kept.block(height))
        assert custody.refused("beijing", given_up.block(2)) == "misbehaviour_known"
    assert custody.region()["anchored"]["height"] == 3


def test_r3_the_pair_that_named_the_culprits_of_a_freeze_is_judged_with_it(
    custody: Custody, chain: ChainBuilder
) -> None:
    a, b, c, d = (branch(chain, name).block(2) for name in "abcd")
    across_views = chain.seal(b.header, signers=[0, 1, 2], view=4)
    bring(custody, a, across_views)
    assert custody.region()["frozen"]["culprits"] == []
    bring(custody, c, d)
    assert custody.region()["frozen"]["culprits"] != []
    custody.run([recovery(custody, chain, 1)], QUORUM)
    for pair_of_blocks in ((a, across_views), (c, d), (d, c)):
        assert refused(custody, *pair_of_blocks) == "misbehaviour_known"
    bring(custody, a, c)
    assert is_frozen(custody)


def test_r3_what_was_judged_is_bounded(custody: Custody, chain: ChainBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions, "MAX_JUDGED", 2)
    first = branch(chain, "a").block(2)
    others = [branch(chain, f"other-{number}").block(2) for number in range(3)]
    for other in others:
        bring(custody, first, other)
        custody.run([recovery(custody, chain, 1)], QUORUM)
    assert len(custody.region()["judged"]) == 2
    assert refused(custody, first, others[2]) == "misbehaviour_known"
    bring(custody, first, others[0])
    assert is_frozen(custody)


def at_time(operation: dict[str, Any], time_ms: int) -> dict[str, Any]:
    """The operation with another time of its checkpoint."""
    root = operation["trust_root"]
    return {**operation, "trust_root": {**root, "checkpoint": {**root["checkpoint"], "time_ms": time_ms}}}


def code_of(custody: Custody, operation: dict[str, Any]) -> str:
    """The code with which governance is refused."""
    with pytest.raises(Rejected) as refusal:
        custody.run([operation], QUORUM)
    return refusal.value.code


def test_a_checkpoint_from_the_future_recovers_nothing(custody: Custody, chain: ChainBuilder) -> None:
    chain.grow(2)
    operation = recovery(custody, chain, 3)
    latest = custody.context().time_ms + MAX_HEADER_AHEAD_MS
    assert code_of(custody, at_time(operation, latest + 1)) == "checkpoint_ahead"
    assert code_of(custody, at_time(operation, latest + 10 * 365 * 86_400_000)) == "checkpoint_ahead"
    custody.run([at_time(operation, latest)], QUORUM)
    assert custody.refused("beijing", chain.extend(time_ms=latest)) == "wrong_time"
    custody.time_ms += 60_000
    record = REGIONS.decode(custody.state.values[REGIONS.path(RegionKey("beijing"))])
    assert regions.derived_state(record, custody.time_ms) == "lagging"
    custody.run([recovery(custody, chain, 3)], QUORUM)
    custody.submit("beijing", chain.block(4))
    assert custody.region()["anchored"]["height"] == 4


def test_a_recovery_leaves_the_time_of_an_anchored_block_as_its_header_has_it(
    custody: Custody, chain: ChainBuilder
) -> None:
    operation = recovery(custody, chain, 1)
    for difference in (-1, 1):
        wrong = at_time(operation, chain.block(1).header.time_ms + difference)
        assert code_of(custody, wrong) == "recovery_root"
    custody.run([operation], QUORUM)


def test_no_region_is_registered_with_a_checkpoint_from_the_future(custody: Custody) -> None:
    shanghai = ChainBuilder(network="shanghai")
    block = shanghai.extend()
    latest = custody.context().time_ms + MAX_HEADER_AHEAD_MS
    checkpoint = pbft_checkpoint(height=1, id=block.id, time_ms=latest + 1, validators=shanghai.validators)
    operation = register(shanghai, checkpoint=shanghai.trust_root(checkpoint=checkpoint).to_json()["checkpoint"])
    assert code_of(custody, operation) == "checkpoint_ahead"
    operation["region"]["checkpoint"]["time_ms"] = latest
    custody.run([operation], QUORUM)


def test_blocks_that_a_recovery_skips_are_named_for_good(
    custody: Custody, chain: ChainBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    custody.run([recovery(custody, chain, 1)], QUORUM)
    assert custody.region()["gaps"] == [], "a recovery from the anchored block skips nothing"
    chain.grow(20)
    for height, gaps in ((3, [[2, 3]]), (5, [[2, 5]]), (9, [[2, 5], [7, 9]])):
        custody.run([recovery(custody, chain, height)], QUORUM)
        assert custody.region()["gaps"] == gaps
        if height == 5:
            custody.submit("beijing", chain.block(6))
    monkeypatch.setattr(regions, "MAX_GAPS", 2)
    custody.submit("beijing", chain.block(10))
    custody.run([recovery(custody, chain, 12)], QUORUM)
    assert custody.region()["gaps"] == [[2, 9], [11, 12]], "what is told as one covers both"


def test_blocks_below_the_checkpoint_of_a_registration_are_a_gap(custody: Custody) -> None:
    shanghai = ChainBuilder(network="shanghai")
    block = shanghai.grow(4)[-1]
    checkpoint = pbft_checkpoint(height=4, id=block.id, time_ms=block.header.time_ms, validators=shanghai.validators)
    root = shanghai.trust_root(checkpoint=checkpoint).to_json()
    custody.run([register(shanghai, checkpoint=root["checkpoint"])], QUORUM)
    assert custody.region("shanghai")["gaps"] == [[1, 4]]
