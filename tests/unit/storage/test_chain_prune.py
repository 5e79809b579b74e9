"""Pruning: what is given up is gone, what is kept answers as before."""

from __future__ import annotations

import random

import pytest

from common.core.errors import Gone, RuleBroken
from common.node.store import schema
from common.node.store.chain_prune import prune
from common.node.store.storage import MemoryStore
from tests.support.stored_chain import TwinChain

KEYS = [b"key-%d" % number for number in range(10)]


def long_chain() -> tuple[MemoryStore, TwinChain]:
    """Twenty blocks of random changes, deletions among them."""
    source = random.Random(9)
    store = MemoryStore()
    twin = TwinChain.start(store, {KEYS[0]: b"genesis"})
    for height in range(1, 21):
        keys = source.sample(KEYS, 3)
        twin.commit({key: None if source.random() < 0.4 else b"%d" % height for key in keys}, transactions=3)
    return store, twin


@pytest.mark.parametrize("floor", [1, 7, 20])
def test_reads_above_the_floor_answer_as_before_and_below_are_gone(floor: int) -> None:
    store, twin = long_chain()
    entries = len(list(store.scan(b"")))
    removed = prune(twin.chain, floor)
    assert len(list(store.scan(b""))) == entries - removed + 1
    twin.reopen(store)
    chain = twin.chain
    chain.check_consistency(deep=True)
    assert chain.pruning_floor() == floor
    for height in range(21):
        if height < floor:
            for read in (chain.block, chain.receipts, chain.snapshots):
                if height:
                    with pytest.raises(Gone):
                        read(height)
            with pytest.raises(Gone):
                chain.state_at(KEYS[0], height)
            with pytest.raises(Gone):
                chain.state_scan(b"", None, 10, height=height)
        else:
            assert chain.block(height) == twin.blocks[height]
            assert chain.receipts(height) == twin.receipts[height]
            assert chain.snapshots(height) == twin.snapshots[height]
            assert chain.state_scan(b"", None, 99, height=height) == sorted(twin.states[height].items())
    for height in range(1, 21):
        assert chain.header(height).height == chain.certificate(height).height == height
    place = chain.transaction(twin.receipts[1][0].tx_id)
    assert place is not None
    if floor > 1:
        with pytest.raises(Gone):
            chain.receipt_of(twin.receipts[1][0].tx_id)


def test_everything_superfluous_is_removed() -> None:
    store, twin = long_chain()
    prune(twin.chain, 20)
    for kind in (schema.ENVELOPES, schema.RECEIPTS):
        assert len(list(store.scan(kind))) == 1  # one page of the newest block
    assert list(store.scan(schema.HISTORY)) == []
    assert prune(twin.chain, 20) == 0


def test_the_chain_grows_on_after_pruning() -> None:
    store, twin = long_chain()
    prune(twin.chain, 15)
    for height in range(21, 26):
        twin.commit({KEYS[height % 10]: b"%d" % height, KEYS[3]: None})
    for height in range(15, 26):
        assert twin.chain.state_scan(b"", None, 99, height=height) == sorted(twin.states[height].items())
    prune(twin.chain, 22)
    for height in range(22, 26):
        assert twin.chain.state_scan(b"", None, 99, height=height) == sorted(twin.states[height].items())
    twin.reopen(store)
    twin.chain.check_consistency(deep=True)


def test_the_tip_is_never_pruned_and_the_floor_never_falls() -> None:
    _, twin = long_chain()
    with pytest.raises(RuleBroken):
        prune(twin.chain, 21)
    prune(twin.chain, 9)
    prune(twin.chain, 5)
    assert twin.chain.pruning_floor() == 9


def test_s1_crash_while_pruning_leaves_a_sound_chain() -> None:
    store, twin = long_chain()
    store.write([(schema.PRUNED, schema.u64(9))], sync=True)
    twin.reopen(store)
    twin.chain.check_consistency(deep=True)
    with pytest.raises(Gone):
        twin.chain.block(8)
    assert prune(twin.chain, 9) > 0
    twin.chain.check_consistency(deep=True)
