"""What can be said of a validator set, or of a change from one to the next, without asking anybody.

Invariants: pure functions of the sets, judged alike by every validator (rules of `validators.change`) and by tools
that look at a chain from outside.

  newcomers      members of the next set whose key is not in the present one; a new key is a newcomer, whatever its name
  quorum risk    more than one newcomer, and fewer members carried over than the next set's quorum: the chain would
                 stop until newcomers vote that it has never heard. A single newcomer is always allowed: with three or
                 more members the others are a quorum without it, and smaller sets tolerate no failure anyway
  concentrated   an organisation with more seats than the failures that the set tolerates (and more than one): alone
                 it can stop the chain, and with twice as many it could fork it. A single seat never counts: sets of
                 fewer than four tolerate nothing, so every member would; the pre-flight's `tolerance_lost` says it of
                 the set

Reference: protocol rules 8 and 17; docs/operators.md, "Membership". Left out: who answers at this moment (the command
line's pre-flight), who may decide (policy of each tier).
"""

from __future__ import annotations

from collections import Counter

from common.core.errors import RuleBroken
from common.core.validators import Validator, ValidatorSet


def newcomers(present: ValidatorSet, following: ValidatorSet) -> tuple[Validator, ...]:
    """Members of `following` that do not sign under `present`, by key."""
    return tuple(member for member in following.members if present.index_of(member.public_key) is None)


def check_succession(present: ValidatorSet, following: ValidatorSet) -> None:
    """Raise `RuleBroken('validators_quorum_at_risk')` if newcomers alone would make the difference to a quorum."""
    joining = len(newcomers(present, following))
    carried = following.size - joining
    if joining > 1 and carried < following.quorum:
        raise RuleBroken(
            "validators_quorum_at_risk",
            "The members that stay are no quorum of the next set: exchange fewer at once.",
            carried=carried,
            newcomers=joining,
            quorum=following.quorum,
        )


def check_seats(validators: ValidatorSet, limit: int | None) -> None:
    """Raise `RuleBroken('validators_seats_exceeded')` naming the first organisation with more seats than `limit`."""
    for organisation, seats in _seats(validators).items():
        if limit is not None and seats > limit:
            raise RuleBroken(
                "validators_seats_exceeded",
                "An organisation would have more seats than the chain's genesis allows.",
                organisation=organisation,
                seats=seats,
                limit=limit,
            )


def concentrated(validators: ValidatorSet) -> dict[str, int]:
    """Seats of each organisation that holds more than one and more than `fault_bound`, in order of first appearance."""
    bound = max(1, validators.fault_bound)
    return {organisation: seats for organisation, seats in _seats(validators).items() if seats > bound}


def _seats(validators: ValidatorSet) -> Counter[str]:
    return Counter(member.organisation for member in validators.members)
