"""What the runtime drives and asks, as ports: the node, the disk, the channels, and who is told.

The classes that stand behind them are named in each; tests and the simulator's tools stand in their place.
Leaves out: the order in which they are used (`runtime`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from common.node.logic.node_effects import Accusation, BlockCommitted, Channel, NodeEffect, Warned
from common.node.logic.node_events import NodeEvent, PeerKey
from common.node.logic.node_status import NodeStatus, TransactionState

Writes = Sequence[tuple[bytes, bytes | None]]
"""A batch: keys and values, None to delete."""


class NodeLogic(Protocol):
    """The face of `node.Node` that the runtime uses; see `node_events`."""

    def step(self, event: NodeEvent, now_ms: int) -> list[NodeEffect]: ...

    def submit(self, envelope: bytes, now_ms: int) -> tuple[TransactionState, list[NodeEffect]]: ...

    def hello_for(self, peer: PeerKey) -> bytes: ...

    def peer_keys(self) -> frozenset[PeerKey]: ...

    def peer_places(self) -> dict[PeerKey, tuple[int, int]]: ...

    def transaction_state(self, tx_id: bytes) -> TransactionState: ...

    def status(self) -> NodeStatus: ...


class BlockWriter(Protocol):
    """Where blocks go: `storage.KeyValueStore`."""

    def write(self, batch: Writes, sync: bool) -> None: ...


class VoteWriter(Protocol):
    """Where votes go: `vote_log.VoteLog`."""

    def append(self, records: Sequence[bytes]) -> None: ...

    def sync(self) -> None: ...

    def compact(self, tip_height: int, tip_id: bytes) -> None: ...


class PeerChannels(Protocol):
    """Where messages go: `transport.PeerTransport`."""

    @property
    def received_bytes(self) -> int:
        """Grows with everything that arrives, complete or not."""
        ...

    def send(self, peer: PeerKey, channel: Channel, payload: bytes) -> None: ...

    def broadcast(self, channel: Channel, payload: bytes) -> None: ...

    def tell_observers(self, payload: bytes) -> None: ...

    def disconnect(self, peer: PeerKey, reason: str, pause_ms: int) -> None: ...

    def validators_changed(self) -> None: ...


class Notifications(Protocol):
    """Who wants to know what happened: `service.NodeService`."""

    def block_committed(self, committed: BlockCommitted) -> None: ...

    def peers_changed(self) -> None:
        """A peer came or went; the node's status shows it."""
        ...

    def accused(self, accusation: Accusation) -> None: ...

    def warned(self, warning: Warned) -> None: ...


@dataclass(slots=True)
class RuntimeCounters:
    """Totals since the start, for `/metrics`; times in microseconds."""

    events: int = 0
    effects: int = 0
    step_us: int = 0
    longest_step_us: int = 0
    vote_records: int = 0
    vote_syncs: int = 0
    vote_sync_us: int = 0
    recent_sync_us: int = 0
    """A mean that forgets: of about the last eight syncs."""
    blocks_written: int = 0
    block_write_us: int = 0
    timers_expired: int = 0
    peer_messages: int = 0
