"""The relay's planner: chunks continue exactly where the custody chain is, fit, and add up (attacks R6, R7, R9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from common.core.codec import canonical_json
from crosslink.lightclient.delivery import MAX_BLOCKS, MAX_OPERATION_BYTES, MAX_SNAPSHOTS, Delivery
from crosslink.lightclient.pbft.client import PBFT
from crosslink.lightclient.reading import Read
from crosslink.relay import planner
from crosslink.relay.checking import check_blocks
from crosslink.relay.planner import (
    LIVE_LAG_BLOCKS,
    MIN_BUDGET_BYTES,
    SOFT_SNAPSHOTS,
    AnchoredPosition,
    Chunk,
    FetchedBlock,
    Partial,
    Share,
    Undeliverable,
    linger_ms,
    next_budget,
    plan_chunk,
    plan_read,
    share,
    still_due,
)
from tests.support.chains import START_MS, ChainBuilder, sample_snapshot
from tests.support.relay_world import ModelCustody, honest

NOW_MS = START_MS + 3600_000


def prove(fetched: FetchedBlock) -> Sequence[bytes]:
    return PBFT.prove_objects(fetched.block.commitments, fetched.snapshots)


def fetched(chain: ChainBuilder) -> tuple[FetchedBlock, ...]:
    checked = check_blocks(chain.client_state(), tuple(honest(block) for block in chain.blocks), NOW_MS)
    assert checked.fault is None
    return checked.blocks


def chain_with(counts: list[int], note: str = "") -> ChainBuilder:
    chain = ChainBuilder()
    for height, count in enumerate(counts, start=1):
        chain.extend([sample_snapshot(f"o:{height}:{index}", note=note) for index in range(count)])
    return chain


@settings(max_examples=60)
@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=12),
    size=st.integers(1, 9_000),
    snapshots=st.integers(1, 20),
)
def test_r6_chunks_deliver_every_block_once_in_order_whatever_the_limits(
    counts: list[int], size: int, snapshots: int
) -> None:
    chain = chain_with(counts)
    blocks = fetched(chain)
    custody = ModelCustody([chain], lambda: NOW_MS)
    position = AnchoredPosition(0, chain.id_at(0))
    for _ in range(100):
        chunk = plan_chunk(prove, position, blocks, Share(size, snapshots))
        if chunk is None:
            break
        assert isinstance(chunk, Chunk)
        operation = Delivery("beijing", chunk.blocks).to_operation()
        assert len(canonical_json(operation)) <= chunk.size
        assert custody.apply(operation).applied
        region = custody.regions["beijing"]
        assert region.anchored == max(position.anchored_height, chunk.reaches)
        position = AnchoredPosition(region.anchored, region.state.block_id, region.partial)
    assert custody.complete(chain)


def test_r6_block_above_the_hard_limit_is_split_and_every_part_fits() -> None:
    chain = chain_with([2, 120, 1], note='"' * 30_000)
    blocks = fetched(chain)
    custody = ModelCustody([chain], lambda: NOW_MS)
    position, parts = AnchoredPosition(0, chain.id_at(0)), 0
    while not custody.complete(chain):
        chunk = plan_chunk(prove, position, blocks, Share())
        assert isinstance(chunk, Chunk)
        assert custody.apply(Delivery("beijing", chunk.blocks).to_operation()).applied
        region = custody.regions["beijing"]
        parts += region.partial is not None
        position = AnchoredPosition(region.anchored, region.state.block_id, region.partial)
    assert parts >= 4
    assert max(custody.sizes) <= MAX_OPERATION_BYTES


def test_block_with_more_snapshots_than_an_operation_may_have_is_split() -> None:
    chain = chain_with([MAX_SNAPSHOTS + 10])
    chunk = plan_chunk(prove, AnchoredPosition(0, chain.id_at(0)), fetched(chain), Share(size=10**9, snapshots=10**9))
    assert isinstance(chunk, Chunk)
    assert chunk.snapshots <= MAX_SNAPSHOTS
    assert chunk.reaches == 0


def test_many_empty_blocks_travel_together_up_to_the_bound() -> None:
    chain = chain_with([0] * (MAX_BLOCKS + 20))
    chunk = plan_chunk(prove, AnchoredPosition(0, chain.id_at(0)), fetched(chain), Share())
    assert isinstance(chunk, Chunk)
    assert len(chunk.blocks) == chunk.reaches == MAX_BLOCKS


def test_snapshot_that_fits_no_operation_is_named() -> None:
    block = fetched(chain_with([1]))[0]
    huge = replace(block, snapshots=(b'"' * MAX_OPERATION_BYTES,))
    found = plan_chunk(prove, AnchoredPosition(0, block.block.parent), (huge,), Share())
    assert isinstance(found, Undeliverable)
    assert (found.height, found.index) == (1, 0)


def test_r7_r9_what_is_anchored_meanwhile_is_left_out_and_gaps_end_a_chunk() -> None:
    chain = chain_with([1] * 6)
    blocks = fetched(chain)
    chunk = plan_chunk(prove, AnchoredPosition(4, chain.id_at(4)), blocks, Share())
    assert isinstance(chunk, Chunk)
    assert (len(chunk.blocks), chunk.reaches, chunk.reaches_id) == (2, 6, chain.tip_id)
    assert plan_chunk(prove, AnchoredPosition(6, chain.id_at(6)), blocks, Share()) is None
    assert still_due(AnchoredPosition(0, chain.id_at(0)), blocks[1:]) == ()
    assert [block.height for block in still_due(AnchoredPosition(1, chain.id_at(1)), (*blocks[:3], blocks[4]))] == [
        2,
        3,
    ]


def test_r9_half_delivered_block_is_continued_with_proofs() -> None:
    chain = chain_with([5, 2])
    chunk = plan_chunk(prove, AnchoredPosition(0, chain.id_at(1), Partial(1, 3)), fetched(chain), Share())
    assert isinstance(chunk, Chunk)
    assert (chunk.blocks[0].header, chunk.blocks[0].height) == (None, 1)
    assert [item.index for item in chunk.blocks[0].snapshots] == [3, 4]
    assert all(item.proof is not None for item in chunk.blocks[0].snapshots)
    assert chunk.reaches == 2


@given(own=st.integers(0, 10**6), others=st.lists(st.integers(0, 10**6), max_size=8), budget=st.integers(0, 10**7))
def test_backfill_shares_one_operation_while_anybody_is_live(own: int, others: list[int], budget: int) -> None:
    limits = share(own, others, budget)
    assert MIN_BUDGET_BYTES <= limits.size <= MAX_OPERATION_BYTES
    assert 1 <= limits.snapshots <= SOFT_SNAPSHOTS
    everyone = [own, *others]
    backfilling = [lag for lag in everyone if not planner.is_live(lag)]
    if backfilling and len(backfilling) < len(everyone) and len(backfilling) <= MAX_OPERATION_BYTES // MIN_BUDGET_BYTES:
        total = 0
        for index, lag in enumerate(everyone):
            if not planner.is_live(lag):
                total += share(lag, everyone[:index] + everyone[index + 1 :], budget).size
        assert total <= MAX_OPERATION_BYTES


def test_a_live_region_and_a_lonely_backfill_use_the_whole_operation() -> None:
    assert share(0, [10**6] * 4).size == MAX_OPERATION_BYTES
    assert share(10**6, [10**6] * 4).size == MAX_OPERATION_BYTES
    assert share(10**6, [0, 0, 0, 10**6]).size == MAX_OPERATION_BYTES // 2
    assert share(LIVE_LAG_BLOCKS, [10**6]).size == MAX_OPERATION_BYTES
    assert share(LIVE_LAG_BLOCKS, [0], MIN_BUDGET_BYTES) == Share(), (
        "a slow custody chain must not make a live region lag"
    )


def test_the_budget_follows_how_fast_the_custody_chain_answers() -> None:
    budget = MAX_OPERATION_BYTES
    for _ in range(20):
        budget = next_budget(budget, 5_000)
    assert budget == MIN_BUDGET_BYTES
    for _ in range(20):
        budget = next_budget(budget, 100)
    assert budget == MAX_OPERATION_BYTES


def test_reading_goes_on_ahead_of_submitting_but_not_without_bound() -> None:
    blocks = fetched(chain_with([1, 1]))
    assert plan_read(AnchoredPosition(0, b"g"), (), 10) == Read(1, planner.READ_LIMIT, 10)
    assert plan_read(AnchoredPosition(7, b"t", Partial(8, 2)), (), 10) == Read(8, planner.READ_LIMIT, 10)
    read = plan_read(AnchoredPosition(0, b"g"), blocks, 10)
    assert read.from_height == 3
    assert plan_read(AnchoredPosition(0, b"g"), blocks * (planner.READ_AHEAD_BYTES // blocks[0].size), 10) is None


def test_empty_blocks_wait_longer_than_full_ones_and_a_full_chunk_not_at_all() -> None:
    busy, idle = fetched(chain_with([1])), fetched(chain_with([0]))
    assert linger_ms(0, busy, Share(), 200, 1000) == 200
    assert linger_ms(150, busy, Share(), 200, 1000) == 50
    assert linger_ms(0, idle, Share(), 200, 1000) == 1000
    assert linger_ms(5000, idle, Share(), 200, 1000) == 0
    assert linger_ms(0, busy, Share(size=10), 200, 1000) == 0
    assert linger_ms(0, busy, Share(snapshots=1), 200, 1000) == 0
