"""The side of a node that touches the world: it feeds `Node.step` and performs what it returns, strictly in order.

One thread, the event loop's, calls the node. Two others only wait for the disk: one syncs the vote log, one writes
blocks. Their results come back as callbacks on the loop.

Invariants:
  R1  Effects are performed in the order in which they were returned, behind vote records only once these are durable
      (`effect_performer`, E1; protocol rule 1, attack S1).
  R2  Meanwhile events go on being stepped; their records share the next sync (E2).
  R3  A view timer that has expired is given to the node only after what had arrived before it: two turns of the event
      loop in which no byte came (protocol rule 4, attacks C11, S3). A flood delays it by `DRAIN_LIMIT_S` at most.
  R4  When the disk refuses, or the node breaks an invariant, nothing more is performed: no vote, no answer, no block.
      `failed` says why, and the process ends (attacks S2, S5).

Leaves out: what is decided (`node`), the order of effects (`effect_performer`), sockets (`transport`), who asks
(`service`).
Reference: effect contract F1-F5 in `node_effects`, event contract V1-V4 in `node_events`; ADR 0027.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from common.core.errors import InvariantBroken, Rejected, Unavailable
from common.node.disk_thread import DiskThread, DiskWorker
from common.node.effect_performer import EffectPerformer, EffectPorts
from common.node.logic.node_effects import (
    Accusation,
    BlockCommitted,
    CancelTimer,
    CommitBlock,
    Disconnect,
    Halt,
    MakeCheckpoint,
    SendToPeer,
    SendToPeers,
    SetTimer,
    Warned,
)
from common.node.logic.node_events import (
    BlockWritten,
    NodeEvent,
    PeerConnected,
    PeerDisconnected,
    PeerKey,
    PeerMessage,
    Started,
    Timer,
    TimerExpired,
)
from common.node.logic.node_status import TransactionState
from common.node.logic.wire.checkpoint_messages import (
    KIND_ANSWER_CHECKPOINTS,
    KIND_ANSWER_HEADERS,
    KIND_ANSWER_PART,
    KIND_GET_CHECKPOINTS,
    KIND_GET_HEADERS,
    KIND_GET_PART,
    KIND_PRUNED,
)
from common.node.logic.wire.peer_messages import (
    KIND_ANSWER_BLOCKS,
    KIND_ANSWER_BODY,
    KIND_GET_BLOCKS,
    KIND_GET_BODY,
    KIND_STATUS,
    Status,
)
from common.node.loop_timers import LoopTimers
from common.node.runtime_ports import (
    BlockWriter,
    NodeLogic,
    Notifications,
    PeerChannels,
    RuntimeCounters,
    VoteWriter,
)
from common.node.store.chain_reader import ChainReader
from common.node.store.store_errors import DamagedStore, StoreFailed

DRAIN_LIMIT_S = 1.0
"""Longest that arriving messages may hold an expired timer back: half of the shortest default view timeout."""
RECENT_SYNCS = 8
QUIET_TURNS = 2
"""Turns of the event loop without a byte after which the sockets count as drained: in one the timers run before
the sockets are read, in the next after."""

OBSERVER_KINDS = frozenset(
    {
        *(KIND_GET_BLOCKS, KIND_ANSWER_BLOCKS, KIND_GET_BODY, KIND_ANSWER_BODY, KIND_STATUS),
        *(KIND_GET_HEADERS, KIND_ANSWER_HEADERS, KIND_GET_CHECKPOINTS, KIND_ANSWER_CHECKPOINTS),
        *(KIND_GET_PART, KIND_ANSWER_PART, KIND_PRUNED),
    }
)
"""Payloads that a peer outside the validator sets may send: reading and catching up (attack C9)."""

_log = logging.getLogger("tongjian.node")


class Runtime(EffectPorts):
    """Drives one node. Everything here runs on the event loop's thread."""

    def __init__(
        self,
        node: NodeLogic,
        blocks: BlockWriter,
        votes: VoteWriter,
        notifications: Notifications,
        wall_clock_ms: Callable[[], int],
        members: Callable[[], Mapping[str, PeerKey]],
        make_checkpoint: Callable[[ChainReader], None] | None = None,
        disk_worker: Callable[[str], DiskWorker] = DiskThread,
    ) -> None:
        """`members` gives names and keys of the current and the next validator set; `make_checkpoint` begins a
        checkpoint in a thread of its own; `disk_worker` makes, by name, what waits for the disk.
        """
        self._node = node
        self._blocks = blocks
        self._votes = votes
        self._notifications = notifications
        self._now_ms = wall_clock_ms
        self._loop = asyncio.get_running_loop()
        self._channels: PeerChannels | None = None
        self._performer = EffectPerformer(self)
        self._timers = LoopTimers(self._loop, self._expired)
        self._vote_thread = disk_worker("vote-log")
        self._block_thread = disk_worker("blocks")
        self._peer_keys = node.peer_keys()
        self._members = members
        self._make_checkpoint = make_checkpoint
        self._names = members()
        self._stopped = False
        self.failed: asyncio.Future[str] = self._loop.create_future()
        """Set, with the reason, when the node must stop (R4)."""
        self._counters = RuntimeCounters()

    def start(self, channels: PeerChannels) -> None:
        """Give the node its first event."""
        self._channels = channels
        self._step(Started())

    async def stop(self) -> None:
        """Perform nothing more; wait for the disk work in flight. What was not done is as after a crash."""
        self._stopped = True
        self._timers.stop()
        self._performer.stop()
        await self._vote_thread.stop()
        await self._block_thread.stop()

    # What the service asks.

    @property
    def counters(self) -> RuntimeCounters:
        """Totals until now."""
        self._counters.effects = self._performer.performed
        return self._counters

    def submit(self, envelope: bytes) -> TransactionState:
        """Hand a transaction to the node. Raises Rejected; Unavailable('stopping') once the node is stopping, also if
        this very transaction is what stops it: it may complete a block, and so lead to votes as any event does (R4).
        """
        if not self._stopped:
            try:
                result, effects = self._node.submit(envelope, self._now_ms())
            except Rejected:
                raise
            except Exception as error:  # as broad as in `_step`, for the same reason
                self._fail("the node broke an invariant", error)
            else:
                if effects:
                    self._performer.take(effects)
                return result
        raise Unavailable("stopping", "this node is stopping; send the transaction to another node")

    # What the transport asks and tells (`transport.PeerHandler`).

    def peer_keys(self) -> frozenset[PeerKey]:
        """The current and the next validator set."""
        return self._peer_keys

    def key_named(self, name: str) -> PeerKey | None:
        """The key of the validator of that name, if it is in the current or next set."""
        return self._names.get(name)

    def greeting_for(self, peer: PeerKey) -> bytes:
        """What our node tells this peer first."""
        return self._node.hello_for(peer)

    def peer_connected(self, peer: PeerKey, greeting: bytes) -> None:
        """A channel is open."""
        self._step(PeerConnected(peer, greeting))
        self._notifications.peers_changed()

    def peer_disconnected(self, peer: PeerKey) -> None:
        """A channel is gone."""
        self._step(PeerDisconnected(peer))
        self._notifications.peers_changed()

    def peer_message(self, peer: PeerKey, payload: bytes, member: bool) -> None:
        """A payload has arrived; observers may only read (attack C9)."""
        self._counters.peer_messages += 1
        if member or (payload and payload[0] in OBSERVER_KINDS):
            self._step(PeerMessage(peer, payload))

    # Stepping.

    def _step(self, event: NodeEvent) -> None:
        if self._stopped:
            return
        began = time.perf_counter_ns()
        try:
            effects = self._node.step(event, self._now_ms())
        except Rejected:
            raise
        except Exception as error:
            # Not narrower on purpose: after any other failure in the middle of a step the state of the agreement is
            # unknown, and a node in an unknown state must not vote.
            self._fail("the node broke an invariant", error)
            return
        spent_us = (time.perf_counter_ns() - began) // 1000
        self._counters.events += 1
        self._counters.step_us += spent_us
        if spent_us > self._counters.longest_step_us:
            self._counters.longest_step_us = spent_us
        if effects:
            self._performer.take(effects)

    def _fail(self, what: str, error: BaseException) -> None:
        if self._stopped:
            return
        self._stopped = True
        self._performer.stop()
        if isinstance(error, StoreFailed | DamagedStore | Unavailable):
            _log.critical(what, extra={"code": error.code, "error": str(error)})
        else:
            _log.critical(what, extra={"code": "invariant_broken", "error": str(error)}, exc_info=error)
        if not self.failed.done():
            self.failed.set_result(f"{what}: {error}")

    # Performing (`effect_performer.EffectPorts`).

    @property
    def _open_channels(self) -> PeerChannels:
        if self._channels is None:
            raise InvariantBroken("an effect came before the runtime was started")
        return self._channels

    def send(self, message: SendToPeer) -> None:
        """Hand it to the transport."""
        self._open_channels.send(message.peer, message.channel, message.payload)

    def send_to_all(self, message: SendToPeers) -> None:
        """Hand it to the transport."""
        self._open_channels.broadcast(message.channel, message.payload)

    def disconnect(self, order: Disconnect) -> None:
        """Have the transport close a channel."""
        self._open_channels.disconnect(order.peer, order.reason, order.pause_ms)

    def accused(self, accusation: Accusation) -> None:
        """Tell who listens."""
        self._notifications.accused(accusation)

    def warned(self, warning: Warned) -> None:
        """Tell who listens."""
        self._notifications.warned(warning)

    def halt(self, order: Halt) -> None:
        """End the process (R4)."""
        self._fail("the node has to stop", Unavailable(order.code, order.detail))

    def make_checkpoint(self, order: MakeCheckpoint) -> None:
        """Begin one, if this node makes any."""
        if self._make_checkpoint is not None:
            self._make_checkpoint(order.moment)

    def block_committed(self, block: BlockCommitted) -> None:
        """Tell clients, and observers: they take no part in consensus, so nothing else would tell them of a block."""
        channels, keys = self._open_channels, self._node.peer_keys()
        if keys != self._peer_keys:
            self._peer_keys = keys
            self._names = self._members()
            channels.validators_changed()
        channels.tell_observers(Status(block.header.height, block.block_id).encode())
        self._notifications.block_committed(block)

    # The vote log (R1, R2).

    def persist(self, records: Sequence[bytes], durable: Callable[[], None]) -> None:
        """Append records and sync them off the loop."""

        def synced(spent_us: int) -> None:
            self._counters.vote_syncs += 1
            self._counters.vote_sync_us += spent_us
            self._counters.recent_sync_us += (spent_us - self._counters.recent_sync_us) // RECENT_SYNCS
            durable()

        self._counters.vote_records += len(records)
        try:
            self._votes.append(records)
        except (InvariantBroken, OSError) as error:
            self._fail("the vote log cannot be written", error)
            return
        self._off_the_loop(self._vote_thread, self._votes.sync, synced, "the vote log cannot be made durable")

    # Blocks.

    def write_block(self, block: CommitBlock) -> None:
        """Write one block off the loop; if it is durable then, its votes are obsolete. The node hears of it."""

        def written(spent_us: int) -> None:
            self._counters.blocks_written += 1
            self._counters.block_write_us += spent_us
            try:
                if block.synced:
                    self._votes.compact(block.height, block.block_id)
            except (InvariantBroken, OSError) as error:
                self._fail("the vote log cannot be written", error)
                return
            self._step(BlockWritten(block.height))

        self._off_the_loop(
            self._block_thread,
            lambda: self._blocks.write(block.writes, block.synced),
            written,
            "the block cannot be written",
        )

    def _off_the_loop(
        self, thread: DiskWorker, work: Callable[[], None], done: Callable[[int], None], what: str
    ) -> None:
        """Run `work` in a thread, then `done(microseconds)` on the loop; a failure stops the node (R4)."""
        began = time.perf_counter_ns()

        def finished(error: Exception | None) -> None:
            if error is not None:
                self._fail(what, error)
            elif not self._stopped:
                done((time.perf_counter_ns() - began) // 1000)

        thread.run(work, finished)

    # Timers (R3).

    def set_timer(self, timer: SetTimer) -> None:
        """Arm it on the loop's clock, which does not jump."""
        self._timers.set(timer)

    def cancel_timer(self, timer: CancelTimer) -> None:
        """Stop it."""
        self._timers.cancel(timer.timer)

    def _expired(self, effect: SetTimer, due_s: float) -> None:
        if effect.timer is not Timer.VIEW:
            # Others make work that the network waits for; under load, the sockets are never quiet (contract V2).
            self._give(effect, int((self._loop.time() - due_s) * 1_000_000))
            return
        self._after_messages(effect, self._received(), 0, self._loop.time() + DRAIN_LIMIT_S)

    def _received(self) -> int:
        return 0 if self._channels is None else self._channels.received_bytes

    def _after_messages(self, effect: SetTimer, seen: int, quiet_turns: int, deadline: float) -> None:
        """Wait turn by turn until nothing has come for `QUIET_TURNS`; then give the timer, if it still stands."""
        if self._stopped or not self._timers.stands(effect):
            return
        received = self._received()
        quiet_turns = quiet_turns + 1 if received == seen else 0
        if quiet_turns <= QUIET_TURNS and self._loop.time() < deadline:
            self._loop.call_soon(self._after_messages, effect, received, quiet_turns, deadline)
            return
        self._give(effect)

    def _give(self, effect: SetTimer, late_us: int = 0) -> None:
        """The timer counts now. A view timer that waited for messages (R3) does not say how long."""
        if self._stopped:
            return
        self._timers.cancel(effect.timer)
        self._counters.timers_expired += 1
        self._step(TimerExpired(effect.timer, effect.token, max(0, late_us)))
