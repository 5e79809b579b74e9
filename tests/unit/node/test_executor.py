"""Execution of blocks: what makes a block invalid, what is included as rejected, what the roots commit to."""

from __future__ import annotations

from typing import Any

import pytest

from common.core import merkle
from common.core.codec import canonical_json
from common.core.genesis import Genesis
from common.core.header import Header
from common.core.snapshot import snapshot_root
from common.core.state_proof import verify_state_proof
from common.core.transaction import parse_envelope
from common.node.logic.execution.executor import COMPARED_RESULTS, BlockInvalid, ExecutionFailed
from common.node.logic.execution.used_nonces import decode_bucket, nonce_key
from tests.support.refusals import refused
from tests.unit.node.solo import Solo
from tests.unit.node.toy import SUITE, balance_key, key_of, make_envelope, make_genesis, transfer


@pytest.fixture
def genesis() -> Genesis:
    return make_genesis(["node-0"], max_block_operations=50, max_block_bytes=20_000, max_expiry_blocks=100)


@pytest.fixture
def solo(genesis: Genesis) -> Solo:
    return Solo(genesis)


def near(genesis: Genesis, nonce: str, amount: int = 1, **options: Any) -> bytes:
    """A transfer whose expiry is within the small bound of this chain."""
    return transfer(genesis, nonce, amount, **{"expires_at_height": 50, **options})


def refusal(solo: Solo, envelopes: list[bytes]) -> str:
    with pytest.raises(BlockInvalid) as caught:
        solo.execute(envelopes)
    return caught.value.code


def header_refusal(solo: Solo, header: Header, envelopes: list[bytes]) -> str:
    hashes = [parse_envelope(envelope, SUITE).envelope_hash for envelope in envelopes]
    with pytest.raises(BlockInvalid) as caught:
        solo.executor.check_header(header, hashes)
    return caught.value.code


def test_header_commits_to_what_its_own_block_did(solo: Solo, genesis: Genesis) -> None:
    envelopes = [near(genesis, "a", 5), near(genesis, "b", 7)]
    block, _ = solo.extend(envelopes)
    header, chain = block.header, solo.chain
    assert header.tx_root == merkle.root(SUITE.hash, [parse_envelope(e, SUITE).envelope_hash for e in envelopes])
    assert header.receipt_root == merkle.root(SUITE.hash, [receipt.encode() for receipt in chain.receipts(1)])
    assert header.snapshot_root == snapshot_root(SUITE, chain.snapshots(1))
    assert header.snapshot_count == 2
    proof = chain.state_proof(balance_key("alice"))
    verify_state_proof(SUITE, header.state_root, balance_key("alice"), canonical_json(12), proof)


def test_rule_11_rejection_burns_the_nonce_and_changes_nothing_else(solo: Solo, genesis: Genesis) -> None:
    before = solo.chain.state_get(balance_key("bank"))
    poor = near(genesis, "x", 2_000_000)
    solo.extend([poor])
    (receipt,) = solo.chain.receipts(1)
    assert (receipt.status, receipt.code, receipt.operation_index) == ("rejected", "balance_too_low", 0)
    assert receipt.parameters == {"available": 1_000_000}
    assert solo.chain.state_get(balance_key("bank")) == before
    assert solo.chain.snapshots(1) == []
    assert refusal(solo, [poor]) == "block_nonce_used"


def test_rule_11_rejected_transaction_does_not_undo_its_neighbours(solo: Solo, genesis: Genesis) -> None:
    solo.extend([near(genesis, "a", 10), near(genesis, "b", 2_000_000), near(genesis, "c", 20)])
    assert [receipt.status for receipt in solo.chain.receipts(1)] == ["applied", "rejected", "applied"]
    assert solo.chain.state_get(balance_key("bank")) == canonical_json(1_000_000 - 30)


def test_n4_nonce_is_used_once_within_and_across_blocks(solo: Solo, genesis: Genesis) -> None:
    first, other_content = near(genesis, "n", 1), near(genesis, "n", 2)
    assert refusal(solo, [first, other_content]) == "block_nonce_used"
    solo.extend([first])
    assert refusal(solo, [other_content]) == "block_nonce_used"
    solo.extend([near(genesis, "n", 1, client="client-2")])


def test_n4_expired_and_far_expiry_make_the_block_invalid(solo: Solo, genesis: Genesis) -> None:
    solo.extend([near(genesis, "a")])
    assert refusal(solo, [near(genesis, "b", expires_at_height=1)]) == "block_transaction_expired"
    assert refusal(solo, [near(genesis, "b", expires_at_height=103)]) == "block_expiry_too_far"
    solo.execute([near(genesis, "b", expires_at_height=2)])
    solo.execute([near(genesis, "b", expires_at_height=102)])


def test_c10_transaction_of_another_genesis_or_network_makes_the_block_invalid(solo: Solo) -> None:
    other = make_genesis(["node-0", "node-1"])
    assert refusal(solo, [transfer(other, "a")]) == "block_wrong_genesis"


def test_rule_14_limits_of_bytes_and_operations(solo: Solo, genesis: Genesis) -> None:
    one = {"type": "toy.open", "account": "a"}
    many = make_envelope(genesis, "many", [one] * 51, expires_at_height=50)
    assert refusal(solo, [many]) == "block_too_many_operations"
    wide = {"type": "toy.open", "account": "a", "padding": "x" * 21_000}
    assert refusal(solo, [make_envelope(genesis, "wide", [wide], expires_at_height=50)]) == "block_too_large"


def test_c14_wrong_parent_height_chain_or_set_is_refused(solo: Solo, genesis: Genesis) -> None:
    envelopes = [near(genesis, "a")]
    expected = {
        "parent_id": (bytes(32), "block_wrong_parent"),
        "height": (2, "block_wrong_height"),
        "network": ("elsewhere", "block_wrong_chain"),
        "genesis_id": (bytes(32), "block_wrong_chain"),
        "protocol_version": (2, "block_protocol_version"),
        "validators_hash": (bytes(32), "block_wrong_validators"),
        "proposer": (1, "block_unknown_proposer"),
        "tx_root": (bytes(32), "block_body_mismatch"),
        "tx_count": (2, "block_body_mismatch"),
    }
    for name, (value, code) in expected.items():
        block = solo.block(envelopes, **{name: value})  # type: ignore[arg-type]
        assert header_refusal(solo, block.header, envelopes) == code


@pytest.mark.parametrize("name", COMPARED_RESULTS)
def test_wrong_results_in_a_header_are_refused_by_name(solo: Solo, genesis: Genesis, name: str) -> None:
    envelopes = [near(genesis, "a")]
    block = solo.block(envelopes, **{name: 7 if name.endswith("_count") else bytes(32)})  # type: ignore[arg-type]
    with refused(f"block_{name}", BlockInvalid):
        solo.executor.check_results(block.header, solo.execute(envelopes))


def test_c15_time_must_grow_and_an_empty_block_waits_for_the_heartbeat(solo: Solo, genesis: Genesis) -> None:
    tip_ms = solo.chain.tip().time_ms
    envelopes = [near(genesis, "a")]
    assert header_refusal(solo, solo.block(envelopes, tip_ms).header, envelopes) == "block_time_not_after_parent"
    solo.executor.check_header(
        solo.block(envelopes, tip_ms + 1).header, [parse_envelope(envelopes[0], SUITE).envelope_hash]
    )
    heartbeat_ms = genesis.parameters.heartbeat_ms
    assert header_refusal(solo, solo.block([], tip_ms + heartbeat_ms - 1).header, []) == "block_empty_too_early"
    solo.executor.check_header(solo.block([], tip_ms + heartbeat_ms).header, [])


def test_c15_only_a_fresh_proposal_is_held_against_clock_and_leader(solo: Solo, genesis: Genesis) -> None:
    tip_ms, ahead_ms = solo.chain.tip().time_ms, genesis.parameters.max_clock_ahead_ms
    header = solo.block([near(genesis, "a")], tip_ms + ahead_ms + 1).header
    with refused("block_time_ahead", BlockInvalid):
        solo.executor.check_fresh(header, 0, tip_ms)
    solo.executor.check_fresh(header, 0, tip_ms + 1)
    with refused("block_wrong_proposer", BlockInvalid):
        solo.executor.check_fresh(header, 1, tip_ms + 1)


def test_e7_rejected_block_does_not_stand_in_for_the_valid_one_with_the_same_id(solo: Solo, genesis: Genesis) -> None:
    """The same header with a mangled body (an odd leaf doubled, another envelope) is refused; then the valid one
    passes.
    """
    good = [near(genesis, "a"), near(genesis, "b"), near(genesis, "c")]
    block = solo.block(good)
    for bad in ([*good, good[2]], good[:2], [good[1], good[0], good[2]], [*good[:2], near(genesis, "d")]):
        assert header_refusal(solo, block.header, bad) == "block_body_mismatch"
    hashes = [parse_envelope(envelope, SUITE).envelope_hash for envelope in good]
    solo.executor.check_header(block.header, hashes)
    solo.executor.check_results(block.header, solo.execute(good))


def test_e7_executions_are_kept_by_content_and_time(solo: Solo, genesis: Genesis) -> None:
    first, second = [near(genesis, "a", 1)], [near(genesis, "a", 2)]
    assert solo.execute(first) is solo.execute(first)
    assert solo.execute(first) is not solo.execute(first, solo.chain.tip().time_ms + 1)
    assert solo.execute(second).tree_update.root != solo.execute(first).tree_update.root
    kept = solo.execute(first)
    solo.extend([near(genesis, "other")])
    assert solo.execute(first) is not kept


def test_bug_in_the_application_is_not_a_receipt(solo: Solo, genesis: Genesis) -> None:
    crash = make_envelope(genesis, "boom", [{"type": "toy.crash"}], expires_at_height=50)
    with pytest.raises(ExecutionFailed) as caught:
        solo.execute([near(genesis, "a"), crash])
    assert caught.value.tx is not None
    assert caught.value.tx.nonce == "boom"


def test_n6_a_bug_that_quotes_a_client_writes_one_plain_line(solo: Solo, genesis: Genesis) -> None:
    operation = {"type": "toy.crash", "text": "x\n2026-01-01 ERROR forged line \u202e"}
    with pytest.raises(ExecutionFailed) as caught:
        solo.execute([make_envelope(genesis, "boom", [operation], expires_at_height=50)])
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()


def test_validator_change_takes_effect_at_the_next_height(solo: Solo, genesis: Genesis) -> None:
    change = {"type": "toy.validators", "names": ["node-0", "node-1"]}
    block, _ = solo.extend([make_envelope(genesis, "v", [change], expires_at_height=50)])
    assert block.header.next_validators_hash != block.header.validators_hash
    assert solo.chain.validators(1).size == 1
    assert solo.chain.validators(2).size == 2
    following, _ = solo.extend([near(genesis, "a")], ["node-0", "node-1"])
    assert following.header.validators_hash == block.header.next_validators_hash


def test_rule_12_used_nonces_are_chained_hashes_in_sixteen_authenticated_leaves(solo: Solo, genesis: Genesis) -> None:
    signer = SUITE.format_key(key_of("client-1"))
    envelopes = [near(genesis, f"n{at}") for at in range(40)]
    expected: dict[bytes, tuple[int, bytes]] = {}
    for block in (envelopes[:25], envelopes[25:]):
        solo.extend(block)
        entered: dict[bytes, list[bytes]] = {}
        for envelope in block:
            tx = parse_envelope(envelope, SUITE)
            key = nonce_key(SUITE, signer, tx.nonce)
            entered.setdefault(b"nonces/" + key.hex()[:1].encode(), []).append(key + tx.id)
        for leaf, entries in entered.items():
            count, chain = expected.get(leaf, (0, bytes(32)))
            step = SUITE.tagged_hash("tongjian/nonce-chain/v1", chain + b"".join(entries))
            expected[leaf] = (count + len(entries), step)
    stored = dict(solo.chain.state_scan(b"nonces/", None, 100))
    assert {key: decode_bucket(value) for key, value in stored.items()} == expected
    assert 2 <= len(stored) <= 16
