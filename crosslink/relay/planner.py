"""What to read next, and what to submit next: the relay's decisions, as pure functions of both sides' status.

Invariants:
  P1  Chunks continue exactly where the custody chain is: at the partly delivered block, or at the one that stands on
      the anchored block, in order, each on the one before (attack R6); heights may skip. What was anchored meanwhile,
      by this relay or another, is left out (attacks R7, R9).
  P2  A chunk never exceeds the operation's hard limits; a block that alone exceeds them is split, and every snapshot
      of a part carries its inclusion proof.
  P3  Backfill never starves live regions: while any region is live, all backfilling regions together may fill one
      operation's worth of the custody chain's time, and every region has at most one operation under way.

Reference: protocol rules 13, 14, 16, 24. Left out: IO, retries and the choice of nodes (`worker`, `node_pool`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from common.core.codec import canonical_json
from crosslink.lightclient.delivery import (
    MAX_BLOCKS,
    MAX_OPERATION_BYTES,
    MAX_SNAPSHOTS,
    BlockDelivery,
    SnapshotItem,
    data_document,
)
from crosslink.lightclient.port import VerifiedBlock
from crosslink.lightclient.reading import Read

LIVE_LAG_BLOCKS = 64
"""A region at most this far behind is live: what a busy chain (20 blocks a second) makes in the three seconds that a
delivery may take."""

MIN_BUDGET_BYTES = 256 * 1024
"""The smallest soft limit: below it the fixed cost of a submission outweighs its content."""

SOFT_SNAPSHOTS = 1500
"""Snapshots in a full-size chunk: what the custody chain executes in a few hundred milliseconds."""

TARGET_LATENCY_MS = 2_000
"""A submission that takes longer makes the next chunk smaller (see `next_budget`): what is left of the three seconds in
which a live region's block should be anchored, if it has to wait for this one."""

READ_AHEAD_BYTES = 6 * 1024 * 1024
"""Verified blocks that wait for submission: four full chunks, so that reading never holds submitting up."""

READ_LIMIT = 500
"""Blocks asked for at once; nodes bound answers by size."""

_ENTRY_OVERHEAD = 200
"""JSON punctuation and field names of one entry, generously."""

_ITEM_OVERHEAD = 48
"""JSON punctuation, field names and index of one snapshot, generously."""

_PROOF_OVERHEAD = 12
"""Field name and punctuation of a proof."""

_OPERATION_OVERHEAD = 200


@dataclass(frozen=True, slots=True)
class FetchedBlock:
    """A block of a region, verified by the light client. Sizes are those in an operation's JSON."""

    block: VerifiedBlock
    header: bytes
    snapshots: tuple[bytes, ...]
    snapshot_sizes: tuple[int, ...] = field(init=False)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        sizes = tuple(len(canonical_json(data_document(data))) + _ITEM_OVERHEAD for data in self.snapshots)
        object.__setattr__(self, "snapshot_sizes", sizes)
        object.__setattr__(self, "size", sum(sizes) + self.head_size)

    @property
    def height(self) -> int:
        """The block's height."""
        return self.block.height

    @property
    def head_size(self) -> int:
        """Size of the entry without its snapshots."""
        return 2 * len(self.header) + _ENTRY_OVERHEAD


Prove = Callable[[FetchedBlock], Sequence[bytes]]
"""A proof for each snapshot of a block, by the region's client type."""


@dataclass(frozen=True, slots=True)
class Partial:
    """The block whose header is verified and whose snapshots are in up to (not including) `next_index`."""

    height: int
    next_index: int


@dataclass(frozen=True, slots=True)
class AnchoredPosition:
    """Where the custody chain is with a region. `tip_id`: the block that it verified last: the partly delivered one if
    there is one, else the anchored one."""

    anchored_height: int
    tip_id: bytes
    partial: Partial | None = None

    @property
    def next_height(self) -> int:
        """From where on to ask for what is due: the partly delivered block, or what is above the anchored height."""
        return self.partial.height if self.partial is not None else self.anchored_height + 1


@dataclass(frozen=True, slots=True)
class Chunk:
    """One `crosslink.submit`. `reaches` is the height that is anchored if it is applied, and `reaches_id` that block's
    id; None for a part."""

    blocks: tuple[BlockDelivery, ...]
    reaches: int
    reaches_id: bytes | None
    snapshots: int
    size: int


@dataclass(frozen=True, slots=True)
class Undeliverable:
    """A snapshot that fits no operation: the region cannot go on without governance."""

    height: int
    index: int
    size: int


@dataclass(frozen=True, slots=True)
class Share:
    """The soft limits of one chunk."""

    size: int = MAX_OPERATION_BYTES
    snapshots: int = SOFT_SNAPSHOTS


def is_live(lag_blocks: int) -> bool:
    """Whether a region that far behind counts as live."""
    return lag_blocks <= LIVE_LAG_BLOCKS


def share(own_lag: int, other_lags: Collection[int], budget_bytes: int = MAX_OPERATION_BYTES) -> Share:
    """The soft limits of a region's next chunk (invariant P3).

    Lags are blocks behind; `other_lags` are those of the relay's other regions; `budget_bytes` comes from
    `next_budget`. A live region always takes all it has: smaller chunks would only turn a slow custody chain into a
    backlog.
    """
    if is_live(own_lag):
        return Share()
    backfilling = [lag for lag in other_lags if not is_live(lag)]
    size = min(max(budget_bytes, MIN_BUDGET_BYTES), MAX_OPERATION_BYTES)
    if len(backfilling) < len(other_lags):
        size = max(MIN_BUDGET_BYTES, min(size, MAX_OPERATION_BYTES // (1 + len(backfilling))))
    return Share(size, max(1, SOFT_SNAPSHOTS * size // MAX_OPERATION_BYTES))


def next_budget(budget_bytes: int, latency_ms: int) -> int:
    """The soft size after a submission that took `latency_ms`: halved when slow, grown by half when fast.

    Follows how busy the custody chain is without asking it, as TCP follows a network.
    """
    if latency_ms > TARGET_LATENCY_MS:
        return max(MIN_BUDGET_BYTES, budget_bytes // 2)
    return min(MAX_OPERATION_BYTES, budget_bytes + budget_bytes // 2)


def plan_read(position: AnchoredPosition, buffered: Sequence[FetchedBlock], wait_s: int) -> Read | None:
    """The next read, or None while enough is buffered. `buffered` ascends from the block that is due."""
    if sum(block.size for block in buffered) >= READ_AHEAD_BYTES:
        return None
    next_height = buffered[-1].height + 1 if buffered else position.next_height
    return Read(next_height, READ_LIMIT, wait_s)


def still_due(position: AnchoredPosition, buffered: Sequence[FetchedBlock]) -> tuple[FetchedBlock, ...]:
    """What of the buffer is due at the custody chain's position: without anchored blocks, nothing after a gap (P1)."""
    due: list[FetchedBlock] = []
    for fetched in buffered:
        block = fetched.block
        if due:
            follows = block.parent == due[-1].block.id
        else:
            follows = position.tip_id == (block.parent if position.partial is None else block.id)
        if follows:
            due.append(fetched)
        elif due:
            break
    return tuple(due)


def plan_chunk(
    prove: Prove, position: AnchoredPosition, buffered: Sequence[FetchedBlock], limits: Share
) -> Chunk | Undeliverable | None:
    """The next submission from verified blocks, or None when nothing is due.

    The first block goes whole whenever the hard limits allow; more blocks follow while the soft limits allow.
    """
    due = still_due(position, buffered)
    if not due:
        return None
    first, start = due[0], position.partial.next_index if position.partial is not None else 0
    entry, end, size = _first_entry(prove, position, first)
    if end <= start and first.snapshots:
        return Undeliverable(first.height, start, first.snapshot_sizes[start])
    entries, snapshots, reached = [entry], end - start, None
    if end == len(first.snapshots):
        reached = first.block
        for block in due[1:]:
            too_large = size + block.size > limits.size or snapshots + len(block.snapshots) > limits.snapshots
            if too_large or len(entries) >= MAX_BLOCKS:
                break
            entries.append(_whole(block))
            size, snapshots, reached = size + block.size, snapshots + len(block.snapshots), block.block
    if reached is None:
        return Chunk(tuple(entries), position.anchored_height, None, snapshots, size)
    return Chunk(tuple(entries), reached.height, reached.id, snapshots, size)


def _whole(block: FetchedBlock) -> BlockDelivery:
    return BlockDelivery(
        header=block.header,
        snapshots=tuple(SnapshotItem(index, data) for index, data in enumerate(block.snapshots)),
    )


def _first_entry(prove: Prove, position: AnchoredPosition, block: FetchedBlock) -> tuple[BlockDelivery, int, int]:
    """(entry, index after its last snapshot, size) for the block that is due: whole, begun, or continued."""
    whole = block.size + _OPERATION_OVERHEAD
    if position.partial is None and whole <= MAX_OPERATION_BYTES and len(block.snapshots) <= MAX_SNAPSHOTS:
        return _whole(block), len(block.snapshots), whole
    start, size = 0, _OPERATION_OVERHEAD + block.head_size
    if position.partial is not None:
        start, size = position.partial.next_index, _OPERATION_OVERHEAD + _ENTRY_OVERHEAD
    end, proofs = start, prove(block)
    while end < len(block.snapshots) and end - start < MAX_SNAPSHOTS:
        following = size + block.snapshot_sizes[end] + 2 * len(proofs[end]) + _PROOF_OVERHEAD
        if following > MAX_OPERATION_BYTES:
            break
        size, end = following, end + 1
    items = tuple(SnapshotItem(index, block.snapshots[index], proofs[index]) for index in range(start, end))
    if position.partial is not None:
        return BlockDelivery(height=block.height, snapshots=items), end, size
    return BlockDelivery(header=block.header, snapshots=items), end, size


def linger_ms(waiting_ms: int, buffered: Sequence[FetchedBlock], limits: Share, busy_ms: int, idle_ms: int) -> int:
    """How much longer to collect blocks before submitting them, given how long the first has waited (all in ms).

    Blocks with snapshots wait `busy_ms` at most, empty ones (heartbeats) `idle_ms`; a full chunk does not wait.
    """
    snapshots = sum(len(block.snapshots) for block in buffered)
    if sum(block.size for block in buffered) >= limits.size or snapshots >= limits.snapshots:
        return 0
    if len(buffered) >= MAX_BLOCKS:
        return 0
    return max(0, (busy_ms if snapshots else idle_ms) - waiting_ms)
