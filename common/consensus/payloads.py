"""What the messages of one chain sign: the bytes under each signature, made once for all votes that agree.

Left out: signing (`voice`), verifying (`verification`), what the bytes are made of (`messages`).
"""

from __future__ import annotations

from common.consensus.messages import ConsensusMessage, Stage, Vote, vote_payload
from common.core.suite import Suite


class Payloads:
    """Signed bytes under one genesis. The votes of one stage for one block share theirs; the last of each is kept."""

    def __init__(self, suite: Suite, genesis_id: bytes, network: str) -> None:
        self.suite = suite
        self.genesis_id = genesis_id
        self.network = network
        self._last: dict[Stage, tuple[tuple[int, int, bytes], bytes]] = {}

    def of(self, message: ConsensusMessage) -> bytes:
        """What this message signs."""
        if isinstance(message, Vote):
            return self.of_vote(message.stage, message.height, message.view, message.block_id)
        return message.payload(self.suite, self.genesis_id, self.network)

    def of_vote(self, stage: Stage, height: int, view: int, block_id: bytes) -> bytes:
        """What a vote for this block signs."""
        about = (height, view, block_id)
        last = self._last.get(stage)
        if last is not None and last[0] == about:
            return last[1]
        payload = vote_payload(self.suite, self.genesis_id, self.network, stage, height, view, block_id)
        self._last[stage] = about, payload
        return payload
