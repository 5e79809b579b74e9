"""Who is connected, and what each peer claims.

Claims (a peer's tip) are hints: they start a catch-up and readiness looks at them. One thing more rests on them: when a
validator without memory of its votes may vote again (`consensus_driver`, D4). So what a peer itself has said last is
kept beside what we still expect of it: that it gave us nothing in time does not make it level with us.

Left out: channels (`transport`), verification of what peers send.
"""

from __future__ import annotations

from collections.abc import KeysView
from dataclasses import dataclass

from common.core.validators import ValidatorSet
from common.node.logic.node_events import PeerKey


@dataclass(slots=True)
class _Connected:
    claimed_height: int
    """The tip that we expect of it: its own word, lowered where it did not give what that promised."""
    shown_height: int
    """Its own word."""
    disappointments: int = 0
    lowest_block: int = 0
    """The first block that it still has, as far as it has said."""


class PeerTable:
    """Connected peers, in the order in which they connected."""

    def __init__(self) -> None:
        self._connected: dict[PeerKey, _Connected] = {}
        self.keys: KeysView[PeerKey] = self._connected.keys()
        """Connected peers."""
        self.best_claim = 0
        """The highest claim of a connected peer, 0 if there is none."""

    def connect(self, peer: PeerKey, claimed_height: int) -> None:
        """A channel is up."""
        self._connected[peer] = _Connected(claimed_height, claimed_height)
        self._claims_changed()

    def disconnect(self, peer: PeerKey) -> None:
        """The channel is gone."""
        self._connected.pop(peer, None)
        self._claims_changed()

    def raise_claim(self, peer: PeerKey, height: int) -> None:
        """The peer has shown, or claims, that it is at least this high."""
        state = self._connected.get(peer)
        if state is not None:
            state.claimed_height = max(state.claimed_height, height)
            state.shown_height = max(state.shown_height, height)
            self._claims_changed()

    def set_claim(self, peer: PeerKey, height: int) -> None:
        """The peer's newest word on its tip, also if it is lower than before (attack C17)."""
        state = self._connected.get(peer)
        if state is not None:
            state.claimed_height = state.shown_height = height
            self._claims_changed()

    def disappointed(self, peer: PeerKey, height: int) -> None:
        """The peer did not give what its claim promised: believe `height` instead, and ask it last from now on
        (C17).
        """
        state = self._connected.get(peer)
        if state is not None:
            state.claimed_height = height
            state.disappointments += 1
            self._claims_changed()

    def has_pruned(self, peer: PeerKey, lowest_block: int) -> None:
        """The peer has no blocks below this height any more."""
        state = self._connected.get(peer)
        if state is not None:
            state.lowest_block = lowest_block

    def ahead_of(self, height: int) -> list[PeerKey]:
        """Connected peers that claim a higher tip and have the next block; of those, the ones that disappointed least
        often.
        """
        ahead = [
            (state.disappointments, peer)
            for peer, state in self._connected.items()
            if state.claimed_height > height and state.lowest_block <= height + 1
        ]
        least = min([count for count, _ in ahead], default=0)
        return [peer for count, peer in ahead if count == least]

    def claim_of(self, peer: PeerKey) -> int | None:
        """The tip that a connected peer claims."""
        state = self._connected.get(peer)
        return None if state is None else state.claimed_height

    def _claims_changed(self) -> None:
        self.best_claim = max([state.claimed_height for state in self._connected.values()], default=0)

    def believed_height(self, validators: ValidatorSet) -> int:
        """The highest tip that f+1 connected members claim, so that at least one honest one does; 0 if they are
        fewer.
        """
        claims = sorted(
            [state.claimed_height for peer, state in self._connected.items() if validators.index_of(peer) is not None],
            reverse=True,
        )
        return claims[validators.fault_bound] if len(claims) > validators.fault_bound else 0

    def members(self, validators: ValidatorSet) -> list[int]:
        """Indexes of the connected peers that are in a set, ascending."""
        indexes = [validators.index_of(peer) for peer in self._connected]
        return sorted([index for index in indexes if index is not None])

    def level(self, validators: ValidatorSet, height: int) -> int:
        """How many connected members of the set say that their tip is at most `height`."""
        return sum(
            1
            for peer, state in self._connected.items()
            if state.shown_height <= height and validators.index_of(peer) is not None
        )
