"""Admission, bounds and eviction of pending transactions."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from common.core.errors import Conflict, Forbidden, Malformed, QuotaExceeded, Rejected, Unauthorised, Unavailable
from common.core.transaction import SignedTransaction, parse_envelope
from common.node.logic.node_status import NodeLimits
from common.node.logic.pool import mempool as mempool_module
from common.node.logic.pool.mempool import Mempool
from tests.unit.node.solo import Solo
from tests.unit.node.toy import SUITE, key_of, make_envelope, make_genesis, transfer

GENESIS = make_genesis(["node-0"], max_expiry_blocks=100, max_block_operations=50)


def envelope(nonce: str, amount: int = 1, **options: Any) -> bytes:
    return transfer(GENESIS, nonce, amount, **{"expires_at_height": 50, **options})


def key_text(client: str) -> str:
    return SUITE.format_key(key_of(client))


def make_pool(**limits: int) -> tuple[Solo, Mempool]:
    solo = Solo(GENESIS)
    return solo, Mempool(GENESIS, solo.application, solo.chain, solo.executor.next_block, NodeLimits(**limits))


def parsed(*envelopes: bytes) -> list[SignedTransaction]:
    return [parse_envelope(item, SUITE) for item in envelopes]


def code_of(call: Callable[[], object], kind: type[Rejected]) -> str:
    with pytest.raises(kind) as caught:
        call()
    return caught.value.code


def test_admission_is_idempotent() -> None:
    _, pool = make_pool()
    assert pool.admit(envelope("a")).fresh
    again = pool.admit(envelope("a"))
    assert (again.fresh, again.committed, len(pool)) == (False, False, 1)


def test_committed_transaction_is_known_and_not_pending() -> None:
    solo, pool = make_pool()
    solo.extend([envelope("a")])
    admission = pool.admit(envelope("a"))
    assert (admission.fresh, admission.committed, len(pool)) == (False, True, 0)


def test_rule_15_a_signature_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[str] = []
    original = mempool_module.verify_signatures  # type: ignore[attr-defined]

    def counting(tx: SignedTransaction, suite: object) -> None:
        verified.append(tx.nonce)
        original(tx, SUITE)

    monkeypatch.setattr(mempool_module, "verify_signatures", counting)
    _, pool = make_pool()
    pool.admit(envelope("a"))
    pool.admit(envelope("a"))
    pool.add_body(envelope("a"))
    pool.add_body(envelope("b"))
    pool.admit(envelope("b"))
    assert verified == ["a", "b"]


def test_bad_signature_wrong_chain_and_missing_role_are_refused() -> None:
    _, pool = make_pool()
    good = envelope("a")
    position = good.index(b'"signatures":["') + len(b'"signatures":["')
    flipped = good[:position] + (b"0" if good[position : position + 1] != b"0" else b"1") + good[position + 1 :]
    assert code_of(lambda: pool.admit(flipped), Unauthorised) == "bad_signature"
    assert code_of(lambda: pool.add_body(flipped), Unauthorised) == "bad_signature"
    other = make_genesis(["node-1"])
    assert code_of(lambda: pool.admit(transfer(other, "a")), Malformed) == "wrong_genesis"
    assert code_of(lambda: pool.admit(envelope("a", client="stranger")), Forbidden) == "role_missing"
    unknown = make_envelope(GENESIS, "u", [{"type": "toy.unknown"}], expires_at_height=50)
    assert code_of(lambda: pool.admit(unknown), Malformed) == "operation_unknown"
    assert len(pool) == 0


def test_n4_replayed_gapped_and_expired_transactions_are_refused() -> None:
    solo, pool = make_pool()
    pool.admit(envelope("a", 1))
    assert code_of(lambda: pool.admit(envelope("a", 2)), Conflict) == "nonce_pending"
    solo.extend([envelope("b", 1)])
    assert code_of(lambda: pool.admit(envelope("b", 2)), Conflict) == "nonce_used"
    assert code_of(lambda: pool.admit(envelope("c", expires_at_height=1)), Conflict) == "transaction_expired"
    assert code_of(lambda: pool.admit(envelope("c", expires_at_height=103)), Rejected) == "expiry_too_far"
    pool.admit(envelope("nonces need no order 9"))
    pool.admit(envelope("nonces need no order 1"))


def test_n3_number_bytes_and_the_share_of_one_signer_are_bounded() -> None:
    _, pool = make_pool(mempool_signer_transactions=2)
    pool.admit(envelope("a"))
    pool.admit(envelope("b"))
    assert code_of(lambda: pool.admit(envelope("c")), QuotaExceeded) == "signer_quota"
    pool.admit(envelope("c", client="client-2"))
    _, pool = make_pool(mempool_transactions=1)
    pool.admit(envelope("a"))
    assert code_of(lambda: pool.admit(envelope("b", client="client-2")), Unavailable) == "mempool_full"
    _, pool = make_pool(mempool_bytes=5_000)
    pool.admit(envelope("a"))
    assert code_of(lambda: pool.admit(envelope("b")), Unavailable) == "mempool_full"


def test_n3_fetched_bodies_are_bounded_and_the_oldest_go() -> None:
    """Never fewer than one full block's, or a replica would drop the first before the last arrives, for ever."""
    genesis = make_genesis(["node-0"], max_block_bytes=1_200, max_block_operations=3)
    solo = Solo(genesis)
    pool = Mempool(genesis, solo.application, solo.chain, solo.executor.next_block, NodeLimits())
    bodies = [transfer(genesis, f"n{at}") for at in range(20)]
    keys = [pool.add_body(body).envelope_hash for body in bodies]
    kept = [pool.resolve(key) is not None for key in keys]
    assert kept == sorted(kept), "the oldest go first"
    assert sum([len(body) for body, held in zip(bodies, kept, strict=True) if held]) >= 1_200
    assert not kept[0]


def test_n3_what_is_counted_is_what_memory_takes() -> None:
    """The bound is on parsed transactions, several times their envelopes: a backlog may not take more than it says."""
    _, pool = make_pool()
    envelopes = [
        make_envelope(
            GENESIS,
            f"n{number}",
            [
                {"type": "toy.transfer", "source": f"s{index}", "target": f"t{number}-{index}", "amount": index}
                for index in range(50)
            ],
            expires_at_height=50,
        )
        for number in range(40)
    ]
    tracemalloc.start()
    for data in envelopes:
        pool.admit(bytes(bytearray(data)))
    taken_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken_bytes < pool.size_bytes < 4 * taken_bytes


def test_quota_comes_back_when_transactions_leave() -> None:
    solo, pool = make_pool(mempool_signer_transactions=1)
    pool.admit(envelope("a"))
    solo.extend([envelope("a")])
    pool.committed(1, parsed(envelope("a")))
    assert (len(pool), pool.size_bytes) == (0, 0)
    pool.admit(envelope("b"))


def test_commit_drops_whatever_used_the_nonce() -> None:
    """Two transactions with one nonce: the block's choice wins, and the pending rival goes (protocol rule 9)."""
    solo, pool = make_pool()
    pool.admit(envelope("a", 1))
    rival = envelope("a", 2)
    solo.extend([rival])
    pool.committed(1, parsed(rival))
    assert len(pool) == 0
    assert pool.resolve(parsed(rival)[0].envelope_hash) is not None, "still served to peers that validate the block"
    pool.committed(2, [])
    assert pool.resolve(parsed(rival)[0].envelope_hash) is None


def test_expired_transactions_leave_with_the_block_that_passes_them() -> None:
    solo, pool = make_pool()
    first, second = envelope("a", expires_at_height=1), envelope("b", expires_at_height=2)
    pool.admit(first)
    pool.admit(second)
    solo.extend([])
    pool.committed(1, [])
    assert not pool.is_pending(parsed(first)[0].id)
    assert pool.has_expired(parsed(first)[0].id)
    assert pool.is_pending(parsed(second)[0].id)
    solo.extend([])
    pool.committed(2, [])
    assert len(pool) == 0
    assert pool.has_expired(parsed(second)[0].id)


def test_selection_is_first_in_first_out_within_the_bounds() -> None:
    _, pool = make_pool()
    envelopes = [envelope(f"n{at}") for at in range(5)]
    for item in envelopes:
        pool.admit(item)
    assert [tx.nonce for tx in pool.select(3, 10**6)] == ["n0", "n1", "n2"]
    assert [tx.nonce for tx in pool.select(50, 2 * len(envelopes[0]) + 1)] == ["n0", "n1"]
    assert [tx.nonce for tx in pool.select(1, 1)] == ["n0"], "a block holds at least one"
    assert list(pool.oldest(2 * len(envelopes[0]) + 1)) == envelopes[:2]


def test_n3_a_signer_that_floods_waits_behind_itself() -> None:
    """Two honest signers come last and are in the next block; whoever was served goes to the end of the row."""
    solo, pool = make_pool()
    flood = [envelope(f"flood {number}", client="client-1") for number in range(30)]
    honest = [envelope("honest", client=f"client-{number}") for number in (2, 3)]
    for data in (*flood, *honest):
        pool.admit(data)
    chosen = pool.select(4, 10**6)
    assert [tx.nonce for tx in chosen] == ["flood 0", "honest", "honest", "flood 1"]
    pool.admit(envelope("later", client="client-2"))
    solo.extend([tx.envelope for tx in chosen[:2]])
    pool.committed(1, chosen[:2])
    assert [tx.signers[0] for tx in pool.select(3, 10**6)] == [
        key_text("client-3"),
        key_text("client-1"),
        key_text("client-2"),
    ]
    assert len(pool.select(50, 10**6)) == 31, "everything else follows"


def tampered(data: bytes) -> bytes:
    """The same transaction under a signature that does not verify."""
    position = data.index(b'"signatures":["') + len(b'"signatures":["')
    digit = b"0" if data[position : position + 1] != b"0" else b"1"
    return data[:position] + digit + data[position + 1 :]


def test_m6_held_gossip_counts_for_nothing_until_a_proposal_names_it() -> None:
    _, pool = make_pool()
    (tx,) = parsed(envelope("a"))
    assert pool.hold(tx.envelope_hash, tx.envelope)
    assert not pool.hold(tx.envelope_hash, tx.envelope)
    assert len(pool) == 0
    assert pool.resolve(tx.envelope_hash) is None
    found, missing = pool.resolve_all([tx.envelope_hash])
    assert (found, missing) == ([tx], [])
    assert len(pool) == 1
    assert pool.release(tx.envelope_hash) is None


def test_m1_a_held_envelope_with_a_bad_signature_is_missing_to_a_proposal() -> None:
    _, pool = make_pool()
    bad = tampered(envelope("a"))
    key = parsed(bad)[0].envelope_hash
    assert pool.hold(key, bad)
    assert pool.resolve_all([key]) == ([], [key])
    assert len(pool) == 0


def test_m1_a_held_envelope_is_verified_even_if_its_transaction_is_pending_under_another_signature() -> None:
    _, pool = make_pool()
    good = envelope("a")
    pool.admit(good)
    bad = tampered(good)
    key = parsed(bad)[0].envelope_hash
    assert pool.hold(key, bad)
    assert pool.resolve_all([key]) == ([], [key])


def test_n3_held_gossip_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    _, pool = make_pool()
    monkeypatch.setattr(mempool_module, "MAX_HELD_BYTES", 6_000)
    kept = [pool.hold(tx.envelope_hash, tx.envelope) for tx in parsed(*(envelope(str(n)) for n in range(20)))]
    assert kept[0]
    assert not kept[-1]
    released = [pool.release(tx.envelope_hash) for tx in parsed(*(envelope(str(n)) for n in range(20)))]
    assert sum(item is not None for item in released) == sum(kept)
    assert pool.hold(*((tx := parsed(envelope("z"))[0]).envelope_hash, tx.envelope))
