"""Move the trusted state. The third of the three functions: it decides nothing, it follows verdicts.

Invariants:
  U1  Only a block with the verdict NEXT that stands on the tip moves it, and only upwards; KNOWN leaves the state as it
      is.
  U2  A frozen state comes from proven misbehaviour alone and never moves again (protocol rule 20).

The same for every client type. Reference: ICS-002 `UpdateState`, `UpdateStateOnMisbehaviour`.
"""

from __future__ import annotations

from dataclasses import replace

from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.port import HeaderRefused, Misbehaviour, Verdict, Verified


def update(state: ClientState, verified: Verified) -> ClientState:
    """The state after a verified header.

    Raises `HeaderRefused`: `wrong_parent` for a conflicting header (freeze instead) or one that was verified against
    another state than this one, `stale_header` for one that is not above the tip.
    """
    block = verified.block
    if verified.verdict is Verdict.KNOWN:
        return state
    if verified.verdict is Verdict.CONFLICTING or block.parent != state.block_id:
        raise HeaderRefused(
            "wrong_parent", "The header does not follow the trusted tip.", height=block.height, tip=state.height
        )
    if block.height <= state.height:
        raise HeaderRefused(
            "stale_header", "The header is not above the trusted tip.", height=block.height, tip=state.height
        )
    return replace(state, height=block.height, block_id=block.id, time_ms=block.time_ms, trust=verified.trust)


def freeze(state: ClientState, misbehaviour: Misbehaviour) -> ClientState:
    """The state after proven misbehaviour: everything trusted stays provable, nothing new is accepted."""
    return replace(state, frozen_height=misbehaviour.height)
