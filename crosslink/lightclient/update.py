"""Move the trusted state. The third of the three functions: it decides nothing, it follows verdicts.

Invariants:
  U1  Only a header with the verdict NEXT moves the tip, by exactly one height; KNOWN leaves the state as it is.
  U2  A frozen state comes from proven misbehaviour alone and never moves again (protocol rule 20).

Reference: ICS-002 `UpdateState`, `UpdateStateOnMisbehaviour`.
"""

from __future__ import annotations

from dataclasses import replace

from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.messages import HeaderRefused
from crosslink.lightclient.misbehaviour import Misbehaviour
from crosslink.lightclient.verify import Verdict, VerifiedHeader


def update(state: ClientState, verified: VerifiedHeader) -> ClientState:
    """The state after a verified header.

    Raises `HeaderRefused`: `wrong_parent` for a conflicting header (freeze instead), `header_gap` or `stale_header`
    if the header was verified against another state than this one.
    """
    header = verified.header
    if verified.verdict is Verdict.KNOWN:
        return state
    if verified.verdict is Verdict.CONFLICTING or header.parent_id != state.block_id:
        raise HeaderRefused(
            "wrong_parent", "The header does not follow the trusted tip.", height=header.height, tip=state.height
        )
    if header.height != state.height + 1:
        code = "header_gap" if header.height > state.height else "stale_header"
        raise HeaderRefused(
            code, "The header was verified against another state.", height=header.height, tip=state.height
        )
    return state.advanced(header, verified.block_id, verified.message.next_validators)


def freeze(state: ClientState, misbehaviour: Misbehaviour) -> ClientState:
    """The state after proven misbehaviour: everything trusted stays provable, nothing new is accepted."""
    return replace(state, frozen_height=misbehaviour.height)
