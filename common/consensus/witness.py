"""The furthest message that we hold of each validator, to be shown to it (protocol rule 7).

A validator that was restored from an old image learns from its peers how far it has signed. Kept by public key, because
indexes change with the set. What came over its signer's own channel may be unverified: it is only ever shown to that
signer, who believes nothing but its own signature.

Invariant: one message for each member of the current or the next set (attack C13).
"""

from __future__ import annotations

from common.consensus.messages import ConsensusMessage
from common.core.validators import ValidatorSet


class Witness:
    """See the module docstring."""

    def __init__(self) -> None:
        self._furthest: dict[bytes, ConsensusMessage] = {}

    def saw(self, message: ConsensusMessage, validators: ValidatorSet) -> None:
        """Keep it if its signer has not been seen to sign further."""
        signer = message.signer
        if signer >= validators.size:
            return
        key = validators.members[signer].public_key
        known = self._furthest.get(key)
        if (
            known is None
            or message.height > known.height
            or (message.height == known.height and (message.view, message.stage) > (known.view, known.stage))
        ):
            self._furthest[key] = message

    def furthest_of(self, public_key: bytes) -> ConsensusMessage | None:
        """The furthest message held of this validator."""
        return self._furthest.get(public_key)

    def forget_others(self, *sets: ValidatorSet) -> None:
        """Keep only what belongs to members of these sets."""
        members = {member.public_key for validators in sets for member in validators.members}
        self._furthest = {key: message for key, message in self._furthest.items() if key in members}
