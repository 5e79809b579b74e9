"""What can happen to a node: the inputs of `Node.step`.

A node has no clock, sockets, disk or tasks of its own (protocol rule 23): a runtime, or the simulator, turns what
happens outside into these values and calls ``node.step(event, now_ms)``, one at a time, from one thread.

The rest of a node's face (`node.Node`), called from the same thread::

    Node(genesis=, application=, chain=<ChainStore>, seed=<own seed | None>, recovered=<vote-log records>,
         limits=NodeLimits(), stopwatch=<() -> processor ns, for block sizing only>, may_vote=True,
         abstain_through_height=0)
    submit(envelope, now_ms) -> (TransactionState, list[NodeEffect])      raises Rejected
    hello_for(peer: PeerKey) -> bytes        what our hello tells this peer (`peer_messages.Hello`, encoded)
    transaction_state(tx_id) -> TransactionState          status() -> NodeStatus
    peer_keys() -> frozenset[PeerKey]        who may connect: the current and the next set (protocol rule 7)

Contract for whoever drives a node
  V1  `now_ms` is the wall clock in milliseconds since the Unix epoch. It may jump; it decides block times and how
      much a peer is served, never waiting times.
  V2  An expired `Timer.VIEW` is given only after every message that had already arrived has been given (protocol
      rule 4, attack C11); the other timers are given as soon as they expire, or a busy network would hold up the very
      blocks that keep it busy. An expiry carries the token of the `SetTimer` that armed it. A node ignores stale
      tokens, so a cancel that comes too late does no harm. Lateness is a local hint, as the stopwatch is.
  V3  `PeerMessage` payloads come from the authenticated peer named in them, in the order sent; any may be missing.
  V4  A `BlockWritten` is given once for each `CommitBlock`, after its batch is written, and durable if it is `synced`.

Peers are named by the public key that their channel is bound to (protocol rule 7): indexes change with the validator
set.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

PeerKey = bytes
"""The suite's raw public key of the validator at the other end of a channel."""


class Timer(StrEnum):
    """The node's timers. Each runs at most once at a time: setting one replaces it."""

    VIEW = "view"
    """Consensus: the view in progress takes too long (protocol rule 4)."""
    BUILD = "build"
    """The minimum interval between non-empty blocks is over (protocol rule 14)."""
    EXECUTE = "execute"
    """The leader's draft has left; now execute it (protocol rule 14). Its delay is 0."""
    HEARTBEAT = "heartbeat"
    """An idle chain owes a sign of life."""
    INTAKE = "intake"
    """Gossiped transactions wait to be verified; a few at a time, so that votes never wait for long. Its delay is 0."""
    GOSSIP = "gossip"
    """Coalesced transactions have waited long enough (protocol rule 15)."""
    FETCH = "fetch"
    """Missing transaction bodies were asked for and have not all come."""
    BODY = "body"
    """A whole block's body was asked for and has not come."""
    SYNC = "sync"
    """Catch-up: a peer's answer is due."""
    STATUS = "status"
    """The chain has been quiet since a commit: tell the peers our tip, in case one missed the end of it."""
    ACCUSE = "accuse"
    """It is our turn to bring evidence onto the chain, or time to look whether it is there."""


class Started(msgspec.Struct, frozen=True):
    """The first event: the runtime has read the vote log and performs effects from now on."""


class PeerConnected(msgspec.Struct, frozen=True):
    """An authenticated channel is up. `hello` is what the peer said in it (`peer_messages.Hello`, encoded)."""

    peer: PeerKey
    hello: bytes


class PeerDisconnected(msgspec.Struct, frozen=True):
    """The channel is gone; answers that were expected from it will not come."""

    peer: PeerKey


class PeerMessage(msgspec.Struct, frozen=True):
    """One frame's payload (`docs/protocol-peers.md`) from a peer."""

    peer: PeerKey
    payload: bytes


class TimerExpired(msgspec.Struct, frozen=True):
    """`SetTimer(timer, token, …)` was armed long enough ago."""

    timer: Timer
    token: int
    late_us: int = 0
    """How long after its time it is given, in microseconds of the clock that it waited on: how busy the node is."""


class BlockWritten(msgspec.Struct, frozen=True):
    """The batch of `CommitBlock(height)` is written."""

    height: int


NodeEvent = Started | PeerConnected | PeerDisconnected | PeerMessage | TimerExpired | BlockWritten
