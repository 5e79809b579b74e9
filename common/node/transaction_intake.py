"""Takes in transactions that peers gossip.

A refusal that depends on local state (quota, a nonce that another pending transaction has) is nobody's fault and only
drops the transaction, unless a proposal wants its body; so does what the application refuses, which two versions may
see differently during an upgrade (attack C19). A bad signature or structure is the peer's fault: an honest one
verified before it told us.

Left out: clients' submissions (`Node.submit`), sending (`gossip`).
"""

from __future__ import annotations

from collections.abc import Sequence

from common.core.errors import Rejected
from common.core.suite import Suite
from common.core.transaction import envelope_hash, parse_envelope
from common.node.body_fetch import BodyFetch
from common.node.mempool import Mempool

BAD_SIGNATURE = "bad_signature"


class TransactionIntake:
    """The receiving end of gossip."""

    def __init__(self, suite: Suite, mempool: Mempool, bodies: BodyFetch) -> None:
        self._suite = suite
        self._mempool = mempool
        self._bodies = bodies

    def gossiped(self, envelopes: Sequence[bytes]) -> bool:
        """Admit a batch. True if bodies that a proposal waits for are complete now. Raises `Rejected` for a peer's
        fault.
        """
        arrived = []
        for envelope in envelopes:
            key = envelope_hash(self._suite, envelope)
            if self._mempool.resolve(key) is None:
                self._admit(envelope, key)
            arrived.append(key)
        return self._bodies.active and self._bodies.arrived(
            [key for key in arrived if self._mempool.resolve(key) is not None]
        )

    def _admit(self, envelope: bytes, key: bytes) -> None:
        tx = parse_envelope(envelope, self._suite)
        try:
            self._mempool.admit_parsed(tx)
        except Rejected as refusal:
            if refusal.code == BAD_SIGNATURE:
                raise
            if self._bodies.wants(key):
                self._mempool.add_body(envelope)
