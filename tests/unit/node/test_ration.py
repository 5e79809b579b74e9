"""What serving one peer may cost, and what remembering it may cost (attack N3)."""

from __future__ import annotations

from common.node.logic.ration import BURST_BYTES, BYTES_PER_MS, REMEMBERED, Rations

REFILLED_MS = BURST_BYTES // BYTES_PER_MS + 1


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_n3_an_exhausted_ration_refills_with_time_alone() -> None:
    rations = Rations()
    assert rations.allows(key(1), 0)
    rations.take(key(1), BURST_BYTES + BYTES_PER_MS)
    assert not rations.allows(key(1), 1)
    assert rations.allows(key(2), 1), "each peer has its own"
    assert rations.allows(key(1), 2)


def test_n3_a_peer_that_comes_under_ever_new_keys_leaves_nothing_behind() -> None:
    rations = Rations()
    for number in range(10 * REMEMBERED):
        assert rations.allows(key(number), number * REFILLED_MS)
        rations.take(key(number), BURST_BYTES)
    assert len(rations._left) <= REMEMBERED


def test_n3_to_be_one_of_many_refills_nothing() -> None:
    rations = Rations()
    assert rations.allows(key(0), 0)
    rations.take(key(0), 2 * BURST_BYTES)
    for number in range(1, 2 * REMEMBERED):
        rations.allows(key(number), 0)
    assert not rations.allows(key(0), REFILLED_MS // 2)
