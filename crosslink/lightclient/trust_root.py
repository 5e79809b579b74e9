"""Trust roots: what a verifier of another chain is told before it believes anything.

A root names a chain (network and genesis id), how it is verified (client type), and where that type's trust begins
(`trust`, JSON that only the type reads: for ours the suite and who signs the first block). Roots come from genesis
documents, governance or the user's own trust file, never from the data that is to be verified (attack R4).

Invariants:
  T1  A root that is zero, default or incomplete cannot be made: all-zero ids, an unknown client type, a trusting period
      of zero, and trust that its client type finds empty or unsafe are refused when the value is built, not when it is
      used.
  T2  The fingerprint depends on network, client type, genesis id and trust alone.

Reference: docs/protocol-evidence.md, attack R4. Left out: the trust file around roots (`trust`), state that moves on
(`client_state`).
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from common.core.codec import canonical_json
from common.core.errors import Malformed
from common.core.names import check_network
from crosslink.lightclient.client_types import MAX_CLIENT_TYPE_CHARACTERS, client_for
from crosslink.lightclient.json_fields import Fields

DEFAULT_TRUSTING_PERIOD_MS = 14 * 24 * 3600 * 1000
"""Two weeks: shorter than the notice at which a market changes its validators, longer than any holiday with the
chains stopped.
"""

MAX_ID_BYTES = 64
"""Block and genesis ids of any chain: no hash in use is longer."""


def check_id(value: bytes, what: str) -> None:
    """Raise `Malformed('trust_zero_id')` unless `value` is 1 to 64 bytes that are not all zero (attack R4)."""
    if not 1 <= len(value) <= MAX_ID_BYTES or not any(value):
        raise Malformed(
            "trust_zero_id", f"{what} is zero, empty or too long: this root was never initialised.", field=what
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A block above genesis that the holder of the root knows to be right, and the client type's trust after it."""

    height: int
    id: bytes
    time_ms: int
    trust: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_id(self.id, "checkpoint.id")
        if self.height < 1 or self.time_ms < 1:
            raise Malformed("trust_checkpoint", "A checkpoint has a height and a time above zero.")

    def to_json(self) -> dict[str, Any]:
        """The form inside a root."""
        return {
            "height": self.height,
            "id": self.id.hex(),
            "time_ms": self.time_ms,
            "trust": deepcopy(dict(self.trust)),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRoot:
    """Where trust in one chain begins. `trusting_period_ms` bounds the age of a trusted tip (attack R1).

    `tier` is `business`, `custody` or empty when the holder does not care. Building one raises `Malformed` (invariant
    T1).
    """

    network: str
    client_type: str
    genesis_id: bytes
    trust: Mapping[str, Any]
    trusting_period_ms: int = DEFAULT_TRUSTING_PERIOD_MS
    tier: str = ""
    checkpoint: Checkpoint | None = None

    def __post_init__(self) -> None:
        check_network(self.network)
        if self.tier not in ("", "business", "custody"):
            raise Malformed("trust_tier", "A tier is 'business' or 'custody'.")
        check_id(self.genesis_id, "genesis_id")
        if self.trusting_period_ms < 1:
            raise Malformed("trust_period", "A trusting period is above zero.")
        client_for(self.client_type).initial_trust(self)

    def fingerprint(self) -> bytes:
        """32 bytes that two people compare before they trust a root (invariant T2)."""
        return client_for(self.client_type).fingerprint(self)

    def identity(self) -> bytes:
        """Canonical JSON of what the fingerprint is a hash of."""
        return canonical_json(
            {
                "network": self.network,
                "client_type": self.client_type,
                "genesis_id": self.genesis_id.hex(),
                "trust": dict(self.trust),
            }
        )

    def to_json(self) -> dict[str, Any]:
        """The form that trust files and genesis documents use."""
        document: dict[str, Any] = {
            "network": self.network,
            "client_type": self.client_type,
            "genesis_id": self.genesis_id.hex(),
            "trust": deepcopy(dict(self.trust)),
            "trusting_period_ms": self.trusting_period_ms,
        }
        if self.tier:
            document["tier"] = self.tier
        if self.checkpoint is not None:
            document["checkpoint"] = self.checkpoint.to_json()
        return document

    @classmethod
    def from_json(cls, document: Any) -> TrustRoot:
        """Parse a root. Raises `Malformed` for anything missing, unknown, zero or unsafe (attack R4)."""
        fields = Fields(document, "root")
        network = fields.text("network")
        client_type = fields.text("client_type", max_size=MAX_CLIENT_TYPE_CHARACTERS)
        genesis_id = fields.hex("genesis_id", max_size=MAX_ID_BYTES)
        trust = fields.mapping("trust")
        period = DEFAULT_TRUSTING_PERIOD_MS
        if fields.has("trusting_period_ms"):
            period = fields.integer("trusting_period_ms", minimum=1)
        tier = fields.text("tier") if fields.has("tier") else ""
        checkpoint = _checkpoint(fields.object("checkpoint")) if fields.has("checkpoint") else None
        fields.end()
        return cls(
            network=network,
            client_type=client_type,
            genesis_id=genesis_id,
            trust=trust,
            trusting_period_ms=period,
            tier=tier,
            checkpoint=checkpoint,
        )


def _checkpoint(fields: Fields) -> Checkpoint:
    checkpoint = Checkpoint(
        height=fields.integer("height", minimum=1),
        id=fields.hex("id", max_size=MAX_ID_BYTES),
        time_ms=fields.integer("time_ms", minimum=1),
        trust=fields.mapping("trust"),
    )
    fields.end()
    return checkpoint
