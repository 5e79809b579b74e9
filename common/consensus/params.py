"""Numbers of the consensus: time-outs, which a chain sets in genesis, and bounds on what peers can make a replica keep.

Invariants: a time-out grows with the view and never beyond its cap (protocol rule 4, attack C13); every buffer that a
peer can fill has a bound here (attack C13).
Left out: limits of the block itself (genesis parameters, checked by the executor).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from common.core.parameters import ChainParameters

MAX_HEIGHTS_AHEAD: Final = 4
"""Messages this far above the open height are kept until their turn; a replica further behind must sync anyway."""
MAX_KEPT_MESSAGES_PER_PEER: Final = 64
"""An honest peer sends about four messages a height and view."""
MAX_KEPT_BYTES_PER_PEER: Final = 4 * 1024 * 1024
"""Room for one proposal of the largest block and the votes around it."""
MAX_VOTED_VIEWS_PER_MEMBER: Final = 8
"""Views of one height for which one member's votes of one phase are kept; of a ninth, the lowest goes."""
MAX_ACCUSATIONS: Final = 256
"""Contradictions reported within one height; one is enough to prove a member faulty."""
MAX_SHOWN_DISSENTS: Final = 4
"""Votes against a view's proposal that are passed on: one that is proven double is enough, and a leader that shows half
of a hundred members another block must not set off a hundred times a hundred broadcasts."""
MAX_VERIFIED_SIGNATURES: Final = 16_384
"""Signatures remembered as verified within one height: every vote of 100 members in about 80 views."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsensusParameters:
    """Time-outs of a chain, in milliseconds."""

    view_timeout_ms: int = 2000
    """Time-out of view 0 of every height."""
    max_view_timeout_ms: int = 60_000
    """Cap of the doubling."""

    @classmethod
    def of(cls, parameters: ChainParameters) -> Self:
        """Those of a genesis document."""
        return cls(view_timeout_ms=parameters.view_timeout_ms, max_view_timeout_ms=parameters.max_view_timeout_ms)

    def timeout_ms(self, view: int) -> int:
        """`view_timeout_ms * 2^view`, at most `max_view_timeout_ms`.

        Every height starts at view 0, so time-outs fall back after each decision (protocol rule 4).
        """
        doublings = min(view, 32)
        return min(self.view_timeout_ms << doublings, self.max_view_timeout_ms)
