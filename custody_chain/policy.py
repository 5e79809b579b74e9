"""Who may submit what on the custody chain: registered keys, roles, approvals, and the quorum of organisations.

Genesis part::

    {"regions": [...], "signers": [{"public_key", "organisation", "role", "person"?}], "model_schema_hash": hex,
     "max_seats_per_organisation": seats?,
     "policy": {operation type: {"maker": [roles], "checkers": [[roles], ...]}}}

The role `*` stands for every registered key. Types that the policy leaves out have the defaults below.

Invariants:
  * Rights come from genesis and the signatures of a transaction alone; no delivered data is ever asked (attack R8).
  * Operations of governance need, besides the policy, signers of role `governance` from a quorum of the organisations
    that have such keys (protocol rule 21), whatever the policy says.
  * No two signers of a transaction are the same person.

Left out: signatures (verified by the node before), changing the policy after genesis.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec

from common.core.codec import canonical_json
from common.core.errors import Forbidden, InvariantBroken, Malformed
from common.core.exact_fields import complaint
from common.core.names import check_identifier, check_label
from common.core.suite import Suite
from crosslink.lightclient.delivery import MISBEHAVIOUR, SUBMIT
from custody_chain import state

REGION_REGISTER: Final = "region.register"
REGION_RECOVER: Final = "region.recover"
VALIDATORS_CHANGE: Final = "validators.change"
PROTOCOL_ACTIVATE: Final = "protocol.activate"
SIGNER_SET: Final = "signer.set"
SIGNER_REMOVE: Final = "signer.remove"
GOVERNANCE_OPERATIONS: Final = frozenset(
    {REGION_REGISTER, REGION_RECOVER, VALIDATORS_CHANGE, PROTOCOL_ACTIVATE, SIGNER_SET, SIGNER_REMOVE}
)
OPERATION_TYPES: Final = tuple(sorted({SUBMIT, MISBEHAVIOUR, *GOVERNANCE_OPERATIONS}))
EVERY_ROLE: Final = "*"
GOVERNANCE: Final = "governance"
MAX_SIGNERS: Final = 10_000
MAX_CHECKERS: Final = 15
MAX_ROLES: Final = 100

_DEFAULTS: Final[dict[str, dict[str, Any]]] = {
    SUBMIT: {"maker": ["relay"], "checkers": []},
    MISBEHAVIOUR: {"maker": [EVERY_ROLE], "checkers": []},
} | {operation_type: {"maker": [GOVERNANCE], "checkers": []} for operation_type in GOVERNANCE_OPERATIONS}


class _Reader(Protocol):
    def get(self, key: bytes) -> bytes | None: ...


def _malformed(field: str, reason: str) -> Malformed:
    return Malformed("genesis_application", f"{field} {reason}.", field=field)


def parse_signers(value: Any, suite: Suite) -> dict[str, dict[str, str]]:
    """Registered keys by their text form. Raises `Malformed('genesis_application')`."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_SIGNERS:
        raise _malformed("signers", f"is not a list of 1 to {MAX_SIGNERS} signers")
    signers: dict[str, dict[str, str]] = {}
    for number, item in enumerate(value):
        wrong = complaint(item, {"public_key", "organisation", "role"}, {"person"})
        if wrong is not None:
            raise _malformed(f"signers[{number}]", wrong)
        public_key = item["public_key"]
        if not isinstance(public_key, str) or public_key in signers:
            raise _malformed(f"signers[{number}].public_key", "repeats a key or gives none")
        signers[public_key] = parse_signer(item, suite)
    return signers


def parse_signer(item: dict[str, Any], suite: Suite) -> dict[str, str]:
    """The registered form of one signer. Raises `Malformed` for an unsafe key or a wrong name."""
    suite.parse_key(item["public_key"])
    return {
        "organisation": check_label(item["organisation"], "organisation"),
        "role": check_identifier(item["role"], "role"),
        "person": check_label(item.get("person", item["public_key"]), "person"),
    }


def parse_policy(value: Any) -> dict[str, Any]:
    """The complete policy: genesis over defaults. Raises `Malformed('genesis_application')`."""
    wrong = complaint(value, (), OPERATION_TYPES)
    if wrong is not None:
        raise _malformed("policy", f"{wrong}: its fields are operation types of this chain")
    policy = {}
    for operation_type in OPERATION_TYPES:
        rule = value.get(operation_type, _DEFAULTS[operation_type])
        wrong = complaint(rule, {"maker", "checkers"})
        if wrong is not None:
            raise _malformed(f"policy.{operation_type}", wrong)
        checkers = rule["checkers"]
        if not isinstance(checkers, list) or len(checkers) > MAX_CHECKERS:
            raise _malformed(f"policy.{operation_type}.checkers", f"is not a list of at most {MAX_CHECKERS} role lists")
        policy[operation_type] = {
            "maker": _roles(rule["maker"], operation_type),
            "checkers": [_roles(roles, operation_type) for roles in checkers],
        }
    return policy


def _roles(value: Any, operation_type: str) -> list[str]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_ROLES:
        raise _malformed(f"policy.{operation_type}", f"needs lists of 1 to {MAX_ROLES} roles")
    return [role if role == EVERY_ROLE else check_identifier(role, "role") for role in value]


def organisations_with_governance(signers: Iterable[dict[str, str]]) -> list[str]:
    """Organisations that have a governance key, sorted."""
    return sorted({signer["organisation"] for signer in signers if signer["role"] == GOVERNANCE})


def organisation_quorum(organisations: int) -> int:
    """How many organisations have to sign: as of validators, ⌈(n + f + 1) / 2⌉ with f = ⌊(n - 1) / 3⌋."""
    fault_bound = max(0, organisations - 1) // 3
    return (organisations + fault_bound + 2) // 2


def authorise(reader: _Reader, signers: Sequence[str], operation_types: Iterable[str]) -> None:
    """Raise `Forbidden` unless these signers may make, and have approved, all of these operations.

    Codes: `signer_unknown`, `approval_same_person`, `role_not_allowed`, `approval_missing`, `organisations_too_few`.
    """
    known = [_signer(reader, public_key) for public_key in signers]
    if len({signer["person"] for signer in known}) != len(known):
        raise Forbidden("approval_same_person", "Two signers are the same person.")
    policy = _stored(reader, state.POLICY)
    for operation_type in sorted(set(operation_types)):
        _check_rule(policy["operations"][operation_type], known, operation_type)
        if operation_type in GOVERNANCE_OPERATIONS:
            _check_organisations(known, policy["organisations"], operation_type)


def _stored(reader: _Reader, key: bytes) -> Any:
    data = reader.get(key)
    if data is None:
        raise InvariantBroken("the state of genesis holds no policy")
    return msgspec.json.decode(data)


def _signer(reader: _Reader, public_key: str) -> dict[str, str]:
    data = reader.get(state.signer(public_key))
    if data is None:
        raise Forbidden("signer_unknown", "This key is not registered on the custody chain.", signer=public_key)
    signer: dict[str, str] = msgspec.json.decode(data)
    return signer


def _check_rule(rule: dict[str, Any], signers: Sequence[dict[str, str]], operation_type: str) -> None:
    maker, *checkers = signers
    if not _has_role(maker, rule["maker"]):
        raise Forbidden(
            "role_not_allowed", "The maker's role may not do this.", operation_type=operation_type, role=maker["role"]
        )
    for index, roles in enumerate(rule["checkers"]):
        if index >= len(checkers) or not _has_role(checkers[index], roles):
            raise Forbidden(
                "approval_missing",
                "An approval that the policy demands is missing.",
                operation_type=operation_type,
                checker=index,
            )


def _check_organisations(signers: Sequence[dict[str, str]], total: int, operation_type: str) -> None:
    present = len(organisations_with_governance(signers))
    needed = organisation_quorum(total)
    if total == 0 or present < needed:
        raise Forbidden(
            "organisations_too_few",
            "Governance needs a quorum of the organisations that have governance keys.",
            operation_type=operation_type,
            present=present,
            needed=needed,
        )


def _has_role(signer: dict[str, str], roles: Sequence[str]) -> bool:
    return EVERY_ROLE in roles or signer["role"] in roles


def stored_policy(policy: dict[str, Any], signers: dict[str, dict[str, str]]) -> bytes:
    """The value of the state key `policy`."""
    organisations = len(organisations_with_governance(signers.values()))
    return canonical_json({"operations": policy, "organisations": organisations})
