"""What a business chain's genesis says: region letters, the market itself, signers and the policy of approvals.

The document's `application` object::

    {"region_letters": "BJ", "name": "…", "market": {"object_id": …, "credit_code": …}?,
     "signers": [{"public_key", "organisation", "role", "person"?}],
     "policy": {operation type: {"maker": [roles], "checkers": [[roles], …]}},
     "max_seats_per_organisation": seats?}

An operation type that `policy` leaves out may be made without a checker, by the role `operator`, or by the role
`governance` if it is one of governance. The role `*` stands for every registered signer. `person` is a pseudonym that
ties several keys to one human being, so that nobody approves one's own work with a second key; without it, each key
counts as a person.

Invariants: nothing unknown is accepted; every policy entry names an operation of this chain.
Left out: changing the policy after genesis (signers change by `signer.set` and `signer.remove`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from business_chain.state import PolicyRule, Signer
from common.chain.schedule import MAX_SEATS_FIELD
from common.core.errors import Malformed
from common.core.exact_fields import complaint
from common.core.names import check_identifier, check_label
from common.core.suite import Suite
from common.model.codes import REGION_LETTERS, is_credit_code

DEFAULT_ROLE: Final = "operator"
GOVERNANCE_ROLE: Final = "governance"
GOVERNANCE_OPERATIONS: Final = frozenset({"protocol.activate", "signer.remove", "signer.set", "validators.change"})
"""Operations that need, besides the policy, a quorum of the organisations that have governance keys."""
EVERY_ROLE: Final = "*"
MAX_SIGNERS: Final = 10_000
MAX_CHECKERS: Final = 15
"""A transaction has at most 16 signers, the maker included."""


@dataclass(frozen=True, slots=True)
class Market:
    """The regional market as a subject: it opens accounts and is the venue of products."""

    object_id: str
    name: str
    credit_code: str | None


@dataclass(frozen=True, slots=True)
class ChainSettings:
    """The checked contents of `genesis.application`."""

    region_letters: str
    market: Market
    signers: dict[str, Signer]
    policy: dict[str, PolicyRule]


def parse_settings(application: dict[str, Any], suite: Suite, operation_types: Iterable[str]) -> ChainSettings:
    """Check the application part of a genesis document. Raises `Malformed('genesis_application')` naming the field."""
    _check_keys(
        application, "application", {"region_letters", "name", "signers"}, {"market", "policy", MAX_SEATS_FIELD}
    )
    letters = application["region_letters"]
    if letters not in REGION_LETTERS:
        raise _malformed("region_letters", "are not in table 1 of JR/T 0326-2024")
    name = check_label(application["name"], "application.name")
    return ChainSettings(
        region_letters=letters,
        market=_parse_market(application.get("market", {}), name, letters),
        signers=_parse_signers(application["signers"], suite),
        policy=_parse_policy(application.get("policy", {}), frozenset(operation_types)),
    )


def _malformed(field: str, reason: str) -> Malformed:
    return Malformed("genesis_application", f"{field} {reason}.", field=field)


def _check_keys(value: Any, field: str, required: set[str], optional: set[str]) -> None:
    wrong = complaint(value, required, optional)
    if wrong is not None:
        raise _malformed(field, wrong)


def _parse_market(value: Any, name: str, letters: str) -> Market:
    _check_keys(value, "market", set(), {"object_id", "credit_code"})
    credit_code = value.get("credit_code")
    if credit_code is not None and not (isinstance(credit_code, str) and is_credit_code(credit_code)):
        raise _malformed("market.credit_code", "is not a unified social credit code")
    object_id = check_identifier(value.get("object_id", f"market-{letters}"), "market.object_id")
    return Market(object_id=object_id, name=name, credit_code=credit_code)


def _parse_signers(value: Any, suite: Suite) -> dict[str, Signer]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_SIGNERS:
        raise _malformed("signers", f"is not a list of 1 to {MAX_SIGNERS} signers")
    signers: dict[str, Signer] = {}
    for number, item in enumerate(value):
        _check_keys(item, f"signers[{number}]", {"public_key", "organisation", "role"}, {"person"})
        public_key = item["public_key"]
        if not isinstance(public_key, str) or public_key in signers:
            raise _malformed(f"signers[{number}].public_key", "repeats a key or gives none")
        suite.parse_key(public_key)
        signers[public_key] = Signer(
            organisation=check_label(item["organisation"], "signers.organisation"),
            person=check_label(item.get("person", public_key), "signers.person"),
            role=check_identifier(item["role"], "signers.role"),
        )
    return signers


def _parse_policy(value: Any, operation_types: frozenset[str]) -> dict[str, PolicyRule]:
    wrong = complaint(value, (), operation_types)
    if wrong is not None:
        raise _malformed("policy", f"{wrong}: its fields are operation types of this chain")
    policy = {}
    for operation_type in sorted(operation_types):
        maker = GOVERNANCE_ROLE if operation_type in GOVERNANCE_OPERATIONS else DEFAULT_ROLE
        rule = value.get(operation_type, {"maker": [maker], "checkers": []})
        _check_keys(rule, f"policy.{operation_type}", {"maker", "checkers"}, set())
        checkers = rule["checkers"]
        if not isinstance(checkers, list) or len(checkers) > MAX_CHECKERS:
            raise _malformed(f"policy.{operation_type}.checkers", f"is not a list of at most {MAX_CHECKERS} role lists")
        policy[operation_type] = PolicyRule(
            maker=_parse_roles(rule["maker"], f"policy.{operation_type}.maker"),
            checkers=tuple(_parse_roles(roles, f"policy.{operation_type}.checkers") for roles in checkers),
        )
    return policy


def _parse_roles(value: Any, field: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= 100:
        raise _malformed(field, "is not a list of 1 to 100 roles")
    return tuple(role if role == EVERY_ROLE else check_identifier(role, field) for role in value)
