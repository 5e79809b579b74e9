"""What a light client trusts about another chain at one moment: the tip it verified last, and who signs the next block.

Invariants:
  S1  A state is made from a trust root and then only by `update`; JSON that is zero, incomplete or inconsistent is
      refused (attack R4).
  S2  `epochs` says which validator-set hash governs which heights, oldest first; the last epoch is the current set,
      and its hash is the hash of `validators`. Epochs only append, so evidence about an old height is judged under
      that height's set (protocol rule 20).
  S3  A frozen state never moves again; governance makes a new one (protocol rule 21).

Reference: ICS-002 client states; docs/protocol-evidence.md. Left out: anchoring and partial deliveries (the custody
chain's state).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from common.core.errors import Malformed
from common.core.header import Header
from common.core.suite import Suite, suite_named
from common.core.validators import ValidatorSet
from crosslink.lightclient.fields import Fields
from crosslink.lightclient.trust_root import TrustRoot, check_id

MAX_EPOCHS = 64
"""Validator-set changes remembered for evidence about old heights: years of changes, and at most 7 KB of state."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """From `first_height` on, until the next epoch, blocks are signed by the set with this hash."""

    first_height: int
    validators_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientState:
    """Trusted knowledge of one chain.

    `height`, `block_id`, `time_ms`: the verified tip (height 0: the genesis id, time 0 when not known). `validators`
    sign `height + 1`. `established_ms`: when trust was given (chain time of the verifier); a client that still
    catches up with old blocks expires from there. `protocol_version`: that of the tip; it never goes back.
    `frozen_height`: the height of proven misbehaviour, or None.
    """

    client_type: str
    network: str
    suite: str
    genesis_id: bytes
    trusting_period_ms: int
    established_ms: int
    height: int
    block_id: bytes
    time_ms: int
    validators: ValidatorSet
    epochs: tuple[Epoch, ...]
    protocol_version: int = 1
    frozen_height: int | None = None

    @classmethod
    def from_root(cls, root: TrustRoot, *, established_ms: int) -> ClientState:
        """The state right after a root was adopted at the verifier's time `established_ms` (milliseconds)."""
        suite = suite_named(root.suite)
        height, block_id, time_ms, validators = 0, root.genesis_id, 0, root.validators
        if root.checkpoint is not None:
            height, block_id, time_ms = root.checkpoint.height, root.checkpoint.id, root.checkpoint.time_ms
            validators = root.checkpoint.validators
        return cls(
            client_type=root.client_type,
            network=root.network,
            suite=root.suite,
            genesis_id=root.genesis_id,
            trusting_period_ms=root.trusting_period_ms,
            established_ms=established_ms,
            height=height,
            block_id=block_id,
            time_ms=time_ms,
            validators=validators,
            epochs=(Epoch(height + 1, validators.hash(suite)),),
        )

    @property
    def algorithms(self) -> Suite:
        """The chain's cryptographic suite."""
        return suite_named(self.suite)

    @property
    def validators_hash(self) -> bytes:
        """Hash of the set that signs the next block."""
        return self.epochs[-1].validators_hash

    def validators_hash_at(self, height: int) -> bytes | None:
        """Hash of the set that governs `height`, or None below the oldest epoch that is remembered."""
        for epoch in reversed(self.epochs):
            if epoch.first_height <= height:
                return epoch.validators_hash
        return None

    def is_expired(self, now_ms: int) -> bool:
        """Whether the tip is older than the trusting period at the verifier's time `now_ms` (protocol rule 19, attack
        R1).
        """
        return now_ms - max(self.time_ms, self.established_ms) > self.trusting_period_ms

    def advanced(self, header: Header, block_id: bytes, next_validators: ValidatorSet | None) -> ClientState:
        """The state with a new tip; `next_validators` when the set changes after it. Only `update` calls this."""
        validators, epochs = self.validators, self.epochs
        if next_validators is not None:
            new_hash = next_validators.hash(self.algorithms)
            if new_hash != self.validators_hash:
                validators = next_validators
                epochs = (*epochs, Epoch(header.height + 1, new_hash))[-MAX_EPOCHS:]
        return replace(
            self,
            height=header.height,
            block_id=block_id,
            time_ms=header.time_ms,
            validators=validators,
            epochs=epochs,
            protocol_version=header.protocol_version,
        )

    def to_json(self) -> dict[str, Any]:
        """The form that the custody chain keeps in its state and shows as `client_state`."""
        return {
            "client_type": self.client_type,
            "network": self.network,
            "suite": self.suite,
            "genesis_id": self.genesis_id.hex(),
            "trusting_period_ms": self.trusting_period_ms,
            "established_ms": self.established_ms,
            "height": self.height,
            "block_id": self.block_id.hex(),
            "time_ms": self.time_ms,
            "validators": self.validators.to_json(self.algorithms),
            "epochs": [
                {"first_height": epoch.first_height, "validators_hash": epoch.validators_hash.hex()}
                for epoch in self.epochs
            ],
            "protocol_version": self.protocol_version,
            "frozen_height": self.frozen_height,
        }

    @classmethod
    def from_json(cls, document: Any) -> ClientState:
        """Parse and check a state. Raises `Malformed` (invariant S1)."""
        fields = Fields(document, "client_state")
        suite = suite_named(fields.text("suite"))
        root = TrustRoot(
            network=fields.text("network"),
            client_type=fields.text("client_type"),
            suite=suite.name,
            genesis_id=fields.hex("genesis_id", size=32),
            validators=ValidatorSet.from_json(fields.any("validators"), suite),
            trusting_period_ms=fields.integer("trusting_period_ms", minimum=1),
        )
        height = fields.integer("height")
        frozen = fields.any("frozen_height")
        if frozen is not None and (not isinstance(frozen, int) or isinstance(frozen, bool) or frozen < 0):
            raise Malformed("field_type", "client_state.frozen_height is not a height or null.", field="frozen_height")
        state = cls(
            client_type=root.client_type,
            network=root.network,
            suite=root.suite,
            genesis_id=root.genesis_id,
            trusting_period_ms=root.trusting_period_ms,
            established_ms=fields.integer("established_ms"),
            height=height,
            block_id=fields.hex("block_id", size=32),
            time_ms=fields.integer("time_ms"),
            validators=root.validators,
            epochs=_epochs(fields.list("epochs", max_count=MAX_EPOCHS)),
            protocol_version=fields.integer("protocol_version", minimum=1),
            frozen_height=frozen,
        )
        fields.end()
        _check(state)
        return state


def _epochs(items: list[Any]) -> tuple[Epoch, ...]:
    epochs = []
    for item in items:
        fields = Fields(item, "client_state.epochs")
        epochs.append(Epoch(fields.integer("first_height", minimum=1), fields.hex("validators_hash", size=32)))
        fields.end()
    return tuple(epochs)


def _check(state: ClientState) -> None:
    """Raise `Malformed('client_state_inconsistent')` unless invariants S1 and S2 hold."""
    check_id(state.block_id, "client_state.block_id")
    firsts = [epoch.first_height for epoch in state.epochs]
    consistent = (
        bool(firsts)
        and firsts == sorted(set(firsts))
        and firsts[-1] <= state.height + 1
        and state.epochs[-1].validators_hash == state.validators.hash(state.algorithms)
        and (state.height > 0) == (state.block_id != state.genesis_id)
    )
    if not consistent:
        raise Malformed(
            "client_state_inconsistent", "The client state contradicts itself; it was not made by this suite."
        )
