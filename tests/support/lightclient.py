"""Our own chains' light client with decoded messages in, as tests make them; the port takes their bytes."""

from __future__ import annotations

from dataclasses import replace

from common.core.validators import ValidatorSet
from crosslink.lightclient import verify
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.pbft.messages import HeaderMessage
from crosslink.lightclient.port import Misbehaviour, Verified


def verify_header(
    state: ClientState,
    message: HeaderMessage,
    *,
    now_ms: int,
    known_id: bytes | None = None,
    newest_version: int | None = None,
) -> Verified:
    """`verify.verify`, where the verifier holds `known_id` for the message's height and nothing else."""
    held = {message.header.height: known_id}
    return verify.verify(state, message.encode(), now_ms=now_ms, held=held.get, protocol_version=newest_version)


def verify_misbehaviour(
    state: ClientState,
    first: HeaderMessage,
    second: HeaderMessage,
    *,
    now_ms: int,
    validators: ValidatorSet | None = None,
) -> Misbehaviour:
    """`verify.verify_misbehaviour`; `validators` is the set that governed the pair, delivered along."""
    pair = (first.encode(), replace(second, governing=validators).encode())
    return verify.verify_misbehaviour(state, *pair, now_ms=now_ms)
