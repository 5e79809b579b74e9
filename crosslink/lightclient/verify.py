"""Is this header what the other chain's validators signed? The first of the three functions, and what is alike for all.

`verify`, then `check_misbehaviour`, then `update`: the caller performs them in this order and keeps the state between
them. The client type judges the header; here stands what no type may leave out.

Invariants:
  V1  A frozen or expired client judges nothing (protocol rules 19 and 20, attack R1).
  V2  The time of the next block rises, and is at most `MAX_HEADER_AHEAD_MS` ahead of the verifier's.
  V3  No contradiction at or below the root's own block counts: governance chose that block, and what it has judged does
      not undo a recovery.
  V4  The verdict is a pure function of the arguments. `now_ms` is the verifier's chain time inside consensus, never a
      wall clock there.

Reference: ICS-002 `VerifyClientMessage`; protocol rules 17, 19, 20. Left out: objects (`delivery`).
"""

from __future__ import annotations

from common.core.protocol import latest_version
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.client_types import client_for
from crosslink.lightclient.port import HeaderRefused, Held, Misbehaviour, Verdict, Verified, holds_nothing

MAX_HEADER_AHEAD_MS = 15_000
"""How far a header may be ahead of the verifier's time: our chains' own bound on clocks (protocol rule 5)."""


def verify(
    state: ClientState,
    header: bytes,
    *,
    now_ms: int,
    held: Held = holds_nothing,
    protocol_version: int | None = None,
) -> Verified:
    """Judge one delivered header.

    `now_ms`: the verifier's time (custody block time). `held`: the ids that the verifier holds at and below the tip.
    `protocol_version`: the verifier's; inside consensus it must follow from the chain, never from the software alone
    (None: the newest that this software knows).
    Raises `HeaderRefused`, or what the client type raises (`Malformed` and `CertificateInvalid` kinds).
    """
    check_usable(state, now_ms)
    version = latest_version() if protocol_version is None else protocol_version
    verified = client_for(state.client_type).verify(state, header, held=held, protocol_version=version)
    if verified.verdict is Verdict.NEXT:
        _check_time(state, verified, now_ms)
    elif verified.verdict is Verdict.CONFLICTING:
        _check_above_root(state, verified.block.height)
    return verified


def check_misbehaviour(state: ClientState, verified: Verified, held: Held = holds_nothing) -> Misbehaviour | None:
    """The contradiction that a verified header proves against `state`, or None. The second of the three functions."""
    if verified.verdict is not Verdict.CONFLICTING:
        return None
    return client_for(state.client_type).check_misbehaviour(state, verified, held)


def verify_misbehaviour(state: ClientState, first: bytes, second: bytes, *, now_ms: int) -> Misbehaviour:
    """Judge a pair of headers that anybody brought as evidence.

    Raises `HeaderRefused` (`misbehaviour_unproven`, `header_gap`, `stale_header`, `frozen`, `expired` …) or what the
    client type raises.
    """
    check_usable(state, now_ms)
    proven = client_for(state.client_type).verify_misbehaviour(state, first, second)
    _check_above_root(state, proven.height)
    return proven


def check_usable(state: ClientState, now_ms: int) -> None:
    """Raise `HeaderRefused` with `frozen` (protocol rule 20) or `expired` (protocol rule 19, attack R1)."""
    if state.frozen_height is not None:
        raise HeaderRefused("frozen", "The client is frozen after proven misbehaviour.", height=state.frozen_height)
    if state.is_expired(now_ms):
        raise HeaderRefused("expired", "The trusted tip is older than the trusting period.", tip=state.height)


def _check_above_root(state: ClientState, height: int) -> None:
    """What governance trusts is not contradicted by what came before it (V3)."""
    if height <= state.root_height:
        raise HeaderRefused(
            "stale_header", "The contradiction is at or below the block that the root trusts.", height=height
        )


def _check_time(state: ClientState, verified: Verified, now_ms: int) -> None:
    block = verified.block
    if block.time_ms <= state.time_ms:
        raise HeaderRefused("wrong_time", "Block time does not increase.", height=block.height, time_ms=block.time_ms)
    if block.time_ms > now_ms + MAX_HEADER_AHEAD_MS:
        raise HeaderRefused(
            "future_header",
            "The header is ahead of the verifier's time; deliver it later.",
            height=block.height,
            time_ms=block.time_ms,
        )
