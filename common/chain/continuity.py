"""Whether the registered signers could still sign an operation that governs, so that governance cannot end itself.

Signers are looked for that satisfy P1 to P4 of `policy` together: distinct persons, of whom some stand for a quorum of
the organisations, and some are maker and checkers; one person may be both with a governance key. They are looked for
in a fixed order: first who stands for an organisation, those with the fewest keys before others, then who makes and
checks. What this finds could be signed. A set that only another choice of persons would find is not found, which errs
on the side of keeping governance.

Left out: which rule is asked about, and what follows (`policy`, `governance`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from common.chain.application import StateReader
from common.chain.signers import (
    EVERY_ROLE,
    GOVERNANCE_ROLE,
    MAX_SIGNERS,
    SIGNER_PREFIX,
    decode_signer,
    organisation_quorum,
)
from common.core.transaction import MAX_SIGNERS as MOST_SIGNATURES

_Persons = Mapping[str, frozenset[tuple[str, str]]]
"""Role and organisation of each key of a person."""


def could_be_signed(state: StateReader, places: Sequence[Sequence[str]]) -> bool:
    """Whether maker and checkers, whose roles `places` permits in order, and a quorum of organisations can be found."""
    persons = _persons(state)
    governing = _representatives(persons)
    if governing is None:
        return False
    by_governing = [
        [person for person in governing if EVERY_ROLE in roles or GOVERNANCE_ROLE in roles] for roles in places
    ]
    by_all = [
        [*first, *[person for person in persons if person not in governing and _has(persons[person], roles)]]
        for first, roles in zip(by_governing, places, strict=True)
    ]
    placed: dict[str, int] = {}
    for candidates in (by_governing, by_all):
        for place in range(len(places)):
            if place not in placed.values():
                _place(place, [those[: 2 * MOST_SIGNATURES] for those in candidates], placed, set())
    return len(placed) == len(places) and len(governing | placed.keys()) <= MOST_SIGNATURES


def _persons(state: StateReader) -> _Persons:
    """Those with few keys first."""
    keys: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for _, value in state.scan(SIGNER_PREFIX, MAX_SIGNERS):
        signer = decode_signer(value)
        keys[signer.counted_person].add((signer.role, signer.organisation))
    return {person: frozenset(keys[person]) for person in sorted(keys, key=lambda person: (len(keys[person]), person))}


def _has(keys: frozenset[tuple[str, str]], roles: Sequence[str]) -> bool:
    return EVERY_ROLE in roles or any(role in roles for role, _ in keys)


def _representatives(persons: _Persons) -> set[str] | None:
    """Distinct persons with governance keys of a quorum of the organisations that have such, or None."""
    candidates: defaultdict[str, list[str]] = defaultdict(list)
    for person, keys in persons.items():
        for role, organisation in sorted(keys):
            if role == GOVERNANCE_ROLE:
                candidates[organisation].append(person)
    needed = organisation_quorum(len(candidates)) if candidates else MOST_SIGNATURES + 1
    chosen: dict[str, int] = {}
    if needed <= MOST_SIGNATURES:
        listed = [those[:MOST_SIGNATURES] for those in candidates.values()]
        for number in range(len(listed)):
            if len(chosen) < needed:
                _place(number, listed, chosen, set())
    return set(chosen) if len(chosen) == needed else None


def _place(place: int, candidates: Sequence[Sequence[str]], placed: dict[str, int], asked: set[str]) -> bool:
    """Give `place` one of its candidates, moving others if need be: an augmenting path of bipartite matching."""
    for person in candidates[place]:
        if person not in asked:
            asked.add(person)
            if person not in placed or _place(placed[person], candidates, placed, asked):
                placed[person] = place
                return True
    return False
