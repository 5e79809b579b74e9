"""What a node wants done: the outputs of `Node.step`.

`Persist` is the replica's own effect, handed through. Its other effects name members of a set by index; the node's name
peers by key, so they are others.

Contract for whoever performs them (tests and the simulator keep it too)
  F1  Effects are performed strictly in the order returned, lists in the order of the steps that returned them.
  F2  Everything behind a `Persist` waits until its records are durable (protocol rule 1). Waiting must not stop
      events from being stepped: their effects queue up behind, and the records of several waiting effects may share
      one sync.
  F3  `CommitBlock` is one batch, durable if it is `synced`; `BlockWritten` follows. What is behind it in the queue need
      not wait for it, except the notifications, which a node returns only from the step that takes `BlockWritten`.
  F4  `SendToPeer` and `SendToPeers` are best effort: a lost message is recovered by timers. A transport with a full
      queue drops `Channel.TRANSACTIONS` first, then `Channel.SYNC`, and sends `Channel.CONSENSUS` ahead of the others.
  F5  A failed `Persist` or `CommitBlock` (full disk, EIO) stops the node: nothing behind it is performed (attack
      S2).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import msgspec

from common.chain.metering import UsedUnits
from common.consensus.effects import Persist
from common.core.certificate import Certificate
from common.core.header import Header
from common.core.receipt import Receipt
from common.node.logic.node_events import PeerKey, Timer
from common.node.store.chain_reader import ChainReader


class Channel(IntEnum):
    """Kinds of peer traffic, most urgent first."""

    CONSENSUS = 0
    TRANSACTIONS = 1
    SYNC = 2


class SendToPeer(msgspec.Struct, frozen=True):
    """Send one payload to one peer, if it is connected."""

    peer: PeerKey
    payload: bytes
    channel: Channel


class SendToPeers(msgspec.Struct, frozen=True):
    """Send one payload to every connected peer."""

    payload: bytes
    channel: Channel


class Disconnect(msgspec.Struct, frozen=True):
    """Close the channel to a peer that broke the protocol, and do not connect again for `pause_ms`."""

    peer: PeerKey
    reason: str
    """A stable code, such as ``sync_bad_certificate``; safe to log."""
    pause_ms: int


class CommitBlock(msgspec.Struct, frozen=True):
    """Write one block's batch and answer `BlockWritten(height)`. If `synced`, durably, and then compact the vote log up
    to it; else it becomes durable with the next synced one.
    """

    height: int
    block_id: bytes
    writes: Sequence[tuple[bytes, bytes | None]]
    synced: bool = True


class SetTimer(msgspec.Struct, frozen=True):
    """Answer `TimerExpired(timer, token)` after `delay_ms` on a clock that does not jump; replaces a running
    `timer`.
    """

    timer: Timer
    token: int
    delay_ms: int


class CancelTimer(msgspec.Struct, frozen=True):
    """Stop `timer`, if it runs."""

    timer: Timer


class BlockCommitted(msgspec.Struct, frozen=True):
    """Notification: a block is final and durable; queries see it. Waiting submitters are answered from `receipts`."""

    header: Header
    block_id: bytes
    certificate: Certificate
    receipts: tuple[Receipt, ...]
    used: UsedUnits
    """What its transactions cost here (`common.chain.metering`)."""


class Accusation(msgspec.Struct, frozen=True):
    """Notification: `culprit` signed two conflicting messages; both are given, encoded (attack C1, C20)."""

    culprit: PeerKey
    first: bytes
    second: bytes


class Warned(msgspec.Struct, frozen=True):
    """Notification for the log and counters: something a person may want to know. `code` is stable, `detail` is
    escaped text.
    """

    code: str
    detail: str
    peer: PeerKey | None = None
    """Whose doing it is, where that is known: the log counts by peer."""


class MakeCheckpoint(msgspec.Struct, frozen=True):
    """A checkpoint is due: make it from this moment of the chain, beside everything else. Nothing waits for it."""

    moment: ChainReader


class Halt(msgspec.Struct, frozen=True):
    """This node must end: it takes no further event. `code` is stable; `detail` names the remedy."""

    code: str
    detail: str


NodeEffect = (
    Persist
    | SendToPeer
    | SendToPeers
    | Disconnect
    | CommitBlock
    | SetTimer
    | CancelTimer
    | BlockCommitted
    | Accusation
    | Warned
    | Halt
    | MakeCheckpoint
)
