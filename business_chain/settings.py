"""What a business chain's genesis says: region letters, the market itself, signers and the policy of approvals.

The document's `application` object::

    {"region_letters": "BJ", "name": "…", "market": {"object_id": …, "credit_code": …}?,
     "signers": [{"public_key", "organisation", "role", "person"?, "label"?}],
     "policy": {operation type: {"maker": [roles], "checkers": [[roles], …]}},
     "max_seats_per_organisation": seats?}

An operation type that `policy` leaves out may be made without a checker, by the role `operator`, or by the role
`governance` if it is one of governance. The role `*` stands for every registered signer. `person` is a pseudonym that
ties several keys to one human being, so that nobody approves one's own work with a second key; keys without it count as
one person of their organisation (`common.chain.signers`).

Invariants: nothing unknown is accepted; every policy entry names an operation of the genesis's protocol version.
Left out: what changes after genesis (`common.chain.governance`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from common.chain.policy import OperationType, parse_policy
from common.chain.schedule import MAX_SEATS_FIELD
from common.chain.signers import Signer, parse_signers
from common.core.errors import Malformed
from common.core.exact_fields import complaint
from common.core.names import check_identifier, check_label
from common.core.suite import Suite
from common.model.codes import REGION_LETTERS, is_credit_code

DEFAULT_ROLE: Final = "operator"


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
    policy: dict[str, Any]
    """The rules that the document chooses."""


def parse_settings(
    application: dict[str, Any], suite: Suite, operation_types: Mapping[str, OperationType]
) -> ChainSettings:
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
        signers=parse_signers(application["signers"], suite),
        policy=parse_policy(application.get("policy", {}), operation_types, code="genesis_application"),
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
