"""Takes in transactions that peers gossip.

Verifying a batch can take longer than a round of votes may wait, so gossip is held unverified in the mempool and
verified a few at a time, between other messages (`Timer.INTAKE`). What a proposal names is verified at once, and so is
a transaction that comes alone while none wait: a turn of its own would cost more than it does.

A refusal that depends on local state (quota, a nonce that another pending transaction has) is nobody's fault and only
drops the transaction, unless a proposal wants its body; so does what the application refuses, which two versions may
see differently during an upgrade (attack C19). A bad signature or structure is the peer's fault: an honest one
verified before it told us.

Left out: clients' submissions (`Node.submit`), sending (`gossip`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from common.core.errors import Rejected
from common.core.suite import Suite
from common.core.transaction import envelope_hash, parse_envelope
from common.node.logic.node_events import PeerKey, Timer
from common.node.logic.node_outbox import NodeOutbox
from common.node.logic.pool.body_fetch import BodyFetch
from common.node.logic.pool.mempool import Mempool

BAD_SIGNATURE = "bad_signature"
TURN = 16
"""Transactions verified in one turn: about 3 ms, a tenth of what a block takes."""


class TransactionIntake:
    """The receiving end of gossip."""

    def __init__(self, suite: Suite, mempool: Mempool, bodies: BodyFetch, outbox: NodeOutbox) -> None:
        self._suite = suite
        self._mempool = mempool
        self._bodies = bodies
        self._outbox = outbox
        self._waiting: deque[tuple[PeerKey, bytes]] = deque()

    def gossiped(self, peer: PeerKey, envelopes: Sequence[bytes]) -> bool:
        """Hold a batch for verification. True if bodies that a proposal waits for are complete now.

        Raises `Rejected` for a fault in what was verified at once.
        """
        arrived = []
        for envelope in envelopes:
            key = envelope_hash(self._suite, envelope)
            if self._bodies.wants(key):
                self._admit(envelope, key)
                arrived.append(key)
            elif len(envelopes) == 1 and not self._waiting:
                if self._mempool.resolve(key) is None:
                    self._admit(envelope, key)
            elif self._mempool.hold(key, envelope):
                self._waiting.append((peer, key))
        self._arm()
        return self._bodies.active and self._bodies.arrived(
            [key for key in arrived if self._mempool.resolve(key) is not None]
        )

    def take_turn(self) -> list[tuple[PeerKey, str]]:
        """Verify a few of those that wait; the peers at fault, each with the code of its fault."""
        faults = []
        for _ in range(min(TURN, len(self._waiting))):
            peer, key = self._waiting.popleft()
            envelope = self._mempool.release(key)
            if envelope is None:
                continue
            try:
                self._admit(envelope, key)
            except Rejected as refusal:
                faults.append((peer, refusal.code))
        self._arm()
        return faults

    def _arm(self) -> None:
        if self._waiting and not self._outbox.runs(Timer.INTAKE):
            self._outbox.set_timer(Timer.INTAKE, 0)

    def _admit(self, envelope: bytes, key: bytes) -> None:
        tx = parse_envelope(envelope, self._suite, key)
        try:
            self._mempool.admit_parsed(tx)
        except Rejected as refusal:
            if refusal.code == BAD_SIGNATURE:
                raise
            if self._bodies.wants(key):
                self._mempool.add_body(envelope)
