"""The client type `islet/v1` behind the product's port, and its one registration."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from common.core.errors import CertificateInvalid, Malformed, ProofInvalid, Rejected
from common.model.sealed import SealedBody
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.client_types import register
from crosslink.lightclient.json_fields import Fields
from crosslink.lightclient.port import (
    SAME_HEIGHT,
    WRONG_PARENT,
    Culprit,
    Delivered,
    HeaderRefused,
    Held,
    LightClient,
    Misbehaviour,
    Verdict,
    Verified,
    VerifiedBlock,
)
from crosslink.lightclient.reading import Conversation, Read, Request, ServedBlock, ServedPage, SourceReader, decode
from crosslink.lightclient.trust_root import Checkpoint, TrustRoot
from tests.foreign.blocks import END, SIZE, Block, Islet, compact, digest, is_signed_by, prove

ISLET_CLIENT_TYPE = "islet/v1"


@dataclass(frozen=True)
class IsletTrust:
    """Who signs now: (name, weight, key), and how often that was handed over."""

    validators: tuple[tuple[str, int, str], ...]
    epoch: int

    @property
    def weight(self) -> int:
        """Of all."""
        return sum(weight for _, weight, _ in self.validators)


def _trust(document: Any) -> IsletTrust:
    fields = Fields(document, "trust")
    members = []
    for item in fields.list("validators", max_count=50):
        member = Fields(item, "validator")
        weight = member.integer("weight", minimum=1, maximum=1_000)
        members.append((member.text("name"), weight, member.text("key")))
        member.end()
    trust = IsletTrust(tuple(members), fields.integer("epoch"))
    fields.end()
    if not members or len({name for name, _, _ in members}) != len(members):
        raise Malformed("trust_members", "Validators are there, and each once.")
    return trust


def _document(trust: IsletTrust) -> dict[str, Any]:
    members = [{"name": name, "weight": weight, "key": key} for name, weight, key in trust.validators]
    return {"validators": members, "epoch": trust.epoch}


def _object(text: str | bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Malformed("islet_json", "Not an object of JSON.")
    return document


@dataclass(frozen=True)
class _Header:
    block: VerifiedBlock
    body: str
    chain: str
    origin: str
    before_slot: int
    epoch: int
    signatures: Mapping[str, str]
    handover: Mapping[str, Any] | None

    @classmethod
    def parse(cls, data: bytes) -> _Header:
        """Raises `Malformed`; one header has one spelling."""
        document = _object(data)
        outer = Fields(document, "header")
        text = outer.text("body", max_size=4096)
        signatures = outer.mapping("signatures") if outer.has("signatures") else {}
        handover = outer.mapping("handover") if outer.has("handover") else None
        outer.end()
        if not text.isascii() or compact(document).encode() != data:
            raise Malformed("islet_spelling", "The header is spelt in another way.")
        body = Fields(_object(text), "body")
        slot = body.integer("slot", minimum=1)
        block = VerifiedBlock(
            height=slot,
            id=digest(text.encode()),
            parent=body.hex("before", size=SIZE),
            time_ms=1000 * body.integer("seconds", maximum=10**10),
            commitments=body.hex("objects", size=SIZE),
        )
        header = cls(
            block=block,
            body=text,
            chain=body.text("chain"),
            origin=body.text("origin"),
            before_slot=body.integer("before_slot", maximum=slot - 1),
            epoch=body.integer("epoch"),
            signatures=signatures,
            handover=handover,
        )
        body.end()
        return header

    def check_chain(self, network: str, genesis_id: bytes | None) -> None:
        if self.chain != network:
            raise HeaderRefused("wrong_network", "The header belongs to another network.")
        if genesis_id is not None and self.origin != genesis_id.hex():
            raise HeaderRefused("wrong_genesis", "The header belongs to another deployment.")


def _signers(trust: IsletTrust, text: str, signatures: Mapping[str, Any]) -> frozenset[str]:
    """Who signed; more than two thirds of the weight. Raises `CertificateInvalid`."""
    keys = {name: (weight, key) for name, weight, key in trust.validators}
    if not set(signatures) <= set(keys):
        raise CertificateInvalid("certificate_unknown_signer", "Somebody else signed.")
    for name, signature in signatures.items():
        if not isinstance(signature, str) or not is_signed_by(keys[name][1], text, signature):
            raise CertificateInvalid("certificate_bad_signature", "A signature is wrong.", signer=name)
    if 3 * sum(keys[name][0] for name in signatures) <= 2 * trust.weight:
        raise CertificateInvalid("certificate_too_few", "Too little weight signed.")
    return frozenset(signatures)


def _handed_over(trust: IsletTrust, header: _Header) -> IsletTrust:
    """Who signs this header: the present validators, or those to whom they handed over."""
    if header.handover is None or header.epoch == trust.epoch:
        return trust
    outer = Fields(dict(header.handover), "handover")
    text, signatures = outer.text("body", max_size=8192), outer.mapping("signatures")
    outer.end()
    _signers(trust, text, signatures)
    said = _object(text)
    following = _trust({name: said.get(name) for name in ("validators", "epoch")})
    if said.get("chain") != header.chain or following.epoch != trust.epoch + 1:
        raise HeaderRefused("wrong_set", "The hand-over is not the next one of this chain.")
    return following


def _check_epoch(trust: IsletTrust, header: _Header) -> None:
    if header.epoch != trust.epoch:
        raise HeaderRefused("wrong_set", "Other validators signed this header.", height=header.block.height)


class IsletReader:
    """JSON-RPC: `head`, then `slots` from a slot on, then each block."""

    def blocks(self, state: ClientState, read: Read) -> Conversation[ServedPage]:
        """Many requests for one page."""
        tip = yield from self.tip(state)
        asked = {"method": "slots", "from": read.from_height, "limit": min(read.limit, 20)}
        listed = yield _call(asked)
        blocks = []
        for slot in decode(listed, list[int], "slots")[: read.limit]:
            answer = yield _call({"method": "block", "slot": slot})
            block = _object(answer)
            objects = tuple(base64.b64decode(text) for text in block.get("objects", ()))
            blocks.append(ServedBlock(str(block.get("header")).encode(), objects))
        return ServedPage(tuple(blocks), tip)

    def tip(self, state: ClientState) -> Conversation[int]:
        """The newest slot."""
        answer = yield _call({"method": "head"})
        return decode(answer, int, "head")

    def body(self, state: ClientState, body: SealedBody) -> None:
        """Its nodes hand out none."""

    def is_body(self, state: ClientState, body: SealedBody, data: bytes) -> bool:
        """Never asked."""
        return False


def _call(document: dict[str, Any]) -> Request:
    return Request(path="/rpc", body=compact(document).encode())


class IsletClient:
    """Implements `port.LightClient`."""

    client_type = ISLET_CLIENT_TYPE
    since = 1
    reader: SourceReader = IsletReader()

    def fingerprint(self, root: TrustRoot) -> bytes:
        return digest(root.identity())[:32]

    def initial_trust(self, root: TrustRoot) -> object:
        trust = _trust(dict(root.trust))
        return trust if root.checkpoint is None else _trust(dict(root.checkpoint.trust))

    def read_trust(self, document: Any, *, height: int) -> object:
        return _trust(document)

    def write_trust(self, trust: object) -> dict[str, Any]:
        assert isinstance(trust, IsletTrust)
        return _document(trust)

    def verify(self, state: ClientState, header: bytes, *, held: Held, protocol_version: int) -> Verified:
        found, trust = _Header.parse(header), state.trust
        assert isinstance(trust, IsletTrust)
        found.check_chain(state.network, state.genesis_id)
        block = found.block
        if block.height > state.height and found.before_slot > state.height:
            raise HeaderRefused("header_gap", "Blocks before it are missing.", height=block.height)
        known_id = state.block_id if block.height == state.height else held(block.height)
        if block.height > state.height:
            following = _handed_over(trust, found)
            _check_epoch(following, found)
            _signers(following, found.body, found.signatures)
            if block.parent == state.block_id:
                return Verified(block=block, verdict=Verdict.NEXT, trust=following)
            return Verified(block=block, verdict=Verdict.CONFLICTING, trusted_id=state.block_id)
        if known_id is None:
            raise HeaderRefused("stale_header", "Nothing is held for this slot.", height=block.height)
        if block.id == known_id:
            return Verified(block=block, verdict=Verdict.KNOWN)
        _check_epoch(trust, found)
        _signers(trust, found.body, found.signatures)
        return Verified(block=block, verdict=Verdict.CONFLICTING, trusted_id=known_id)

    def check_misbehaviour(self, state: ClientState, verified: Verified, held: Held) -> Misbehaviour | None:
        block, trusted_id = verified.block, verified.trusted_id
        assert trusted_id is not None
        above = block.height > state.height
        pairs = [(block.height, trusted_id, block.id)]
        if above:
            pairs.append((state.height, trusted_id, block.parent))
        return Misbehaviour(
            kind=WRONG_PARENT if above else SAME_HEIGHT,
            network=state.network,
            height=block.height,
            first_id=trusted_id,
            second_id=block.id,
            pairs=tuple(pairs),
            settled_by=((trusted_id, block.id),),
        )

    def verify_misbehaviour(self, state: ClientState, first: bytes, second: bytes) -> Misbehaviour:
        trust = state.trust
        assert isinstance(trust, IsletTrust)
        one, two = _Header.parse(first), _Header.parse(second)
        signers = []
        for found in (one, two):
            found.check_chain(state.network, state.genesis_id)
            _check_epoch(trust, found)
            signers.append(_signers(trust, found.body, found.signatures))
        if one.block.height != two.block.height or one.block.id == two.block.id:
            raise HeaderRefused("misbehaviour_unproven", "The two headers contradict each other in nothing.")
        both = signers[0] & signers[1]
        culprits = [
            Culprit(name=name, organisation="islet", public_key=key)
            for name, _, key in sorted(trust.validators)
            if name in both
        ]
        return Misbehaviour(
            kind=SAME_HEIGHT,
            network=state.network,
            height=one.block.height,
            first_id=one.block.id,
            second_id=two.block.id,
            culprits=tuple(culprits),
            pairs=((one.block.height, one.block.id, two.block.id),),
            settled_by=((one.block.id, two.block.id),),
        )

    def bare_header(self, header: bytes) -> bytes:
        return compact({"body": _Header.parse(header).body}).encode()

    def read_block(self, header: bytes, *, network: str, genesis_id: bytes | None = None) -> VerifiedBlock:
        found = _Header.parse(header)
        found.check_chain(network, genesis_id)
        return found.block

    def verify_chain(self, root: TrustRoot, headers: Sequence[bytes]) -> VerifiedBlock:
        trust = self.initial_trust(root)
        assert isinstance(trust, IsletTrust)
        for header in headers:
            found = _Header.parse(header)
            found.check_chain(root.network, root.genesis_id)
            trust = _handed_over(trust, found)
            _check_epoch(trust, found)
            _signers(trust, found.body, found.signatures)
        return found.block

    def verify_objects(
        self, commitments: bytes, start: int, objects: Sequence[bytes], proofs: Sequence[bytes] | None
    ) -> Delivered:
        if not objects:
            return Delivered(complete=start == 0 and commitments == END)
        if proofs is None:
            proofs = prove(objects)
            if start or proofs[-1][-SIZE:] != END:
                raise ProofInvalid("snapshot_proofs_missing", "A part needs proofs.")
        if len(proofs) != len(objects):
            raise ProofInvalid("snapshot_proofs_missing", "Each object needs a proof.")
        for at, (data, proof) in enumerate(zip(objects, proofs, strict=True), start):
            steps = [proof[place : place + SIZE] for place in range(0, len(proof), SIZE)]
            if len(steps) != at + 1 or len(proof) % SIZE:
                raise ProofInvalid("proof_length", "The proof is of another place.", index=at)
            link = digest(steps[-1] + digest(data))
            for before in reversed(steps[:-1]):
                link = digest(link + before)
            if link != commitments:
                raise ProofInvalid("proof_root_mismatch", "The proof leads to another root.", index=at)
        return Delivered(complete=proofs[-1][-SIZE:] == END)

    def prove_objects(self, commitments: bytes, objects: Sequence[bytes]) -> tuple[bytes, ...]:
        return prove(objects)

    def verify_value(self, commitments: bytes, key: bytes, value: bytes | None, proof: Any) -> None:
        raise ProofInvalid("state_proof_format", "Chains of this make prove no state.")


ISLET: LightClient = IsletClient()
register(ISLET)


def trust_document(chain: Islet) -> dict[str, Any]:
    """`trust` of a root or checkpoint at the chain's present validators."""
    return {"validators": chain.validators(), "epoch": chain.epoch}


def root_of(chain: Islet, **changes: Any) -> TrustRoot:
    """The root of a chain that has not handed over yet."""
    assert chain.epoch == 0
    root = TrustRoot(
        network=chain.network, client_type=ISLET_CLIENT_TYPE, genesis_id=chain.origin, trust=trust_document(chain)
    )
    return replace(root, **changes)


def checkpoint_of(chain: Islet, block: Block) -> Checkpoint:
    """Trust from a block on, with the present validators."""
    return Checkpoint(
        height=block.slot, id=block.id, time_ms=1000 * int(block.body["seconds"]), trust=trust_document(chain)
    )


def rpc(chain: Sequence[Block], body: bytes) -> bytes:
    """A node's answer to one call, over the blocks that it has. Raises `Malformed`."""
    call = _object(body)
    match call.get("method"):
        case "head":
            return str(chain[-1].slot if chain else 0).encode()
        case "slots":
            found = [block.slot for block in chain if block.slot >= call["from"]]
            return compact(found[: call["limit"]]).encode()
        case "block":
            block = next(block for block in chain if block.slot == call["slot"])
            objects = [base64.b64encode(data).decode() for data in block.objects]
            return compact({"header": block.signed.decode(), "objects": objects}).encode()
    raise Rejected("route_unknown", "no such method")
