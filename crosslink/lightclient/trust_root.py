"""Trust roots: what a verifier of another chain is told before it believes anything.

A root names a chain (network and genesis id), how it is verified (client type and suite) and who signs its first
block. Roots come from genesis documents, governance or the user's own trust file, never from the data that is to be
verified (attack R4).

Invariants:
  T1  A root that is zero, default or incomplete cannot be made: all-zero ids, an empty or unsafe validator set, an
      unknown client type or suite and a trusting period of zero are refused when the value is built, not when it is
      used.
  T2  The fingerprint depends on network, client type, suite, genesis id and genesis validators alone.

Reference: docs/protocol-evidence.md, attack R4. Left out: the trust file around roots (`trust`), state that moves on
(`client_state`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from common.core.codec import canonical_json
from common.core.errors import Malformed
from common.core.names import check_network
from common.core.suite import Suite, suite_named
from common.core.validators import ValidatorSet
from crosslink.lightclient.fields import Fields

PBFT_CLIENT_TYPE = "tongjian-pbft/v1"

CLIENT_TYPES = frozenset({PBFT_CLIENT_TYPE})
"""Every client type that `port.client_for` answers; a foreign chain's verifier adds its own here and there (protocol
rule 22).
"""

DEFAULT_TRUSTING_PERIOD_MS = 14 * 24 * 3600 * 1000
"""Two weeks: shorter than the notice at which a market changes its validators, longer than any holiday with the
chains stopped.
"""

FINGERPRINT_TAG = "tongjian/trust-root/v1"
ZERO_ID = bytes(32)


def check_id(value: bytes, what: str) -> None:
    """Raise `Malformed('trust_zero_id')` unless `value` is 32 bytes that are not all zero (attack R4)."""
    if len(value) != 32 or value == ZERO_ID:
        raise Malformed(
            "trust_zero_id", f"{what} is zero or has not 32 bytes: this root was never initialised.", field=what
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A block above genesis that the holder of the root knows to be right, and the set that signs the block after
    it.
    """

    height: int
    id: bytes
    time_ms: int
    validators: ValidatorSet

    def __post_init__(self) -> None:
        check_id(self.id, "checkpoint.id")
        if self.height < 1 or self.time_ms < 1:
            raise Malformed("trust_checkpoint", "A checkpoint has a height and a time above zero.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRoot:
    """Where trust in one chain begins. `validators` sign block 1; `trusting_period_ms` bounds the age of a trusted
    tip (attack R1).

    `tier` is `business`, `custody` or empty when the holder does not care. Building one raises `Malformed` (invariant
    T1).
    """

    network: str
    client_type: str
    suite: str
    genesis_id: bytes
    validators: ValidatorSet
    trusting_period_ms: int = DEFAULT_TRUSTING_PERIOD_MS
    tier: str = ""
    checkpoint: Checkpoint | None = None

    def __post_init__(self) -> None:
        check_network(self.network)
        if self.client_type not in CLIENT_TYPES:
            raise Malformed(
                "unknown_client_type", "No verifier is known for this client type.", client_type=self.client_type[:64]
            )
        if self.tier not in ("", "business", "custody"):
            raise Malformed("trust_tier", "A tier is 'business' or 'custody'.")
        check_id(self.genesis_id, "genesis_id")
        if self.trusting_period_ms < 1:
            raise Malformed("trust_period", "A trusting period is above zero.")
        for member in self.validators.members:
            suite_named(self.suite).check_public_key(member.public_key)

    def fingerprint(self) -> bytes:
        """32 bytes that two people compare before they trust a root (invariant T2)."""
        suite = suite_named(self.suite)
        identity = {
            "network": self.network,
            "client_type": self.client_type,
            "suite": self.suite,
            "genesis_id": self.genesis_id.hex(),
            "validators": self.validators.to_json(suite),
        }
        return suite.tagged_hash(FINGERPRINT_TAG, canonical_json(identity))

    def to_json(self) -> dict[str, Any]:
        """The form that trust files and genesis documents use."""
        suite = suite_named(self.suite)
        document: dict[str, Any] = {
            "network": self.network,
            "client_type": self.client_type,
            "suite": self.suite,
            "genesis_id": self.genesis_id.hex(),
            "validators": self.validators.to_json(suite),
            "trusting_period_ms": self.trusting_period_ms,
        }
        if self.tier:
            document["tier"] = self.tier
        if self.checkpoint is not None:
            document["checkpoint"] = {
                "height": self.checkpoint.height,
                "id": self.checkpoint.id.hex(),
                "time_ms": self.checkpoint.time_ms,
                "validators": self.checkpoint.validators.to_json(suite),
            }
        return document

    @classmethod
    def from_json(cls, document: Any) -> TrustRoot:
        """Parse a root. Raises `Malformed` for anything missing, unknown, zero or unsafe (attack R4)."""
        fields = Fields(document, "root")
        network = fields.text("network")
        client_type = fields.text("client_type")
        suite = suite_named(fields.text("suite"))
        genesis_id = fields.hex("genesis_id", size=32)
        validators = ValidatorSet.from_json(fields.any("validators"), suite)
        period = DEFAULT_TRUSTING_PERIOD_MS
        if fields.has("trusting_period_ms"):
            period = fields.integer("trusting_period_ms", minimum=1)
        tier = fields.text("tier") if fields.has("tier") else ""
        checkpoint = _checkpoint(suite, fields.object("checkpoint")) if fields.has("checkpoint") else None
        fields.end()
        return cls(
            network=network,
            client_type=client_type,
            suite=suite.name,
            genesis_id=genesis_id,
            validators=validators,
            trusting_period_ms=period,
            tier=tier,
            checkpoint=checkpoint,
        )


def _checkpoint(suite: Suite, fields: Fields) -> Checkpoint:
    height = fields.integer("height", minimum=1)
    block_id = fields.hex("id", size=32)
    time_ms = fields.integer("time_ms", minimum=1)
    validators = ValidatorSet.from_json(fields.any("validators"), suite)
    fields.end()
    return Checkpoint(height=height, id=block_id, time_ms=time_ms, validators=validators)
