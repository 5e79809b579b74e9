"""What a light client trusts about another chain at one moment: the tip it verified last, and what judges the next.

The tip, the times and the freeze are alike for chains of every make and are judged here; `trust` is the client type's
own (who signs next, for ours), which nobody else reads.

Invariants:
  S1  A state is made from a trust root and then only by `update`; JSON that is zero, incomplete or inconsistent is
      refused (attack R4).
  S2  A frozen state never moves again; governance makes a new one (protocol rule 21).

Reference: ICS-002 client states; docs/crosslink.md. Left out: anchoring and partial deliveries (the custody chain's
state).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from common.core.errors import Malformed
from common.core.names import check_network
from crosslink.lightclient.client_types import client_for
from crosslink.lightclient.json_fields import Fields
from crosslink.lightclient.trust_root import MAX_ID_BYTES, TrustRoot, check_id


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientState:
    """Trusted knowledge of one chain.

    `height`, `block_id`, `time_ms`: the verified tip (height 0: the genesis id, time 0 when not known). `root_height`:
    the height of the block that the root named; no header has shown that one's time. `established_ms`: when trust was
    given (chain time of the verifier); a client that still catches up with old blocks expires from there.
    `frozen_height`: the height of proven misbehaviour, or None. `trust` belongs to the client type.
    """

    client_type: str
    network: str
    genesis_id: bytes
    trusting_period_ms: int
    established_ms: int
    root_height: int
    height: int
    block_id: bytes
    time_ms: int
    trust: object
    frozen_height: int | None = None

    @classmethod
    def from_root(cls, root: TrustRoot, *, established_ms: int) -> ClientState:
        """The state right after a root was adopted at the verifier's time `established_ms` (milliseconds)."""
        height, block_id, time_ms = 0, root.genesis_id, 0
        if root.checkpoint is not None:
            height, block_id, time_ms = root.checkpoint.height, root.checkpoint.id, root.checkpoint.time_ms
        return cls(
            client_type=root.client_type,
            network=root.network,
            genesis_id=root.genesis_id,
            trusting_period_ms=root.trusting_period_ms,
            established_ms=established_ms,
            root_height=height,
            height=height,
            block_id=block_id,
            time_ms=time_ms,
            trust=client_for(root.client_type).initial_trust(root),
        )

    def is_expired(self, now_ms: int) -> bool:
        """Whether the tip is older than the trusting period at the verifier's time `now_ms` (protocol rule 19, attack
        R1).
        """
        return has_expired(self.time_ms, self.established_ms, self.trusting_period_ms, now_ms)

    def to_json(self) -> dict[str, Any]:
        """The form that the custody chain keeps in its state and shows as `client_state`."""
        return {
            "client_type": self.client_type,
            "network": self.network,
            "genesis_id": self.genesis_id.hex(),
            "trusting_period_ms": self.trusting_period_ms,
            "established_ms": self.established_ms,
            "root_height": self.root_height,
            "height": self.height,
            "block_id": self.block_id.hex(),
            "time_ms": self.time_ms,
            "trust": client_for(self.client_type).write_trust(self.trust),
            "frozen_height": self.frozen_height,
        }

    @classmethod
    def from_json(cls, document: Any) -> ClientState:
        """Parse and check a state. Raises `Malformed` (invariant S1)."""
        fields = Fields(document, "client_state")
        client = client_for(fields.text("client_type"))
        height = fields.integer("height")
        frozen = fields.any("frozen_height")
        if frozen is not None and (not isinstance(frozen, int) or isinstance(frozen, bool) or frozen < 0):
            raise Malformed("field_type", "client_state.frozen_height is not a height or null.", field="frozen_height")
        state = cls(
            client_type=client.client_type,
            network=check_network(fields.text("network")),
            genesis_id=fields.hex("genesis_id", max_size=MAX_ID_BYTES),
            trusting_period_ms=fields.integer("trusting_period_ms", minimum=1),
            established_ms=fields.integer("established_ms"),
            root_height=fields.integer("root_height"),
            height=height,
            block_id=fields.hex("block_id", max_size=MAX_ID_BYTES),
            time_ms=fields.integer("time_ms"),
            trust=client.read_trust(fields.any("trust"), height=height),
            frozen_height=frozen,
        )
        fields.end()
        check_id(state.genesis_id, "client_state.genesis_id")
        check_id(state.block_id, "client_state.block_id")
        if state.root_height > height or (height > 0) != (state.block_id != state.genesis_id):
            raise Malformed(
                "client_state_inconsistent", "The client state contradicts itself; it was not made by this suite."
            )
        return state


def has_expired(time_ms: int, established_ms: int, trusting_period_ms: int, now_ms: int) -> bool:
    """Whether a tip of `time_ms`, trusted since `established_ms`, is past its trusting period. All in milliseconds."""
    return now_ms - max(time_ms, established_ms) > trusting_period_ms
