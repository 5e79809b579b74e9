"""The port through which chains of any make attach: a `client_type` names how headers and misbehaviour are verified
(protocol rule 22).

The custody chain and the relay ask `client_for(state.client_type)` and call the three functions through it, in the
order verify, check misbehaviour, update; neither names a verifier. A foreign chain joins by a module with these
functions and one entry in `_CLIENTS` (and in `trust_root.CLIENT_TYPES`); its headers and certificates are opaque
bytes to everybody else.

Left out: what a snapshot means. Snapshots are committed by `snapshot_root` and `snapshot_count` of the header for
every client type.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from common.core.errors import Malformed
from common.core.validators import ValidatorSet
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.messages import HeaderMessage, decode_header_message
from crosslink.lightclient.misbehaviour import Misbehaviour, check_misbehaviour, verify_misbehaviour
from crosslink.lightclient.trust_root import PBFT_CLIENT_TYPE, TrustRoot
from crosslink.lightclient.update import freeze, update
from crosslink.lightclient.verify import VerifiedHeader, verify_header


class InitialState(Protocol):
    """`ClientState.from_root`."""

    def __call__(self, root: TrustRoot, *, established_ms: int) -> ClientState: ...


class VerifyHeader(Protocol):
    """`verify.verify_header`."""

    def __call__(
        self,
        state: ClientState,
        message: HeaderMessage,
        *,
        now_ms: int,
        known_id: bytes | None = None,
        newest_version: int | None = None,
    ) -> VerifiedHeader: ...


class VerifyMisbehaviour(Protocol):
    """`misbehaviour.verify_misbehaviour`."""

    def __call__(
        self,
        state: ClientState,
        first: HeaderMessage,
        second: HeaderMessage,
        *,
        now_ms: int,
        validators: ValidatorSet | None = None,
    ) -> Misbehaviour: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LightClient:
    """The functions of one client type, all pure."""

    client_type: str
    initial_state: InitialState
    decode: Callable[[bytes, bytes, bytes | None], HeaderMessage]
    verify: VerifyHeader
    check_misbehaviour: Callable[[ClientState, VerifiedHeader], Misbehaviour | None]
    verify_misbehaviour: VerifyMisbehaviour
    update: Callable[[ClientState, VerifiedHeader], ClientState]
    freeze: Callable[[ClientState, Misbehaviour], ClientState]


_CLIENTS = {
    PBFT_CLIENT_TYPE: LightClient(
        client_type=PBFT_CLIENT_TYPE,
        initial_state=ClientState.from_root,
        decode=decode_header_message,
        verify=verify_header,
        check_misbehaviour=check_misbehaviour,
        verify_misbehaviour=verify_misbehaviour,
        update=update,
        freeze=freeze,
    )
}


def client_for(client_type: str) -> LightClient:
    """The verifier of a client type. Raises `Malformed('unknown_client_type')`."""
    client = _CLIENTS.get(client_type)
    if client is None:
        raise Malformed(
            "unknown_client_type", "No verifier is known for this client type.", client_type=client_type[:64]
        )
    return client
