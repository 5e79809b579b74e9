"""The client type of our own chains, behind the port."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.pbft import chain, misbehaviour
from crosslink.lightclient.pbft import objects as committed
from crosslink.lightclient.pbft import trust as pbft_trust
from crosslink.lightclient.pbft.messages import BareHeader, HeaderMessage
from crosslink.lightclient.pbft.reader import PbftReader
from crosslink.lightclient.pbft.verify import block_of, check_names, verify_header
from crosslink.lightclient.port import Delivered, Held, LightClient, Misbehaviour, Verified, VerifiedBlock
from crosslink.lightclient.reading import SourceReader
from crosslink.lightclient.trust_root import TrustRoot


class PbftClient:
    """Implements `port.LightClient`; what each function promises stands there."""

    client_type = pbft_trust.PBFT_CLIENT_TYPE
    since = 1
    reader: SourceReader = PbftReader()

    def fingerprint(self, root: TrustRoot) -> bytes:
        return pbft_trust.fingerprint(root)

    def initial_trust(self, root: TrustRoot) -> object:
        return pbft_trust.initial_trust(root)

    def read_trust(self, document: Any, *, height: int) -> object:
        return pbft_trust.PbftTrust.from_json(document, height=height)

    def write_trust(self, trust: object) -> dict[str, Any]:
        assert isinstance(trust, pbft_trust.PbftTrust)
        return trust.to_json()

    def verify(self, state: ClientState, header: bytes, *, held: Held, protocol_version: int) -> Verified:
        return verify_header(state, HeaderMessage.decode(header), held=held, protocol_version=protocol_version)

    def check_misbehaviour(self, state: ClientState, verified: Verified, held: Held) -> Misbehaviour | None:
        return misbehaviour.check_misbehaviour(state, verified, held)

    def verify_misbehaviour(self, state: ClientState, first: bytes, second: bytes) -> Misbehaviour:
        return misbehaviour.verify_misbehaviour(state, HeaderMessage.decode(first), HeaderMessage.decode(second))

    def bare_header(self, header: bytes) -> bytes:
        return BareHeader.of(header).encode()

    def read_block(self, header: bytes, *, network: str, genesis_id: bytes | None = None) -> VerifiedBlock:
        bare = BareHeader.of(header)
        check_names(bare.header, network, genesis_id)
        chain.check_known_version(bare)
        return block_of(bare)

    def verify_chain(self, root: TrustRoot, headers: Sequence[bytes]) -> VerifiedBlock:
        return chain.verify_chain(root, headers)

    def verify_objects(
        self, commitments: bytes, start: int, objects: Sequence[bytes], proofs: Sequence[bytes] | None
    ) -> Delivered:
        return committed.verify_objects(commitments, start, objects, proofs)

    def prove_objects(self, commitments: bytes, objects: Sequence[bytes]) -> tuple[bytes, ...]:
        return committed.prove_objects(commitments, objects)

    def verify_value(self, commitments: bytes, key: bytes, value: bytes | None, proof: Any) -> None:
        committed.verify_value(commitments, key, value, proof)


PBFT: LightClient = PbftClient()
