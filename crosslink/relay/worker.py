"""One task a region: read, check, collect, submit, and start over from the custody chain's word.

Invariants:
  W1  The cursor is the custody chain's status, read again before every submission. What is in memory is only a cache of
      verified blocks, so a relay that is killed at any point loses nothing and applies nothing twice (attack R9).
  W2  Nothing is submitted that the light client has not accepted here (attack R10); proven misbehaviour is submitted
      (R3).
  W3  A worker raises nothing but cancellation: any refusal is noted, waited out with jitter and tried again from the
      cursor, and no region's trouble touches another region's task.
  W4  At most one read and one submission are under way.
  W5  No custody node is relied on for long: after a round that failed, and whenever the region seems to have gone back
      (a receipt or a status was not true), another one is asked (attack R10).

Left out: IO (ports), decisions (`planner`), verification (`checking`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from common.core.errors import Rejected, Unavailable
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.client_types import client_for
from crosslink.lightclient.delivery import MAX_OPERATION_BYTES, Delivery
from crosslink.lightclient.reading import Read
from crosslink.relay.checking import Checked, check_blocks
from crosslink.relay.contradiction_search import contradiction_operations
from crosslink.relay.node_pool import NodeFault
from crosslink.relay.planner import (
    AnchoredPosition,
    Chunk,
    FetchedBlock,
    Undeliverable,
    linger_ms,
    next_budget,
    plan_chunk,
    plan_read,
    share,
    still_due,
)
from crosslink.relay.ports import Clock, Custody, Page, RegionSource, RegionStatus, SubmissionFate
from crosslink.relay.progress import Board, RelayMetrics

_log = logging.getLogger("tongjian.relay")

NOT_THE_NODES_FAULT = frozenset({"future_header", "protocol_version_ahead", "expired", "frozen", "unknown_client_type"})
"""Refusals of the light client that follow from time or from the custody chain's state, not from what a node served."""

JUDGED = "misbehaviour_known"
"""The custody chain's answer to a contradiction from which governance has recovered the region."""

CHECK_IN_THREAD_BYTES = 256 * 1024
"""Larger pages are verified off the event loop, so that other regions go on meanwhile."""

LATE_READ_S = 1.0
"""How long blocks that are ready to be submitted wait for those that came while they gathered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How patient a worker is. All in milliseconds but `wait_s` (seconds of a long poll)."""

    wait_s: int = 10
    linger_ms: int = 200
    idle_linger_ms: int = 1_000
    retry_ms: int = 500
    max_retry_ms: int = 30_000


class RegionWorker:
    """Carries one region. `jitter()` gives a number in [0, 1) and spreads retries of many relays; `delivered` is told
    the snapshots of each block that was applied.
    """

    def __init__(
        self,
        network: str,
        source: RegionSource,
        custody: Custody,
        clock: Clock,
        board: Board,
        metrics: RelayMetrics,
        jitter: Callable[[], float],
        pace: Pace | None = None,
        delivered: Callable[[ClientState, Sequence[bytes]], None] = lambda state, snapshots: None,
    ) -> None:
        self._network = network
        self._source = source
        self._custody = custody
        self._clock = clock
        self._board = board
        self._progress = board.of(network)
        self._metrics = metrics
        self._jitter = jitter
        self._pace = pace or Pace()
        self._delivered = delivered
        self._status: RegionStatus | None = None
        self._state: ClientState | None = None
        self._buffer: tuple[FetchedBlock, ...] = ()
        self._buffered_since_ms = 0
        self._reading: tuple[Read, asyncio.Task[Page]] | None = None
        self._floor = 0
        self._budget = MAX_OPERATION_BYTES
        self._failures = 0
        self._lies = 0

    async def run(self) -> None:
        """Work until cancelled (W3)."""
        try:
            while True:
                try:
                    await self.step()
                    self._recovered()
                except Exception as trouble:
                    # Broad on purpose (W3): a defect that one region's data brings out must not stop the others.
                    await self._wait_out(trouble)
        finally:
            self._stop_reading()

    async def step(self) -> None:
        """One round: at most one submission. Raises `Rejected` kinds for whatever went wrong."""
        if self._status is None:
            await self._refresh()
        await self._collect()
        if not self._buffer:
            await self._refresh()
            return
        await self._linger()
        status = await self._refresh()
        limits = share(self._progress.lag_blocks, self._board.lags(self._network), self._budget)
        chunk = plan_chunk(self._prove, status.position, self._buffer, limits)
        if isinstance(chunk, Undeliverable):
            raise Rejected(
                "snapshot_undeliverable", "A snapshot fits no operation.", height=chunk.height, index=chunk.index
            )
        if chunk is not None:
            await self._submit(status, chunk)

    def _prove(self, fetched: FetchedBlock) -> Sequence[bytes]:
        assert self._state is not None
        return client_for(self._state.client_type).prove_objects(fetched.block.commitments, fetched.snapshots)

    async def _refresh(self) -> RegionStatus:
        """Read the cursor (W1) and drop what it has passed. Raises `Rejected('frozen')` if the region takes nothing."""
        status = await self._custody.region(self._network, at_least=self._floor)
        previous, self._status = self._status, status
        progress = self._progress
        progress.position, progress.custody_height = status.position, status.custody_height
        progress.source_tip = max(progress.source_tip, status.position.anchored_height)
        self._metrics.anchored.labels(self._network).set(status.position.anchored_height)
        if status.frozen:
            raise Rejected("frozen", "The custody chain has frozen this region; governance must recover it.")
        restarted = previous is not None and _identity(previous) != _identity(status)
        if previous is not None and not restarted and _recedes(previous.position, status.position):
            self._custody.doubt()
        self._keep(() if restarted else still_due(status.position, self._buffer))
        if not self._buffer:
            self._restart_from(status)
        return status

    def _keep(self, blocks: tuple[FetchedBlock, ...]) -> None:
        self._buffer = blocks
        self._progress.buffered_blocks = len(blocks)

    def _restart_from(self, status: RegionStatus) -> None:
        """Nothing is buffered: the next block to verify is the one that the custody chain is at."""
        reading = self._reading
        same = self._state is not None and self._state.block_id == status.client_state.block_id
        if reading is not None and not (same and reading[0].from_height == status.position.next_height):
            self._stop_reading()
        self._state = status.client_state

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading[1].add_done_callback(_ignore_outcome)
            self._reading[1].cancel()
            self._reading = None

    def _read_on(self, wait_s: int) -> asyncio.Task[Page] | None:
        """The read under way, or a new one if the planner wants one (W4)."""
        if self._reading is None and self._status is not None:
            read = plan_read(self._status.position, self._buffer, wait_s)
            if read is not None:
                self._reading = (read, asyncio.ensure_future(self._source.read(self._status.client_state, read)))
        return self._reading[1] if self._reading is not None else None

    async def _collect(self) -> None:
        """Take in the read that is under way; wait for one while nothing is buffered."""
        if self._buffer and (self._reading is None or not self._reading[1].done()):
            return
        self._progress.state = "reading"
        task = self._read_on(self._pace.wait_s)
        if task is not None:
            await asyncio.wait({task})
            await self._absorb()

    async def _linger(self) -> None:
        """Let live blocks gather for a moment, then take in what came meanwhile: fewer, larger submissions."""
        waited = self._clock.elapsed_ms() - self._buffered_since_ms
        limits = share(self._progress.lag_blocks, self._board.lags(self._network), self._budget)
        remaining = linger_ms(waited, self._buffer, limits, self._pace.linger_ms, self._pace.idle_linger_ms)
        if remaining <= 0 or self._progress.source_tip > self._buffer[-1].height:
            return
        self._progress.state = "gathering"
        await self._clock.sleep(remaining)
        task = self._read_on(0)
        if task is not None:
            await asyncio.wait({task}, timeout=LATE_READ_S)
            if task.done():
                await self._absorb()

    async def _absorb(self) -> None:
        """Verify the page that was read; keep what is right and blame the node for the rest (W2)."""
        if self._reading is None or self._state is None:
            return
        _, task = self._reading
        self._reading = None
        page = task.result()
        self._progress.source_tip = max(
            page.tip, self._progress.position.anchored_height if self._progress.position else 0
        )
        self._metrics.tip.labels(self._network).set(page.tip)
        if not page.blocks:
            return
        checked = await self._check(self._state, page)
        if checked.blocks:
            self._buffered_since_ms = self._buffered_since_ms if self._buffer else self._clock.elapsed_ms()
            self._keep((*self._buffer, *checked.blocks))
            self._state = checked.state
        if checked.conflict is not None and not self._buffer:
            await self._report(checked.conflict, page.node)
        self._judge(page, checked)

    async def _check(self, state: ClientState, page: Page) -> Checked:
        now_ms = self._clock.now_ms()
        tip_is_due = not self._buffer and self._status is not None and self._status.position.partial is not None
        if sum(len(data) for block in page.blocks for data in block.snapshots) > CHECK_IN_THREAD_BYTES:
            return await asyncio.to_thread(check_blocks, state, page.blocks, now_ms, tip_is_due=tip_is_due)
        return check_blocks(state, page.blocks, now_ms, tip_is_due=tip_is_due)

    def _judge(self, page: Page, checked: Checked) -> None:
        """Praise or blame the node. Raises the fault if the page gave nothing to go on with."""
        fault = checked.fault
        if fault is None:
            self._source.praise(page.node)
            self._lies = 0
            return
        if fault.code not in NOT_THE_NODES_FAULT:
            self._source.blame(page.node, NodeFault.LYING)
            self._lies += 1
            _log.warning(
                "a node served what does not verify",
                extra={"region": self._network, "node": page.node, "code": fault.code, "detail": fault.detail},
            )
            if self._lies > 3:
                self._custody.doubt()
        if not checked.blocks:
            raise fault

    async def _report(self, block: FetchedBlock, node: int) -> None:
        """Submit a certified contradiction, so that the custody chain freezes the region (attack R3).

        A node that serves a branch which governance has given up serves nothing: another one is read.
        """
        if self._status is None:
            return
        _log.error(
            "certified contradiction",
            extra={"region": self._network, "height": block.height, "id": block.block.id.hex()},
        )
        state = self._status.client_state
        for operation in await contradiction_operations(self._source, state, block, self._clock.now_ms()):
            result = await self._custody.submit(operation, self._status.custody_height)
            if result.code != JUDGED:
                break
        if result.code == JUDGED:
            self._source.blame(node, NodeFault.LYING)
        self._settle(result)

    async def _submit(self, status: RegionStatus, chunk: Chunk) -> None:
        """Send one chunk and wait for its fate, while the next blocks are read if there are any."""
        progress = self._progress
        progress.state, progress.budget_bytes = "submitting", self._budget
        if progress.source_tip > self._buffer[-1].height:
            self._read_on(self._pace.wait_s)
        started_ms = self._clock.elapsed_ms()
        operation = Delivery(self._network, chunk.blocks).to_operation()
        result = await self._custody.submit(operation, status.custody_height)
        now_ms, took_ms = self._clock.now_ms(), self._clock.elapsed_ms() - started_ms
        self._metrics.latency.labels(self._network).observe(took_ms / 1000)
        self._settle(result)
        self._budget = next_budget(self._budget, took_ms)
        progress.last_applied_ms = now_ms
        for block in self._buffer:
            if block.height <= chunk.reaches:
                self._delivered(status.client_state, block.snapshots)
                self._metrics.blocks.labels(self._network).inc()
                self._metrics.delay.labels(self._network).observe(max(0, now_ms - block.block.time_ms) / 1000)
        self._metrics.snapshots.labels(self._network).inc(chunk.snapshots)
        self._keep(tuple(block for block in self._buffer if block.height > chunk.reaches))
        if chunk.reaches_id is not None:
            progress.position = AnchoredPosition(chunk.reaches, chunk.reaches_id)
            self._status = replace(status, position=progress.position)

    def _settle(self, result: SubmissionFate) -> None:
        """Note a submission's fate. Raises `Rejected` with the chain's code unless it was applied."""
        self._metrics.submissions.labels(self._network, result.status).inc()
        self._floor = max(self._floor, result.height or 0)
        if not result.applied:
            raise Rejected(result.code, f"The custody chain answered {result.status}.")

    def _recovered(self) -> None:
        self._failures = 0
        self._progress.next_retry_ms = None
        self._progress.state = "idle" if not self._buffer else "busy"

    async def _wait_out(self, trouble: Exception) -> None:
        """Forget everything but the floor, and start again from the cursor after a while (W1, W3)."""
        code = trouble.code if isinstance(trouble, Rejected) else "internal"
        if code == "internal":
            _log.error("a defect in the relay", extra={"region": self._network}, exc_info=trouble)
        if isinstance(trouble, Unavailable) and trouble.code == "custody_behind":
            self._floor = 0
        self._custody.doubt()
        self._stop_reading()
        self._keep(())
        self._status = self._state = None
        delay_ms = min(self._pace.max_retry_ms, self._pace.retry_ms << min(self._failures, 16))
        if code == "frozen":
            delay_ms = self._pace.max_retry_ms
        self._failures += 1
        delay_ms = int(delay_ms * (0.5 + self._jitter() / 2))
        now_ms = self._clock.now_ms()
        progress = self._progress
        progress.state = "frozen" if code == "frozen" else "waiting"
        progress.last_error = {"code": code, "detail": str(trouble)[:1000], "at_ms": now_ms}
        progress.next_retry_ms = now_ms + delay_ms
        self._metrics.errors.labels(self._network, code).inc()
        _log.warning(
            "a round failed",
            extra={"region": self._network, "code": code, "detail": str(trouble)[:1000], "retry_ms": delay_ms},
        )
        await self._clock.sleep(delay_ms)


def _identity(status: RegionStatus) -> tuple[bytes, int]:
    """What changes when governance gives a region a new trust root (protocol rule 21)."""
    return status.client_state.genesis_id, status.client_state.established_ms


def _recedes(before: AnchoredPosition, after: AnchoredPosition) -> bool:
    """Whether less is anchored than was said before; the later status is not older (`region(at_least=)`)."""
    return after.anchored_height < before.anchored_height


def _ignore_outcome(task: asyncio.Task[Page]) -> None:
    """A read that nobody waits for any more may fail without a word."""
    if not task.cancelled():
        task.exception()
