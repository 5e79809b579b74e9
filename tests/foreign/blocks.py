"""Bytes and signatures of the foreign chain ("islet"). Nothing of the product is used here.

A signed header is the JSON of `{"body": text, "signatures": {name: hex}, "handover"?: {"body", "signatures"}}`, a bare
one of `{"body": text}`; keys sorted, no white space. `body` is JSON of `{"chain", "origin", "slot", "before",
"before_slot", "epoch", "seconds", "objects"}`, the block id its BLAKE2b.

`objects` is the first link of a chain of hashes: link i = H(link i+1 | H(object i)), and the link after the last object
is H("end"). The proof of object i is H(object 0), …, H(object i-1), link i+1.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CURVE = ec.SECP256K1()
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
SIZE = 48


def digest(data: bytes) -> bytes:
    """The chain's hash."""
    return hashlib.blake2b(data, digest_size=SIZE).digest()


END = digest(b"end")


def compact(document: Any) -> str:
    """The chain's JSON."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def secret_of(name: str) -> ec.EllipticCurvePrivateKey:
    """A test validator's key."""
    number = int.from_bytes(hashlib.sha512(b"islet " + name.encode()).digest()) % (ORDER - 1) + 1
    return ec.derive_private_key(number, CURVE)


def public_of(name: str) -> str:
    """Its public key, compressed, in hex."""
    return secret_of(name).public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint).hex()


def sign(name: str, body: str) -> str:
    """A signature, hex; the same bytes every time."""
    scheme = ec.ECDSA(hashes.SHA3_256(), deterministic_signing=True)
    return secret_of(name).sign(body.encode(), scheme).hex()


def is_signed_by(public_key: str, body: str, signature: str) -> bool:
    """Whether the signature, in lower-case hex alone, is that key's: one signature has one spelling."""
    if signature != signature.lower():
        return False
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(CURVE, bytes.fromhex(public_key))
        key.verify(bytes.fromhex(signature), body.encode(), ec.ECDSA(hashes.SHA3_256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def link_objects(objects: Sequence[bytes]) -> list[bytes]:
    """All links, from the first object's to the end."""
    links = [END]
    for data in reversed(objects):
        links.append(digest(links[-1] + digest(data)))
    return links[::-1]


def prove(objects: Sequence[bytes]) -> tuple[bytes, ...]:
    """The proof of each object."""
    links, digests = link_objects(objects), [digest(data) for data in objects]
    return tuple(b"".join(digests[:at]) + links[at + 1] for at in range(len(objects)))


@dataclass(frozen=True)
class Block:
    """One block as the chain's nodes hold it."""

    body: Mapping[str, Any]
    signatures: Mapping[str, str]
    objects: tuple[bytes, ...] = ()
    handover: Mapping[str, Any] | None = None

    @property
    def slot(self) -> int:
        """Where it stands."""
        return int(self.body["slot"])

    @property
    def id(self) -> bytes:
        """Its id."""
        return digest(compact(self.body).encode())

    @property
    def signed(self) -> bytes:
        """What a light client is given."""
        document: dict[str, Any] = {"body": compact(self.body), "signatures": dict(self.signatures)}
        if self.handover is not None:
            document["handover"] = dict(self.handover)
        return compact(document).encode()


class Islet:
    """The chain itself. `weights` by validator name; `grow` makes the next block, `rival` a second one for a slot."""

    def __init__(self, network: str = "islet", weights: Mapping[str, int] | None = None, start_s: int = 0) -> None:
        self.network, self.start_s = network, start_s
        self.weights = dict(weights or {"amber": 5, "birch": 3, "cedar": 2})
        self.first_weights = dict(self.weights)
        self.epoch = 0
        self.origin = digest(compact([network, self.validators()]).encode())
        self.blocks: list[Block] = []
        self._handover: dict[str, Any] | None = None

    def validators(self) -> list[dict[str, Any]]:
        """The present ones, as trust documents name them."""
        return [
            {"name": name, "weight": weight, "key": public_of(name)} for name, weight in sorted(self.weights.items())
        ]

    @property
    def tip_slot(self) -> int:
        """The newest block's slot; 0 before the first."""
        return self.blocks[-1].slot if self.blocks else 0

    @property
    def tip_id(self) -> bytes:
        """The newest block's id."""
        return self.blocks[-1].id if self.blocks else self.origin

    def hand_over(self, weights: Mapping[str, int], signers: Sequence[str] | None = None) -> None:
        """The validators agree on others, who sign from the next block on."""
        signing = list(self.weights) if signers is None else signers
        self.weights = dict(weights)
        body = compact({"chain": self.network, "epoch": self.epoch + 1, "validators": self.validators()})
        self._handover = {"body": body, "signatures": {name: sign(name, body) for name in signing}}
        self.epoch += 1

    def draft(
        self, objects: Sequence[bytes] = (), *, skip: int = 0, signers: Sequence[str] | None = None, **changes: Any
    ) -> Block:
        """The block that would come next, `skip` slots later than it could."""
        slot = self.tip_slot + 1 + skip
        body = {
            "chain": self.network,
            "origin": self.origin.hex(),
            "slot": slot,
            "before": self.tip_id.hex(),
            "before_slot": self.tip_slot,
            "epoch": self.epoch,
            "seconds": self.start_s + slot,
            "objects": link_objects(objects)[0].hex(),
        } | changes
        text = compact(body)
        signing = list(self.weights) if signers is None else signers
        signatures = {name: sign(name, text) for name in sorted(signing)}
        return Block(body, signatures, tuple(objects), self._handover)

    def append(self, block: Block) -> Block:
        """Make a draft the tip."""
        self.blocks.append(block)
        self._handover = None
        return block

    def grow(self, objects: Sequence[bytes] = (), **options: Any) -> Block:
        """Draft and append."""
        return self.append(self.draft(objects, **options))

    def rival(self, at: int, **changes: Any) -> Block:
        """Another block, by the same validators, at the slot of the block with index `at`."""
        body = {**self.blocks[at].body, "seconds": self.blocks[at].body["seconds"] + 1} | changes
        text = compact(body)
        return Block(body, {name: sign(name, text) for name in self.weights}, self.blocks[at].objects)
