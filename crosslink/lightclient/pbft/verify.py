"""Verdicts on headers of our chains.

Invariants:
  V1  Nothing is believed but the state and the certificate: a header counts only under the exact set that its parent
      commits (protocol rule 17, attack R2), signed for this network and this genesis (protocol rule 6, attacks C10
      and R7).
  V2  Heights are consecutive: the block after the tip, and no other, moves the state (attack R6).

Reference: ICS-002 `VerifyClientMessage`; protocol rules 8, 17, 20. Left out: what is alike for every client type
(`crosslink.lightclient.verify`), snapshots (`objects`).
"""

from __future__ import annotations

from common.core.certificate import verify_certificate
from common.core.header import Header
from common.core.suite import Suite
from common.core.validators import ValidatorSet
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.pbft.messages import BareHeader, HeaderMessage
from crosslink.lightclient.pbft.objects import Commitments
from crosslink.lightclient.pbft.trust import PbftTrust, trust_of
from crosslink.lightclient.port import HeaderRefused, Held, Verdict, Verified, VerifiedBlock


def block_of(message: HeaderMessage | BareHeader) -> VerifiedBlock:
    """What the port knows of a header."""
    header = message.header
    return VerifiedBlock(
        height=header.height,
        id=header.id(message.suite),
        parent=header.parent_id,
        time_ms=header.time_ms,
        commitments=Commitments.of(message.suite, header).encode(),
    )


def verify_header(state: ClientState, message: HeaderMessage, *, held: Held, protocol_version: int) -> Verified:
    """Judge one delivered header; see `port.LightClient.verify`.

    Raises `HeaderRefused` (the codes stand in docs/crosslink.md) or `CertificateInvalid`.
    """
    header, trust = message.header, trust_of(state)
    check_chain(state, message)
    block = block_of(message)
    if header.height > state.height + 1:
        raise HeaderRefused(
            "header_gap",
            "Blocks between the trusted tip and this one are missing.",
            height=header.height,
            tip=state.height,
        )
    if header.height <= state.height:
        return _verify_old(state, message, block, held)
    check_signed_by(trust.suite, trust.validators, trust.validators_hash, message)
    if header.parent_id != state.block_id:
        return Verified(block=block, verdict=Verdict.CONFLICTING, trusted_id=state.block_id)
    _check_version(trust, header, protocol_version)
    _check_next_set(trust.suite, message)
    return Verified(block=block, verdict=Verdict.NEXT, trust=trust.advanced(header, message.next_validators))


def check_chain(state: ClientState, message: HeaderMessage) -> None:
    """Raise `HeaderRefused` unless the header names the state's network, genesis and suite (attacks C10 and R7)."""
    check_names(message.header, state.network, state.genesis_id)
    if message.suite.name != trust_of(state).suite.name:
        raise HeaderRefused("wrong_suite", "The header is hashed and signed with another suite than the chain's.")


def check_names(header: Header, network: str, genesis_id: bytes | None) -> None:
    """Raise `HeaderRefused` with `wrong_network` or `wrong_genesis`; `genesis_id` None: any deployment."""
    if header.network != network:
        raise HeaderRefused("wrong_network", "The header belongs to another network.", network=header.network[:64])
    if genesis_id is not None and header.genesis_id != genesis_id:
        raise HeaderRefused("wrong_genesis", "The header belongs to another deployment of this network.")


def check_signed_by(suite: Suite, validators: ValidatorSet, validators_hash: bytes, message: HeaderMessage) -> None:
    """Raise unless exactly this set is named by the header and signed it (protocol rule 17, attack R2)."""
    header = message.header
    if header.validators_hash != validators_hash:
        raise HeaderRefused(
            "wrong_set", "The header names another validator set than its parent commits.", height=header.height
        )
    verify_certificate(suite, validators, header, message.certificate)


def _verify_old(state: ClientState, message: HeaderMessage, block: VerifiedBlock, held: Held) -> Verified:
    header, trust = message.header, trust_of(state)
    known_id = state.block_id if header.height == state.height else held(header.height)
    if known_id is None:
        raise HeaderRefused(
            "stale_header", "The header is below the trusted tip.", height=header.height, tip=state.height
        )
    if block.id == known_id:
        return Verified(block=block, verdict=Verdict.KNOWN)
    if trust.validators_hash_at(header.height) != trust.validators_hash:
        raise HeaderRefused(
            "stale_header",
            "Another set governed this height; a conflict there needs that set (crosslink.misbehaviour).",
            height=header.height,
            tip=state.height,
        )
    check_signed_by(trust.suite, trust.validators, trust.validators_hash, message)
    return Verified(block=block, verdict=Verdict.CONFLICTING, trusted_id=known_id)


def _check_version(trust: PbftTrust, header: Header, newest_version: int) -> None:
    """Versions only rise, and one that the verifier does not know yet waits (protocol rule 8, attack C19)."""
    version = header.protocol_version
    if version < trust.protocol_version:
        raise HeaderRefused(
            "protocol_version_lowered",
            "The chain went back to an older protocol version.",
            height=header.height,
            protocol_version=version,
            known=trust.protocol_version,
        )
    if version > newest_version:
        raise HeaderRefused(
            "protocol_version_ahead",
            "The header obeys a protocol version that is not active here yet; deliver it later.",
            height=header.height,
            protocol_version=version,
            known=newest_version,
        )


def _check_next_set(suite: Suite, message: HeaderMessage) -> None:
    """The set after this block is delivered when it changes, and is the one that the header commits (decision 6)."""
    header = message.header
    if message.next_validators is None:
        if header.next_validators_hash != header.validators_hash:
            raise HeaderRefused(
                "next_set_missing",
                "The validator set changes here and the next set was not delivered.",
                height=header.height,
            )
        return
    message.next_validators.check_keys(suite)
    if message.next_validators.hash(suite) != header.next_validators_hash:
        raise HeaderRefused(
            "next_set_mismatch", "The delivered next set is not the one that the header commits.", height=header.height
        )
