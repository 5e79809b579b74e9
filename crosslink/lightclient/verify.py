"""Is this header, and are these snapshots, what the other chain's validators signed? The first of the three functions.

`verify_header`, then `check_misbehaviour`, then `update`: the caller performs them in this order and keeps the state
between them.

Invariants:
  V1  Nothing is believed but the state and the certificate: a header counts only under the exact set that its parent
      commits (protocol rule 17, attack R2), signed for this network and this genesis (protocol rule 6, attacks C10
      and R7).
  V2  The verdict is a pure function of the arguments. `now_ms` is the verifier's chain time inside consensus, never a
      wall clock there.
  V3  A snapshot counts only if the root in a verified header contains it at exactly its index and count (attacks R5
      and R6).

Reference: ICS-002 `VerifyClientMessage`; protocol rules 16, 17, 19, 20. Left out: JSON Schema of snapshots, order of
deliveries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from common.core import merkle
from common.core.certificate import verify_certificate
from common.core.errors import ProofInvalid
from common.core.header import Header
from common.core.protocol import latest_version
from common.core.snapshot import snapshot_root
from common.core.suite import Suite
from common.core.validators import ValidatorSet
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.messages import HeaderMessage, HeaderRefused

MAX_HEADER_AHEAD_MS = 15_000
"""How far a header may be ahead of the verifier's time: the chains' own bound on clocks (protocol rule 5)."""


class Verdict(StrEnum):
    """What a delivered header is to the state it was verified against."""

    NEXT = "next"
    """The successor of the tip: `update` moves to it."""
    KNOWN = "known"
    """A block that is trusted already: nothing to do (attack R7)."""
    CONFLICTING = "conflicting"
    """Validly certified and incompatible with what is trusted: misbehaviour (protocol rule 20, attack R3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedHeader:
    """A header with its verdict. Only `verify_header` makes one. `trusted_id`: for a conflict, the id that it
    contradicts.
    """

    message: HeaderMessage
    block_id: bytes
    verdict: Verdict
    trusted_id: bytes | None = None

    @property
    def header(self) -> Header:
        """The header itself."""
        return self.message.header


def verify_header(
    state: ClientState,
    message: HeaderMessage,
    *,
    now_ms: int,
    known_id: bytes | None = None,
    newest_version: int | None = None,
) -> VerifiedHeader:
    """Judge one delivered header.

    `now_ms`: the verifier's time (custody block time). `known_id`: the id the verifier holds for a height below the
    tip, if it does. `newest_version`: the newest protocol version whose headers count; inside consensus it must follow
    from the chain, never from the software alone. Raises `HeaderRefused` (its docstring lists the codes) or
    `CertificateInvalid`.
    """
    header = message.header
    check_usable(state, now_ms)
    check_chain(state, header)
    block_id = header.id(state.algorithms)
    if header.height > state.height + 1:
        raise HeaderRefused(
            "header_gap",
            "Blocks between the trusted tip and this one are missing.",
            height=header.height,
            tip=state.height,
        )
    if header.height <= state.height:
        return _verify_old(state, message, block_id, state.block_id if header.height == state.height else known_id)
    check_signed_by(state.algorithms, state.validators, state.validators_hash, message)
    if header.parent_id != state.block_id:
        return VerifiedHeader(
            message=message, block_id=block_id, verdict=Verdict.CONFLICTING, trusted_id=state.block_id
        )
    _check_version(state, header, latest_version() if newest_version is None else newest_version)
    _check_time(state, header, now_ms)
    _check_next_set(state.algorithms, message)
    return VerifiedHeader(message=message, block_id=block_id, verdict=Verdict.NEXT)


def check_usable(state: ClientState, now_ms: int) -> None:
    """Raise `HeaderRefused` with `frozen` (protocol rule 20) or `expired` (protocol rule 19, attack R1)."""
    if state.frozen_height is not None:
        raise HeaderRefused("frozen", "The client is frozen after proven misbehaviour.", height=state.frozen_height)
    if state.is_expired(now_ms):
        raise HeaderRefused("expired", "The trusted tip is older than the trusting period.", tip=state.height)


def check_chain(state: ClientState, header: Header) -> None:
    """Raise `HeaderRefused` unless the header names the state's network and genesis (attacks C10 and R7)."""
    if header.network != state.network:
        raise HeaderRefused("wrong_network", "The header belongs to another network.", network=header.network[:64])
    if header.genesis_id != state.genesis_id:
        raise HeaderRefused("wrong_genesis", "The header belongs to another deployment of this network.")


def check_signed_by(suite: Suite, validators: ValidatorSet, validators_hash: bytes, message: HeaderMessage) -> None:
    """Raise unless exactly this set is named by the header and signed it (protocol rule 17, attack R2)."""
    header = message.header
    if header.validators_hash != validators_hash:
        raise HeaderRefused(
            "wrong_set", "The header names another validator set than its parent commits.", height=header.height
        )
    verify_certificate(suite, validators, header, message.certificate)


def _verify_old(state: ClientState, message: HeaderMessage, block_id: bytes, known_id: bytes | None) -> VerifiedHeader:
    header = message.header
    if known_id is None:
        raise HeaderRefused(
            "stale_header", "The header is below the trusted tip.", height=header.height, tip=state.height
        )
    if block_id == known_id:
        return VerifiedHeader(message=message, block_id=block_id, verdict=Verdict.KNOWN)
    if state.validators_hash_at(header.height) != state.validators_hash:
        raise HeaderRefused(
            "stale_header",
            "Another set governed this height; a conflict there needs that set (crosslink.misbehaviour).",
            height=header.height,
            tip=state.height,
        )
    check_signed_by(state.algorithms, state.validators, state.validators_hash, message)
    return VerifiedHeader(message=message, block_id=block_id, verdict=Verdict.CONFLICTING, trusted_id=known_id)


def _check_version(state: ClientState, header: Header, newest_version: int) -> None:
    """Versions only rise, and one that the verifier does not know yet waits (protocol rule 8, attack C19)."""
    version = header.protocol_version
    if version < state.protocol_version:
        raise HeaderRefused(
            "protocol_version_lowered",
            "The chain went back to an older protocol version.",
            height=header.height,
            protocol_version=version,
            known=state.protocol_version,
        )
    if version > newest_version:
        raise HeaderRefused(
            "protocol_version_ahead",
            "The header obeys a protocol version that is not active here yet; deliver it later.",
            height=header.height,
            protocol_version=version,
            known=newest_version,
        )


def _check_time(state: ClientState, header: Header, now_ms: int) -> None:
    if header.time_ms <= state.time_ms:
        raise HeaderRefused("wrong_time", "Block time does not increase.", height=header.height, time_ms=header.time_ms)
    if header.time_ms > now_ms + MAX_HEADER_AHEAD_MS:
        raise HeaderRefused(
            "future_header",
            "The header is ahead of the verifier's time; deliver it later.",
            height=header.height,
            time_ms=header.time_ms,
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


def verify_snapshots(
    suite: Suite,
    header: Header,
    start: int,
    snapshots: Sequence[bytes],
    proofs: Sequence[Sequence[bytes]] | None = None,
) -> None:
    """Check that `snapshots` are exactly the snapshots `start`, `start + 1`, … of the block of a *verified* header.

    Without proofs they must be the whole block, and its root is recomputed; with proofs each is checked by itself.
    Raises `ProofInvalid` with snapshot_count, snapshot_root_mismatch, snapshot_proofs_missing, or a Merkle code
    (attacks R5, R6, E6, E7, E8).
    """
    count = header.snapshot_count
    if not 0 <= start <= count or start + len(snapshots) > count or (count and not snapshots):
        raise ProofInvalid(
            "snapshot_count",
            "These are not snapshots of this block.",
            start=max(start, 0),
            delivered=len(snapshots),
            count=count,
        )
    if proofs is not None:
        if len(proofs) != len(snapshots):
            raise ProofInvalid(
                "snapshot_proofs_missing", "Each snapshot of a part needs its own proof.", count=len(snapshots)
            )
        for offset, (snapshot, proof) in enumerate(zip(snapshots, proofs, strict=True)):
            merkle.verify_inclusion(suite.hash, header.snapshot_root, snapshot, start + offset, count, proof)
        return
    if len(snapshots) != count:
        raise ProofInvalid(
            "snapshot_proofs_missing",
            "A part of a block needs inclusion proofs.",
            delivered=len(snapshots),
            count=count,
        )
    if snapshot_root(suite, snapshots) != header.snapshot_root:
        raise ProofInvalid(
            "snapshot_root_mismatch", "The snapshots are not those that the block commits.", height=header.height
        )
