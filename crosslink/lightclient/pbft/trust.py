"""What is trusted about one of our chains besides its tip: the suite, and who signs.

Trust root: `trust` is `{"suite", "validators": [{"name", "organisation", "public_key"}]}`, the set that signs block 1;
in a checkpoint it is `{"validators"}`, the set that signs the block after it. In a client state it is
`{"suite", "validators", "epochs": [{"first_height", "validators_hash"}], "protocol_version"}`.

Invariants:
  P1  `epochs` says which validator-set hash governs which heights, oldest first; the last epoch is the current set, and
      its hash is the hash of `validators`. Epochs only append, so evidence about an old height is judged under that
      height's set (protocol rule 20).
  P2  Trust that is empty or has unsafe keys cannot be made (attack R4).

Left out: the tip and times (`client_state`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from common.core.errors import InvariantBroken, Malformed
from common.core.header import Header
from common.core.suite import HASH_SIZE, Suite, suite_named
from common.core.validators import ValidatorSet
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.json_fields import Fields
from crosslink.lightclient.trust_root import Checkpoint, TrustRoot

PBFT_CLIENT_TYPE = "tongjian-pbft/v1"

FINGERPRINT_TAG = "tongjian/trust-root/v1"

MAX_EPOCHS = 64
"""Validator-set changes remembered for evidence about old heights: years of changes, and at most 7 KB of state."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """From `first_height` on, until the next epoch, blocks are signed by the set with this hash."""

    first_height: int
    validators_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PbftTrust:
    """`validators` sign the block after the tip; `protocol_version` is the tip's (1 before the first header)."""

    suite: Suite
    validators: ValidatorSet
    epochs: tuple[Epoch, ...]
    protocol_version: int = 1

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

    def advanced(self, header: Header, next_validators: ValidatorSet | None) -> PbftTrust:
        """The trust after a verified header; `next_validators` when the set changes after it."""
        validators, epochs = self.validators, self.epochs
        if next_validators is not None:
            new_hash = next_validators.hash(self.suite)
            if new_hash != self.validators_hash:
                validators = next_validators
                epochs = (*epochs, Epoch(header.height + 1, new_hash))[-MAX_EPOCHS:]
        return replace(self, validators=validators, epochs=epochs, protocol_version=header.protocol_version)

    def to_json(self) -> dict[str, Any]:
        """The form inside a client state."""
        return {
            "suite": self.suite.name,
            "validators": self.validators.to_json(self.suite),
            "epochs": [
                {"first_height": epoch.first_height, "validators_hash": epoch.validators_hash.hex()}
                for epoch in self.epochs
            ],
            "protocol_version": self.protocol_version,
        }

    @classmethod
    def from_json(cls, document: Any, *, height: int) -> PbftTrust:
        """Parse and check (P1). Raises `Malformed`, also with `client_state_inconsistent`."""
        fields = Fields(document, "client_state.trust")
        suite = suite_named(fields.text("suite"))
        trust = cls(
            suite=suite,
            validators=_safe_set(fields.any("validators"), suite),
            epochs=_epochs(fields.list("epochs", max_count=MAX_EPOCHS)),
            protocol_version=fields.integer("protocol_version", minimum=1),
        )
        fields.end()
        firsts = [epoch.first_height for epoch in trust.epochs]
        consistent = bool(firsts) and firsts == sorted(set(firsts)) and firsts[-1] <= height + 1
        if not consistent or trust.validators_hash != trust.validators.hash(suite):
            raise Malformed(
                "client_state_inconsistent", "The client state contradicts itself; it was not made by this suite."
            )
        return trust


def _epochs(items: list[Any]) -> tuple[Epoch, ...]:
    epochs = []
    for item in items:
        fields = Fields(item, "client_state.epochs")
        epochs.append(Epoch(fields.integer("first_height", minimum=1), fields.hex("validators_hash", size=HASH_SIZE)))
        fields.end()
    return tuple(epochs)


def _safe_set(value: Any, suite: Suite) -> ValidatorSet:
    validators = ValidatorSet.from_json(value, suite)
    validators.check_keys(suite)
    return validators


def trust_of(state: ClientState) -> PbftTrust:
    """The trust of a state of this client type."""
    if not isinstance(state.trust, PbftTrust):
        raise InvariantBroken("the client state is of another client type")
    return state.trust


def initial_trust(root: TrustRoot) -> PbftTrust:
    """The trust right after a root (its checkpoint, if it has one). Raises `Malformed` (P2)."""
    suite, validators = root_set(root)
    height = 0
    if len(root.genesis_id) != HASH_SIZE:
        raise Malformed("trust_zero_id", "genesis_id has not 32 bytes.", field="genesis_id")
    if root.checkpoint is not None:
        height, validators = root.checkpoint.height, checkpoint_set(root.checkpoint, suite)
    return PbftTrust(suite=suite, validators=validators, epochs=(Epoch(height + 1, validators.hash(suite)),))


def root_set(root: TrustRoot) -> tuple[Suite, ValidatorSet]:
    """Suite and genesis validators of a root. Raises `Malformed`."""
    fields = Fields(dict(root.trust), "root.trust")
    suite = suite_named(fields.text("suite"))
    validators = _safe_set(fields.any("validators"), suite)
    fields.end()
    return suite, validators


def checkpoint_set(checkpoint: Checkpoint, suite: Suite) -> ValidatorSet:
    """Who signs the block after a checkpoint. Raises `Malformed`."""
    if len(checkpoint.id) != HASH_SIZE:
        raise Malformed("trust_zero_id", "checkpoint.id has not 32 bytes.", field="checkpoint.id")
    fields = Fields(dict(checkpoint.trust), "root.checkpoint.trust")
    validators = _safe_set(fields.any("validators"), suite)
    fields.end()
    return validators


def root_document(suite: Suite, validators: ValidatorSet) -> Mapping[str, Any]:
    """`trust` of a root, from the genesis set."""
    return {"suite": suite.name, "validators": validators.to_json(suite)}


def checkpoint_document(suite: Suite, validators: ValidatorSet) -> Mapping[str, Any]:
    """`trust` of a checkpoint, from the set that signs the block after it."""
    return {"validators": validators.to_json(suite)}


def fingerprint(root: TrustRoot) -> bytes:
    """The root's identity under the chain's own hash."""
    return suite_named(str(root.trust["suite"])).tagged_hash(FINGERPRINT_TAG, root.identity())
