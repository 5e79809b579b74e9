"""Registered signers, alike on both tiers: whose a key is, and which organisations govern.

State::

    signer/<public key>   {"label"?, "organisation", "person"?, "role"}
    governance            {"organisations": {organisation: number of its governance keys}}

Organisations and persons are identifiers (`[a-z0-9-]{1,64}`); `label` is shown to people and decides nothing. A signer
without a stated person counts as the one unnamed person of its organisation, so that leaving `person` out never turns
one human being with two keys into maker and checker (ADR 0071).

Invariants
  N1  `governance` counts the keys of role `governance` under `signer/`; an organisation without one is not listed.
  N2  Governance cannot end itself: a change that leaves no organisation with a governance key is refused, and one that
      leaves a single one where maker and checker could be of two.
  N3  At most `MAX_SIGNERS` keys are registered.

Reference: protocol rule 21, architecture decision 29. Left out: who may make what (`policy`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, Protocol

import msgspec

from common.chain.application import StateView
from common.core.codec import canonical_json
from common.core.errors import Malformed, NotFound, RuleBroken, TooLarge
from common.core.exact_fields import complaint
from common.core.names import check_identifier, check_label, check_principal
from common.core.suite import Suite
from common.core.validators import quorum_of

SIGNER_PREFIX: Final = b"signer/"
GOVERNANCE_KEY: Final = b"governance"
GOVERNANCE_ROLE: Final = "governance"
EVERY_ROLE: Final = "*"
"""Stands for every registered signer in a policy."""
MAX_SIGNERS: Final = 10_000


class _Reader(Protocol):
    def get(self, key: bytes) -> bytes | None: ...


class Signer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whose a key is: fields in ascending order, so that encoding gives canonical JSON."""

    label: str | None = None
    organisation: str
    person: str | None = None
    role: str

    @property
    def counted_person(self) -> str:
        """Who it is when approvals are counted; see the module docstring."""
        return self.organisation if self.person is None else self.person


class _Governance(msgspec.Struct, frozen=True):
    organisations: dict[str, int]


_signer_decoder: Final = msgspec.json.Decoder(Signer)
_governance_decoder: Final = msgspec.json.Decoder(_Governance)


@lru_cache(maxsize=1024)
def decode_signer(data: bytes) -> Signer:
    """A signer from its stored bytes."""
    return _signer_decoder.decode(data)


@lru_cache(maxsize=1024)
def signer_key(public_key: str) -> bytes:
    """State key of a signer; `public_key` in text form. Cached: asked for with every transaction."""
    return SIGNER_PREFIX + public_key.encode("ascii")


def signer_record(state: _Reader, public_key: str) -> bytes | None:
    """What the state says of a key, or None."""
    return state.get(signer_key(public_key)) if public_key.isascii() else None


def read_signer(state: _Reader, public_key: str) -> Signer | None:
    """The signer of a key, or None."""
    data = signer_record(state, public_key)
    return None if data is None else decode_signer(data)


def organisation_quorum(organisations: int) -> int:
    """How many of the organisations that govern have to sign: the quorum of as many validators."""
    return quorum_of(organisations)


def governing_organisations(state: _Reader) -> dict[str, int]:
    """Organisations that have a governance key, each with the number of such keys."""
    return governing_in(state.get(GOVERNANCE_KEY))


def governing_in(data: bytes | None) -> dict[str, int]:
    """The same of the key's value."""
    return {} if data is None else _governance_decoder.decode(data).organisations


def signer_of(document: Mapping[str, Any]) -> Signer:
    """The checked signer of a document's fields, beside what else it has. What is named is not null.

    Raises `Malformed` with `principal_invalid`, `identifier_invalid`, `label_invalid`.
    """
    return Signer(
        label=check_label(document["label"], "label") if "label" in document else None,
        organisation=check_principal(document["organisation"], "organisation"),
        person=check_principal(document["person"], "person") if "person" in document else None,
        role=check_identifier(document["role"], "role"),
    )


def parse_signers(value: Any, suite: Suite) -> dict[str, Signer]:
    """The list of a genesis document by public key. Raises `Malformed`, `genesis_application` naming the field."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_SIGNERS:
        raise _malformed("signers", f"is not a list of 1 to {MAX_SIGNERS} signers")
    signers: dict[str, Signer] = {}
    for number, item in enumerate(value):
        wrong = complaint(item, {"public_key", "organisation", "role"}, {"person", "label"})
        if wrong is not None:
            raise _malformed(f"signers[{number}]", wrong)
        public_key = item["public_key"]
        if not isinstance(public_key, str) or public_key in signers:
            raise _malformed(f"signers[{number}].public_key", "repeats a key or gives none")
        suite.parse_key(public_key)
        signers[public_key] = signer_of(item)
    return signers


def write_initial_signers(state: StateView, signers: dict[str, Signer]) -> None:
    """The signers of genesis, and what follows from them (N1)."""
    for public_key in sorted(signers):
        state.put(signer_key(public_key), msgspec.json.encode(signers[public_key]))
    _write_governing(state, Counter(_governing(signers.values())))


def set_signer(state: StateView, suite: Suite, public_key: str, signer: Signer) -> None:
    """Register a key, or give it another organisation, role, person or label.

    Raises `Malformed('signer_key_invalid')`, `TooLarge('signers_too_many')`, `RuleBroken('governance_lost')`.
    """
    key = signer_key(_checked_key(suite, public_key))
    before = state.get(key)
    if before is None and len(state.scan(SIGNER_PREFIX, MAX_SIGNERS)) >= MAX_SIGNERS:
        raise TooLarge("signers_too_many", "There is no room for another registered key.", limit=MAX_SIGNERS)
    state.put(key, msgspec.json.encode(signer))
    _recount(state, before, signer)


def remove_signer(state: StateView, suite: Suite, public_key: str) -> None:
    """A key may sign nothing any more.

    Raises `Malformed('signer_key_invalid')`, `NotFound('signer_absent')`, `RuleBroken('governance_lost')`.
    """
    key = signer_key(_checked_key(suite, public_key))
    before = state.get(key)
    if before is None:
        raise NotFound("signer_absent", "The key is not registered.", public_key=public_key)
    state.delete(key)
    _recount(state, before, None)


def _checked_key(suite: Suite, public_key: str) -> str:
    """The one text form of a safe key."""
    try:
        return suite.format_key(suite.parse_key(public_key))
    except Malformed as error:
        raise Malformed(
            "signer_key_invalid", "The key is no safe public key of the chain's suite.", reason=error.code
        ) from error


def _recount(state: StateView, before: bytes | None, after: Signer | None) -> None:
    """N1 and N2."""
    known = governing_organisations(state)
    counts = Counter(known)
    counts.subtract(_governing([] if before is None else [decode_signer(before)]))
    counts.update(_governing([] if after is None else [after]))
    left = +counts
    if len(left) < min(len(known), 2):
        raise RuleBroken("governance_lost", "Too few organisations would be left to govern the chain.")
    _write_governing(state, left)


def _governing(signers: Iterable[Signer]) -> list[str]:
    return [signer.organisation for signer in signers if signer.role == GOVERNANCE_ROLE]


def _write_governing(state: StateView, counts: Counter[str]) -> None:
    state.put(GOVERNANCE_KEY, canonical_json({"organisations": dict(counts)}))


def _malformed(field: str, reason: str) -> Malformed:
    return Malformed("genesis_application", f"{field} {reason}.", field=field)
