"""The validator set of one height: members of weight 1, quorum, leader rotation, hash.

Invariants: 1 to 100 members, unique names, unique keys, order is part of the identity (votes name members by index).
Quorum `q = ceil((n+f+1)/2)` with `f = floor((n-1)/3)` (architecture decision 1): any two quorums share more than f
members, and n-f honest members reach q, for every n >= 1 (attack C7).
Left out: how a set changes (an operation of each tier) and who is connected (the node).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from common.core.codec import Reader, Writer
from common.core.errors import CodecError, Malformed
from common.core.names import check_principal
from common.core.suite import MAX_KEY_BYTES, Suite

MAX_VALIDATORS: Final = 100
VALIDATORS_TAG: Final = "tongjian/validators/v1"
_WIRE_VERSION: Final = 1
_MAX_ORGANISATION_BYTES: Final = 512


def fault_bound_of(count: int) -> int:
    """Largest number of arbitrarily faulty ones among `count` that is tolerated, `f = floor((n-1)/3)`."""
    return max(0, count - 1) // 3


def quorum_of(count: int) -> int:
    """How many of `count` decide, `q = ceil((n+f+1)/2)`: validators of a set, or organisations that govern."""
    return (count + fault_bound_of(count) + 2) // 2


@dataclass(frozen=True, slots=True)
class Validator:
    """One member: a node name, the organisation that runs it, and its consensus key."""

    name: str
    organisation: str
    public_key: bytes

    def __post_init__(self) -> None:
        """Raises `Malformed` on names that wire formats and logs cannot carry."""
        check_principal(self.name, "name")
        check_principal(self.organisation, "organisation")
        if not 1 <= len(self.public_key) <= MAX_KEY_BYTES:
            raise Malformed("public_key_length", "A validator's key has a wrong length.", length=len(self.public_key))


@dataclass(frozen=True)
class ValidatorSet:
    """Members in voting order.

    Wire v1: u8 1 | u16 count | (text8 name | blob organisation UTF-8 | blob public_key)*.
    The hash over it, tag `tongjian/validators/v1`, is what headers commit to.
    """

    members: tuple[Validator, ...]
    size: int = field(init=False, repr=False, compare=False)
    """Number of members, n."""
    _index: dict[bytes | None, int] = field(init=False, repr=False, compare=False)
    _hashes: dict[str, bytes] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Raises `Malformed` with `validator_count` or `validator_duplicate`."""
        if not 1 <= len(self.members) <= MAX_VALIDATORS:
            raise Malformed("validator_count", f"A set has 1 to {MAX_VALIDATORS} validators.", count=len(self.members))
        index = {member.public_key: at for at, member in enumerate(self.members)}
        if len(index) != len(self.members) or len({member.name for member in self.members}) != len(self.members):
            raise Malformed("validator_duplicate", "Names and keys of validators must be unique.")
        object.__setattr__(self, "size", len(self.members))
        object.__setattr__(self, "_index", index)

    @property
    def fault_bound(self) -> int:
        """Largest number of arbitrarily faulty members tolerated, `f = floor((n-1)/3)`."""
        return fault_bound_of(len(self.members))

    @property
    def quorum(self) -> int:
        """Votes that decide, `q = ceil((n+f+1)/2)`."""
        return quorum_of(len(self.members))

    def leader(self, height: int, view: int) -> int:
        """Index of the member that proposes at this height and view."""
        return (height + view) % len(self.members)

    def index_of(self, public_key: bytes | None) -> int | None:
        """Index of the member with this key, or None; no key is nobody's."""
        return self._index.get(public_key)

    def encode(self) -> bytes:
        """Wire bytes."""
        writer = Writer().u8(_WIRE_VERSION).u16(len(self.members))
        for member in self.members:
            writer.text8(member.name).blob(member.organisation.encode()).blob(member.public_key)
        return writer.bytes()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Parse exactly one set. Raises `Malformed`; does not judge the keys' points (see `check_keys`)."""
        reader = Reader(data)
        if reader.u8() != _WIRE_VERSION:
            raise CodecError("validators_version", "Unknown version of the validator set format.")
        count = reader.u16()
        if count > MAX_VALIDATORS:
            raise CodecError("validator_count", f"A set has at most {MAX_VALIDATORS} validators.", count=count)
        members = []
        for _ in range(count):
            name = reader.text8()
            try:
                organisation = reader.blob(_MAX_ORGANISATION_BYTES).decode("utf-8")
            except UnicodeDecodeError:
                raise CodecError("codec_text", "An organisation's name is not UTF-8.") from None
            members.append(Validator(name, organisation, reader.blob(MAX_KEY_BYTES)))
        reader.end()
        return cls(tuple(members))

    def hash(self, suite: Suite) -> bytes:
        """32 bytes that identify the set; computed once."""
        known = self._hashes.get(suite.name)
        if known is None:
            known = self._hashes[suite.name] = suite.tagged_hash(VALIDATORS_TAG, self.encode())
        return known

    def check_keys(self, suite: Suite) -> None:
        """Raise `Malformed` if a key is unsafe in this suite (attack E3).

        Call it wherever a set enters from outside.
        """
        for member in self.members:
            suite.check_public_key(member.public_key)

    def to_json(self, suite: Suite) -> list[dict[str, str]]:
        """The list used in genesis documents and trust files."""
        return [
            {"name": m.name, "organisation": m.organisation, "public_key": suite.format_key(m.public_key)}
            for m in self.members
        ]

    @classmethod
    def from_json(cls, value: Any, suite: Suite) -> Self:
        """Inverse of `to_json`. Raises `Malformed`, unsafe keys included."""
        if not isinstance(value, list):
            raise Malformed("validators_invalid", "Validators must be a list.")
        return cls(tuple(_validator_from_json(item, suite) for item in value))


def _validator_from_json(item: Any, suite: Suite) -> Validator:
    if not isinstance(item, dict) or item.keys() != {"name", "organisation", "public_key"}:
        raise Malformed("validators_invalid", "A validator has name, organisation and public_key.")
    key = item["public_key"]
    if not isinstance(key, str):
        raise Malformed("public_key_type", "A public key is a string.")
    return Validator(
        check_principal(item["name"], "name"),
        check_principal(item["organisation"], "organisation"),
        suite.parse_key(key),
    )


def organisations(validators: Sequence[Validator]) -> tuple[str, ...]:
    """Distinct organisations in order of first appearance."""
    return tuple(dict.fromkeys(member.organisation for member in validators))
