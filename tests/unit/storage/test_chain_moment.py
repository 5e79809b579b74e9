"""One moment of a chain: which block a time names, what is read there, and what is proven of it."""

from __future__ import annotations

import pytest

from common.core.errors import Malformed, NotFound
from common.core.state_proof import verify_state_proof
from common.node.store.chain_moment import MAX_PROVEN, ChainMoment, height_at
from common.node.store.chain_prune import keep_past_trees
from common.node.store.chain_store import ChainStore
from common.node.store.memory_store import MemoryStore
from tests.support.executed_chain import SUITE, ExecutedChain

BLOCKS = 6
FADING = b"fading"
"""Holds the height after blocks 1, 2, 4, 5; absent after 3 and 6."""


@pytest.fixture(scope="module")
def chain() -> ChainStore:
    executed = ExecutedChain(MemoryStore())
    keep_past_trees(executed.chain, True, lambda entries: None)
    executed.grow(BLOCKS)
    return executed.chain


def test_a_time_names_the_last_block_that_is_not_later(chain: ChainStore) -> None:
    genesis_ms = chain.genesis.time_ms
    times = [genesis_ms, *(chain.header(height).time_ms for height in range(1, BLOCKS + 1))]
    for height, time_ms in enumerate(times):
        assert height_at(chain, time_ms) == height
        assert ChainMoment(chain, height).time_ms == time_ms
        if height:
            assert height_at(chain, time_ms - 1) == height - 1
    assert height_at(chain, times[-1] + 10**9) == height_at(chain, None) == BLOCKS
    with pytest.raises(NotFound, match="as_of_before_genesis"):
        height_at(chain, genesis_ms - 1)


def test_what_is_read_at_a_height_is_proven_by_the_header_of_that_height(chain: ChainStore) -> None:
    for height in range(1, BLOCKS + 1):
        moment = ChainMoment(chain, height, proof=True)
        value = moment.read_proven(FADING)
        assert value == (b"%d" % height if height % 3 else None)
        assert moment.read(b"account/bank") == chain.state_at(b"account/bank", height)
        assert moment.read_below(b"account/", None, 99) == chain.state_scan(b"account/", None, 99, height)
        ((key, stated, proof),) = moment.proofs()
        assert (key, stated) == (FADING, value)
        verify_state_proof(SUITE, chain.header(height).state_root, key, stated, proof)


def test_without_proofs_nothing_is_noted_and_nothing_bounds_the_answer(chain: ChainStore) -> None:
    moment = ChainMoment(chain)
    for number in range(MAX_PROVEN + 1):
        moment.read_proven(b"account/%d" % number)
    assert moment.proven is None
    assert moment.room > 10**9
    assert list(moment.proofs()) == []


def test_one_answer_proves_a_bounded_number_of_values(chain: ChainStore) -> None:
    moment = ChainMoment(chain, proof=True, most=2)
    for key in (b"account/bank", b"account/nobody", b"account/bank"):
        moment.read_proven(key)
    assert moment.room == 0
    moment.read(FADING)
    with pytest.raises(Malformed, match="proof_limit") as refusal:
        moment.read_proven(FADING)
    assert refusal.value.parameters == {"limit": 2}
    assert [key for key, _, _ in moment.proofs()] == [b"account/bank", b"account/nobody"]


def test_a_moment_stays_while_blocks_are_committed() -> None:
    executed = ExecutedChain(MemoryStore())
    executed.grow(1)
    moment = ChainMoment(executed.chain)
    executed.grow(1)
    assert moment.height == 1
    assert moment.read(FADING) == b"1"


def test_a_height_above_the_tip_is_refused_when_something_is_read(chain: ChainStore) -> None:
    with pytest.raises(NotFound, match="height_unknown"):
        ChainMoment(chain, BLOCKS + 1).read(FADING)
