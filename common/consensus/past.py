"""Messages for heights that are final: who is merely late, and who needs the block (protocol rule 3).

A vote that arrives after the decision is the normal case: a quorum does not wait for the rest. A VIEW-CHANGE or
NEW-VIEW for a final height, a message seen before and sent again, or one from two heights back comes from a replica
that is stuck, and is answered with the final block.

Invariant: what is remembered is bounded (attack C13). Left out: how often one peer is answered at all (the runtime's
queues, `effects` rule F4).
"""

from __future__ import annotations

from typing import Final

from common.consensus.messages import ConsensusMessage, NewView, Stage, ViewChange

_MAX_REMEMBERED: Final = 4096
"""Messages of 100 members in ten views; beyond that, every message counts as repeated."""


class PastMessages:
    """What was received for the open height and the one before it."""

    def __init__(self) -> None:
        self._open: set[tuple[int, Stage, int]] = set()
        self._tip: set[tuple[int, Stage, int]] = set()
        self._helped: dict[int, int] = {}

    def saw(self, message: ConsensusMessage) -> None:
        """Note a message of the open height."""
        if len(self._open) < _MAX_REMEMBERED:
            self._open.add((message.view, message.stage, message.signer))

    def close(self, open_height: int, tip_height: int) -> None:
        """The tip moved on to `tip_height`, usually the height that was open."""
        self._tip = self._open if open_height == tip_height else set()
        self._open = set()

    def needs_help(self, message: ConsensusMessage, sender: int, tip_height: int) -> bool:
        """Whether `sender` should get the final block of the message's height."""
        if isinstance(message, ViewChange | NewView):
            return True
        if message.height == tip_height:
            seen = (message.view, message.stage, message.signer)
            if seen in self._tip or len(self._tip) >= _MAX_REMEMBERED:
                return True
            self._tip.add(seen)
            return False
        if message.height < tip_height - 1 and self._helped.get(sender, 0) < message.height:
            self._helped[sender] = message.height
            return True
        return False
